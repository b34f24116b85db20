"""Files of text without some of their rows: where in the file these are, and all bytes but those.

A file is gone through once, from row to row, and can be left and gone on with at any row. What is left of it are the
very bytes that it had.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson

from tessera.domain.rows import RowError
from tessera.services.ingestion.documents import documents
from tessera.services.ingestion.lines import Read, lines_in
from tessera.services.ingestion.tables import records

READ_AT_ONCE = 8_000_000
CORRUPT = "_corrupt_record"
_ROWS_BETWEEN_LOOKS_AT_THE_CLOCK = 256

# A row, or None for one that cannot be read, by its byte offset.
Rows = Iterator[tuple[int, dict[str, Any] | None]]
IsConcerned = Callable[[dict[str, Any]], bool]


@dataclass(slots=True)
class Cuts:
    """What of a file goes: intervals of bytes or rows in order, how many rows that is, and how many cannot be read.

    ``at`` is where to go on.
    """

    at: int = 0
    rows: int = 0
    unread: int = 0
    intervals: list[list[int]] = field(default_factory=list)

    def add(self, start: int, end: int) -> None:
        """Take a row out."""
        self.rows += 1
        if self.intervals and self.intervals[-1][1] == start:
            self.intervals[-1][1] = end
        else:
            self.intervals.append([start, end])

    def left(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Walk what stays between two positions."""
        number = max(0, bisect_right(self.intervals, start, key=lambda cut: cut[0]) - 1)
        for first, behind in islice(self.intervals, number, None):
            if first >= end:
                break
            if first > start:
                yield start, first
            start = max(start, behind)
        if start < end:
            yield start, end


def json_rows(read: Read, size: int, start: int) -> Rows:
    """Walk the rows of JSON lines from one on."""
    for first in range(start, size, READ_AT_ONCE):
        for offset, raw in lines_in(read, size, first, min(first + READ_AT_ONCE, size)):
            yield offset, _loaded(raw)


def rejected_rows(read: Read, size: int, start: int) -> Rows:
    """Walk rejected rows from one on; of those that were kept as they stood, those that can be read after all."""
    for offset, row in json_rows(read, size, start):
        text = row.get(CORRUPT) if row is not None and "identityMap" not in row else None
        yield offset, row if text is None else _loaded(str(text).encode(errors="replace"))


def csv_rows(read: Read, size: int, start: int) -> Rows:
    """Walk the rows of a CSV file from one on. Raises UnreadableFileError."""
    for offset, row in records(read, size, start, size):
        yield offset, None if isinstance(row, RowError) else row


def find(rows: Rows, size: int, cuts: Cuts, is_concerned: IsConcerned, is_over: Callable[[], bool]) -> bool:
    """Find what goes of a file, until time is over; tell whether all was looked at."""
    begun: int | None = None
    for number, (offset, row) in enumerate(rows):
        if begun is not None:
            cuts.add(begun, offset)
            begun = None
        if number % _ROWS_BETWEEN_LOOKS_AT_THE_CLOCK == 0 and number and is_over():
            cuts.at = offset
            return False
        if row is None:
            cuts.unread += 1
        elif is_concerned(row):
            begun = offset
    if begun is not None:
        cuts.add(begun, size)
    cuts.at = size
    return True


def left(read: Read, size: int, cuts: Cuts, start: int) -> Iterator[tuple[bytes, int]]:
    """Walk what is left of a file from an offset on, in pieces, each with the offset behind it."""
    for first in range(start, size, READ_AT_ONCE):
        end = min(first + READ_AT_ONCE, size)
        data = memoryview(read(first, end))
        yield b"".join(data[start - first : upto - first] for start, upto in cuts.left(first, end)), end


def document_without(body: bytes, is_concerned: IsConcerned) -> tuple[bytes, int, int]:
    """Return a document of JSON without some rows, how many these are, and how many cannot be read.

    What stands between rows is not kept. Raises UnreadableFileError.
    """
    kept: list[bytes] = []
    taken = unread = 0
    for _, raw in documents(body):
        row = _loaded(raw)
        unread += row is None
        if row is not None and is_concerned(row):
            taken += 1
        else:
            kept.append(raw)
    if body.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        return b"[" + b",\n".join(kept) + b"]\n", taken, unread
    return b"\n".join([*kept, b""]), taken, unread


def _loaded(raw: bytes) -> dict[str, Any] | None:
    try:
        row = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None
