"""What the profile store keeps of a person: record fragments, event streams and events (design: Storage)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tessera.domain.computed.state import State
from tessera.domain.graph import Head
from tessera.domain.identity import Xid
from tessera.domain.place import Place, accepted_ms
from tessera.domain.upsert import UpdatedFragment


@dataclass(frozen=True, slots=True)
class RecordFragment:
    """The last record of one identity in one dataset.

    ``updates`` are its fields with their places, where they are not all from the one place.
    """

    xid: Xid
    dataset_id: str
    place: Place
    body: dict[str, Any]
    custom_date_ms: int | None = None
    updates: UpdatedFragment | None = None

    @property
    def ingested_ms(self) -> int:
        """When the record was accepted."""
        return accepted_ms(self.place)

    def after(self, cutoff: Place) -> RecordFragment | None:
        """Return what of the record is later than a delete; nothing may be (law 7)."""
        return self if self.place > cutoff else None


@dataclass(frozen=True, slots=True)
class EventStream:
    """The events of one identity in one dataset, as a whole.

    ``place`` is that of one of its events that no delete had reached; ``last_active_day`` is the last UTC day, in
    days since 1970, on which one was accepted. ``newest_ms`` is the time of the newest one among those written since
    its dataset has a TTL, and among all if it is ``of_all``. ``state`` is what computed attributes need of them,
    ``version`` counts the writes of it all. ``going`` says that it is about to go with its last events, unless somebody
    writes it again; to readers it is there.
    """

    xid: Xid
    dataset_id: str
    place: Place
    last_active_day: int
    newest_ms: int | None = None
    of_all: bool = False
    state: State = field(default_factory=State)
    version: int = 0
    going: bool = False

    def is_alive(self, horizon_ms: int) -> bool:
        """Tell whether an event may be left of it, of which those up to a time have expired."""
        return not self.of_all or self.newest_ms is None or self.newest_ms > horizon_ms


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``key`` orders it among the person's: its time, then a hash of dataset and ``_id``.

    ``stored_until_s`` is when DynamoDB may delete it, in seconds since 1970; it has long expired by then.
    """

    xid: Xid
    key: str
    dataset_id: str
    place: Place
    body: dict[str, Any]
    stored_until_s: int | None = None


@dataclass(frozen=True, slots=True)
class EventCopy(Event):
    """A copy of an event that is not shown, for it is shown from a lower place."""


@dataclass(frozen=True, slots=True)
class IdentityItems:
    """Everything stored under one identity but its events."""

    head: Head
    fragments: Sequence[RecordFragment]
    streams: Sequence[EventStream]
