"""Files of batches as they were received: whole, or in parts that are read as one.

| key | holds |
|---|---|
| ``raw/<tenant>/<batch>/<dataset>/<path>`` | a file, or the list of the parts it came in |
| ``raw/<tenant>/<batch>/uploads/<file>.json`` | that a file comes in parts: its path, the upload, whether it is open |
| ``raw/<tenant>/<batch>/parts/<file>/<upload>/<first>-<last>`` | these bytes of a file |
| ``raw/<tenant>/<batch>/parts/<file>/<upload>/total-<size>`` | nothing; that a part told the file's size |

``<file>`` is a hash of the path. Every read names the version of the object that it wants: a file that is written over
later is still there as it was.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson
from botocore.exceptions import ClientError

from tessera.domain.errors import InvalidRequestError
from tessera.domain.intervals import Interval
from tessera.domain.tenant import Tenant, digest, url_safe
from tessera.storage.codec import FORMAT_VERSION
from tessera.storage.lake_objects import CHANGED, METADATA, MISSING, UNUSABLE, code_of

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

MAX_PATH_BYTES = 512
PRESIGNED_SECONDS = 900

IN_PARTS = "in-parts"
_READ_AT_ONCE = 32
_TOTAL = "total-"
_DIGITS = 14

Read = Callable[[int, int], bytes]


class FileChangedError(Exception):
    """The content that was planned for is not there any more."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file below a prefix: ``name`` without the prefix, ``size`` in bytes, ``etag`` and ``version`` of its content.

    One ``in_parts`` is stored as the list of them; ``size`` is that of all together.
    """

    name: str
    size: int
    etag: str
    version: str = ""
    in_parts: bool = False


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that comes in parts; ``open`` until it is completed."""

    id: str
    path: str
    open: bool = True


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part of a file as it is stored."""

    interval: Interval
    etag: str
    version: str


def checked_path(path: str) -> str:
    """Return a file path that is safe in a key; its directories are kept.

    Raises InvalidRequestError for anything that another system could read as another place.
    """
    if not path or len(path.encode(errors="surrogatepass")) > MAX_PATH_BYTES:
        raise InvalidRequestError(f"a file path has 1 to {MAX_PATH_BYTES} bytes")
    # Also what it becomes when decoded once more: proxies and clients differ in how often they do.
    for spelling in (path, unquote(path)):
        if UNUSABLE.search(spelling):
            raise InvalidRequestError("a file path has no control characters, noncharacters or backslashes")
        if any(segment in {"", ".", ".."} for segment in spelling.split("/")):
            raise InvalidRequestError("a file path is relative, without empty segments, '.' or '..'")
    return path


class ReceivedFiles:
    """Reads and writes the files of batches."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def receive(self, tenant: Tenant, batch_id: str, dataset_id: str, path: str, body: bytes) -> None:
        """Store a whole file; the last content of a path is the one that counts.

        Raises InvalidRequestError for an unusable path.
        """
        key = _raw(tenant, batch_id, dataset_id, checked_path(path))
        self._client.put_object(Bucket=self.bucket, Key=key, Body=body)
        # What was begun in parts under this path is over.
        self._client.delete_object(Bucket=self.bucket, Key=_upload(tenant, batch_id, path))

    def deposit(self, tenant: Tenant, batch_id: str, dataset_id: str, name: str, body: bytes) -> StoredFile:
        """Store a whole file that the service has made, and return it as it is stored."""
        answer = self._client.put_object(Bucket=self.bucket, Key=_raw(tenant, batch_id, dataset_id, name), Body=body)
        return StoredFile(name, len(body), answer["ETag"].strip('"'), answer.get("VersionId", ""))

    def key_of(self, tenant: Tenant, batch_id: str, dataset_id: str, path: str) -> str:
        """Say under which key a file is received whole.

        Raises InvalidRequestError for an unusable path.
        """
        return _raw(tenant, batch_id, dataset_id, checked_path(path))

    def receiving_url(self, tenant: Tenant, batch_id: str, dataset_id: str, path: str) -> str:
        """Make a URL to which a file can be PUT directly, for ``PRESIGNED_SECONDS``.

        Raises InvalidRequestError for an unusable path.
        """
        key = _raw(tenant, batch_id, dataset_id, checked_path(path))
        return self._client.generate_presigned_url(
            "put_object", Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=PRESIGNED_SECONDS, HttpMethod="PUT"
        )

    def received(self, tenant: Tenant, batch_id: str, dataset_id: str) -> list[StoredFile]:
        """List the files of a batch in order of their paths."""
        prefix = _raw(tenant, batch_id, dataset_id, "")
        files = [
            StoredFile(item["Key"].removeprefix(prefix), item["Size"], item["ETag"].strip('"'), item["VersionId"])
            for item in self._latest(prefix)
        ]
        uploads = f"{raw_prefix(tenant, batch_id)}uploads/"
        in_parts = {item["Key"].removeprefix(uploads).removesuffix(".json") for item in self._latest(uploads)}
        if in_parts:
            with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
                files = list(
                    pool.map(
                        lambda file: (
                            self._looked_up(tenant, batch_id, dataset_id, file)
                            if _file(file.name) in in_parts
                            else file
                        ),
                        files,
                    )
                )
        return sorted(files, key=lambda file: file.name)

    def reader(self, tenant: Tenant, batch_id: str, dataset_id: str, file: StoredFile) -> Read:
        """Return a function that reads bytes ``start`` to ``end`` (exclusive) of the very content of ``file``.

        It raises FileChangedError when that content is no longer there.
        """
        key = _raw(tenant, batch_id, dataset_id, file.name)
        if not file.in_parts:
            return self._object_reader(key, file.name, file.etag, file.version)
        readers: list[tuple[int, int, Read]] = []

        def read(start: int, end: int) -> bytes:
            if not readers:
                readers.extend(self._part_readers(tenant, batch_id, dataset_id, file))
            pieces: list[bytes] = []
            at = bisect_right(readers, start, key=lambda part: part[0]) - 1
            while start < end and at < len(readers):
                first, beyond, part = readers[at]
                upto = min(end, beyond)
                pieces.append(part(start - first, upto - first))
                start, at = upto, at + 1
            return b"".join(pieces)

        return read

    # Files in parts

    def put_upload(self, tenant: Tenant, batch_id: str, upload: Upload) -> None:
        """Note that a file comes in parts, or that it is complete.

        Raises InvalidRequestError for an unusable path.
        """
        body = orjson.dumps({"v": FORMAT_VERSION, "id": upload.id, "path": upload.path, "open": upload.open})
        key = _upload(tenant, batch_id, upload.path)
        self._client.put_object(Bucket=self.bucket, Key=key, Body=body, Metadata=METADATA)

    def upload(self, tenant: Tenant, batch_id: str, path: str) -> Upload | None:
        """Look up how a file comes in parts, ``None`` if it does not."""
        return self._read_upload(_upload(tenant, batch_id, path))

    def uploads(self, tenant: Tenant, batch_id: str) -> list[Upload]:
        """List the files that come in parts."""
        keys = [item["Key"] for item in self._latest(f"{raw_prefix(tenant, batch_id)}uploads/")]
        with ThreadPoolExecutor(min(_READ_AT_ONCE, len(keys)) or 1) as pool:
            return [found for found in pool.map(self._read_upload, keys) if found is not None]

    def put_part(
        self, tenant: Tenant, batch_id: str, upload: Upload, interval: Interval, total: int | None, body: bytes
    ) -> None:
        """Store a part; of the same interval the last content counts."""
        prefix = _parts(tenant, batch_id, upload.path, upload.id)
        if total is not None:
            self._client.put_object(Bucket=self.bucket, Key=f"{prefix}{_TOTAL}{total}", Body=b"")
        self._client.put_object(Bucket=self.bucket, Key=prefix + _part_name(interval), Body=body)

    def parts(self, tenant: Tenant, batch_id: str, upload: Upload) -> tuple[list[StoredPart], set[int]]:
        """List the parts of a file, and the sizes that it was said to have."""
        prefix = _parts(tenant, batch_id, upload.path, upload.id)
        found: list[StoredPart] = []
        totals: set[int] = set()
        for item in self._latest(prefix):
            name = item["Key"].removeprefix(prefix)
            if name.startswith(_TOTAL):
                totals.add(int(name.removeprefix(_TOTAL)))
            else:
                first, _, last = name.partition("-")
                interval = Interval(int(first), int(last))
                found.append(StoredPart(interval, item["ETag"].strip('"'), item["VersionId"]))
        return found, totals

    def compose(
        self, tenant: Tenant, batch_id: str, dataset_id: str, upload: Upload, parts: Sequence[StoredPart]
    ) -> None:
        """Make a file of its parts, which are in order and without gaps."""
        body = orjson.dumps(
            {
                "v": FORMAT_VERSION,
                "upload": upload.id,
                "parts": [[*part.interval, part.etag, part.version] for part in parts],
            }
        )
        key = _raw(tenant, batch_id, dataset_id, checked_path(upload.path))
        self._client.put_object(Bucket=self.bucket, Key=key, Body=body, Metadata={**METADATA, IN_PARTS: "1"})

    def _looked_up(self, tenant: Tenant, batch_id: str, dataset_id: str, file: StoredFile) -> StoredFile:
        """Tell whether a file is a list of parts, and how large they are together."""
        key = _raw(tenant, batch_id, dataset_id, file.name)
        answer = self._client.get_object(Bucket=self.bucket, Key=key, **_versioned(file.version))
        if IN_PARTS not in answer["Metadata"]:
            answer["Body"].close()
            return file
        parts = orjson.loads(answer["Body"].read())["parts"]
        return StoredFile(file.name, parts[-1][1] + 1, file.etag, file.version, in_parts=True)

    def _part_readers(
        self, tenant: Tenant, batch_id: str, dataset_id: str, file: StoredFile
    ) -> Iterator[tuple[int, int, Read]]:
        key = _raw(tenant, batch_id, dataset_id, file.name)
        answer = self._exact(key, file.name, file.etag, file.version)
        document = orjson.loads(answer["Body"].read())
        prefix = _parts(tenant, batch_id, file.name, document["upload"])
        for first, last, etag, version in document["parts"]:
            name = prefix + _part_name(Interval(first, last))
            yield first, last + 1, self._object_reader(name, file.name, etag, version)

    def _object_reader(self, key: str, name: str, etag: str, version: str) -> Read:
        def read(start: int, end: int) -> bytes:
            if end <= start:
                return b""
            answer = self._exact(key, name, etag, version, Range=f"bytes={start}-{end - 1}")
            body: bytes = answer["Body"].read()
            # Who does not know ranges sends all (RFC 9110): the local cloud of an object's version.
            return body if len(body) <= end - start else body[start:end]

        return read

    def _exact(self, key: str, name: str, etag: str, version: str, **more: Any) -> Any:
        """Read the very content with this ETag. Raises FileChangedError."""
        try:
            answer = self._client.get_object(
                Bucket=self.bucket, Key=key, IfMatch=f'"{etag}"', **_versioned(version), **more
            )
        except ClientError as error:
            if code_of(error) in MISSING | CHANGED | {"InvalidRange", "NoSuchVersion"}:
                raise FileChangedError(name) from error
            raise
        # Also where storage does not know conditions on reads.
        if answer["ETag"].strip('"') != etag:
            raise FileChangedError(name)
        return answer

    def _read_upload(self, key: str) -> Upload | None:
        try:
            body = self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except ClientError as error:
            if code_of(error) in MISSING:
                return None
            raise
        document = orjson.loads(body)
        return Upload(document["id"], document["path"], document["open"])

    def _latest(self, prefix: str) -> Iterator[Mapping[str, Any]]:
        """Walk the objects below a prefix, each with its version."""
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix)
        return (item for page in pages for item in page.get("Versions", ()) if item["IsLatest"])


