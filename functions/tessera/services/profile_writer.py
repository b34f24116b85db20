"""Writing accepted rows to the profile store, in any order and any number of times (laws 2 and 3).

The order of the steps is what survives a crash between any two of them: heads and links first, then the stream by
which the index finds an identity's events, then the rows. A row is never stored where nothing leads to it, and
repeating a step changes nothing.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Protocol

from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.graph import Assertion, Head, LinkRules
from tessera.domain.identity import Identity, Xid
from tessera.domain.place import Place, accepted_ms, survives
from tessera.domain.profile import Event, EventStream, RecordFragment
from tessera.domain.rows import PlacedRow, Row
from tessera.domain.tenant import Tenant
from tessera.domain.times import day_of
from tessera.services.linking import HeadStore, Linker
from tessera.storage.profile_items import event_key
from tessera.storage.profile_table import Written
from tessera.storage.registry import LostRaceError

ROWS_PER_SLICE = 1000
CONFIGURATION_LEASE_S = 30.0


class Configurations(Protocol):
    """Where the configuration in force is read."""

    def current(self, tenant: Tenant) -> Configuration:
        """Read it, strongly consistent."""


class ProfileStore(HeadStore, Protocol):
    """What writing needs of the profile table."""

    def heads(self, tenant: Tenant, xids: Iterable[Xid], executor: Executor | None = None) -> dict[Xid, Head]:
        """Read the heads that exist."""

    def streams(
        self, tenant: Tenant, xids: Iterable[Xid], dataset_id: str, executor: Executor | None = None
    ) -> dict[Xid, EventStream]:
        """Read the streams that exist."""

    def add_head(self, tenant: Tenant, head: Head) -> None:
        """Write a head unless there is one."""

    def put_stream(self, tenant: Tenant, stream: EventStream, replaced: EventStream | None) -> None:
        """Write a stream or raise LostRaceError."""

    def put_record(self, tenant: Tenant, fragment: RecordFragment) -> Written:
        """Write a record unless a later one is there."""

    def put_event(self, tenant: Tenant, event: Event, cutoff: Place | None) -> Written:
        """Write an event unless an earlier body of it is there."""


@dataclass(slots=True)
class WriteReport:
    """What became of rows; ``conflicts`` are the places of events that came with a second, different body."""

    written: int = 0
    unchanged: int = 0
    conflicts: list[Place] = field(default_factory=list)

    def count(self, place: Place, outcome: Written) -> None:
        """Note the outcome of one row."""
        if outcome is Written.NEW:
            self.written += 1
        elif outcome is Written.UNCHANGED:
            self.unchanged += 1
        else:
            self.conflicts.append(place)


class ProfileWriter:
    """Applies accepted rows of a dataset to the profile store."""

    def __init__(
        self,
        configurations: Configurations,
        store: ProfileStore,
        executor: Executor,
        watch: Callable[[int], None] = lambda size: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configurations = configurations
        self._store = store
        self._executor = executor
        self._linker = Linker(store, executor, watch)
        self._clock = clock

    def apply(self, tenant: Tenant, dataset_id: str, rows: Sequence[PlacedRow]) -> WriteReport:
        """Write rows; when it returns, every read sees them (law 5). Safe to repeat, in whole or in part.

        Rows of a dataset that is gone or not enabled for profiles are left alone, as are deleted ones (law 7).
        """
        report = WriteReport()
        for start in range(0, len(rows), ROWS_PER_SLICE):
            self._apply_slice(tenant, dataset_id, rows[start : start + ROWS_PER_SLICE], report)
        return report

    def _apply_slice(self, tenant: Tenant, dataset_id: str, rows: Sequence[PlacedRow], report: WriteReport) -> None:
        while True:
            read_at = self._clock()
            configuration = self._configurations.current(tenant)
            dataset = configuration.datasets.get(dataset_id)
            if dataset is None or not dataset.profile_enabled:
                report.unchanged += len(rows)
                return
            live = [item for item in rows if survives(item.place, dataset.cutoff)]
            heads = self._prepare_heads(tenant, dataset, configuration.link_rules, live)
            if self._clock() - read_at < CONFIGURATION_LEASE_S:
                break
        report.unchanged += len(rows) - len(live)
        live = _after_person_cutoffs(tenant, live, heads, report)
        if dataset.kind is DatasetKind.EVENT:
            self._write_events(tenant, dataset, live, heads, report)
        else:
            self._write_records(tenant, dataset, live, report)

    def _prepare_heads(
        self, tenant: Tenant, dataset: DatasetSettings, rules: LinkRules, rows: Sequence[PlacedRow]
    ) -> dict[Xid, Head]:
        """Give every identity of the rows a head and note the links they assert."""
        identities: dict[Xid, Identity] = {}
        links: dict[tuple[Xid, Xid], Place] = {}
        for item in rows:
            primary = item.row.primary.xid(tenant)
            identities[primary] = item.row.primary
            if item.row.linked and dataset.identity_enabled:
                person = {identity.xid(tenant): identity for identity in _person(item.row, rules)}
                identities |= person
                centre, *others = person
                for xid in others:
                    pair = (centre, xid) if centre < xid else (xid, centre)
                    links[pair] = min(item.place, links.get(pair, item.place))
        heads = self._store.heads(tenant, identities, self._executor)
        assertions = [Assertion(*pair, dataset.id, place) for pair, place in links.items()]
        missing = [item for item in assertions if not _is_noted(item, heads)]
        self._linker.link(tenant, rules, missing, identities, heads)
        linked = {xid for assertion in missing for xid in assertion[:2]}
        alone = [Head(xid, identity) for xid, identity in identities.items() if xid not in heads and xid not in linked]
        list(self._executor.map(lambda head: self._store.add_head(tenant, head), alone))
        return heads

    def _write_records(
        self, tenant: Tenant, dataset: DatasetSettings, rows: Sequence[PlacedRow], report: WriteReport
    ) -> None:
        last: dict[Identity, PlacedRow] = {}
        for item in rows:
            present = last.get(item.row.primary)
            if present is None or item.place > present.place:
                last[item.row.primary] = item
        report.unchanged += len(rows) - len(last)
        fragments = [
            RecordFragment(item.row.primary.xid(tenant), dataset.id, item.place, item.row.body, item.row.custom_date_ms)
            for item in last.values()
        ]
        outcomes = self._executor.map(lambda fragment: self._store.put_record(tenant, fragment), fragments)
        for fragment, outcome in zip(fragments, outcomes, strict=True):
            report.count(fragment.place, outcome)

    def _write_events(
        self,
        tenant: Tenant,
        dataset: DatasetSettings,
        rows: Sequence[PlacedRow],
        heads: Mapping[Xid, Head],
        report: WriteReport,
    ) -> None:
        by_identity: dict[Xid, list[Event]] = defaultdict(list)
        for item in rows:
            xid = item.row.primary.xid(tenant)
            by_identity[xid].append(
                Event(
                    xid,
                    event_key(item.row.timestamp_ms, dataset.id, item.row.event_id),
                    dataset.id,
                    item.place,
                    item.row.body,
                )
            )
        cutoffs = {xid: _later(dataset.cutoff, heads[xid].cutoff if xid in heads else None) for xid in by_identity}
        streams = self._store.streams(tenant, by_identity, dataset.id, self._executor)
        list(
            self._executor.map(
                lambda entry: self._touch_stream(tenant, entry[1], streams.get(entry[0]), cutoffs[entry[0]]),
                by_identity.items(),
            )
        )
        events = [event for events in by_identity.values() for event in events]
        outcomes = self._executor.map(lambda event: self._store.put_event(tenant, event, cutoffs[event.xid]), events)
        for event, outcome in zip(events, outcomes, strict=True):
            report.count(event.place, outcome)

    def _touch_stream(
        self, tenant: Tenant, events: Sequence[Event], present: EventStream | None, cutoff: Place | None
    ) -> None:
        """Make sure that the identity's stream exists, is alive and knows the last day of activity."""
        day = max(day_of(accepted_ms(event.place)) for event in events)
        first = events[0]
        while True:
            if present is None:
                wanted = EventStream(first.xid, first.dataset_id, first.place, day)
            else:
                place = present.place if survives(present.place, cutoff) else first.place
                wanted = replace(present, place=place, last_active_day=max(day, present.last_active_day))
            if wanted == present:
                return
            try:
                self._store.put_stream(tenant, wanted, present)
            except LostRaceError:
                present = self._store.streams(tenant, [first.xid], first.dataset_id).get(first.xid)
            else:
                return


