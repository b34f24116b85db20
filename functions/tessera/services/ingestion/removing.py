"""The step of a replay after its rows are applied: what only the batches that it replaces held is removed.

An item is deleted on the condition that its place is still of the old batch: what the new one brought has a place of
its own, and a repetition finds nothing left to do. Events leave together with their share of computed attributes.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from itertools import islice
from typing import Protocol

from tessera.domain.configuration import DatasetKind
from tessera.domain.expiry import BEGINNING_MS
from tessera.domain.identity import Xid
from tessera.domain.place import batch_prefix
from tessera.domain.profile import Event, EventStream
from tessera.domain.rows import PlacedRow
from tessera.domain.tenant import Tenant
from tessera.services.computed.compiled import attributes_of
from tessera.services.computed.rebuilding import StreamEvents, rebuilt
from tessera.services.ingestion.ports import Batches, Files
from tessera.services.ingestion.staged import placed
from tessera.services.lease import ConfigurationChangedError, Configurations, Lease
from tessera.storage.profile_items import event_key
from tessera.storage.record_items import record_sort
from tessera.storage.registry import LostRaceError

REMOVE = "remove"

_ROWS_AT_ONCE = 1000
_WORKING_S = 7 * 60
# A transaction has 100 items; the stream and its parts are among them.
_EVENTS_PER_TRANSACTION = 50
_LONGEST_PAUSE_S = 0.5


class Store(StreamEvents, Protocol):
    """What removing needs of the profile table."""

    def delete_of_batch(self, tenant: Tenant, xid: Xid, sort: str, batch: str) -> None:
        """Delete an item whose place begins so."""

    def stored_events(self, tenant: Tenant, events: Sequence[Event]) -> dict[str, Event]:
        """Read those of an identity's events that are stored."""

    def streams(self, tenant: Tenant, xids: Iterable[Xid], dataset_id: str) -> dict[Xid, EventStream]:
        """Read the streams that exist."""

    def remove_counted(
        self, tenant: Tenant, events: Sequence[Event], stream: EventStream | None, replaced: EventStream
    ) -> None:
        """Delete events and write the stream without them, or raise LostRaceError."""


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
        self._clock_ms = clock_ms

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
        # Where in its file a row was does not matter here: the whole batch goes.
        rows = placed(self._files.staged(tenant, old_id, chunk), old.completed_ms, old_id, 0)
        for _ in islice(rows, done):
            pass
        while share := list(islice(rows, _ROWS_AT_ONCE)):
            if self._clock() - started > _WORKING_S:
                self._files.write_result(tenant, batch_id, REMOVE, name, {"rows": done})
                return False
            self._remove(tenant, old.dataset_id, prefix, share)
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
        groups = [group for events in by_identity.values() for group in _groups(list(events.values()))]
        list(self._executor.map(lambda group: self._remove_events(tenant, prefix, group), groups))

    def _remove_events(self, tenant: Tenant, prefix: str, group: Sequence[Event]) -> None:
        """Remove events of one identity, those that are still of the old batch."""
        while True:
            stored = self._store.stored_events(tenant, group)
            gone = [event for event in stored.values() if event.place.startswith(prefix)]
            if not gone:
                return
            xid, dataset_id = gone[0].xid, gone[0].dataset_id
            stream = self._store.streams(tenant, [xid], dataset_id).get(xid)
            if stream is None:
                raise RuntimeError("an event is stored without a stream")
            try:
                self._store.remove_counted(tenant, gone, self._without(tenant, stream, gone), stream)
            except (LostRaceError, ConfigurationChangedError):
                time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 - jitter
                continue
            return

    def _without(self, tenant: Tenant, stream: EventStream, gone: Sequence[Event]) -> EventStream | None:
        """Return a stream as it is without some events, ``None`` when they were all it had and counts."""
        keys, now_ms = {event.key for event in gone}, self._clock_ms()
        lease = Lease(self._configurations, tenant, self._clock)
        attributes, dataset = attributes_of(lease.configuration), lease.configuration.datasets.get(stream.dataset_id)
        if stream.state.generation > attributes.generation:
            raise ConfigurationChangedError
        horizon = BEGINNING_MS if dataset is None else dataset.horizon_ms(now_ms)
        state = rebuilt(self._store, tenant, stream, attributes, None, now_ms, horizon, without=keys)
        lease.check()
        events = self._store.events_of_stream(tenant, stream.xid, stream.dataset_id, BEGINNING_MS)
        if any(event.key not in keys for event in events):
            return replace(stream, state=state)
        if state.counts_nothing:
            return None
        # It counts events that have expired. Those are nobody's who is still there.
        left = replace(stream, state=state)
        return left if dataset is None or dataset.expiry is None else replace(left, newest_ms=BEGINNING_MS, of_all=True)


def _groups(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    return (events[start : start + _EVENTS_PER_TRANSACTION] for start in range(0, len(events), _EVENTS_PER_TRANSACTION))
