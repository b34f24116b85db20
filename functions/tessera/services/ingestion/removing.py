"""The step of a replay after its rows are applied: what only the batches that it replaces held is removed.

An item is deleted on the condition that its place is still of the old batch: what the new one brought has a place of
its own, and a repetition finds nothing left to do. Events leave together with their share of computed attributes.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from itertools import islice
from typing import Protocol

from tessera.domain.configuration import DatasetKind
from tessera.domain.identity import Xid
from tessera.domain.place import Place, batch_prefix
from tessera.domain.profile import Event
from tessera.domain.rows import PlacedRow
from tessera.domain.tenant import Tenant
from tessera.services.event_removal import CountedEvents, EventRemover
from tessera.services.ingestion.ports import Batches, Files
from tessera.services.ingestion.staged import placed
from tessera.services.lease import Configurations
from tessera.storage.profile_items import event_key
from tessera.storage.record_items import record_sort

REMOVE = "remove"

_ROWS_AT_ONCE = 1000
_WORKING_S = 7 * 60


class Store(CountedEvents, Protocol):
    """What removing needs of the profile table."""

    def delete_of_batch(self, tenant: Tenant, xid: Xid, sort: str, batch: str) -> None:
        """Delete an item whose place begins so."""


class Remover:
    """Removes what replaced batches held and their successor does not."""

    def __init__(
        self,
        batches: Batches,
        configurations: Configurations,
        files: Files,
        store: Store,
        executor: Executor,
        clock: Callable[[], float] = time.monotonic,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._batches = batches
        self._configurations = configurations
        self._files = files
        self._store = store
        self._executor = executor
        self._clock = clock
        self._events = EventRemover(configurations, store, clock, clock_ms)

    def remove(self, tenant: Tenant, batch_id: str, old_id: str, chunk: str) -> bool:
        """Go through a chunk of an old batch, as far as there is time; tell whether that was all. Safe to repeat."""
        batch, old = self._batches.get(tenant, batch_id), self._batches.get(tenant, old_id)
        if not batch.applies or old_id not in batch.predecessors:
            return True
        name = f"{old_id}-{chunk}"
        known = self._files.result(tenant, batch_id, REMOVE, name)
        done = known["rows"] if known else 0
        started = self._clock()
        prefix = batch_prefix(old.completed_ms, old_id)
        # Lines and not rows are counted: who is erased meanwhile leaves an empty one.
        lines = self._files.staged(tenant, old_id, chunk)
        for _ in islice(lines, done):
            pass
        while share := list(islice(lines, _ROWS_AT_ONCE)):
            if self._clock() - started > _WORKING_S:
                self._files.write_result(tenant, batch_id, REMOVE, name, {"rows": done})
                return False
            # Where in its file a row was does not matter here: the whole batch goes.
            self._remove(tenant, old.dataset_id, prefix, list(placed(share, old.completed_ms, old_id, 0)))
            done += len(share)
        return True

    def _remove(self, tenant: Tenant, dataset_id: str, prefix: str, rows: Sequence[PlacedRow]) -> None:
        dataset = self._configurations.current(tenant).datasets.get(dataset_id)
        if dataset is None:
            return
        if dataset.kind is not DatasetKind.EVENT:
            sort = record_sort(dataset_id)
            xids = {item.row.primary.xid(tenant) for item in rows}
            list(self._executor.map(lambda xid: self._store.delete_of_batch(tenant, xid, sort, prefix), xids))
            return
        by_identity: dict[Xid, dict[str, Event]] = defaultdict(dict)
        for item in rows:
            xid = item.row.primary.xid(tenant)
            key = event_key(item.row.timestamp_ms, dataset_id, item.row.event_id)
            by_identity[xid][key] = Event(xid, key, dataset_id, item.place, {})
        of_each = [list(events.values()) for events in by_identity.values()]

        def brought(place: Place) -> bool:
            return place.startswith(prefix)

        list(self._executor.map(lambda events: self._events.remove(tenant, brought, events), of_each))
