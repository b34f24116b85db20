"""What the steps of a sample need of storage, and of who runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from tessera.domain.batch import Batch
from tessera.domain.identity import Xid
from tessera.domain.sample.job import Checkpoint, SampleState
from tessera.domain.tenant import Tenant
from tessera.storage.holdings import Holding


class States(Protocol):
    """Where the state of samples is kept: ``storage.samples.SampleStore``."""

    def state(self, tenant: Tenant) -> SampleState:
        """Read what is known of a sandbox's samples."""

    def change(self, tenant: Tenant, mutate: Callable[[SampleState], SampleState]) -> SampleState:
        """Change it atomically."""

    def put_day(self, tenant: Tenant, day: str, document: Mapping[str, Any]) -> None:
        """Note what the last job of a day found."""

    def day(self, tenant: Tenant, day: str) -> Mapping[str, Any] | None:
        """Read what the last job of a day found."""

    def checkpoint(self, tenant: Tenant, job_id: str, share: str) -> Checkpoint:
        """Read how far the worker of a share is."""

    def checkpoints(self, tenant: Tenant, job_id: str) -> dict[str, Checkpoint]:
        """Read how far the workers are that have begun."""

    def advance(self, tenant: Tenant, job_id: str, share: str, before: Checkpoint, after: Checkpoint) -> None:
        """Note how far a worker is, or raise LostRaceError."""


class Lake(Protocol):
    """What samples keep in the lake: ``storage.sample_lake.SampleLake``."""

    def write_plan(self, tenant: Tenant, job_id: str, shares: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Write the array of shares unless there is one; return the one that there is."""

    def plan(self, tenant: Tenant, job_id: str) -> list[Any]:
        """Read the array of shares."""

    def write_tally(self, tenant: Tenant, job_id: str, name: str, tally: Mapping[str, Any]) -> None:
        """Write what a worker has counted."""

    def tallies(self, tenant: Tenant, job_id: str, names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Read what workers have counted."""

    def write_reports(self, tenant: Tenant, job_id: str, reports: Mapping[str, Any]) -> None:
        """Write all reports of a job."""

    def reports(self, tenant: Tenant, job_id: str) -> Mapping[str, Any] | None:
        """Read all reports of a job, ``None`` when they are not kept any more."""


class Items(Protocol):
    """Where items are looked at one by one: ``storage.holdings.Holdings``."""

    def of(self, tenant: Tenant, xid: Xid) -> Iterator[Holding]:
        """Walk all items of an identity."""


class Batches(Protocol):
    """Where batches are kept: ``storage.batches.BatchStore``."""

    def each(self, tenant: Tenant) -> Iterator[Batch]:
        """Walk the sandbox's batches, the newest first."""


class Machine(Protocol):
    """What takes samples: ``storage.executions.Executions``."""

    def start(self, name: str, document: Mapping[str, Any]) -> None:
        """Start an execution unless there was one of that name."""
