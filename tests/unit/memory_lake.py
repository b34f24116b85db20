"""What ingestion needs of storage, in memory (``services.ingestion.ports``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from tessera.domain.batch import Batch
from tessera.domain.configuration import Configuration
from tessera.domain.tenant import Tenant
from tessera.services.ingestion.lines import Read
from tessera.storage.received import StoredFile, Upload


class MemoryBatches:
    """One batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def get(self, tenant: Tenant, batch_id: str) -> Batch:
        return self.batch

    def change(self, tenant: Tenant, batch_id: str, mutate: Callable[[Batch], Batch]) -> Batch:
        self.batch = mutate(self.batch)
        return self.batch


class MemoryConfigurations:
    """One configuration."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration

    def current(self, tenant: Tenant) -> Configuration:
        return self.configuration

    def change(self, tenant: Tenant, mutate: Callable[[Configuration], Configuration]) -> Configuration:
        self.configuration = mutate(self.configuration)
        return self.configuration


class NoSchemas:
    """Rows are judged by no schema."""

    def compiled(self, tenant: Tenant, version: str, *, partial: bool) -> None:
        return None


class MemoryLake:
    """The files of one batch, and what its steps leave for each other; documents go through JSON as in storage."""

    bucket = "memory"

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.accepted: dict[str, list[bytes]] = {}
        self.rejected: dict[str, list[bytes]] = {}
        self.manifest: list[dict[str, Any]] = []
        self._documents: dict[str, bytes] = {}

    def received(self, tenant: Tenant, batch_id: str, dataset_id: str) -> list[StoredFile]:
        return [StoredFile(name, len(body), "etag") for name, body in sorted(self.files.items())]

    def reader(self, tenant: Tenant, batch_id: str, dataset_id: str, file: StoredFile) -> Read:
        body = self.files[file.name]
        return lambda start, end: body[start:end]

    def uploads(self, tenant: Tenant, batch_id: str) -> list[Upload]:
        return []

    def stage(self, tenant: Tenant, batch_id: str, chunk: str, lines: Iterable[bytes]) -> None:
        self.accepted[chunk] = list(lines)

    def staged(self, tenant: Tenant, batch_id: str, chunk: str) -> Iterator[bytes]:
        return iter(self.accepted.get(chunk, ()))

    def staged_chunks(self, tenant: Tenant, batch_id: str) -> list[str]:
        return sorted(self.accepted)

    def reject(self, tenant: Tenant, batch_id: str, name: str, lines: Sequence[bytes]) -> None:
        self.rejected[name] = list(lines)

    def manifest_key(self, tenant: Tenant, batch_id: str) -> str:
        return "manifest"

    def write_manifest(self, tenant: Tenant, batch_id: str, chunks: Sequence[Mapping[str, Any]]) -> None:
        self.manifest = orjson.loads(orjson.dumps(chunks))

    def write_removals(self, tenant: Tenant, batch_id: str, shares: Sequence[Mapping[str, Any]]) -> None:
        raise NotImplementedError

    def write_plan(self, tenant: Tenant, batch_id: str, plan: Mapping[str, Any]) -> Mapping[str, Any]:
        self._documents.setdefault("plan", orjson.dumps(plan))
        found: dict[str, Any] = orjson.loads(self._documents["plan"])
        return found

    def plan(self, tenant: Tenant, batch_id: str) -> Mapping[str, Any] | None:
        return self._read("plan")

    def write_result(self, tenant: Tenant, batch_id: str, step: str, chunk: str, result: Mapping[str, Any]) -> None:
        self._documents[f"{step}/{chunk}"] = orjson.dumps(result)

    def result(self, tenant: Tenant, batch_id: str, step: str, chunk: str) -> Mapping[str, Any] | None:
        return self._read(f"{step}/{chunk}")

    def results(self, tenant: Tenant, batch_id: str, step: str, chunks: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        for chunk in chunks:
            found = self.result(tenant, batch_id, step, chunk)
            assert found is not None
            yield found

    def _read(self, name: str) -> Mapping[str, Any] | None:
        body = self._documents.get(name)
        return None if body is None else orjson.loads(body)
