"""Clauses about the clock within the filter of a computed attribute (design: Computed attributes).

Whether an event counts must not depend on when it is asked, for the event is asked once. A clause that the window
implies is dropped, one that whole calendar units express becomes a period of the read; any other is refused.
"""

from __future__ import annotations

from tessera.domain.computed.rule import Period
from tessera.domain.computed.window import Unit, Window
from tessera.domain.errors import InvalidRequestError
from tessera.pql import syntax

_TIMESTAMP = syntax.Field(syntax.Parameter(1), "timestamp")
_UNITS = {"hour": Unit.HOURS, "day": Unit.DAYS, "week": Unit.WEEKS, "month": Unit.MONTHS, "year": Unit.YEARS}
_WORDS = {"today": 0, "yesterday": -1, "tomorrow": 1}
_PERIODS = {"this": 0, "last": -1, "next": 1}
# Units that are made of whole ones of another.
_MADE_OF = {
    Unit.HOURS: frozenset(Unit),
    Unit.DAYS: frozenset({Unit.DAYS, Unit.WEEKS, Unit.MONTHS, Unit.YEARS}),
    Unit.WEEKS: frozenset({Unit.WEEKS}),
    Unit.MONTHS: frozenset({Unit.MONTHS, Unit.YEARS}),
}
_HOURS = {"hour": 1, "day": 24, "week": 168, "month": 28 * 24, "year": 365 * 24}
_LONGEST_HOURS = {Unit.HOURS: 1, Unit.DAYS: 24, Unit.WEEKS: 168, Unit.MONTHS: 31 * 24}
_MONTHS = {"month": 1, "year": 12}


def periods_of(condition: syntax.Node, window: Window) -> list[Period]:
    """Express a condition that depends on the clock as periods of the read; none when the window implies it.

    Raises InvalidRequestError when it cannot be expressed.
    """
    if isinstance(condition, syntax.Occurs) and condition.subject == _TIMESTAMP:
        periods = _periods(condition.when, window)
        if periods is not None and all(period.unit in _MADE_OF[window.unit] for period in periods):
            return periods
    raise InvalidRequestError(
        f"line {condition.at.line}, column {condition.at.column}: a condition that depends on the clock must be about "
        "the event's timestamp and either be wider than the attribute's duration or name whole "
        f"{window.unit.value.lower()} or units made of them, as in `timestamp occurs today`; set the duration instead"
    )


def _periods(when: syntax.When, window: Window) -> list[Period] | None:
    if isinstance(when, syntax.Distance):
        return _distance(when, window)
    if isinstance(when, syntax.Between):
        return _between(when)
    match when:
        case syntax.Beside(direction="before", anchor=syntax.Clock(word="now")):
            return []
        case syntax.Beside(direction=direction, anchor=anchor) if (found := _period(anchor)) is not None:
            unit, away = found
            return [Period(unit, None, away) if direction == "before" else Period(unit, away + 1, None)]
        case syntax.During(anchor=anchor) if (found := _period(anchor)) is not None:
            unit, away = found
            return [Period(unit, away, away + 1)]
    return None


def _between(when: syntax.Between) -> list[Period] | None:
    begin, end = _period(when.first), _period(when.last)
    if begin is None or (end is None and when.last != syntax.Clock("now")):
        return None
    return [Period(begin[0], begin[1], None), *([] if end is None else [Period(end[0], None, end[1] + 1)])]


def _distance(when: syntax.Distance, window: Window) -> list[Period] | None:
    if when.anchor != syntax.Clock("now") or when.direction != "before":
        return None
    if when.operator in ("<", "<=") and _implied(when, window):
        return []
    if when.operator == "=" and when.unit in _UNITS:
        return [Period(_UNITS[when.unit], -when.count, 1 - when.count)]
    return None


def _implied(when: syntax.Distance, window: Window) -> bool:
    """Tell whether the window never begins before a clause's far end: it is up to one unit longer than its count."""
    if window.unit is Unit.MONTHS and when.unit in _MONTHS:
        return when.count * _MONTHS[when.unit] > window.count
    return when.count * _HOURS.get(when.unit, 0) >= (window.count + 1) * _LONGEST_HOURS[window.unit]


def _period(anchor: syntax.Time) -> tuple[Unit, int] | None:
    """Name the calendar unit that an anchor stands for, and how far it is from the present one."""
    match anchor:
        case syntax.Clock(word=word) if word in _WORDS:
            return Unit.DAYS, _WORDS[word]
        case syntax.Period(which=which, unit=unit) if unit in _UNITS:
            return _UNITS[unit], _PERIODS[which]
    return None
