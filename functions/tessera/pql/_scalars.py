"""Single values: their types and truth, numbers, order, strings, times (contract: data-and-pql §2.4 and §2.5).

Where the contract is silent:

- Null comes before a wrong type: an operation with a null operand is null or false whatever the other operand is.
- A result of whole numbers is whole while 64 bits hold it, then it is a double; what a double cannot hold is null.
- Strings compare as instants if both are ISO-8601 date-times, else as strings.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from math import fmod, fsum, isfinite
from typing import Any, NoReturn

from tessera.pql._times import Period, bounds, civil, day_period, milliseconds, moment_at, read_moment
from tessera.pql.errors import PqlError
from tessera.pql.syntax import When

NUMBERS = frozenset({int, float})
_MAX_INTEGER = 2**63 - 1
_DAY = 86_400_000


def wrong(wanted: str, value: Any) -> NoReturn:
    """Raise the error of a value that is not what was wanted."""
    raise PqlError(f"expected {wanted}, found {described(value)}", expected=(wanted,))


def described(value: Any) -> str:
    kinds = {
        bool: "a boolean",
        str: "a string",
        list: "an array",
        dict: "an object",
        int: "a number",
        float: "a number",
    }
    return kinds.get(type(value), "null" if value is None else "an array" if isinstance(value, list) else "no value")


def truth(value: Any) -> bool:
    """Tell whether a value holds as a condition."""
    if value is None or value is False:
        return False
    if value is True:
        return True
    if not isinstance(value, list):
        wrong("a boolean", value)
    return len(value) > 0


def text(value: Any) -> str:
    """Check for a string."""
    if not isinstance(value, str):
        wrong("a string", value)
    return value


# Numbers


def _fitting(value: float) -> float | None:
    """Bring a result to what the language has: 64 bits, doubles, or null."""
    if type(value) is int:
        if -_MAX_INTEGER - 1 <= value <= _MAX_INTEGER:
            return value
        try:
            return float(value)
        except OverflowError:
            return None
    return value if isfinite(value) else None


def total(values: list[Any]) -> float | None:
    try:
        return _fitting(sum(values) if float not in set(map(type, values)) else fsum(values))
    except (OverflowError, ValueError):
        return None


def _calculated(left: Any, right: Any, calculate: Callable[[Any, Any], float]) -> float | None:
    if left is None or right is None:
        return None
    for operand in (left, right):
        if type(operand) not in NUMBERS:
            wrong("a number", operand)
    try:
        return _fitting(calculate(left, right))
    except (ArithmeticError, ValueError):
        return None


def add(left: Any, right: Any) -> float | None:
    """``left + right``."""
    return _calculated(left, right, lambda one, other: one + other)


def subtract(left: Any, right: Any) -> float | None:
    """``left - right``."""
    return _calculated(left, right, lambda one, other: one - other)


def multiply(left: Any, right: Any) -> float | None:
    """``left * right``."""
    return _calculated(left, right, lambda one, other: one * other)


def divide(left: Any, right: Any) -> float | None:
    """``left / right``: a double, and null where the divisor is 0."""
    return _calculated(left, right, lambda one, other: one / other)


def remainder(left: Any, right: Any) -> float | None:
    """``left % right``: with the sign of the dividend."""
    return _calculated(left, right, _remainder)


def _remainder(one: float, other: float) -> float:
    if type(one) is int and type(other) is int:
        return abs(one) % abs(other) * (-1 if one < 0 else 1)
    return fmod(one, other)


# Order


def _comparable(one: Any, other: Any) -> tuple[Any, Any]:
    if type(one) in NUMBERS and type(other) in NUMBERS:
        return one, other
    if not isinstance(one, str) or not isinstance(other, str):
        raise PqlError(f"{described(one)} does not compare with {described(other)}")
    first = read_moment(one)
    second = None if first is None else read_moment(other)
    return (one, other) if second is None else (first, second)


def less(one: Any, other: Any) -> bool:
    """``one < other``."""
    if one is None or other is None:
        return False
    first, second = _comparable(one, other)
    return bool(first < second)


def less_or_equal(one: Any, other: Any) -> bool:
    """``one <= other``."""
    if one is None or other is None:
        return False
    first, second = _comparable(one, other)
    return bool(first <= second)


def ranks(values: list[Any]) -> list[Any]:
    """Make what orders values of one kind."""
    kinds = set(map(type, values))
    if kinds <= NUMBERS:
        return values
    if kinds != {str}:
        odd = next(value for value in values if type(value) is not str)
        _comparable(odd, values[0] if odd is not values[0] else values[-1])
        raise PqlError(f"{described(odd)} does not compare with {described(values[0])}")
    moments = [read_moment(value) for value in values]
    return moments if all(moments) else values


# Times


def time_of(value: Any) -> int | None:
    """Read a time: a number of milliseconds since 1970, or ISO-8601; None is no time."""
    if type(value) is str:
        moment = read_moment(value)
        if moment is None:
            raise PqlError("expected a time, found a string that is none", expected=("a time",))
        return milliseconds(moment)
    if value is None:
        return None
    if type(value) is not int:
        wrong("a time", value)
    return value


def moment_of(value: Any) -> datetime | None:
    """Read a time as time_of does, for comparing it with moments."""
    if type(value) is str:
        moment = read_moment(value)
        if moment is None:
            raise PqlError("expected a time, found a string that is none", expected=("a time",))
        return moment
    time = time_of(value)
    return None if time is None else moment_at(time)


def make_date(year: Any, month: Any, day: Any) -> str | None:
    """``date(year, month, day)``: a date as text."""
    if year is None or month is None or day is None:
        return None
    try:
        return date(_whole(year), _whole(month), _whole(day)).isoformat()
    except (ValueError, OverflowError):
        raise PqlError("there is no such date") from None


def _whole(value: Any) -> int:
    if type(value) is not int:
        wrong("a whole number", value)
    return value


def instant(value: Any) -> Period | None:
    """Take a time for the period that it is by itself."""
    moment = time_of(value)
    return None if moment is None else (moment, moment + 1)


def day(value: Any) -> Period | None:
    """Take a date for the period of its day."""
    moment = time_of(value)
    return None if moment is None else day_period(moment)


def year_of(value: Any) -> int | None:
    """``value.getYear()``."""
    moment = time_of(value)
    return None if moment is None else civil(moment // _DAY)[0]


def month_of(value: Any) -> int | None:
    """``value.getMonth()``."""
    moment = time_of(value)
    return None if moment is None else civil(moment // _DAY)[1]


def day_of(value: Any) -> int | None:
    """``value.getDayOfMonth()``."""
    moment = time_of(value)
    return None if moment is None else civil(moment // _DAY)[2]


def meets(time: int, when: When, *periods: Period | None) -> bool:
    """Tell whether a time is what an ``occurs`` phrase asks for, given the periods its anchors mean."""
    known = [period for period in periods if period is not None]
    if len(known) < len(periods):
        return False
    low, high = bounds(when, *known)
    return low <= time < high if low <= high else not high <= time < low
