"""The first rows of a batch as a table, before anybody judges them (contract: data-and-pql §4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import orjson

from tessera.domain.batch import FileFormat
from tessera.domain.errors import InvalidRequestError
from tessera.domain.rows import RowError
from tessera.domain.tenant import Tenant
from tessera.services.ingestion.documents import documents
from tessera.services.ingestion.lines import Read, lines_in
from tessera.services.ingestion.sources import UnreadableFileError, check_text, parse
from tessera.services.ingestion.tables import DamagedRowError, records
from tessera.storage.received import StoredFile

# Of each file: enough for any row, and little enough to be read while a caller waits.
_BEGINNING = 2_000_000
_MAX_BYTES = 2_000_000
_CORRUPT = "_corrupt_record"


class Files(Protocol):
    """The files of batches."""

    def received(self, tenant: Tenant, batch_id: str, dataset_id: str) -> list[StoredFile]:
        """List them in order of their paths."""

    def reader(self, tenant: Tenant, batch_id: str, dataset_id: str, file: StoredFile) -> Read:
        """Return what reads one."""


@dataclass(frozen=True, slots=True)
class Preview:
    """Column names, a slash between steps of a path, and rows: what each has under the number of a column, as text."""

    columns: list[str]
    rows: list[dict[int, str]]


def preview(
    files: Files, tenant: Tenant, batch_id: str, dataset_id: str, form: FileFormat, multi_line: bool, count: int
) -> Preview:
    """Read the first rows of the files that a batch has so far, if they are written in this form.

    Raises InvalidRequestError when a file is not.
    """
    columns: dict[str, int] = {}
    rows: list[dict[int, str]] = []
    size = 0
    for row in islice(_rows(files, tenant, batch_id, dataset_id, form, multi_line), count):
        cells = list(_cells(row))
        size += sum(len(name) + len(text) for name, text in cells)
        if rows and size > _MAX_BYTES:
            break
        rows.append({columns.setdefault(name, len(columns)): text for name, text in cells})
    return Preview(list(columns), rows)


def _rows(
    files: Files, tenant: Tenant, batch_id: str, dataset_id: str, form: FileFormat, multi_line: bool
) -> Iterator[Any]:
    for file in files.received(tenant, batch_id, dataset_id):
        read = files.reader(tenant, batch_id, dataset_id, file)
        try:
            if file.size:
                yield from _rows_of(read, file.size, form, multi_line)
        except UnreadableFileError as error:
            raise InvalidRequestError(f"{file.name}: {error}") from None


def _rows_of(read: Read, size: int, form: FileFormat, multi_line: bool) -> Iterator[Any]:
    if form is FileFormat.PARQUET:
        # Here, because only files of Parquet need pyarrow, which takes long to load.
        from tessera.services.ingestion import parquet  # noqa: PLC0415

        for group in parquet.row_groups(read, size):
            yield from (row for _, row in parquet.rows(read, size, group.index))
        return
    check_text(read(0, min(4, size)))
    end = min(size, _BEGINNING)
    if form is FileFormat.CSV:
        yield from (row for _, row in records(read, size, 0, end))
    elif multi_line:
        yield from map(_parsed, _documents(read(0, end), cut=end < size))
    else:
        yield from (_parsed(raw) for _, raw in lines_in(read, size, 0, end))


def _documents(body: bytes, *, cut: bool) -> Iterator[bytes]:
    """Walk the rows of a document, of one that is cut off those that are whole."""
    if cut:
        body = body.decode(errors="ignore").encode()
    try:
        for _, raw in documents(body):
            yield raw
    except UnreadableFileError:
        if not cut:
            raise


def _parsed(raw: bytes) -> Any:
    try:
        return parse(raw)[0]
    except RowError as error:
        return DamagedRowError(str(error), raw.decode(errors="replace"))


def _cells(row: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Walk what a row has in its columns; a list is one value, and so is what is no row."""
    if isinstance(row, RowError):
        yield _CORRUPT, row.text if isinstance(row, DamagedRowError) else str(row)
    elif not isinstance(row, dict):
        yield path or _CORRUPT, row if isinstance(row, str) else orjson.dumps(row).decode()
    else:
        for name, value in row.items():
            if value is not None:
                yield from _cells(value, f"{path}/{name}" if path else name)
