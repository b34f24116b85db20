"""What deletes leave of an identity's event streams: a stream is there as long as an event of it is.

A reader takes a stream for deleted when its place is at or below a cutoff. Whoever writes an event knows the cutoffs
below it and moves the place above them, but for one: an erasure that a link carries to an identity when it comes late
(docs/decisions/0151) has a place in the past, and since that others may have written events and left the place where it
was. So whoever carries it moves the place up to one of these, and a writer looks at the head once more:

    time | late link                                   | writer of an event above the erasure
    -----|---------------------------------------------|------------------------------------------------------
    t    |                                             | reads heads and stream: no cutoff, an early place
    t+1  | moves the place up to an event that is there|
    t+2  | writes the cutoff on the head               |
    t+3  |                                             | writes the event, the place stays
    t+4  | lists events again: moves the place, or not |
    t+5  |                                             | reads the head again: a cutoff, so it does what t+4 does

An event that is written before t+4 is listed there. One that is written later is followed by a reading of the head that
is later than the cutoff. So the place is right when both have ended, whichever that is; an event of before t+1 is not
missed for a moment. If the link's writer dies after t+2, its repetition finds the link noted and does t+4. If the
other one dies, its repetition finds the cutoff.

A sweep deletes no stream before it has done the same. As events may come while it lists, the stream is marked first and
deleted only if it is as marked: ``services.event_removal`` says why no event is lost then.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from tessera.domain.configuration import Configuration
from tessera.domain.identity import Xid
from tessera.domain.place import END_OF_TIME, Place, later, survives
from tessera.domain.profile import Event, EventStream, IdentityItems
from tessera.domain.tenant import Tenant
from tessera.services.computed.compiled import attributes_of
from tessera.services.computed.rebuilding import StreamStore, complete
from tessera.services.lease import Configurations
from tessera.storage.event_table import EventKey, EventsBetween
from tessera.storage.profile_items import timestamp_of
from tessera.storage.registry import LostRaceError

_LONGEST_PAUSE_S = 0.5


class Store(StreamStore, Protocol):
    """Where identities are read, and their streams read, written and deleted."""

    def identity(self, tenant: Tenant, xid: Xid) -> IdentityItems | None:
        """Read everything of an identity but its events."""

    def events_between(self, tenant: Tenant, xid: Xid, dataset_id: str, low: str, high: str) -> EventsBetween:
        """List the events and copies at places between two."""

    def remove_counted(
        self, tenant: Tenant, events: Sequence[Event], stream: EventStream | None, replaced: EventStream
    ) -> None:
        """Delete events and a stream, or raise LostRaceError."""


class Survivors:
    """Puts streams right that a cutoff has reached, or is about to. Safe to repeat, to race and to leave.

    ``clock_ms`` is milliseconds since 1970.
    """

    def __init__(
        self,
        configurations: Configurations,
        store: Store,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._configurations = configurations
        self._store = store
        self._clock_ms = clock_ms

    @contextmanager
    def carried(self, tenant: Tenant, cutoffs: Mapping[Xid, Place]) -> Iterator[None]:
        """See to the streams of identities whose heads are given cutoffs meanwhile that their writers do not know."""
        configuration = self._configurations.current(tenant) if cutoffs else None
        for xid, cutoff in cutoffs.items():
            for stream, of_stream in self._streams(tenant, xid, configuration, cutoff):
                if not survives(stream.place, of_stream):
                    self._seen(tenant, stream, of_stream, reclaim=False)
        yield
        for xid in cutoffs:
            self.settle(tenant, xid)

    def settle(self, tenant: Tenant, xid: Xid) -> None:
        """Put right what an identity's cutoffs leave of its streams: their places, and what computed attributes need.

        One without a place above the cutoffs, and without events there, is left to the sweep that counts it.
        """
        configuration = self._configurations.current(tenant)
        attributes = attributes_of(configuration)
        for stream, cutoff in self._streams(tenant, xid, configuration, None):
            seen = self._seen(tenant, stream, cutoff, reclaim=survives(stream.place, cutoff))
            if seen is not None:
                horizon_ms = configuration.datasets[stream.dataset_id].horizon_ms
                complete(self._store, tenant, seen, attributes, cutoff, horizon_ms, self._clock_ms)

    def let_go(self, tenant: Tenant, xid: Xid, dataset_id: str, cutoff: Place) -> None:
        """Delete a stream that a cutoff has reached, unless an event of it is later."""
        stream = self._store.streams(tenant, [xid], dataset_id).get(xid)
        if stream is not None and not survives(stream.place, cutoff):
            self._seen(tenant, stream, cutoff, reclaim=True)

    def _streams(
        self, tenant: Tenant, xid: Xid, configuration: Configuration | None, cutoff: Place | None
    ) -> Iterable[tuple[EventStream, Place]]:
        """List an identity's streams that cutoffs can reach with the last of these, ``cutoff`` being one of them."""
        left = self._store.identity(tenant, xid)
        if left is None or configuration is None:
            return
        for stream in left.streams:
            dataset = configuration.datasets.get(stream.dataset_id)
            last = later(cutoff, left.head.cutoff, dataset.cutoff) if dataset is not None else None
            if last is not None:
                yield stream, last

    def _seen(self, tenant: Tenant, stream: EventStream, cutoff: Place, *, reclaim: bool) -> EventStream | None:
        """Move a stream's place above a cutoff if an event is there; if none is, it may be for this to ``reclaim`` it.

        Answers the stream as it is then, ``None`` if nothing is left of it.
        """
        known: EventStream | None = stream
        while known is not None and not (survives(known.place, cutoff) and known.state.is_current(cutoff)):
            stored = self._store.events_between(tenant, known.xid, known.dataset_id, cutoff, END_OF_TIME).events
            found = [one for one in stored if not one.is_copy]
            try:
                if found:
                    return self._moved(tenant, known, cutoff, found)
                if not reclaim:
                    return None
                if known.going:
                    self._store.remove_counted(tenant, (), None, known)
                    return None
                self._store.put_stream(tenant, replace(known, going=True), known)
            except LostRaceError:
                time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 - jitter
            known = self._store.streams(tenant, [known.xid], known.dataset_id).get(known.xid)
        return known

    def _moved(self, tenant: Tenant, stream: EventStream, cutoff: Place, found: Sequence[EventKey]) -> EventStream:
        """Write a stream with the place and the newest time of events that are left, if that is any different."""
        place = stream.place if survives(stream.place, cutoff) else max(event.place for event in found)
        newest = None if stream.newest_ms is None else max(timestamp_of(event.key) for event in found)
        moved = replace(stream, place=place, newest_ms=newest, going=False)
        if moved == stream:
            return stream
        self._store.put_stream(tenant, moved, stream)
        return replace(moved, version=stream.version + 1)
