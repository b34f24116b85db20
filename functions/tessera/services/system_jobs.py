"""The jobs of a sandbox as their list shows them, whatever they do (contract: profile-api §5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from tessera.domain.deletion import PERSON, JobStatus, PersonDeletion
from tessera.domain.errors import NotFoundError, UnprocessableError
from tessera.domain.purge import BATCH, DATASET, Purge
from tessera.domain.system_job import SystemJob
from tessera.domain.tenant import Tenant
from tessera.services.purging.receipt import Receipts
from tessera.services.purging.shares import SWEEP, Notes, Share, checkpoints, total

_PURGES = frozenset({DATASET, BATCH})


class JobList(Protocol):
    """Where jobs of every kind are listed: ``storage.system_jobs.SystemJobList``."""

    def page(self, tenant: Tenant, start: int, limit: int) -> list[SystemJob]:
        """List some, the newest first."""

    def count(self, tenant: Tenant) -> int:
        """Count them."""

    def get(self, tenant: Tenant, job_id: str) -> SystemJob:
        """Read one or raise NotFoundError."""

    def remove(self, tenant: Tenant, job_id: str) -> None:
        """Take one out of the list."""


class PurgeJobs(Protocol):
    """Where deletions of datasets and batches are kept."""

    def get(self, tenant: Tenant, job_id: str) -> Purge:
        """Read one or raise NotFoundError."""


class PersonJobs(Protocol):
    """Where deletions of persons are kept."""

    def get(self, tenant: Tenant, job_id: str) -> PersonDeletion:
        """Read one or raise NotFoundError."""


class Resuming(Protocol):
    """What starts open deletions that nobody works on."""

    def resume(self, tenant: Tenant, job: Purge) -> None:
        """See to it that one is worked on."""


class SystemJobs:
    """Lists, reads and cancels jobs."""

    def __init__(
        self,
        jobs: JobList,
        purges: PurgeJobs,
        persons: PersonJobs,
        resuming: Resuming,
        notes: Notes,
        receipts: Receipts,
    ) -> None:
        self._jobs = jobs
        self._purges = purges
        self._persons = persons
        self._resuming = resuming
        self._notes = notes
        self._receipts = receipts

    def page(self, tenant: Tenant, start: int, limit: int) -> tuple[list[SystemJob], int]:
        """List ``limit`` jobs behind the first ``start``, the newest first; and tell how many there are in all."""
        return self._jobs.page(tenant, start, limit), self._jobs.count(tenant)

    def get(self, tenant: Tenant, job_id: str) -> SystemJob:
        """Read a job, with what is deleted so far if it is a deletion at work.

        One that was accepted by a call that died before it could be started, is started. Raises NotFoundError.
        """
        job = self._jobs.get(tenant, job_id)
        if job.kind not in _PURGES:
            return job
        self._resuming.resume(tenant, self._purges.get(tenant, job_id))
        if job.status != JobStatus.IN_PROGRESS:
            return job
        shares = [Share.from_document(document) for document in self._notes.shares(tenant, job_id)]
        return replace(job, counts=total(checkpoints(self._notes, tenant, job_id, SWEEP, shares)))

    def kind(self, tenant: Tenant, job_id: str) -> str:
        """Tell what kind of job one is. Raises NotFoundError."""
        return self._jobs.get(tenant, job_id).kind

    def receipt(self, tenant: Tenant, job_id: str) -> dict[str, Any]:
        """Return what a deletion of a dataset, a batch or a person has to show.

        Raises NotFoundError while it is not done, and for jobs of other kinds; erasures have their own
        (``services.erasure.receipt``).
        """
        job = self._jobs.get(tenant, job_id)
        if job.kind in _PURGES:
            purge = self._purges.get(tenant, job_id)
            if purge.rescan is not None:
                return self._receipts.of(tenant, purge, purge.rescan)
        elif job.kind == PERSON:
            person = self._persons.get(tenant, job_id)
            if person.proved_ms:
                return self._receipts.of_person(tenant, person)
        raise NotFoundError(f"Job {job_id} is {job.status}: only a delete of data that is done has a receipt")

    def cancel(self, tenant: Tenant, job_id: str) -> None:
        """Take a job out of the list; whoever works on it stops, and what it deletes stays deleted (contract: §5.4).

        Raises NotFoundError, and UnprocessableError for a job that is not for callers to stop.
        """
        job = self._jobs.get(tenant, job_id)
        if job.kind not in _PURGES:
            raise UnprocessableError(
                f"Job {job_id} is not the deletion of a dataset or a batch: it ends by itself and cannot be cancelled"
            )
        self._jobs.remove(tenant, job_id)
