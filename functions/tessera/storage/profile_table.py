"""Reads and writes of the profile table: one method, one call to DynamoDB or one conditional protocol."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tessera.domain.graph import Head
from tessera.domain.identity import INDEX_SHARDS, Xid
from tessera.domain.place import Place
from tessera.domain.profile import Event, EventStream, IdentityItems, RecordFragment
from tessera.domain.tenant import Tenant
from tessera.domain.upsert import UpdatedFragment
from tessera.storage import profile_items as items
from tessera.storage import record_items
from tessera.storage.event_table import EventTable
from tessera.storage.record_items import FragmentTooLargeError, ReadRecord
from tessera.storage.registry import LostRaceError, lost_race
from tessera.storage.stream_items import is_part, stream_of, streams_of

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

# An item has 400 KB at most, with its keys.
MAX_FRAGMENT_BYTES = 390_000
_BATCH_GET = 100
_INDEX = "index"
_MOST_SHARDS_AT_ONCE = 32
_MOST_QUERIES_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Sort keys of items of one identity in order, and the one behind which to go on, ``None`` at the end.

    ``sources`` are the datasets and places of the records, events and copies among them.
    """

    sorts: list[str]
    last: str | None
    sources: Sequence[tuple[str, Place]] = ()


@dataclass(frozen=True, slots=True)
class StoredPage:
    """Items of one identity with their sort keys, and the one behind which to go on, ``None`` at the end."""

    items: list[tuple[str, RecordFragment | EventStream | Event]]
    last: str | None


