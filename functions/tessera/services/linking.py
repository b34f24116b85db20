"""Linking identities: noting assertions and keeping every head's effective graph right (design: Links).

Assertions are noted and graphs worked out in one transaction over all heads of the component, each conditional on
the version that was read:

    time | writer A (links x-y)                  | writer B (links y-z)
    -----|---------------------------------------|----------------------------------------
      1  | reads x v1, y v1                      | reads y v1, z v1
      2  | writes x {y} v2, y {x} v2             |
      3  |                                       | writes y {z}, z {y} if y v1: lost race
      4  |                                       | reads y v2, z v1, and from y's members x v2
      5  |                                       | writes x {y,z}, y {x,z}, z {x,y}

A component too large for one transaction is collapsed: first every head of it is marked, the farthest from the new
link first, then the link is noted. A crash in between leaves a path of unmarked heads from the link to whatever
is still to be marked, so the retry finds it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Protocol

from tessera.domain.graph import (
    MAX_GRAPH_WRITTEN,
    Assertion,
    Head,
    LinkRules,
    Removal,
    components,
    effective,
    noted,
    spread,
)
from tessera.domain.identity import Identity, Xid
from tessera.domain.place import GRACE_MS, Place, cutoff_place
from tessera.domain.tenant import Tenant
from tessera.storage.registry import LostRaceError

_LONGEST_PAUSE_S = 0.5

Heads = Mapping[Xid, Head]
Change = Callable[[Heads], Heads]
Carried = Callable[[Tenant, Mapping[Xid, Place]], AbstractContextManager[None]]


class HeadStore(Protocol):
    """What linking needs of the profile table."""

    def heads(self, tenant: Tenant, xids: Iterable[Xid]) -> dict[Xid, Head]:
        """Read the heads that exist."""

    def replace_heads(self, tenant: Tenant, changed: Iterable[Head], unchanged: Iterable[Head]) -> None:
        """Write heads in one transaction or raise LostRaceError."""


class Linker:
    """Notes link assertions, removals and blocks. Every method is safe to repeat and to race.

    ``watch`` is told the size of each graph that grew, and ``MAX_GRAPH_WRITTEN + 1`` for one that collapsed.
    ``carried`` surrounds the writing of heads to which a late link carries an erasure; it is told their cutoffs.
    """

    def __init__(
        self,
        store: HeadStore,
        executor: Executor,
        watch: Callable[[int], None] = lambda size: None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        carried: Carried = lambda tenant, cutoffs: nullcontext(),
    ) -> None:
        self._store = store
        self._executor = executor
        self._watch = watch
        self._carried = carried
        self._clock_ms = clock_ms

    def link(
        self,
        tenant: Tenant,
        rules: LinkRules,
        assertions: Collection[Assertion],
        identities: Mapping[Xid, Identity],
        known: Heads,
    ) -> None:
        """Note assertions and bring every effective graph they touch up to date.

        ``identities`` names the identities that may be new; ``known`` are heads read shortly before.
        """

        def link_group(group: Collection[Assertion]) -> None:
            ends = {xid for assertion in group for xid in assertion[:2]}
            self._until_won(
                lambda heads: self._settle(
                    tenant,
                    rules,
                    ends,
                    _Reader(self._store, tenant, identities, heads),
                    lambda now: spread(noted(now, group), group, rules, self._now()),
                ),
                known,
            )

        list(self._executor.map(link_group, components(assertions)))

    def name(self, tenant: Tenant, identities: Mapping[Xid, Identity]) -> None:
        """Write down what identities are of whose heads a restore knew no more than the XIDs."""

        def attempt(_: Heads) -> None:
            for xid, head in self._store.heads(tenant, identities).items():
                if not head.identity.named:
                    self._store.replace_heads(tenant, [replace(head, identity=identities[xid])], [])

        self._until_won(attempt, {})

    def _now(self) -> Place:
        """Place after every row that is accepted until the heads are written."""
        return cutoff_place(self._clock_ms() + GRACE_MS)

    def remove(self, tenant: Tenant, rules: LinkRules, one: Xid, other: Xid, removal: Removal) -> None:
        """Take a link away: nobody's word links the two directly any more, whoever repeats it."""

        def mark(now: Heads) -> Heads:
            return {**now, one: now[one].removing(other, removal), other: now[other].removing(one, removal)}

        self._mark(tenant, rules, {one, other}, {}, mark)

    def withdraw(self, tenant: Tenant, rules: LinkRules, one: Xid, other: Xid, source: str, cutoff: Place) -> None:
        """Forget what a dataset said, at or below a cutoff, of a link; what others say of it stays."""

        def mark(now: Heads) -> Heads:
            return {
                **now,
                one: now[one].without_word(other, source, cutoff),
                other: now[other].without_word(one, source, cutoff),
            }

        self._mark(tenant, rules, {one, other}, {}, mark)

    def restore(
        self,
        tenant: Tenant,
        rules: LinkRules,
        one: Identity,
        other: Identity,
        assertion: Assertion,
    ) -> None:
        """Lift the removal of a link; where nobody's word stands for it, ``assertion`` does from now on."""
        identities = {identity.xid(tenant): identity for identity in (one, other)}
        left, right = assertion.left, assertion.right

        def mark(now: Heads) -> Heads:
            lifted = {**now, left: now[left].restoring(right), right: now[right].restoring(left)}
            if any(xid == right for xid, _ in lifted[left].assertions):
                return lifted
            return noted(lifted, [assertion])

        self._mark(tenant, rules, {left, right}, identities, mark)

    def block(self, tenant: Tenant, rules: LinkRules, identity: Identity, at: Place, *, blocked: bool) -> None:
        """Let an identity link nobody from the place ``at`` on, or let it link again."""
        xid = identity.xid(tenant)
        head = self._store.heads(tenant, [xid]).get(xid)
        around = set() if head is None else {other for other, _ in head.assertions}

        def mark(now: Heads) -> Heads:
            return {**now, xid: now[xid].blocking(at) if blocked else now[xid].unblocking(at)}

        self._mark(tenant, rules, {xid} | around, {xid: identity}, mark)

    def _until_won(self, attempt: Callable[[Heads], None], known: Heads) -> None:
        """Try until no other writer was in between; after a lost race everything is read afresh."""
        pause = 0.01
        while True:
            try:
                attempt(known)
            except LostRaceError:
                known = {}
                time.sleep(random.uniform(0, pause))  # noqa: S311 - jitter
                pause = min(_LONGEST_PAUSE_S, pause * 2)
            else:
                return

    def _mark(
        self, tenant: Tenant, rules: LinkRules, ends: set[Xid], identities: Mapping[Xid, Identity], mark: Change
    ) -> None:
        """Change marks on the heads of ``ends``, and settle their graphs, also those that were collapsed."""

        def attempt(_: Heads) -> None:
            reader = _Reader(self._store, tenant, identities, {})
            walk = _Walk(reader)
            if walk.component(ends):
                self._replace(tenant, walk.heads, effective(mark(walk.heads), rules))
                return
            before = {head.xid: head for head in reader.read(ends)}
            marked = [head for xid, head in mark(before).items() if head is not before[xid]]
            if marked:
                self._store.replace_heads(tenant, marked, [])
            # The marks are there; now each side is settled by itself, as small as it may have become.
            for xid in sorted(ends):
                self._settle(tenant, rules, {xid}, _Reader(self._store, tenant, identities, {}), _as_it_is)

        self._until_won(attempt, {})

    def _settle(self, tenant: Tenant, rules: LinkRules, ends: set[Xid], reader: _Reader, change: Change) -> None:
        """Apply a change to the components of ``ends`` and work out their graphs, or collapse them."""
        walk = _Walk(reader)
        if walk.component(ends, through_collapsed=change is _as_it_is):
            self._replace(tenant, walk.heads, effective(change(walk.heads), rules))
        else:
            self._collapse(tenant, walk, ends, change)

    def _replace(self, tenant: Tenant, before: Heads, after: Heads) -> None:
        changed = [head for xid, head in after.items() if head is not before[xid] or head.version == 0]
        unchanged = [head for xid, head in after.items() if head is before[xid] and head.version > 0]
        if changed:
            self._write(tenant, before, changed, unchanged)
            grown = [len(head.graph) for head in changed if len(head.members) > len(before[head.xid].members)]
            if grown:
                self._watch(max(grown))

    def _collapse(self, tenant: Tenant, walk: _Walk, ends: set[Xid], change: Change) -> None:
        walk.everything(ends)
        for head in reversed(walk.heads.values()):
            if head.xid not in ends and not head.collapsed:
                self._store.replace_heads(tenant, [_collapsed(head)], [])
        before = {xid: walk.heads[xid] for xid in ends}
        marked = {xid: head if head.collapsed else _collapsed(head) for xid, head in change(before).items()}
        changed = [head for xid, head in marked.items() if head is not before[xid] or head.version == 0]
        # Ends are changed together as far as a transaction reaches; all else is marked by now, so any order will do.
        for start in range(0, len(changed), MAX_GRAPH_WRITTEN):
            self._write(tenant, before, changed[start : start + MAX_GRAPH_WRITTEN], [])
        if changed:
            self._watch(MAX_GRAPH_WRITTEN + 1)

    def _write(self, tenant: Tenant, before: Heads, changed: Collection[Head], unchanged: Collection[Head]) -> None:
        moved = [head for head in changed if head.cutoff != before[head.xid].cutoff]
        with self._carried(tenant, {head.xid: head.cutoff for head in moved if head.cutoff is not None}):
            self._store.replace_heads(tenant, changed, unchanged)


