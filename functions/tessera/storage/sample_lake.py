"""What samples keep in the data lake.

| key | holds |
|---|---|
| ``jobs/<tenant>/sample/<job>/plan.json`` | one JSON array of shares, for the map over them; written once |
| ``jobs/<tenant>/sample/<job>/tallies/<name>`` | what a worker has counted of its share so far |
| ``samples/<tenant>/<job>.json`` | all reports of a job by name |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import orjson
from botocore.exceptions import ClientError

from tessera.domain.tenant import Tenant
from tessera.storage.codec import FORMAT_VERSION, pack, unpack
from tessera.storage.lake_objects import CHANGED, METADATA, MISSING, code_of

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_READ_AT_ONCE = 32
_CONFLICT = "ConditionalRequestConflict"
_JSON, _PACKED = "application/json", "application/octet-stream"


class SampleLake:
    """Reads and writes the objects of samples; every key is made here, from a tenant."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def plan_key(self, tenant: Tenant, job_id: str) -> str:
        """Key of the array of shares that the map reads."""
        return f"{_job(tenant, job_id)}plan.json"

    def write_plan(self, tenant: Tenant, job_id: str, shares: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Write the array of shares unless there is one; return the one that there is, whoever wrote it."""
        try:
            self._put(self.plan_key(tenant, job_id), orjson.dumps(shares), _JSON, IfNoneMatch="*")
        except ClientError as error:
            if code_of(error) not in CHANGED | {_CONFLICT}:
                raise
        return self.plan(tenant, job_id)

    def plan(self, tenant: Tenant, job_id: str) -> list[Any]:
        """Read the array of shares. Raises RuntimeError when there is none."""
        found: list[Any] = orjson.loads(self._expected(self.plan_key(tenant, job_id)))
        return found

    def write_tally(self, tenant: Tenant, job_id: str, name: str, tally: Mapping[str, Any]) -> None:
        """Write what a worker has counted."""
        self._put(f"{_job(tenant, job_id)}tallies/{name}", pack(tally), _PACKED)

    def tallies(self, tenant: Tenant, job_id: str, names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Read what workers have counted. Raises RuntimeError when one was not written."""
        keys = [f"{_job(tenant, job_id)}tallies/{name}" for name in names]
        with ThreadPoolExecutor(min(_READ_AT_ONCE, len(keys)) or 1) as pool:
            yield from map(unpack, pool.map(self._expected, keys))

    def write_reports(self, tenant: Tenant, job_id: str, reports: Mapping[str, Any]) -> None:
        """Write all reports of a job, in the order in which they are shown."""
        self._put(_reports(tenant, job_id), orjson.dumps({"v": FORMAT_VERSION, "reports": reports}), _JSON)

    def reports(self, tenant: Tenant, job_id: str) -> Mapping[str, Any] | None:
        """Read all reports of a job, ``None`` when they are not kept any more."""
        body = self._get(_reports(tenant, job_id))
        if body is None:
            return None
        document = orjson.loads(body)
        if document["v"] != FORMAT_VERSION:
            raise ValueError(f"the reports of {job_id} have format {document['v']!r}: written by a newer version?")
        reports: Mapping[str, Any] = document["reports"]
        return reports

    def _put(self, key: str, body: bytes, content_type: str, **condition: Any) -> None:
        self._client.put_object(
            Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, Metadata=METADATA, **condition
        )

    def _expected(self, key: str) -> bytes:
        body = self._get(key)
        if body is None:
            raise RuntimeError(f"{key} is missing")
        return body

    def _get(self, key: str) -> bytes | None:
        try:
            return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except ClientError as error:
            if code_of(error) in MISSING:
                return None
            raise


def _job(tenant: Tenant, job_id: str) -> str:
    return f"jobs/{tenant.key}/sample/{job_id}/"


def _reports(tenant: Tenant, job_id: str) -> str:
    return f"samples/{tenant.key}/{job_id}.json"
