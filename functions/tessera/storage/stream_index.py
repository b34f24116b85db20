"""Finding the streams of a dataset by the sparse index, which lags behind the table: what is found is read again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tessera.domain.identity import Xid
from tessera.domain.tenant import Tenant
from tessera.storage import profile_items as items
from tessera.storage.stream_items import stream_sort

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_INDEX = "index"


@dataclass(frozen=True, slots=True)
class XidPage:
    """Identities that have a stream, in order, and the one behind which to go on, ``None`` at the end."""

    xids: list[Xid]
    last: Xid | None


class StreamIndex:
    """The index of event streams, by dataset and one of 256 shards of identities."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def page(self, tenant: Tenant, dataset_id: str, shard: int, after: Xid | None, limit: int) -> XidPage:
        """List identities of a shard that have a stream in a dataset, at most ``limit`` of them, behind ``after``."""
        request = self._partition(tenant, dataset_id, shard)
        if after is not None:
            request["ExclusiveStartKey"] = {
                **items.key(tenant, after, stream_sort(dataset_id)),
                "ik": {"S": items.dataset_index(tenant, dataset_id, shard)},
            }
        answer = self._client.query(**request, Limit=limit)
        last = answer.get("LastEvaluatedKey")
        return XidPage(
            [items.xid_of(item["pk"]["S"]) for item in answer["Items"]],
            None if last is None else items.xid_of(last["pk"]["S"]),
        )

    def count(self, tenant: Tenant, dataset_id: str, shard: int) -> int:
        """Count the identities of a shard that have a stream in a dataset."""
        request = self._partition(tenant, dataset_id, shard)
        found = 0
        while True:
            answer = self._client.query(**request, Select="COUNT")
            found += answer["Count"]
            if "LastEvaluatedKey" not in answer:
                return found
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _partition(self, tenant: Tenant, dataset_id: str, shard: int) -> dict[str, Any]:
        return {
            "TableName": self._table,
            "IndexName": _INDEX,
            "KeyConditionExpression": "ik = :name",
            "ExpressionAttributeValues": {":name": {"S": items.dataset_index(tenant, dataset_id, shard)}},
        }
