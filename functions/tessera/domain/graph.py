"""The identity graph: a function of what is known of links, whatever the order in which it was processed.

Every identity has a head. It keeps each assertion that names it, the links of it that were removed by hand, and the
other members of its effective graph. The effective graph takes assertions in order of their places and passes over
those that break a rule: a removed link, a blocked identity, or two values of a namespace of which a person has one.
What is passed over is kept, and takes effect when what stood against it goes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

from tessera.domain.identity import Identity, Xid
from tessera.domain.place import Place, later, survives

MAX_GRAPH_READ = 50
MAX_GRAPH_WRITTEN = 100
# A head of a collapsed graph notes no more than this: nothing will take such a graph apart link by link.
MAX_NOTED_WHEN_COLLAPSED = 1000

_BY_HAND = "by:"


class Assertion(NamedTuple):
    """Somebody's word, given at ``place``, that two identities are one person; ``left`` < ``right``.

    ``source`` is the dataset that said so, or the client that linked them by hand. What the same source said at or
    below ``cutoff`` was deleted since, and counts for nothing.
    """

    left: Xid
    right: Xid
    source: str
    place: Place
    cutoff: Place | None = None

    @classmethod
    def between(cls, one: Xid, other: Xid, source: str, place: Place) -> Self:
        """Make an assertion; the order in which the two are named does not matter."""
        return cls(one, other, source, place) if one < other else cls(other, one, source, place)


def by_hand(client_id: str) -> str:
    """Name the source of a link made by hand."""
    return _BY_HAND + client_id


def client_of(source: str) -> str | None:
    """Return the client that made a link by hand, ``None`` for a dataset's word."""
    return source.removeprefix(_BY_HAND) if source.startswith(_BY_HAND) else None


class Removal(NamedTuple):
    """A link taken away by hand: when, in milliseconds since 1970, and by which client."""

    at_ms: int
    client_id: str


class Span(NamedTuple):
    """A span of places: after ``since`` up to ``until``, ``None`` while it lasts."""

    since: Place
    until: Place | None

    def has(self, place: Place) -> bool:
        """Tell whether what was accepted at a place fell into it."""
        return self.since < place and (self.until is None or place <= self.until)


