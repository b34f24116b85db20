"""The list of datasets: which of them, in which order, and how much of each (contract: data-and-pql §4.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

from tessera.domain.errors import InvalidRequestError
from tessera.domain.text_pattern import TextPattern
from tessera.gateway import Query

DEFAULT_LIMIT = 20
MAX_LIMIT = 100

_FILTERS = (
    "created",
    "createdClient",
    "createdUser",
    "description",
    "enableErrorDiagnostics",
    "name",
    "updated",
    "updatedUser",
    "version",
)
_SORTABLE = frozenset({*_FILTERS, "imsOrg", "viewId"})

Description = Mapping[str, Any]
Condition = Callable[[Description], bool]


@dataclass(frozen=True)
class Listing:
    """What a caller wants to see of the catalogue; without ``order`` it is in order of creation."""

    conditions: tuple[Condition, ...]
    order: tuple[str, ...]
    descending: bool
    properties: list[str]
    start: int
    limit: int

    @classmethod
    def read(cls, query: Query) -> Self:
        """Read the query parameters.

        Raises InvalidRequestError.
        """
        conditions = [
            *(_equals(name, value) for name in _FILTERS if (value := query.get(name))),
            *(_tagged(value) for value in query.every("tags") if value),
            *(_property(value) for value in query.every("property") if value),
        ]
        order, descending = _order(query.get("orderBy") or "")
        return cls(
            tuple(conditions),
            order,
            descending,
            query.listed("properties"),
            query.integer("start", 0, maximum=1_000_000),
            query.integer("limit", DEFAULT_LIMIT, minimum=1, maximum=MAX_LIMIT),
        )

    def page(self, datasets: Iterable[tuple[str, Description]]) -> Iterable[tuple[str, dict[str, Any]]]:
        """Pick the page out of all datasets, reading no further than it must."""
        matching: Iterable[tuple[str, Description]]
        matching = (item for item in datasets if all(condition(item[1]) for condition in self.conditions))
        if self.order or self.descending:
            matching = sorted(matching, key=self._rank, reverse=self.descending)
        for dataset_id, description in islice(matching, self.start, self.start + self.limit):
            yield dataset_id, selected(description, self.properties)

    def _rank(self, item: tuple[str, Description]) -> tuple[Any, ...]:
        # Texts and numbers do not compare, absent values come first, and the id decides between equals.
        values = (item[1].get(name) for name in self.order)
        return (
            *((value is not None, isinstance(value, str), 0 if value is None else value) for value in values),
            item[0],
        )


def selected(description: Description, properties: list[str]) -> dict[str, Any]:
    """Keep the top-level properties asked for; all of them when none is."""
    if not properties:
        return dict(description)
    return {name: description[name] for name in properties if name in description}


def _order(text: str) -> tuple[tuple[str, ...], bool]:
    """Read ``asc:created,updated``, ``desc:name`` or ``-name``."""
    text = text.strip()
    direction, colon, names = text.partition(":")
    if not colon:
        direction, names = ("desc", text[1:]) if text.startswith("-") else ("asc", text.removeprefix("+"))
    order = tuple(name for name in (part.strip() for part in names.split(",")) if name)
    unknown = [name for name in order if name not in _SORTABLE]
    if direction.lower() not in {"asc", "desc"} or unknown:
        raise InvalidRequestError(f"orderBy is asc: or desc: and some of {', '.join(sorted(_SORTABLE))}")
    return order, direction.lower() == "desc"


def _equals(path: str, value: str) -> Condition:
    return lambda description: value in _texts(description, path)


def _tagged(text: str) -> Condition:
    """Read ``tag:value``, or ``tag`` alone for any value."""
    tag, colon, value = text.partition(":")
    wanted = value.strip()
    # "enabled: true" is the same switch as "enabled:true", which is what is stored.
    compact = ":".join(part.strip() for part in wanted.split(":"))

    def tagged(description: Description) -> bool:
        values = description["tags"].get(tag.strip())
        return values is not None and (not colon or wanted in values or compact in values)

    return tagged


def _property(text: str) -> Condition:
    """Read ``path~pattern``, ``path==value``, ``path=value``, ``path!=value``, or ``path`` for "has one"."""
    path = text
    for operator in ("~", "!=", "==", "="):
        path, found, value = text.partition(operator)
        if not found or _earlier(path):
            continue
        path = path.strip()
        if operator == "~":
            pattern = TextPattern(value)
            return lambda description: any(pattern.found_in(text) for text in _texts(description, path))
        if operator == "!=":
            return lambda description: value not in _texts(description, path)
        return _equals(path, value)
    return lambda description: bool(_texts(description, text.strip()))


def _earlier(path: str) -> bool:
    """Tell whether another operator stands before the one found: then this one is part of the value."""
    return any(operator in path for operator in "~!=")


def _texts(description: Description, path: str) -> list[str]:
    """Return the values at a dotted path as texts; an array stands for its members."""
    value: Any = description
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    values = value if isinstance(value, list) else [value]
    return [_text(item) for item in values if item is not None and not isinstance(item, Mapping | list)]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
