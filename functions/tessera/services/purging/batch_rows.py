"""What the deletion of a batch reaches: the events at its places, of the identities that it may be about.

The rows of a batch tell whom it is about. Those that were streamed lie in the lake without their places, and
only the window that gathered them knows these: its events are found by the index, as those of a dataset are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from tessera.domain.identity import Xid
from tessera.domain.place import Place
from tessera.domain.profile import Event
from tessera.domain.purge import EVENTS, SETTLED, Purge
from tessera.domain.tenant import Tenant
from tessera.services.event_removal import CountedEvents, EventRemover
from tessera.services.ingestion.staged import placed
from tessera.services.purging.reached import Reached
from tessera.services.purging.shares import Position, Share
from tessera.storage.event_table import EventKey

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

    def events_between(
        self, tenant: Tenant, xid: Xid, dataset_id: str, low: str, high: str
    ) -> tuple[list[EventKey], int]:
        """List the events at places between two, and tell how many were looked at."""


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

    def find(self, tenant: Tenant, job: Purge, xids: Sequence[Xid]) -> Reached:
        """Find the events of identities that are at places of the batch, whatever they were staged as."""
        places = self._places(tenant, job)
        read = self._executor.map(
            lambda xid: self._store.events_between(tenant, xid, job.dataset_id, places.low, places.high), xids
        )
        events: list[EventKey] = []
        items = 0
        for keys, looked_at in read:
            events += [event for event in keys if places.has(event.place)]
            items += looked_at
        return Reached({EVENTS: len(events), SETTLED: len({event.xid for event in events})}, items, events=events)

    def delete(self, tenant: Tenant, job: Purge, found: Reached) -> None:
        """Delete what was found; an event that another batch brought by now stays."""
        brought = self._places(tenant, job).has
        by_identity: dict[Xid, list[Event]] = defaultdict(list)
        for event in found.events:
            by_identity[event.xid].append(Event(event.xid, event.key, job.dataset_id, event.place, {}))
        list(self._executor.map(lambda events: self._remover.remove(tenant, brought, events), by_identity.values()))


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
