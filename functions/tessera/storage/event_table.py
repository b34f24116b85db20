"""The half of the profile table that is about events: each of them, and the streams that they make up.

An event that counts in a computed attribute is written with the stream's state in one transaction, so a crash can
never part the two. All other events are written by themselves.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from tessera.domain.identity import Xid
from tessera.domain.place import Place
from tessera.domain.profile import Event, EventStream
from tessera.domain.tenant import Tenant
from tessera.storage import profile_items as items
from tessera.storage import stream_items
from tessera.storage.event_copies import EventCopies
from tessera.storage.registry import LostRaceError, lost_race

_BATCH_GET = 100
_TRANSACTION = 100
_END_OF_TIME = "~"


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events of one identity in order, the size read in bytes, and whether there may be more behind them."""

    events: list[Event]
    bytes_read: int
    more: bool


class EventKey(NamedTuple):
    """An event of an identity, or a copy of one: its sort key, and its place when that was read."""

    xid: Xid
    sort: str
    place: Place

    @property
    def key(self) -> str:
        """Key of the event."""
        return items.key_of_event(self.sort)

    @property
    def is_copy(self) -> bool:
        """Whether it is a copy."""
        return items.is_copy(self.sort)


class EventsBetween(NamedTuple):
    """Events and copies of an identity, how many were looked at for them, and whether there may be more."""

    events: list[EventKey]
    looked_at: int
    more: bool


