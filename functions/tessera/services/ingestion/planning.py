"""The first step: which files there are, and who reads what (contract: data-and-pql §5 for the limits)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tessera.domain.batch import Batch, FileFormat
from tessera.domain.tenant import Tenant
from tessera.domain.verdict import EMPTY, FILE_CHANGED, LIMIT_EXCEEDED, UNREADABLE, FileError
from tessera.services.ingestion.chunks import (
    MAX_DOCUMENT_BYTES,
    Chunk,
    ChunkKind,
    byte_ranges,
    chunk_name,
    range_size,
)
from tessera.services.ingestion.ports import Batches, Files
from tessera.services.ingestion.sources import UnreadableFileError
from tessera.storage.lake import FileChangedError, StoredFile

MAX_FILES = 1500
MAX_BATCH_BYTES = 100_000_000_000
_FOOTERS_AT_ONCE = 16


class Planner:
    """Plans a batch, once: the plan is kept, so however often it is asked for every worker sees the same files."""

    def __init__(
        self, batches: Batches, files: Files, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._batches = batches
        self._files = files
        self._clock_ms = clock_ms

    def plan(self, tenant: Tenant, batch_id: str) -> int:
        """Write the plan and the manifest; return how many chunks there are. Raises NotFoundError."""
        batch = self._batches.change(tenant, batch_id, lambda batch: batch.started(self._clock_ms()))
        if batch.terminal or not batch.completed_ms:
            return 0
        plan = self._files.plan(tenant, batch_id)
        if plan is None:
            plan = self._files.write_plan(tenant, batch_id, self._made_from(tenant, batch))
        self._files.write_manifest(tenant, batch_id, plan["chunks"])
        return len(plan["chunks"])

    def _made_from(self, tenant: Tenant, batch: Batch) -> dict[str, Any]:
        files = self._files.received(tenant, batch.id, batch.dataset_id)
        errors = _defects(files)
        chunks: list[Chunk] = []
        if not errors:
            parts, errors = self._parts(tenant, batch, files)
            chunks = [
                Chunk(chunk_name(number), kind, index, file.name, file.etag, file.size, start, end, row_group)
                for number, (index, file, kind, start, end, row_group) in enumerate(parts)
            ]
        return {
            "files": [[file.name, file.size, file.etag] for file in files[:MAX_FILES]],
            "file_count": len(files),
            "bytes": sum(file.size for file in files),
            "errors": [[error.path, error.code, error.message] for error in errors],
            # A batch with an unreadable file fails as a whole: there is nothing to read the others for.
            "chunks": [] if errors else [chunk.to_document() for chunk in chunks],
        }

    def _parts(
        self, tenant: Tenant, batch: Batch, files: Sequence[StoredFile]
    ) -> tuple[list[tuple[int, StoredFile, ChunkKind, int, int, int]], list[FileError]]:
        if batch.format is FileFormat.PARQUET:
            return self._row_groups(tenant, batch, files)
        if batch.multi_line:
            errors = [
                FileError(
                    file.name,
                    LIMIT_EXCEEDED,
                    f"a multi-line JSON file may have {MAX_DOCUMENT_BYTES} bytes, this one has {file.size}; "
                    "write one row per line, which has no such limit",
                )
                for file in files
                if file.size > MAX_DOCUMENT_BYTES
            ]
            return [(i, file, ChunkKind.DOCUMENT, 0, file.size, 0) for i, file in enumerate(files)], errors
        length = range_size([file.size for file in files])
        return [
            (i, file, ChunkKind.LINES, start, end, 0)
            for i, file in enumerate(files)
            for start, end in byte_ranges(file.size, length)
        ], []

    def _row_groups(
        self, tenant: Tenant, batch: Batch, files: Sequence[StoredFile]
    ) -> tuple[list[tuple[int, StoredFile, ChunkKind, int, int, int]], list[FileError]]:
        # Here, because only batches of Parquet need pyarrow, which takes long to load.
        from tessera.services.ingestion import parquet  # noqa: PLC0415

        def read(file: StoredFile) -> list[parquet.RowGroup] | FileError:
            try:
                return parquet.row_groups(
                    self._files.reader(tenant, batch.id, batch.dataset_id, file.name, file.etag), file.size
                )
            except UnreadableFileError as error:
                return FileError(file.name, UNREADABLE, str(error))
            except FileChangedError:
                return FileError(file.name, FILE_CHANGED, "it was overwritten after the batch was complete")

        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            found = list(pool.map(read, files))
        parts = [
            (i, file, ChunkKind.ROW_GROUP, group.first_row, group.first_row + group.rows, group.index)
            for i, (file, groups) in enumerate(zip(files, found, strict=True))
            if not isinstance(groups, FileError)
            for group in groups
        ]
        return parts, [item for item in found if isinstance(item, FileError)]


def _defects(files: Sequence[StoredFile]) -> list[FileError]:
    if not files:
        return [FileError("", EMPTY, "The batch has no files.")]
    if len(files) > MAX_FILES:
        return [FileError("", LIMIT_EXCEEDED, f"A batch may have {MAX_FILES} files, this one has {len(files)}.")]
    total = sum(file.size for file in files)
    if total > MAX_BATCH_BYTES:
        return [FileError("", LIMIT_EXCEEDED, f"A batch may have {MAX_BATCH_BYTES} bytes, this one has {total}.")]
    return [FileError(file.name, EMPTY, "the file is empty") for file in files if not file.size]
