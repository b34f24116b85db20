"""The second step: every row of a chunk is accepted or rejected with a reason (law 4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from tessera.domain.batch import Batch
from tessera.domain.configuration import DatasetKind
from tessera.domain.expiry import BEGINNING_MS
from tessera.domain.rows import UNREADABLE as UNREADABLE_ROW
from tessera.domain.rows import WRONG_TYPE, RowError, RowSchema, accept, expect_unexpired
from tessera.domain.tenant import Tenant
from tessera.domain.upsert import Action
from tessera.domain.verdict import DATASET_GONE, FILE_CHANGED, VIOLATIONS, FileError, Tally
from tessera.services.ingestion.chunks import Chunk, ChunkKind
from tessera.services.ingestion.documents import documents
from tessera.services.ingestion.lines import Read, lines_in
from tessera.services.ingestion.ports import Batches, Configurations, Files, Schemas
from tessera.services.ingestion.sources import UnreadableFileError, check_text, parse
from tessera.services.ingestion.staged import written
from tessera.services.ingestion.tables import DamagedRowError, records
from tessera.storage.received import FileChangedError

VALIDATE = "validate"

_PARSING, _CONVERSION, _VALIDATION = "parsing", "conversion", "validation"


class Validator:
    """Judges chunks."""

    def __init__(self, batches: Batches, configurations: Configurations, files: Files, schemas: Schemas) -> None:
        self._batches = batches
        self._configurations = configurations
        self._files = files
        self._schemas = schemas

    def validate(self, tenant: Tenant, batch_id: str, chunk: Chunk) -> Tally:
        """Store the chunk's accepted rows, its rejected ones with their reasons, and the tally of both.

        What was judged stays so once the batch is accepted.
        """
        batch = self._batches.get(tenant, batch_id)
        if batch.judged and (known := self._files.result(tenant, batch_id, VALIDATE, chunk.chunk)):
            # A batch that stalled is tried again: what was accepted may be applied in part, and its files may have been
            # written anew since, without persons who were erased.
            return Tally.from_document(known)
        judging = _Judging(chunk.path, self._schemas.compiled(tenant, batch.schema, partial=batch.partial_rows))
        dataset = self._configurations.current(tenant).datasets.get(batch.dataset_id)
        if dataset is None:
            judging.tally.file_errors.append(FileError("", DATASET_GONE, "The dataset was deleted."))
        else:
            judging.action = dataset.action
            judging.horizon_ms = batch.horizon_ms
            try:
                self._files.stage(
                    tenant, batch_id, chunk.chunk, self._judged(tenant, batch, chunk, dataset.kind, judging)
                )
            except UnreadableFileError as error:
                judging.tally.file_errors.append(FileError(chunk.path, error.code, str(error)))
            except FileChangedError:
                judging.tally.file_errors.append(
                    FileError(
                        chunk.path, FILE_CHANGED, "it is not there any more as it was when the batch was complete"
                    )
                )
        tally = judging.tally
        tally.rows = tally.accepted + tally.rejected
        tally.outputs = 1 if tally.accepted else 0
        for name, rejected in judging.rejected.items():
            if rejected:
                self._files.reject(tenant, batch_id, f"{name}_errors_{int(chunk.chunk)}.json", rejected)
        self._files.write_result(tenant, batch_id, VALIDATE, chunk.chunk, tally.to_document())
        return tally

    def _judged(
        self, tenant: Tenant, batch: Batch, chunk: Chunk, kind: DatasetKind, judging: _Judging
    ) -> Iterator[bytes]:
        read = self._files.reader(tenant, batch.id, batch.dataset_id, chunk.file)
        if chunk.kind is ChunkKind.ROW_GROUP:
            return judging.values(_row_group(read, chunk), kind)
        if chunk.start == 0:
            check_text(read(0, min(4, chunk.size)))
        if chunk.kind is ChunkKind.CSV:
            return judging.values(records(read, chunk.size, chunk.start, chunk.end), kind)
        if chunk.kind is ChunkKind.DOCUMENT:
            return judging.texts(documents(read(0, chunk.size)), kind)
        return judging.texts(_not_an_array(lines_in(read, chunk.size, chunk.start, chunk.end), chunk), kind)


def _row_group(read: Read, chunk: Chunk) -> Iterator[tuple[int, Any]]:
    # Here, because only batches of Parquet need pyarrow, which takes long to load.
    from tessera.services.ingestion import parquet  # noqa: PLC0415

    return ((chunk.start + number, row) for number, row in parquet.rows(read, chunk.size, chunk.row_group))


def _not_an_array(found: Iterator[tuple[int, bytes]], chunk: Chunk) -> Iterator[tuple[int, bytes]]:
    """Refuse a file that is a JSON array: as lines it would be one bad row, whatever is lost in it (§7, 37)."""
    for number, (position, raw) in enumerate(found):
        if number == 0 and chunk.start == 0 and raw.lstrip()[:1] == b"[":
            raise UnreadableFileError(
                "it is a JSON array: create the batch with isMultiLineJson, or send one row per line"
            )
        yield position, raw


class _Judging:
    """Goes through rows once: yields the accepted ones, keeps the rejected ones and counts both."""

    def __init__(self, path: str, schema: RowSchema | None) -> None:
        self.tally = Tally()
        self.rejected: dict[str, list[bytes]] = {_PARSING: [], _CONVERSION: [], _VALIDATION: []}
        self.action = Action.CREATE
        self.horizon_ms = BEGINNING_MS
        self._path = path
        self._schema = schema

    def texts(self, rows: Iterator[tuple[int, bytes]], kind: DatasetKind) -> Iterator[bytes]:
        """Judge rows that come as text."""
        for position, raw in rows:
            try:
                row, size = parse(raw)
            except RowError as error:
                self._reject(_PARSING, {"_corrupt_record": raw.decode(errors="replace")}, error)
                continue
            line = self._judge(position, row, size, kind)
            if line is not None:
                yield line

    def values(self, rows: Iterator[tuple[int, Any]], kind: DatasetKind) -> Iterator[bytes]:
        """Judge rows that come as values, or as the RowError that stands for one."""
        for position, row in rows:
            if isinstance(row, RowError):
                text = row.text if isinstance(row, DamagedRowError) else f"row {position}"
                self._reject(_PARSING, {"_corrupt_record": text}, row)
                continue
            try:
                size = len(orjson.dumps(row))
            except TypeError as error:
                reason = RowError(UNREADABLE_ROW, f"a value cannot be written as JSON: {error}")
                self._reject(_PARSING, {"_corrupt_record": f"row {position}"}, reason)
                continue
            line = self._judge(position, row, size, kind)
            if line is not None:
                yield line

    def _judge(self, position: int, row: Any, size: int, kind: DatasetKind) -> bytes | None:
        tally = self.tally
        try:
            accepted = accept(row, kind, size, self.action, self._schema)
            expect_unexpired(accepted, self.horizon_ms)
        except RowError as error:
            known = row if isinstance(row, dict) else {"_corrupt_record": orjson.dumps(row).decode()}
            self._reject(_CONVERSION if error.code == WRONG_TYPE else _VALIDATION, known, error)
            return None
        tally.accepted += 1
        tally.size += size
        tally.namespaces |= accepted.namespaces
        return written(position, accepted)

    def _reject(self, stage: str, row: dict[str, Any], error: RowError) -> None:
        self.tally.rejected += 1
        self.tally.codes[error.code] += 1
        told = {**row, "_errors": [{"code": error.code, "message": str(error)}], "_filename": self._path}
        if error.violations:
            told[VIOLATIONS] = [list(one) for one in error.violations]
        self.rejected[stage].append(orjson.dumps(told))
