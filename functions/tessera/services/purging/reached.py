"""What a deletion reaches: found, and deleted, page by page. Each step is safe to repeat, to race and to leave."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol, TypeVar

from tessera.domain.configuration import DatasetKind
from tessera.domain.graph import Head, LinkRules
from tessera.domain.identity import Xid
from tessera.domain.place import Place, later
from tessera.domain.profile import EventStream
from tessera.domain.purge import COPIES, EVENTS, LINKS, REBUILT, RECORDS, REDUCED, STREAMS, Purge
from tessera.domain.tenant import Tenant
from tessera.domain.upsert import UpdatedFragment
from tessera.services.computed.compiled import attributes_of
from tessera.services.computed.rebuilding import StreamStore, complete
from tessera.services.lease import Configurations
from tessera.services.purging.shares import Position, Share
from tessera.storage.event_table import EventKey, EventsBetween
from tessera.storage.person_index import IndexPage
from tessera.storage.record_items import ReadRecord, record_sort
from tessera.storage.registry import LostRaceError
from tessera.storage.stream_items import stream_sort

IDENTITIES_PER_PAGE = 100
# A page of 100,000 events is deleted in about a minute.
EVENTS_PER_IDENTITY = 1000
NOTHING: Mapping[Xid, str] = MappingProxyType({})

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Reached:
    """What of a page is reached: how many items by kind, which ones, and how many were looked at.

    ``later`` are the identities that have something in the dataset that came after the delete; ``unfinished`` those of
    which more is reached than is found at once, each with the key of the last event that is.
    """

    counts: Mapping[str, int]
    items: int
    later: frozenset[Xid] = frozenset()
    records: Sequence[Xid] = ()
    reduced: Sequence[tuple[ReadRecord, UpdatedFragment]] = ()
    events: Sequence[EventKey] = ()
    streams: Sequence[Xid] = ()
    rebuilt: Sequence[EventStream] = ()
    links: Collection[tuple[Xid, Xid]] = ()
    unfinished: Mapping[Xid, str] = field(default_factory=dict)


class Index(Protocol):
    """Where the identities are found that have something in a dataset: ``storage.person_index.PersonIndex``."""

    def names(self, tenant: Tenant, dataset_ids: Iterable[str], shard: int, *, graphs: bool) -> list[str]:
        """Return the partitions of a shard."""

    def page(self, tenant: Tenant, name: str, after: str, before: str, limit: int) -> IndexPage:
        """List some identities in order."""

    def count(self, tenant: Tenant, name: str) -> int:
        """Count the identities of a partition."""


class Store(StreamStore, Protocol):
    """What deleting a dataset's data needs of the profile table."""

    def heads(self, tenant: Tenant, xids: Iterable[Xid], executor: Executor | None = None) -> dict[Xid, Head]:
        """Read the heads that exist."""

    def records(
        self, tenant: Tenant, xids: Iterable[Xid], dataset_id: str, executor: Executor | None = None
    ) -> dict[Xid, ReadRecord]:
        """Read the records that exist."""

    def change_record(
        self, tenant: Tenant, xid: Xid, dataset_id: str, fragment: UpdatedFragment, before: ReadRecord | None
    ) -> bool:
        """Write a record in place of what was read, or raise LostRaceError."""

    def streams(
        self, tenant: Tenant, xids: Iterable[Xid], dataset_id: str, executor: Executor | None = None
    ) -> dict[Xid, EventStream]:
        """Read the streams that exist."""

    def events_between(
        self,
        tenant: Tenant,
        xid: Xid,
        dataset_id: str,
        low: str,
        high: str,
        *,
        until: str = "",
        limit: int | None = None,
    ) -> EventsBetween:
        """List the events and copies at places between two, up to one, at most so many of them."""

    def delete_at_or_below(self, tenant: Tenant, xid: Xid, sort: str, cutoff: Place) -> None:
        """Delete an item, unless it has a place above the cutoff by now."""


class Links(Protocol):
    """Where links are: ``services.linking.Linker``."""

    def withdraw(self, tenant: Tenant, rules: LinkRules, one: Xid, other: Xid, source: str, cutoff: Place) -> None:
        """Forget what a dataset said of a link."""


