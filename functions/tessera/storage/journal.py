"""The journal of accepted deletes: one object each under ``journal/<tenant>/<job>.json``, kept for good.

A table that is restored to a point in time has again what was deleted since. So the journal is replayed before the
restored table serves (docs/operations.md). It holds places and hashes of identities, never a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from tessera.domain.tenant import Tenant
from tessera.storage.codec import FORMAT_VERSION
from tessera.storage.lake_objects import METADATA

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


class Journal:
    """Writes and reads the journal."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def note(self, tenant: Tenant, job_id: str, entry: Mapping[str, Any]) -> None:
        """Write an entry; the same job again is the same object."""
        self._client.put_object(
            Bucket=self._bucket,
            Key=f"journal/{tenant.key}/{job_id}.json",
            Body=orjson.dumps({"v": FORMAT_VERSION, "tenant": [tenant.org_id, tenant.sandbox], **entry}),
            ContentType="application/json",
            Metadata=METADATA,
        )

    def entries(self) -> Iterator[tuple[Tenant, dict[str, Any]]]:
        """Read all entries of all tenants; of a tenant, the oldest first.

        Raises ValueError for a format that this version cannot read.
        """
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix="journal/")
        for page in pages:
            for item in page.get("Contents", ()):
                body = self._client.get_object(Bucket=self._bucket, Key=item["Key"])["Body"].read()
                entry: dict[str, Any] = orjson.loads(body)
                if entry["v"] != FORMAT_VERSION:
                    raise ValueError(f"{item['Key']} has format {entry['v']!r}: written by a newer version?")
                yield Tenant(*entry["tenant"]), entry
