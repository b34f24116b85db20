"""What the steps of an export need of storage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from tessera.domain.batch import Batch
from tessera.domain.export.job import Exported, ExportJob
from tessera.domain.export.share import Checkpoint
from tessera.domain.tenant import Tenant
from tessera.storage.person_index import IndexPage
from tessera.storage.received import StoredFile


class Jobs(Protocol):
    """Where jobs are kept: ``storage.exports.ExportStore``."""

    def get(self, tenant: Tenant, job_id: int) -> ExportJob:
        """Read one or raise NotFoundError."""

    def change(self, tenant: Tenant, job_id: int, mutate: Callable[[ExportJob], ExportJob]) -> ExportJob:
        """Change one atomically or raise NotFoundError."""

    def checkpoint(self, tenant: Tenant, job_id: int, share: str) -> Checkpoint:
        """Read how far the worker of a share is."""

    def checkpoints(self, tenant: Tenant, job_id: int) -> dict[str, Checkpoint]:
        """Read how far the workers are that have begun."""

    def advance(self, tenant: Tenant, job_id: int, share: str, before: Checkpoint, after: Checkpoint) -> None:
        """Note how far a worker is, or raise LostRaceError."""

    def settle(self, tenant: Tenant, job_id: int, brought: Sequence[Batch], now_ms: int) -> ExportJob:
        """Make a job succeed and its batches active, all at once, unless it is over."""

    def exported(self, tenant: Tenant, dataset_id: str) -> Exported:
        """Read what exports brought into a dataset."""


class Index(Protocol):
    """Where persons are found: ``storage.person_index.PersonIndex``."""

    def names(self, tenant: Tenant, dataset_ids: Iterable[str], shard: int, *, graphs: bool) -> list[str]:
        """Return the partitions in which the identities of a shard are."""

    def page(self, tenant: Tenant, name: str, after: str, before: str, limit: int) -> IndexPage:
        """List identities of a partition in order."""

    def count(self, tenant: Tenant, name: str) -> int:
        """Count them."""


class Lake(Protocol):
    """What exports keep in the lake: ``storage.export_lake.ExportLake``."""

    def write_plan(self, tenant: Tenant, job_id: int, shares: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Write the array of shares unless there is one; return the one that there is."""

    def plan(self, tenant: Tenant, job_id: int) -> list[Any]:
        """Read the array of shares."""

    def write_part(self, tenant: Tenant, job_id: int, part: str, rows: Sequence[bytes], shape: Any) -> None:
        """Write rows and the shape of them all."""

    def rows(self, tenant: Tenant, job_id: int, part: str) -> bytes:
        """Read the rows of a part, as JSON lines."""

    def shapes(self, tenant: Tenant, job_id: int, parts: Sequence[str]) -> Iterator[Any]:
        """Read the shapes of parts."""

    def write_columns(self, tenant: Tenant, job_id: int, columns: Mapping[str, Any]) -> None:
        """Write the columns of all files."""

    def columns(self, tenant: Tenant, job_id: int) -> Mapping[str, Any]:
        """Read them."""

    def write_files(self, tenant: Tenant, job_id: int, files: Sequence[Mapping[str, Any]]) -> None:
        """Write the array of files that are to be made."""

    def files(self, tenant: Tenant, job_id: int) -> list[Any]:
        """Read it."""

    def write_file(self, tenant: Tenant, batch_id: str, name: str, body: bytes) -> StoredFile:
        """Write a file of a batch."""

    def write_result(self, tenant: Tenant, job_id: int, file: int, result: Mapping[str, Any]) -> None:
        """Note what became of a file."""

    def results(self, tenant: Tenant, job_id: int, files: Iterable[int]) -> Iterator[Mapping[str, Any]]:
        """Read what became of files."""

    def write_manifest(self, tenant: Tenant, batch_id: str, manifest: Mapping[str, Any]) -> None:
        """Write the list of a batch's files."""

    def manifest(self, tenant: Tenant, batch_id: str) -> Mapping[str, Any]:
        """Read it."""

    def point_at(self, tenant: Tenant, dataset_id: str, batches: Mapping[str, Sequence[str]]) -> None:
        """Make queries see these files of a dataset and no other."""

    def remove_batch(self, tenant: Tenant, batch_id: str) -> None:
        """Delete what there is of a batch."""
