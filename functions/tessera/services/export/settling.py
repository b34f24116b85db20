"""The steps in which all that the workers did comes together: what the columns are, and making it visible."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tessera.domain.batch import Batch, BatchStatus, FileFormat
from tessera.domain.export.job import ExportJob, ExportStatus
from tessera.domain.export.shape import Column, Shape, columns_of
from tessera.domain.export.share import Checkpoint, Counts, Part, Share
from tessera.domain.tenant import Tenant
from tessera.services.export.planning import expect_exportable
from tessera.services.export.ports import Jobs, Lake
from tessera.services.lease import Configurations

# Of rows as JSON; compressed columns take a tenth of it.
MAX_FILE_BYTES = 256_000_000
MAX_FILE_PARTS = 500


class Settler:
    """Settles the columns, and in the end the job. Each step is safe to repeat and leaves a job alone that is over."""

    def __init__(
        self,
        jobs: Jobs,
        configurations: Configurations,
        lake: Lake,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._jobs = jobs
        self._configurations = configurations
        self._lake = lake
        self._clock_ms = clock_ms

    def settle_columns(self, tenant: Tenant, job_id: int) -> int:
        """Decide what the columns are and what becomes a file; return how many files there will be.

        Raises NotFoundError, and RuntimeError when a share is not done.
        """
        job = self._jobs.get(tenant, job_id)
        if job.terminal:
            return 0
        done = self._checkpoints(tenant, job_id)
        parts = [part for checkpoint in done for part in checkpoint.parts]
        shape = Shape()
        for document in self._lake.shapes(tenant, job_id, [part.name for part in parts]):
            shape.unite(Shape.from_document(document))
        columns = {path.partition(".")[0]: Column("string") for path in job.wanted.fields} | columns_of(shape)
        columns = dict(sorted(columns.items()))
        self._lake.write_columns(tenant, job_id, {name: column.to_document() for name, column in columns.items()})
        files = _files(job, parts)
        self._lake.write_files(tenant, job_id, files)
        counts = asdict(Counts.total(checkpoint.counts for checkpoint in done))
        job = self._jobs.change(tenant, job_id, lambda known: known.gathered(len(files), counts, self._clock_ms()))
        return 0 if job.terminal else len(files)

    def finish(self, tenant: Tenant, job_id: int) -> None:
        """Make what was written visible, all at once, in place of what the dataset had (contract: §3.6).

        Raises NotFoundError, RuntimeError when a file is missing, and InvalidRequestError when the dataset is.
        """
        job = self._jobs.get(tenant, job_id)
        if not job.terminal:
            expect_exportable(self._configurations.current(tenant), job.wanted.dataset_id)
            manifests = self._manifests(tenant, job)
            for batch_id, manifest in manifests.items():
                self._lake.write_manifest(tenant, batch_id, manifest)
            now_ms = self._clock_ms()
            brought = [_batch(job, batch_id, manifest, now_ms) for batch_id, manifest in manifests.items()]
            job = self._jobs.settle(tenant, job_id, brought, now_ms)
        if job.status is ExportStatus.FAILED:
            self._remove(tenant, job.batches)
        else:
            self._show(tenant, job.wanted.dataset_id)

    def fail(self, tenant: Tenant, job_id: int, reason: str) -> None:
        """Note that the machine gave up: nothing of what it wrote is visible. Raises NotFoundError."""
        job = self._jobs.change(tenant, job_id, lambda known: known.failed(reason, self._clock_ms()))
        if job.status is ExportStatus.FAILED:
            self._remove(tenant, job.batches)

    def _checkpoints(self, tenant: Tenant, job_id: int) -> list[Checkpoint]:
        known = self._jobs.checkpoints(tenant, job_id)
        done = []
        for document in self._lake.plan(tenant, job_id):
            name = Share(**document).name
            checkpoint = known.get(name)
            if checkpoint is None or not checkpoint.done:
                raise RuntimeError(f"share {name} of export job {job_id} is not done")
            done.append(checkpoint)
        return done

    def _manifests(self, tenant: Tenant, job: ExportJob) -> dict[str, dict[str, Any]]:
        columns = {name: Column.from_document(one) for name, one in self._lake.columns(tenant, job.id).items()}
        described = {
            "job": job.id,
            "dataset": job.wanted.dataset_id,
            "tenant": tenant.key,
            "mergePolicy": {"id": job.policy.id, "version": job.policy.version},
            "columns": [{"name": name, "type": column.hive_type()} for name, column in columns.items()],
            "keptAsText": {
                path: list(types) for name, column in columns.items() for path, types in column.conflicts((name,))
            },
        }
        manifests: dict[str, dict[str, Any]] = {
            batch_id: {**described, "batch": batch_id, "rows": 0, "bytes": 0, "files": []} for batch_id in job.batches
        }
        files = self._lake.files(tenant, job.id)
        for result in self._lake.results(tenant, job.id, range(len(files))):
            manifest = manifests[result["batch"]]
            manifest["files"].append({key: value for key, value in result.items() if key not in {"v", "batch"}})
            manifest["rows"] += result["rows"]
            manifest["bytes"] += result["bytes"]
        planned = sum(file["rows"] for file in files)
        written = sum(manifest["rows"] for manifest in manifests.values())
        if written != planned:
            raise RuntimeError(f"{written} rows of export job {job.id} are in its files, not {planned}")
        return manifests

    def _show(self, tenant: Tenant, dataset_id: str) -> None:
        """Let queries of the lake see what is active of a dataset, whichever job brought it; delete what is not."""
        exported = self._jobs.exported(tenant, dataset_id)
        while True:
            names = {
                batch_id: [file["name"] for file in self._lake.manifest(tenant, batch_id)["files"]]
                for batch_id in exported.batches
            }
            self._lake.point_at(tenant, dataset_id, names)
            # Of two jobs that end at once, the one that looked earlier may have written later.
            if (now := self._jobs.exported(tenant, dataset_id)) == exported:
                break
            exported = now
        self._remove(tenant, exported.replaced)

    def _remove(self, tenant: Tenant, batches: Sequence[str]) -> None:
        """Delete files that nobody is to see any more; who is reading one has it by its version."""
        for batch_id in batches:
            self._lake.remove_batch(tenant, batch_id)


def _files(job: ExportJob, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Put parts of the same batch together to files of bounded size."""
    files: list[dict[str, Any]] = []
    for number, batch_id in enumerate(job.batches):
        for several in _groups([part for part in parts if part.batch == number]):
            files.append(
                {
                    "file": len(files),
                    "batch": batch_id,
                    "rows": sum(part.rows for part in several),
                    "parts": [[part.name, part.longest] for part in several],
                }
            )
    return files


def _groups(parts: Sequence[Part]) -> Iterator[list[Part]]:
    group: list[Part] = []
    size = 0
    for part in parts:
        if group and (size + part.bytes > MAX_FILE_BYTES or len(group) == MAX_FILE_PARTS):
            yield group
            group, size = [], 0
        group.append(part)
        size += part.bytes
    if group:
        yield group


def _batch(job: ExportJob, batch_id: str, manifest: Mapping[str, Any], now_ms: int) -> Batch:
    rows, size = manifest["rows"], manifest["bytes"]
    return Batch(
        batch_id,
        job.wanted.dataset_id,
        job.created_ms,
        job.created_by,
        format=FileFormat.PARQUET,
        status=BatchStatus.SUCCESS,
        updated_ms=now_ms,
        updated_by=job.created_by,
        completed_ms=job.gathered_ms,
        started_ms=job.started_ms,
        finished_ms=now_ms,
        external_id=batch_id,
        tags={"exportJob": [str(job.id)]},
        metrics={
            "inputRecordCount": rows,
            "outputRecordCount": rows,
            "failedRecordCount": 0,
            "outputByteSize": size,
            "outputFileCount": len(manifest["files"]),
        },
        export_job=job.id,
    )
