"""The registry table: what a company configures. Small documents, each under a partition and a sort key.

| partition | sort | holds |
|---|---|---|
| ``org#<organisation>`` | ``org`` | its sandboxes |
| ``client#<client id>`` | ``client`` | the organisations it may act for and its permissions |
| ``<tenant>#pointer#<replica>`` | ``pointer`` | the current version of the sandbox's configuration |
| ``<tenant>#configuration`` | version, ten digits | one version of it, never changed |
| ``<tenant>#dataset`` | dataset id | a dataset as the catalogue shows it |
| ``<tenant>#schema`` | kind and key of its id | a schema, class, field group or data type |
| ``<tenant>#schema-version`` | hash of its content | all that rows of a schema are judged by, never changed |
| ``<tenant>#descriptor`` | descriptor id | what is said of a field of a schema |
| ``<tenant>#batch`` | batch id | a batch and its status |
| ``<tenant>#window`` | dataset id, start | a window of streamed rows: see ``windows`` |
| ``<tenant>#job`` | ULID | a job, by ``kind``, and how far it is |
| ``<tenant>#job-target`` | kind and id | the last job that deletes a dataset or a batch |
| ``<tenant>#deleted-rows#<dataset>`` | see ``deleted_rows`` | a deleted batch of streamed rows; with ``ttl`` |
| ``<tenant>#export`` | id, sixteen digits | an export job |
| ``<tenant>#export-share#<job>`` | share | how far the worker of a share of an export is; with ``ttl`` |
| ``<tenant>#sample``, ``#sample-day``, ``#sample-share#<job>`` | see ``samples`` | samples and their reports |
| ``<tenant>#exported`` | dataset id | the batches that the last export brought into a dataset |
| ``<tenant>#policy`` | policy id, version in ten digits | a superseded version of a merge policy |
| ``<tenant>#attribute`` | UUID | the definition of a computed attribute |
| ``<tenant>#attribute-name`` | name | the id of the computed attribute that has the name |
| ``<tenant>#connection`` | UUID | a streaming connection and its inlet |
| ``<tenant>#links#<XID>`` | ULID | a change of a link made by hand |

Every item holds ``v``, the version of its format, and ``b``, its body. Counters stand beside them: ``rate_limits``.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tessera.storage.codec import FORMAT_VERSION, pack, unpack

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import TransactWriteItemTypeDef


_MAX_LOST_RACES = 20


class LostRaceError(Exception):
    """Somebody else changed what this write was conditional on: read again and decide anew."""


def lost_race(error: ClientError) -> bool:
    """Tell whether a write failed because its condition no longer held."""
    code = error.response["Error"]["Code"]
    if code == "ConditionalCheckFailedException":
        return True
    if code != "TransactionCanceledException":
        return code == "TransactionConflictException"
    reasons = error.response.get("CancellationReasons", [])
    return any(reason.get("Code") in {"ConditionalCheckFailed", "TransactionConflict"} for reason in reasons)


class Registry:
    """Reads and writes documents of the registry table, always strongly consistent."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self.table = table

    def get(self, partition: str, sort: str) -> dict[str, Any] | None:
        """Read one document, or ``None``."""
        answer = self._client.get_item(
            TableName=self.table, Key={"pk": {"S": partition}, "sk": {"S": sort}}, ConsistentRead=True
        )
        item = answer.get("Item")
        return None if item is None else unpack(item["b"]["B"])

    def each(
        self, partition: str, *, newest_first: bool = False, after: str | None = None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Walk a partition in order of its sort keys, starting behind ``after``."""
        parameters: dict[str, Any] = {
            "TableName": self.table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": partition}},
            "ConsistentRead": True,
            "ScanIndexForward": not newest_first,
        }
        if after is not None:
            parameters["ExclusiveStartKey"] = {"pk": {"S": partition}, "sk": {"S": after}}
        for page in self._client.get_paginator("query").paginate(**parameters):
            for item in page["Items"]:
                yield item["sk"]["S"], unpack(item["b"]["B"])

    def count(self, partition: str) -> int:
        """Count the documents of a partition."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self.table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": partition}},
            Select="COUNT",
            ConsistentRead=True,
        )
        return sum(page["Count"] for page in pages)

    def put(self, partition: str, sort: str, document: Mapping[str, Any], *, only_new: bool = False) -> None:
        """Write one document.

        Raises LostRaceError with ``only_new`` when it exists already.
        """
        self.write([self.putting(partition, sort, document, only_new=only_new)])

    def delete(self, partition: str, sort: str) -> bool:
        """Delete one document; ``False`` if it was not there."""
        answer = self._client.delete_item(
            TableName=self.table, Key={"pk": {"S": partition}, "sk": {"S": sort}}, ReturnValues="ALL_OLD"
        )
        return "Attributes" in answer

    def change(
        self, partition: str, sort: str, mutate: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any] | None:
        """Apply ``mutate`` to a document, atomically however many writers there are; ``None`` if it is not there.

        ``mutate`` may run several times and must have no effect but its answer; what it raises is passed on.
        """
        key = {"pk": {"S": partition}, "sk": {"S": sort}}
        while True:
            item = self._client.get_item(TableName=self.table, Key=key, ConsistentRead=True).get("Item")
            if item is None:
                return None
            changed = mutate(unpack(item["b"]["B"]))
            try:
                self._client.put_item(
                    TableName=self.table,
                    Item={**item, "v": {"N": str(FORMAT_VERSION)}, "b": {"B": pack(changed)}},
                    ConditionExpression="b = :before",
                    ExpressionAttributeValues={":before": item["b"]},
                )
            except ClientError as error:
                if not lost_race(error):
                    raise
            else:
                return changed

    def advance(
        self,
        partition: str,
        sort: str,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any],
        *,
        expires_s: int | None = None,
    ) -> None:
        """Write a document that is new, or in place of what it was before.

        Raises LostRaceError when somebody else wrote it meanwhile.
        """
        if before is None:
            self.write([self.putting(partition, sort, after, only_new=True, expires_s=expires_s)])
            return

        def advanced(document: dict[str, Any]) -> dict[str, Any]:
            if pack(document) != pack(before):
                raise LostRaceError
            return dict(after)

        self.change(partition, sort, advanced)

    def change_all(
        self,
        keys: Sequence[tuple[str, str]],
        mutate: Callable[[Sequence[dict[str, Any] | None]], Sequence[Mapping[str, Any] | None]],
    ) -> None:
        """Apply ``mutate`` to several documents at once, atomically however many writers there are.

        It gets them in the order of ``keys``, ``None`` for one that is not there, and answers what each becomes,
        ``None`` for one that stays. It may run several times and must have no effect but its answer; what it raises is
        passed on. Raises LostRaceError when others keep changing them.
        """
        for attempt in range(_MAX_LOST_RACES):
            found = [
                self._client.get_item(
                    TableName=self.table, Key={"pk": {"S": partition}, "sk": {"S": sort}}, ConsistentRead=True
                ).get("Item")
                for partition, sort in keys
            ]
            changed = mutate([None if item is None else unpack(item["b"]["B"]) for item in found])
            writes = [
                self._replacing(key, document, item)
                for key, document, item in zip(keys, changed, found, strict=True)
                if document is not None
            ]
            if not writes:
                return
            try:
                self.write(writes)
            except LostRaceError:
                time.sleep(random.uniform(0, min(0.5, 0.01 * 2**attempt)))  # noqa: S311 - jitter
            else:
                return
        raise LostRaceError

    def _replacing(
        self, key: tuple[str, str], document: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> TransactWriteItemTypeDef:
        """Describe the writing of a document on condition that what is stored is what was read."""
        write: Any = self.putting(*key, document, only_new=before is None)
        if before is not None:
            write["Put"]["ConditionExpression"] = "b = :before"
            write["Put"]["ExpressionAttributeValues"] = {":before": before["b"]}
        replacing: TransactWriteItemTypeDef = write
        return replacing

    def putting(
        self,
        partition: str,
        sort: str,
        document: Mapping[str, Any],
        *,
        only_new: bool = False,
        expires_s: int | None = None,
    ) -> TransactWriteItemTypeDef:
        """Describe the writing of a document, to be part of a transaction.

        DynamoDB deletes it some time after ``expires_s``, in seconds since 1970, if that is given.
        """
        put: Any = {
            "TableName": self.table,
            "Item": {
                "pk": {"S": partition},
                "sk": {"S": sort},
                "v": {"N": str(FORMAT_VERSION)},
                "b": {"B": pack(document)},
            },
        }
        if expires_s is not None:
            put["Item"]["ttl"] = {"N": str(expires_s)}
        if only_new:
            put["ConditionExpression"] = "attribute_not_exists(pk)"
        return {"Put": put}

    def deleting(self, partition: str, sort: str) -> TransactWriteItemTypeDef:
        """Describe the deletion of a document that must exist, to be part of a transaction."""
        return {
            "Delete": {
                "TableName": self.table,
                "Key": {"pk": {"S": partition}, "sk": {"S": sort}},
                "ConditionExpression": "attribute_exists(pk)",
            }
        }

    def write(self, writes: Sequence[TransactWriteItemTypeDef]) -> None:
        """Do all writes or none.

        Raises LostRaceError when a condition did not hold or another writer was at the same items.
        """
        try:
            self._client.transact_write_items(TransactItems=writes)
        except ClientError as error:
            if lost_race(error):
                raise LostRaceError from error
            raise
