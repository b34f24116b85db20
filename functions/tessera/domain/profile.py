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
    days since 1970, on which one was accepted; ``alive_until_ms`` is when the last one expires, if any does.
    ``state`` is what computed attributes need of them, ``version`` counts the writes of it all.
    """

    xid: Xid
    dataset_id: str
    place: Place
    last_active_day: int
    alive_until_ms: int | None = None
    state: State = field(default_factory=State)
    version: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``key`` orders it among the person's: its time, then a hash of dataset and ``_id``."""

    xid: Xid
    key: str
    dataset_id: str
    place: Place
    body: dict[str, Any]
    expires_s: int | None = None


@dataclass(frozen=True, slots=True)
class IdentityItems:
    """Everything stored under one identity but its events."""

    head: Head
    fragments: Sequence[RecordFragment]
    streams: Sequence[EventStream]
