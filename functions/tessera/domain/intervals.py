"""Intervals of bytes: the parts that a large file comes in (contract: data-and-pql §4.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from tessera.domain.errors import InvalidRequestError

MAX_FILE_BYTES = 100_000_000_000

_CONTENT_RANGE = re.compile(r"bytes[ =](\d{1,14})-(\d{1,14})(?:/(\d{1,14}|\*))?\Z")


class Interval(NamedTuple):
    """Bytes ``first`` to ``last`` of a file, both included."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.last + 1 - self.first


def content_range(header: str, length: int) -> tuple[Interval, int | None]:
    """Read a ``Content-Range`` for a body of ``length`` bytes: the interval, and the file's size if it is told.

    Raises InvalidRequestError.
    """
    match = _CONTENT_RANGE.match(header.strip())
    if match is None:
        raise InvalidRequestError("a part needs the header Content-Range: bytes <first>-<last>")
    interval = Interval(int(match[1]), int(match[2]))
    total = int(match[3]) if match[3] and match[3] != "*" else None
    if interval.size != length:
        raise InvalidRequestError(f"Content-Range is for {max(0, interval.size)} bytes, the body has {length}")
    if interval.last >= MAX_FILE_BYTES:
        raise InvalidRequestError(f"a file may have {MAX_FILE_BYTES} bytes")
    if total is not None and interval.last >= total:
        raise InvalidRequestError(f"Content-Range ends behind the file's {total} bytes")
    return interval, total


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Unite intervals that touch or overlap, in order."""
    found: list[Interval] = []
    for interval in sorted(intervals):
        if found and interval.first <= found[-1].last + 1:
            found[-1] = Interval(found[-1].first, max(found[-1].last, interval.last))
        else:
            found.append(interval)
    return found


def whole(intervals: Iterable[Interval], totals: Iterable[int] = ()) -> int:
    """Return the size of the file that intervals make up; ``totals`` are the sizes it was said to have.

    Raises InvalidRequestError for a gap, an overlap, no interval at all, and sizes that do not agree.
    """
    ordered = sorted(intervals)
    if not ordered:
        raise InvalidRequestError("no part of the file was received")
    if ordered[0].first:
        raise InvalidRequestError(f"bytes 0-{ordered[0].first - 1} of the file are missing")
    for before, after in pairwise(ordered):
        if after.first > before.last + 1:
            raise InvalidRequestError(f"bytes {before.last + 1}-{after.first - 1} of the file are missing")
        if after.first <= before.last:
            raise InvalidRequestError(
                f"bytes {after.first}-{min(before.last, after.last)} of the file were received in several parts; "
                "INITIALIZE the file to begin anew"
            )
    size = ordered[-1].last + 1
    for total in totals:
        if total != size:
            raise InvalidRequestError(f"the parts have {size} bytes together, a Content-Range said {total}")
    return size
