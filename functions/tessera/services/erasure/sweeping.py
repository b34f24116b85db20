"""Reclaiming what erasures reached, round by round, until a round finds nothing: that is the proof (law 7)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from tessera.domain.erasure import At, Erasure, Source
from tessera.domain.graph import Head, client_of
from tessera.domain.identity import Xid
from tessera.domain.place import Place
from tessera.domain.tenant import Tenant
from tessera.services.erasure.ports import Erasures, Heads, Lists
from tessera.services.reclaiming import Reclaimer, SweptStore
from tessera.storage.profile_items import kind_of

MAX_ITEMS = 20_000
MAX_SECONDS = 480.0
_PAGE = 1000


class ErasedStore(SweptStore, Heads, Protocol):
    """What sweeping erased persons needs of the profile table."""


class ErasureSweep:
    """Sweeps. Safe to repeat, to race and to leave at any point; ``clock`` gives seconds.

    ``window_ms`` is the length of the windows by which streamed rows are gathered.
    """

    def __init__(
        self,
        store: ErasedStore,
        erasures: Erasures,
        lists: Lists,
        reclaimer: Reclaimer,
        window_ms: int,
        clock: Callable[[], float] = time.monotonic,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._erasures = erasures
        self._lists = lists
        self._reclaimer = reclaimer
        self._window_ms = window_ms
        self._clock = clock
        self._clock_ms = clock_ms

    def sweep(self, tenant: Tenant, job_id: str) -> bool:
        """Delete what the erasure reaches, for at most eight minutes or 20,000 items.

        Tells whether all is gone and a last round has found nothing. What is at or below the cutoffs that the heads
        have by now is gone for every reader, so all of that is deleted. Raises NotFoundError.
        """
        erasure = self._erasures.get(tenant, job_id)
        deadline, left = self._clock() + MAX_SECONDS, MAX_ITEMS
        while not erasure.swept_ms:
            at = erasure.swept
            while at.part < erasure.parts:
                xids, heads = self._reached(tenant, job_id, at)
                while at.identity < len(xids):
                    if left <= 0 or self._clock() > deadline:
                        self._note(tenant, erasure, at, (), ())
                        return False
                    at, found = self._step(tenant, erasure, at, xids[at.identity], heads)
                    left -= 1 + found
                at = At(at.round, at.part + 1)
                self._note(tenant, erasure, at, (), ())
            erasure = self._end_round(tenant, job_id, at.round)
        return True

    def _end_round(self, tenant: Tenant, job_id: str, number: int) -> Erasure:
        now_ms = self._clock_ms()
        return self._erasures.change(tenant, job_id, lambda known: known.round_ended(number, now_ms))

    def _step(self, tenant: Tenant, erasure: Erasure, at: At, xid: Xid, heads: dict[Xid, Head]) -> tuple[At, int]:
        """Delete a page of an identity's items; answers where to go on, and how much there was."""
        following = At(at.round, at.part, at.identity + 1)
        cutoff = heads[xid].cutoff if xid in heads else None
        if cutoff is None:
            return following, 0
        page = self._store.keys_at_or_below(tenant, xid, cutoff, after=at.sort or None, limit=_PAGE)
        if page.sorts:
            self._note(tenant, erasure, at, page.sorts, page.sources)
            self._reclaimer.delete(tenant, xid, page.sorts, cutoff)
        if page.last is not None:
            return At(at.round, at.part, at.identity, page.last), len(page.sorts)
        if page.sorts or at.sort:
            self._reclaimer.settle(tenant, xid)
        return following, len(page.sorts)

    def _reached(self, tenant: Tenant, job_id: str, at: At) -> tuple[list[Xid], dict[Xid, Head]]:
        """Read whom a part reaches, with whom links that came late have joined to them, and their heads.

        Those who are new come last, so that positions in the part stay what they are.
        """
        xids = self._lists.reached(tenant, job_id, at.part)
        heads = self._store.heads(tenant, xids)
        others = {xid for head in heads.values() for xid in head.members} - heads.keys()
        joined = self._store.heads(tenant, sorted(others)) if others else {}
        erased = {head.erased for head in heads.values() if head.erased is not None}
        late = sorted(xid for xid, head in joined.items() if head.erased in erased)
        if late:
            xids = [*xids, *late]
            heads |= {xid: joined[xid] for xid in late}
            self._lists.write_reached(tenant, job_id, at.part, xids)
        said = {(source, place) for head in heads.values() for (_, source), place in head.assertions.items()}
        self._note_sources(tenant, job_id, [one for one in said if client_of(one[0]) is None])
        return xids, heads

    def _note(
        self,
        tenant: Tenant,
        erasure: Erasure,
        at: At,
        sorts: Sequence[str],
        sources: Sequence[tuple[str, Place]],
    ) -> None:
        """Note how far the sweep is, and what was found from there on, before it is deleted."""
        self._note_sources(tenant, erasure.id, sources)
        now_ms = self._clock_ms()
        counted = [(At(at.round, at.part, at.identity, sort), kind_of(sort)) for sort in sorts]
        self._erasures.change(tenant, erasure.id, lambda known: known.swept_to(at, now_ms).counting(counted, now_ms))

    def _note_sources(self, tenant: Tenant, job_id: str, sources: Iterable[tuple[str, Place]]) -> None:
        found = {Source.of(dataset_id, place, self._window_ms) for dataset_id, place in sources}
        self._erasures.note_sources(tenant, job_id, found)
