"""What erasures of persons keep in the data lake.

| key | holds |
|---|---|
| ``jobs/<tenant>/erasure/<job>/list/<part>.json`` | the identities of a part, in plain; gone for good once accepted |
| ``jobs/<tenant>/erasure/<job>/reached/<part>.json`` | the XIDs of everyone whom the part reaches |
| ``jobs/<tenant>/erasure/<job>/lines/<part>.json`` | what became of each line |
| ``jobs/<tenant>/erasure/<job>/unseen/<part>.json`` | the XIDs of the part that are looked for in the lake alone |
| ``jobs/<tenant>/erasure/<job>/looks/...`` | readings of the lake: see ``look_lake`` |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson
from botocore.exceptions import ClientError

from tessera.domain.erasure import Outcome
from tessera.domain.erasure_list import Entry
from tessera.domain.errors import NotFoundError
from tessera.domain.identity import Xid
from tessera.domain.tenant import Tenant
from tessera.storage.codec import FORMAT_VERSION
from tessera.storage.lake_objects import METADATA, MISSING, code_of, delete_versions

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# Line, outcome and, for a line that did not go as asked, why.
Line = tuple[int, Outcome, str]


class ErasureLake:
    """Reads and writes what erasures keep; every key is made here, from a tenant."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def write_list(self, tenant: Tenant, job_id: str, part: int, entries: Sequence[Entry]) -> None:
        """Write the identities of a part."""
        self._put(tenant, job_id, "list", part, [one.to_document() for one in entries])

    def listed(self, tenant: Tenant, job_id: str, part: int) -> list[Entry]:
        """Read the identities of a part. Raises NotFoundError once they are gone."""
        return [Entry.from_document(one) for one in self._get(tenant, job_id, "list", part)]

    def forget_lists(self, tenant: Tenant, job_id: str) -> None:
        """Delete the identities of all parts, every version of them."""
        delete_versions(self._client, self._bucket, f"{_prefix(tenant, job_id)}list/")

    def write_reached(self, tenant: Tenant, job_id: str, part: int, xids: Sequence[Xid]) -> None:
        """Write whom a part reaches."""
        self._put(tenant, job_id, "reached", part, list(xids))

    def reached(self, tenant: Tenant, job_id: str, part: int) -> list[Xid]:
        """Read whom a part reaches."""
        return [Xid(xid) for xid in self._get(tenant, job_id, "reached", part)]

    def write_unseen(self, tenant: Tenant, job_id: str, part: int, xids: Sequence[Xid]) -> None:
        """Write of whom of a part the profile store knows nothing."""
        self._put(tenant, job_id, "unseen", part, list(xids))

    def unseen(self, tenant: Tenant, job_id: str, part: int) -> list[Xid]:
        """Read of whom of a part the profile store knows nothing."""
        return [Xid(xid) for xid in self._get(tenant, job_id, "unseen", part)]

    def write_lines(self, tenant: Tenant, job_id: str, part: int, lines: Sequence[Line]) -> None:
        """Write what became of the lines of a part."""
        self._put(tenant, job_id, "lines", part, lines)

    def lines(self, tenant: Tenant, job_id: str, part: int) -> list[Line]:
        """Read what became of the lines of a part.

        Raises NotFoundError before the part is accepted, and when the lake does not keep it any more.
        """
        return [(line, Outcome(outcome), why) for line, outcome, why in self._get(tenant, job_id, "lines", part)]

    def _put(self, tenant: Tenant, job_id: str, kind: str, part: int, values: Sequence[Any]) -> None:
        self._client.put_object(
            Bucket=self._bucket,
            Key=_key(tenant, job_id, kind, part),
            Body=orjson.dumps({"v": FORMAT_VERSION, kind: values}),
            ContentType="application/json",
            Metadata=METADATA,
        )

    def _get(self, tenant: Tenant, job_id: str, kind: str, part: int) -> list[Any]:
        key = _key(tenant, job_id, kind, part)
        try:
            document = orjson.loads(self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read())
        except ClientError as error:
            if code_of(error) in MISSING:
                raise NotFoundError(f"Part {part} of erasure {job_id} is not there: not yet, or not any more") from None
            raise
        if document["v"] != FORMAT_VERSION:
            raise ValueError(f"{key} has format {document['v']!r}: written by a newer version?")
        values: list[Any] = document[kind]
        return values


def _prefix(tenant: Tenant, job_id: str) -> str:
    return f"jobs/{tenant.key}/erasure/{job_id}/"


def _key(tenant: Tenant, job_id: str, kind: str, part: int) -> str:
    return f"{_prefix(tenant, job_id)}{kind}/{part}.json"
