"""Bringing the stored events of a dataset into line with its TTL (contract: profile-api §10).

No read depends on it for events: those are shown or not by the dataset's settings. It says until when each is stored,
deletes those whose time is long over, and finds out what the newest event of every stream is, by which is known that
somebody has none left. Each of these can be repeated, raced and left at any point.

It begins when no writer is left that goes by the settings of before. Then every writer that writes an event newer than
its stream knows changes the stream first: so either that event is read here, or the stream is another by the time that
it is written.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

from tessera.domain.configuration import DatasetSettings
from tessera.domain.deletion import JobStatus
from tessera.domain.expiry import BEGINNING_MS, Expiry
from tessera.domain.graph import Head
from tessera.domain.identity import Xid
from tessera.domain.place import Place, later, survives
from tessera.domain.profile import EventStream
from tessera.domain.tenant import Tenant
from tessera.services.expirations import Jobs
from tessera.services.lease import ConfigurationChangedError, Configurations, Lease
from tessera.services.stream_shares import BEGINNING, END, Index, Notes, Reached, Share, next_page, shares_of
from tessera.storage.profile_items import timestamp_of
from tessera.storage.registry import LostRaceError
from tessera.storage.stored_events import StoredEvent

MAX_SECONDS = 300.0
_LONGEST_PAUSE_S = 0.5
_EVENTS_BETWEEN_CHECKS = 100


class Events(Protocol):
    """Until when events are stored: ``storage.stored_events.StoredEvents``."""

    def each(self, tenant: Tenant, xid: Xid, dataset_id: str) -> Iterator[StoredEvent]:
        """Walk the events of an identity in a dataset."""

    def keep_until(self, tenant: Tenant, xid: Xid, event: StoredEvent, until_s: int | None) -> None:
        """Say anew until when one is stored, unless it was written since."""

    def delete(self, tenant: Tenant, xid: Xid, event: StoredEvent) -> None:
        """Delete one, unless it was written since."""


class Store(Protocol):
    """What is needed of the profile table."""

    def heads(self, tenant: Tenant, xids: Iterable[Xid], executor: Executor | None = None) -> dict[Xid, Head]:
        """Read the heads that exist."""

    def streams(
        self, tenant: Tenant, xids: Iterable[Xid], dataset_id: str, executor: Executor | None = None
    ) -> dict[Xid, EventStream]:
        """Read the streams that exist."""

    def put_stream(self, tenant: Tenant, stream: EventStream, replaced: EventStream | None) -> None:
        """Write a stream or raise LostRaceError."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a worker is, and what it has done.

    What a worker did of a page before it was cut off is not counted.
    """

    at: Reached = BEGINNING
    counts: Mapping[str, int] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """Write it as the JSON document that is stored."""
        return {**self.at._asdict(), "counts": dict(self.counts)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> Self:
        """Read it; ``None`` is one that has not begun."""
        return cls() if document is None else cls(Reached(document["shard"], document["after"]), document["counts"])


class Course:
    """The course of a job. Each step is safe to repeat; ``clock_ms`` gives milliseconds since 1970."""

    def __init__(
        self,
        jobs: Jobs,
        index: Index,
        notes: Notes,
        executor: Executor,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._jobs = jobs
        self._index = index
        self._notes = notes
        self._executor = executor
        self._clock_ms = clock_ms

    def plan(self, tenant: Tenant, job_id: str) -> int:
        """Divide the dataset's streams into shares and return how many. Raises NotFoundError."""
        job = self._jobs.change(tenant, job_id, lambda known: known.started(self._clock_ms()))
        if job.status is JobStatus.SUCCESS:
            return 0
        shares = list(shares_of(self._index, self._executor, tenant, job.dataset_id))
        self._notes.write_shares(tenant, job_id, [share.to_document() for share in shares])
        return len(shares)

    def finish(self, tenant: Tenant, job_id: str) -> None:
        """Note that all is done. Raises RuntimeError when a share is not."""
        names = [Share.from_document(document).name for document in self._notes.shares(tenant, job_id)]
        counts: Counter[str] = Counter(identities=0, stamped=0, deleted=0)
        for name, document in zip(names, self._notes.checkpoints(tenant, job_id, names), strict=True):
            reached = Checkpoint.from_document(document)
            if not reached.at.done:
                raise RuntimeError(f"share {name} of job {job_id} is not done")
            counts.update(reached.counts)
        self._jobs.change(tenant, job_id, lambda known: known.succeeded(dict(counts), self._clock_ms()))

    def fail(self, tenant: Tenant, job_id: str, reason: str) -> None:
        """Note that the machine gave up; no read depends on what it had still to do."""
        self._jobs.change(tenant, job_id, lambda known: known.failed(reason, self._clock_ms()))


