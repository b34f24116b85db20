"""Building the state of a stream anew from its events.

A state says up to which attribute it is complete. That is only ever raised by the backfill, when every writer knows the
attribute: one that does not would write an event that the attribute counts beside the state, and nobody would miss it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import Protocol

from tessera.domain.computed.state import Contribution, State, completed, fold, repaired
from tessera.domain.expiry import settled_ms
from tessera.domain.identity import Xid
from tessera.domain.place import Place, later, survives
from tessera.domain.profile import Event, EventStream
from tessera.domain.tenant import Tenant
from tessera.services.computed.compiled import Attributes
from tessera.services.lease import ConfigurationChangedError
from tessera.storage.profile_items import hash_of, timestamp_of
from tessera.storage.registry import LostRaceError

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0


class StreamEvents(Protocol):
    """Where the events of a stream are read."""

    def events_of_stream(self, tenant: Tenant, xid: Xid, dataset_id: str, start_ms: int) -> Iterator[Event]:
        """Read them from a time on, in order."""


class StreamStore(StreamEvents, Protocol):
    """Where streams are read and written."""

    def streams(self, tenant: Tenant, xids: Iterable[Xid], dataset_id: str) -> dict[Xid, EventStream]:
        """Read the streams that exist."""

    def put_stream(self, tenant: Tenant, stream: EventStream, replaced: EventStream | None) -> None:
        """Write a stream or raise LostRaceError."""


def is_complete(stream: EventStream, generation: int, cutoff: Place | None) -> bool:
    """Tell whether a stream's state has every attribute up to a number, and nothing that a delete reached."""
    return stream.state.generation >= generation and stream.state.is_current(cutoff)


def complete(
    store: StreamStore,
    tenant: Tenant,
    stream: EventStream,
    attributes: Attributes,
    cutoff: Place | None,
    horizon_ms: Callable[[int], int],
    clock_ms: Callable[[], int],
    pause: Callable[[float], None] = time.sleep,
    generation: int = 0,
) -> bool:
    """Rebuild a stream's state unless it is complete, and tell whether that was done.

    ``generation`` is the number of an attribute that it is to be complete for and that every writer knows;
    ``horizon_ms`` tells up to which time events have expired at an instant. An identity that events come in for all
    the time is tried again until it succeeds, or ``pause`` raises. Raises ConfigurationChangedError when the state
    counts attributes that are not among ``attributes`` yet.
    """
    longest = _FIRST_PAUSE_S
    known: EventStream | None = stream
    while known is not None and not is_complete(known, generation, cutoff):
        if known.state.generation > attributes.generation:
            raise ConfigurationChangedError
        now_ms = clock_ms()
        horizon = horizon_ms(now_ms)
        state = rebuilt(store, tenant, known, attributes, cutoff, now_ms, horizon, generation=generation)
        if known.state.is_current(cutoff):
            state = completed(known.state, state, attributes.rules, now_ms)
        try:
            store.put_stream(tenant, replace(known, state=state), known)
        except LostRaceError:
            pause(random.uniform(0, longest))  # noqa: S311 - jitter
            longest = min(_LONGEST_PAUSE_S, longest * 2)
            known = store.streams(tenant, [known.xid], known.dataset_id).get(known.xid)
        else:
            return True
    return False


def rebuilt(
    store: StreamEvents,
    tenant: Tenant,
    stream: EventStream,
    attributes: Attributes,
    cutoff: Place | None,
    now_ms: int,
    horizon_ms: int,
    without: Collection[str] = (),
    generation: int = 0,
) -> State:
    """Return the state that the events of a stream add up to which no delete reached.

    It is complete for what it was complete for before, and for attributes up to the number ``generation``. ``without``
    are the keys of events that are about to go or to be replaced; then what expired goes on counting, unless a delete
    reached the state. What has expired by ``horizon_ms`` counts in no attribute that is new. What is read may be old
    by the time it is written: that write has to be conditional on the stream's version, which every event that counts
    changes.
    """
    cutoff = later(cutoff, stream.state.cutoff)
    fresh = State(generation=max(stream.state.generation, generation), cutoff=cutoff)
    if not attributes.rules:
        return fresh
    events = store.events_of_stream(tenant, stream.xid, stream.dataset_id, attributes.start_ms(now_ms))
    contributions = (
        _still_counting(contribution, stream.state.generation, horizon_ms)
        for event in events
        if survives(event.place, cutoff)
        and event.key not in without
        and (contribution := attributes.contribution(event, now_ms)) is not None
    )
    state = fold(fresh, contributions, attributes.rules, now_ms)
    if not without or not stream.state.is_current(cutoff):
        return state
    # Of a time in which nothing is written any more not all may be stored: what goes from there has counted for good.
    settled = settled_ms(horizon_ms)
    gone = [(timestamp_of(key), hash_of(key)) for key in without if timestamp_of(key) > settled]
    return repaired(stream.state, state, gone, attributes.rules, now_ms)


def _still_counting(contribution: Contribution, generation: int, horizon_ms: int) -> Contribution:
    """Leave out what an event that has expired would give to attributes that never counted it."""
    if contribution.time_ms > horizon_ms:
        return contribution
    values = {number: value for number, value in contribution.values.items() if int(number) <= generation}
    return contribution._replace(values=values)
