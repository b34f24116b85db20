"""What taking rows out of the lake needs of storage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from tessera.domain.batch import Batch
from tessera.domain.configuration import Configuration
from tessera.domain.erasure import Erasure, Look
from tessera.domain.graph import Head
from tessera.domain.identity import Xid
from tessera.domain.tenant import Tenant
from tessera.storage.received import StoredFile, Upload
from tessera.storage.row_objects import Content, RowObject


class Erasures(Protocol):
    """Where erasures are kept: ``storage.erasures.ErasureStore``."""

    def get(self, tenant: Tenant, job_id: str) -> Erasure:
        """Read one or raise NotFoundError."""

    def change(self, tenant: Tenant, job_id: str, mutate: Callable[[Erasure], Erasure]) -> Erasure:
        """Change one atomically or raise NotFoundError."""

    def note_look(self, tenant: Tenant, job_id: str, look: Look) -> None:
        """Note what a reading of the lake found."""

    def looks(self, tenant: Tenant, job_id: str) -> list[Look]:
        """Read what the readings of the lake found."""


class Lists(Protocol):
    """Where lists of persons are: ``storage.erasure_lake.ErasureLake``."""

    def reached(self, tenant: Tenant, job_id: str, part: int) -> list[Xid]:
        """Read whom a part reaches."""

    def unseen(self, tenant: Tenant, job_id: str, part: int) -> list[Xid]:
        """Read of whom of a part the profile store knows nothing."""


class Heads(Protocol):
    """Where heads are read."""

    def heads(self, tenant: Tenant, xids: Iterable[Xid]) -> dict[Xid, Head]:
        """Read the heads that exist."""


class Batches(Protocol):
    """The records of batches."""

    def get(self, tenant: Tenant, batch_id: str) -> Batch:
        """Read one or raise NotFoundError."""

    def each(self, tenant: Tenant, *, newest_first: bool = True) -> Iterator[Batch]:
        """Walk them in order of creation."""


class Configurations(Protocol):
    """The configuration of sandboxes."""

    def current(self, tenant: Tenant) -> Configuration:
        """Read the one in force."""


class Schemas(Protocol):
    """The versions of schemas as they are stored: ``storage.registry.Registry``."""

    def get(self, partition: str, sort: str) -> dict[str, Any] | None:
        """Read one document."""


class Plans(Protocol):
    """The plans of batches: ``storage.lake.Lake``."""

    def plan(self, tenant: Tenant, batch_id: str) -> Mapping[str, Any] | None:
        """Read one."""

    def note_rewritten(
        self, tenant: Tenant, batch_id: str, name: str, version: str, file: StoredFile, rows: int
    ) -> None:
        """Note that a version of a file was written anew without some rows."""


class Objects(Protocol):
    """The objects with rows: ``storage.row_objects.RowObjects``."""

    def walk(self, tenant: Tenant) -> Iterator[RowObject]:
        """Walk all objects of a sandbox that can hold rows, and what lies beside them."""

    def versions(self, key: str) -> RowObject:
        """List the versions of one object."""

    def waiting(self, tenant: Tenant) -> Iterator[str]:
        """Walk the keys of files in the drop folder, and of those that no batch could be made of."""

    def content(self, tenant: Tenant, key: str, version: str = "") -> Content | None:
        """Look a version up, by default the latest."""

    def replace(self, before: Content, current: Content, body: bytes) -> StoredFile | None:
        """Write an object anew, ``None`` if somebody else has."""

    def begin(self, before: Content) -> str:
        """Begin to write an object anew part by part."""

    def write_part(self, key: str, upload: str, number: int, body: bytes) -> str:
        """Write a part or raise LostUploadError."""

    def complete(self, current: Content, upload: str, etags: Sequence[str], size: int) -> StoredFile | None:
        """Make an object of its parts, ``None`` if somebody else has written it."""

    def delete(self, key: str, version: str) -> None:
        """Delete a version for good."""

    def delete_parts(self, tenant: Tenant, batch_id: str, path: str) -> None:
        """Delete all parts that a file came in."""

    def key_of(self, tenant: Tenant, batch_id: str, dataset_id: str, path: str) -> str:
        """Say under which key a file is received."""

    def upload_of_part(self, tenant: Tenant, batch_id: str, file: str) -> Upload | None:
        """Look up by its hash how a file comes in parts."""


class Notes(Protocol):
    """What readings leave for each other: ``storage.look_lake.LookLake``."""

    def manifest_key(self, tenant: Tenant, job_id: str, number: int) -> str:
        """Key of the array of shares that the map reads."""

    def write_manifest(self, tenant: Tenant, job_id: str, number: int, shares: Sequence[str]) -> None:
        """Write the array of shares."""

    def shares(self, tenant: Tenant, job_id: str, number: int) -> list[str]:
        """Read the names of the shares."""

    def write_wanted(self, tenant: Tenant, job_id: str, number: int, wanted: Mapping[Xid, int]) -> None:
        """Write whose rows are looked for."""

    def wanted(self, tenant: Tenant, job_id: str, number: int) -> dict[Xid, int]:
        """Read whose rows are looked for."""

    def write_objects(self, tenant: Tenant, job_id: str, number: int, share: str, objects: Sequence[RowObject]) -> None:
        """Write the objects of a share."""

    def objects(self, tenant: Tenant, job_id: str, number: int, share: str) -> list[RowObject]:
        """Read the objects of a share."""

    def write_checkpoint(
        self, tenant: Tenant, job_id: str, number: int, share: str, checkpoint: Mapping[str, Any]
    ) -> None:
        """Write how far a worker is."""

    def checkpoints(
        self, tenant: Tenant, job_id: str, number: int, shares: Sequence[str]
    ) -> Iterator[Mapping[str, Any] | None]:
        """Read how far some workers are."""
