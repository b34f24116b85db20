"""Until when events and their copies are stored, whatever their bodies say: DynamoDB deletes them by their ``ttl``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from tessera.domain.identity import Xid
from tessera.domain.place import Place
from tessera.domain.tenant import Tenant
from tessera.storage import profile_items as items
from tessera.storage.registry import lost_race

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_BEYOND = "~"


class StoredEvent(NamedTuple):
    """An event of an identity, or a copy of one, without its body.

    ``stored_until_s`` is in seconds since 1970, ``None`` for ever.
    """

    sort: str
    place: Place
    stored_until_s: int | None

    @property
    def key(self) -> str:
        """Key of the event."""
        return items.key_of_event(self.sort)


class StoredEvents:
    """Reads and changes until when events are stored. Reads are strongly consistent."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def each(self, tenant: Tenant, xid: Xid, dataset_id: str) -> Iterator[StoredEvent]:
        """Walk the events of an identity in a dataset, in order of time, and then the copies.

        What becomes one from the other meanwhile has been renewed by who does that.
        """
        for low in (items.event_sort(""), items.copies_sort(dataset_id)):
            yield from self._walk(tenant, xid, dataset_id, low)

    def _walk(self, tenant: Tenant, xid: Xid, dataset_id: str, low: str) -> Iterator[StoredEvent]:
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :beyond",
            "FilterExpression": "d = :dataset",
            "ProjectionExpression": "sk, p, #ttl",
            "ExpressionAttributeNames": {"#ttl": "ttl"},
            "ExpressionAttributeValues": {
                ":pk": {"S": items.partition(tenant, xid)},
                ":first": {"S": low},
                ":beyond": {"S": low + _BEYOND},
                ":dataset": {"S": dataset_id},
            },
            "ConsistentRead": True,
        }
        while True:
            answer = self._client.query(**request)
            for item in answer["Items"]:
                until = int(item["ttl"]["N"]) if "ttl" in item else None
                yield StoredEvent(item["sk"]["S"], Place(item["p"]["S"]), until)
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def keep_until(self, tenant: Tenant, xid: Xid, event: StoredEvent, until_s: int | None) -> None:
        """Say anew until when an event is stored, unless it was written since: then its writer has said so."""
        write = self._unchanged(tenant, xid, event)
        write["UpdateExpression"] = "REMOVE #ttl" if until_s is None else "SET #ttl = :until"
        if until_s is not None:
            write["ExpressionAttributeValues"][":until"] = {"N": str(until_s)}
        try:
            self._client.update_item(**write)
        except ClientError as error:
            if not lost_race(error):
                raise

    def delete(self, tenant: Tenant, xid: Xid, event: StoredEvent) -> None:
        """Delete an event, unless it was written since."""
        try:
            self._client.delete_item(**self._unchanged(tenant, xid, event))
        except ClientError as error:
            if not lost_race(error):
                raise

    def _unchanged(self, tenant: Tenant, xid: Xid, event: StoredEvent) -> dict[str, Any]:
        values: dict[str, Any] = {":place": {"S": event.place}}
        same = "attribute_not_exists(#ttl)"
        if event.stored_until_s is not None:
            same, values[":known"] = "#ttl = :known", {"N": str(event.stored_until_s)}
        return {
            "TableName": self._table,
            "Key": items.key(tenant, xid, event.sort),
            "ConditionExpression": f"p = :place AND {same}",
            "ExpressionAttributeNames": {"#ttl": "ttl"},
            "ExpressionAttributeValues": values,
        }
