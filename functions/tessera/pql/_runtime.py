"""What a compiled query calls while it runs: arrays and objects.

Contract: data-and-pql §2.4 and §2.5. Where that is silent:

- Sums of doubles are rounded once, so their order does not matter.
- Minimum, maximum and ranking take strings as instants if all of them are date-times. Of equals the first counts.
- Within arrays and objects null equals null. Equal numbers are the same element; 1 and true are not.
- ``exists`` looks into arrays within the array. Elements with a null key are in no group.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from tessera.pql import _scalars as scalars
from tessera.pql._scalars import NUMBERS, described, text, truth, wrong
from tessera.pql._times import clock_period
from tessera.pql._work import Work
from tessera.pql.errors import PqlError

_MAX_NESTING = 200


class Group(list[Any]):
    """The elements of one group, with what they have in common."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        """Begin a group."""
        super().__init__()
        self.key = key


class Run(Work):
    """One evaluation."""

    def array(self, value: Any, weight: int = 1) -> list[Any]:
        """Check for an array, all of which will be visited; ``weight`` is what is done with each, 1 if it is little."""
        if not isinstance(value, list):
            wrong("an array", value)
        self.left -= len(value) * weight
        if self.left < 0:
            self.visit(0)
        return value

    def elements(self, value: Any, weight: int = 1) -> list[Any]:
        """Like array; null has no elements."""
        return [] if value is None else self.array(value, weight)

    def length(self, value: Any) -> int:
        """Count the elements."""
        return 0 if value is None else len(self.array(value))

    def field(self, value: Any, name: str, nesting: int = 0) -> Any:
        """Look a property up; of an array, those of its elements: nulls dropped, arrays taken apart by one level."""
        if isinstance(value, dict):
            return value.get(name)
        if not isinstance(value, list):
            return None
        if nesting > _MAX_NESTING:
            raise PqlError(f"arrays nested deeper than {_MAX_NESTING} levels")
        found: list[Any] = []
        for element in self.array(value):
            inner = element.get(name) if type(element) is dict else self.field(element, name, nesting + 1)
            if type(inner) is list:
                found += [each for each in self.array(inner) if each is not None]
            elif inner is not None:
                found.append(inner)
        return found

    def head(self, value: Any) -> Any:
        """``array.head()``."""
        if value is None:
            return None
        if not isinstance(value, list):
            wrong("an array", value)
        return value[0] if value else None

    def keys(self, value: Any) -> list[str] | None:
        """``map.keys()``."""
        return None if value is None else list(self._map(value))

    def values(self, value: Any) -> list[Any] | None:
        """``map.values()``."""
        return None if value is None else list(self._map(value).values())

    def _map(self, value: Any) -> dict[str, Any]:
        self.visit(len(_map(value)))
        return value  # type: ignore[no-any-return]

    def inner_elements(self, value: Any, weight: int = 1) -> list[Any]:
        """Take elements, and of elements that are arrays theirs."""
        found: list[Any] = []
        for element in self.elements(value, weight):
            if isinstance(element, list):
                found += self.array(element, weight)
            else:
                found.append(element)
        return found

    # Equality

    def identity(self, value: Any, nesting: int = 0) -> Hashable:
        """Make what two values have in common just if they are equal."""
        if type(value) is bool:
            return (bool, value)
        if isinstance(value, list | dict):
            if nesting > _MAX_NESTING:
                raise PqlError(f"values nested deeper than {_MAX_NESTING} levels")
            self.visit(len(value) + 1)
            if isinstance(value, list):
                return (list, *[self.identity(each, nesting + 1) for each in value])
            return (dict, frozenset((key, self.identity(each, nesting + 1)) for key, each in value.items()))
        return value  # type: ignore[no-any-return]

    def equal(self, one: Any, other: Any) -> bool:
        """Compare two values for equality; null equals nothing."""
        if one is None or other is None:
            return False
        if type(one) is str or type(other) is str:
            return bool(one == other)
        return self.identity(one) == self.identity(other)

    def unequal(self, one: Any, other: Any) -> bool:
        """Compare two values for their difference; null differs from nothing."""
        if one is None or other is None:
            return False
        return self.identity(one) != self.identity(other)

    def is_in(self, value: Any, array: Any) -> bool:
        """``value in array``."""
        return value is not None and array is not None and self._holds(self.array(array), value)

    def is_not_in(self, value: Any, array: Any) -> bool:
        """``value notIn array``."""
        return value is not None and array is not None and not self._holds(self.array(array), value)

    def _holds(self, array: list[Any], value: Any) -> bool:
        if type(value) is str:
            return value in [each for each in array if type(each) is str]
        sought = self.identity(value)
        return any(self.identity(each) == sought for each in array)

    def _identities(self, array: Any) -> list[Hashable]:
        return [self.identity(each) for each in self.array(array)]

    def intersects(self, one: Any, other: Any) -> bool:
        """``one.intersects(other)``."""
        if one is None or other is None:
            return False
        return not set(self._identities(one)).isdisjoint(self._identities(other))

    def intersection(self, one: Any, other: Any) -> list[Any] | None:
        """``one.intersection(other)``: in the order of the first, each once."""
        if one is None or other is None:
            return None
        common = set(self._identities(other))
        return [value for key, value in self._by_identity(one).items() if key in common]

    def subset(self, one: Any, other: Any) -> bool:
        """``one.subsetOf(other)``."""
        if one is None or other is None:
            return False
        return set(self._identities(one)) <= set(self._identities(other))

    def superset(self, one: Any, other: Any) -> bool:
        """``one.supersetOf(other)``."""
        return self.subset(other, one)

    def distinct(self, array: Any) -> list[Any] | None:
        """``array.distinct()``: the first of equals."""
        if array is None:
            return None
        return list(self._by_identity(array).values())

    def _by_identity(self, array: Any) -> dict[Hashable, Any]:
        found: dict[Hashable, Any] = {}
        for key, value in zip(self._identities(array), array, strict=True):
            found.setdefault(key, value)
        return found

    def groups(self, keys: list[Any], elements: list[Any]) -> list[Group]:
        """Gather elements by key."""
        found: dict[Hashable, Group] = {}
        for key, element in zip(keys, elements, strict=True):
            if key is None:
                continue
            identity = key if type(key) is str else self.identity(key)
            group = found.get(identity)
            if group is None:
                group = found[identity] = Group(key)
            group.append(element)
        return list(found.values())

    # Aggregates

    def _taken_apart(self, values: list[Any]) -> list[Any]:
        """Replace arrays among values by their elements, without nulls."""
        found: list[Any] = []
        for value in values:
            if isinstance(value, list):
                found += self.array(value)
            else:
                found.append(value)
        return [value for value in found if value is not None]

    def _numbers(self, values: list[Any]) -> list[Any]:
        if not NUMBERS.issuperset(map(type, values)):
            values = self._taken_apart(values)
            for value in values:
                if type(value) not in NUMBERS:
                    wrong("a number", value)
        return values

    def sum(self, values: list[Any]) -> float | None:
        """Add numbers up."""
        values = self._numbers(values)
        return scalars.total(values)

    def average(self, values: list[Any]) -> float | None:
        """Divide the sum of numbers by how many they are."""
        values = self._numbers(values)
        total = scalars.total(values) if values else None
        return None if total is None else total / len(values)

    def smallest(self, values: list[Any]) -> Any:
        """Find the minimum."""
        return self._extreme(values, min)

    def largest(self, values: list[Any]) -> Any:
        """Find the maximum."""
        return self._extreme(values, max)

    def _extreme(self, values: list[Any], choose: Callable[..., Any]) -> Any:
        if NUMBERS.issuperset(map(type, values)):
            return choose(values, default=None)
        values = self._taken_apart(values)
        ranks = scalars.ranks(values)
        return values[choose(range(len(values)), key=ranks.__getitem__)] if values else None

    def ranked(self, keys: list[Any], elements: list[Any], size: Any, *, largest: bool) -> list[Any] | None:
        """Take so many of the elements, those with the largest or smallest keys first; those without are left out."""
        if size is None:
            return None
        if type(size) is not int or size < 0:
            raise PqlError(f"{described(size)} cannot be a number of elements")
        if None in keys:
            elements = [element for key, element in zip(keys, elements, strict=True) if key is not None]
            keys = [key for key in keys if key is not None]
        ranks = scalars.ranks(keys)
        places = range(len(keys))
        if size == 1 and keys:
            best = max(places, key=ranks.__getitem__) if largest else min(places, key=ranks.__getitem__)
            return [elements[best]]
        order = sorted(places, key=ranks.__getitem__, reverse=largest)
        return [elements[place] for place in order[:size]]

    # Sequences

    def in_order(self, times: list[int | None], elements: list[Any]) -> list[tuple[int, Any]]:
        """Put elements in the order of their times; those without are left out."""
        known = [(time, element) for time, element in zip(times, elements, strict=True) if time is not None]
        return sorted(known, key=lambda pair: pair[0])

    def later(self, sequence: list[tuple[int, Any]], time: int) -> list[tuple[int, Any]]:
        """Leave what comes after a time."""
        self.visit(len(sequence))
        return [pair for pair in sequence if pair[0] > time]

    # Results

    def result(self, value: Any) -> Any:
        """Check that a value that a query made is not far larger, written out, than what was visited."""
        level = [value]
        while level := [each for each in level if isinstance(each, list | dict)]:
            self.visit(sum(map(len, level)))
            level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
        return value


def get(value: Any, key: Any) -> Any:
    """``value.get(key)``."""
    return None if value is None or key is None else _map(value).get(text(key))


def _map(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        wrong("an object", value)
    return value


def entry_key(value: Any) -> str:
    """Check what is to be a key in an object."""
    return text(value)


def group_key(value: Any) -> Any:
    """Take what the elements of a group have in common."""
    if not isinstance(value, Group):
        wrong("a group of groupBy", value)
    return value.key


def in_segment(profile: Any, segment: Any) -> bool:
    """Tell whether a profile is in a segment, of whatever namespace."""
    members = profile.get("segmentMembership") if isinstance(profile, dict) else None
    if segment is None or not isinstance(members, dict):
        return False
    return any(_status(of_namespace, text(segment)) in ("realized", "existing") for of_namespace in members.values())


def _status(of_namespace: Any, segment: str) -> Any:
    member = of_namespace.get(segment) if isinstance(of_namespace, dict) else None
    status = member.get("status") if isinstance(member, dict) else None
    return status if isinstance(status, str) else None


LIBRARY: dict[str, Any] = {
    "Run": Run,
    "PqlError": PqlError,
    "RecursionError": RecursionError,
    **{each.__name__: each for each in (bool, dict, float, int, len, str, type, clock_period, group_key, get, wrong)},
    **{each.__name__: each for each in (entry_key, in_segment, truth)},
    **{each.__name__: each for each in (scalars.add, scalars.subtract, scalars.multiply, scalars.divide)},
    **{each.__name__: each for each in (scalars.remainder, scalars.less, scalars.less_or_equal)},
    **{each.__name__: each for each in (scalars.time_of, scalars.moment_of, scalars.meets)},
    **{each.__name__: each for each in (scalars.instant, scalars.day, scalars.make_date, scalars.year_of)},
    **{each.__name__: each for each in (scalars.month_of, scalars.day_of)},
}
