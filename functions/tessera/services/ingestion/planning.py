"""The first step: which files there are, and who reads what (contract: data-and-pql §5 for the limits)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from typing import Any

from tessera.domain.batch import Batch, FileFormat
from tessera.domain.tenant import Tenant
from tessera.domain.verdict import EMPTY, FILE_CHANGED, LIMIT_EXCEEDED, UNFINISHED, FileError
from tessera.services.ingestion.chunks import (
    MAX_DOCUMENT_BYTES,
    Chunk,
    ChunkKind,
    byte_ranges,
    chunk_name,
    range_size,
)
from tessera.services.ingestion.ports import Batches, Configurations, Files
from tessera.services.ingestion.sources import UnreadableFileError, check_text
from tessera.services.ingestion.tables import ranges
from tessera.storage.received import FileChangedError, Read, StoredFile

MAX_FILES = 1500
MAX_BATCH_BYTES = 100_000_000_000
# What is surely gone through in the ten minutes that there are.
MAX_CSV_BYTES = 10_000_000_000
_FILES_AT_ONCE = 16

# The number of a file, the file, how it is read, from where to where, and the index of its row group.
Share = tuple[int, StoredFile, ChunkKind, int, int, int]
# What of a file each of its shares is: from where to where, and the index of the row group.
Split = Callable[[Read, int], Sequence[tuple[int, int, int]]]


class Planner:
    """Plans a batch, once: the plan is kept, so however often it is asked for every worker sees the same files."""

    def __init__(
        self,
        batches: Batches,
        configurations: Configurations,
        files: Files,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._batches = batches
        self._configurations = configurations
        self._files = files
        self._clock_ms = clock_ms

    def plan(self, tenant: Tenant, batch_id: str) -> int:
        """Write the plan and the manifest; return how many chunks there are. Raises NotFoundError."""
        configuration = self._configurations.current(tenant)

        def started(batch: Batch) -> Batch:
            # The workers come at different times; a schema that changes meanwhile must not judge half of the rows.
            schema, dataset = configuration.schema_of(batch.dataset_id), configuration.datasets.get(batch.dataset_id)
            if dataset is None:
                return batch.started(self._clock_ms())
            horizon_ms = dataset.horizon_ms(batch.completed_ms)
            version = schema.version if schema is not None else ""
            return batch.started(self._clock_ms(), version, dataset.partial_rows, horizon_ms)

        batch = self._batches.change(tenant, batch_id, started)
        if batch.terminal or not batch.completed_ms:
            return 0
        plan = self._files.plan(tenant, batch_id)
        if plan is None:
            plan = self._files.write_plan(tenant, batch_id, self._made_from(tenant, batch))
        self._files.write_manifest(tenant, batch_id, plan["chunks"])
        return len(plan["chunks"])

    def plan_removals(self, tenant: Tenant, batch_id: str) -> int:
        """Write which chunks of replaced batches are to be gone through; return how many. Raises NotFoundError."""
        batch = self._batches.get(tenant, batch_id)
        shares = [
            {"batch": old, "chunk": chunk}
            for old in batch.predecessors
            for chunk in self._files.staged_chunks(tenant, old)
        ]
        if shares and not batch.terminal:
            self._files.write_removals(tenant, batch_id, shares)
        return len(shares)

    def _made_from(self, tenant: Tenant, batch: Batch) -> dict[str, Any]:
        files = self._files.received(tenant, batch.id, batch.dataset_id)
        errors = _defects(files) + [
            FileError(upload.path, UNFINISHED, "it was begun in parts and never completed")
            for upload in self._files.uploads(tenant, batch.id)
            if upload.open
        ]
        chunks: list[Chunk] = []
        if not errors:
            parts, errors = self._parts(tenant, batch, files)
            chunks = [
                Chunk(
                    chunk_name(number),
                    kind,
                    index,
                    file.name,
                    file.etag,
                    file.size,
                    start,
                    end,
                    row_group,
                    file.version,
                    file.in_parts,
                )
                for number, (index, file, kind, start, end, row_group) in enumerate(parts)
            ]
        return {
            "files": [list(astuple(file)) for file in files[:MAX_FILES]],
            "file_count": len(files),
            "bytes": sum(file.size for file in files),
            "errors": [[error.path, error.code, error.message] for error in errors],
            # A batch with an unreadable file fails as a whole: there is nothing to read the others for.
            "chunks": [] if errors else [chunk.to_document() for chunk in chunks],
        }

    def _parts(self, tenant: Tenant, batch: Batch, files: Sequence[StoredFile]) -> tuple[list[Share], list[FileError]]:
        if batch.format is FileFormat.PARQUET:
            # Here, because only batches of Parquet need pyarrow, which takes long to load.
            from tessera.services.ingestion import parquet  # noqa: PLC0415

            def groups(read: Read, size: int) -> list[tuple[int, int, int]]:
                found = parquet.row_groups(read, size)
                return [(group.first_row, group.first_row + group.rows, group.index) for group in found]

            return self._split(tenant, batch, files, ChunkKind.ROW_GROUP, groups)
        if batch.multi_line:
            return _documents(files)
        length = range_size([file.size for file in files])
        if batch.format is FileFormat.CSV:
            total = sum(file.size for file in files)
            if total > MAX_CSV_BYTES:
                why = f"CSV files of a batch may have {MAX_CSV_BYTES} bytes together, these have {total}"
                return [], [FileError("", LIMIT_EXCEEDED, f"{why}; send them as several batches.")]

            def rows(read: Read, size: int) -> list[tuple[int, int, int]]:
                check_text(read(0, min(4, size)))
                found = ranges(read, size, length) if size > length else [(0, size)]
                return [(start, end, 0) for start, end in found]

            return self._split(tenant, batch, files, ChunkKind.CSV, rows)
        return [
            (i, file, ChunkKind.LINES, start, end, 0)
            for i, file in enumerate(files)
            for start, end in byte_ranges(file.size, length)
        ], []

    def _split(
        self, tenant: Tenant, batch: Batch, files: Sequence[StoredFile], kind: ChunkKind, split: Split
    ) -> tuple[list[Share], list[FileError]]:
        """Look into every file to see how it can be split."""

        def read(file: StoredFile) -> Sequence[tuple[int, int, int]] | FileError:
            try:
                return split(self._files.reader(tenant, batch.id, batch.dataset_id, file), file.size)
            except UnreadableFileError as error:
                return FileError(file.name, error.code, str(error))
            except FileChangedError:
                return FileError(file.name, FILE_CHANGED, "it is not there any more")

        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            found = list(pool.map(read, files))
        parts = [
            (i, file, kind, start, end, row_group)
            for i, (file, shares) in enumerate(zip(files, found, strict=True))
            if not isinstance(shares, FileError)
            for start, end, row_group in shares
        ]
        return parts, [item for item in found if isinstance(item, FileError)]


def _documents(files: Sequence[StoredFile]) -> tuple[list[Share], list[FileError]]:
    """Give every file to one worker, which reads it at once."""
    errors = [
        FileError(
            file.name,
            LIMIT_EXCEEDED,
            f"a multi-line JSON file may have {MAX_DOCUMENT_BYTES} bytes, this one has {file.size}; write one row per "
            "line, which has no such limit",
        )
        for file in files
        if file.size > MAX_DOCUMENT_BYTES
    ]
    return [(i, file, ChunkKind.DOCUMENT, 0, file.size, 0) for i, file in enumerate(files)], errors


def _defects(files: Sequence[StoredFile]) -> list[FileError]:
    if not files:
        return [FileError("", EMPTY, "The batch has no files.")]
    if len(files) > MAX_FILES:
        return [FileError("", LIMIT_EXCEEDED, f"A batch may have {MAX_FILES} files, this one has {len(files)}.")]
    total = sum(file.size for file in files)
    if total > MAX_BATCH_BYTES:
        return [FileError("", LIMIT_EXCEEDED, f"A batch may have {MAX_BATCH_BYTES} bytes, this one has {total}.")]
    return [FileError(file.name, EMPTY, "the file is empty") for file in files if not file.size]
