"""Reading back what became of a batch's files and rows (contract: data-and-pql §4.3, diagnostics)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from tessera.domain.batch import Batch
from tessera.domain.errors import InvalidRequestError, NotFoundError
from tessera.domain.tenant import Tenant
from tessera.storage.lake import StoredFile

INPUT_FILES = "input_files"
ROW_ERRORS = "row_errors"


class Records(Protocol):
    """Where batches are kept."""

    def get(self, tenant: Tenant, batch_id: str) -> Batch:
        """Read one or raise NotFoundError."""


class Files(Protocol):
    """The files of batches."""

    def received(self, tenant: Tenant, batch_id: str, dataset_id: str) -> list[StoredFile]:
        """List the files as received."""

    def rejected(self, tenant: Tenant, batch_id: str) -> list[StoredFile]:
        """List the files of rejected rows."""

    def read_rejected(self, tenant: Tenant, batch_id: str, name: str) -> bytes:
        """Read one, or raise NotFoundError."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory; ``length`` in bytes, 0 for a directory."""

    name: str
    length: int = 0


class DataAccess:
    """What can be read of a batch besides its record."""

    def __init__(self, records: Records, files: Files) -> None:
        self._records = records
        self._files = files

    def entries(self, tenant: Tenant, batch_id: str, path: str) -> Sequence[Entry] | None:
        """List a directory of a batch's metadata, or return ``None`` when ``path`` names a file.

        Raises NotFoundError for a batch or a directory that is not there.
        """
        batch = self._records.get(tenant, batch_id)
        if not path:
            return [Entry(INPUT_FILES), Entry(ROW_ERRORS)]
        if path == INPUT_FILES:
            found = self._files.received(tenant, batch_id, batch.dataset_id)
        elif path == ROW_ERRORS:
            found = self._files.rejected(tenant, batch_id)
        elif path.startswith((f"{INPUT_FILES}/", f"{ROW_ERRORS}/")):
            return None
        else:
            raise NotFoundError(f"Batch {batch_id} has no metadata at {path[:64]}: see {INPUT_FILES} or {ROW_ERRORS}")
        return [Entry(f"{path}/{file.name}", file.size) for file in found]

    def lines(self, tenant: Tenant, batch_id: str, path: str) -> Iterator[bytes]:
        """Read a file of a batch's metadata as JSON lines.

        Raises NotFoundError, and InvalidRequestError for an unusable path.
        """
        batch = self._records.get(tenant, batch_id)
        directory, _, name = path.partition("/")
        if directory == ROW_ERRORS:
            return iter(self._files.read_rejected(tenant, batch_id, name).splitlines())
        if directory != INPUT_FILES:
            raise InvalidRequestError(f"path must be in {INPUT_FILES} or {ROW_ERRORS}")
        for file in self._files.received(tenant, batch_id, batch.dataset_id):
            if file.name == name:
                return iter([orjson.dumps({"path": file.name, "sizeInBytes": file.size, "etag": file.etag})])
        raise NotFoundError(f"Batch {batch_id} has no file {name[:64]}")

    def failed(self, tenant: Tenant, batch_id: str) -> Sequence[Entry]:
        """List the files of rejected rows by their bare names.

        Raises NotFoundError.
        """
        self._records.get(tenant, batch_id)
        return [Entry(file.name, file.size) for file in self._files.rejected(tenant, batch_id)]

    def failed_rows(self, tenant: Tenant, batch_id: str, name: str) -> Iterator[bytes]:
        """Read a file of rejected rows in the form that says what violates what.

        Raises NotFoundError, and InvalidRequestError for an unusable name.
        """
        return (
            orjson.dumps(_violating(orjson.loads(line)))
            for line in self.lines(tenant, batch_id, f"{ROW_ERRORS}/{name}")
        )


def _violating(row: dict[str, Any]) -> dict[str, Any]:
    errors = row.pop("_errors", [])
    row["_validationErrors"] = [
        {
            "keyword": error["code"],
            "message": error["message"],
            "pointerToViolation": "#",
            "schemaLocation": "#",
            "causingExceptions": [],
        }
        for error in errors
    ]
    return row
