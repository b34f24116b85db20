"""What streaming keeps in the lake.

| key | holds |
|---|---|
| ``stream/<tenant>/messages/<place>`` | a message too large for the queue |
| ``stream/<tenant>/<dataset>/<start>/<kind>/<name>`` | rows of a window that were processed together |
| ``stream/<tenant>/<dataset>/<start>/round-<round>.json`` | which of these a round of closing gathers; written once |

Rows are zstd of JSON lines ``[place, code, row]``, after one that says the format version.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import orjson
import zstandard
from botocore.exceptions import ClientError

from tessera.domain.place import Place
from tessera.domain.staged import StagedKind, StagedRow
from tessera.domain.tenant import Tenant
from tessera.domain.window import Window
from tessera.storage.codec import FORMAT_VERSION
from tessera.storage.lake_objects import CHANGED, METADATA, MISSING, code_of

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_COMPRESSION = 3
_READ_AT_ONCE = 256


class StreamLake:
    """Reads and writes what streaming keeps."""

    def __init__(self, client: S3Client, bucket: str, executor: Executor) -> None:
        self._client = client
        self._bucket = bucket
        self._executor = executor

    def put_message(self, tenant: Tenant, place: Place, body: bytes) -> str:
        """Store a message that no queue takes; answer its key."""
        key = f"stream/{tenant.key}/messages/{place}"
        self._put(key, body, "application/octet-stream")
        return key

    def message(self, key: str) -> bytes:
        """Read a message by its key."""
        return self._get(key)

    def stage(self, window: Window, kind: StagedKind, rows: Sequence[StagedRow]) -> None:
        """Store rows that were processed together; the same rows again are the same object."""
        lines = [b'{"v":%d}' % FORMAT_VERSION, *(orjson.dumps([row.place, row.code, row.document]) for row in rows)]
        name = hashlib.blake2b("".join(row.place for row in rows).encode(), digest_size=16).hexdigest()
        body = zstandard.ZstdCompressor(level=_COMPRESSION).compress(b"\n".join([*lines, b""]))
        self._put(f"{_window(window)}{kind}/{name}", body, "application/zstd")

    def staged(self, window: Window) -> list[str]:
        """List the names of all that is staged in a window, the kind before each."""
        prefixes = [f"{_window(window)}{kind}/" for kind in StagedKind]
        pages = self._client.get_paginator("list_objects_v2")
        return sorted(
            item["Key"].removeprefix(_window(window))
            for prefix in prefixes
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix)
            for item in page.get("Contents", ())
        )

    def rows(self, window: Window, names: Sequence[str]) -> Iterator[StagedRow]:
        """Read staged rows, in the order of the names.

        Raises ValueError for a format that this version cannot read.
        """
        prefix = _window(window)
        for start in range(0, len(names), _READ_AT_ONCE):
            share = names[start : start + _READ_AT_ONCE]
            for body in self._executor.map(lambda name: self._get(prefix + name), share):
                yield from _rows_in(body)

    def fix_contents(self, window: Window, round_: int, names: Sequence[str]) -> None:
        """Note what a round gathers, unless that is noted already."""
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=_round(window, round_),
                Body=orjson.dumps({"v": FORMAT_VERSION, "names": names}),
                ContentType="application/json",
                Metadata=METADATA,
                IfNoneMatch="*",
            )
        except ClientError as error:
            # A conflict means that it is being written at this moment.
            if code_of(error) not in CHANGED | {"ConditionalRequestConflict"}:
                raise

    def contents(self, window: Window, round_: int) -> list[str] | None:
        """Read what a round gathers, ``None`` when that is not noted yet."""
        try:
            names: list[str] = orjson.loads(self._get(_round(window, round_)))["names"]
        except ClientError as error:
            if code_of(error) in MISSING:
                return None
            raise
        return names

    def _put(self, key: str, body: bytes, content_type: str) -> None:
        self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type, Metadata=METADATA)

    def _get(self, key: str) -> bytes:
        return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()


def _rows_in(body: bytes) -> Iterator[StagedRow]:
    with io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(body)) as lines:
        version: Any = orjson.loads(lines.readline()).get("v")
        if version != FORMAT_VERSION:
            raise ValueError(f"staged rows of format {version!r}: written by a newer version?")
        for line in lines:
            place, code, document = orjson.loads(line)
            yield StagedRow(Place(place), document, code)


def _window(window: Window) -> str:
    return f"stream/{window.tenant.key}/{window.dataset_id}/{window.start_ms:015d}/"


def _round(window: Window, round_: int) -> str:
    return f"{_window(window)}round-{round_}.json"
