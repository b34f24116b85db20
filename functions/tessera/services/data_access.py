"""Reading back what became of a batch's files and rows (contract: data-and-pql §4.3, diagnostics)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import orjson

from tessera.domain.batch import Batch, BatchStatus
from tessera.domain.errors import InvalidRequestError, NotFoundError
from tessera.domain.tenant import Tenant
from tessera.domain.verdict import VIOLATIONS
from tessera.storage.received import Read, StoredFile

INPUT_FILES = "input_files"
ROW_ERRORS = "row_errors"
SAMPLE = "row_errors_sample.json"
MANIFEST = "export_manifest.json"
MAX_SAMPLE = 100

_FILE_ID = re.compile(r"([0-9A-Z]{26})-([0-9]{1,5})\Z")


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

    def plan(self, tenant: Tenant, batch_id: str) -> Mapping[str, Any] | None:
        """Read which files the batch had when it was complete."""

    def reader(self, tenant: Tenant, batch_id: str, dataset_id: str, file: StoredFile) -> Read:
        """Return what reads a file."""


class Exports(Protocol):
    """The files of batches that exports brought."""

    def manifest(self, tenant: Tenant, batch_id: str) -> Mapping[str, Any]:
        """Read which files a batch has."""

    def reader(self, tenant: Tenant, batch_id: str, file: StoredFile) -> Read:
        """Return what reads a file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory; ``length`` in bytes, 0 for a directory."""

    name: str
    length: int = 0


class DataAccess:
    """What can be read of a batch besides its record."""

    def __init__(self, records: Records, files: Files, exports: Exports) -> None:
        self._records = records
        self._files = files
        self._exports = exports

    def entries(self, tenant: Tenant, batch_id: str, path: str) -> Sequence[Entry] | None:
        """List a directory of a batch's metadata, or return ``None`` when ``path`` names a file.

        Raises NotFoundError for a batch or a directory that is not there.
        """
        batch = self._records.get(tenant, batch_id)
        if not path:
            manifest = [Entry(MANIFEST)] if batch.export_job else []
            return [Entry(INPUT_FILES), Entry(ROW_ERRORS), Entry(SAMPLE), *manifest]
        if path == INPUT_FILES:
            found = self._files.received(tenant, batch_id, batch.dataset_id)
        elif path == ROW_ERRORS:
            found = self._files.rejected(tenant, batch_id)
        elif path in {SAMPLE, MANIFEST} or path.startswith((f"{INPUT_FILES}/", f"{ROW_ERRORS}/")):
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
        if directory in {ROW_ERRORS, SAMPLE}:
            return map(_without_violations, self._rejected(tenant, batch_id, name))
        if path == MANIFEST and batch.export_job:
            return iter([orjson.dumps(self._exports.manifest(tenant, batch_id))])
        if directory != INPUT_FILES:
            raise InvalidRequestError(f"path must be in {INPUT_FILES} or {ROW_ERRORS}")
        for file in self._files.received(tenant, batch_id, batch.dataset_id):
            if file.name == name:
                plan = self._files.plan(tenant, batch_id) or {}
                erased = {"erasedRows": rows} if (rows := plan.get("erased", {}).get(name)) else {}
                return iter([orjson.dumps({"path": name, "sizeInBytes": file.size, "etag": file.etag, **erased})])
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
        self._records.get(tenant, batch_id)
        return (orjson.dumps(_violating(orjson.loads(line))) for line in self._rejected(tenant, batch_id, name))

    def files(self, tenant: Tenant, batch_id: str) -> tuple[Batch, Sequence[StoredFile]]:
        """List the files of a batch as they were when it was complete; none unless it is active.

        Raises NotFoundError.
        """
        batch = self._records.get(tenant, batch_id)
        if batch.status is not BatchStatus.SUCCESS:
            return batch, []
        if batch.export_job:
            exported = self._exports.manifest(tenant, batch_id)["files"]
            return batch, [StoredFile(one["name"], one["bytes"], one["etag"], one["version"]) for one in exported]
        plan = self._files.plan(tenant, batch_id)
        return batch, [] if plan is None else [StoredFile(*file) for file in plan["files"]]

    def file(self, tenant: Tenant, file_id: str) -> tuple[StoredFile, Read]:
        """Look up a file by its id, with what reads it.

        Raises NotFoundError.
        """
        match = _FILE_ID.match(file_id)
        if match is None:
            raise NotFoundError(f"There is no file {file_id[:64]} in this sandbox")
        batch_id, number = match[1], int(match[2])
        batch, files = self.files(tenant, batch_id)
        if number >= len(files):
            raise NotFoundError(f"Batch {batch_id} has no file {number}, or is not active")
        file = files[number]
        if batch.export_job:
            return file, self._exports.reader(tenant, batch_id, file)
        return file, self._files.reader(tenant, batch_id, batch.dataset_id, file)

    def _rejected(self, tenant: Tenant, batch_id: str, name: str) -> Iterator[bytes]:
        """Read the rows of a file of rejected rows; without a name, the first of all of them."""
        if name:
            return iter(self._files.read_rejected(tenant, batch_id, name).splitlines())
        names = (file.name for file in self._files.rejected(tenant, batch_id))
        lines = (line for one in names for line in self._files.read_rejected(tenant, batch_id, one).splitlines())
        return islice(lines, MAX_SAMPLE)


def file_id(batch_id: str, number: int) -> str:
    """Return the id of the file with this number of a batch."""
    return f"{batch_id}-{number}"


def _without_violations(line: bytes) -> bytes:
    if VIOLATIONS.encode() not in line:
        return line
    row = orjson.loads(line)
    row.pop(VIOLATIONS, None)
    return orjson.dumps(row)


def _violating(row: dict[str, Any]) -> dict[str, Any]:
    errors = row.pop("_errors", [])
    violations = row.pop(VIOLATIONS, None) or [[error["code"], error["message"], "#", "#"] for error in errors]
    row["_validationErrors"] = [
        {
            "keyword": keyword,
            "message": message,
            "pointerToViolation": pointer,
            "schemaLocation": location,
            "causingExceptions": [],
        }
        for keyword, message, pointer, location in violations
    ]
    return row
