"""Reads and writes of the profile table: one method, one call to DynamoDB or one conditional protocol."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tessera.domain.graph import Head
from tessera.domain.identity import Xid
from tessera.domain.place import Place
from tessera.domain.profile import Event, EventStream, IdentityItems, RecordFragment
from tessera.domain.tenant import Tenant
from tessera.storage import profile_items as items
from tessera.storage.registry import LostRaceError, lost_race

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_BATCH_GET = 100


class Written(Enum):
    """What became of a row."""

    NEW = "new"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events of one identity in order, the size read in bytes, and whether there may be more behind them."""

    events: list[Event]
    bytes_read: int
    more: bool


class ProfileTable:
    """The profile store's table. Reads are strongly consistent."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def identity(self, tenant: Tenant, xid: Xid) -> IdentityItems | None:
        """Read everything of an identity but its events: one Query, more only above 1 MB."""
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk >= :head",
            "ExpressionAttributeValues": {":pk": {"S": items.partition(tenant, xid)}, ":head": {"S": items.HEAD}},
            "ConsistentRead": True,
        }
        head: Head | None = None
        fragments: list[RecordFragment] = []
        streams: list[EventStream] = []
        while True:
            answer = self._client.query(**request)
            for item in answer["Items"]:
                kind = item["sk"]["S"][0]
                if kind == "R":
                    fragments.append(items.record_of(item))
                elif kind == "S":
                    streams.append(items.stream_of(item))
                else:
                    head = items.head_of(item)
            if "LastEvaluatedKey" not in answer:
                break
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        return None if head is None else IdentityItems(head, fragments, streams)

    def heads(self, tenant: Tenant, xids: Iterable[Xid], executor: Executor | None = None) -> dict[Xid, Head]:
        """Read the heads that exist of the identities asked for."""
        keys = [items.key(tenant, xid, items.HEAD) for xid in xids]
        return {head.xid: head for head in map(items.head_of, self._batch_get(keys, executor))}

    def streams(
        self, tenant: Tenant, xids: Iterable[Xid], dataset_id: str, executor: Executor | None = None
    ) -> dict[Xid, EventStream]:
        """Read the streams that exist of a dataset under the identities asked for."""
        sort = items.stream_sort(dataset_id)
        keys = [items.key(tenant, xid, sort) for xid in xids]
        return {stream.xid: stream for stream in map(items.stream_of, self._batch_get(keys, executor))}

    def _batch_get(self, keys: Sequence[dict[str, Any]], executor: Executor | None) -> Iterator[dict[str, Any]]:
        pages = [list(keys[start : start + _BATCH_GET]) for start in range(0, len(keys), _BATCH_GET)]
        run = map if executor is None else executor.map
        for found in run(self._batch_get_page, pages):
            yield from found

    def _batch_get_page(self, keys: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found: list[Any] = []
        wanted: Any = {self._table: {"Keys": keys, "ConsistentRead": True}}
        delay = 0.02
        while True:
            answer = self._client.batch_get_item(RequestItems=wanted)
            found.extend(answer["Responses"].get(self._table, ()))
            wanted = answer.get("UnprocessedKeys")
            if not wanted:
                return found
            time.sleep(random.uniform(0, delay))  # noqa: S311 - jitter
            delay = min(1.0, delay * 2)

    def add_head(self, tenant: Tenant, head: Head) -> None:
        """Write the head of an identity that may be new; an existing one stays as it is."""
        try:
            self._client.put_item(
                TableName=self._table,
                Item=items.head_item(tenant, head),
                ConditionExpression="attribute_not_exists(pk)",
            )
        except ClientError as error:
            if not lost_race(error):
                raise

    def replace_heads(self, tenant: Tenant, changed: Iterable[Head], unchanged: Iterable[Head]) -> None:
        """Write heads in one transaction, if none of them nor of the unchanged ones was written since it was read.

        Raises LostRaceError otherwise, and when another writer is at the same heads.
        """
        writes: list[Any] = [
            {"Put": {"TableName": self._table, "Item": items.head_item(tenant, head), **_unwritten_since(head)}}
            for head in changed
        ]
        writes += [
            {
                "ConditionCheck": {
                    "TableName": self._table,
                    "Key": items.key(tenant, head.xid, items.HEAD),
                    **_unwritten_since(head),
                }
            }
            for head in unchanged
        ]
        try:
            self._client.transact_write_items(TransactItems=writes)
        except ClientError as error:
            if lost_race(error):
                raise LostRaceError from error
            raise

    def put_record(self, tenant: Tenant, fragment: RecordFragment) -> Written:
        """Write a record; of two of the same identity and dataset the one at the higher place stays."""
        try:
            self._client.put_item(
                TableName=self._table,
                Item=items.record_item(tenant, fragment),
                ConditionExpression="attribute_not_exists(pk) OR p < :place",
                ExpressionAttributeValues={":place": {"S": fragment.place}},
            )
        except ClientError as error:
            if lost_race(error):
                return Written.UNCHANGED
            raise
        return Written.NEW

    def put_stream(self, tenant: Tenant, stream: EventStream, replaced: EventStream | None) -> None:
        """Write a stream that is new, or that replaces the one read before.

        Raises LostRaceError when another writer was there first.
        """
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if replaced is not None:
            condition = {
                "ConditionExpression": "p = :place AND ad = :day",
                "ExpressionAttributeValues": {
                    ":place": {"S": replaced.place},
                    ":day": {"N": str(replaced.last_active_day)},
                },
            }
        try:
            self._client.put_item(TableName=self._table, Item=items.stream_item(tenant, stream), **condition)
        except ClientError as error:
            if lost_race(error):
                raise LostRaceError from error
            raise

    def put_event(self, tenant: Tenant, event: Event, cutoff: Place | None) -> Written:
        """Write an event; of two bodies of the same event the one at the lower place stays (law 3).

        One at or below ``cutoff`` was deleted and does not count. A second, different body is a conflict, whichever
        of the two is stored already.
        """
        item = items.event_item(tenant, event)
        values: dict[str, Any] = {":place": {"S": event.place}}
        condition = "attribute_not_exists(pk) OR p > :place"
        if cutoff is not None:
            values[":cutoff"] = {"S": cutoff}
            condition += " OR p <= :cutoff"
        try:
            answer = self._client.put_item(
                TableName=self._table,
                Item=item,
                ConditionExpression=condition,
                ExpressionAttributeValues=values,
                ReturnValues="ALL_OLD",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            if not lost_race(error):
                raise
            stored: Any = error.response.get("Item", {})
            return Written.UNCHANGED if stored.get("b") == item["b"] else Written.CONFLICT
        replaced = answer.get("Attributes")
        if replaced is None or (cutoff is not None and replaced["p"]["S"] <= cutoff) or replaced["b"] == item["b"]:
            return Written.NEW
        return Written.CONFLICT

    def events(
        self, tenant: Tenant, xid: Xid, low: str, high: str, *, forward: bool, limit: int, after: str | None = None
    ) -> EventPage:
        """Read events of an identity with ``low <= key <= high`` in order, at most ``limit`` or 1 MB of them.

        The walk starts behind the key ``after`` if one is given.
        """
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
            "ExpressionAttributeValues": {
                ":pk": {"S": items.partition(tenant, xid)},
                ":low": {"S": items.event_sort(low)},
                ":high": {"S": items.event_sort(high)},
            },
            "ScanIndexForward": forward,
            "Limit": limit,
            "ConsistentRead": True,
        }
        if after is not None:
            request["ExclusiveStartKey"] = items.key(tenant, xid, items.event_sort(after))
        answer = self._client.query(**request)
        size = sum(len(item["b"]["B"]) for item in answer["Items"])
        return EventPage([items.event_of(item) for item in answer["Items"]], size, "LastEvaluatedKey" in answer)


def _unwritten_since(head: Head) -> dict[str, Any]:
    if head.version == 0:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    return {
        "ConditionExpression": "n = :version",
        "ExpressionAttributeValues": {":version": {"N": str(head.version)}},
    }