def _after_person_cutoffs(
    tenant: Tenant, rows: Sequence[PlacedRow], heads: Mapping[Xid, Head], report: WriteReport
) -> list[PlacedRow]:
    """Leave out rows of persons deleted after the rows were accepted."""
    live = []
    for item in rows:
        head = heads.get(item.row.primary.xid(tenant))
        if head is None or survives(item.place, head.cutoff):
            live.append(item)
        else:
            report.unchanged += 1
    return live


def _person(row: Row, rules: LinkRules) -> list[Identity]:
    """List the identities that a row says are one person, first the one with which the others are linked.

    That is the primary one, unless its namespace never links; then the first of the others that do.
    """
    named = [row.primary, *sorted(row.linked, key=lambda identity: (identity.namespace, identity.value))]
    return [identity for identity in named if identity.namespace not in rules.unlinkable] or [row.primary]


def _is_noted(assertion: Assertion, heads: Mapping[Xid, Head]) -> bool:
    pair = [head for xid in (assertion.left, assertion.right) if (head := heads.get(xid)) is not None]
    if any(head.was_blocked(assertion.place) for head in pair):
        return True
    return len(pair) == 2 and all(head.notes(assertion) for head in pair)


def _later(*cutoffs: Place | None) -> Place | None:
    return max((cutoff for cutoff in cutoffs if cutoff is not None), default=None)
