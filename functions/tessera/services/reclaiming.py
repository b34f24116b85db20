"""Deleting what a cutoff reached, item by item, and putting right what is left of an identity."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from itertools import groupby
from typing import Protocol

from tessera.domain.identity import Xid
from tessera.domain.place import Place, later
from tessera.domain.profile import Event, IdentityItems
from tessera.domain.tenant import Tenant
from tessera.services.computed.compiled import attributes_of
from tessera.services.computed.rebuilding import StreamStore, complete
from tessera.services.event_copies import RestoredEvents, Restorer
from tessera.services.lease import Configurations
from tessera.storage.profile_items import is_event
from tessera.storage.profile_table import KeyPage


class SweptStore(RestoredEvents, StreamStore, Protocol):
    """What sweeping needs of the profile table."""

    def copies(self, tenant: Tenant, xid: Xid) -> list[Event]:
        """Read the copies of an identity's events, by dataset."""

    def identity(self, tenant: Tenant, xid: Xid) -> IdentityItems | None:
        """Read everything of an identity but its events."""

    def keys_at_or_below(self, tenant: Tenant, xid: Xid, cutoff: Place, *, after: str | None, limit: int) -> KeyPage:
        """List the records, streams and events of an identity that a cutoff reaches."""

    def delete_at_or_below(self, tenant: Tenant, xid: Xid, sort: str, cutoff: Place) -> None:
        """Delete one of them, unless it has another place by now."""


class Reclaimer:
    """Deletes items of identities. Safe to repeat and to race."""

    def __init__(
        self,
        store: SweptStore,
        configurations: Configurations,
        executor: Executor,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._configurations = configurations
        self._executor = executor
        self._clock_ms = clock_ms
        self._restorer = Restorer(configurations, store, clock_ms=clock_ms)

    def delete(self, tenant: Tenant, xid: Xid, sorts: Collection[str], cutoff: Place) -> None:
        """Delete items that a cutoff reaches, side by side.

        A cutoff may have been carried here by a link, between copies of an event whose writers did not know of it (see
        ``docs/decisions/0151``): the copies that it does not reach take the places of what goes, before that is gone.
        """
        if any(map(is_event, sorts)):
            for _, copies in groupby(self._store.copies(tenant, xid), key=lambda copy: copy.dataset_id):
                self._restorer.restore(tenant, list(copies))
        list(self._executor.map(lambda sort: self._store.delete_at_or_below(tenant, xid, sort, cutoff), sorts))

    def settle(self, tenant: Tenant, xid: Xid) -> None:
        """Build the state of what is left of an identity's streams anew: it counts events that are gone."""
        configuration = self._configurations.current(tenant)
        attributes = attributes_of(configuration)
        left = self._store.identity(tenant, xid)
        if left is None:
            return
        for stream in left.streams:
            dataset = configuration.datasets.get(stream.dataset_id)
            if dataset is not None:
                cutoff = later(dataset.cutoff, left.head.cutoff)
                complete(self._store, tenant, stream, attributes, cutoff, dataset.horizon_ms, self._clock_ms)
