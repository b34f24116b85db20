"""Writing events, each exactly once, and into the computed attributes that count it (laws 2 and 3).

An event that counts is written in one transaction with the stream that it changes, conditional on the stream's
version and on the event not being there; nothing between two calls can part them, and a repetition finds the event.
An event that counts nowhere is written by itself, after its stream: it must be found again. The stream is read once
more behind it, for it may have gone meanwhile with the last of the events that it had: see ``services.event_removal``.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple, Protocol

from tessera.domain.computed.state import Contribution, State, fold
from tessera.domain.configuration import DatasetSettings
from tessera.domain.identity import Xid
from tessera.domain.place import Place, accepted_ms, batch_id_of, later, survives
from tessera.domain.profile import Event, EventStream
from tessera.domain.rows import PlacedRow
from tessera.domain.tenant import Tenant
from tessera.domain.times import day_of
from tessera.services.computed.compiled import Attributes
from tessera.services.computed.rebuilding import StreamEvents, rebuilt
from tessera.services.lease import ConfigurationChangedError, Lease
from tessera.services.write_report import WriteReport
from tessera.storage.profile_items import event_key, timestamp_of
from tessera.storage.registry import LostRaceError

# A transaction has 100 items: at worst two for each event, the stream, and what was waiting and long lists.
EVENTS_PER_TRANSACTION = 24
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0


class EventStore(StreamEvents, Protocol):
    """What writing events needs of the profile table."""

    def streams(
        self, tenant: Tenant, xids: Sequence[Xid], dataset_id: str, executor: Executor | None = None
    ) -> dict[Xid, EventStream]:
        """Read the streams that exist."""

    def put_stream(
        self, tenant: Tenant, stream: EventStream, replaced: EventStream | None, because_of: Event | None = None
    ) -> None:
        """Write a stream, if an event is still stored where one is given, or raise LostRaceError."""

    def put_event(self, tenant: Tenant, event: Event, cutoff: Place | None) -> Event | None:
        """Write an event unless it is there; answer what is there."""

    def put_earlier(self, tenant: Tenant, event: Event, stored: Event) -> None:
        """Write an event in place of the same one with a later place, or raise LostRaceError."""

    def put_counted(
        self,
        tenant: Tenant,
        events: Sequence[Event],
        stream: EventStream,
        replaced: EventStream | None,
        cutoff: Place | None = None,
        instead_of: Mapping[str, Event] = ...,
    ) -> None:
        """Write events and the stream that counts them, or raise LostRaceError."""

    def stored_events(self, tenant: Tenant, events: Sequence[Event]) -> dict[str, Event]:
        """Read those of an identity's events that are stored."""


class Arrival(NamedTuple):
    """An event to be written, and what it gives to computed attributes, if anything."""

    event: Event
    contribution: Contribution | None


