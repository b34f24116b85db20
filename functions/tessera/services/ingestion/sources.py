"""What every kind of source file shares: how it is refused as a whole, and how a row of text is parsed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from tessera.domain.rows import UNREADABLE, RowError
from tessera.domain.verdict import UNREADABLE as UNREADABLE_FILE
from tessera.services.ingestion.lines import MAX_LINE_BYTES

MAX_FIELDS = 10_000
MAX_DEPTH = 100

_FOREIGN = {
    b"\x1f\x8b": "compressed with gzip",
    b"PK\x03\x04": "a ZIP archive",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
    b"BZh": "compressed with bzip2",
    b"\xff\xfe": "in UTF-16 or UTF-32",
    b"\xfe\xff": "in UTF-16",
    b"\0\0\xfe\xff": "in UTF-32",
    b"PAR1": "a Parquet file",
}

# Below the smallest limit on a row the spelling cannot matter, so the text is as good a measure as compact JSON.
_SURELY_SMALL = 10_000


class UnreadableFileError(Exception):
    """A file cannot be read as what the batch says it is; the message says why, ``code`` names the reason."""

    def __init__(self, message: str, code: str = UNREADABLE_FILE) -> None:
        super().__init__(message)
        self.code = code


def check_text(beginning: bytes) -> None:
    """Raise UnreadableFileError for a file that begins as no UTF-8 text does: compressed, or in UTF-16."""
    for signature, what in _FOREIGN.items():
        if beginning.startswith(signature):
            raise UnreadableFileError(f"it is {what}; send uncompressed text in UTF-8")


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
