"""What the readings of the lake leave for each other when persons are erased from it.

| key, behind ``jobs/<tenant>/erasure/<job>/looks/<number>/`` | holds |
|---|---|
| ``manifest.json`` | one JSON array of shares, for the map over them |
| ``wanted.json`` | the XIDs that are looked for, each with the time up to which its rows go |
| ``objects/<share>.json`` | the objects of a share |
| ``shares/<share>.json`` | how far a worker is |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import orjson

from tessera.domain.identity import Xid
from tessera.domain.tenant import Tenant
from tessera.storage.codec import FORMAT_VERSION
from tessera.storage.lake_objects import METADATA, read_json
from tessera.storage.row_objects import RowObject

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_READ_AT_ONCE = 32


class LookLake:
    """Reads and writes what readings note; every key is made here, from a tenant."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def manifest_key(self, tenant: Tenant, job_id: str, number: int) -> str:
        """Key of the array of shares that the map reads."""
        return f"{_look(tenant, job_id, number)}manifest.json"

    def write_manifest(self, tenant: Tenant, job_id: str, number: int, shares: Sequence[str]) -> None:
        """Write the array of shares."""
        self._put(self.manifest_key(tenant, job_id, number), [{"name": share, "number": number} for share in shares])

    def shares(self, tenant: Tenant, job_id: str, number: int) -> list[str]:
        """Read the names of the shares. Raises RuntimeError when they were not written."""
        return [share["name"] for share in self._expected(self.manifest_key(tenant, job_id, number))]

    def write_wanted(self, tenant: Tenant, job_id: str, number: int, wanted: Mapping[Xid, int]) -> None:
        """Write whose rows up to which time are looked for, in milliseconds since 1970."""
        self._put(f"{_look(tenant, job_id, number)}wanted.json", {"v": FORMAT_VERSION, "wanted": wanted})

    def wanted(self, tenant: Tenant, job_id: str, number: int) -> dict[Xid, int]:
        """Read whose rows are looked for. Raises RuntimeError when that was not written."""
        found: dict[Xid, int] = self._expected(f"{_look(tenant, job_id, number)}wanted.json")["wanted"]
        return found

    def write_objects(self, tenant: Tenant, job_id: str, number: int, share: str, objects: Sequence[RowObject]) -> None:
        """Write the objects of a share."""
        document = {"v": FORMAT_VERSION, "objects": [one.to_document() for one in objects]}
        self._put(f"{_look(tenant, job_id, number)}objects/{share}.json", document)

    def objects(self, tenant: Tenant, job_id: str, number: int, share: str) -> list[RowObject]:
        """Read the objects of a share. Raises RuntimeError when they were not written."""
        document = self._expected(f"{_look(tenant, job_id, number)}objects/{share}.json")
        return [RowObject.from_document(one) for one in document["objects"]]

    def write_checkpoint(
        self, tenant: Tenant, job_id: str, number: int, share: str, checkpoint: Mapping[str, Any]
    ) -> None:
        """Write how far a worker is."""
        self._put(f"{_look(tenant, job_id, number)}shares/{share}.json", {"v": FORMAT_VERSION, **checkpoint})

    def checkpoints(
        self, tenant: Tenant, job_id: str, number: int, shares: Sequence[str]
    ) -> Iterator[Mapping[str, Any] | None]:
        """Read how far some workers are, in their order; ``None`` for one that has not begun."""
        prefix = f"{_look(tenant, job_id, number)}shares/"
        with ThreadPoolExecutor(min(_READ_AT_ONCE, len(shares)) or 1) as pool:
            yield from pool.map(lambda share: self._read(f"{prefix}{share}.json"), shares)

    def _put(self, key: str, document: Any) -> None:
        self._client.put_object(
            Bucket=self.bucket,
            Key=key,
            Body=orjson.dumps(document),
            ContentType="application/json",
            Metadata=METADATA,
        )

    def _expected(self, key: str) -> Any:
        found = self._read(key)
        if found is None:
            raise RuntimeError(f"{key} is missing")
        return found

    def _read(self, key: str) -> Any | None:
        return read_json(self._client, self.bucket, key)


def _look(tenant: Tenant, job_id: str, number: int) -> str:
    return f"jobs/{tenant.key}/erasure/{job_id}/looks/{number}/"
