"""Asking for exports, looking at them and giving them up (contract: data-and-pql §3)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tessera.domain.configuration import Configuration
from tessera.domain.errors import InvalidRequestError, MergePolicyNotFoundError, UnprocessableError
from tessera.domain.export.job import ExportJob, ExportStatus, Wanted
from tessera.domain.export.share import Checkpoint
from tessera.domain.merge_policy import MergePolicy
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import ulid
from tessera.services.export.planning import expect_exportable
from tessera.services.lease import Configurations
from tessera.services.profile_reader import policy_of
from tessera.storage.registry import LostRaceError

# All batches of a dataset become active in one transaction, in which those before them cease to be.
MAX_BATCHES = 40
_PER_MILLISECOND = 1000


class Records(Protocol):
    """Where jobs are kept: ``storage.exports.ExportStore``."""

    def add(self, tenant: Tenant, job: ExportJob) -> None:
        """Write a new one or raise LostRaceError."""

    def get(self, tenant: Tenant, job_id: int) -> ExportJob:
        """Read one or raise NotFoundError."""

    def each(self, tenant: Tenant, *, newest_first: bool = True, after: int | None = None) -> Iterator[ExportJob]:
        """Walk them in order of creation."""

    def change(self, tenant: Tenant, job_id: int, mutate: Callable[[ExportJob], ExportJob]) -> ExportJob:
        """Change one atomically or raise NotFoundError."""

    def checkpoints(self, tenant: Tenant, job_id: int) -> dict[str, Checkpoint]:
        """Read how far the workers are that have begun."""


class Policies(Protocol):
    """Where versions of merge policies are found: ``services.merge_policies.MergePolicies``."""

    def at(self, tenant: Tenant, policy_id: str, version: int) -> MergePolicy:
        """Read one version or raise MergePolicyNotFoundError."""


class Machine(Protocol):
    """What exports."""

    def start(self, name: str, document: Mapping[str, Any]) -> None:
        """Start an execution unless there was one of that name."""


@dataclass(frozen=True, slots=True)
class PolicyChoice:
    """The merge policy that was asked for; ``""`` is the default one, version ``None`` the last."""

    id: str = ""
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: how many of its shares are done, and how many profiles are gathered."""

    shares_done: int
    shares: int
    profiles: int


class Exports:
    """The export jobs of sandboxes. ``clock_ms`` is milliseconds since 1970."""

    def __init__(
        self,
        records: Records,
        configurations: Configurations,
        policies: Policies,
        machine: Machine,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._records = records
        self._configurations = configurations
        self._policies = policies
        self._machine = machine
        self._clock_ms = clock_ms

    def create(
        self,
        tenant: Tenant,
        wanted: Wanted,
        policy: PolicyChoice,
        *,
        caller: str,
        request_id: str,
        asked: Mapping[str, Any],
    ) -> ExportJob:
        """Note a job and start it.

        Raises InvalidRequestError for a dataset that takes no exports, for a merge policy that there is not, and for
        what cannot be meant.
        """
        configuration = self._configurations.current(tenant)
        expect_exportable(configuration, wanted.dataset_id)
        if wanted.segment_per_batch and not 1 <= len(wanted.segments) <= MAX_BATCHES:
            raise InvalidRequestError(
                f"destination.segmentPerBatch needs 1 to {MAX_BATCHES} segments in filter.segments, "
                f"not {len(wanted.segments)}"
            )
        chosen = self._policy(tenant, configuration, policy)
        while True:
            now_ms = self._clock_ms()
            batches = len(wanted.segments) if wanted.segment_per_batch else 1
            job = ExportJob(
                now_ms * _PER_MILLISECOND + secrets.randbelow(_PER_MILLISECOND),
                now_ms,
                caller,
                request_id,
                wanted,
                chosen,
                tuple(ulid(now_ms, secrets.randbits(80)) for _ in range(batches)),
                asked,
                updated_ms=now_ms,
            )
            try:
                self._records.add(tenant, job)
            except LostRaceError:
                continue
            break
        # The job is noted first: cut off here, it stays NEW until it is cancelled.
        try:
            self._machine.start(str(job.id), {"org_id": tenant.org_id, "sandbox": tenant.sandbox, "job_id": job.id})
        except Exception:
            # Whoever asked knows nothing of this job. If it has started after all, it ends without a trace.
            reason = "The export job could not be started: ask for another one"
            self._records.change(tenant, job.id, lambda known: known.failed(reason, self._clock_ms()))
            raise
        return job

    def get(self, tenant: Tenant, job_id: int) -> ExportJob:
        """Read a job. Raises NotFoundError."""
        return self._records.get(tenant, job_id)

    def listed(
        self, tenant: Tenant, status: ExportStatus | None, *, newest_first: bool = True, after: int | None = None
    ) -> Iterator[ExportJob]:
        """Walk the jobs in one state, or all of them, in order of creation, behind the one with the id ``after``."""
        found = self._records.each(tenant, newest_first=newest_first, after=after)
        return (job for job in found if status is None or job.status is status)

    def cancel(self, tenant: Tenant, job_id: int, caller: str) -> ExportJob:
        """Give a job up: its workers stop, and nothing of it becomes visible; one that is over stays as it is.

        Raises NotFoundError.
        """
        now_ms = self._clock_ms()
        return self._records.change(tenant, job_id, lambda known: known.cancelled(caller, now_ms))

    def progress(self, tenant: Tenant, job: ExportJob) -> Progress:
        """Tell how far a job is that is being worked on."""
        known: Sequence[Checkpoint] = list(self._records.checkpoints(tenant, job.id).values())
        done = sum(checkpoint.done for checkpoint in known)
        return Progress(done, job.shares, sum(checkpoint.counts.profiles for checkpoint in known))

    def _policy(self, tenant: Tenant, configuration: Configuration, choice: PolicyChoice) -> MergePolicy:
        try:
            policy = policy_of(configuration, choice.id)
            if choice.version is None or choice.version == policy.version:
                return policy
            return self._policies.at(tenant, policy.id, choice.version)
        except MergePolicyNotFoundError:
            version = "" if choice.version is None else f", version {choice.version},"
            raise InvalidRequestError(
                f"mergePolicy: the policy {choice.id[:64]}{version} does not exist in this sandbox"
            ) from None
        except UnprocessableError as error:
            raise InvalidRequestError(f"mergePolicy: {error}") from None
