"""The course of a deletion: begin, plan, sweep, look again until nothing is found. Each step may be repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Protocol

from tessera.domain.batch import Batch
from tessera.domain.configuration import Configuration
from tessera.domain.deletion import JobStatus
from tessera.domain.errors import NotFoundError
from tessera.domain.identity import INDEX_SHARDS
from tessera.domain.purge import Purge, Rescan
from tessera.domain.tenant import Tenant
from tessera.services.purging.accepting import Configurations, Jobs, Journal, entry_of
from tessera.services.purging.discarding import DISCARD, LAKE_SHARE
from tessera.services.purging.reached import Index
from tessera.services.purging.shares import SWEEP, Checkpoint, Notes, Share, checkpoints, total
from tessera.services.purging.sweeping import step_of

# What comes in all the time is accepted after the cutoff; what is found again and again is a fault of ours.
MAX_ROUNDS = 5
_IDENTITIES_PER_SHARE = 10_000


class Batches(Protocol):
    """The records of batches."""

    def change(self, tenant: Tenant, batch_id: str, mutate: Callable[[Batch], Batch]) -> Batch:
        """Change one atomically, or raise NotFoundError."""


class Staged(Protocol):
    """Where the rows of batches are: ``storage.lake.Lake``."""

    def staged_chunks(self, tenant: Tenant, batch_id: str) -> list[str]:
        """List the chunks of a batch that were staged."""


class Rows(Protocol):
    """Which rows batches have that gather streamed ones: ``storage.streamed_rows.StreamedRows``."""

    def let_go(self, tenant: Tenant, dataset_id: str, batch_id: str) -> None:
        """Have the places of a batch's rows deleted after some time. Safe to repeat."""


class Course:
    """Leads a deletion from step to step; a job that was cancelled has none left to do."""

    def __init__(
        self,
        jobs: Jobs,
        configurations: Configurations,
        batches: Batches,
        journal: Journal,
        index: Index,
        staged: Staged,
        rows: Rows,
        notes: Notes,
        executor: Executor,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._jobs = jobs
        self._configurations = configurations
        self._batches = batches
        self._journal = journal
        self._index = index
        self._staged = staged
        self._rows = rows
        self._notes = notes
        self._executor = executor
        self._clock_ms = clock_ms

    def begin(self, tenant: Tenant, job_id: str) -> bool:
        """Note that the work begins; tell whether there is any.

        The journal is written again, for the caller may have died before; and from here on no worker applies rows of
        the batch, if it is one.
        """
        now_ms = self._clock_ms()
        job = self._change(tenant, job_id, lambda known: known.started(now_ms))
        if job is None or job.status is JobStatus.SUCCESS:
            return False
        self._journal.note(tenant, job.id, entry_of(job))
        if job.batch_id:
            self._batches.change(tenant, job.batch_id, lambda known: known.unprofiled())
        return True

    def plan(self, tenant: Tenant, job_id: str) -> int:
        """Divide what there is into shares, once, and return how many."""
        job = self._get(tenant, job_id)
        if job is None:
            return 0
        shares = [share.to_document() for share in self._shares(tenant, job)]
        return len(self._notes.write_shares(tenant, job_id, shares))

    def settle(self, tenant: Tenant, job_id: str, round_: int) -> bool:
        """Tell whether a look found nothing; then the job is done.

        Raises RuntimeError when a share is not done, or when there is no end to what is found.
        """
        job = self._get(tenant, job_id)
        if job is None or job.status is JobStatus.SUCCESS:
            return True
        shares = [Share.from_document(document) for document in self._notes.shares(tenant, job_id)]
        steps = [SWEEP, *(step_of(number) for number in range(1, round_ + 1))]
        met = {step: checkpoints(self._notes, tenant, job_id, step, shares) for step in steps}
        for step, several in met.items():
            for share, one in zip(shares, several, strict=True):
                if not one.done:
                    raise RuntimeError(f"share {share.name} is not done in step {step}")
        last = met[step_of(round_)]
        found = sum(one.found for one in last)
        if found:
            if round_ == MAX_ROUNDS:
                raise RuntimeError(f"look {round_} still found {found} items")
            return False
        now_ms = self._clock_ms()
        looked = Rescan(now_ms, sum(one.identities for one in last), sum(one.items for one in last), found, round_)
        self._release(tenant, job)
        discarded = self._notes.checkpoints(tenant, job_id, DISCARD, [LAKE_SHARE])
        lake = [Checkpoint.from_document(document) for document in discarded]
        counts = total([*lake, *(one for several in met.values() for one in several)])
        self._change(tenant, job_id, lambda known: known.succeeded(counts, looked, now_ms))
        return True

    def fail(self, tenant: Tenant, job_id: str, reason: str) -> None:
        """Note that the machine gave up; what is deleted stays so, and no read sees the rest."""
        now_ms = self._clock_ms()
        self._change(tenant, job_id, lambda known: known.failed(reason, now_ms))

    def _release(self, tenant: Tenant, job: Purge) -> None:
        """Take a batch's places out of the configuration: nothing is left of it, and what is noted keeps it away.

        A dataset's cutoff stays: its rows may come again from a queue.
        """
        if not job.batch_id:
            return

        def mutate(configuration: Configuration) -> Configuration:
            dataset = configuration.datasets.get(job.dataset_id)
            after = None if dataset is None else dataset.done_with_batch(job.prefix).done_with_rows(job.batch_id)
            return configuration if after is None or after is dataset else configuration.with_dataset(after)

        self._configurations.change(tenant, mutate, tuple)
        if job.rows and job.lake:
            # Not before: whoever reads a configuration that names them reads them.
            self._rows.let_go(tenant, job.dataset_id, job.batch_id)

    def _shares(self, tenant: Tenant, job: Purge) -> Iterator[Share]:
        """Make a share of each chunk of a batch, or else divide the dataset's part of the index as evenly as may be."""
        if job.prefix:
            chunks = self._staged.staged_chunks(tenant, job.batch_id)
            yield from (Share(chunk, chunk=chunk) for chunk in chunks)
            return

        def count(shard: int) -> int:
            (name,) = self._index.names(tenant, [job.dataset_id], shard, graphs=False)
            return self._index.count(tenant, name)

        shards: list[int] = []
        identities = 0
        counts = enumerate(self._executor.map(count, range(INDEX_SHARDS)))
        # What the index does not show by now was written by somebody who knew of the delete.
        for shard, found in ((shard, found) for shard, found in counts if found):
            shards.append(shard)
            identities += found
            if identities >= _IDENTITIES_PER_SHARE:
                yield _share(shards)
                shards, identities = [], 0
        if shards:
            yield _share(shards)

    def _get(self, tenant: Tenant, job_id: str) -> Purge | None:
        try:
            return self._jobs.get(tenant, job_id)
        except NotFoundError:
            return None

    def _change(self, tenant: Tenant, job_id: str, mutate: Callable[[Purge], Purge]) -> Purge | None:
        try:
            return self._jobs.change(tenant, job_id, mutate)
        except NotFoundError:
            return None


def _share(shards: list[int]) -> Share:
    return Share(f"{shards[0]:03d}-{shards[-1]:03d}", tuple(shards))
