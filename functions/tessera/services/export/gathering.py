"""Reading everybody of a share and merging them as a look-up would, row by row.

What a worker noted it has gathered stays so; what it had gathered beyond, when it was cut off, is gathered anew under
another name. So however often and by how many workers a share is gone through, each of its persons is in one row.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import orjson

from tessera.domain.configuration import Configuration
from tessera.domain.export.job import EVENTS_COLUMN, ExportJob, Wanted, WantedEvents
from tessera.domain.export.qualification import batches_of
from tessera.domain.export.rows import with_entries
from tessera.domain.export.shape import Shape
from tessera.domain.export.share import Checkpoint, Counts, Part, Share
from tessera.domain.fields import Selection, select, selection, selects
from tessera.domain.place import accepted_ms
from tessera.domain.profile import Event
from tessera.domain.tenant import Tenant
from tessera.domain.times import DAY_MS
from tessera.services.export.ports import Index, Jobs, Lake
from tessera.services.export.walking import Walk
from tessera.services.lease import Configurations
from tessera.services.persons import LeftOut, Position, standing_persons
from tessera.services.profile_reader import IdentityStore, Person, ProfileReader
from tessera.services.timeline import EventStore, Timeline, Window

# A page of the richest persons that was begun at the last moment still ends within a function's ten minutes.
MAX_SECONDS = 300.0
# What a worker holds of rows; and how long until what it has gathered is noted.
MAX_PART_BYTES = 32_000_000
MAX_PART_SECONDS = 60.0
# How old what a worker knows of its job and of the configuration may be: thousands of them read the same few items.
MAX_JOB_SECONDS = 5.0
MAX_CONFIGURATION_SECONDS = 1.0
_PAGE = 100
_PERSONS_AHEAD = 16
_EVENTS_PAGE = 1000


class Store(IdentityStore, EventStore, Protocol):
    """What gathering needs of the profile table."""


class Gatherer:
    """Gathers the rows of a share. ``clock`` gives seconds, ``clock_ms`` milliseconds since 1970.

    ``readers`` read from storage side by side; ``walkers`` wait for them, each for one person's events.
    """

    def __init__(
        self,
        jobs: Jobs,
        configurations: Configurations,
        index: Index,
        store: Store,
        lake: Lake,
        readers: Executor,
        walkers: Executor,
        clock: Callable[[], float] = time.monotonic,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._jobs = jobs
        self._configurations = configurations
        self._index = index
        self._lake = lake
        self._readers = readers
        self._walkers = walkers
        self._clock = clock
        self._clock_ms = clock_ms
        self._reader = ProfileReader(configurations, store, readers)
        self._timeline = Timeline(store, readers, clock)

    def gather(self, tenant: Tenant, job_id: int, share: Share) -> bool:
        """Gather rows for some minutes; tell whether the share is done, as it is when the job is over.

        Safe to repeat, to race and to leave at any point. Raises NotFoundError, and LostRaceError when another worker
        is at the same share and was faster.
        """
        deadline = self._clock() + MAX_SECONDS
        at = self._jobs.checkpoint(tenant, job_id, share.name)
        while not at.done:
            job = self._jobs.get(tenant, job_id)
            if job.terminal:
                return True
            if self._clock() > deadline:
                return False
            after = self._next_parts(tenant, job, share, at)
            if after is None:
                return True
            self._jobs.advance(tenant, job_id, share.name, at, after)
            at = after
        return True

    def _next_parts(self, tenant: Tenant, job: ExportJob, share: Share, at: Checkpoint) -> Checkpoint | None:
        """Gather and write as many rows as a worker holds; return how far it is then, ``None`` if the job is over."""
        asked = known = self._clock()
        until = asked + MAX_PART_SECONDS
        rows = _Rows(job.wanted)
        configuration = self._configurations.current(tenant)
        walk = Walk(self._index, tenant, self._readers)
        found = walk.identities(share, configuration, job.policy.graph, at.shard, at.after)
        while page := list(islice(found, _PAGE)):
            for position, person, events in self._with_events(
                tenant, job, self._persons(tenant, job, configuration, page)
            ):
                rows.add(person, events)
                if rows.bytes >= MAX_PART_BYTES:
                    return at.behind(*position, rows.write(self._lake, tenant, job.id, share), rows.counts)
            now = self._clock()
            if now > until:
                return at.behind(*page[-1], rows.write(self._lake, tenant, job.id, share), rows.counts)
            if now > asked + MAX_JOB_SECONDS:
                if self._jobs.get(tenant, job.id).terminal:
                    return None
                asked = now
            if now > known + MAX_CONFIGURATION_SECONDS:
                configuration, known = self._configurations.current(tenant), now
        return at.finished(rows.write(self._lake, tenant, job.id, share), rows.counts)

    def _persons(
        self, tenant: Tenant, job: ExportJob, configuration: Configuration, page: Sequence[Position]
    ) -> Iterator[tuple[Position, Person | LeftOut]]:
        return standing_persons(self._reader, tenant, page, job.policy, configuration, self._clock_ms())

    def _with_events(
        self, tenant: Tenant, job: ExportJob, persons: Iterable[tuple[Position, Person | LeftOut]]
    ) -> Iterator[tuple[Position, Person | LeftOut, list[Event]]]:
        """Read the events that go along with each person, some persons ahead."""
        reading: deque[tuple[Position, Person | LeftOut, Future[list[Event]] | None]] = deque()
        for position, person in persons:
            events = None
            if job.wanted.events is not None and isinstance(person, Person):
                events = self._walkers.submit(self._events, tenant, person)
            reading.append((position, person, events))
            if len(reading) == _PERSONS_AHEAD:
                yield _awaited(*reading.popleft())
        while reading:
            yield _awaited(*reading.popleft())

    def _events(self, tenant: Tenant, person: Person) -> list[Event]:
        events: list[Event] = []
        cursor = None
        while True:
            page = self._timeline.page(tenant, person, Window(), _EVENTS_PAGE, cursor, person.now_ms)
            events += page.events
            cursor = page.resume
            if cursor is None:
                return events


def _awaited(
    position: Position, person: Person | LeftOut, events: Future[list[Event]] | None
) -> tuple[Position, Person | LeftOut, list[Event]]:
    return position, person, [] if events is None else events.result()


@dataclass(slots=True)
class _Batch:
    """Lines that go into one batch."""

    lines: list[bytes] = field(default_factory=list)
    shape: Shape = field(default_factory=Shape)
    size: int = 0
    longest: int = 0

    def add(self, line: bytes) -> None:
        self.lines.append(line)
        self.size += len(line) + 1
        self.longest = max(self.longest, len(line) + 1)


class _Rows:
    """Rows that were gathered and are not written yet."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._fields: Selection | None = selection(wanted.fields) if wanted.fields else None
        events = wanted.events
        self._event_fields = selection(events.fields) if events is not None and events.fields else None
        self._batches: dict[int, _Batch] = {}
        self._namespaces: Counter[str] = Counter()
        self._left_out: Counter[LeftOut] = Counter()
        self._profiles = self._events = 0
        self.bytes = 0

    @property
    def counts(self) -> Counts:
        """What there is of everything."""
        return Counts(
            self._profiles,
            self._events,
            self._left_out[LeftOut.OVER_LIMIT],
            self._left_out[LeftOut.COLLAPSED],
            dict(self._namespaces),
        )

    def add(self, person: Person | LeftOut, events: Iterable[Event]) -> None:
        """Add a person's row, if the person qualifies, to each batch that it goes into."""
        if isinstance(person, LeftOut):
            self._left_out[person] += 1
            return
        wanted = self._wanted
        if not (person.fragments or wanted.empty) or not _is_new_enough(person, wanted.ingested_after_ms):
            return
        entity = person.entity(computed=selects(self._fields, person.computed_at))
        numbers = batches_of(entity, wanted)
        if not numbers:
            return
        row: dict[str, Any] = entity if self._fields is None else select(entity, self._fields)
        if wanted.events is not None:
            row[EVENTS_COLUMN] = self._shown(events, wanted.events)
            self._events += len(row[EVENTS_COLUMN])
        self._profiles += 1
        self._namespaces.update(entity["identityMap"].keys())
        line = orjson.dumps(with_entries(row))
        for number in numbers:
            batch = self._batches.setdefault(number, _Batch())
            batch.add(line)
            batch.shape.observe(row)
            self.bytes += len(line)

    def write(self, lake: Lake, tenant: Tenant, job_id: int, share: Share) -> list[Part]:
        """Write the rows, those of each batch as a part; return the parts."""
        parts = []
        for number, batch in sorted(self._batches.items()):
            # By a name of its own: of two workers at the same share one will find that it was too late.
            name = f"{share.name}-{secrets.token_hex(8)}"
            lake.write_part(tenant, job_id, name, batch.lines, batch.shape.to_document())
            parts.append(Part(name, number, len(batch.lines), batch.size, batch.longest))
        return parts

    def _shown(self, events: Iterable[Event], wanted: WantedEvents) -> list[dict[str, Any]]:
        """Choose the events that were ingested in the time asked for, and of each the fields asked for."""
        after, before = wanted.after_ms, wanted.before_ms
        return [
            event.body if self._event_fields is None else select(event.body, self._event_fields)
            for event in events
            if after is None or accepted_ms(event.place) > after
            if before is None or accepted_ms(event.place) < before
        ]


def _is_new_enough(person: Person, after_ms: int | None) -> bool:
    """Tell whether a profile was updated after a time.

    Of who has events only, no more is known than the day: all of it counts.
    """
    if after_ms is None:
        return True
    updated_ms = person.last_modified_ms + (0 if person.fragments else DAY_MS - 1)
    return updated_ms > after_ms
