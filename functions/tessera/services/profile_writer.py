"""Writing accepted rows to the profile store, in any order and any number of times (laws 2 and 3).

The order of the steps is what survives a crash between any two of them: heads and links first, then the stream by
which the index finds an identity's events, then the rows. A row is never stored where nothing leads to it, and
repeating a step changes nothing. At last the heads of those who have events are read again, for a link that came late
may have carried an erasure to them meanwhile: see ``services.survivors``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Protocol

from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.expiry import settled_ms
from tessera.domain.graph import Assertion, Head, LinkRules, comes_late
from tessera.domain.identity import Identity, Xid
from tessera.domain.place import Place, later, survives
from tessera.domain.profile import EventStream
from tessera.domain.rows import HELD, PlacedRow, Row, RowError
from tessera.domain.tenant import Tenant
from tessera.services.computed.compiled import attributes_of
from tessera.services.event_writer import EventStore, EventWriter
from tessera.services.lease import ConfigurationChangedError, Configurations, Lease
from tessera.services.linking import HeadStore, Linker
from tessera.services.record_writer import RecordStore, RecordWriter
from tessera.services.survivors import Store as SurvivorStore
from tessera.services.survivors import Survivors
from tessera.services.write_report import WriteReport

ROWS_PER_SLICE = 1000

_HELD = "the row names an identity of a person who is held: nothing of them is taken until it is lifted"


class ProfileStore(HeadStore, EventStore, RecordStore, SurvivorStore, Protocol):
    """What writing needs of the profile table."""

    def heads(self, tenant: Tenant, xids: Iterable[Xid], executor: Executor | None = None) -> dict[Xid, Head]:
        """Read the heads that exist."""

    def add_head(self, tenant: Tenant, head: Head) -> None:
        """Write a head unless there is one."""

    def streams(
        self, tenant: Tenant, xids: Iterable[Xid], dataset_id: str, executor: Executor | None = None
    ) -> dict[Xid, EventStream]:
        """Read the streams that exist."""


class ProfileWriter:
    """Applies accepted rows of a dataset to the profile store."""

    def __init__(
        self,
        configurations: Configurations,
        store: ProfileStore,
        executor: Executor,
        watch: Callable[[int], None] = lambda size: None,
        clock: Callable[[], float] = time.monotonic,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._configurations = configurations
        self._store = store
        self._executor = executor
        self._survivors = Survivors(configurations, store, clock_ms)
        self._linker = Linker(store, executor, watch, clock_ms, self._survivors.carried)
        self._clock = clock
        self._clock_ms = clock_ms

    def apply(
        self, tenant: Tenant, dataset_id: str, rows: Sequence[PlacedRow], replaced: Collection[str] = ()
    ) -> WriteReport:
        """Write rows; when it returns, every read sees them (law 5). Safe to repeat, in whole or in part.

        ``replaced`` are the batches that the rows replace: events of theirs give way.

        Rows of a dataset that is gone, or was not enabled for profiles when they were accepted, are left alone, as are
        deleted ones (law 7), and events that were accepted and have been expired for a day.
        """
        report = WriteReport()
        for start in range(0, len(rows), ROWS_PER_SLICE):
            self._apply_slice(tenant, dataset_id, rows[start : start + ROWS_PER_SLICE], replaced, report)
        return report

    def _apply_slice(
        self,
        tenant: Tenant,
        dataset_id: str,
        rows: Sequence[PlacedRow],
        replaced: Collection[str],
        report: WriteReport,
    ) -> None:
        while True:
            lease = Lease(self._configurations, tenant, self._clock)
            try:
                report.add(self._apply_under(lease, tenant, dataset_id, rows, replaced))
            except ConfigurationChangedError:
                continue
            return

    def _apply_under(
        self, lease: Lease, tenant: Tenant, dataset_id: str, rows: Sequence[PlacedRow], replaced: Collection[str]
    ) -> WriteReport:
        configuration = lease.configuration
        report = WriteReport()
        dataset = configuration.datasets.get(dataset_id)
        if dataset is None:
            report.unchanged = len(rows)
            return report
        settled = settled_ms(dataset.horizon_ms(self._clock_ms()))
        live = [
            item
            for item in rows
            if dataset.takes(item.place) and dataset.holds(item.place) and not item.row.happened_by(settled)
        ]
        heads, held = self._prepare_heads(tenant, dataset, configuration, live)
        report.refused = {place: RowError(HELD, _HELD) for place in held}
        lease.check()
        live = [
            item for item in live if item.place not in held and _is_live(item, heads.get(item.row.primary.xid(tenant)))
        ]
        report.unchanged = len(rows) - len(live) - len(held)

        def cutoff_of(xid: Xid) -> Place | None:
            return later(dataset.cutoff, heads[xid].cutoff if xid in heads else None)

        def cutoffs_now(xids: Collection[Xid]) -> dict[Xid, Place | None]:
            lease.confirm()
            now = self._store.heads(tenant, xids, self._executor)
            return {xid: later(dataset.cutoff, now[xid].cutoff if xid in now else None) for xid in xids}

        if dataset.kind is not DatasetKind.EVENT:
            records = RecordWriter(self._store, self._executor, tenant, dataset.id, lease)
            report.add(records.write(live, cutoff_of))
            return report
        events = EventWriter(
            self._store,
            self._executor,
            tenant,
            dataset,
            lease,
            attributes_of(configuration),
            self._clock_ms,
            cutoffs_now,
            replaced,
        )
        report.add(events.write(live, cutoff_of))
        self._settle(tenant, {item.row.primary.xid(tenant) for item in live})
        return report

    def _settle(self, tenant: Tenant, xids: Collection[Xid]) -> None:
        """See that streams are where their events are, of those whom deletes have reached by now."""
        for xid, head in self._store.heads(tenant, xids, self._executor).items():
            if head.cutoff is not None:
                self._survivors.settle(tenant, xid)

    def _prepare_heads(
        self, tenant: Tenant, dataset: DatasetSettings, configuration: Configuration, rows: Sequence[PlacedRow]
    ) -> tuple[dict[Xid, Head], set[Place]]:
        """Give every identity of the rows a head and note the links they assert.

        Answers the heads that there were, and the places of rows that name somebody who is held: these leave no trace.
        """
        rules = configuration.link_rules
        named: list[tuple[PlacedRow, str, dict[Xid, Identity]]] = []
        for item in rows:
            source = configuration.datasets.get(item.row.links_as or dataset.id)
            linking = item.row.linked and source is not None and source.identity_enabled
            of_row = _person(item.row, rules) if linking else [item.row.primary]
            named.append((item, source.id if source else "", {identity.xid(tenant): identity for identity in of_row}))
        asked = {xid for _, _, person in named for xid in person} | {item.row.primary.xid(tenant) for item in rows}
        heads = self._store.heads(tenant, sorted(asked), self._executor)
        held: set[Place] = set()
        identities: dict[Xid, Identity] = {}
        links: dict[tuple[Xid, Xid, str], Place] = {}
        for item, source_id, person in named:
            primary = item.row.primary.xid(tenant)
            if any(xid in heads and heads[xid].was_held(item.place) for xid in (primary, *person)):
                held.add(item.place)
                continue
            identities |= {primary: item.row.primary, **person}
            centre, *others = person
            for xid in others:
                link = (min(centre, xid), max(centre, xid), source_id)
                links[link] = min(item.place, links.get(link, item.place))
        if nameless := {xid: one for xid, one in identities.items() if xid in heads and not heads[xid].identity.named}:
            self._linker.name(tenant, nameless)
            heads |= self._store.heads(tenant, sorted(nameless), self._executor)
        assertions = [Assertion(*link, place, configuration.datasets[link[2]].cutoff) for link, place in links.items()]
        missing = [item for item in assertions if not _is_noted(item, heads)]
        self._linker.link(tenant, rules, missing, identities, heads)
        linked = {xid for assertion in missing for xid in assertion[:2]}
        alone = [Head(xid, identity) for xid, identity in identities.items() if xid not in heads and xid not in linked]
        list(self._executor.map(lambda head: self._store.add_head(tenant, head), alone))
        if any(comes_late(assertion, heads) for assertion in missing):
            # An erasure was carried to whom these links join: their rows may be gone by now.
            heads = self._store.heads(tenant, sorted(identities), self._executor)
        repeated = [one for one in assertions if comes_late(one, heads) and one not in missing]
        if repeated:
            # Whoever noted these may have died before the streams were put right.
            ends = [heads[xid] for one in repeated for xid in one[:2] if xid in heads]
            self._settle(tenant, {xid for head in ends for xid in head.graph})
        return heads, held


def _is_live(item: PlacedRow, head: Head | None) -> bool:
    """Tell whether a row was accepted after the last delete of its person."""
    return head is None or survives(item.place, head.cutoff)


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
