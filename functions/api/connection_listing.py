"""Lists of connections: which, in which order, and a page of them, as the Flow Service's query parameters say."""

from __future__ import annotations

import base64
import binascii
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode

import orjson

from tessera.domain.errors import InvalidRequestError
from tessera.domain.tenant import url_safe
from tessera.gateway import Query

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
DEFAULT_ORDER = "createdAt"

_CONDITION = re.compile(r"\s*([\w.]+)\s*(==|!=|<=|>=|<|>)(.*)", re.DOTALL)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}

Connection = Mapping[str, Any]
Rank = tuple[bool, Any, str]


@dataclass(frozen=True)
class Listing:
    """What a caller wants to see of a sandbox's connections."""

    conditions: tuple[Callable[[Connection], bool], ...]
    order: str
    descending: bool
    limit: int
    after: Rank | None
    given: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, query: Query) -> Self:
        """Read the query parameters.

        Raises InvalidRequestError.
        """
        # A plus that was not escaped comes as a blank.
        order = (query.get("orderby") or DEFAULT_ORDER).strip()
        properties = [text for text in query.every("property") if text.strip()]
        limit = query.integer("limit", DEFAULT_LIMIT, minimum=1, maximum=MAX_LIMIT, clamp=True)
        return cls(
            tuple(_condition(text) for text in properties),
            order.lstrip("+-"),
            order.startswith("-"),
            limit,
            _rank_of(query.get("continuationToken") or ""),
            (("limit", str(limit)), ("orderby", order), *(("property", text) for text in properties)),
        )

    def matching(self, connections: Iterable[Connection]) -> list[Connection]:
        """Return those asked for, on whatever page."""
        return [one for one in connections if all(condition(one) for condition in self.conditions)]

    def page(self, connections: Iterable[Connection]) -> tuple[list[Connection], str | None]:
        """Pick the page out of all connections; return it and the query that leads to the next one."""
        found = sorted(self.matching(connections), key=self._rank, reverse=self.descending)
        rest = [one for one in found if self._is_ahead(self._rank(one))]
        shown = rest[: self.limit]
        if len(shown) == len(rest):
            return shown, None
        token = url_safe(orjson.dumps(self._rank(shown[-1])))
        return shown, urlencode([("continuationToken", token), *self.given])

    def _rank(self, connection: Connection) -> Rank:
        value = _value(connection, self.order)
        # Texts and numbers do not compare, and absent values come first.
        plain = value if isinstance(value, str | int) else ""
        return isinstance(plain, str), plain, connection["id"]

    def _is_ahead(self, rank: Rank) -> bool:
        if self.after is None:
            return True
        return rank < self.after if self.descending else rank > self.after


def _condition(text: str) -> Callable[[Connection], bool]:
    """Read a filter, such as ``state==enabled``; of several values with commas between them one must be it."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise InvalidRequestError("property is a path, one of == != < > <= >= and a value, such as state==enabled")
    path, sign, wanted = match[1], match[2], match[3].strip()
    if sign in _COMPARISONS:
        return lambda connection: _compares(_value(connection, path), wanted, _COMPARISONS[sign])
    wanted_values = wanted.split(",")
    return lambda connection: (_text(_value(connection, path)) in wanted_values) is (sign == "==")


def _compares(value: Any, wanted: str, compare: Callable[[Any, Any], bool]) -> bool:
    if isinstance(value, int) and wanted.isascii() and wanted.isdigit():
        return compare(value, int(wanted[:18]))
    return isinstance(value, str) and compare(value, wanted)


def _value(connection: Connection, path: str) -> Any:
    value: Any = connection
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _rank_of(token: str) -> Rank | None:
    if not token:
        return None
    try:
        rank = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, binascii.Error):
        rank = None
    match rank:
        case [bool(), str() | int(), str()] if rank[0] is isinstance(rank[1], str):
            return tuple(rank)
    raise InvalidRequestError("continuationToken is not that of a page: begin the list anew")
