"""What every kind of source file shares: how it is refused as a whole, and how a row of text is parsed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from tessera.domain.rows import UNREADABLE, RowError
from tessera.services.ingestion.lines import MAX_LINE_BYTES

MAX_FIELDS = 10_000
MAX_DEPTH = 100

# Below the smallest limit on a row the spelling cannot matter, so the text is as good a measure as compact JSON.
_SURELY_SMALL = 10_000


class UnreadableFileError(Exception):
    """A file cannot be read as what the batch says it is; the message says why."""


def parse(raw: bytes) -> tuple[Any, int]:
    """Parse the text of a row; return it with its size in bytes as compact JSON.

    Raises RowError for what is no JSON (NaN and Infinity are none), for deep nesting and for too many fields (§5).
    """
    if len(raw) > MAX_LINE_BYTES:
        raise RowError(UNREADABLE, f"the row is longer than {MAX_LINE_BYTES} bytes")
    try:
        row = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RowError(
            UNREADABLE,
            f"Row is corrupted and cannot be read, please fix and resend ({error.msg}, column {error.colno}).",
        ) from None
    # Counting brackets and colons bounds depth and fields from above, at a tenth of the cost of walking the row.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _deeper(row):
        raise RowError(UNREADABLE, f"the row is nested deeper than {MAX_DEPTH} levels")
    if raw.count(b":") > MAX_FIELDS and fields(row) > MAX_FIELDS:
        raise RowError(UNREADABLE, f"the row has more than {MAX_FIELDS} fields")
    return row, len(raw) if len(raw) <= _SURELY_SMALL else len(orjson.dumps(row))


def fields(row: Any) -> int:
    """Count the fields of a row at every level."""
    count = 0
    level: list[Any] = [row]
    while level:
        value = level.pop()
        if isinstance(value, dict):
            count += len(value)
            level.extend(value.values())
        elif isinstance(value, list):
            level.extend(value)
    return count


def _deeper(row: Any) -> bool:
    level: list[Any] = [row]
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return False
    return any(isinstance(value, (dict, list)) for value in level)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
