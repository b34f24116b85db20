"""What ingestion needs of storage."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from tessera.domain.batch import Batch
from tessera.domain.configuration import Configuration
from tessera.domain.place import Place
from tessera.domain.rows import PlacedRow, RowError, RowSchema
from tessera.domain.tenant import Tenant
from tessera.services.ingestion.lines import Read
from tessera.storage.received import StoredFile, Upload


class Batches(Protocol):
    """The records of batches."""

    def get(self, tenant: Tenant, batch_id: str) -> Batch:
        """Read one or raise NotFoundError."""

    def change(self, tenant: Tenant, batch_id: str, mutate: Callable[[Batch], Batch]) -> Batch:
        """Change one atomically, or raise NotFoundError."""


class Configurations(Protocol):
    """The configuration of sandboxes."""

    def current(self, tenant: Tenant) -> Configuration:
        """Read the one in force."""

    def change(self, tenant: Tenant, mutate: Callable[[Configuration], Configuration]) -> Configuration:
        """Make the next version."""


class Schemas(Protocol):
    """The versions of schemas: ``services.schema_versions.SchemaVersions``."""

    def compiled(self, tenant: Tenant, version: str, *, partial: bool) -> RowSchema | None:
        """Return a version by its name, ``None`` for the empty one."""


class Files(Protocol):
    """The files of batches, and what the steps leave for each other."""

    bucket: str

    def received(self, tenant: Tenant, batch_id: str, dataset_id: str) -> list[StoredFile]:
        """List the files in order of their paths."""

    def reader(self, tenant: Tenant, batch_id: str, dataset_id: str, file: StoredFile) -> Read:
        """Return what reads one version of a file."""

    def uploads(self, tenant: Tenant, batch_id: str) -> list[Upload]:
        """List the files that come in parts."""

    def stage(self, tenant: Tenant, batch_id: str, chunk: str, lines: Iterable[bytes]) -> None:
        """Store accepted rows."""

    def staged(self, tenant: Tenant, batch_id: str, chunk: str) -> Iterator[bytes]:
        """Read accepted rows."""

    def reject(self, tenant: Tenant, batch_id: str, name: str, lines: Sequence[bytes]) -> None:
        """Store rejected rows."""

    def manifest_key(self, tenant: Tenant, batch_id: str) -> str:
        """Say where the manifest is."""

    def write_manifest(self, tenant: Tenant, batch_id: str, chunks: Sequence[Mapping[str, Any]]) -> None:
        """Write the manifest."""

    def staged_chunks(self, tenant: Tenant, batch_id: str) -> list[str]:
        """List the chunks that have accepted rows."""

    def write_removals(self, tenant: Tenant, batch_id: str, shares: Sequence[Mapping[str, Any]]) -> None:
        """Write the array of what is to be removed."""

    def write_plan(self, tenant: Tenant, batch_id: str, plan: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write the plan unless there is one; return the one there is."""

    def plan(self, tenant: Tenant, batch_id: str) -> Mapping[str, Any] | None:
        """Read the plan."""

    def write_result(self, tenant: Tenant, batch_id: str, step: str, chunk: str, result: Mapping[str, Any]) -> None:
        """Write what a worker found."""

    def result(self, tenant: Tenant, batch_id: str, step: str, chunk: str) -> Mapping[str, Any] | None:
        """Read what a worker found so far."""

    def results(self, tenant: Tenant, batch_id: str, step: str, chunks: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Read what workers found."""


class Report(Protocol):
    """What became of the rows handed to a writer: where events are that came with a second, different body.

    ``refused`` has the places of rows that were not written, each with the reason.
    """

    conflicts: list[Place]
    refused: dict[Place, RowError]


class Writer(Protocol):
    """Where accepted rows go."""

    def apply(
        self, tenant: Tenant, dataset_id: str, rows: Sequence[PlacedRow], replaced: Collection[str] = ()
    ) -> Report:
        """Write rows, in place of what some batches brought; safe to repeat."""
