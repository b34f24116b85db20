"""The drop folder: objects that others put into the lake's bucket, until they are part of a batch.

| key | holds |
|---|---|
| ``drop/<organisation>/<sandbox>/<dataset>/<path>`` | a file that arrived |
| ``drop-rejected/<organisation>/<sandbox>/<dataset>/<path>`` | one that no batch could be made of |
| ``drop-rejected/….reason.json`` | why |

Only here do keys hold names as they are: who may write is decided outside, by prefix. Every call names the version of
the object that it is about, so what is put under the same key meanwhile is neither taken for it nor removed with it.
"""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from botocore.exceptions import ClientError

from tessera.storage.codec import FORMAT_VERSION
from tessera.storage.lake_objects import METADATA, MISSING, code_of

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

DROPPED, REJECTED = "drop/", "drop-rejected/"
# What a function unpacks and stores well within its time; a larger file is to be sent as it is.
MAX_UNPACKED_BYTES = 10_000_000_000

_BEGINNING = 64 * 1024
_GZIP = 31
# Storage takes keys of 1,024 bytes, and the prefix and the ending of the reason are longer than what they stand for.
_LONGEST_KEY = 980
# Nothing that the sender said of its object is to mean anything where the copy lies.
_PLAIN = {"MetadataDirective": "REPLACE", "TaggingDirective": "REPLACE"}


class DamagedArchiveError(Exception):
    """A compressed file cannot be unpacked; the message says why."""


@dataclass(frozen=True, slots=True)
class DroppedFile:
    """One version of an object in the drop folder; ``modified_ms`` is when storage took it."""

    key: str
    version: str
    size: int
    modified_ms: int


class DropFolder:
    """Reads, moves and removes dropped files."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def find(self, key: str, version: str) -> DroppedFile | None:
        """Look up a version of an object, ``None`` when it is not there any more."""
        try:
            head = self._client.head_object(Bucket=self.bucket, Key=key, VersionId=version)
        except ClientError as error:
            if code_of(error) in MISSING | {"NoSuchVersion"}:
                return None
            raise
        return DroppedFile(key, version, head["ContentLength"], int(head["LastModified"].timestamp() * 1000))

    def beginning(self, file: DroppedFile, *, packed: bool) -> bytes:
        """Read the first bytes of a file, unpacked. Raises DamagedArchiveError."""
        if not file.size:
            return b""
        answer = self._client.get_object(
            Bucket=self.bucket, Key=file.key, VersionId=file.version, Range=f"bytes=0-{_BEGINNING - 1}"
        )
        raw = answer["Body"].read(_BEGINNING)
        if not packed:
            return raw
        try:
            return zlib.decompressobj(_GZIP).decompress(raw, _BEGINNING)
        except zlib.error as error:
            raise DamagedArchiveError(f"it is not gzip: {error}") from None

    def copy(self, file: DroppedFile, key: str) -> None:
        """Copy a file to another key, as it is and however large."""
        source: Any = {"Bucket": self.bucket, "Key": file.key, "VersionId": file.version}
        self._client.copy(CopySource=source, Bucket=self.bucket, Key=key, ExtraArgs=_PLAIN)

    def unpack(self, file: DroppedFile, key: str) -> None:
        """Write to another key what is in a file compressed with gzip, a piece at a time.

        Raises DamagedArchiveError for one that is broken, cut off or too large unpacked; then nothing is written.
        """
        body = self._client.get_object(Bucket=self.bucket, Key=file.key, VersionId=file.version)["Body"]
        with gzip.GzipFile(fileobj=io.BufferedReader(_Raw(body))) as archive:
            source: Any = _Bounded(archive)
            try:
                self._client.upload_fileobj(Fileobj=source, Bucket=self.bucket, Key=key)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise DamagedArchiveError(f"it cannot be unpacked: {error}") from None

    def remove(self, file: DroppedFile) -> None:
        """Remove this version of a file for good; nothing if that was done."""
        self._client.delete_object(Bucket=self.bucket, Key=file.key, VersionId=file.version)

    def set_aside(self, file: DroppedFile, reason: str) -> None:
        """Copy a file to where rejected ones are, with the reason beside it."""
        rest = file.key.removeprefix(DROPPED).encode()[:_LONGEST_KEY].decode(errors="ignore")
        key = REJECTED + rest
        self.copy(file, key)
        self._client.put_object(
            Bucket=self.bucket,
            Key=f"{key}.reason.json",
            Body=orjson.dumps({"v": FORMAT_VERSION, "reason": reason, "version": file.version}),
            ContentType="application/json",
            Metadata=METADATA,
        )


class Source(Protocol):
    """Something that bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Read up to so many bytes, none at the end."""


class _Raw(io.RawIOBase):
    """The body of an answer as a plain source of bytes."""

    def __init__(self, body: Source) -> None:
        super().__init__()
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._body.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Bounded:
    """What is in an archive, up to a limit: a small one may unpack to anything."""

    def __init__(self, archive: Source) -> None:
        self._archive = archive
        self._left = MAX_UNPACKED_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self._archive.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise DamagedArchiveError(f"it unpacks to more than {MAX_UNPACKED_BYTES} bytes; send it unpacked")
        return data
