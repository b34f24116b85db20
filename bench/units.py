"""What DynamoDB charges for a call, by its published rules: sizes of items, units of reads and of writes.

A strongly consistent read takes one unit per 4 KB begun: a Query adds its items up first, a GetItem or a key of a
BatchGetItem stands for itself. A write takes one unit per 1 KB begun of the larger of the old and the new item, and
as much when its condition fails; within a transaction twice that. An entry of an index that appears, disappears or
moves takes a write unit each; one whose keys stay takes none, since the index holds nothing but keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.canned import Call
from tessera.storage.item_sizes import item_size

READ_UNIT = 4096
WRITE_UNIT = 1024
_FAILED = frozenset({"ConditionalCheckFailedException", "TransactionCanceledException"})
_INDEX_KEY = "ik"


def units(size: int, unit: int) -> int:
    """Return how many units ``size`` bytes take; nothing takes one as well."""
    return max(1, -(-size // unit))


def read_units(call: Call) -> int:
    """Return what a call takes in read units, all reads being strongly consistent."""
    answer = call.answer
    if call.operation == "Query":
        return units(sum(map(item_size, answer["Items"])), READ_UNIT)
    if call.operation == "GetItem":
        return units(item_size(answer.get("Item", {})), READ_UNIT)
    if call.operation == "BatchGetItem":
        asked = sum(len(table["Keys"]) for table in call.arguments["RequestItems"].values())
        found = [item for items in answer["Responses"].values() for item in items]
        return sum(units(item_size(item), READ_UNIT) for item in found) + asked - len(found)
    return 0


@dataclass(frozen=True)
class Stored:
    """What is known of a stored item: its size, and its place in the index if it has one."""

    size: int = 0
    index_key: str | None = None


@dataclass
class Meter:
    """Adds up calls. It must see every write to a table from the first, for old items count in new writes."""

    reads: int = 0
    writes: int = 0
    index_writes: int = 0
    _stored: dict[tuple[str, str, str], Stored] = field(default_factory=dict)

    @property
    def written(self) -> int:
        """Write units of the tables and of their index."""
        return self.writes + self.index_writes

    def reset(self) -> None:
        """Begin to count anew; what is stored stays known."""
        self.reads = self.writes = self.index_writes = 0

    def add(self, calls: Iterable[Call]) -> Meter:
        """Count calls in the order in which they were answered."""
        for call in calls:
            if call.operation in {"Query", "GetItem", "BatchGetItem"}:
                self.reads += read_units(call)
            elif call.operation == "PutItem":
                self._write({"Put": call.arguments}, call, 1)
            elif call.operation == "DeleteItem":
                self._write({"Delete": call.arguments}, call, 1)
            elif call.operation == "TransactWriteItems":
                for write in call.arguments["TransactItems"]:
                    self._write(write, call, 2)
            else:
                raise NotImplementedError(f"{call.operation} is not counted yet")
        return self

    def _write(self, write: Mapping[str, Any], call: Call, factor: int) -> None:
        ((kind, arguments),) = write.items()
        failed = "Error" in call.answer
        if failed and call.answer["Error"]["Code"] not in _FAILED:
            raise NotImplementedError(f"{call.answer['Error']['Code']} is not counted yet")
        item = arguments["Item"] if kind == "Put" else arguments["Key"]
        place = (arguments["TableName"], item["pk"]["S"], item["sk"]["S"])
        before = self._stored.get(place, Stored())
        if kind == "ConditionCheck" or failed:
            self.writes += factor * units(before.size, WRITE_UNIT)
            return
        if kind not in {"Put", "Delete"}:
            raise NotImplementedError(f"{kind} is not counted yet")
        after = Stored()
        if kind == "Put":
            after = Stored(item_size(item), item[_INDEX_KEY]["S"] if _INDEX_KEY in item else None)
        self.writes += factor * units(max(before.size, after.size), WRITE_UNIT)
        if before.index_key != after.index_key:
            self.index_writes += sum(key is not None for key in (before.index_key, after.index_key))
        self._stored[place] = after
