"""Which rows batches have that gather streamed ones: one object each, ``places/<tenant>/<dataset>/<batch>``.

It is a line of JSON with the format version and the first and the last place, then the hashes of all places. It is
written with the batch, before its record, and kept with it. Once it is let go it stays for as long as a restore or a
dead letter may still ask for it (infra/storage.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from botocore.exceptions import ClientError

from tessera.domain.place import Place
from tessera.domain.place_set import PlaceSet
from tessera.domain.tenant import Tenant
from tessera.storage.codec import FORMAT_VERSION
from tessera.storage.lake_objects import METADATA, MISSING, code_of

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# By this tag a rule of the bucket knows what it is to delete after some time.
LET_GO = "state=let-go"


class StreamedRows:
    """Reads and writes which rows batches have."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def keep(self, tenant: Tenant, dataset_id: str, batch_id: str, places: PlaceSet) -> None:
        """Write the places of a batch's rows, to be kept until they are let go."""
        self._put(tenant, dataset_id, batch_id, places)

    def get(self, tenant: Tenant, dataset_id: str, batch_id: str) -> PlaceSet | None:
        """Read the places of a batch's rows, ``None`` when they were not kept.

        Raises ValueError for a format that this version cannot read.
        """
        key = _key(tenant, dataset_id, batch_id)
        try:
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        except ClientError as error:
            if code_of(error) in MISSING:
                return None
            raise
        first, _, hashes = body.partition(b"\n")
        document = orjson.loads(first)
        if document["v"] != FORMAT_VERSION:
            raise ValueError(f"{key} has format {document['v']!r}: written by a newer version?")
        return PlaceSet(Place(document["low"]), Place(document["high"]), hashes)

    def let_go(self, tenant: Tenant, dataset_id: str, batch_id: str) -> None:
        """Have the places of a batch's rows deleted after some time, if they were kept. Safe to repeat."""
        places = self.get(tenant, dataset_id, batch_id)
        if places is not None:
            self._put(tenant, dataset_id, batch_id, places, Tagging=LET_GO)

    def _put(self, tenant: Tenant, dataset_id: str, batch_id: str, places: PlaceSet, **more: Any) -> None:
        first = orjson.dumps({"v": FORMAT_VERSION, "low": places.low, "high": places.high})
        self._client.put_object(
            Bucket=self._bucket,
            Key=_key(tenant, dataset_id, batch_id),
            Body=b"\n".join([first, places.hashes]),
            ContentType="application/octet-stream",
            Metadata=METADATA,
            **more,
        )


def _key(tenant: Tenant, dataset_id: str, batch_id: str) -> str:
    return f"places/{tenant.key}/{dataset_id}/{batch_id}"
