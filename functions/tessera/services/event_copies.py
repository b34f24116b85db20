"""Bringing back copies of events of which what was shown is deleted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from tessera.domain.graph import Head
from tessera.domain.identity import Xid
from tessera.domain.place import Place, later
from tessera.domain.profile import Event
from tessera.domain.tenant import Tenant
from tessera.services.computed.compiled import attributes_of
from tessera.services.event_placing import PlacedEvents, Placing
from tessera.services.lease import ConfigurationChangedError, Configurations, Lease


class RestoredEvents(PlacedEvents, Protocol):
    """What bringing copies back needs of the profile table."""

    def heads(self, tenant: Tenant, xids: Iterable[Xid]) -> dict[Xid, Head]:
        """Read the heads that exist."""


class Restorer:
    """Writes copies as events; ``clock`` gives seconds, ``clock_ms`` milliseconds since 1970."""

    def __init__(
        self,
        configurations: Configurations,
        store: RestoredEvents,
        clock: Callable[[], float] = time.monotonic,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._configurations = configurations
        self._store = store
        self._clock = clock
        self._clock_ms = clock_ms

    def restore(
        self, tenant: Tenant, copies: Sequence[Event], gives_way: Callable[[Place], bool] = lambda place: False
    ) -> bool:
        """Show, of copies of one identity's events in one dataset, what is first of each and not deleted.

        Events at places that give way are replaced by them. Tells whether there was anything to do. Safe to repeat, to
        race and to leave at any point.
        """
        xid, dataset_id = copies[0].xid, copies[0].dataset_id
        while True:
            lease = Lease(self._configurations, tenant, self._clock)
            dataset = lease.configuration.datasets.get(dataset_id)
            if dataset is None:
                # Deleted, with all that it had.
                return False
            head = self._store.heads(tenant, [xid]).get(xid)
            cutoff = later(dataset.cutoff, head.cutoff if head is not None else None)
            placing = Placing(
                *(self._store, tenant, dataset, lease, attributes_of(lease.configuration), self._clock_ms),
                cutoff_now=lambda _, cutoff=cutoff: cutoff,  # type: ignore[misc]
                gives_way=gives_way,
            )
            try:
                return placing.restore(copies, cutoff)
            except ConfigurationChangedError:
                continue
