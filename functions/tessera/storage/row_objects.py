"""The objects of the lake that hold rows, in every version of them, and writing one anew.

Rows are in what ``received``, ``lake`` and ``stream_lake`` keep below ``raw/``, ``staged/``, ``rejected/`` and
``stream/``. What is written here is a new version on the condition that nobody has written another meanwhile; the one
before is then deleted for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any, Self

import orjson
from botocore.exceptions import ClientError

from tessera.domain.tenant import Tenant
from tessera.storage.drop_folder import DROPPED, REJECTED
from tessera.storage.lake_objects import CHANGED, MISSING, code_of, delete_versions
from tessera.storage.received import IN_PARTS, Read, ReceivedFiles, StoredFile, Upload, parts_prefix, upload_key

_LOST = CHANGED | MISSING | {"ConditionalRequestConflict"}


class RowKind(StrEnum):
    """What an object holds: a file of a batch, a part of one, rows as they were judged, or a large message."""

    FILE = "file"
    PART = "part"
    STAGED = "staged"
    REJECTED = "rejected"
    STREAMED = "streamed"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True)
class Address:
    """What a key says: of which batch or window an object is, and its ``name`` there."""

    kind: RowKind
    name: str
    batch_id: str = ""
    dataset_id: str = ""
    start_ms: int = 0


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """A version of an object; ``size`` in bytes."""

    id: str
    size: int
    latest: bool


@dataclass(frozen=True, slots=True)
class RowObject:
    """An object in all its versions, the newest first; none is the latest when it was deleted."""

    key: str
    versions: tuple[ObjectVersion, ...]

    @property
    def size(self) -> int:
        """How large all versions are together."""
        return sum(version.size for version in self.versions)

    def to_document(self) -> list[Any]:
        """Write it as it is listed for a worker."""
        return [self.key, [[one.id, one.size, one.latest] for one in self.versions]]

    @classmethod
    def from_document(cls, document: Sequence[Any]) -> Self:
        """Read it from there."""
        key, versions = document
        return cls(key, tuple(ObjectVersion(*one) for one in versions))


@dataclass(frozen=True, slots=True)
class Content:
    """A version that can be read, and what is said of it."""

    key: str
    version: str
    etag: str
    size: int
    content_type: str
    metadata: Mapping[str, str]
    # The size of all parts together, for a file that is a list of them.
    whole: int
    read: Read
    upload: str = ""

    @property
    def in_parts(self) -> bool:
        """Whether it is the list of the parts of a file."""
        return IN_PARTS in self.metadata


class RowObjects(ReceivedFiles):
    """Finds, reads and writes objects with rows."""

    def walk(self, tenant: Tenant) -> Iterator[RowObject]:
        """Walk all objects of a sandbox that can hold rows, and what lies beside them."""
        for area in ("raw", "staged", "rejected", "stream"):
            yield from self._versions_below(f"{area}/{tenant.key}/")

    def versions(self, key: str) -> RowObject:
        """List the versions of one object."""
        found = (one for one in self._versions_below(key) if one.key == key)
        return next(found, RowObject(key, ()))

    def waiting(self, tenant: Tenant) -> Iterator[str]:
        """Walk the keys of files of a sandbox in the drop folder, and of those that no batch could be made of."""
        for area in (DROPPED, REJECTED):
            prefix = f"{area}{tenant.org_id}/{tenant.sandbox}/"
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            yield from (item["Key"] for page in pages for item in page.get("Contents", ()))

    def content(self, tenant: Tenant, key: str, version: str = "") -> Content | None:
        """Look a version up, by default the latest; ``None`` when it is not there."""
        wanted: Any = {} if version in {"", "null"} else {"VersionId": version}
        try:
            head = self._client.head_object(Bucket=self.bucket, Key=key, **wanted)
        except ClientError as error:
            if code_of(error) in MISSING | {"NoSuchVersion"}:
                return None
            raise
        etag, size, metadata = head["ETag"].strip('"'), head["ContentLength"], head["Metadata"]
        version = head.get("VersionId", "")
        read = self._object_reader(key, key, etag, version)
        upload, whole = "", size
        if IN_PARTS in metadata:
            listed = orjson.loads(read(0, size))
            upload, whole = listed["upload"], listed["parts"][-1][1] + 1
            at = address(tenant, key)
            if at is not None:
                file = StoredFile(at.name, whole, etag, version, in_parts=True)
                read = self.reader(tenant, at.batch_id, at.dataset_id, file)
        return Content(key, version, etag, size, head["ContentType"], metadata, whole, read, upload)

    def replace(self, before: Content, current: Content, body: bytes) -> StoredFile | None:
        """Write an object anew with what is said of ``before``; ``None`` if it is not the ``current`` one any more."""
        try:
            answer = self._client.put_object(
                Bucket=self.bucket, Key=before.key, Body=body, IfMatch=f'"{current.etag}"', **_said(before)
            )
        except ClientError as error:
            if code_of(error) in _LOST:
                return None
            raise
        return StoredFile(before.key, len(body), answer["ETag"].strip('"'), answer.get("VersionId", ""))

    def begin(self, before: Content) -> str:
        """Begin to write an object anew part by part; answer the upload."""
        return self._client.create_multipart_upload(Bucket=self.bucket, Key=before.key, **_said(before))["UploadId"]

    def write_part(self, key: str, upload: str, number: int, body: bytes) -> str:
        """Write a part, the first is number 1; answer its ETag. Raises LostUploadError."""
        try:
            answer = self._client.upload_part(
                Bucket=self.bucket, Key=key, UploadId=upload, PartNumber=number, Body=body
            )
        except ClientError as error:
            if code_of(error) == "NoSuchUpload":
                raise LostUploadError(key) from error
            raise
        return answer["ETag"]

    def complete(self, current: Content, upload: str, etags: Sequence[str], size: int) -> StoredFile | None:
        """Make an object of its parts, ``None`` if it is not the ``current`` one any more. Raises LostUploadError."""
        parts: Any = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, start=1)]
        try:
            answer = self._client.complete_multipart_upload(
                Bucket=self.bucket,
                Key=current.key,
                UploadId=upload,
                MultipartUpload={"Parts": parts},
                IfMatch=f'"{current.etag}"',
            )
        except ClientError as error:
            if code_of(error) == "NoSuchUpload":
                raise LostUploadError(current.key) from error
            if code_of(error) in _LOST:
                self._client.abort_multipart_upload(Bucket=self.bucket, Key=current.key, UploadId=upload)
                return None
            raise
        return StoredFile(current.key, size, answer["ETag"].strip('"'), answer.get("VersionId", ""))

    def delete(self, key: str, version: str) -> None:
        """Delete a version for good; where there are no versions, what was written over is gone already."""
        if version not in {"", "null"}:
            self._client.delete_object(Bucket=self.bucket, Key=key, VersionId=version)

    def delete_parts(self, tenant: Tenant, batch_id: str, path: str) -> None:
        """Delete all parts that a file came in, every version of them."""
        delete_versions(self._client, self.bucket, parts_prefix(tenant, batch_id, path))

    def upload_of_part(self, tenant: Tenant, batch_id: str, file: str) -> Upload | None:
        """Look up by its hash how a file comes in parts."""
        return self._read_upload(upload_key(tenant, batch_id, file))

    def _versions_below(self, prefix: str) -> Iterator[RowObject]:
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix)
        found: Iterable[Any] = (item for page in pages for item in page.get("Versions", ()))
        by_key: Callable[[Any], str] = lambda item: item["Key"]  # noqa: E731
        for key, items in groupby(found, key=by_key):
            yield RowObject(
                key, tuple(ObjectVersion(one["VersionId"], one["Size"], bool(one["IsLatest"])) for one in items)
            )


class LostUploadError(Exception):
    """What was begun to be written part by part is not there any more."""


def address(tenant: Tenant, key: str) -> Address | None:
    """Read a key of the sandbox, ``None`` for one of an object that holds no rows."""
    area, _, rest = key.partition("/")
    own, _, rest = rest.partition("/")
    if own != tenant.key:
        return None
    first, _, rest = rest.partition("/")
    second, _, name = rest.partition("/")
    found: Address | None = None
    match (area, first, second):
        case ("staged", _, _):
            found = Address(RowKind.STAGED, rest, first)
        case ("rejected", _, _):
            found = Address(RowKind.REJECTED, rest, first)
        case ("stream", "messages", _):
            found = Address(RowKind.MESSAGE, rest)
        case ("stream", _, _) if "/" in name:
            found = Address(RowKind.STREAMED, name, dataset_id=first, start_ms=int(second))
        case ("raw", _, "parts"):
            found = Address(RowKind.PART, name, first)
        case ("raw", _, _) if name and second != "uploads":
            found = Address(RowKind.FILE, name, first, second)
    return found


def _said(content: Content) -> dict[str, Any]:
    metadata = {} if content.in_parts else dict(content.metadata)
    return {"ContentType": content.content_type, "Metadata": metadata}
