"""The list of merge policies: which of them, in which order, and one page after the other (contract: profile-api §3.4).

A page begins behind the last policy of the page before, by name and id: so pages stay right when policies come and
go between them, and their sizes may differ.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self
from urllib.parse import urlencode

import orjson

from tessera.domain.errors import InvalidRequestError
from tessera.domain.merge_policy import AttributeMerge, GraphType, MergePolicy
from tessera.domain.tenant import Tenant, digest, url_safe
from tessera.gateway import Query

DEFAULT_LIMIT = 20
MAX_LIMIT = 100

_NOT_A_CURSOR = "start is not a cursor of this list: take it from the page before, with the same filters and order"


class Position(NamedTuple):
    """Where a policy stands in the list."""

    name: str
    id: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the list. ``next`` is the cursor of the next page, blank on the last one, as is ``href``."""

    policies: list[MergePolicy]
    total: int
    next: str
    href: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What a caller wants to see of the policies; ``version`` is that version of each, without one the last."""

    schema_class: str | None
    default: bool | None
    active_on_edge: bool | None
    graph: GraphType | None
    attribute_merge: AttributeMerge | None
    version: int | None
    descending: bool
    after: Position | None
    limit: int
    # The same for all pages of one list, and for no other list's.
    _filters: dict[str, str]
    _check: str

    @classmethod
    def read(cls, query: Query, tenant: Tenant) -> Self:
        """Read the query parameters.

        Raises InvalidRequestError.
        """
        filters = {name: value for name in _FILTERS if (value := (query.get(name) or "").strip())}
        check = url_safe(digest(6, b"tessera.list", tenant.key, *(f"{name}={filters[name]}" for name in filters)))
        descending, after = _start(query, check)
        return cls(
            schema_class=filters.get("schema.name"),
            default=query.flag("default") if "default" in filters else None,
            active_on_edge=query.flag("isActiveOnEdge") if "isActiveOnEdge" in filters else None,
            graph=_graph(filters.get("identityGraph.type")),
            attribute_merge=_attribute_merge(filters.get("attributeMerge.type")),
            version=query.integer("version", 1, minimum=1) if "version" in filters else None,
            descending=descending,
            after=after,
            limit=query.integer("limit", DEFAULT_LIMIT, minimum=1, maximum=MAX_LIMIT, clamp=True),
            _filters=filters,
            _check=check,
        )

    def page(self, policies: Iterable[MergePolicy]) -> Page:
        """Pick the page out of all policies."""
        matching = sorted(filter(self._matches, policies), key=_position, reverse=self.descending)
        rest = [policy for policy in matching if self._is_ahead(policy)]
        shown = rest[: self.limit]
        if len(rest) == len(shown):
            return Page(shown, len(matching), "", "")
        cursor = _cursor(self._check, self.descending, _position(shown[-1]))
        order = "-name" if self.descending else ""
        query = urlencode({"start": cursor, "orderBy": order, "limit": self.limit, **self._filters})
        return Page(shown, len(matching), cursor, f"@/mergePolicies?{query}")

    def _matches(self, policy: MergePolicy) -> bool:
        wanted = (
            (self.schema_class, policy.schema_class),
            (self.default, policy.default),
            (self.active_on_edge, policy.active_on_edge),
            (self.graph, policy.graph),
            (self.attribute_merge, policy.attribute_merge),
        )
        return all(value is None or value == actual for value, actual in wanted)

    def _is_ahead(self, policy: MergePolicy) -> bool:
        if self.after is None:
            return True
        return _position(policy) < self.after if self.descending else _position(policy) > self.after


_FILTERS = ("schema.name", "default", "isActiveOnEdge", "identityGraph.type", "attributeMerge.type", "version")


def _position(policy: MergePolicy) -> Position:
    return Position(policy.name, policy.id)


def _start(query: Query, check: str) -> tuple[bool, Position | None]:
    """Read ``start`` and ``orderBy``: blank, the order is by name, or that of the cursor."""
    order = (query.get("orderBy") or "").strip()
    if order not in {"", "name", "+name", "-name"}:
        raise InvalidRequestError("orderBy must be name, +name or -name")
    start = (query.get("start") or "").strip()
    if start in {"", "0"}:
        return order == "-name", None
    try:
        its_check, descending, name, policy_id = orjson.loads(base64.urlsafe_b64decode(start + "=" * (-len(start) % 4)))
    except (ValueError, TypeError, binascii.Error):
        raise InvalidRequestError(_NOT_A_CURSOR) from None
    is_one = isinstance(descending, bool) and isinstance(name, str) and isinstance(policy_id, str)
    if not is_one or its_check != check or (order and (order == "-name") is not descending):
        raise InvalidRequestError(_NOT_A_CURSOR)
    return descending, Position(name, policy_id)


def _cursor(check: str, descending: bool, position: Position) -> str:
    return url_safe(orjson.dumps([check, descending, *position]))


def _graph(text: str | None) -> GraphType | None:
    if text is None:
        return None
    known = {item.value: item for item in GraphType} | {"auto": GraphType.PRIVATE}
    if text not in known:
        raise InvalidRequestError(f"identityGraph.type must be one of {', '.join(GraphType)}")
    return known[text]


def _attribute_merge(text: str | None) -> AttributeMerge | None:
    if text is None:
        return None
    if text not in set(AttributeMerge):
        raise InvalidRequestError(f"attributeMerge.type must be one of {', '.join(AttributeMerge)}")
    return AttributeMerge(text)
