"""Counts sequential round trips to storage: calls that could be made side by side must be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

from tessera.storage import aws

_PATIENCE_S = 10


class _Rounds:
    """Holds every call until all of its round have been made; calls made one after another never get through."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self._ends = list(accumulate(sizes))
        self._arrived = threading.Condition()
        self.calls = 0

    def __call__(self, **_: Any) -> None:
        with self._arrived:
            self.calls += 1
            self._arrived.notify_all()
            end = next((end for end in self._ends if self.calls <= end), None)
            assert end is not None, "more calls than expected"
            assert self._arrived.wait_for(lambda: self.calls >= end, _PATIENCE_S), f"call {self.calls} is by itself"


@contextmanager
def rounds(*sizes: int) -> Iterator[None]:
    """Expect so many calls to DynamoDB, round by round, those of a round all on their way at once."""
    expected = _Rounds(sizes)
    hook = aws.dynamodb().meta.events
    hook.register("before-call.dynamodb.*", expected)
    try:
        yield
    finally:
        hook.unregister("before-call.dynamodb.*", expected)
    assert expected.calls == sum(sizes)
