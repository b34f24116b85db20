"""The identity graph: a function of the set of link assertions, whatever the order of their processing.

Every identity has a head that keeps each assertion naming it and the other members of its effective graph.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

from tessera.domain.identity import Identity, Xid
from tessera.domain.place import Place

MAX_GRAPH_READ = 50
MAX_GRAPH_WRITTEN = 100


class Assertion(NamedTuple):
    """A dataset's word, given at ``place``, that two identities are one person; ``left`` < ``right``."""

    left: Xid
    right: Xid
    dataset_id: str
    place: Place

    @classmethod
    def between(cls, one: Xid, other: Xid, dataset_id: str, place: Place) -> Self:
        """Make an assertion; the order in which the two are named does not matter."""
        return cls(one, other, dataset_id, place) if one < other else cls(other, one, dataset_id, place)


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of one identity.

    ``assertions`` maps (other identity, dataset) to the place of the first such assertion; ``members`` are the other
    identities of its effective graph, sorted. ``collapsed`` marks a graph too large to be kept (design: Links).
    ``cutoff`` is the place of the person's last delete. ``version`` counts writes; 0 is a head not yet stored.
    """

    xid: Xid
    identity: Identity
    assertions: Mapping[tuple[Xid, str], Place] = field(default_factory=dict)
    members: tuple[Xid, ...] = ()
    collapsed: bool = False
    cutoff: Place | None = None
    version: int = 0

    @property
    def graph(self) -> tuple[Xid, ...]:
        """All identities of the effective graph, this one included, sorted."""
        return tuple(sorted((*self.members, self.xid)))

    @property
    def leads(self) -> bool:
        """Tell whether this head stands for a graph of several in the index: the smallest XID of the graph does."""
        return bool(self.members) and self.xid < self.members[0] and not self.collapsed

    def neighbours(self) -> set[Xid]:
        """Identities of the same component of assertions that this head names."""
        return {other for other, _ in self.assertions} | set(self.members)

    def asserts(self, assertion: Assertion) -> bool:
        """Tell whether the head holds this assertion already, at this place or an earlier one."""
        other = assertion.right if assertion.left == self.xid else assertion.left
        place = self.assertions.get((other, assertion.dataset_id))
        return place is not None and place <= assertion.place

    def with_assertion(self, assertion: Assertion) -> Head:
        """Return the head with an assertion added; of two at different places the earlier one is kept."""
        if self.asserts(assertion):
            return self
        other = assertion.right if assertion.left == self.xid else assertion.left
        return replace(self, assertions={**self.assertions, (other, assertion.dataset_id): assertion.place})


def asserted(heads: Mapping[Xid, Head], additions: Iterable[Assertion]) -> dict[Xid, Head]:
    """Return the heads with ``additions`` noted on both identities they name."""
    result = dict(heads)
    for assertion in additions:
        for xid in (assertion.left, assertion.right):
            result[xid] = result[xid].with_assertion(assertion)
    return result


def effective(heads: Mapping[Xid, Head]) -> dict[Xid, Head]:
    """Return the heads of a whole component of assertions with their effective graphs worked out anew."""
    edges = {
        (place, min(head.xid, other), max(head.xid, other))
        for head in heads.values()
        for (other, _), place in head.assertions.items()
    }
    graphs = _Forest(heads)
    for _, left, right in sorted(edges):
        graphs.join(left, right)
    members = graphs.members()
    return {
        xid: head if head.members == members[xid] else replace(head, members=members[xid])
        for xid, head in heads.items()
    }


def components(assertions: Collection[Assertion]) -> list[list[Assertion]]:
    """Split assertions into groups that share no identity, so that the groups can be written side by side."""
    forest = _Forest({xid for assertion in assertions for xid in assertion[:2]})
    for assertion in assertions:
        forest.join(assertion.left, assertion.right)
    groups: dict[Xid, list[Assertion]] = {}
    for assertion in assertions:
        groups.setdefault(forest.root(assertion.left), []).append(assertion)
    return list(groups.values())


class _Forest:
    """Disjoint sets of identities."""

    def __init__(self, xids: Iterable[Xid]) -> None:
        self._parent = {xid: xid for xid in xids}

    def root(self, xid: Xid) -> Xid:
        while (parent := self._parent[xid]) != xid:
            self._parent[xid] = xid = self._parent[parent]
        return xid

    def join(self, one: Xid, other: Xid) -> None:
        self._parent[self.root(one)] = self.root(other)

    def members(self) -> dict[Xid, tuple[Xid, ...]]:
        """Each identity's fellow members, sorted."""
        sets: dict[Xid, list[Xid]] = {}
        for xid in sorted(self._parent):
            sets.setdefault(self.root(xid), []).append(xid)
        return {xid: tuple(other for other in fellows if other != xid) for fellows in sets.values() for xid in fellows}
