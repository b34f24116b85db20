"""Windows of computed attributes, in whole calendar units of UTC (contract: data-and-pql §1.5).

At an instant T a window covers ``[floor(T, unit) - count units, T)``, so it is made of at most ``count + 1`` whole
units, the last of them cut off at T. A unit of time is its *bucket*, a whole number that grows with time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from tessera.domain.times import DAY_MS

HOUR_MS = 3_600_000
# 1970-01-01 was a Thursday; weeks begin on Sundays.
_DAYS_BEFORE_SUNDAY = 4


class Unit(StrEnum):
    """A calendar unit; a window is made of all but years."""

    HOURS = "HOURS"
    DAYS = "DAYS"
    WEEKS = "WEEKS"
    MONTHS = "MONTHS"
    YEARS = "YEARS"

    def bucket(self, time_ms: int) -> int:
        """Return the bucket in which a time lies; times are milliseconds since 1970."""
        match self:
            case Unit.HOURS:
                return time_ms // HOUR_MS
            case Unit.DAYS:
                return time_ms // DAY_MS
            case Unit.WEEKS:
                return (time_ms // DAY_MS + _DAYS_BEFORE_SUNDAY) // 7
            case Unit.MONTHS:
                day = datetime.fromtimestamp(time_ms // 1000, UTC)
                return (day.year - 1970) * 12 + day.month - 1
            case Unit.YEARS:
                return datetime.fromtimestamp(time_ms // 1000, UTC).year - 1970

    def start(self, bucket: int) -> int:
        """Return the first millisecond of a bucket."""
        match self:
            case Unit.HOURS:
                return bucket * HOUR_MS
            case Unit.DAYS:
                return bucket * DAY_MS
            case Unit.WEEKS:
                return (bucket * 7 - _DAYS_BEFORE_SUNDAY) * DAY_MS
            case Unit.MONTHS:
                years, month = divmod(bucket, 12)
                return int(datetime(1970 + years, month + 1, 1, tzinfo=UTC).timestamp()) * 1000
            case Unit.YEARS:
                return int(datetime(1970 + bucket, 1, 1, tzinfo=UTC).timestamp()) * 1000


# The longest look-back of each unit (contract: data-and-pql §1.2).
MAX_COUNT = {Unit.HOURS: 24, Unit.DAYS: 7, Unit.WEEKS: 4, Unit.MONTHS: 6}


@dataclass(frozen=True, slots=True)
class Window:
    """How far an attribute looks back: ``count`` calendar units before the one in which it is read."""

    count: int
    unit: Unit

    def first_bucket(self, now_ms: int) -> int:
        """Return the bucket with which the window begins at an instant."""
        return self.unit.bucket(now_ms) - self.count

    def start(self, now_ms: int) -> int:
        """Return the first millisecond of the window at an instant."""
        return self.unit.start(self.first_bucket(now_ms))
