"""Deleting what a cutoff reached, item by item, and putting right what is left of an identity."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from itertools import groupby
from typing import Protocol

from tessera.domain.identity import Xid
from tessera.domain.place import Place
from tessera.domain.profile import Event
from tessera.domain.tenant import Tenant
from tessera.services.event_copies import RestoredEvents, Restorer
from tessera.services.lease import Configurations
from tessera.services.survivors import Store, Survivors
from tessera.storage.profile_items import is_event
from tessera.storage.profile_table import KeyPage
from tessera.storage.stream_items import dataset_of_stream


class SweptStore(RestoredEvents, Store, Protocol):
    """What sweeping needs of the profile table."""

    def copies(self, tenant: Tenant, xid: Xid) -> list[Event]:
        """Read the copies of an identity's events, by dataset."""

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
        self._executor = executor
        self._survivors = Survivors(configurations, store, clock_ms)
        self._restorer = Restorer(configurations, store, clock_ms=clock_ms)

    def delete(self, tenant: Tenant, xid: Xid, sorts: Collection[str], cutoff: Place) -> None:
        """Delete items that a cutoff reaches, side by side; streams after all else, for they lead to the events.

        A cutoff may have been carried here by a link, between copies of an event whose writers did not know of it (see
        ``docs/decisions/0151``): the copies that it does not reach take the places of what goes, before that is gone.
        """
        if any(map(is_event, sorts)):
            for _, copies in groupby(self._store.copies(tenant, xid), key=lambda copy: copy.dataset_id):
                self._restorer.restore(tenant, list(copies))
        datasets = {sort: dataset_of_stream(sort) for sort in sorts}
        items = [sort for sort, dataset_id in datasets.items() if dataset_id is None]
        streams = [dataset_id for dataset_id in datasets.values() if dataset_id is not None]
        list(self._executor.map(lambda sort: self._store.delete_at_or_below(tenant, xid, sort, cutoff), items))
        list(self._executor.map(lambda dataset_id: self._survivors.let_go(tenant, xid, dataset_id, cutoff), streams))

    def settle(self, tenant: Tenant, xid: Xid) -> None:
        """Put right what is left of an identity's streams: they count events that are gone."""
        self._survivors.settle(tenant, xid)
