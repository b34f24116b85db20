"""Files that arrive in the drop folder become batches (contract: data-and-pql §4.2; decision 44).

One version of one object is one batch: its id is made of the two, so however often and however late storage tells of an
object, it is the same batch. The object goes only after the batch is complete, and a step that died is done over.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from tessera.domain.batch import Batch, BatchStatus, FileFormat
from tessera.domain.errors import InvalidRequestError, NotFoundError
from tessera.domain.tenant import Tenant, digest
from tessera.domain.ulid import ulid
from tessera.domain.verdict import UNREADABLE
from tessera.services.batches import Batches, WantedBatch
from tessera.storage.drop_folder import DROPPED, DamagedArchiveError, DroppedFile
from tessera.storage.registry import LostRaceError

CALLER = "drop-folder"

_FORMATS = {
    ".json": FileFormat.JSON,
    ".jsonl": FileFormat.JSON,
    ".ndjson": FileFormat.JSON,
    ".csv": FileFormat.CSV,
    ".parquet": FileFormat.PARQUET,
}
_PACKED = ".gz"


class Folder(Protocol):
    """Where files are dropped: ``storage.drop_folder.DropFolder``."""

    def find(self, key: str, version: str) -> DroppedFile | None:
        """Look up a version of an object."""

    def beginning(self, file: DroppedFile, *, packed: bool) -> bytes:
        """Read its first bytes, unpacked, or raise DamagedArchiveError."""

    def copy(self, file: DroppedFile, key: str) -> None:
        """Copy it."""

    def unpack(self, file: DroppedFile, key: str) -> None:
        """Unpack it, or raise DamagedArchiveError."""

    def remove(self, file: DroppedFile) -> None:
        """Remove it."""

    def set_aside(self, file: DroppedFile, reason: str) -> None:
        """Copy it to where rejected ones are, with the reason."""


class Records(Protocol):
    """Where batches are kept."""

    def get(self, tenant: Tenant, batch_id: str) -> Batch:
        """Read one or raise NotFoundError."""


@dataclass(frozen=True, slots=True)
class _Address:
    """What the key of a dropped file says; ``path`` is the file's in its batch."""

    tenant: Tenant
    dataset_id: str
    path: str
    format: FileFormat
    packed: bool


class Drop:
    """Takes dropped files; ``key_of`` says where a batch keeps a file of a path, or refuses the path."""

    def __init__(
        self, folder: Folder, records: Records, batches: Batches, key_of: Callable[[Tenant, str, str, str], str]
    ) -> None:
        self._folder = folder
        self._records = records
        self._batches = batches
        self._key_of = key_of

    def take(self, key: str, version: str) -> str | None:
        """Make a batch of a dropped file and return its id; ``None`` when there is nothing to take (any more).

        A file that no batch can be made of is put aside with the reason. Safe to repeat at any time.
        """
        # Programs that show keys as folders put empty objects there for them.
        file = None if key.endswith("/") else self._folder.find(key, version)
        if file is None:
            return None
        batch_id = _batch_id(file)
        taken: str | None = batch_id
        try:
            at = _address(key)
            self._fill(at, file, batch_id)
        except (InvalidRequestError, NotFoundError) as refused:
            self._folder.set_aside(file, str(refused))
            taken = None
        except DamagedArchiveError as damaged:
            reason = {"code": UNREADABLE, "description": f"{at.path}: {damaged}"}
            self._folder.set_aside(file, str(damaged))
            self._batches.give_up(at.tenant, batch_id, BatchStatus.FAILED, CALLER, (reason,))
        self._folder.remove(file)
        return taken

    def _fill(self, at: _Address, file: DroppedFile, batch_id: str) -> None:
        target = self._key_of(at.tenant, batch_id, at.dataset_id, at.path)
        batch = self._found(at.tenant, batch_id) or self._created(at, file, batch_id)
        if not batch.completed_ms:
            if at.packed:
                self._folder.unpack(file, target)
            else:
                self._folder.copy(file, target)
        self._batches.complete(at.tenant, batch_id, CALLER)

    def _found(self, tenant: Tenant, batch_id: str) -> Batch | None:
        with suppress(NotFoundError):
            return self._records.get(tenant, batch_id)
        return None

    def _created(self, at: _Address, file: DroppedFile, batch_id: str) -> Batch:
        wanted = WantedBatch(
            at.dataset_id,
            at.format,
            multi_line=at.format is FileFormat.JSON and self._is_document(at, file),
            diagnostics=True,
            external_id=at.path,
        )
        try:
            return self._batches.create(at.tenant, wanted, CALLER, batch_id)
        except LostRaceError:
            return self._records.get(at.tenant, batch_id)

    def _is_document(self, at: _Address, file: DroppedFile) -> bool:
        """Tell JSON over several lines from JSON lines: an array, or an object that whoever wrote it indented."""
        if not at.path.lower().endswith(".json"):
            return False
        try:
            beginning = self._folder.beginning(file, packed=at.packed)
        except DamagedArchiveError:
            # Told when it is unpacked, with the batch that it fails.
            return False
        text = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
        return text.startswith(b"[") or text.partition(b"\n")[0].strip() == b"{"


def _address(key: str) -> _Address:
    """Read a key. Raises InvalidRequestError, saying how a key is made."""
    org_id, _, rest = key.removeprefix(DROPPED).partition("/")
    sandbox, _, rest = rest.partition("/")
    dataset_id, _, path = rest.partition("/")
    if not (org_id and sandbox and dataset_id and path):
        raise InvalidRequestError("a file is dropped at drop/{organisation}/{sandbox}/{dataset id}/{file}")
    packed = path.lower().endswith(_PACKED)
    path = path[: -len(_PACKED)] if packed else path
    found = next((form for ending, form in _FORMATS.items() if path.lower().endswith(ending)), None)
    if found is None or (packed and found is FileFormat.PARQUET):
        raise InvalidRequestError(
            f"the name of a dropped file ends with {', '.join(_FORMATS)}, and those of text may end with {_PACKED} "
            "besides: that says how it is read"
        )
    return _Address(Tenant(org_id, sandbox), dataset_id, path, found, packed)


def _batch_id(file: DroppedFile) -> str:
    return ulid(file.modified_ms, int.from_bytes(digest(10, b"tessera.drop", file.key, file.version), "big"))
