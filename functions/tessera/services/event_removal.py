"""Removing events of a batch together with their share of computed attributes.

An event is deleted in one transaction with its stream, on the condition that its place is still of the batch: what
another one brought stays, and a repetition finds nothing left to do. Where another batch or a message brought the same
event, the first copy of it takes the place of what goes, in one transaction too; and the copies are read again behind
that, for one may have come meanwhile: see ``services.event_placing``. Copies of the batch go as well. Another removal
can make an event of such a copy, and a writer a copy of such an event. So copies are read before and after the events,
and it all begins anew until nothing has changed in between.

A stream goes with its last event. A writer may be about to write one that no attribute counts: the stream that it read
needs no change, so no version tells of that event. So the stream is first marked, and that writer looks again:

    time | removal                                     | writer of an event that counts nowhere
    -----|---------------------------------------------|--------------------------------------------------------
    t    |                                             | reads the stream: there is nothing to change
    t+1  | marks the stream as going                   |
    t+2  | lists what is left: nothing                 |
    t+3  |                                             | writes the event
    t+4  | deletes events and stream if it is as marked|
    t+5  |                                             | reads the stream again: marked or gone, it is written again

An event that is written before t+2 is listed, and the stream stays. One that is written later is followed by a reading
that is later than the mark. If it finds the mark, the writer writes the stream: either before t+4, which then fails and
begins anew, or that writing fails, for the stream is gone. If it finds the stream gone, the writer makes another. All
readings are strongly consistent; nothing depends on how long anybody takes. A mark that a removal leaves when it dies
goes by the next attempt, or costs the next writer one writing of the stream.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from tessera.domain.expiry import BEGINNING_MS
from tessera.domain.place import Place
from tessera.domain.profile import Event, EventStream
from tessera.domain.tenant import Tenant
from tessera.services.computed.compiled import attributes_of
from tessera.services.computed.rebuilding import rebuilt
from tessera.services.event_copies import RestoredEvents, Restorer
from tessera.services.lease import ConfigurationChangedError, Configurations, Lease
from tessera.storage.registry import LostRaceError

# A transaction has 100 items; the stream and its parts are among them.
_EVENTS_PER_TRANSACTION = 50
_LONGEST_PAUSE_S = 0.5


class CountedEvents(RestoredEvents, Protocol):
    """Where events and streams are read and deleted."""

    def remove_counted(
        self, tenant: Tenant, events: Sequence[Event], stream: EventStream | None, replaced: EventStream
    ) -> None:
        """Delete events and write the stream without them, or raise LostRaceError."""

    def remove_without_stream(self, tenant: Tenant, events: Sequence[Event]) -> None:
        """Delete events whose stream is not there, or raise LostRaceError."""


class EventRemover:
    """Removes events; ``clock`` gives seconds, ``clock_ms`` milliseconds since 1970."""

    def __init__(
        self,
        configurations: Configurations,
        store: CountedEvents,
        clock: Callable[[], float] = time.monotonic,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._configurations = configurations
        self._store = store
        self._clock = clock
        self._clock_ms = clock_ms
        self._restorer = Restorer(configurations, store, clock, clock_ms)

    def remove(self, tenant: Tenant, brought: Callable[[Place], bool], events: Sequence[Event]) -> None:
        """Remove what is stored of one identity's events at places of a batch; ``brought`` tells which are.

        What others brought of these events, and was not shown because of the batch, is shown then.
        """
        for group in _groups(events):
            self._remove(tenant, brought, group)

    def _remove(self, tenant: Tenant, brought: Callable[[Place], bool], group: Sequence[Event]) -> None:
        copies = self._store.copies_of(tenant, group)
        while True:
            try:
                changed = self._settle(tenant, brought, group, copies)
            except (LostRaceError, ConfigurationChangedError):
                time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 - jitter
                copies = self._store.copies_of(tenant, group)
                continue
            before, copies = copies, self._store.copies_of(tenant, group)
            if copies == before and not (changed and copies):
                return

    def _settle(
        self, tenant: Tenant, brought: Callable[[Place], bool], group: Sequence[Event], copies: Sequence[Event]
    ) -> bool:
        """Remove copies and events of the batch, or put others in their places; tell whether there was any."""
        mine = [copy for copy in copies if brought(copy.place)]
        self._store.delete_copies(tenant, mine)
        others = [copy for copy in copies if not brought(copy.place)]
        changed = bool(others) and self._restorer.restore(tenant, others, brought)
        return self._delete(tenant, brought, group) or changed or bool(mine)

    def _delete(self, tenant: Tenant, brought: Callable[[Place], bool], group: Sequence[Event]) -> bool:
        """Delete events of the batch, and their stream if they were its last; tell whether there were any."""
        while True:
            stored = self._store.stored_events(tenant, group)
            gone = [event for event in stored.values() if brought(event.place)]
            if not gone:
                return False
            xid, dataset_id = gone[0].xid, gone[0].dataset_id
            stream = self._store.streams(tenant, [xid], dataset_id).get(xid)
            if stream is None:
                # Whoever wrote these is about to write the stream again, or has died before that.
                self._store.remove_without_stream(tenant, gone)
                return True
            last = self._are_last(tenant, stream, gone)
            if last and not stream.going:
                self._store.put_stream(tenant, replace(stream, going=True), stream)
                continue
            self._store.remove_counted(tenant, gone, self._without(tenant, stream, gone, last), stream)
            return True

    def _are_last(self, tenant: Tenant, stream: EventStream, gone: Sequence[Event]) -> bool:
        keys = {event.key for event in gone}
        events = self._store.events_of_stream(tenant, stream.xid, stream.dataset_id, BEGINNING_MS)
        return all(event.key in keys for event in events)

    def _without(self, tenant: Tenant, stream: EventStream, gone: Sequence[Event], last: bool) -> EventStream | None:
        """Return a stream as it is without some events, ``None`` when they were the last and it counts no others."""
        keys, now_ms = {event.key for event in gone}, self._clock_ms()
        lease = Lease(self._configurations, tenant, self._clock)
        attributes, dataset = attributes_of(lease.configuration), lease.configuration.datasets.get(stream.dataset_id)
        if stream.state.generation > attributes.generation:
            raise ConfigurationChangedError
        horizon = BEGINNING_MS if dataset is None else dataset.horizon_ms(now_ms)
        state = rebuilt(self._store, tenant, stream, attributes, None, now_ms, horizon, without=keys)
        lease.check()
        left = replace(stream, state=state, going=False)
        if not last:
            return left
        if state.counts_nothing:
            return None
        # It counts events that have expired. Those are nobody's who is still there.
        return left if dataset is None or dataset.expiry is None else replace(left, newest_ms=BEGINNING_MS, of_all=True)


def _groups(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    return (events[start : start + _EVENTS_PER_TRANSACTION] for start in range(0, len(events), _EVENTS_PER_TRANSACTION))
