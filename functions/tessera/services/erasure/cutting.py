"""Changing the heads of a whole person at a place that lies a little ahead (docs/decisions/0060).

Whatever has a place above it was accepted when the heads had it already, so whoever writes that knows.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import NamedTuple

from tessera.domain.graph import Head
from tessera.domain.identity import Xid
from tessera.domain.place import GRACE_MS, Place, cutoff_place
from tessera.domain.tenant import Tenant
from tessera.services.erasure.ports import Heads
from tessera.storage.registry import LostRaceError

_LONGEST_PAUSE_S = 0.5


class Cut(NamedTuple):
    """The identities that were changed, and the millisecond up to which their rows are concerned."""

    xids: tuple[Xid, ...]
    until_ms: int


class Cutter:
    """Changes persons. ``clock_ms`` is milliseconds since 1970, ``pause`` waits for seconds."""

    def __init__(
        self,
        store: Heads,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._clock_ms = clock_ms
        self._pause = pause

    def cut(self, tenant: Tenant, start: Head, change: Callable[[Head, Place], Head]) -> Cut:
        """Change everyone in a person's graph, whoever they are by then; ``start`` is the head of one of them.

        A head that is not stored yet is written. Before ``wait`` has returned for the answer, a row may still be
        accepted that does not know of it and is concerned all the same.
        """
        pause = 0.01
        while True:
            heads = self._person(tenant, start)
            until_ms = self._clock_ms() + GRACE_MS
            place = cutoff_place(until_ms)
            after = {xid: change(head, place) for xid, head in heads.items()}
            changed = [head for xid, head in after.items() if head is not heads[xid]]
            try:
                # The others are checked to be as they were: a link that came meanwhile makes another person of them.
                self._store.replace_heads(tenant, changed, [heads[xid] for xid in heads if after[xid] is heads[xid]])
            except LostRaceError:
                self._pause(random.uniform(0, pause))  # noqa: S311 - jitter
                pause = min(_LONGEST_PAUSE_S, pause * 2)
                continue
            if until_ms >= self._clock_ms():
                return Cut(tuple(sorted(heads)), until_ms)

    def wait(self, until_ms: int) -> None:
        """Wait until no row can be accepted any more that a cut concerns."""
        left_ms = until_ms - self._clock_ms()
        if left_ms >= 0:
            self._pause((left_ms + 1) / 1000)

    def _person(self, tenant: Tenant, start: Head) -> dict[Xid, Head]:
        head = self._store.heads(tenant, [start.xid]).get(start.xid, start)
        others = self._store.heads(tenant, head.members) if head.members else {}
        return {head.xid: head, **others}
