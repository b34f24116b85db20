"""When the events of a dataset expire (contract: profile-api §10).

    stored until, when they expired ── KEPT_MS ──┐         ┌── LATE_MS ──┐
    ─────────────────────────────────────────────┴─────────┴─────────────┴──────────────────────▶ time of the event
      may be gone                     stored, not shown    │ may come yet │ shown
                                                        settled        horizon

What has expired is hidden at once and stays stored for a while: a repetition finds it, and sums can still be built anew
by whole months.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from tessera.domain.errors import InvalidRequestError
from tessera.domain.times import DAY_MS

# Before every event.
BEGINNING_MS = -(1 << 47)
# A month, which is the longest unit that sums are kept by, and the day within which events still come.
KEPT_MS = 32 * DAY_MS
LATE_MS = DAY_MS
MAX_DAYS = 36_500

# A reader whose clock is ahead by so much has seen events as expired that its fellows still show.
_CLOCKS_APART_MS = 250
_DAYS = re.compile(r"P([1-9]\d{0,4})D\Z", re.ASCII)
_PATH = ("extensions", "adobe_unifiedProfile", "rowExpiration", "ttlValue")


@dataclass(frozen=True, slots=True)
class Expiry:
    """What a dataset's events live by, once it has had a TTL.

    ``days`` is the TTL in force, ``None`` when it was taken away; ``floor_ms`` the latest time up to which events had
    expired under those of before: they stay so. ``tracked_ms`` is from when on every writer notes the newest event of
    a stream. ``job`` is the one that brings what is stored into line.
    """

    days: int | None
    floor_ms: int = BEGINNING_MS
    tracked_ms: int = 0
    job: str = ""

    def horizon_ms(self, at_ms: int) -> int:
        """Return the time up to which events have expired at an instant, that time included."""
        return self.floor_ms if self.days is None else max(self.floor_ms, at_ms - self.days * DAY_MS)

    def stored_until_s(self, timestamp_ms: int, now_ms: int, stored_until_s: int | None = None) -> int | None:
        """Return until when an event is stored, in seconds since 1970, ``None`` for ever.

        ``stored_until_s`` is what was said of it before. Only where an event has not expired can that be put off.
        """
        ends = [] if self.days is None else [timestamp_ms + self.days * DAY_MS + KEPT_MS]
        if timestamp_ms <= self.horizon_ms(now_ms):
            ends.append(now_ms + KEPT_MS)
            if stored_until_s is not None:
                ends.append(stored_until_s * 1000)
        return -(-min(ends) // 1000) if ends else None

    def changed(self, days: int | None, now_ms: int, job: str) -> Self:
        """Return it with another TTL, or none: what has expired by now stays so."""
        return replace(self, days=days, floor_ms=self.horizon_ms(now_ms + _CLOCKS_APART_MS), job=job)


def expiry_after(before: Expiry | None, days: int | None, now_ms: int, *, tracked_ms: int, job: str) -> Expiry | None:
    """Return what a dataset's events live by when it is given a TTL of so many days, or none.

    ``job`` is the id of the one that would bring what is stored into line, ``tracked_ms`` when every writer will know.
    """
    if before is None:
        return None if days is None else Expiry(days, tracked_ms=tracked_ms, job=job)
    return before if before.days == days else before.changed(days, now_ms, job)


def settled_ms(horizon_ms: int) -> int:
    """Return the time up to which no event is written any more: those up to there expired a day ago or earlier."""
    return max(BEGINNING_MS, horizon_ms - LATE_MS)


def days_of(description: Mapping[str, Any]) -> int | None:
    """Read the TTL that a dataset's description asks for, ``None`` if it asks for none.

    Raises InvalidRequestError for anything but a whole number of days.
    """
    value: Any = description
    for depth, name in enumerate(_PATH):
        if not isinstance(value, Mapping):
            raise InvalidRequestError(f"{_dotted(_PATH[:depth])} must be an object")
        value = value.get(name)
        if value is None:
            return None
    match = _DAYS.match(value) if isinstance(value, str) else None
    if match is None or int(match[1]) > MAX_DAYS:
        raise InvalidRequestError(
            f"{_dotted(_PATH)} must be a whole number of days from P1D to P{MAX_DAYS}D, such as P30D"
        )
    return int(match[1])


def _dotted(path: Sequence[str]) -> str:
    return ".".join(path)
