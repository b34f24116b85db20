"""Times as the contract writes them: ISO-8601 strings, and whole milliseconds since 1970 in between."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

DAY_MS = 86_400_000
_FIRST_DAY = date(1970, 1, 1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FIRST_MS, _LAST_MS = ((end.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND for end in (datetime.min, datetime.max))


def parse_ms(value: object) -> int:
    """Read an ISO-8601 date-time (without a zone it is UTC) or a number of milliseconds; answers milliseconds.

    Raises ValueError for anything else, and for what is in the year 0 or 10000 in UTC: it could not be written again.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("not a date-time")
    if isinstance(value, int):
        return _in_calendar(value)
    if len(value) < 10 or value[4] != "-":
        raise ValueError("not an ISO-8601 date-time")
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _in_calendar((moment - _EPOCH) // _MILLISECOND)


def _in_calendar(milliseconds: int) -> int:
    if not _FIRST_MS <= milliseconds <= _LAST_MS:
        raise ValueError("not in the years 1 to 9999")
    return milliseconds


def iso_ms(milliseconds: int) -> str:
    """Write milliseconds since 1970 as ``2026-03-04T08:55:27.000Z``.

    Raises OverflowError for a year that has not four digits.
    """
    days, within = divmod(milliseconds, DAY_MS)
    minutes, within = divmod(within, 60_000)
    seconds, thousandths = divmod(within, 1000)
    return f"{_date(days)}T{minutes // 60:02}:{minutes % 60:02}:{seconds:02}.{thousandths:03}Z"


# Times come in crowds of a few days, and a date takes longer than all the rest.
@lru_cache(maxsize=4096)
def _date(days: int) -> str:
    return (_FIRST_DAY + timedelta(days)).isoformat()


def iso_seconds(milliseconds: int) -> str:
    """Write milliseconds since 1970 as ``2026-03-04T08:55:27Z``."""
    return f"{_EPOCH + timedelta(milliseconds=milliseconds):%Y-%m-%dT%H:%M:%SZ}"


def day_of(milliseconds: int) -> int:
    """Whole UTC days since 1970."""
    return milliseconds // DAY_MS
