"""What the steps of a deletion leave for each other in the lake.

| key | holds |
|---|---|
| ``jobs/<tenant>/purge/<job>/shares.json`` | one JSON array of shares, for the maps over them; written once |
| ``jobs/<tenant>/purge/<job>/pages/<share>/<number>.json`` | whom a page of a share is about; written once |
| ``jobs/<tenant>/purge/<job>/<step>/<share>.json`` | how far a worker is |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import orjson
from botocore.exceptions import ClientError

from tessera.domain.tenant import Tenant
from tessera.storage.codec import FORMAT_VERSION
from tessera.storage.lake_objects import CHANGED, METADATA, code_of, read_json

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_READ_AT_ONCE = 32
_CONFLICT = "ConditionalRequestConflict"


class PurgeLake:
    """Reads and writes what deletions note; every key is made here, from a tenant."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def shares_key(self, tenant: Tenant, job_id: str) -> str:
        """Key of the array of shares that the maps read."""
        return f"{_job(tenant, job_id)}shares.json"

    def write_shares(self, tenant: Tenant, job_id: str, shares: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Write the array of shares unless there is one; return the one that there is, whoever wrote it."""
        self._put_once(self.shares_key(tenant, job_id), shares)
        return self.shares(tenant, job_id)

    def shares(self, tenant: Tenant, job_id: str) -> list[Any]:
        """Read the array of shares, empty when there is none."""
        found: list[Any] | None = self._read(self.shares_key(tenant, job_id))
        return found or []

    def fix_page(self, tenant: Tenant, job_id: str, share: str, number: int, page: Mapping[str, Any]) -> Any:
        """Write a page unless there is one; return the one that there is, whoever wrote it."""
        self._put_once(_page(tenant, job_id, share, number), {"v": FORMAT_VERSION, **page})
        return self.page(tenant, job_id, share, number)

    def page(self, tenant: Tenant, job_id: str, share: str, number: int) -> Any | None:
        """Read a page, ``None`` when there is none."""
        return self._read(_page(tenant, job_id, share, number))

    def write_checkpoint(
        self, tenant: Tenant, job_id: str, step: str, share: str, checkpoint: Mapping[str, Any]
    ) -> None:
        """Write how far a worker is in a step."""
        body = orjson.dumps({"v": FORMAT_VERSION, **checkpoint})
        self._put(f"{_job(tenant, job_id)}{step}/{share}.json", body)

    def checkpoints(
        self, tenant: Tenant, job_id: str, step: str, shares: Sequence[str]
    ) -> Iterator[Mapping[str, Any] | None]:
        """Read how far some workers are, in their order; ``None`` for one that has not begun."""
        prefix = f"{_job(tenant, job_id)}{step}/"
        with ThreadPoolExecutor(min(_READ_AT_ONCE, len(shares)) or 1) as pool:
            yield from pool.map(lambda share: self._read(f"{prefix}{share}.json"), shares)

    def _put(self, key: str, body: bytes, **conditions: Any) -> None:
        self._client.put_object(
            Bucket=self.bucket, Key=key, Body=body, ContentType="application/json", Metadata=METADATA, **conditions
        )

    def _put_once(self, key: str, document: Any) -> None:
        try:
            self._put(key, orjson.dumps(document), IfNoneMatch="*")
        except ClientError as error:
            # A conflict means that another one is being written at this moment.
            if code_of(error) not in CHANGED | {_CONFLICT}:
                raise

    def _read(self, key: str) -> Any | None:
        return read_json(self._client, self.bucket, key)


def _job(tenant: Tenant, job_id: str) -> str:
    return f"jobs/{tenant.key}/purge/{job_id}/"


def _page(tenant: Tenant, job_id: str, share: str, number: int) -> str:
    return f"{_job(tenant, job_id)}pages/{share}/{number:06d}.json"
