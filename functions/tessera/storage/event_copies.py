"""Copies of events: what others brought of an event that is shown from a lower place (laws 2 and 3).

No page of events and no look-up reads them. Who deletes what is shown does, for then the next one is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tessera.domain.identity import Xid
from tessera.domain.profile import Event
from tessera.domain.tenant import Tenant
from tessera.storage import profile_items as items

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_BEYOND = "~"


class EventCopies:
    """Copies of events. Reads are strongly consistent."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def copies(self, tenant: Tenant, xid: Xid, dataset_id: str = "") -> list[Event]:
        """Read the copies of an identity's events, of all or of those in a dataset, by dataset, key and place."""
        start = items.copies_sort(dataset_id)
        return list(self._copies(tenant, xid, start, start + _BEYOND))

    def copies_of(self, tenant: Tenant, events: Sequence[Event]) -> list[Event]:
        """Read the copies of some events of one identity in one dataset, by key and place."""
        keys = {event.key for event in events}
        xid, start = events[0].xid, items.copies_sort(events[0].dataset_id)
        found = self._copies(tenant, xid, start + min(keys), start + max(keys) + _BEYOND)
        return [event for event in found if event.key in keys]

    def put_copy(self, tenant: Tenant, event: Event) -> None:
        """Write a copy of an event; safe to repeat."""
        self._client.put_item(**self._copy_put(tenant, event)["Put"])

    def delete_copies(self, tenant: Tenant, events: Sequence[Event]) -> None:
        """Delete copies of events; safe to repeat."""
        for event in events:
            self._client.delete_item(TableName=self._table, Key=items.key(tenant, event.xid, items.copy_sort(event)))

    def _copies(self, tenant: Tenant, xid: Xid, low: str, high: str) -> Iterator[Event]:
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
            "ExpressionAttributeValues": {
                ":pk": {"S": items.partition(tenant, xid)},
                ":low": {"S": low},
                ":high": {"S": high},
            },
            "ConsistentRead": True,
        }
        while True:
            answer = self._client.query(**request)
            yield from map(items.copy_of, answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _copy_put(self, tenant: Tenant, event: Event) -> Any:
        return {"Put": {"TableName": self._table, "Item": items.copy_item(tenant, event)}}

    def _copy_removal(self, tenant: Tenant, event: Event) -> Any:
        """Describe the deletion of a copy that must be there."""
        return {
            "Delete": {
                "TableName": self._table,
                "Key": items.key(tenant, event.xid, items.copy_sort(event)),
                "ConditionExpression": "attribute_exists(pk)",
            }
        }
