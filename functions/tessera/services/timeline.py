"""Persons' events in order of time, page by page (contract: profile-api §2.5, §2.7, appendix A3).

Events hang on the identity they came with. A page is a merge of the members' streams: each is read ahead a little,
and the next event is always the first of those read. The same event under two identities has the same key, so its
second copy is found next to the first; the one at the lower place is shown.

Pages of many persons are begun side by side. All pages of an answer share what it may read.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

from tessera.domain.errors import InvalidRequestError
from tessera.domain.event_filter import EventFilter
from tessera.domain.identity import Xid
from tessera.domain.merge import event_datasets, is_deleted
from tessera.domain.profile import Event
from tessera.domain.tenant import Tenant
from tessera.services.profile_reader import Person
from tessera.storage.event_table import EventPage
from tessera.storage.profile_items import event_hash, hash_of, time_key

MAX_PAGE_BYTES = 5_000_000
MAX_PAGE_SECONDS = 5.0
_PERSONS_AT_ONCE = 25
_EVENTS_AT_ONCE = 1000
_READ_AHEAD = 10
# Before and behind the keys of all events.
_BEGINNING_OF_TIME = "0" * 13
_END_OF_TIME = "f" * 13 + "~"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins: at the event with this key, or at the first event from there on with this ``_id``."""

    key: str | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Which events: ``start_ms <= timestamp < end_ms``, passing all filters, forward or backward in time."""

    start_ms: int | None = None
    end_ms: int | None = None
    forward: bool = True
    filters: Sequence[EventFilter] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Events in order. ``next`` is the first event behind the page, ``resume`` where the next page begins if any."""

    events: Sequence[Event]
    next: Event | None
    resume: Cursor | None


class EventStore(Protocol):
    """What time lines need of the profile table."""

    def events(
        self, tenant: Tenant, xid: Xid, low: str, high: str, *, forward: bool, limit: int, after: str | None = None
    ) -> EventPage:
        """Read events of one identity in order."""


