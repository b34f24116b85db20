"""The list of computed attributes: which, in which order, and one page of them (contract: data-and-pql §1.4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

from tessera.domain.computed.definition import Definition
from tessera.domain.computed.rule import Function
from tessera.domain.errors import InvalidRequestError
from tessera.gateway import Query

DEFAULT_LIMIT = 20
MAX_LIMIT = 40
DEFAULT_ORDER = "-updateEpoch"
ORDERS = ("name", "status", "updateEpoch", "createEpoch")

Test = Callable[[Definition], bool]


class Page(NamedTuple):
    """A page of the list; ``links`` are addresses by what they lead to."""

    attributes: list[Definition]
    total: int
    links: dict[str, str]


@dataclass(frozen=True, slots=True)
class Listing:
    """What a caller wants to see of the attributes."""

    limit: int
    offset: int
    order: str
    tests: tuple[Test, ...]
    # What the addresses of all pages say besides, as the caller said it.
    _also: list[tuple[str, str]]

    @classmethod
    def read(cls, query: Query) -> Self:
        """Read the query parameters.

        Raises InvalidRequestError.
        """
        order = (query.get("sortBy") or "").strip()
        properties = query.every("property")
        status = (query.get("status") or "").strip()
        also = [("sortBy", order)] if order else []
        also += [("property", one) for one in properties]
        also += [("status", status)] if status else []
        tests = [_test(one) for one in properties]
        return cls(
            limit=query.integer("limit", DEFAULT_LIMIT, minimum=1, maximum=MAX_LIMIT),
            offset=query.integer("offset", 0),
            order=_order(order or DEFAULT_ORDER),
            tests=(*tests, _is_any_of(_status, [status])) if status else tuple(tests),
            _also=also,
        )

    def page(self, attributes: Iterable[Definition]) -> Page:
        """Pick the page out of all attributes; those that sort the same are in order of their ids."""
        name = self.order.removeprefix("-")
        matching = [one for one in attributes if all(test(one) for test in self.tests)]
        matching.sort(key=lambda one: one.id)
        matching.sort(key=_KEYS[name], reverse=self.order.startswith("-"))
        total = len(matching)
        links = {
            "self": self._at(self.offset),
            "prev": self._at(max(0, self.offset - self.limit)),
            "last": self._at(max(0, (total - 1) // self.limit * self.limit)),
        }
        if self.offset + self.limit < total:
            links["next"] = self._at(self.offset + self.limit)
        return Page(matching[self.offset : self.offset + self.limit], total, links)

    def _at(self, offset: int) -> str:
        return "/attributes?" + urlencode([("offset", str(offset)), ("limit", str(self.limit)), *self._also])


def merge_function(function: Function) -> str:
    """Name the function that makes one value of the values of several; counts are added (contract: data-and-pql §1.2).

    ``LIST`` is our own name for its like.
    """
    return Function.SUM.value if function is Function.COUNT else function.value


def _name(definition: Definition) -> str:
    return definition.name


def _status(definition: Definition) -> str:
    return definition.status.value


def _merge_function(definition: Definition) -> str:
    return merge_function(definition.function)


def _created(definition: Definition) -> int:
    return definition.created_ms


def _updated(definition: Definition) -> int:
    return definition.updated_ms


_KEYS: dict[str, Callable[[Definition], Any]] = {
    "name": _name,
    "status": _status,
    "updateEpoch": _updated,
    "createEpoch": _created,
}
# What can be filtered by; the published description spells two of them otherwise.
_WORDS = {
    "status": _status,
    "mergeFunction.value": _merge_function,
    "mergePolicy.value": _merge_function,
}
_TIMES = {"createEpoch": _created, "createdEpoch": _created, "updateEpoch": _updated}

_PROPERTY = re.compile(r"\s*([A-Za-z.]+)\s*(!=|>=|<=|=)\s*(.*?)\s*", re.DOTALL)
_CONTAINS = re.compile(r"(!?)contains\((.*)\)", re.DOTALL)
_MOST_DIGITS = 18


def _order(text: str) -> str:
    if text.removeprefix("-") not in ORDERS:
        raise InvalidRequestError(f"sortBy must be one of {', '.join(ORDERS)}, with - before it for descending order")
    return text


def _test(text: str) -> Test:
    """Read one ``property``, such as ``status!=contains(new,failed)``."""
    found = _PROPERTY.fullmatch(text)
    if found is None:
        raise InvalidRequestError(
            "property must be a name, an operator and a value, such as name=spend7d, status=contains(new,processed) or "
            "updateEpoch>=1700000000000"
        )
    name, operator, value = found.groups()
    if name in _TIMES:
        return _compares(name, operator, value)
    if name != "name" and name not in _WORDS:
        raise InvalidRequestError(
            "property can be name, mergeFunction.value, status, createEpoch or updateEpoch, before an operator and a "
            "value"
        )
    if operator not in {"=", "!="}:
        raise InvalidRequestError(f"property: {name} can be compared by = and !=, alone or with contains(…)")
    several = _CONTAINS.fullmatch(value)
    values = [value] if several is None else [part.strip() for part in several[2].split(",")]
    if not all(values):
        raise InvalidRequestError(f"property: {name} is compared with nothing: give a value, or contains(a,b)")
    if name in _WORDS:
        test = _is_any_of(_WORDS[name], values)
    elif several is None:
        test = _is_called(value)
    else:
        test = _is_called_like(values)
    negative = (operator == "!=") != (several is not None and several[1] == "!")
    return (lambda one: not test(one)) if negative else test


def _compares(name: str, operator: str, value: str) -> Test:
    time = _TIMES[name]
    if operator not in {">=", "<="} or not (value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS):
        raise InvalidRequestError(f"property: {name} can be >= or <= a number of milliseconds since 1970")
    limit = int(value)
    return (lambda one: time(one) >= limit) if operator == ">=" else (lambda one: time(one) <= limit)


def _is_any_of(word: Callable[[Definition], str], values: list[str]) -> Test:
    wanted = {value.upper() for value in values}
    return lambda one: word(one) in wanted


def _is_called(name: str) -> Test:
    return lambda one: one.name == name


def _is_called_like(parts: list[str]) -> Test:
    return lambda one: any(part in one.name for part in parts)
