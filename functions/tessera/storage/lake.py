"""The data lake: files as received, judged rows, and what the steps of a job leave for each other.

| key | holds |
|---|---|
| ``raw/<tenant>/<batch>/<dataset>/<path>`` | a file as received |
| ``staged/<tenant>/<batch>/<chunk>`` | accepted rows: zstd of JSON lines, the first says the format version |
| ``rejected/<tenant>/<batch>/row_errors/<file>`` | rejected rows with their reasons, as JSON lines |
| ``jobs/<tenant>/ingest/<batch>/plan.json`` | the files of the batch and how they are split; written once |
| ``jobs/<tenant>/ingest/<batch>/manifest.json`` | one JSON array of chunks, for the map over them |
| ``jobs/<tenant>/ingest/<batch>/<step>/<chunk>.json`` | what a worker found |

Objects of ours carry their format version in their metadata; files as received are the caller's.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson
import zstandard
from botocore.exceptions import ClientError

from tessera.domain.errors import InvalidRequestError, NotFoundError
from tessera.domain.tenant import Tenant
from tessera.storage.codec import FORMAT_VERSION

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

MAX_PATH_BYTES = 512
PRESIGNED_SECONDS = 900

_UNUSABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\\]")
_METADATA = {"format-version": str(FORMAT_VERSION)}
_COMPRESSION = 1
_READ_AT_ONCE = 32
_LINES_PER_WRITE = 256
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_CHANGED = frozenset({"PreconditionFailed", "412"})


class FileChangedError(Exception):
    """The object is not the one that was planned for: it was overwritten or removed after the batch was complete."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object below a prefix: ``name`` without the prefix, ``size`` in bytes, ``etag`` of its content."""

    name: str
    size: int
    etag: str


def checked_path(path: str) -> str:
    """Return a file path that is safe in a key; its directories are kept.

    Raises InvalidRequestError for anything that another system could read as another place.
    """
    if not path or len(path.encode(errors="surrogatepass")) > MAX_PATH_BYTES:
        raise InvalidRequestError(f"a file path has 1 to {MAX_PATH_BYTES} bytes")
    # Also what it becomes when decoded once more: proxies and clients differ in how often they do.
    for spelling in (path, unquote(path)):
        if _UNUSABLE.search(spelling):
            raise InvalidRequestError("a file path has no control characters and no backslashes")
        if any(segment in {"", ".", ".."} for segment in spelling.split("/")):
            raise InvalidRequestError("a file path is relative, without empty segments, '.' or '..'")
    return path