class EventTable(EventCopies):
    """Events and streams. Reads are strongly consistent."""

    def streams(
        self, tenant: Tenant, xids: Iterable[Xid], dataset_id: str, executor: Executor | None = None
    ) -> dict[Xid, EventStream]:
        """Read the streams that exist of a dataset under the identities asked for."""
        sort = stream_items.stream_sort(dataset_id)
        found = list(self._batch_get([items.key(tenant, xid, sort) for xid in xids], executor))
        streams = [stream_items.stream_of(item) for item in found if not stream_items.has_parts(item)]
        large = [items.xid_of(item["pk"]["S"]) for item in found if stream_items.has_parts(item)]
        run = map if executor is None else executor.map
        for read in run(lambda xid: stream_items.streams_of(self._stream_items(tenant, xid, sort)), large):
            streams += read
        return {stream.xid: stream for stream in streams}

    def _stream_items(self, tenant: Tenant, xid: Xid, sort: str) -> list[Any]:
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :sort)",
            "ExpressionAttributeValues": {":pk": {"S": items.partition(tenant, xid)}, ":sort": {"S": sort}},
            "ConsistentRead": True,
        }
        found: list[Any] = []
        while True:
            answer = self._client.query(**request)
            found += answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return found
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def put_stream(
        self, tenant: Tenant, stream: EventStream, replaced: EventStream | None, because_of: Event | None = None
    ) -> None:
        """Write a stream that is new, or that replaces the one read before.

        Raises LostRaceError when another writer was there first, or the event ``because_of`` is not stored.
        """
        self.put_counted(tenant, (), stream, replaced, because_of=because_of)

    def delete_parts_at_or_below(self, tenant: Tenant, xid: Xid, sort: str, cutoff: Place) -> None:
        """Delete the parts of a stream, unless it has a place above the cutoff by now. Raises LostRaceError then."""
        still_below = {
            "ConditionCheck": {
                "TableName": self._table,
                "Key": items.key(tenant, xid, sort),
                "ConditionExpression": "p <= :cutoff",
                "ExpressionAttributeValues": {":cutoff": {"S": cutoff}},
            }
        }
        parts = [item["sk"]["S"] for item in self._stream_items(tenant, xid, sort) if stream_items.is_part(item)]
        while parts:
            some, parts = parts[: _TRANSACTION - 1], parts[_TRANSACTION - 1 :]
            self._transact([still_below, *(self._deletion(tenant, xid, sort) for sort in some)])

    def put_counted(
        self,
        tenant: Tenant,
        events: Sequence[Event],
        stream: EventStream,
        replaced: EventStream | None,
        cutoff: Place | None = None,
        instead_of: Mapping[str, Event] = MappingProxyType({}),
        kept: Sequence[Event] = (),
        restored: Sequence[Event] = (),
        because_of: Event | None = None,
    ) -> None:
        """Write events and the stream that counts them, in one transaction.

        None of the events may be there already, but for those at or below ``cutoff``, which were deleted, and those
        that are to be replaced: ``instead_of`` has what is stored of them by key. Events ``kept`` are written as copies
        with it, those ``restored`` have one, which is deleted.

        Raises LostRaceError when that is not so, when the stream was written since ``replaced`` was read, or when the
        event ``because_of`` is not stored.
        """
        wanted = stream_items.stream_items(tenant, stream)
        before = {} if replaced is None else stream_items.stream_items(tenant, replaced)
        main, *parts = wanted
        writes: list[Any] = [
            {"Put": {"TableName": self._table, "Item": wanted[sort]}}
            for sort in parts
            if wanted[sort] != before.get(sort)
        ]
        writes += [self._deletion(tenant, stream.xid, sort) for sort in before if sort not in wanted]
        put = {"TableName": self._table, "Item": wanted[main], **_unwritten_since(replaced)}
        if not events and not writes and because_of is None:
            self._put_alone(put)
            return
        others = [
            *self._event_puts(tenant, events, cutoff, instead_of),
            *(self._copy_put(tenant, event) for event in kept),
            *(self._copy_removal(tenant, event) for event in restored),
        ]
        if because_of is not None:
            key = items.key(tenant, because_of.xid, items.event_sort(because_of.key))
            stored = {"TableName": self._table, "Key": key, "ConditionExpression": "attribute_exists(pk)"}
            others.append({"ConditionCheck": stored})
        # What is rebuilt may have more parts than a transaction takes. Those written ahead are of attributes that no
        # read shows before the stream itself says so.
        room = _TRANSACTION - 1 - len(others)
        while replaced is not None and len(writes) > room:
            some, writes = writes[: _TRANSACTION - 1], writes[_TRANSACTION - 1 :]
            self._transact([self._unchanged(tenant, replaced), *some])
        self._transact([{"Put": put}, *writes, *others])

    def remove_counted(
        self, tenant: Tenant, events: Sequence[Event], stream: EventStream | None, replaced: EventStream
    ) -> None:
        """Delete events and write the stream as it is without them, or delete it too, in one transaction.

        Raises LostRaceError when one of the events is another by now, or the stream was written since it was read.
        """
        main, *others = stream_items.stream_items(tenant, replaced)
        wanted = {} if stream is None else stream_items.stream_items(tenant, stream)
        writes: list[Any] = [
            {"Put": {"TableName": self._table, "Item": item}} for sort, item in wanted.items() if sort != main
        ]
        writes += [self._deletion(tenant, replaced.xid, sort) for sort in others if sort not in wanted]
        gone = self._removals(tenant, events)
        room = _TRANSACTION - 1 - len(gone)
        # Parts written ahead are those of a version that no read shows before the stream itself says so.
        while len(writes) > room:
            some, writes = writes[: _TRANSACTION - 1], writes[_TRANSACTION - 1 :]
            self._transact([self._unchanged(tenant, replaced), *some])
        condition = _unwritten_since(replaced)
        whole: Any = (
            {"Delete": {"TableName": self._table, "Key": items.key(tenant, replaced.xid, main), **condition}}
            if stream is None
            else {"Put": {"TableName": self._table, "Item": wanted[main], **condition}}
        )
        self._transact([whole, *writes, *gone])

    def remove_without_stream(self, tenant: Tenant, events: Sequence[Event]) -> None:
        """Delete events of one stream, which is not there.

        Raises LostRaceError when one of the events is another by now, or the stream is there.
        """
        sort = stream_items.stream_sort(events[0].dataset_id)
        key = items.key(tenant, events[0].xid, sort)
        missing = {"ConditionCheck": {"TableName": self._table, "Key": key, **_unwritten_since(None)}}
        self._transact([missing, *self._removals(tenant, events)])

    def put_event(self, tenant: Tenant, event: Event, cutoff: Place | None) -> Event | None:
        """Write an event that no attribute counts, unless it is there: then it is answered and stays as it is.

        One at or below ``cutoff`` was deleted and is not there.
        """
        try:
            self._client.put_item(
                **self._new_event(tenant, event, cutoff), ReturnValuesOnConditionCheckFailure="ALL_OLD"
            )
        except ClientError as error:
            if not lost_race(error):
                raise
            stored: Any = error.response.get("Item")
            return items.event_of(stored) if stored else self.stored_events(tenant, [event]).get(event.key)
        return None

    def put_earlier(self, tenant: Tenant, event: Event, stored: Event, kept: Sequence[Event] = ()) -> None:
        """Write an event in place of one of which no attribute counts anything else; events ``kept`` become copies.

        Raises LostRaceError when what is stored is another by now.
        """
        copies = [self._copy_put(tenant, one) for one in kept]
        self._transact([{"Put": self._instead_of(tenant, event, stored)}, *copies])

    def stored_events(self, tenant: Tenant, events: Sequence[Event]) -> dict[str, Event]:
        """Read those of an identity's events that are stored, by their keys."""
        keys = [items.key(tenant, event.xid, items.event_sort(event.key)) for event in events]
        return {event.key: event for event in map(items.event_of, self._batch_get(keys, None))}

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

    def events_of_stream(self, tenant: Tenant, xid: Xid, dataset_id: str, start_ms: int) -> Iterator[Event]:
        """Read the events of one identity in one dataset from a time on, in order."""
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
            "FilterExpression": "d = :dataset",
            "ExpressionAttributeValues": {
                ":pk": {"S": items.partition(tenant, xid)},
                ":low": {"S": items.event_sort(items.time_key(start_ms))},
                ":high": {"S": items.event_sort(_END_OF_TIME)},
                ":dataset": {"S": dataset_id},
            },
            "ConsistentRead": True,
        }
        while True:
            answer = self._client.query(**request)
            yield from map(items.event_of, answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def events_between(
        self,
        tenant: Tenant,
        xid: Xid,
        dataset_id: str,
        low: str,
        high: str,
        *,
        until: str = "",
        limit: int | None = None,
    ) -> EventsBetween:
        """List an identity's events in a dataset, and copies of them, whose place is from ``low`` up to ``high``.

        Without their bodies, copies first. Up to the sort key ``until`` if it is given, at most ``limit`` if that is.
        """
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
            "FilterExpression": "d = :dataset AND p BETWEEN :low AND :high",
            "ProjectionExpression": "sk, p",
            "ExpressionAttributeValues": {
                ":pk": {"S": items.partition(tenant, xid)},
                # Copies sort before events.
                ":first": {"S": items.copies_sort(dataset_id)},
                ":last": {"S": until or items.event_sort(_END_OF_TIME)},
                ":dataset": {"S": dataset_id},
                ":low": {"S": low},
                ":high": {"S": high},
            },
            "ConsistentRead": True,
        }
        found: list[EventKey] = []
        looked_at = 0
        while True:
            answer = self._client.query(**request)
            found += [EventKey(xid, item["sk"]["S"], Place(item["p"]["S"])) for item in answer["Items"]]
            looked_at += answer["ScannedCount"]
            more = "LastEvaluatedKey" in answer
            if not more or (limit is not None and len(found) >= limit):
                return EventsBetween(found[:limit], looked_at, more or len(found) > len(found[:limit]))
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _event_puts(
        self, tenant: Tenant, events: Sequence[Event], cutoff: Place | None, instead_of: Mapping[str, Event]
    ) -> list[Any]:
        return [
            {
                "Put": self._instead_of(tenant, event, instead_of[event.key])
                if event.key in instead_of
                else self._new_event(tenant, event, cutoff)
            }
            for event in events
        ]

    def _removals(self, tenant: Tenant, events: Sequence[Event]) -> list[Any]:
        return [
            {
                "Delete": {
                    "TableName": self._table,
                    "Key": items.key(tenant, event.xid, items.event_sort(event.key)),
                    "ConditionExpression": "p = :stored",
                    "ExpressionAttributeValues": {":stored": {"S": event.place}},
                }
            }
            for event in events
        ]

    def _new_event(self, tenant: Tenant, event: Event, cutoff: Place | None) -> Any:
        put: dict[str, Any] = {
            "TableName": self._table,
            "Item": items.event_item(tenant, event),
            "ConditionExpression": "attribute_not_exists(pk)",
        }
        if cutoff is not None:
            put["ConditionExpression"] += " OR p <= :cutoff"
            put["ExpressionAttributeValues"] = {":cutoff": {"S": cutoff}}
        return put

    def _instead_of(self, tenant: Tenant, event: Event, stored: Event) -> Any:
        return {
            "TableName": self._table,
            "Item": items.event_item(tenant, event),
            "ConditionExpression": "p = :stored",
            "ExpressionAttributeValues": {":stored": {"S": stored.place}},
        }

    def _deletion(self, tenant: Tenant, xid: Xid, sort: str) -> Any:
        return {"Delete": {"TableName": self._table, "Key": items.key(tenant, xid, sort)}}

    def _unchanged(self, tenant: Tenant, stream: EventStream) -> Any:
        key = items.key(tenant, stream.xid, stream_items.stream_sort(stream.dataset_id))
        return {"ConditionCheck": {"TableName": self._table, "Key": key, **_unwritten_since(stream)}}

    def _put_alone(self, put: Any) -> None:
        try:
            self._client.put_item(**put)
        except ClientError as error:
            if lost_race(error):
                raise LostRaceError from error
            raise

    def _transact(self, writes: list[Any]) -> None:
        try:
            self._client.transact_write_items(TransactItems=writes)
        except ClientError as error:
            if lost_race(error):
                raise LostRaceError from error
            raise

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


def _unwritten_since(stream: EventStream | None) -> dict[str, Any]:
    if stream is None:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    if stream.version == 0:
        # Written before versions were counted.
        return {"ConditionExpression": "attribute_exists(pk) AND attribute_not_exists(n)"}
    return {
        "ConditionExpression": "n = :version",
        "ExpressionAttributeValues": {":version": {"N": str(stream.version)}},
    }
