"""Finding everybody by the sparse index, in order and shard by shard (docs/decisions/0001).

A person of several identities is found by the head that leads the graph, one of a single identity by what it has in its
datasets. The index lags behind the table: what is found is read again, and counts only if it still is what it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tessera.domain.identity import Xid
from tessera.domain.tenant import Tenant
from tessera.storage import profile_items as items

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_INDEX = "index"
# Sort before and after every character of an XID.
_BEFORE, _BEHIND = "!", "~"


@dataclass(frozen=True, slots=True)
class IndexPage:
    """Identities of a partition of the index in order, and whether there are more."""

    xids: list[Xid]
    more: bool


class PersonIndex:
    """The index of heads that lead, of records and of event streams."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def names(self, tenant: Tenant, dataset_ids: Iterable[str], shard: int, *, graphs: bool) -> list[str]:
        """Return the partitions in which the identities of a shard are; with ``graphs`` those of the heads too."""
        of_datasets = [items.dataset_index(tenant, dataset_id, shard) for dataset_id in dataset_ids]
        if not graphs:
            return of_datasets
        of_graphs = [items.graph_index(tenant, shard, collapsed=collapsed) for collapsed in (False, True)]
        return [*of_graphs, *of_datasets]

    def page(self, tenant: Tenant, name: str, after: str, before: str, limit: int) -> IndexPage:
        """List identities of a partition between two XIDs or beginnings of XIDs, ``""`` being no bound."""
        request = self._between(tenant, name, after and after + _BEFORE, before)
        answer = self._client.query(**request, Limit=limit)
        xids = [items.xid_of(item["pk"]["S"]) for item in answer["Items"]]
        return IndexPage(xids, "LastEvaluatedKey" in answer)

    def count(self, tenant: Tenant, name: str) -> int:
        """Count the identities of a partition."""
        request = self._between(tenant, name, "", "")
        found = 0
        while True:
            answer = self._client.query(**request, Select="COUNT")
            found += answer["Count"]
            if "LastEvaluatedKey" not in answer:
                return found
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _between(self, tenant: Tenant, name: str, low: str, high: str) -> dict[str, Any]:
        return {
            "TableName": self._table,
            "IndexName": _INDEX,
            "KeyConditionExpression": "ik = :name AND pk BETWEEN :low AND :high",
            "ExpressionAttributeValues": {
                ":name": {"S": name},
                ":low": {"S": items.partition(tenant, Xid(low))},
                ":high": {"S": items.partition(tenant, Xid(high + _BEHIND))},
            },
        }
