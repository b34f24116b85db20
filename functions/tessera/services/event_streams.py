"""Keeping the stream of an identity's events as its events say, so that they are found (law 5)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from tessera.domain.computed.state import State
from tessera.domain.configuration import DatasetSettings
from tessera.domain.identity import Xid
from tessera.domain.place import Place, accepted_ms, survives
from tessera.domain.profile import Event, EventStream
from tessera.domain.tenant import Tenant
from tessera.domain.times import day_of
from tessera.services.computed.compiled import Attributes
from tessera.services.computed.rebuilding import StreamStore, rebuilt
from tessera.services.lease import ConfigurationChangedError, Lease
from tessera.storage.profile_items import timestamp_of
from tessera.storage.registry import LostRaceError

FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0


class StoredStreams(StreamStore, Protocol):
    """What keeping streams needs of the profile table."""

    def stored_events(self, tenant: Tenant, events: Sequence[Event]) -> dict[str, Event]:
        """Read those of an identity's events that are stored."""

    def put_stream(
        self, tenant: Tenant, stream: EventStream, replaced: EventStream | None, because_of: Event | None = None
    ) -> None:
        """Write a stream, if an event is still stored where one is given, or raise LostRaceError."""


class Streams:
    """The streams of one dataset, written under one lease; ``clock_ms`` gives milliseconds since 1970."""

    def __init__(
        self,
        store: StoredStreams,
        tenant: Tenant,
        dataset: DatasetSettings,
        lease: Lease,
        attributes: Attributes,
        clock_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._tenant = tenant
        self._dataset = dataset
        self._lease = lease
        self._attributes = attributes
        self._clock_ms = clock_ms

    def read(self, xid: Xid) -> EventStream | None:
        """Read the stream of an identity."""
        return self._store.streams(self._tenant, [xid], self._dataset.id).get(xid)

    def see(self, events: Sequence[Event], stream: EventStream | None, cutoff: Place | None) -> None:
        """Write a stream again that is gone or going, unless the events have gone with it."""
        pause = FIRST_PAUSE_S
        while self.touched(events, stream, cutoff) != stream:
            stored = list(self._store.stored_events(self._tenant, events).values())
            if not stored or self._is_touched(stored, stream, cutoff, because_of=stored[0]):
                return
            pause = wait(pause)
            stream = self.read(events[0].xid)

    def touch(self, events: Sequence[Event], stream: EventStream | None, cutoff: Place | None) -> None:
        """Make sure that the identity's stream exists, is alive and knows the last day of activity."""
        pause = FIRST_PAUSE_S
        while not self._is_touched(events, stream, cutoff):
            pause = wait(pause)
            stream = self.read(events[0].xid)

    def _is_touched(
        self,
        events: Sequence[Event],
        stream: EventStream | None,
        cutoff: Place | None,
        because_of: Event | None = None,
    ) -> bool:
        """Write a stream as it is after some events, if it is any different; tell whether nobody else was first.

        Not if it is ``because_of`` one that is gone: nothing would ever take the stream away again.
        """
        self._lease.check()
        wanted = self.touched(events, stream, cutoff)
        if self._attributes.rules and not wanted.state.is_current(cutoff):
            wanted = replace(wanted, state=self.rebuilt(wanted, cutoff, self._clock_ms()))
        if wanted == stream:
            return True
        try:
            self._store.put_stream(self._tenant, wanted, stream, because_of)
        except LostRaceError:
            return False
        return True

    def touched(self, events: Sequence[Event], stream: EventStream | None, cutoff: Place | None) -> EventStream:
        """Return the stream as it is after some events, but for their effect on its state.

        Raises ConfigurationChangedError when the stream counts attributes that this writer does not know.
        """
        first, day = events[0], max(day_of(accepted_ms(event.place)) for event in events)
        newest, of_all = self._newest(events)
        if stream is None:
            state = State(self._attributes.generation, cutoff)
            return EventStream(first.xid, first.dataset_id, first.place, day, newest, of_all, state, self._birth())
        if stream.state.generation > self._attributes.generation:
            # Its creator knows an attribute that this writer does not: counting by what is known here would miss it.
            raise ConfigurationChangedError
        place, before = stream.place, stream.newest_ms
        if not survives(place, cutoff):
            # All that it had is deleted.
            place, before = first.place, None
        newest = max((time for time in (before, newest) if time is not None), default=None)
        day = max(day, stream.last_active_day)
        return replace(stream, place=place, last_active_day=day, newest_ms=newest, going=False)

    def rebuilt(self, stream: EventStream, cutoff: Place | None, now_ms: int, without: Collection[str] = ()) -> State:
        """Return the state that the stored events of a stream add up to; see ``services.computed.rebuilding``."""
        horizon = self._dataset.horizon_ms(now_ms)
        return rebuilt(self._store, self._tenant, stream, self._attributes, cutoff, now_ms, horizon, without=without)

    def _birth(self) -> int:
        """Return the version of a stream that is new: beyond any that one deleted before it can have reached.

        The time of acceptance would not do: all rows of a batch have the same one.
        """
        return self._clock_ms() * 1000

    def _newest(self, events: Iterable[Event]) -> tuple[int | None, bool]:
        """Return the time of the newest of some events, if the dataset's can expire.

        And whether that is all there is to know of a stream which begins with them: it is when no writer is left that
        does not note it.
        """
        expiry = self._dataset.expiry
        if expiry is None:
            return None, False
        return max(timestamp_of(event.key) for event in events), self._clock_ms() >= expiry.tracked_ms


def wait(pause: float) -> float:
    """Wait for up to so many seconds after a lost race; returns for how long after the next one."""
    time.sleep(random.uniform(0, pause))  # noqa: S311 - jitter
    return min(_LONGEST_PAUSE_S, pause * 2)