def _as_it_is(heads: Heads) -> Heads:
    return heads


def _collapsed(head: Head) -> Head:
    return replace(head, collapsed=True, members=())


class _Reader:
    """Reads heads, each once; those of identities not stored yet are new ones."""

    def __init__(self, store: HeadStore, tenant: Tenant, identities: Mapping[Xid, Identity], known: Heads) -> None:
        self._store = store
        self._tenant = tenant
        self._identities = identities
        self._known = dict(known)

    def read(self, xids: Collection[Xid]) -> list[Head]:
        unknown = [xid for xid in xids if xid not in self._known]
        stored = self._store.heads(self._tenant, unknown) if unknown else {}
        for xid in unknown:
            head = stored.get(xid) or Head(xid, self._identities[xid])
            if not head.identity.named:
                head = replace(head, identity=self._identities.get(xid, head.identity))
            self._known[xid] = head
        return [self._known[xid] for xid in sorted(xids)]


class _Walk:
    """A breadth-first walk from the ends of links; ``heads`` keeps what was met, nearest first."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self.heads: dict[Xid, Head] = {}

    def component(self, ends: set[Xid], *, through_collapsed: bool = False) -> bool:
        """Read the whole component of ``ends``; tells whether it is small enough to be kept."""
        frontier = ends
        while frontier:
            if len(self.heads) + len(frontier) > MAX_GRAPH_WRITTEN:
                return False
            met = self._meet(frontier)
            if not through_collapsed and any(head.collapsed for head in met):
                return False
            frontier = self._unmet(met)
        return True

    def everything(self, ends: set[Xid]) -> None:
        """Read the component of ``ends`` however large, up to heads that are collapsed already."""
        self.heads = {}
        frontier = ends
        while frontier:
            frontier = self._unmet(head for head in self._meet(frontier) if not head.collapsed)

    def _unmet(self, heads: Iterable[Head]) -> set[Xid]:
        return {xid for head in heads for xid in head.neighbours()} - self.heads.keys()

    def _meet(self, xids: set[Xid]) -> list[Head]:
        met = self._reader.read(xids)
        self.heads |= {head.xid: head for head in met}
        return met
