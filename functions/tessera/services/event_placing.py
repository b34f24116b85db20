"""Which copy of an event is shown: of all that were accepted and not deleted, the one at the lowest place (laws 2, 3).

The same event may come with several batches and messages. The copy at the lowest place is stored as the event; the
others are kept beside it, where no reader looks, for what brought the event may be deleted and they not. Rows of the
same batch go together, so one of them is enough.

Who replaces an event by a copy at a lower place writes the other one as a copy in the same transaction. Who finds the
event at a lower place writes his own as a copy, and then looks whether the event is still there:

    time | writer of a copy                     | removal of what is shown
    -----|--------------------------------------|-----------------------------------------------------------------
    t    | finds the event at a lower place     |
    t+1  |                                      | reads the copies: there is none
    t+2  |                                      | deletes the event
    t+3  | writes the copy                      |
    t+4  | reads the event again: it is gone    | reads the copies again: there is one, which it writes as the event
    t+5  | takes the copy back, writes the event|

If the writer finds the event at t+4, its copy was written before the removal reads the copies again. Either of the two
may die: the removal is begun anew and reads the copies, the writer's row is written anew. A copy becomes the event, and
an event a copy, in one transaction, so it is the one or the other all the time. Both at the same place are there when
somebody has died in between: the copy is deleted when it is met, and with its batch at the latest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Enum, auto
from types import MappingProxyType
from typing import NamedTuple, Protocol

from tessera.domain.computed.state import Contribution, fold
from tessera.domain.configuration import DatasetSettings
from tessera.domain.expiry import settled_ms
from tessera.domain.identity import Xid
from tessera.domain.place import Place, batch_id_of, later, survives
from tessera.domain.profile import Event, EventStream
from tessera.domain.tenant import Tenant
from tessera.services.computed.compiled import Attributes
from tessera.services.event_streams import FIRST_PAUSE_S, StoredStreams, Streams, wait
from tessera.services.lease import Lease
from tessera.services.write_report import WriteReport
from tessera.storage.profile_items import timestamp_of
from tessera.storage.registry import LostRaceError

# A transaction has 100 items: at worst three for each event, the stream, and what was waiting and long lists.
EVENTS_PER_TRANSACTION = 24


class PlacedEvents(StoredStreams, Protocol):
    """What placing events needs of the profile table."""

    def put_event(self, tenant: Tenant, event: Event, cutoff: Place | None) -> Event | None:
        """Write an event unless it is there; answer what is there."""

    def put_earlier(self, tenant: Tenant, event: Event, stored: Event, kept: Sequence[Event] = ()) -> None:
        """Write an event in place of the same one, or raise LostRaceError; ``kept`` become copies."""

    def put_counted(
        self,
        tenant: Tenant,
        events: Sequence[Event],
        stream: EventStream,
        replaced: EventStream | None,
        cutoff: Place | None = None,
        instead_of: Mapping[str, Event] = ...,
        kept: Sequence[Event] = (),
        restored: Sequence[Event] = (),
    ) -> None:
        """Write events and the stream that counts them, or raise LostRaceError."""

    def copies_of(self, tenant: Tenant, events: Sequence[Event]) -> list[Event]:
        """Read the copies of some events of one identity."""

    def put_copy(self, tenant: Tenant, event: Event) -> None:
        """Write a copy of an event."""

    def delete_copies(self, tenant: Tenant, events: Sequence[Event]) -> None:
        """Delete copies of events."""


class Arrival(NamedTuple):
    """An event to be written, and what it gives to computed attributes, if anything."""

    event: Event
    contribution: Contribution | None


class _Met(Enum):
    """What is to be done about an event that is there already."""

    NOTHING = auto()
    # It is to be written as one that may be new: what is there has changed.
    ANEW = auto()
    # It takes the place of what is there.
    INSTEAD = auto()


class Placing:
    """Writes events of a dataset under one lease; ``clock_ms`` tells the time in milliseconds since 1970.

    ``gives_way`` tells of a place whether events there make room without leaving a copy: their batch is being replaced,
    or deleted. ``cutoff_now`` reads where the last delete was that reached an identity's events, strongly consistent,
    and raises ConfigurationChangedError when the lease does not know it.
    """

    def __init__(
        self,
        store: PlacedEvents,
        tenant: Tenant,
        dataset: DatasetSettings,
        lease: Lease,
        attributes: Attributes,
        clock_ms: Callable[[], int],
        cutoff_now: Callable[[Xid], Place | None],
        gives_way: Callable[[Place], bool],
    ) -> None:
        self._store = store
        self._tenant = tenant
        self._dataset = dataset
        self._lease = lease
        self._attributes = attributes
        self._clock_ms = clock_ms
        self._cutoff_now = cutoff_now
        self._gives_way = gives_way
        self._streams = Streams(store, tenant, dataset, lease, attributes, clock_ms)

    def write_counted(
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
        xid, pause = group[0].event.xid, FIRST_PAUSE_S
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
                self._store.put_counted(
                    self._tenant, events, counted, stream, cutoff, instead_of, self._kept(events, instead_of)
                )
            except LostRaceError:
                pause = wait(pause)
                stream = self._streams.read(xid)
                cutoff = later(cutoff, stream.state.cutoff if stream else None)
                group, instead_of = self._still_to_write(group, cutoff, report)
            else:
                report.written += len(group) - len(instead_of)
                report.conflicts += [
                    one.event.place
                    for one in group
                    if one.event.key in instead_of and not self._gives_way(instead_of[one.event.key].place)
                ]
                return replace(counted, version=counted.version + 1)

    def write_alone(self, event: Event, cutoff: Place | None) -> WriteReport:
        """Write an event that counts nowhere."""
        report = WriteReport()
        while True:
            self._lease.check()
            known = self._store.put_event(self._tenant, event, cutoff)
            if known is None:
                report.written += 1
                return report
            met = self._meet(event, known, cutoff, report)
            if met is _Met.NOTHING:
                return report
            if met is _Met.ANEW:
                continue
            if self._attributes.contribution(known, self._clock_ms()) is not None:
                stream = self._streams.read(event.xid)
                self.write_counted([Arrival(event, None)], stream, cutoff, report, {event.key: known})
                return report
            try:
                self._store.put_earlier(self._tenant, event, known, self._kept([event], {event.key: known}))
            except LostRaceError:
                continue
            if not self._gives_way(known.place):
                report.conflicts.append(event.place)
            return report

    def restore(self, copies: Sequence[Event], cutoff: Place | None) -> bool:
        """Show the first of the copies of each event of one identity, but for those that come behind what is shown.

        Tells whether there was anything to do.
        """
        done = False
        while first := self._first(copies, cutoff)[:EVENTS_PER_TRANSACTION]:
            keys = {event.key for event in first}
            done |= self._restore(first, cutoff)
            copies = [event for event in copies if event.key not in keys]
        return done

    def _restore(self, copies: Sequence[Event], cutoff: Place | None) -> bool:
        pause = FIRST_PAUSE_S
        while copies:
            self._lease.check()
            stream = self._streams.read(copies[0].xid)
            cutoff = later(cutoff, stream.state.cutoff if stream else None)
            stored = self._store.stored_events(self._tenant, copies)
            there = {key: event for key, event in stored.items() if survives(event.place, cutoff)}
            self._store.delete_copies(
                self._tenant, [one for one in copies if one.key in there and one.place == there[one.key].place]
            )
            group = [
                Arrival(one, self._attributes.contribution(one, self._clock_ms()))
                for one in copies
                if one.key not in there or self._gives_way(there[one.key].place) or one.place < there[one.key].place
            ]
            if not group:
                return False
            events = [self._renewed(one.event) for one in group]
            instead_of = {event.key: there[event.key] for event in events if event.key in there}
            counted = self._counting(group, stream, cutoff, instead_of)
            kept = self._kept(events, instead_of)
            try:
                self._store.put_counted(self._tenant, events, counted, stream, cutoff, instead_of, kept, events)
            except LostRaceError:
                pause = wait(pause)
                copies = self._first(self._store.copies_of(self._tenant, copies), cutoff)
            else:
                return True
        return False

    def _first(self, copies: Iterable[Event], cutoff: Place | None) -> list[Event]:
        """Return the copies that may be shown: of each event the one at the lowest place that is not deleted."""
        # What expired a day ago is not written any more, and counts for good.
        settled = settled_ms(self._dataset.horizon_ms(self._clock_ms()))
        first: dict[str, Event] = {}
        for event in sorted(copies, key=lambda event: event.place):
            alive = survives(event.place, cutoff) and self._dataset.holds(event.place)
            if alive and not self._gives_way(event.place) and timestamp_of(event.key) > settled:
                first.setdefault(event.key, event)
        return list(first.values())

    def _counting(
        self,
        group: Sequence[Arrival],
        stream: EventStream | None,
        cutoff: Place | None,
        instead_of: Mapping[str, Event],
    ) -> EventStream:
        """Return the stream that counts a group of events. What a lost body or a delete is in, is rebuilt."""
        now_ms = self._clock_ms()
        touched = self._streams.touched([one.event for one in group], stream, cutoff)
        state = touched.state
        if instead_of or not state.is_current(cutoff):
            state = self._streams.rebuilt(touched, cutoff, now_ms, without=instead_of.keys())
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
            known = stored.get(one.event.key)
            if known is None or not survives(known.place, cutoff):
                left.append(one)
                continue
            met = self._meet(one.event, known, cutoff, report)
            if met is not _Met.NOTHING:
                left.append(one)
            if met is _Met.INSTEAD:
                instead_of[one.event.key] = known
        return left, instead_of

    def _meet(self, event: Event, known: Event, cutoff: Place | None, report: WriteReport) -> _Met:
        """Tell what is to be done about an event of which something is stored, and do it unless it is to be written."""
        if event.place == known.place or self._was_deleted(event, known):
            report.unchanged += 1
            return _Met.NOTHING
        if self._gives_way(known.place):
            copies = self._store.copies_of(self._tenant, [event])
            self._store.delete_copies(self._tenant, [one for one in copies if one.place == event.place])
            before = [one for one in copies if one.place < event.place]
            return _Met.ANEW if before and self.restore(before, cutoff) else _Met.INSTEAD
        if event.place > known.place:
            return self._leave(event, known, cutoff, report)
        if event.body != known.body:
            return _Met.INSTEAD
        try:
            self._store.put_earlier(self._tenant, event, known, self._kept([event], {event.key: known}))
        except LostRaceError:
            return _Met.ANEW
        report.unchanged += 1
        return _Met.NOTHING

    def _leave(self, event: Event, known: Event, cutoff: Place | None, report: WriteReport) -> _Met:
        """Leave what is stored at a lower place, and keep the event as a copy."""
        if not _go_together(event, known):
            self._store.put_copy(self._tenant, event)
            now = self._store.stored_events(self._tenant, [event]).get(event.key)
            if now is None or now.place >= event.place or self._gives_way(now.place) or not survives(now.place, cutoff):
                self._store.delete_copies(self._tenant, [event])
                return _Met.ANEW
            report.aside.add(event.xid)
        if event.body == known.body:
            report.unchanged += 1
        else:
            report.conflicts.append(event.place)
        return _Met.NOTHING

    def _kept(self, events: Sequence[Event], instead_of: Mapping[str, Event]) -> list[Event]:
        """Return what is to be kept as a copy of that in place of which events are written."""
        return [
            self._renewed(known)
            for event in events
            if (known := instead_of.get(event.key)) is not None
            if not self._gives_way(known.place) and not _go_together(event, known)
        ]

    def _renewed(self, event: Event) -> Event:
        """Return an event as it is stored now: who sees to it when the TTL changes may not meet it on its way."""
        expiry = self._dataset.expiry
        if expiry is None:
            return event
        until = expiry.stored_until_s(timestamp_of(event.key), self._clock_ms(), event.stored_until_s)
        return replace(event, stored_until_s=until)

    def _was_deleted(self, event: Event, known: Event) -> bool:
        """Tell whether a delete lies between an event and what is stored of it, of which this writer may not know yet.

        What is stored at a place above a delete was accepted after it. So who reads the cutoffs now finds it.
        """
        return event.place < known.place and not survives(event.place, self._cutoff_now(event.xid))


def _go_together(event: Event, other: Event) -> bool:
    """Tell whether two copies of an event are rows of the same batch."""
    return batch_id_of(event.place) == batch_id_of(other.place)