def _versioned(version: str) -> dict[str, Any]:
    return {} if version in {"", "null"} else {"VersionId": version}


def _file(path: str) -> str:
    return url_safe(digest(16, b"tessera.file", path))


def raw_prefix(tenant: Tenant, batch_id: str) -> str:
    """Beginning of the keys of all that was received for a batch."""
    return f"raw/{tenant.key}/{batch_id}/"


def _raw(tenant: Tenant, batch_id: str, dataset_id: str, path: str) -> str:
    return f"{raw_prefix(tenant, batch_id)}{dataset_id}/{path}"


def upload_key(tenant: Tenant, batch_id: str, file: str) -> str:
    """Key of how a file comes in parts, by the hash of its path."""
    return f"{raw_prefix(tenant, batch_id)}uploads/{file}.json"


def parts_prefix(tenant: Tenant, batch_id: str, path: str) -> str:
    """Beginning of the keys of all parts that a file ever came in."""
    return f"{raw_prefix(tenant, batch_id)}parts/{_file(path)}/"


def _upload(tenant: Tenant, batch_id: str, path: str) -> str:
    return upload_key(tenant, batch_id, _file(checked_path(path)))


def _parts(tenant: Tenant, batch_id: str, path: str, upload_id: str) -> str:
    return f"{parts_prefix(tenant, batch_id, path)}{upload_id}/"


def _part_name(interval: Interval) -> str:
    return f"{interval.first:0{_DIGITS}}-{interval.last:0{_DIGITS}}"