class DatasetRows:
    """What a deletion reaches of a dataset, found by the index, which has every identity with something in it.

    Links go first, where they are to go, and the events of an identity and copies of them before its stream: while
    something is left, the index leads to it.
    """

    def __init__(
        self,
        configurations: Configurations,
        index: Index,
        store: Store,
        links: Links,
        executor: Executor,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._configurations = configurations
        self._index = index
        self._store = store
        self._links = links
        self._executor = executor
        self._clock_ms = clock_ms

    def identities(self, tenant: Tenant, job: Purge, share: Share, at: Position) -> tuple[list[Xid], Position | None]:
        """List the identities of the page at a position, and where the next one is."""
        xids: list[Xid] = []
        number, after = at
        while number < len(share.shards):
            (name,) = self._index.names(tenant, [job.dataset_id], share.shards[number], graphs=False)
            page = self._index.page(tenant, name, after, "", IDENTITIES_PER_PAGE - len(xids))
            xids += page.xids
            if page.more and page.xids:
                return xids, Position(number, page.xids[-1])
            number, after = number + 1, ""
            if len(xids) >= IDENTITIES_PER_PAGE:
                break
        return xids, Position(number) if number < len(share.shards) else None

    def find(self, tenant: Tenant, job: Purge, xids: Sequence[Xid], until: Mapping[Xid, str] = NOTHING) -> Reached:
        """Find what the job reaches of identities, whatever the index said: everything is read, strongly consistent.

        Of those ``until`` names it finds events up to the one with this key.
        """
        event = job.dataset_kind is DatasetKind.EVENT
        found = self._find_events(tenant, job, xids, until) if event else self._find_records(tenant, job, xids)
        return self._with_links(tenant, job, found, xids) if job.remove_links else found

    def _find_records(self, tenant: Tenant, job: Purge, xids: Sequence[Xid]) -> Reached:
        found = self._store.records(tenant, xids, job.dataset_id, self._executor)
        whole = [xid for xid, record in found.items() if record.place <= job.cutoff]
        partly = [
            (record, left)
            for record in found.values()
            if record.place > job.cutoff
            if (left := record.remainder(tenant, job.dataset_id, job.cutoff)) is not None
        ]
        later_ones = frozenset(found) - frozenset(whole)
        counts = {RECORDS: len(whole), REDUCED: len(partly)}
        return Reached(counts, len(found), later_ones, records=whole, reduced=partly)

    def delete(self, tenant: Tenant, job: Purge, found: Reached) -> None:
        """Delete what was found; what is later than the cutoff by now stays."""
        dataset_id, cutoff = job.dataset_id, job.cutoff
        rules = self._configurations.current(tenant).link_rules
        for one, other in sorted(found.links):
            self._links.withdraw(tenant, rules, one, other, dataset_id, cutoff)
        sort = record_sort(dataset_id)
        self._each(lambda xid: self._store.delete_at_or_below(tenant, xid, sort, cutoff), found.records)
        self._each(lambda item: self._reduce(tenant, job, *item), found.reduced)
        self._each(lambda event: self._store.delete_at_or_below(tenant, event.xid, event.sort, cutoff), found.events)
        sort = stream_sort(dataset_id)
        self._each(lambda xid: self._store.delete_at_or_below(tenant, xid, sort, cutoff), found.streams)
        self._rebuild(tenant, job, found.rebuilt)

    def _find_events(self, tenant: Tenant, job: Purge, xids: Sequence[Xid], until: Mapping[Xid, str]) -> Reached:
        streams = self._store.streams(tenant, xids, job.dataset_id, self._executor)
        read = self._executor.map(
            lambda xid: self._store.events_between(
                tenant,
                xid,
                job.dataset_id,
                "0",
                job.cutoff,
                until=until.get(xid, ""),
                limit=None if xid in until else EVENTS_PER_IDENTITY,
            ),
            xids,
        )
        events: list[EventKey] = []
        items = len(streams)
        unfinished = dict(until)
        for xid, listed in zip(xids, read, strict=True):
            events += listed.events
            items += listed.looked_at
            if listed.more:
                unfinished[xid] = listed.events[-1].sort
        # While events are left, the index leads to them by the stream.
        ending = [stream for xid, stream in streams.items() if xid not in unfinished]
        dead = [stream.xid for stream in ending if stream.place <= job.cutoff]
        stale = [stream for stream in ending if stream.place > job.cutoff and not stream.state.is_current(job.cutoff)]
        copies = sum(event.is_copy for event in events)
        counts = {EVENTS: len(events) - copies, COPIES: copies, STREAMS: len(dead), REBUILT: len(stale)}
        later_ones = frozenset(xid for xid, stream in streams.items() if stream.place > job.cutoff)
        return Reached(counts, items, later_ones, events=events, streams=dead, rebuilt=stale, unfinished=unfinished)

    def _with_links(self, tenant: Tenant, job: Purge, found: Reached, xids: Sequence[Xid]) -> Reached:
        """Add the links that the dataset asserted of identities.

        Which rows said so is not known: those of whom rows came later keep theirs.
        """
        asked = [xid for xid in xids if xid not in found.later]
        links = {
            (min(xid, other), max(xid, other))
            for xid, head in self._store.heads(tenant, asked, self._executor).items()
            for (other, source), place in head.assertions.items()
            if source == job.dataset_id and place <= job.cutoff
        }
        return replace(found, counts={**found.counts, LINKS: len(links)}, links=links)

    def _reduce(self, tenant: Tenant, job: Purge, record: ReadRecord, left: UpdatedFragment) -> None:
        """Write what is left of a record, from a fresh reading if somebody else wrote it meanwhile."""
        xid = record.xid
        known: ReadRecord | None = record
        remainder: UpdatedFragment | None = left
        while known is not None and remainder is not None:
            try:
                self._store.change_record(tenant, xid, job.dataset_id, remainder, known)
            except LostRaceError:
                known = self._store.records(tenant, [xid], job.dataset_id).get(xid)
                remainder = known.remainder(tenant, job.dataset_id, job.cutoff) if known is not None else None
            else:
                return

    def _rebuild(self, tenant: Tenant, job: Purge, streams: Sequence[EventStream]) -> None:
        """Build the state of streams that go on anew: it counts events that are gone."""
        if not streams:
            return
        configuration = self._configurations.current(tenant)
        attributes, dataset = attributes_of(configuration), configuration.datasets.get(job.dataset_id)
        if dataset is None:
            return
        heads = self._store.heads(tenant, [stream.xid for stream in streams], self._executor)

        def rebuild(stream: EventStream) -> None:
            head = heads.get(stream.xid)
            cutoff = later(job.cutoff, head.cutoff if head is not None else None)
            complete(self._store, tenant, stream, attributes, cutoff, dataset.horizon_ms, self._clock_ms)

        self._each(rebuild, streams)

    def _each(self, do: Callable[[Item], None], items: Iterable[Item]) -> None:
        list(self._executor.map(do, items))
