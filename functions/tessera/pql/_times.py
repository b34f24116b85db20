"""Times: reading them, the calendar, and what an ``occurs`` phrase asks (contract: data-and-pql §2.4, §2.6).

A time is a whole number of milliseconds since 1970, UTC; finer digits are cut off. An instant is a period of one
millisecond, so that every phrase asks for a time at or after one moment and before another, or for the opposite.
Weeks run from Sunday to Saturday; decades, centuries and millennia begin with the years ending in 0, 00 and 000. A day
that a month does not have is the last day of that month. The calendar goes on beyond the years 1 to 9999.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from math import inf
from typing import TypeAlias

from tessera.pql import syntax as s

Period: TypeAlias = tuple[int, int]
# At or after the first and before the second; both given the other way round, outside of that.
Bounds: TypeAlias = tuple[float, float]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MILLISECOND = timedelta(milliseconds=1)
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_DAY = 86_400_000
_LONGEST = 40
# From the year 1 to 9999 as a date has them: 400 years repeat themselves.
_CYCLE_YEARS = 400
_CYCLE_DAYS = 146_097

_LENGTHS = {"millisecond": 1, "second": 1_000, "minute": 60_000, "hour": 3_600_000, "day": _DAY, "week": 7 * _DAY}
_MONTHS = {"month": 1, "year": 12, "decade": 120, "century": 1_200, "millennium": 12_000}
# The first Sunday of 1970 is the fourth of January.
_FIRST_SUNDAY = 3 * _DAY


def read_moment(text: str) -> datetime | None:
    """Read an ISO-8601 date or date-time, which is UTC unless it says otherwise; None if it is none."""
    try:
        # What else fromisoformat takes, such as weeks and dates without hyphens, is no time here.
        if text[4] != "-" or text[7] != "-" or len(text) > _LONGEST or text[10:11] not in "Tt ":
            return None
        moment = datetime.fromisoformat(text)
    except (ValueError, IndexError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def milliseconds(moment: datetime) -> int:
    """Count the milliseconds from 1970 to a moment."""
    return (moment - _EPOCH) // _MILLISECOND


def moment_at(time: float) -> datetime:
    """Make the moment of a time in milliseconds; the first or last there is for a time beyond the years 1 to 9999."""
    try:
        return _EPOCH + timedelta(milliseconds=time)
    except OverflowError:
        return _FIRST if time < 0 else _LAST


def plus(moment: int, count: int, unit: s.Unit) -> int:
    """Add units to a moment."""
    if unit in _LENGTHS:
        return moment + count * _LENGTHS[unit]
    days, rest = divmod(moment, _DAY)
    year, month, day = civil(days)
    year, month = divmod(year * 12 + month - 1 + count * _MONTHS[unit], 12)
    return _day(year, month + 1, day) * _DAY + rest


def floor(moment: int, unit: s.Unit) -> int:
    """Tell when the calendar unit began that a moment lies in."""
    if unit == "week":
        return moment - (moment - _FIRST_SUNDAY) % _LENGTHS["week"]
    if unit in _LENGTHS:
        return moment - moment % _LENGTHS[unit]
    year, month, _ = civil(moment // _DAY)
    if unit == "month":
        return _day(year, month, 1) * _DAY
    return _day(year - year % (_MONTHS[unit] // 12), 1, 1) * _DAY


def civil(days: int) -> tuple[int, int, int]:
    """Year, month and day of a number of days since 1970."""
    cycles, days = divmod(days, _CYCLE_DAYS)
    known = date.fromordinal(days + _EPOCH_DAY)
    return known.year + cycles * _CYCLE_YEARS, known.month, known.day


def _day(year: int, month: int, day: int) -> int:
    """Days since 1970 of a date; a day that the month does not have is its last."""
    cycles, offset = divmod(year - 1970, _CYCLE_YEARS)
    for last in (day, 30, 29, 28):
        try:
            known = date(1970 + offset, month, min(day, last))
        except ValueError:
            continue
        return known.toordinal() - _EPOCH_DAY + cycles * _CYCLE_DAYS
    raise AssertionError(day)


def clock_period(time: s.Clock | s.Period, now: int) -> Period:
    """Tell which period a word of the clock means."""
    if isinstance(time, s.Period):
        start = plus(floor(now, time.unit), {"last": -1, "this": 0, "next": 1}[time.which], time.unit)
        return start, plus(start, 1, time.unit)
    if time.word == "now":
        return now, now + 1
    start = floor(now, "day") + {"yesterday": -1, "today": 0, "tomorrow": 1}[time.word] * _DAY
    return start, start + _DAY


def bounds(when: s.When, *periods: Period) -> Bounds:
    """Tell what a phrase asks of a time, once the periods are known that its anchors mean."""
    start, end = periods[0]
    match when:
        case s.Distance():
            return _distance(when, start)
        case s.Beside("before"):
            return -inf, start
        case s.Beside():
            return end, inf
        case s.Between():
            # Nothing is at or after the end of time: so is it when the second lies before the first.
            return (start, periods[1][1]) if start < periods[1][1] else (inf, inf)
    return start, end


def _distance(when: s.Distance, anchor: int) -> Bounds:
    before = when.direction == "before"
    far = plus(anchor, -when.count if before else when.count, when.unit)
    match when.operator:
        case "=" | "!=":
            start = floor(far, when.unit)
            end = plus(start, 1, when.unit)
            return (start, end) if when.operator == "=" else (end, start)
        case "<=":
            return (far, anchor + 1) if before else (anchor, far + 1)
        case "<":
            # Within no time at all there is nothing.
            low, high = (far + 1, anchor + 1) if before else (anchor, far)
            return (low, high) if low < high else (inf, inf)
        case ">=":
            return (-inf, far + 1) if before else (far, inf)
    return (-inf, far) if before else (far + 1, inf)


def at_clock(when: s.When) -> Callable[[int], Bounds] | None:
    """Make what tells the bounds of a phrase from the time now, if they depend on nothing else."""
    anchors = (when.first, when.last) if isinstance(when, s.Between) else (when.anchor,)
    periods = [_fixed(anchor) for anchor in anchors]
    known = [period for period in periods if period is not None]
    if len(known) < len(periods):
        return None

    @lru_cache(maxsize=4)
    def at(now: int) -> Bounds:
        return bounds(when, *(period(now) for period in known))

    return at


def moments_at_clock(when: s.When) -> Callable[[int], tuple[datetime, datetime]] | None:
    """Do what at_clock does, with moments for the bounds: reading a time as a moment takes half as long."""
    known = at_clock(when)
    if known is None:
        return None

    @lru_cache(maxsize=4)
    def at(now: int) -> tuple[datetime, datetime]:
        low, high = known(now)
        return moment_at(low), moment_at(high)

    return at


def _fixed(anchor: s.Time) -> Callable[[int], Period] | None:
    match anchor:
        case s.Clock() | s.Period():
            return lambda now: clock_period(anchor, now)
        case s.Call("date", None, (s.Literal(int() as year), s.Literal(int() as month), s.Literal(int() as day))):
            start = _day(year, month, day) * _DAY
            return lambda _: (start, start + _DAY)
    return None


def day_period(start: int) -> Period:
    """Make the period of the day that begins at a moment."""
    return start, start + _DAY