class Lake:
    """Reads and writes the lake's objects; every key is made here, from a tenant."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    # Files as received

    def receive(self, tenant: Tenant, batch_id: str, dataset_id: str, path: str, body: bytes) -> None:
        """Store a file as received; the last content of a path is the one that counts.

        Raises InvalidRequestError for an unusable path.
        """
        self._client.put_object(
            Bucket=self.bucket, Key=_raw(tenant, batch_id, dataset_id, checked_path(path)), Body=body
        )

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
        return self._list(_raw(tenant, batch_id, dataset_id, ""))

    def reader(
        self, tenant: Tenant, batch_id: str, dataset_id: str, path: str, etag: str
    ) -> Callable[[int, int], bytes]:
        """Return a function that reads bytes ``start`` to ``end`` (exclusive) of the very content with this ETag.

        It raises FileChangedError when that content is no longer there.
        """
        key = _raw(tenant, batch_id, dataset_id, path)

        def read(start: int, end: int) -> bytes:
            if end <= start:
                return b""
            try:
                answer = self._client.get_object(
                    Bucket=self.bucket, Key=key, IfMatch=f'"{etag}"', Range=f"bytes={start}-{end - 1}"
                )
            except ClientError as error:
                if _code(error) in _MISSING | _CHANGED | {"InvalidRange"}:
                    raise FileChangedError(path) from error
                raise
            # Also where storage does not know conditions on reads.
            if answer["ETag"].strip('"') != etag:
                raise FileChangedError(path)
            return answer["Body"].read()

        return read

    # Judged rows

    def stage(self, tenant: Tenant, batch_id: str, chunk: str, lines: Iterable[bytes]) -> None:
        """Store the accepted rows of a chunk, each a JSON line without its line feed."""
        buffer = io.BytesIO()
        compressor = zstandard.ZstdCompressor(level=_COMPRESSION)
        with compressor.stream_writer(buffer, closefd=False) as writer:
            writer.write(b'{"v":%d}\n' % FORMAT_VERSION)
            pending: list[bytes] = []
            for line in lines:
                pending.append(line)
                if len(pending) == _LINES_PER_WRITE:
                    writer.write(b"\n".join([*pending, b""]))
                    pending.clear()
            writer.write(b"\n".join([*pending, b""]))
        self._put(_staged(tenant, batch_id, chunk), buffer.getvalue(), "application/zstd")

    def staged(self, tenant: Tenant, batch_id: str, chunk: str) -> Iterator[bytes]:
        """Read the accepted rows of a chunk; nothing when it has none.

        Raises ValueError for a format this version cannot read.
        """
        body = self._get(_staged(tenant, batch_id, chunk))
        if body is None:
            return
        with io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(body)) as lines:
            header = orjson.loads(lines.readline())
            if header.get("v") != FORMAT_VERSION:
                raise ValueError(f"staged rows of format {header.get('v')!r}: written by a newer version?")
            yield from lines

    def reject(self, tenant: Tenant, batch_id: str, name: str, lines: Sequence[bytes]) -> None:
        """Store rejected rows with their reasons under ``row_errors/<name>``."""
        self._put(f"{_rejected(tenant, batch_id)}{name}", b"\n".join([*lines, b""]), "application/x-ndjson")

    def rejected(self, tenant: Tenant, batch_id: str) -> list[StoredFile]:
        """List the files of rejected rows."""
        return self._list(_rejected(tenant, batch_id))

    def read_rejected(self, tenant: Tenant, batch_id: str, name: str) -> bytes:
        """Read a file of rejected rows.

        Raises InvalidRequestError for an unusable name, NotFoundError.
        """
        body = self._get(f"{_rejected(tenant, batch_id)}{checked_path(name)}")
        if body is None:
            raise NotFoundError(f"Batch {batch_id} has no file row_errors/{name}")
        return body

    # What the steps of a job leave for each other

    def manifest_key(self, tenant: Tenant, batch_id: str) -> str:
        """Key of the array of chunks that the map reads."""
        return f"{_job(tenant, batch_id)}manifest.json"

    def write_manifest(self, tenant: Tenant, batch_id: str, chunks: Sequence[Mapping[str, Any]]) -> None:
        """Write the array of chunks."""
        self._put(self.manifest_key(tenant, batch_id), orjson.dumps(chunks), "application/json")

    def write_plan(self, tenant: Tenant, batch_id: str, plan: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write the plan of a batch unless it has one; return the one it has, whoever wrote it."""
        try:
            self._client.put_object(
                Bucket=self.bucket,
                Key=f"{_job(tenant, batch_id)}plan.json",
                Body=orjson.dumps({"v": FORMAT_VERSION, **plan}),
                ContentType="application/json",
                Metadata=_METADATA,
                IfNoneMatch="*",
            )
        except ClientError as error:
            # A conflict means that another plan is being written at this moment.
            if _code(error) not in _CHANGED | {"ConditionalRequestConflict"}:
                raise
        found = self.plan(tenant, batch_id)
        if found is None:
            raise RuntimeError(f"the plan of batch {batch_id} is missing")
        return found

    def plan(self, tenant: Tenant, batch_id: str) -> Mapping[str, Any] | None:
        """Read the plan of a batch, or ``None``."""
        return self._document(f"{_job(tenant, batch_id)}plan.json")

    def write_result(self, tenant: Tenant, batch_id: str, step: str, chunk: str, result: Mapping[str, Any]) -> None:
        """Write what a worker found."""
        key = f"{_job(tenant, batch_id)}{step}/{chunk}.json"
        self._put(key, orjson.dumps({"v": FORMAT_VERSION, **result}), "application/json")

    def results(self, tenant: Tenant, batch_id: str, step: str, chunks: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Read what the workers of a step found, in the order of ``chunks``.

        Raises RuntimeError when one has not written its result.
        """

        def read(chunk: str) -> Mapping[str, Any]:
            found = self._document(f"{_job(tenant, batch_id)}{step}/{chunk}.json")
            if found is None:
                raise RuntimeError(f"chunk {chunk} of batch {batch_id} has no result of {step}")
            return found

        with ThreadPoolExecutor(min(_READ_AT_ONCE, len(chunks)) or 1) as pool:
            yield from pool.map(read, chunks)

    def _document(self, key: str) -> Mapping[str, Any] | None:
        body = self._get(key)
        if body is None:
            return None
        document: dict[str, Any] = orjson.loads(body)
        if document.get("v") != FORMAT_VERSION:
            raise ValueError(f"{key} has format {document.get('v')!r}: written by a newer version?")
        return document

    def _put(self, key: str, body: bytes, content_type: str) -> None:
        self._client.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, Metadata=_METADATA)

    def _get(self, key: str) -> bytes | None:
        try:
            return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except ClientError as error:
            if _code(error) in _MISSING:
                return None
            raise

    def _list(self, prefix: str) -> list[StoredFile]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        found = (
            StoredFile(item["Key"].removeprefix(prefix), item["Size"], item["ETag"].strip('"'))
            for page in pages
            for item in page.get("Contents", [])
        )
        return sorted(found, key=lambda file: file.name)


def _code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


def _raw(tenant: Tenant, batch_id: str, dataset_id: str, path: str) -> str:
    return f"raw/{tenant.key}/{batch_id}/{dataset_id}/{path}"


def _staged(tenant: Tenant, batch_id: str, chunk: str) -> str:
    return f"staged/{tenant.key}/{batch_id}/{chunk}"


def _rejected(tenant: Tenant, batch_id: str) -> str:
    return f"rejected/{tenant.key}/{batch_id}/row_errors/"


def _job(tenant: Tenant, batch_id: str) -> str:
    return f"jobs/{tenant.key}/ingest/{batch_id}/"