class EventWriter:
    """Writes the events of one dataset under one lease; ``clock_ms`` tells the time in milliseconds since 1970.

    ``replaced`` are the batches whose events give way: the rows replace them, or they are being deleted.
    ``cutoff_now`` reads where the last delete was that reached an identity's events, strongly consistent, and raises
    ConfigurationChangedError when the lease does not know it.
    """

    def __init__(
        self,
        store: EventStore,
        executor: Executor,
        tenant: Tenant,
        dataset: DatasetSettings,
        lease: Lease,
        attributes: Attributes,
        clock_ms: Callable[[], int],
        cutoff_now: Callable[[Xid], Place | None],
        replaced: Collection[str] = (),
    ) -> None:
        self._store = store
        self._executor = executor
        self._tenant = tenant
        self._dataset = dataset
        self._lease = lease
        self._attributes = attributes
        self._clock_ms = clock_ms
        self._cutoff_now = cutoff_now
        self._replaced = frozenset(replaced)

    def write(self, rows: Sequence[PlacedRow], cutoffs: Callable[[Xid], Place | None]) -> WriteReport:
        """Write rows; ``cutoffs`` gives the place of the last delete that reached an identity's events, if any did.

        Raises ConfigurationChangedError when the lease is over.
        """
        report = WriteReport()
        by_identity = self._arrivals(rows, report)
        streams = self._store.streams(self._tenant, list(by_identity), self._dataset.id, self._executor)
        counted = self._executor.map(
            lambda xid: self._write_counted(by_identity[xid], streams.get(xid), cutoffs(xid)), by_identity
        )
        for part in counted:
            report.add(part)
        alone = [one.event for arrivals in by_identity.values() for one in arrivals if one.contribution is None]
        for part in self._executor.map(lambda event: self._write_alone(event, cutoffs(event.xid)), alone):
            report.add(part)
        self._see_streams(alone, cutoffs)
        return report

    def _arrivals(self, rows: Sequence[PlacedRow], report: WriteReport) -> dict[Xid, list[Arrival]]:
        """Make events of rows, by identity, without repeats: of the same event the one at the lowest place stays."""
        now_ms, expiry = self._clock_ms(), self._dataset.expiry
        found: dict[tuple[Xid, str], Event] = {}
        for item in sorted(rows, key=lambda item: item.place):
            xid = item.row.primary.xid(self._tenant)
            key = event_key(item.row.timestamp_ms, self._dataset.id, item.row.event_id)
            stored_until = None if expiry is None else expiry.stored_until_s(item.row.timestamp_ms, now_ms)
            event = Event(xid, key, self._dataset.id, item.place, item.row.body, stored_until)
            first = found.setdefault((xid, key), event)
            if first is event:
                continue
            if first.body == event.body:
                report.unchanged += 1
            else:
                report.conflicts.append(event.place)
        by_identity: dict[Xid, list[Arrival]] = defaultdict(list)
        for event in found.values():
            by_identity[event.xid].append(Arrival(event, self._attributes.contribution(event, now_ms)))
        return by_identity

    def _write_counted(
        self, arrivals: Sequence[Arrival], stream: EventStream | None, cutoff: Place | None
    ) -> WriteReport:
        """Write those events of one identity that count, and see that there is a stream for the others."""
        report = WriteReport()
        counting = [one for one in arrivals if one.contribution is not None]
        for start in range(0, len(counting), EVENTS_PER_TRANSACTION):
            stream = self._write_group(counting[start : start + EVENTS_PER_TRANSACTION], stream, cutoff, report)
        if len(counting) < len(arrivals):
            self._touch([one.event for one in arrivals], stream, cutoff)
        return report

    def _write_group(
        self,
        group: Sequence[Arrival],
        stream: EventStream | None,
        cutoff: Place | None,
        report: WriteReport,
        instead_of: Mapping[str, Event] = MappingProxyType({}),
    ) -> EventStream | None:
        """Write events of one identity and the stream that counts them; answers the stream as it is then.

        ``instead_of`` has, by key, what is stored of those that are there with another body at a later place.
        """
        xid, pause = group[0].event.xid, _FIRST_PAUSE_S
        while True:
            self._lease.check()
            # Who wrote the stream may know of a delete that this writer does not.
            cutoff = later(cutoff, stream.state.cutoff if stream else None)
            alive = [one for one in group if survives(one.event.place, cutoff)]
            report.unchanged += len(group) - len(alive)
            group = alive
            if not group:
                return stream
            counted = self._counting(group, stream, cutoff, instead_of)
            events = [one.event for one in group]
            try:
                self._store.put_counted(self._tenant, events, counted, stream, cutoff, instead_of)
            except LostRaceError:
                pause = _wait(pause)
                stream = self._stream(xid)
                cutoff = later(cutoff, stream.state.cutoff if stream else None)
                group, instead_of = self._still_to_write(group, cutoff, report)
            else:
                report.written += len(group) - len(instead_of)
                report.conflicts += [
                    one.event.place
                    for one in group
                    if one.event.key in instead_of and not self._is_replay(instead_of[one.event.key])
                ]
                return replace(counted, version=counted.version + 1)

    def _counting(
        self,
        group: Sequence[Arrival],
        stream: EventStream | None,
        cutoff: Place | None,
        instead_of: Mapping[str, Event],
    ) -> EventStream:
        """Return the stream that counts a group of events. What a lost body or a delete is in, is rebuilt."""
        now_ms = self._clock_ms()
        touched = self._touched([one.event for one in group], stream, cutoff)
        state = touched.state
        if instead_of or not state.is_current(cutoff):
            state = self._rebuilt(touched, cutoff, now_ms, without=instead_of.keys())
        contributions = [one.contribution for one in group if one.contribution is not None]
        return replace(touched, state=fold(state, contributions, self._attributes.rules, now_ms))

    def _still_to_write(
        self, group: Sequence[Arrival], cutoff: Place | None, report: WriteReport
    ) -> tuple[list[Arrival], dict[str, Event]]:
        """Tell which events of a group are still to be written, and what is stored where theirs are to be instead."""
        stored = self._store.stored_events(self._tenant, [one.event for one in group])
        left: list[Arrival] = []
        instead_of: dict[str, Event] = {}
        for one in group:
            event, known = one.event, stored.get(one.event.key)
            if not survives(event.place, cutoff) or (known is not None and self._was_deleted(event, known)):
                report.unchanged += 1
            elif known is None or not survives(known.place, cutoff):
                left.append(one)
            elif self._replaces(event, known):
                instead_of[event.key] = known
                left.append(one)
            else:
                self._leave(event, known, cutoff, report)
        return left, instead_of

    def _write_alone(self, event: Event, cutoff: Place | None) -> WriteReport:
        """Write an event that counts nowhere."""
        report = WriteReport()
        self._lease.check()
        known = self._store.put_event(self._tenant, event, cutoff)
        if known is None:
            report.written += 1
        elif self._was_deleted(event, known):
            report.unchanged += 1
        elif not self._replaces(event, known):
            self._leave(event, known, cutoff, report)
        elif self._attributes.contribution(known, self._clock_ms()) is None:
            try:
                self._store.put_earlier(self._tenant, event, known)
            except LostRaceError:
                return self._write_alone(event, cutoff)
            if not self._is_replay(known):
                report.conflicts.append(event.place)
        else:
            self._write_group([Arrival(event, None)], self._stream(event.xid), cutoff, report, {event.key: known})
        return report

    def _leave(self, event: Event, known: Event, cutoff: Place | None, report: WriteReport) -> None:
        """Leave the body that is stored; of the same body the lowest place is kept."""
        if event.body != known.body:
            report.conflicts.append(event.place)
            return
        if event.place < known.place:
            try:
                self._store.put_earlier(self._tenant, event, known)
            except LostRaceError:
                stored = self._store.stored_events(self._tenant, [event]).get(event.key)
                if stored is not None:
                    self._leave(event, stored, cutoff, report)
                    return
        report.unchanged += 1

    def _see_streams(self, events: Sequence[Event], cutoffs: Callable[[Xid], Place | None]) -> None:
        """See that the streams of events are still there now that these are written."""
        by_identity: dict[Xid, list[Event]] = defaultdict(list)
        for event in events:
            by_identity[event.xid].append(event)
        streams = self._store.streams(self._tenant, list(by_identity), self._dataset.id, self._executor)
        for xid, written in by_identity.items():
            self._see_stream(written, streams.get(xid), cutoffs(xid))

    def _see_stream(self, events: Sequence[Event], stream: EventStream | None, cutoff: Place | None) -> None:
        """Write a stream again that is gone or going, unless the events have gone with it."""
        pause = _FIRST_PAUSE_S
        while self._touched(events, stream, cutoff) != stream:
            stored = list(self._store.stored_events(self._tenant, events).values())
            if not stored or self._is_touched(stored, stream, cutoff, because_of=stored[0]):
                return
            pause = _wait(pause)
            stream = self._stream(events[0].xid)

    def _touch(self, events: Sequence[Event], stream: EventStream | None, cutoff: Place | None) -> None:
        """Make sure that the identity's stream exists, is alive and knows the last day of activity."""
        pause = _FIRST_PAUSE_S
        while not self._is_touched(events, stream, cutoff):
            pause = _wait(pause)
            stream = self._stream(events[0].xid)

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
        wanted = self._touched(events, stream, cutoff)
        if self._attributes.rules and not wanted.state.is_current(cutoff):
            wanted = replace(wanted, state=self._rebuilt(wanted, cutoff, self._clock_ms()))
        if wanted == stream:
            return True
        try:
            self._store.put_stream(self._tenant, wanted, stream, because_of)
        except LostRaceError:
            return False
        return True

    def _touched(self, events: Sequence[Event], stream: EventStream | None, cutoff: Place | None) -> EventStream:
        """Return the stream as it is after some events, but for their effect on its state."""
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

    def _birth(self) -> int:
        """Return the version of a stream that is new: beyond any that one deleted before it can have reached.

        The time of acceptance would not do: all rows of a batch have the same one.
        """
        return self._clock_ms() * 1000

    def _newest(self, events: Sequence[Event]) -> tuple[int | None, bool]:
        """Return the time of the newest of some events, if the dataset's can expire.

        And whether that is all there is to know of a stream which begins with them: it is when no writer is left that
        does not note it.
        """
        expiry = self._dataset.expiry
        if expiry is None:
            return None, False
        return max(timestamp_of(event.key) for event in events), self._clock_ms() >= expiry.tracked_ms

    def _replaces(self, event: Event, known: Event) -> bool:
        """Tell whether an event takes the place of what is stored of it: of two bodies the lower place wins (law 3).

        What a replayed batch brought gives way to the batch that replays it, also where they say the same.
        """
        return self._is_replay(known) or (event.place < known.place and event.body != known.body)

    def _was_deleted(self, event: Event, known: Event) -> bool:
        """Tell whether a delete lies between an event and what is stored of it, of which this writer may not know yet.

        What is stored at a place above a delete was accepted after it. So who reads the cutoffs now finds it.
        """
        return event.place < known.place and not survives(event.place, self._cutoff_now(event.xid))

    def _is_replay(self, known: Event) -> bool:
        return bool(self._replaced) and batch_id_of(known.place) in self._replaced

    def _rebuilt(self, stream: EventStream, cutoff: Place | None, now_ms: int, without: Collection[str] = ()) -> State:
        horizon = self._dataset.horizon_ms(now_ms)
        return rebuilt(self._store, self._tenant, stream, self._attributes, cutoff, now_ms, horizon, without=without)

    def _stream(self, xid: Xid) -> EventStream | None:
        return self._store.streams(self._tenant, [xid], self._dataset.id).get(xid)


def _wait(pause: float) -> float:
    time.sleep(random.uniform(0, pause))  # noqa: S311 - jitter
    return min(_LONGEST_PAUSE_S, pause * 2)