@dataclass(frozen=True, slots=True)
class LinkRules:
    """What a sandbox says of links: codes, in lower case, of namespaces that are unique or never link."""

    unique: frozenset[str] = frozenset()
    unlinkable: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of one identity.

    ``assertions`` maps (other identity, source) to the place of the first such assertion; ``removed`` the other
    identity to who removed the link; ``members`` are the other identities of its effective graph, sorted.
    ``collapsed`` marks a graph too large to be kept (design: Links). ``blocks`` are the spans of places in which the
    identity linked nobody, the last one open while it is blocked. ``cutoff`` is the place of the person's last delete,
    ``erased`` of the last one that was meant for everyone whom links join up to there: see ``spread``. ``holds`` are
    the spans of places in which nothing of the person was taken, the last one open while the person is held.
    ``version`` counts writes; 0 is not yet stored.
    """

    xid: Xid
    identity: Identity
    assertions: Mapping[tuple[Xid, str], Place] = field(default_factory=dict)
    members: tuple[Xid, ...] = ()
    collapsed: bool = False
    cutoff: Place | None = None
    version: int = 0
    removed: Mapping[Xid, Removal] = field(default_factory=dict)
    blocks: tuple[Span, ...] = ()
    erased: Place | None = None
    holds: tuple[Span, ...] = ()

    @property
    def held(self) -> bool:
        """Whether nothing of the person is taken now."""
        return bool(self.holds) and self.holds[-1].until is None

    @property
    def blocked(self) -> bool:
        """Whether the identity links nobody now."""
        return bool(self.blocks) and self.blocks[-1].until is None

    @property
    def graph(self) -> tuple[Xid, ...]:
        """All identities of the effective graph, this one included, sorted."""
        return tuple(sorted((*self.members, self.xid)))

    @property
    def leads(self) -> bool:
        """Tell whether this head stands for a graph of several in the index: the smallest XID of the graph does."""
        return bool(self.members) and self.xid < self.members[0] and not self.collapsed

    def neighbours(self) -> set[Xid]:
        """Identities whose graphs can depend on this head: those it is linked with, unless the link was removed."""
        if self.blocked:
            return set(self.members)
        return {other for other, _ in self.assertions if other not in self.removed} | set(self.members)

    def notes(self, assertion: Assertion) -> bool:
        """Tell whether the head needs no change for this assertion.

        It has it already, at this place or an earlier one, or it takes none: blocked then, or collapsed and full.
        """
        if self.was_blocked(assertion.place):
            return True
        place = self.assertions.get((self._other(assertion), assertion.source))
        if place is None:
            return self.collapsed and len(self.assertions) >= MAX_NOTED_WHEN_COLLAPSED
        return place <= assertion.place and survives(place, assertion.cutoff)

    def noting(self, assertion: Assertion) -> Head:
        """Return the head with an assertion noted; of two that count, the one at the earlier place is kept."""
        if self.notes(assertion):
            return self
        known = (self._other(assertion), assertion.source)
        return replace(self, assertions={**self.assertions, known: assertion.place})

    def without_word(self, other: Xid, source: str, cutoff: Place) -> Head:
        """Return the head without what a dataset said, at or below a cutoff, of a link with another identity."""
        place = self.assertions.get((other, source))
        if place is None or survives(place, cutoff):
            return self
        return replace(
            self, assertions={known: at for known, at in self.assertions.items() if known != (other, source)}
        )

    def was_blocked(self, place: Place) -> bool:
        """Tell whether what was said at a place fell into a span in which the identity linked nobody, or was held."""
        return any(block.has(place) for block in self.blocks) or self.was_held(place)

    def was_held(self, place: Place) -> bool:
        """Tell whether what was accepted at a place fell into a span in which nothing of the person was taken."""
        return any(hold.has(place) for hold in self.holds)

    def blocking(self, since: Place) -> Head:
        """Return the head as one that links nobody from a place on."""
        return self if self.blocked else replace(self, blocks=(*self.blocks, Span(since, None)))

    def unblocking(self, until: Place) -> Head:
        """Return the head as one that links again after a place."""
        if not self.blocked:
            return self
        *earlier, last = self.blocks
        return replace(self, blocks=(*earlier, Span(last.since, until)))

    def erasing(self, place: Place) -> Head:
        """Return the head with everything at or below a place deleted, for this identity and whom it stands with."""
        return replace(self, cutoff=later(self.cutoff, place), erased=later(self.erased, place))

    def holding(self, since: Place) -> Head:
        """Return the head as one under which nothing is taken after a place."""
        return self if self.held else replace(self, holds=(*self.holds, Span(since, None)))

    def lifting(self, until: Place) -> Head:
        """Return the head as one under which rows are taken again after a place; what came before stays away."""
        if not self.held:
            return self
        *earlier, last = self.holds
        return replace(self, holds=(*earlier, Span(last.since, until)), cutoff=later(self.cutoff, until))

    def removing(self, other: Xid, removal: Removal) -> Head:
        """Return the head with its link to another identity removed."""
        return self if other in self.removed else replace(self, removed={**self.removed, other: removal})

    def restoring(self, other: Xid) -> Head:
        """Return the head without the removal of its link to another identity."""
        kept = {xid: removal for xid, removal in self.removed.items() if xid != other}
        return self if len(kept) == len(self.removed) else replace(self, removed=kept)

    def _other(self, assertion: Assertion) -> Xid:
        return assertion.right if assertion.left == self.xid else assertion.left


def noted(heads: Mapping[Xid, Head], additions: Iterable[Assertion]) -> dict[Xid, Head]:
    """Return the heads with assertions noted on both identities they name.

    What was said while one of the two was blocked is noted on neither.
    """
    result = dict(heads)
    for assertion in additions:
        pair = [result[assertion.left], result[assertion.right]]
        if not any(head.was_blocked(assertion.place) for head in pair):
            result |= {head.xid: head.noting(assertion) for head in pair}
    return result


def effective(heads: Mapping[Xid, Head], rules: LinkRules) -> dict[Xid, Head]:
    """Return the heads of whole components with their effective graphs worked out anew."""
    members = _linked(heads, rules).members()
    return {
        xid: head
        if head.members == members[xid] and not head.collapsed
        else replace(head, members=members[xid], collapsed=False)
        for xid, head in heads.items()
    }


def _linked(heads: Mapping[Xid, Head], rules: LinkRules) -> _Forest:
    edges = {
        (place, min(head.xid, other), max(head.xid, other))
        for head in heads.values()
        for (other, _), place in head.assertions.items()
        if other in heads and other not in head.removed
    }
    graphs = _Forest(heads)
    unique = {
        xid: {head.identity.namespace: xid} if head.identity.namespace in rules.unique else {}
        for xid, head in heads.items()
    }
    for place, left, right in sorted(edges):
        if any(heads[xid].blocked or heads[xid].identity.namespace in rules.unlinkable for xid in (left, right)):
            continue
        if any(heads[xid].was_held(place) for xid in (left, right)):
            continue
        one, other = graphs.root(left), graphs.root(right)
        if one != other and not unique[one].keys() & unique[other].keys():
            root = graphs.join(one, other)
            unique[root] = unique[one] | unique[other]
    return graphs


def comes_late(assertion: Assertion, heads: Mapping[Xid, Head]) -> bool:
    """Tell whether one of the two was erased after an assertion was accepted, and before it is noted."""
    return any(_erased_at(assertion, heads))


def spread(heads: Mapping[Xid, Head], additions: Iterable[Assertion], rules: LinkRules, now: Place) -> dict[Xid, Head]:
    """Return the heads of whole components with erasures carried to whom assertions that come late add to a person.

    Whoever was joined by what was accepted up to the erasure is part of it, and held if the person is, so it does not
    matter which of the two was processed first (law 2): what was taken meanwhile of somebody held, up to ``now``, goes.
    Only what comes late is looked at: what was removed by hand then stays out of it.
    """
    result = dict(heads)
    for place in sorted({place for assertion in additions for place in _erased_at(assertion, heads)}):
        persons = _linked({xid: _as_of(head, place) for xid, head in heads.items()}, rules)
        erased = {persons.root(xid): head for xid, head in heads.items() if _is_erased(head, place)}
        for xid, head in result.items():
            source = erased.get(persons.root(xid))
            if source is not None and not _is_erased(head, place):
                result[xid] = _joined(head.erasing(place), source, place, now)
    return result


def _is_erased(head: Head, place: Place) -> bool:
    return head.erased is not None and head.erased >= place


def _joined(head: Head, source: Head, place: Place, now: Place) -> Head:
    """Return a head with the holds that an erasure brought upon another member of the person."""
    for hold in source.holds:
        if hold.since == place and hold not in head.holds:
            cutoff = later(head.cutoff, now if hold.until is None else hold.until)
            head = replace(head, holds=(hold, *head.holds), cutoff=cutoff)
    return head


def _erased_at(assertion: Assertion, heads: Mapping[Xid, Head]) -> list[Place]:
    """List the erasures of the two that an assertion names which came after it."""
    ends = (heads.get(xid) for xid in assertion[:2])
    return [end.erased for end in ends if end is not None and end.erased is not None and end.erased >= assertion.place]


def _as_of(head: Head, place: Place) -> Head:
    """Return a head as if nothing had been said after a place."""
    return replace(head, assertions={key: said for key, said in head.assertions.items() if said <= place})


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

    def join(self, one: Xid, other: Xid) -> Xid:
        """Make one set of two; answers its root."""
        root = self._parent[self.root(one)] = self.root(other)
        return root

    def members(self) -> dict[Xid, tuple[Xid, ...]]:
        """Each identity's fellow members, sorted."""
        sets: dict[Xid, list[Xid]] = {}
        for xid in sorted(self._parent):
            sets.setdefault(self.root(xid), []).append(xid)
        return {xid: tuple(other for other in fellows if other != xid) for fellows in sets.values() for xid in fellows}
