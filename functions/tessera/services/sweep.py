"""Reclaiming what a deletion reached, round by round, until a round finds nothing (design: Deletes are cutoffs)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor

from tessera.domain.deletion import JobStatus, PersonDeletion, Position
from tessera.domain.tenant import Tenant
from tessera.services.deletion import Jobs
from tessera.services.lease import Configurations
from tessera.services.reclaiming import Reclaimer, SweptStore
from tessera.storage.profile_items import kind_of

MAX_ITEMS = 20_000
MAX_SECONDS = 480.0
_PAGE = 1000


class Sweep:
    """Reclaims what deletions reached. Safe to repeat, to race and to leave at any point; ``clock`` gives seconds."""

    def __init__(
        self,
        store: SweptStore,
        jobs: Jobs,
        configurations: Configurations,
        executor: Executor,
        clock: Callable[[], float] = time.monotonic,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._reclaimer = Reclaimer(store, configurations, executor, clock_ms)
        self._clock = clock
        self._clock_ms = clock_ms

    def sweep(self, tenant: Tenant, job_id: str) -> bool:
        """Delete what the job reaches, for at most eight minutes or 20,000 items.

        Tells whether all is gone and a last round has found nothing. The heads stay with their links and the cutoff
        (contract: profile-api §2.8). Raises NotFoundError.
        """
        job = self._jobs.get(tenant, job_id)
        if job.status is JobStatus.SUCCESS:
            return True
        job = self._jobs.change(tenant, job_id, lambda known: known.started(self._clock_ms()))
        deadline, left = self._clock() + MAX_SECONDS, MAX_ITEMS
        while job.status is not JobStatus.SUCCESS:
            at = job.swept
            while at.identity < len(job.xids):
                if left <= 0 or self._clock() > deadline:
                    self._note(tenant, job_id, at, ())
                    return False
                at, found = self._step(tenant, job, at)
                left -= found
            job = self._end_round(tenant, job_id, at.round)
        return True

    def _step(self, tenant: Tenant, job: PersonDeletion, at: Position) -> tuple[Position, int]:
        """Delete a page of an identity's items; answers where to go on, and how much there was."""
        xid = job.xids[at.identity]
        page = self._store.keys_at_or_below(tenant, xid, job.cutoff, after=at.sort or None, limit=_PAGE)
        if page.sorts:
            self._note(tenant, job.id, at, page.sorts)
            self._reclaimer.delete(tenant, xid, page.sorts, job.cutoff)
        if page.last is not None:
            return Position(at.round, at.identity, page.last), len(page.sorts)
        self._reclaimer.settle(tenant, xid)
        return Position(at.round, at.identity + 1), len(page.sorts)

    def _end_round(self, tenant: Tenant, job_id: str, number: int) -> PersonDeletion:
        now_ms = self._clock_ms()
        return self._jobs.change(tenant, job_id, lambda known: known.round_ended(number, now_ms))

    def fail(self, tenant: Tenant, job_id: str, reason: str) -> None:
        """Note that the machine gave up; what is deleted stays so, and no read sees the rest.

        Raises NotFoundError.
        """
        self._jobs.change(tenant, job_id, lambda known: known.failed(reason, self._clock_ms()))

    def _note(self, tenant: Tenant, job_id: str, at: Position, sorts: Iterable[str]) -> None:
        """Note how far the sweep is, and what was found from there on, before it is deleted."""
        now_ms = self._clock_ms()
        found = [(Position(at.round, at.identity, sort), kind_of(sort)) for sort in sorts]
        self._jobs.change(tenant, job_id, lambda known: known.swept_to(at, now_ms).counting(found, now_ms))