class Timeline:
    """Reads pages of events."""

    def __init__(self, store: EventStore, executor: Executor, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._executor = executor
        self._clock = clock

    def page(
        self, tenant: Tenant, person: Person, window: Window, limit: int, cursor: Cursor | None, now_ms: int
    ) -> Page:
        """Read up to ``limit`` events of one person, fewer when 5 MB or 5 s are spent (design: The API)."""
        return next(self.pages(tenant, [(person, cursor)], window, limit, now_ms))

    def pages(
        self,
        tenant: Tenant,
        asked: Sequence[tuple[Person, Cursor | None]],
        window: Window,
        limit: int,
        now_ms: int,
    ) -> Iterator[Page]:
        """Read a page of each person, in this order; when 5 MB or 5 s are spent the pages left are short or empty.

        Raises InvalidRequestError for a cursor that names no event.
        """
        allowance = _Allowance(self._clock)
        for start in range(0, len(asked), _PERSONS_AT_ONCE):
            some = asked[start : start + _PERSONS_AT_ONCE]
            most = _EVENTS_AT_ONCE // len(some) + _READ_AHEAD
            walks = [self._walk(tenant, person, window, min(limit, most), cursor) for person, cursor in some]
            self._read_ahead([stream for walk in walks for stream in walk.empty_streams()], allowance)
            for (person, cursor), walk in zip(some, walks, strict=True):
                yield self._page(person, window, limit, cursor, walk, allowance, now_ms)

    def _page(
        self,
        person: Person,
        window: Window,
        limit: int,
        cursor: Cursor | None,
        walk: _Walk,
        allowance: _Allowance,
        now_ms: int,
    ) -> Page:
        sought = cursor.event_id if cursor else None
        wanted = _hashes_of(person, sought) if sought else None
        is_live = liveness(person, now_ms)
        kept: list[Event] = []
        for event in _distinct(filter(is_live, self._events(walk, allowance))):
            if wanted is not None and hash_of(event.key) not in wanted:
                continue
            wanted = None
            if not all(one.accepts(event.body) for one in window.filters):
                continue
            if len(kept) == limit:
                return Page(kept, event, Cursor(event.key))
            kept.append(event)
        if not walk.finished:
            return Page(kept, None, Cursor(walk.position, sought if wanted else None))
        if wanted:
            raise InvalidRequestError("start is the id of none of these events")
        return Page(kept, None, None)

    def _walk(self, tenant: Tenant, person: Person, window: Window, ahead: int, cursor: Cursor | None) -> _Walk:
        low = _BEGINNING_OF_TIME if window.start_ms is None else time_key(window.start_ms)
        high = _END_OF_TIME if window.end_ms is None else time_key(window.end_ms)
        if cursor is not None and cursor.key is not None:
            low, high = (max(low, cursor.key), high) if window.forward else (low, min(high, cursor.key))
        xids = list(dict.fromkeys(stream.xid for stream in person.streams)) if low <= high else []
        each = ahead + 1 if len(xids) == 1 else ahead // max(1, len(xids)) + _READ_AHEAD
        streams = [_Stream(self._store, tenant, xid, low, high, window.forward, each) for xid in xids]
        return _Walk(streams, low if window.forward else high, window.forward)

    def _events(self, walk: _Walk, allowance: _Allowance) -> Iterator[Event]:
        """Walk through events as long as there are any and more may be read."""
        while True:
            empty = walk.empty_streams()
            if not empty:
                event = walk.step()
                if event is None:
                    return
                yield event
            elif allowance.is_spent():
                return
            else:
                self._read_ahead(empty, allowance)

    def _read_ahead(self, streams: Sequence[_Stream], allowance: _Allowance) -> None:
        """Read on in streams side by side, in the first of them in the caller's thread."""
        if not streams or allowance.is_spent():
            return
        others = self._executor.map(_Stream.read_ahead, streams[1:])
        allowance.bytes_left -= streams[0].read_ahead() + sum(others)


class _Allowance:
    """What the pages of one answer may still read."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.bytes_left = MAX_PAGE_BYTES
        self._clock = clock
        self._deadline = clock() + MAX_PAGE_SECONDS

    def is_spent(self) -> bool:
        return self.bytes_left <= 0 or self._clock() > self._deadline


def _distinct(events: Iterator[Event]) -> Iterator[Event]:
    """Keep one of neighbours that are the same event: the one at the lowest place (law 3)."""
    held: Event | None = None
    for event in events:
        if held is not None and held.key != event.key:
            yield held
            held = None
        held = event if held is None else min(held, event, key=lambda copy: copy.place)
    if held is not None:
        yield held


def liveness(person: Person, now_ms: int) -> Callable[[Event], bool]:
    """Make the test whether an event is there for a reader: seen by the policy, not deleted, not expired."""
    configuration = person.configuration
    begins = {
        dataset_id: time_key(configuration.datasets[dataset_id].horizon_ms(now_ms) + 1)
        for dataset_id in event_datasets(person.policy, configuration)
    }

    def is_live(event: Event) -> bool:
        begin = begins.get(event.dataset_id)
        return (
            begin is not None
            and event.key >= begin
            and not is_deleted(event.place, event.dataset_id, person.members[event.xid].head, configuration)
        )

    return is_live


def _hashes_of(person: Person, event_id: str) -> Collection[str]:
    """Hashes that an event with this ``_id`` can have: one for each dataset it can be in."""
    datasets = event_datasets(person.policy, person.configuration)
    return frozenset(event_hash(dataset_id, event_id) for dataset_id in datasets)


class _Stream:
    """The events of one identity, read ahead."""

    def __init__(
        self, store: EventStore, tenant: Tenant, xid: Xid, low: str, high: str, forward: bool, ahead: int
    ) -> None:
        self._read: Callable[[str | None], EventPage] = lambda after: store.events(
            tenant, xid, low, high, forward=forward, limit=ahead, after=after
        )
        self._last: str | None = None
        self.waiting: deque[Event] = deque()
        self.more = True

    def read_ahead(self) -> int:
        """Read a page; answers its size in bytes."""
        page = self._read(self._last)
        self.waiting.extend(page.events)
        self.more = page.more
        if page.events:
            self._last = page.events[-1].key
        return page.bytes_read


class _Walk:
    """Merges streams. ``position`` is where the next walk begins, unless this one is ``finished``."""

    def __init__(self, streams: list[_Stream], position: str, forward: bool) -> None:
        self._streams = streams
        self._forward = forward
        self.position = position
        self.finished = False

    def empty_streams(self) -> list[_Stream]:
        """Those that have to be read on before the next step."""
        return [stream for stream in self._streams if stream.more and not stream.waiting]

    def step(self) -> Event | None:
        """Take the next event; at the end there is none."""
        ready = [stream for stream in self._streams if stream.waiting]
        if not ready:
            self.finished = True
            return None
        choose = min if self._forward else max
        event = choose(ready, key=lambda stream: stream.waiting[0].key).waiting.popleft()
        self.position = _beyond(event.key, self._forward)
        return event


def _beyond(key: str, forward: bool) -> str:
    """Return a bound between an event's key and the next one's; all keys have the same length."""
    return key + "!" if forward else f"{key[:-1]}{chr(ord(key[-1]) - 1)}~"
