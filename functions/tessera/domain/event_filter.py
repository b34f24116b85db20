"""Filters of events: ``path OP value`` (contract: profile-api §2.1, appendix A4)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tessera.domain.errors import InvalidRequestError
from tessera.domain.times import parse_ms

MAX_FILTERS = 3

_FILTER = re.compile(r"(?P<path>[^\s=!<>.]+(?:\.[^\s=!<>.]+)*)\s*(?P<op><=|>=|!=|=|<|>)\s*(?P<value>.+)\Z", re.DOTALL)
_NUMBER = re.compile(r"-?\d{1,300}(\.\d{1,300})?([eE][+-]?\d{1,3})?\Z", re.ASCII)
_DAY = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})\Z", re.ASCII)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class EventFilter:
    """One filter; ``day_ms`` is set when its value names a day, which compares with times as its first instant."""

    path: tuple[str, ...]
    op: str
    value: str | float | bool
    day_ms: int | None = None

    def accepts(self, body: dict[str, Any]) -> bool:
        """Tell whether an event passes: on arrays if any element does; a missing field passes ``!=`` only."""
        found = list(_at(body, self.path))
        return any(map(self._holds, found)) if found else self.op == "!="

    def _holds(self, value: Any) -> bool:
        wanted: Any = self.value
        if self.day_ms is not None and isinstance(value, str):
            with suppress(ValueError, OverflowError):
                value, wanted = parse_ms(value), self.day_ms
        if _kind(value) is not _kind(wanted) or _kind(value) is None:
            return self.op == "!="
        return _OPERATORS[self.op](value, wanted)


def parse(expressions: Sequence[str]) -> list[EventFilter]:
    """Read filters; an event must pass them all.

    Raises InvalidRequestError.
    """
    if len(expressions) > MAX_FILTERS:
        raise InvalidRequestError(f"property can be given {MAX_FILTERS} times, not {len(expressions)}")
    return [_parse(expression) for expression in expressions]


def _parse(expression: str) -> EventFilter:
    match = _FILTER.match(expression.strip())
    if match is None:
        raise InvalidRequestError(
            "property must read path OP value, such as commerce.order.priceTotal>=100, with = != < <= > or >="
        )
    value, day_ms = _value(match["value"])
    return EventFilter(tuple(match["path"].split(".")), match["op"], value, day_ms)


def _value(text: str) -> tuple[str | float | bool, int | None]:
    if text[0] == '"':
        if len(text) < 2 or text[-1] != '"' or '"' in text[1:-1]:
            raise InvalidRequestError("a quoted value of property must end with its only other quote")
        return text[1:-1], _day(text[1:-1])
    if text in {"true", "false"}:
        return text == "true", None
    if _NUMBER.match(text):
        return float(text) if any(mark in text for mark in ".eE") else int(text), None
    return text, None


def _day(text: str) -> int | None:
    match = _DAY.match(text)
    try:
        return parse_ms("-".join(match.groups())) if match else None
    except ValueError:
        return None


def _kind(value: Any) -> type | None:
    if isinstance(value, bool):
        return bool
    if isinstance(value, int | float):
        return float
    return str if isinstance(value, str) else None


def _at(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """Walk the values at a path, into the elements of every array on it."""
    if isinstance(value, list):
        for item in value:
            yield from _at(item, path)
    elif not path:
        yield value
    elif isinstance(value, dict) and path[0] in value:
        yield from _at(value[path[0]], path[1:])
