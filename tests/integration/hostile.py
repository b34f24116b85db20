"""A DynamoDB client that behaves as the real one may, and local clouds never do.

Batch reads leave keys unprocessed, pages hold one item, transactions conflict, answers are lost after the write was
done, and the process may die before or after any call.
"""

from __future__ import annotations

import random
from typing import Any

from botocore.exceptions import ClientError

WRITES = frozenset({"put_item", "delete_item", "transact_write_items", "put_object", "delete_objects"})


class CrashError(BaseException):
    """The process dies here; nothing catches it but the test."""


class Life:
    """How many calls a process makes before it dies, whatever client it makes them with; ``None`` is for ever."""

    def __init__(self, calls: int | None) -> None:
        self.calls = calls


class HostileClient:
    """Wraps a client; ``random`` decides what goes wrong, ``calls_to_live`` after how many calls the process dies,
    ``conflict_rate`` how many of the transactions meet another one. Clients of one process share a ``life``."""

    def __init__(
        self,
        client: Any,
        seed: int,
        calls_to_live: int | None = None,
        conflict_rate: float = 0.2,
        life: Life | None = None,
    ) -> None:
        self._client = client
        self._conflict_rate = conflict_rate
        self._random = random.Random(seed)
        self._life = life or Life(calls_to_live)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name == "get_paginator":
            return method
        return (lambda **request: self._call(name, method, request)) if callable(method) else method

    def _call(self, name: str, method: Any, request: dict[str, Any]) -> Any:
        self._live()
        if name == "transact_write_items" and self._random.random() < self._conflict_rate:
            raise conflict(len(request["TransactItems"]))
        if name == "query":
            request = {**request, "Limit": 1}
        unprocessed: dict[str, Any] = {}
        if name == "batch_get_item" and self._random.random() < 0.5:
            request, unprocessed = _part_of(request)
        answer = method(**request)
        if unprocessed:
            answer["UnprocessedKeys"] = unprocessed
        if name in WRITES and self._life.calls is not None:
            self._live()
        return answer

    def _live(self) -> None:
        if self._life.calls is not None:
            self._life.calls -= 1
            if self._life.calls < 0:
                raise CrashError


def conflict(items: int) -> ClientError:
    """What DynamoDB answers when another transaction is at one of the items."""
    reasons = [{"Code": "TransactionConflict"}, *[{"Code": "None"}] * (items - 1)]
    error = {"Code": "TransactionCanceledException", "Message": "Transaction cancelled"}
    return ClientError({"Error": error, "CancellationReasons": reasons}, "TransactWriteItems")  # type: ignore[typeddict-unknown-key]


def _part_of(request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    (table, wanted), *_ = request["RequestItems"].items()
    keys = wanted["Keys"]
    if len(keys) < 2:
        return request, {}
    half = len(keys) // 2
    return (
        {"RequestItems": {table: {**wanted, "Keys": keys[:half]}}},
        {table: {**wanted, "Keys": keys[half:]}},
    )
