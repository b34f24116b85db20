"""What the deletion of a batch reaches: the events at its places, of the identities that it may be about.

The rows of a batch tell whom it is about. Those that were streamed lie in the lake without their places, and
only the window that gathered them knows these: its events are found by the index, as those of a dataset are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from tessera.domain.identity import Xid
from tessera.domain.place import END_OF_TIME, Place
from tessera.domain.profile import Event
from tessera.domain.purge import COPIES, EVENTS, SETTLED, Purge
from tessera.domain.tenant import Tenant
from tessera.services.event_removal import CountedEvents, EventRemover
from tessera.services.ingestion.staged import placed
from tessera.services.purging.reached import NOTHING, Reached
from tessera.services.purging.shares import Position, Share, added
from tessera.storage.event_table import EventKey, EventsBetween

_ROWS_PER_PAGE = 1000
# Behind everything that a place can have after the batch.
_BEHIND = "~"


@dataclass(frozen=True, slots=True)
class Places:
    """The places of a batch: from ``low`` up to ``high``, and there those that ``has`` tells."""

    low: str
    high: str
    has: Callable[[Place], bool]


class Listing(Protocol):
    """Whom a batch may be about."""

    def identities(self, tenant: Tenant, job: Purge, share: Share, at: Position) -> tuple[list[Xid], Position | None]:
        """List the identities of the page at a position, and where the next one is."""


class Staged(Protocol):
    """Where the rows of batches are as they were judged: ``storage.lake.Lake``."""

    def staged(self, tenant: Tenant, batch_id: str, chunk: str) -> Iterator[bytes]:
        """Read accepted rows."""


class Store(CountedEvents, Protocol):
    """What deleting a batch's events needs of the profile table."""

    def copies(self, tenant: Tenant, xid: Xid, dataset_id: str) -> list[Event]:
        """Read the copies of an identity's events in a dataset."""

    def events_between(self, tenant: Tenant, xid: Xid, dataset_id: str, low: str, high: str) -> EventsBetween:
        """List the events and copies at places between two."""


class BatchRows:
    """What a deletion reaches of a batch. Events leave together with their share of computed attributes."""

    def __init__(
        self,
        listing: Listing,
        places: Callable[[Tenant, Purge], Places],
        store: Store,
        remover: EventRemover,
        executor: Executor,
    ) -> None:
        self.identities = listing.identities
        self._places = places
        self._store = store
        self._remover = remover
        self._executor = executor

    def find(self, tenant: Tenant, job: Purge, xids: Sequence[Xid], until: Mapping[Xid, str] = NOTHING) -> Reached:
        """Find the events of identities that are at places of the batch, whatever they were staged as; all at once.

        And copies of which a worker who died has shown none.
        """
        places = self._places(tenant, job)
        found = list(self._executor.map(lambda xid: self._find(tenant, job, places, xid), xids))
        counts = added(one.counts for one in found)
        items = sum(one.items for one in found)
        return Reached(counts, items, events=[event for one in found for event in one.events])

    def _find(self, tenant: Tenant, job: Purge, places: Places, xid: Xid) -> Reached:
        listed = self._store.events_between(tenant, xid, job.dataset_id, places.low, places.high)
        mine = [one for one in listed.events if places.has(one.place)]
        copies = sum(one.is_copy for one in mine)
        counts = {EVENTS: len(mine) - copies, COPIES: copies, SETTLED: int(copies < len(mine))}
        return Reached(counts, listed.looked_at, events=[*mine, *self._lost(tenant, job, xid)])

    def _lost(self, tenant: Tenant, job: Purge, xid: Xid) -> list[EventKey]:
        """Return the copies of an identity's events of which nothing is shown at a lower place."""
        if not self._store.copies(tenant, xid, job.dataset_id):
            return []
        stored = self._store.events_between(tenant, xid, job.dataset_id, "0", END_OF_TIME).events
        shown = {one.key: one.place for one in stored if not one.is_copy}
        return [one for one in stored if one.is_copy and shown.get(one.key, END_OF_TIME) > one.place]

    def delete(self, tenant: Tenant, job: Purge, found: Reached) -> None:
        """Delete what was found; an event that another batch brought by now stays."""
        brought = self._places(tenant, job).has
        by_identity: dict[Xid, dict[str, Event]] = defaultdict(dict)
        for event in found.events:
            by_identity[event.xid][event.key] = Event(event.xid, event.key, job.dataset_id, event.place, {})
        of_each = [list(events.values()) for events in by_identity.values()]
        list(self._executor.map(lambda events: self._remover.remove(tenant, brought, events), of_each))


def places_of_prefix(tenant: Tenant, job: Purge) -> Places:
    """Return the places of a batch that was ingested: they begin alike."""
    return Places(job.prefix, job.prefix + _BEHIND, lambda place: place.startswith(job.prefix))


class StagedListing:
    """Lists whom the staged rows of a batch are about."""

    def __init__(self, staged: Staged) -> None:
        self._staged = staged
        self._reading: tuple[tuple[str, str, int], Iterator[bytes]] | None = None

    def identities(self, tenant: Tenant, job: Purge, share: Share, at: Position) -> tuple[list[Xid], Position | None]:
        """List the identities of the rows of the page at a position, and where the next one is."""
        # Lines and not rows are counted: who is erased meanwhile leaves an empty one.
        lines = self._lines(tenant, job, share, at.number)
        page = list(islice(lines, _ROWS_PER_PAGE))
        behind = at.number + len(page)
        self._reading = ((job.id, share.name, behind), lines)
        # Where in its file a row was does not matter here: the whole batch goes.
        xids = list(dict.fromkeys(item.row.primary.xid(tenant) for item in placed(page, 0, job.batch_id, 0)))
        return xids, Position(behind) if len(page) == _ROWS_PER_PAGE else None

    def _lines(self, tenant: Tenant, job: Purge, share: Share, number: int) -> Iterator[bytes]:
        """Read the lines of a chunk behind so many; whoever goes on where it was, reads on."""
        if self._reading is not None and self._reading[0] == (job.id, share.name, number):
            return self._reading[1]
        lines = self._staged.staged(tenant, job.batch_id, share.chunk)
        for _ in islice(lines, number):
            pass
        return lines
