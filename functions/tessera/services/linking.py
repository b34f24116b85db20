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
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import Protocol

from tessera.domain.graph import MAX_GRAPH_WRITTEN, Assertion, Head, asserted, components, effective
from tessera.domain.identity import Identity, Xid
from tessera.domain.tenant import Tenant
from tessera.storage.registry import LostRaceError

_LONGEST_PAUSE_S = 0.5


class HeadStore(Protocol):
    """What linking needs of the profile table."""

    def heads(self, tenant: Tenant, xids: Iterable[Xid]) -> dict[Xid, Head]:
        """Read the heads that exist."""

    def replace_heads(self, tenant: Tenant, changed: Iterable[Head], unchanged: Iterable[Head]) -> None:
        """Write heads in one transaction or raise LostRaceError."""


class Linker:
    """Notes link assertions."""

    def __init__(self, store: HeadStore, executor: Executor) -> None:
        self._store = store
        self._executor = executor

    def link(
        self,
        tenant: Tenant,
        assertions: Collection[Assertion],
        identities: Mapping[Xid, Identity],
        known: Mapping[Xid, Head],
    ) -> None:
        """Note assertions and bring every effective graph they touch up to date; safe to repeat and to race.

        ``identities`` names the identities that may be new; ``known`` are heads read shortly before.
        """
        list(
            self._executor.map(lambda group: self._link_group(tenant, group, identities, known), components(assertions))
        )

    def _link_group(
        self,
        tenant: Tenant,
        group: Collection[Assertion],
        identities: Mapping[Xid, Identity],
        known: Mapping[Xid, Head],
    ) -> None:
        ends = {xid for assertion in group for xid in assertion[:2]}
        pause = 0.01
        while True:
            try:
                walk = _Walk(self._store, tenant, identities, known)
                if walk.component(ends):
                    self._replace(tenant, walk.heads, group)
                else:
                    self._collapse(tenant, walk, ends, group)
            except LostRaceError:
                known = {}
                time.sleep(random.uniform(0, pause))  # noqa: S311 - jitter
                pause = min(_LONGEST_PAUSE_S, pause * 2)
            else:
                return

    def _replace(self, tenant: Tenant, heads: Mapping[Xid, Head], group: Collection[Assertion]) -> None:
        after = effective(asserted(heads, group))
        changed = [head for xid, head in after.items() if head is not heads[xid] or head.version == 0]
        unchanged = [head for xid, head in after.items() if head is heads[xid] and head.version > 0]
        if changed:
            self._store.replace_heads(tenant, changed, unchanged)

    def _collapse(self, tenant: Tenant, walk: _Walk, ends: set[Xid], group: Collection[Assertion]) -> None:
        walk.everything(ends)
        for head in reversed(walk.heads.values()):
            if head.xid not in ends and not head.collapsed:
                self._store.replace_heads(tenant, [_collapsed(head)], [])
        heads = {xid: walk.heads[xid] for xid in ends}
        for assertion in group:
            pair = [heads[xid] for xid in assertion[:2]]
            if all(head.collapsed and head.asserts(assertion) for head in pair):
                continue
            marked = [_collapsed(head).with_assertion(assertion) for head in pair]
            self._store.replace_heads(tenant, marked, [])
            heads |= {head.xid: replace(head, version=head.version + 1) for head in marked}


def _collapsed(head: Head) -> Head:
    return replace(head, collapsed=True, members=())


class _Walk:
    """A breadth-first walk from the ends of new links; ``heads`` keeps what was met, nearest first."""

    def __init__(
        self, store: HeadStore, tenant: Tenant, identities: Mapping[Xid, Identity], known: Mapping[Xid, Head]
    ) -> None:
        self._store = store
        self._tenant = tenant
        self._identities = identities
        self._known = known
        self.heads: dict[Xid, Head] = {}

    def component(self, ends: set[Xid]) -> bool:
        """Read the whole component of ``ends``; tells whether it is small enough to be kept."""
        frontier = ends
        while frontier:
            if len(self.heads) + len(frontier) > MAX_GRAPH_WRITTEN:
                return False
            met = self._read(frontier)
            if any(head.collapsed for head in met):
                return False
            frontier = self._unmet(met)
        return True

    def everything(self, ends: set[Xid]) -> None:
        """Read the component of ``ends`` however large, up to heads that are collapsed already."""
        self.heads = {}
        frontier = ends
        while frontier:
            frontier = self._unmet(head for head in self._read(frontier) if not head.collapsed)

    def _unmet(self, heads: Iterable[Head]) -> set[Xid]:
        return {xid for head in heads for xid in head.neighbours()} - self.heads.keys()

    def _read(self, xids: set[Xid]) -> list[Head]:
        unknown = [xid for xid in xids if xid not in self._known]
        stored = self._store.heads(self._tenant, unknown) if unknown else {}
        met = [self._known.get(xid) or stored.get(xid) or Head(xid, self._identities[xid]) for xid in sorted(xids)]
        self.heads |= {head.xid: head for head in met}
        return met
