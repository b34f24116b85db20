"""The data lake: files as received, judged rows, and what the steps of a job leave for each other.

| key | holds |
|---|---|
| ``raw/...`` | files as received: see ``received`` |
| ``drop/...``, ``drop-rejected/...`` | files that others put there: see ``drop_folder`` |
| ``staged/<tenant>/<batch>/<chunk>`` | accepted rows: zstd of JSON lines, the first says the format version; a line |
| | whose row was erased is empty |
| ``rejected/<tenant>/<batch>/row_errors/<file>`` | rejected rows with their reasons, as JSON lines |
| ``jobs/<tenant>/ingest/<batch>/plan.json`` | the files of the batch and how they are split; written once, and anew |
| | when rows were erased from a file |
| ``jobs/<tenant>/ingest/<batch>/manifest.json`` | one JSON array of chunks, for the map over them |
| ``jobs/<tenant>/ingest/<batch>/removals.json`` | one JSON array of chunks of the batches it replaces |
| ``jobs/<tenant>/ingest/<batch>/<step>/<chunk>.json`` | what a worker found |
| ``jobs/<tenant>/erasure/...`` | lists of persons who are erased: see ``erasure_lake`` |
| ``stream/...`` | streamed messages and their rows: see ``stream_lake`` |
| ``jobs/<tenant>/backfill/<job>/manifest.json`` | one JSON array of shares, for the map over them |
| ``jobs/<tenant>/backfill/<job>/<share>.json`` | how far a worker is |

Objects of ours carry their format version in their metadata; files as received are the caller's.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace
from typing import Any

import orjson
import zstandard
from botocore.exceptions import ClientError

from tessera.domain.errors import NotFoundError
from tessera.domain.tenant import Tenant
from tessera.storage.codec import FORMAT_VERSION
from tessera.storage.lake_objects import CHANGED, METADATA, MISSING, code_of, delete_versions
from tessera.storage.received import ReceivedFiles, StoredFile, checked_path, raw_prefix

_COMPRESSION = 1
_READ_AT_ONCE = 32
_LINES_PER_WRITE = 256


class Lake(ReceivedFiles):
    """Reads and writes the lake's objects; every key is made here, from a tenant."""

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

    def staged_chunks(self, tenant: Tenant, batch_id: str) -> list[str]:
        """List the chunks of a batch that were staged."""
        return [file.name for file in self._list(_staged(tenant, batch_id, ""))]

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

    def discard(self, tenant: Tenant, batch_id: str, *, rows: bool = False) -> int:
        """Delete the files of a batch as received and its rejected rows, every version of them, for good.

        With ``rows`` also its accepted rows and what the steps of its ingestion noted. Returns how many versions of
        objects there were.
        """
        prefixes = [raw_prefix(tenant, batch_id), f"rejected/{tenant.key}/{batch_id}/"]
        if rows:
            prefixes += [_staged(tenant, batch_id, ""), _job(tenant, batch_id)]
        return sum(delete_versions(self._client, self.bucket, prefix) for prefix in prefixes)

    # What the steps of a job leave for each other

    def manifest_key(self, tenant: Tenant, batch_id: str) -> str:
        """Key of the array of chunks that the map reads."""
        return f"{_job(tenant, batch_id)}manifest.json"

    def write_manifest(self, tenant: Tenant, batch_id: str, chunks: Sequence[Mapping[str, Any]]) -> None:
        """Write the array of chunks."""
        self._put(self.manifest_key(tenant, batch_id), orjson.dumps(chunks), "application/json")

    def removals_key(self, tenant: Tenant, batch_id: str) -> str:
        """Key of the array of chunks of replaced batches that the map reads."""
        return f"{_job(tenant, batch_id)}removals.json"

    def write_removals(self, tenant: Tenant, batch_id: str, shares: Sequence[Mapping[str, Any]]) -> None:
        """Write the array of chunks of replaced batches."""
        self._put(self.removals_key(tenant, batch_id), orjson.dumps(shares), "application/json")

    def write_plan(self, tenant: Tenant, batch_id: str, plan: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write the plan of a batch unless it has one; return the one it has, whoever wrote it."""
        try:
            self._client.put_object(
                Bucket=self.bucket,
                Key=f"{_job(tenant, batch_id)}plan.json",
                Body=orjson.dumps({"v": FORMAT_VERSION, **plan}),
                ContentType="application/json",
                Metadata=METADATA,
                IfNoneMatch="*",
            )
        except ClientError as error:
            # A conflict means that another plan is being written at this moment.
            if code_of(error) not in CHANGED | {"ConditionalRequestConflict"}:
                raise
        found = self.plan(tenant, batch_id)
        if found is None:
            raise RuntimeError(f"the plan of batch {batch_id} is missing")
        return found

    def plan(self, tenant: Tenant, batch_id: str) -> Mapping[str, Any] | None:
        """Read the plan of a batch, or ``None``."""
        return self._document(f"{_job(tenant, batch_id)}plan.json")

    def note_rewritten(
        self, tenant: Tenant, batch_id: str, name: str, version: str, file: StoredFile, rows: int
    ) -> None:
        """Note in the plan, if there is one, that a version of a file was written anew without some rows.

        Nothing when that is noted already.
        """
        key = f"{_job(tenant, batch_id)}plan.json"
        while True:
            try:
                answer = self._client.get_object(Bucket=self.bucket, Key=key)
                plan = without_rows(orjson.loads(answer["Body"].read()), name, version, file, rows)
                if plan is None:
                    return
                self._client.put_object(
                    Bucket=self.bucket,
                    Key=key,
                    Body=orjson.dumps(plan),
                    ContentType="application/json",
                    Metadata=METADATA,
                    IfMatch=answer["ETag"],
                )
            except ClientError as error:
                if code_of(error) in MISSING:
                    return
                if code_of(error) not in CHANGED | {"ConditionalRequestConflict"}:
                    raise
            else:
                return

    def write_result(self, tenant: Tenant, batch_id: str, step: str, chunk: str, result: Mapping[str, Any]) -> None:
        """Write what a worker found."""
        key = f"{_job(tenant, batch_id)}{step}/{chunk}.json"
        self._put(key, orjson.dumps({"v": FORMAT_VERSION, **result}), "application/json")

    def result(self, tenant: Tenant, batch_id: str, step: str, chunk: str) -> Mapping[str, Any] | None:
        """Read what a worker found, ``None`` if it has written nothing yet."""
        return self._document(f"{_job(tenant, batch_id)}{step}/{chunk}.json")

    def results(self, tenant: Tenant, batch_id: str, step: str, chunks: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Read what the workers of a step found, in the order of ``chunks``.

        Raises RuntimeError when one has not written its result.
        """

        def read(chunk: str) -> Mapping[str, Any]:
            found = self.result(tenant, batch_id, step, chunk)
            if found is None:
                raise RuntimeError(f"chunk {chunk} of batch {batch_id} has no result of {step}")
            return found

        with ThreadPoolExecutor(min(_READ_AT_ONCE, len(chunks)) or 1) as pool:
            yield from pool.map(read, chunks)

    # What the steps of a backfill leave for each other

    def shares_key(self, tenant: Tenant, job_id: str) -> str:
        """Key of the array of shares that the map reads."""
        return f"{_backfill(tenant, job_id)}manifest.json"

    def write_shares(self, tenant: Tenant, job_id: str, shares: Sequence[Mapping[str, Any]]) -> None:
        """Write the array of shares."""
        self._put(self.shares_key(tenant, job_id), orjson.dumps(shares), "application/json")

    def shares(self, tenant: Tenant, job_id: str) -> list[Mapping[str, Any]]:
        """Read the array of shares. Raises RuntimeError when it was not written."""
        body = self._get(self.shares_key(tenant, job_id))
        if body is None:
            raise RuntimeError(f"job {job_id} has no plan")
        found: list[Mapping[str, Any]] = orjson.loads(body)
        return found

    def write_checkpoint(self, tenant: Tenant, job_id: str, share: str, checkpoint: Mapping[str, Any]) -> None:
        """Write how far the worker of a share is."""
        key = f"{_backfill(tenant, job_id)}{share}.json"
        self._put(key, orjson.dumps({"v": FORMAT_VERSION, **checkpoint}), "application/json")

    def checkpoints(self, tenant: Tenant, job_id: str, shares: Sequence[str]) -> Iterator[Mapping[str, Any] | None]:
        """Read how far the workers of some shares are, in their order; ``None`` for one that has not begun."""
        prefix = _backfill(tenant, job_id)
        with ThreadPoolExecutor(min(_READ_AT_ONCE, len(shares)) or 1) as pool:
            yield from pool.map(lambda share: self._document(f"{prefix}{share}.json"), shares)

    def _document(self, key: str) -> Mapping[str, Any] | None:
        body = self._get(key)
        if body is None:
            return None
        document: dict[str, Any] = orjson.loads(body)
        if document.get("v") != FORMAT_VERSION:
            raise ValueError(f"{key} has format {document.get('v')!r}: written by a newer version?")
        return document

    def _put(self, key: str, body: bytes, content_type: str) -> None:
        self._client.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, Metadata=METADATA)

    def _get(self, key: str) -> bytes | None:
        try:
            return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except ClientError as error:
            if code_of(error) in MISSING:
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


def without_rows(
    plan: Mapping[str, Any], name: str, version: str, file: StoredFile, rows: int
) -> dict[str, Any] | None:
    """Return a plan in which a version of a file is replaced by one without some rows; ``None`` if it has no such one.

    ``erased`` tells how many rows were taken out of which file.
    """
    files = [StoredFile(*one) for one in plan["files"]]
    if not any((one.name, one.version) == (name, version) for one in files):
        return None
    erased = dict(plan.get("erased", {}))
    erased[name] = erased.get(name, 0) + rows
    after = replace(file, name=name)
    return {**plan, "files": [list(astuple(after if one.name == name else one)) for one in files], "erased": erased}


def _staged(tenant: Tenant, batch_id: str, chunk: str) -> str:
    return f"staged/{tenant.key}/{batch_id}/{chunk}"


def _rejected(tenant: Tenant, batch_id: str) -> str:
    return f"rejected/{tenant.key}/{batch_id}/row_errors/"


def _job(tenant: Tenant, batch_id: str) -> str:
    return f"jobs/{tenant.key}/ingest/{batch_id}/"


def _backfill(tenant: Tenant, attribute_id: str) -> str:
    return f"jobs/{tenant.key}/backfill/{attribute_id}/"
