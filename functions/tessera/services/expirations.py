"""Asking for what is stored to be brought into line with a dataset's TTL (contract: profile-api §10)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tessera.domain.deletion import JobStatus
from tessera.domain.expiry_job import ExpiryJob
from tessera.domain.tenant import Tenant


class Jobs(Protocol):
    """Where these jobs are kept: ``storage.expiry_jobs.ExpiryJobStore``."""

    def adding(self, tenant: Tenant, job: ExpiryJob) -> Any:
        """Describe the writing of one, to be part of a transaction."""

    def get(self, tenant: Tenant, job_id: str) -> ExpiryJob:
        """Read one or raise NotFoundError."""

    def change(self, tenant: Tenant, job_id: str, mutate: Callable[[ExpiryJob], ExpiryJob]) -> ExpiryJob:
        """Change one atomically or raise NotFoundError."""


class Machine(Protocol):
    """What does the work."""

    def start(self, name: str, document: Mapping[str, Any]) -> None:
        """Start an execution unless there was one of that name."""


class Expirations:
    """Asks for jobs; ``clock_ms`` gives milliseconds since 1970."""

    def __init__(
        self, jobs: Jobs, machine: Machine, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._jobs = jobs
        self._machine = machine
        self._clock_ms = clock_ms

    def adding(self, tenant: Tenant, job: ExpiryJob) -> Any:
        """Describe the writing of a job, to be part of the transaction that changes a TTL."""
        return self._jobs.adding(tenant, job)

    def ensure(self, tenant: Tenant, job_id: str) -> None:
        """See to it that a job is done: one that was not begun is, one that failed is tried again."""
        job = self._jobs.get(tenant, job_id)
        if job.status is JobStatus.FAILED:
            attempt = job.attempt
            job = self._jobs.change(tenant, job_id, lambda known: known.tried_again(attempt, self._clock_ms()))
        if job.status is not JobStatus.SUCCESS:
            document = {"org_id": tenant.org_id, "sandbox": tenant.sandbox, "job_id": job_id}
            self._machine.start(job.name, document)
