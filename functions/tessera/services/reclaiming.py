"""Deleting what a cutoff reached, item by item, and putting right what is left of an identity."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Protocol

from tessera.domain.identity import Xid
from tessera.domain.place import Place, later
from tessera.domain.profile import IdentityItems
from tessera.domain.tenant import Tenant
from tessera.services.computed.compiled import attributes_of
from tessera.services.computed.rebuilding import StreamStore, complete
from tessera.services.lease import Configurations
from tessera.storage.profile_table import KeyPage


class SweptStore(StreamStore, Protocol):
    """What sweeping needs of the profile table."""

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

    def delete(self, tenant: Tenant, xid: Xid, sorts: Iterable[str], cutoff: Place) -> None:
        """Delete items that a cutoff reaches, side by side."""
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
