"""Reclaiming what a deletion reached, after no read shows it any more (design: Deletes are cutoffs)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Protocol

from tessera.domain.deletion import JobStatus, PersonDeletion, Position
from tessera.domain.identity import Xid
from tessera.domain.place import Place, later
from tessera.domain.profile import IdentityItems
from tessera.domain.tenant import Tenant
from tessera.services.computed.compiled import attributes_of
from tessera.services.computed.rebuilding import StreamStore, complete
from tessera.services.deletion import Jobs
from tessera.services.lease import Configurations
from tessera.storage.profile_items import kind_of
from tessera.storage.profile_table import KeyPage

MAX_ITEMS = 20_000
MAX_SECONDS = 480.0
_PAGE = 1000


class SweptStore(StreamStore, Protocol):
    """What sweeping needs of the profile table."""

    def identity(self, tenant: Tenant, xid: Xid) -> IdentityItems | None:
        """Read everything of an identity but its events."""

    def keys_at_or_below(self, tenant: Tenant, xid: Xid, cutoff: Place, *, after: str | None, limit: int) -> KeyPage:
        """List the records, streams and events of an identity that a cutoff reaches."""

    def delete_at_or_below(self, tenant: Tenant, xid: Xid, sort: str, cutoff: Place) -> None:
        """Delete one of them, unless it has another place by now."""


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
        self._configurations = configurations
        self._executor = executor
        self._clock = clock
        self._clock_ms = clock_ms

    def sweep(self, tenant: Tenant, job_id: str) -> bool:
        """Delete what the job reaches, for at most eight minutes or 20,000 items; tells whether all is done.

        The heads stay with their links and the cutoff (contract: profile-api §2.8). Raises NotFoundError.
        """
        job = self._jobs.get(tenant, job_id)
        if job.status is JobStatus.SUCCESS:
            return True
        job = self._jobs.change(tenant, job_id, lambda known: known.started(self._clock_ms()))
        deadline, left, at = self._clock() + MAX_SECONDS, MAX_ITEMS, job.swept
        while at.identity < len(job.xids):
            if left <= 0 or self._clock() > deadline:
                self._note(tenant, job_id, at, ())
                return False
            page = self._store.keys_at_or_below(
                tenant, job.xids[at.identity], job.cutoff, after=at.sort or None, limit=_PAGE
            )
            if page.sorts:
                self._note(tenant, job_id, at, page.sorts)
                self._delete(tenant, job, at, page)
                left -= len(page.sorts)
            if page.last is None:
                self._settle(tenant, job.xids[at.identity])
            at = Position(at.identity + 1) if page.last is None else Position(at.identity, page.last)
        self._jobs.change(tenant, job_id, lambda known: known.succeeded(self._clock_ms()))
        return True

    def fail(self, tenant: Tenant, job_id: str, reason: str) -> None:
        """Note that the machine gave up; what is deleted stays so, and no read sees the rest.

        Raises NotFoundError.
        """
        self._jobs.change(tenant, job_id, lambda known: known.failed(reason, self._clock_ms()))

    def _note(self, tenant: Tenant, job_id: str, at: Position, sorts: Iterable[str]) -> None:
        """Note how far the sweep is, and what was found from there on, before it is deleted."""
        now_ms = self._clock_ms()
        found = [(Position(at.identity, sort), kind_of(sort)) for sort in sorts]
        self._jobs.change(tenant, job_id, lambda known: known.swept_to(at, now_ms).counting(found, now_ms))

    def _delete(self, tenant: Tenant, job: PersonDeletion, at: Position, page: KeyPage) -> None:
        xid = job.xids[at.identity]
        list(self._executor.map(lambda sort: self._store.delete_at_or_below(tenant, xid, sort, job.cutoff), page.sorts))

    def _settle(self, tenant: Tenant, xid: Xid) -> None:
        """Build the state of what is left of an identity's streams anew: it counts events that are gone."""
        configuration = self._configurations.current(tenant)
        attributes = attributes_of(configuration)
        left = self._store.identity(tenant, xid)
        if left is None:
            return
        for stream in left.streams:
            dataset = configuration.datasets.get(stream.dataset_id)
            if dataset is not None:
                cutoff = later(dataset.cutoff, left.head.cutoff)
                complete(self._store, tenant, stream, attributes, cutoff, self._clock_ms)