class Stamper:
    """Works through shares. ``clock`` gives seconds, ``clock_ms`` milliseconds since 1970."""

    def __init__(
        self,
        configurations: Configurations,
        index: Index,
        store: Store,
        events: Events,
        notes: Notes,
        executor: Executor,
        clock: Callable[[], float] = time.monotonic,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._configurations = configurations
        self._index = index
        self._store = store
        self._events = events
        self._notes = notes
        self._executor = executor
        self._clock = clock
        self._clock_ms = clock_ms
        self._pause = pause

    def stamp(self, tenant: Tenant, job_id: str, share: Share) -> bool:
        """Go through streams for some minutes; tell whether the share is done."""
        (document,) = self._notes.checkpoints(tenant, job_id, [share.name])
        reached = Checkpoint.from_document(document)
        deadline = self._clock() + MAX_SECONDS
        while not reached.at.done and self._clock() < deadline:
            reached = self._after_next_page(tenant, share, reached, deadline)
            self._notes.write_checkpoint(tenant, job_id, share.name, reached.to_document())
        return reached.at.done

    def _after_next_page(self, tenant: Tenant, share: Share, reached: Checkpoint, deadline: float) -> Checkpoint:
        xids, at = next_page(self._index, tenant, share, reached.at)
        counts = Counter(reached.counts)
        while True:
            lease = Lease(self._configurations, tenant, self._clock)
            dataset = lease.configuration.datasets.get(share.dataset_id)
            if dataset is None or dataset.expiry is None:
                # Deleted: no read will ask for it.
                return Checkpoint(END, counts)
            work = _Work(self._events, tenant, dataset, dataset.expiry, lease, self._clock, deadline)
            try:
                return self._through(work, xids, Checkpoint(at, counts), reached)
            except ConfigurationChangedError:
                continue

    def _through(self, work: _Work, xids: Sequence[Xid], after: Checkpoint, before: Checkpoint) -> Checkpoint:
        """Go through identities side by side; where there was no time for all, the same page is begun again."""
        tenant, dataset = work.tenant, work.dataset
        streams = self._store.streams(tenant, xids, dataset.id, self._executor)
        heads = self._store.heads(tenant, list(streams), self._executor)

        def bring(stream: EventStream) -> _Done:
            cutoff = later(dataset.cutoff, heads[stream.xid].cutoff if stream.xid in heads else None)
            return self._bring(work, stream, cutoff)

        done = list(self._executor.map(bring, streams.values()))
        counts = Counter(after.counts)
        for one in done:
            counts.update(one.counts)
        if not all(one.whole for one in done):
            return Checkpoint(before.at, counts)
        counts["identities"] += len(streams)
        return Checkpoint(after.at, counts)

    def _bring(self, work: _Work, stream: EventStream, cutoff: Place | None) -> _Done:
        """Bring one identity's events into line, and note on the stream what its newest is."""
        counts: Counter[str] = Counter()
        known: EventStream | None = stream
        while known is not None:
            done = work.stamp(known.xid, cutoff, self._clock_ms())
            counts.update(done.counts)
            if not done.whole or known.of_all:
                return _Done(done.whole, counts)
            work.lease.check()
            newest = max(done.newest_ms, BEGINNING_MS if known.newest_ms is None else known.newest_ms)
            try:
                self._store.put_stream(work.tenant, replace(known, newest_ms=newest, of_all=True), known)
            except LostRaceError:
                self._pause(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 - jitter
                known = self._store.streams(work.tenant, [known.xid], known.dataset_id).get(known.xid)
            else:
                break
        return _Done(True, counts)


@dataclass(frozen=True, slots=True)
class _Done:
    """What was done of an identity's events, and whether there was time for all."""

    whole: bool
    counts: Counter[str]
    newest_ms: int = BEGINNING_MS


@dataclass(frozen=True, slots=True)
class _Work:
    """What a page is worked on with: the dataset's settings, for as long as they may be gone by."""

    events: Events
    tenant: Tenant
    dataset: DatasetSettings
    expiry: Expiry
    lease: Lease
    clock: Callable[[], float]
    deadline: float

    def stamp(self, xid: Xid, cutoff: Place | None, now_ms: int) -> _Done:
        """Say of each event of an identity until when it is stored, and delete it if that is past."""
        counts: Counter[str] = Counter()
        newest = BEGINNING_MS
        for number, event in enumerate(self.events.each(self.tenant, xid, self.dataset.id)):
            if number % _EVENTS_BETWEEN_CHECKS == 0:
                self.lease.check()
                if number and self.clock() > self.deadline:
                    return _Done(False, counts)
            timestamp = timestamp_of(event.key)
            if survives(event.place, cutoff):
                newest = max(newest, timestamp)
            until = self.expiry.stored_until_s(timestamp, now_ms, event.stored_until_s)
            if until is not None and until * 1000 <= now_ms:
                self.events.delete(self.tenant, xid, event)
                counts["deleted"] += 1
            elif until != event.stored_until_s:
                self.events.keep_until(self.tenant, xid, event, until)
                counts["stamped"] += 1
        return _Done(True, counts, newest)
