"""Putting the events of before an attribute was published into the stored state (design: Computed attributes).

    time | a writer of before                   | the machine                         | a writer of after
    -----|--------------------------------------|-------------------------------------|------------------------------
      0  | reads the configuration              |                                     |
      1  |                                      | attribute n is published            |
      2  | writes an event by itself            | waits                               |
      3  |                                      |                                     | writes an event and, as it
         |                                      |                                     | counts in n, the stream
     30  | its lease is over: it reads again    |                                     |
    210  |                                      | reads a stream and its events       |
    211  |                                      |                                     | writes an event and the stream
    212  |                                      | writes the state: lost, reads again |

So every event is either read by the machine or changes the stream that the machine is about to write. What a stream is
complete for is kept in its state: whatever is repeated, cut off or done by another attribute's machine is found done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from tessera.domain.computed.definition import Definition, Progress, Status
from tessera.domain.configuration import DatasetKind
from tessera.domain.graph import Head
from tessera.domain.identity import Xid
from tessera.domain.place import later
from tessera.domain.profile import EventStream
from tessera.domain.tenant import Tenant
from tessera.services.computed.compiled import attributes_of
from tessera.services.computed.rebuilding import StreamStore, complete
from tessera.services.lease import Configurations
from tessera.services.stream_shares import BEGINNING, END, Index, Notes, Reached, Share, next_page, shares_of

# A page that was begun at the last moment, and its busiest identity, still end within a function's ten minutes.
MAX_SECONDS = 300.0
MAX_WAIT_SECONDS = 240.0
# One that failed is taken up again by another execution.
_TO_DO = frozenset({Status.INITIALIZING, Status.PROCESSING, Status.FAILED})


class BusyIdentityError(Exception):
    """Events of one identity came in so fast that its state could not be written for minutes."""


class Catalogue(Protocol):
    """Where it is noted how far backfills are: ``AttributeCatalogue``."""

    def get(self, tenant: Tenant, attribute_id: str) -> Definition:
        """Read a definition or raise NotFoundError."""

    def each(self, tenant: Tenant) -> Iterator[Definition]:
        """Walk all of a sandbox."""

    def advance(
        self,
        tenant: Tenant,
        attribute_id: str,
        status: Status,
        *,
        progress: Progress | None = None,
        failure: str = "",
    ) -> Definition:
        """Note how far a backfill is."""


class Store(StreamStore, Protocol):
    """What filling needs of the profile table."""

    def streams(
        self, tenant: Tenant, xids: Iterable[Xid], dataset_id: str, executor: Executor | None = None
    ) -> dict[Xid, EventStream]:
        """Read the streams that exist."""

    def heads(self, tenant: Tenant, xids: Iterable[Xid], executor: Executor | None = None) -> dict[Xid, Head]:
        """Read the heads that exist."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a worker is, and how many identities it has dealt with.

    ``rebuilt`` is of how many it wrote the state; the others had been complete.
    """

    at: Reached = BEGINNING
    identities: int = 0
    rebuilt: int = 0

    def to_document(self) -> dict[str, Any]:
        """Write it as the JSON document that is stored."""
        return {**self.at._asdict(), "identities": self.identities, "rebuilt": self.rebuilt}

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> Self:
        """Read it; ``None`` is one that has not begun."""
        if document is None:
            return cls()
        return cls(Reached(document["shard"], document["after"]), document["identities"], document["rebuilt"])


class Backfill:
    """The course of a backfill. Each step is safe to repeat, and leaves a disabled attribute alone."""

    def __init__(
        self, catalogue: Catalogue, configurations: Configurations, index: Index, notes: Notes, executor: Executor
    ) -> None:
        self._catalogue = catalogue
        self._configurations = configurations
        self._index = index
        self._notes = notes
        self._executor = executor

    def begin(self, tenant: Tenant, attribute_id: str) -> bool:
        """Note that the work begins; tell whether there is any. Raises NotFoundError."""
        return self._catalogue.advance(tenant, attribute_id, Status.INITIALIZING).status in _TO_DO

    def plan(self, tenant: Tenant, attribute_id: str) -> int:
        """Divide the streams into shares and return how many. Every writer has to know the attribute by now.

        Datasets that are not enabled for profiles are among them: they may be once more, with what they have. What the
        index does not show by now was written by somebody who knew the attribute.
        """
        if self._catalogue.advance(tenant, attribute_id, Status.PROCESSING).status not in _TO_DO:
            return 0
        datasets = self._configurations.current(tenant).datasets.values()
        shares = [
            share
            for dataset in datasets
            if dataset.kind is DatasetKind.EVENT
            for share in shares_of(self._index, self._executor, tenant, dataset.id)
        ]
        self._notes.write_shares(tenant, attribute_id, [share.to_document() for share in shares])
        return len(shares)

    def finish(self, tenant: Tenant, attribute_id: str) -> None:
        """Make the attribute readable. Raises RuntimeError when a share is not done."""
        if self._catalogue.get(tenant, attribute_id).status not in _TO_DO:
            return
        shares = _shares(self._notes, tenant, attribute_id)
        done = _checkpoints(self._notes, tenant, attribute_id, shares)
        for share, checkpoint in zip(shares, done, strict=True):
            if not checkpoint.at.done:
                raise RuntimeError(f"share {share.name} of the backfill of {attribute_id} is not done")
        identities = sum(checkpoint.identities for checkpoint in done)
        self._catalogue.advance(tenant, attribute_id, Status.PROCESSED, progress=Progress(identities, identities))

    def fail(self, tenant: Tenant, attribute_id: str, reason: str) -> None:
        """Note that the machine gave up. What is complete stays so."""
        self._catalogue.advance(tenant, attribute_id, Status.FAILED, failure=reason)


class Filler:
    """Completes the streams of a share. ``clock`` gives seconds, ``clock_ms`` milliseconds since 1970."""

    def __init__(
        self,
        catalogue: Catalogue,
        configurations: Configurations,
        index: Index,
        store: Store,
        notes: Notes,
        executor: Executor,
        clock: Callable[[], float] = time.monotonic,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._catalogue = catalogue
        self._configurations = configurations
        self._index = index
        self._store = store
        self._notes = notes
        self._executor = executor
        self._clock = clock
        self._clock_ms = clock_ms
        self._pause = pause

    def fill(self, tenant: Tenant, attribute_id: str, share: Share) -> bool:
        """Complete streams for some minutes; tell whether the share is done. Raises NotFoundError, BusyIdentityError.

        Safe to repeat, to race and to leave at any point.
        """
        number = self._catalogue.get(tenant, attribute_id).number or 0
        (reached,) = _checkpoints(self._notes, tenant, attribute_id, [share])
        deadline = self._clock() + MAX_SECONDS
        while not reached.at.done and self._clock() < deadline:
            reached = self._after_next_page(tenant, number, share, reached)
            self._notes.write_checkpoint(tenant, attribute_id, share.name, reached.to_document())
        self._note_progress(tenant, attribute_id)
        return reached.at.done

    def _after_next_page(self, tenant: Tenant, number: int, share: Share, reached: Checkpoint) -> Checkpoint:
        generation = max([number, *self._known_to_all(tenant)])
        configuration = self._configurations.current(tenant)
        dataset = configuration.datasets.get(share.dataset_id)
        if dataset is None or all(one.number != number for one in configuration.attributes.values()):
            # Deleted, or disabled: no read will ask for it.
            return replace(reached, at=END)
        xids, at = next_page(self._index, tenant, share, reached.at)
        streams = self._store.streams(tenant, xids, share.dataset_id, self._executor)
        missing = [stream for stream in streams.values() if stream.state.generation < generation]
        heads = self._store.heads(tenant, [stream.xid for stream in missing], self._executor)
        dataset_cutoff = dataset.cutoff
        cutoffs = {xid: later(dataset_cutoff, head.cutoff) for xid, head in heads.items()}
        attributes, pause = attributes_of(configuration), self._patience()

        def rebuild(stream: EventStream) -> bool:
            cutoff = cutoffs.get(stream.xid, dataset_cutoff)
            return complete(
                *(self._store, tenant, stream, attributes, cutoff, dataset.horizon_ms, self._clock_ms),
                pause=pause,
                generation=generation,
            )

        rebuilt = sum(self._executor.map(rebuild, missing))
        return Checkpoint(at, reached.identities + len(xids), reached.rebuilt + rebuilt)

    def _known_to_all(self, tenant: Tenant) -> Iterator[int]:
        """List the numbers of attributes that every writer knows by now: those whose wait is over."""
        for one in self._catalogue.each(tenant):
            if one.number is not None and one.status in {Status.PROCESSING, Status.PROCESSED}:
                yield one.number

    def _patience(self) -> Callable[[float], None]:
        """Return what waits after a lost race, and raises BusyIdentityError when that has gone on for minutes."""
        deadline = self._clock() + MAX_WAIT_SECONDS

        def pause(seconds: float) -> None:
            if self._clock() > deadline:
                raise BusyIdentityError("an identity's events came in too fast for minutes; try again later")
            self._pause(seconds)

        return pause

    def _note_progress(self, tenant: Tenant, attribute_id: str) -> None:
        shares = _shares(self._notes, tenant, attribute_id)
        dealt_with = sum(one.identities for one in _checkpoints(self._notes, tenant, attribute_id, shares))
        planned = sum(share.identities for share in shares)
        progress = Progress(dealt_with, max(dealt_with, planned))
        self._catalogue.advance(tenant, attribute_id, Status.PROCESSING, progress=progress)


def _shares(notes: Notes, tenant: Tenant, attribute_id: str) -> list[Share]:
    return [Share.from_document(document) for document in notes.shares(tenant, attribute_id)]


def _checkpoints(notes: Notes, tenant: Tenant, attribute_id: str, shares: Sequence[Share]) -> list[Checkpoint]:
    found = notes.checkpoints(tenant, attribute_id, [share.name for share in shares])
    return [Checkpoint.from_document(document) for document in found]
