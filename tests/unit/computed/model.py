"""The obvious way to compute an attribute: look at every event, at the instant of the read."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple

from tessera.domain.computed.rule import Function, Rule
from tessera.domain.computed.window import Unit, Window


class Known(NamedTuple):
    """An event as a model knows it: when it was, its hash, and what it gives to an attribute."""

    time_ms: int
    tie: str
    value: Any


def floor(now_ms: int, unit: Unit) -> datetime:
    """Begin of the calendar unit in which an instant lies."""
    now = datetime.fromtimestamp(now_ms // 1000, UTC).replace(minute=0, second=0, microsecond=0)
    if unit is Unit.HOURS:
        return now
    day = now.replace(hour=0)
    if unit is Unit.WEEKS:
        return day - timedelta(days=day.isoweekday() % 7)
    return day.replace(day=1) if unit is Unit.MONTHS else day


def start(now_ms: int, window: Window) -> datetime:
    """Begin of a window."""
    begin = floor(now_ms, window.unit)
    if window.unit is Unit.MONTHS:
        months = begin.year * 12 + begin.month - 1 - window.count
        return begin.replace(year=months // 12, month=months % 12 + 1)
    each = {Unit.HOURS: timedelta(hours=1), Unit.DAYS: timedelta(days=1), Unit.WEEKS: timedelta(weeks=1)}
    return begin - window.count * each[window.unit]


def value_at(events: Iterable[Known], rule: Rule, now_ms: int) -> Any:
    """Compute the value at an instant; ``None`` when there is none."""
    begin_ms = int(start(now_ms, rule.window).timestamp() * 1000)
    seen = [event for event in events if begin_ms <= event.time_ms < now_ms]
    if not seen:
        return None
    match rule.function:
        case Function.COUNT:
            return len(seen)
        case Function.SUM:
            exact = sum((Fraction(repr(event.value)) for event in seen), Fraction(0))
            return int(exact) if exact.denominator == 1 and abs(exact) < 2**63 else float(exact)
        case Function.MIN:
            return min(event.value for event in seen)
        case Function.MAX:
            return max(event.value for event in seen)
    newest = sorted(seen, key=lambda event: (-event.time_ms, event.tie, repr(event.value)))[: rule.size]
    if rule.function is Function.LIST:
        return [event.value for event in newest]
    at = datetime.fromtimestamp(newest[0].time_ms // 1000, UTC)
    return {"timestamp": f"{at:%Y-%m-%dT%H:%M:%S}.{newest[0].time_ms % 1000:03d}Z", "value": newest[0].value}
