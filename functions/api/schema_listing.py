"""Lists of the registry: which resources, in which order, and a page of them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import orjson

from tessera.domain.errors import InvalidRequestError
from tessera.domain.tenant import url_safe
from tessera.gateway import Query

DEFAULT_LIMIT = 300
MAX_LIMIT = 500
DEFAULT_ORDER = "title"

_OPERATORS: tuple[tuple[str, Callable[[Any, Any], bool]], ...] = (
    ("==", lambda one, other: bool(one == other)),
    ("!=", lambda one, other: bool(one != other)),
    ("<=", lambda one, other: bool(one <= other)),
    (">=", lambda one, other: bool(one >= other)),
    ("<", lambda one, other: bool(one < other)),
    (">", lambda one, other: bool(one > other)),
)

Resource = Mapping[str, Any]
Condition = Callable[[Resource], bool]
Rank = tuple[Any, ...]


@dataclass(frozen=True)
class Listing:
    """What a caller wants to see of the resources of a kind."""

    conditions: tuple[Condition, ...]
    order: str
    descending: bool
    start: Rank | str | None
    limit: int

    @classmethod
    def read(cls, query: Query, default_limit: int = DEFAULT_LIMIT) -> Self:
        """Read the query parameters.

        Raises InvalidRequestError.
        """
        order = (query.get("orderby") or DEFAULT_ORDER).strip()
        # Of several properties the first one decides; the id does between equals.
        name = order.lstrip("+-").partition(",")[0].strip()
        return cls(
            conditions(query),
            name,
            order.startswith("-"),
            _start(query.get("start") or ""),
            query.integer("limit", default_limit, minimum=0, maximum=MAX_LIMIT, clamp=True) or default_limit,
        )

    def page(self, resources: Iterable[Resource]) -> tuple[list[Resource], str | None]:
        """Pick the page out of all resources; return it and where the next one starts."""
        matching = [one for one in resources if all(condition(one) for condition in self.conditions)]
        matching.sort(key=self._rank, reverse=self.descending)
        rest = [one for one in matching if self._is_ahead(one)]
        shown = rest[: self.limit]
        if len(rest) == len(shown):
            return shown, None
        return shown, url_safe(orjson.dumps(self._rank(shown[-1])))

    def _rank(self, resource: Resource) -> Rank:
        # Texts and numbers do not compare, and absent values come first.
        value = _value(resource, self.order)
        plain = value if isinstance(value, str | int | float) else ""
        return (isinstance(plain, str), plain, resource["$id"])

    def _is_ahead(self, resource: Resource) -> bool:
        if self.start is None:
            return True
        rank = self._rank(resource)
        if isinstance(self.start, str):
            # Not one of our cursors: a value of the property that decides the order, as the registry takes it too.
            value = str(rank[1])
            return value < self.start if self.descending else value > self.start
        return rank < self.start if self.descending else rank > self.start


def conditions(query: Query) -> tuple[Condition, ...]:
    """Read the filters: ``property=title==Hotels``, repeated or with commas between them; all must hold."""
    texts = (part for value in query.every("property") for part in value.split(","))
    return tuple(_condition(text.strip()) for text in texts if text.strip())


def _condition(text: str) -> Condition:
    # The operator that comes first is it, and of two at one place the longer one.
    found = [(text.index(sign), -len(sign), sign, compare) for sign, compare in _OPERATORS if sign in text]
    if not found:
        return lambda resource: _value(resource, text) is not None
    at, _, sign, compare = min(found, key=lambda one: one[:2])
    path, wanted = text[:at].strip(), text[at + len(sign) :].strip()

    def holds(resource: Resource) -> bool:
        value = _value(resource, path)
        if isinstance(value, list):
            within = wanted in value
            return not within if sign == "!=" else within
        if value is None:
            return sign == "!="
        return compare(_text(value), wanted)

    return holds


def _value(resource: Resource, path: str) -> Any:
    """Find a property by its name, or by names with dots between them."""
    if path in resource:
        return resource[path]
    value: Any = resource
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _start(text: str) -> Rank | str | None:
    if not text:
        return None
    try:
        rank = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error):
        return text
    if not (isinstance(rank, list) and len(rank) == 3 and isinstance(rank[0], bool) and isinstance(rank[2], str)):
        return text
    if rank[0] is not isinstance(rank[1], str) or not isinstance(rank[1], str | int | float):
        raise InvalidRequestError("start is not the next of a page")
    return tuple(rank)
