"""What exports keep in the data lake.

| key | holds |
|---|---|
| ``jobs/<tenant>/export/<job>/plan.json`` | one JSON array of shares, for the map over them; written once |
| ``jobs/<tenant>/export/<job>/rows/<part>`` | rows that a worker gathered: zstd of JSON lines |
| ``jobs/<tenant>/export/<job>/shapes/<part>.json`` | what types the values of these rows have |
| ``jobs/<tenant>/export/<job>/columns.json`` | the columns of all files |
| ``jobs/<tenant>/export/<job>/files.json`` | one JSON array of files, for the map over them |
| ``jobs/<tenant>/export/<job>/files/<file>.json`` | what became of a file |
| ``exports/<tenant>/<batch>/<file>`` | a file of a batch, as Parquet |
| ``exports/<tenant>/<batch>/manifest.json`` | the batch's files with rows, sizes and checksums, and their columns |
| ``active/<tenant>/<dataset>/files`` | the addresses of the files of the dataset's active batches, a line each |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import orjson
import zstandard
from botocore.exceptions import ClientError

from tessera.domain.tenant import Tenant
from tessera.storage.codec import FORMAT_VERSION
from tessera.storage.lake_objects import CHANGED, METADATA, MISSING, code_of
from tessera.storage.received import FileChangedError, Read, StoredFile

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_READ_AT_ONCE = 32
_COMPRESSION = 1
_CONFLICT = "ConditionalRequestConflict"


class ExportLake:
    """Reads and writes the objects of exports; every key is made here, from a tenant."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    # The plan

    def plan_key(self, tenant: Tenant, job_id: int) -> str:
        """Key of the array of shares that the map reads."""
        return f"{_job(tenant, job_id)}plan.json"

    def write_plan(self, tenant: Tenant, job_id: int, shares: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Write the array of shares unless there is one; return the one that there is, whoever wrote it."""
        try:
            self._put(self.plan_key(tenant, job_id), orjson.dumps(shares), IfNoneMatch="*")
        except ClientError as error:
            if code_of(error) not in CHANGED | {_CONFLICT}:
                raise
        return self.plan(tenant, job_id)

    def plan(self, tenant: Tenant, job_id: int) -> list[Any]:
        """Read the array of shares."""
        found: list[Any] = orjson.loads(self._get(self.plan_key(tenant, job_id)))
        return found

    # What the workers gather

    def write_part(self, tenant: Tenant, job_id: int, part: str, rows: Sequence[bytes], shape: Any) -> None:
        """Write rows, each a JSON line without its line feed, and the shape of them all."""
        packed = zstandard.ZstdCompressor(level=_COMPRESSION).compress(b"\n".join([*rows, b""]))
        self._put(f"{_job(tenant, job_id)}rows/{part}", packed, "application/zstd")
        self._put(f"{_job(tenant, job_id)}shapes/{part}.json", orjson.dumps({"v": FORMAT_VERSION, "shape": shape}))

    def rows(self, tenant: Tenant, job_id: int, part: str) -> bytes:
        """Read the rows of a part, as JSON lines."""
        packed = self._get(f"{_job(tenant, job_id)}rows/{part}")
        return zstandard.ZstdDecompressor().decompress(packed)

    def shapes(self, tenant: Tenant, job_id: int, parts: Sequence[str]) -> Iterator[Any]:
        """Read the shapes of parts."""
        keys = [f"{_job(tenant, job_id)}shapes/{part}.json" for part in parts]
        return (document["shape"] for document in self._documents(keys))

    # What becomes files

    def write_columns(self, tenant: Tenant, job_id: int, columns: Mapping[str, Any]) -> None:
        """Write the columns of all files."""
        self._put(f"{_job(tenant, job_id)}columns.json", orjson.dumps({"v": FORMAT_VERSION, "columns": columns}))

    def columns(self, tenant: Tenant, job_id: int) -> Mapping[str, Any]:
        """Read the columns of all files."""
        (document,) = self._documents([f"{_job(tenant, job_id)}columns.json"])
        columns: Mapping[str, Any] = document["columns"]
        return columns

    def files_key(self, tenant: Tenant, job_id: int) -> str:
        """Key of the array of files that the map reads."""
        return f"{_job(tenant, job_id)}files.json"

    def write_files(self, tenant: Tenant, job_id: int, files: Sequence[Mapping[str, Any]]) -> None:
        """Write the array of files that are to be made."""
        self._put(self.files_key(tenant, job_id), orjson.dumps(files))

    def files(self, tenant: Tenant, job_id: int) -> list[Any]:
        """Read the array of files that are to be made."""
        found: list[Any] = orjson.loads(self._get(self.files_key(tenant, job_id)))
        return found

    def write_file(self, tenant: Tenant, batch_id: str, name: str, body: bytes) -> StoredFile:
        """Write a file of a batch."""
        key = f"{_batch(tenant, batch_id)}{name}"
        answer = self._put(key, body, "application/vnd.apache.parquet")
        return StoredFile(name, len(body), answer["ETag"].strip('"'), answer.get("VersionId", ""))

    def write_result(self, tenant: Tenant, job_id: int, file: int, result: Mapping[str, Any]) -> None:
        """Note what became of a file."""
        key = f"{_job(tenant, job_id)}files/{file}.json"
        self._put(key, orjson.dumps({"v": FORMAT_VERSION, **result}))

    def results(self, tenant: Tenant, job_id: int, files: Iterable[int]) -> Iterator[Mapping[str, Any]]:
        """Read what became of files. Raises RuntimeError when one was not written."""
        return self._documents([f"{_job(tenant, job_id)}files/{file}.json" for file in files])

    # What readers see of batches that are active

    def write_manifest(self, tenant: Tenant, batch_id: str, manifest: Mapping[str, Any]) -> None:
        """Write the list of a batch's files."""
        self._put(f"{_batch(tenant, batch_id)}manifest.json", orjson.dumps({"v": FORMAT_VERSION, **manifest}))

    def manifest(self, tenant: Tenant, batch_id: str) -> Mapping[str, Any]:
        """Read the list of a batch's files."""
        document: Mapping[str, Any]
        (document,) = self._documents([f"{_batch(tenant, batch_id)}manifest.json"])
        return document

    def reader(self, tenant: Tenant, batch_id: str, file: StoredFile) -> Read:
        """Return a function that reads bytes ``start`` to ``end`` (exclusive) of the very content of ``file``.

        It raises FileChangedError when that content is no longer there.
        """
        version = {} if file.version in {"", "null"} else {"VersionId": file.version}

        def read(start: int, end: int) -> bytes:
            if end <= start:
                return b""
            wanted = f"bytes={start}-{end - 1}"
            key = f"{_batch(tenant, batch_id)}{file.name}"
            try:
                answer = self._client.get_object(Bucket=self.bucket, Key=key, Range=wanted, **version)  # type: ignore[arg-type]
            except ClientError as error:
                if code_of(error) in MISSING | {"NoSuchVersion"}:
                    raise FileChangedError(file.name) from error
                raise
            return answer["Body"].read()

        return read

    def point_at(self, tenant: Tenant, dataset_id: str, batches: Mapping[str, Sequence[str]]) -> None:
        """Make queries see these files of these batches, and no other, of a dataset."""
        lines = [
            f"s3://{self.bucket}/{_batch(tenant, batch_id)}{name}\n"
            for batch_id, names in batches.items()
            for name in names
        ]
        self._put(f"active/{tenant.key}/{dataset_id}/files", "".join(lines).encode(), "text/plain")

    def remove_batch(self, tenant: Tenant, batch_id: str) -> None:
        """Delete what there is of a batch; the lake keeps former versions of its objects for a while."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=_batch(tenant, batch_id)
        )
        for page in pages:
            for item in page.get("Contents", ()):
                self._client.delete_object(Bucket=self.bucket, Key=item["Key"])

    def _documents(self, keys: Sequence[str]) -> Iterator[Any]:
        with ThreadPoolExecutor(min(_READ_AT_ONCE, len(keys)) or 1) as pool:
            for key, body in zip(keys, pool.map(self._get, keys), strict=True):
                document = orjson.loads(body)
                if document.get("v") != FORMAT_VERSION:
                    raise ValueError(f"{key} has format {document.get('v')!r}: written by a newer version?")
                yield document

    def _put(self, key: str, body: bytes, content_type: str = "application/json", **condition: Any) -> Any:
        return self._client.put_object(
            Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, Metadata=METADATA, **condition
        )

    def _get(self, key: str) -> bytes:
        try:
            return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except ClientError as error:
            if code_of(error) in MISSING:
                raise RuntimeError(f"{key} is missing") from error
            raise


def _job(tenant: Tenant, job_id: int) -> str:
    return f"jobs/{tenant.key}/export/{job_id}/"


def _batch(tenant: Tenant, batch_id: str) -> str:
    return f"exports/{tenant.key}/{batch_id}/"