class ProfileTable(EventTable):
    """The profile store's table. Reads are strongly consistent."""

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
        streams: list[Any] = []
        while True:
            answer = self._client.query(**request)
            for item in answer["Items"]:
                kind = item["sk"]["S"][0]
                if kind == "R":
                    if not record_items.is_stub(item):
                        fragments.append(record_items.record_of(item))
                elif kind == "S":
                    streams.append(item)
                else:
                    head = items.head_of(item)
            if "LastEvaluatedKey" not in answer:
                break
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        return None if head is None else IdentityItems(head, fragments, streams_of(streams))

    def heads(self, tenant: Tenant, xids: Iterable[Xid], executor: Executor | None = None) -> dict[Xid, Head]:
        """Read the heads that exist of the identities asked for."""
        keys = [items.key(tenant, xid, items.HEAD) for xid in xids]
        return {head.xid: head for head in map(items.head_of, self._batch_get(keys, executor))}

    def sample(self, tenant: Tenant, dataset_ids: Sequence[str], count: int, executor: Executor) -> Iterator[list[Xid]]:
        """Walk persons by the index, shard by shard in random order, each person once by the identity that leads.

        XIDs are hashes, so the first persons of any shard are as good a sample as any. ``count`` is how many are
        wanted: of each shard not many more are looked at. Identities that are by themselves are found by what they
        have in the datasets named. The index lags, so each head is read again before it counts. A step may find
        nobody; between steps the walk can be left.
        """
        shards = random.sample(range(INDEX_SHARDS), INDEX_SHARDS)
        most = max(1, min(_MOST_SHARDS_AT_ONCE, _MOST_QUERIES_AT_ONCE // (len(dataset_ids) + 1)))
        at_once = 1
        while shards:
            yield []
            some, shards = shards[:at_once], shards[at_once:]
            # One shard of a large store is enough; of a small one, all are needed, and not one after the other.
            at_once = min(at_once * 2, most)
            names = [
                [items.graph_index(tenant, shard), *(items.dataset_index(tenant, one, shard) for one in dataset_ids)]
                for shard in some
            ]
            found = executor.map(lambda name: self._indexed(name, count), [name for shard in names for name in shard])
            for shard in names:
                candidates = _first_of_all([next(found) for _ in shard])
                for start in range(0, len(candidates), _BATCH_GET):
                    heads = self.heads(tenant, candidates[start : start + _BATCH_GET])
                    yield [xid for xid, head in sorted(heads.items()) if head.leads or _is_alone(head)]

    def _indexed(self, name: str, limit: int) -> tuple[list[Xid], bool]:
        """Read the first identities of a partition of the index, and whether there are more."""
        request: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": _INDEX,
            "KeyConditionExpression": "ik = :name",
            "ExpressionAttributeValues": {":name": {"S": name}},
        }
        found: list[Xid] = []
        while len(found) < limit:
            answer = self._client.query(**request, Limit=limit - len(found))
            found += [items.xid_of(item["pk"]["S"]) for item in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return found, False
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        return found, True

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

    def replace_heads(
        self,
        tenant: Tenant,
        changed: Iterable[Head],
        unchanged: Iterable[Head],
        also: Sequence[TransactWriteItemTypeDef] = (),
    ) -> None:
        """Write heads in one transaction, if none of them nor of the unchanged ones was written since it was read.

        ``also`` is written with them. Raises LostRaceError otherwise, and when another writer is at the same heads.
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
            self._client.transact_write_items(TransactItems=[*writes, *also])
        except ClientError as error:
            if lost_race(error):
                raise LostRaceError from error
            raise

    def put_record(self, tenant: Tenant, fragment: RecordFragment) -> bool:
        """Write a record as a whole; of two of the same identity and dataset the one at the higher place stays.

        Tells whether this one does. Raises LostRaceError when the other one has updates against which this one has
        to be weighed: then it is for ``records`` and ``change_record``.
        """
        return self._put_whole(record_items.record_item(tenant, fragment))

    def put_stub(self, tenant: Tenant, xid: Xid, dataset_id: str, place: Place) -> bool:
        """Delete a record by an operation at a place; see ``put_record``."""
        return self._put_whole(record_items.stub_item(tenant, xid, dataset_id, place))

    def _put_whole(self, item: dict[str, Any]) -> bool:
        try:
            self._client.put_item(
                TableName=self._table,
                Item=item,
                ConditionExpression="attribute_not_exists(pk) OR p < :place",
                ExpressionAttributeValues={":place": item["p"]},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            if not lost_race(error):
                raise
            stored: Any = error.response.get("Item")
            if stored and not record_items.has_stamps(stored):
                return False
            raise LostRaceError from error
        return True

    def records(
        self, tenant: Tenant, xids: Iterable[Xid], dataset_id: str, executor: Executor | None = None
    ) -> dict[Xid, ReadRecord]:
        """Read the records, and what deletes left of records, that are there of a dataset, in order to change them."""
        sort = record_items.record_sort(dataset_id)
        found = self._batch_get([items.key(tenant, xid, sort) for xid in xids], executor)
        return {record.xid: record for record in map(ReadRecord, found)}

    def change_record(
        self, tenant: Tenant, xid: Xid, dataset_id: str, fragment: UpdatedFragment, before: ReadRecord | None
    ) -> bool:
        """Write a record in place of what was read; tells whether it is any different.

        Raises LostRaceError when somebody else has written it since, and FragmentTooLargeError.
        """
        item = record_items.updated_item(tenant, xid, dataset_id, fragment, before)
        if record_items.is_as_before(item, before):
            return False
        size = sum(len(item[name]["B"]) for name in ("b", "st") if name in item)
        if size > MAX_FRAGMENT_BYTES:
            raise FragmentTooLargeError(size, MAX_FRAGMENT_BYTES)
        try:
            self._client.put_item(TableName=self._table, Item=item, **record_items.unwritten_since(before))
        except ClientError as error:
            if lost_race(error):
                raise LostRaceError from error
            raise
        return True

    def keys_at_or_below(self, tenant: Tenant, xid: Xid, cutoff: Place, *, after: str | None, limit: int) -> KeyPage:
        """List records, streams, events and copies of an identity that a cutoff reaches, looking at ``limit`` or 1 MB.

        The walk starts behind the sort key ``after`` if one is given. The head has no place and is never listed.
        """
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk",
            "FilterExpression": "p <= :cutoff",
            "ProjectionExpression": "sk, p, d",
            "ExpressionAttributeValues": {":pk": {"S": items.partition(tenant, xid)}, ":cutoff": {"S": cutoff}},
            "Limit": limit,
            "ConsistentRead": True,
        }
        if after is not None:
            request["ExclusiveStartKey"] = items.key(tenant, xid, after)
        answer = self._client.query(**request)
        last = answer.get("LastEvaluatedKey")
        sources = [source for item in answer["Items"] if (source := items.source_of(item)) is not None]
        sorts = [item["sk"]["S"] for item in answer["Items"]]
        return KeyPage(sorts, None if last is None else last["sk"]["S"], sources)

    def stored(self, tenant: Tenant, xid: Xid, *, after: str | None, limit: int) -> StoredPage:
        """Read what is stored of an identity but its head, ``limit`` or 1 MB of it in order.

        Copies of events too, and what was deleted and is not reclaimed yet. The walk starts behind the sort key
        ``after`` if one is given.
        """
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": items.partition(tenant, xid)}},
            "Limit": limit,
            "ConsistentRead": True,
        }
        if after is not None:
            request["ExclusiveStartKey"] = items.key(tenant, xid, after)
        answer = self._client.query(**request)
        found = [self._item_of(item) for item in answer["Items"]]
        last = answer.get("LastEvaluatedKey")
        return StoredPage([one for one in found if one is not None], None if last is None else last["sk"]["S"])

    def _item_of(self, item: Any) -> tuple[str, RecordFragment | EventStream | Event] | None:
        """Decode an item; the head, stubs and parts of streams say nothing of their own."""
        sort = item["sk"]["S"]
        if items.is_event(sort):
            return sort, items.event_of(item)
        if items.is_copy(sort):
            return sort, items.copy_of(item)
        if sort.startswith("R") and not record_items.is_stub(item):
            return sort, record_items.record_of(item)
        if sort.startswith("S") and not is_part(item):
            return sort, stream_of(item)
        return None

    def delete_of_batch(self, tenant: Tenant, xid: Xid, sort: str, batch: str) -> None:
        """Delete an item whose place begins with that of a batch; another one stays as it is."""
        try:
            self._client.delete_item(
                TableName=self._table,
                Key=items.key(tenant, xid, sort),
                ConditionExpression="begins_with(p, :batch)",
                ExpressionAttributeValues={":batch": {"S": batch}},
            )
        except ClientError as error:
            if not lost_race(error):
                raise

    def delete_at_or_below(self, tenant: Tenant, xid: Xid, sort: str, cutoff: Place) -> None:
        """Delete an item, unless it is gone or has a place above the cutoff by now: then it stays as it is."""
        try:
            if items.kind_of(sort) == "streams":
                self.delete_parts_at_or_below(tenant, xid, sort, cutoff)
            self._client.delete_item(
                TableName=self._table,
                Key=items.key(tenant, xid, sort),
                ConditionExpression="p <= :cutoff",
                ExpressionAttributeValues={":cutoff": {"S": cutoff}},
            )
        except ClientError as error:
            if not lost_race(error):
                raise
        except LostRaceError:
            return


def _first_of_all(pages: Sequence[tuple[list[Xid], bool]]) -> list[Xid]:
    """Unite the beginnings of partitions, up to where the first of them that goes on was left.

    Beyond that, an identity that two partitions have would be found more easily than one that only one has.
    """
    ends = [found[-1] for found, more in pages if more]
    known = sorted({xid for found, _ in pages for xid in found})
    return [xid for xid in known if not ends or xid <= min(ends)]


def _is_alone(head: Head) -> bool:
    return not head.members and not head.collapsed


def _unwritten_since(head: Head) -> dict[str, Any]:
    if head.version == 0:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    return {
        "ConditionExpression": "n = :version",
        "ExpressionAttributeValues": {":version": {"N": str(head.version)}},
    }
