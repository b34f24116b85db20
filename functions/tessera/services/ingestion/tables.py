"""CSV: a header of column names, then one row per record (RFC 4180; contract: data-and-pql §4.2).

A column name with dots is the path of a field. A column ``identityMap.<namespace>`` holds an id of that namespace; of
several in a row the first that has a value is the primary identity. All values are text, an empty one is no value.

Where a row begins cannot be told from the middle of a file, for a quoted value may hold line feeds. So a large file is
gone through once, by the very reader that takes its rows later, to find where it can be cut. That reader is given each
byte as one character: what it looks for is ASCII, and what it counts is then bytes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from tessera.domain.rows import UNREADABLE, RowError
from tessera.domain.verdict import EMPTY_HEADER
from tessera.services.ingestion.lines import MAX_LINE_BYTES, Read
from tessera.services.ingestion.sources import MAX_DEPTH, MAX_FIELDS, UnreadableFileError

_IDENTITIES = "identityMap"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BYTES = "latin-1"
_READ_AT_ONCE = 4_000_000
_HEADER_AT_ONCE = 64_000

# What is longer than a row may be is refused before this.
csv.field_size_limit(MAX_LINE_BYTES)


def ranges(read: Read, size: int, length: int) -> Iterator[tuple[int, int]]:
    """Cut a file into ranges of whole rows, ``length`` bytes or a row more; the first has the header too.

    Raises UnreadableFileError for a header that cannot be used.
    """
    _, first_row = _header(read, size)
    lines = _Lines(read, first_row, size, _READ_AT_ONCE)
    reader = csv.reader(lines, strict=True)
    start = 0
    more = True
    while more:
        lines.row_begins()
        try:
            more = next(reader, None) is not None
        except csv.Error:
            # A row that cannot be read ends where its reader gives it up.
            more = True
        if lines.offset - start >= length:
            yield start, lines.offset
            start = lines.offset
    if start < size:
        yield start, size


def records(read: Read, size: int, start: int, end: int) -> Iterator[tuple[int, Any]]:
    """Walk the rows of one of the ``ranges`` of a file, each with its byte offset.

    One that cannot be read comes as a DamagedRowError. Raises UnreadableFileError for a header that cannot be used.
    """
    columns, first_row = _header(read, size)
    lines = _Lines(read, max(start, first_row), end, _READ_AT_ONCE)
    reader = csv.reader(lines, strict=True)
    while True:
        lines.row_begins()
        offset = lines.offset
        try:
            values = next(reader, None)
            if values is None:
                return
            if not values:
                continue
            row = _row(columns, values, lines)
        except csv.Error as error:
            row = lines.damaged(str(error))
        yield offset, row


class DamagedRowError(RowError):
    """A row of text that cannot be read; ``text`` is what stands in the file."""

    def __init__(self, message: str, text: str) -> None:
        super().__init__(UNREADABLE, message)
        self.text = text


class _Lines:
    """The lines of a part of a file, a character for each byte; ``offset`` is where the next one begins."""

    def __init__(self, read: Read, start: int, end: int, at_once: int) -> None:
        self.offset = start
        self._taken: list[str] = []
        self._row = start
        part: Any = _Part(read, start, end, at_once)
        self._read_line = io.TextIOWrapper(part, _BYTES, newline="").readline

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._read_line(MAX_LINE_BYTES + 1)
        if not line:
            raise StopIteration
        self.offset += len(line)
        self._taken.append(line)
        if self.offset - self._row > MAX_LINE_BYTES:
            while line and line[-1] not in "\r\n":
                line = self._read_line(MAX_LINE_BYTES)
                self.offset += len(line)
            raise csv.Error(f"it is longer than {MAX_LINE_BYTES} bytes")
        return line

    def row_begins(self) -> None:
        """Forget what belongs to the row before."""
        self._taken.clear()
        self._row = self.offset

    def damaged(self, why: str) -> DamagedRowError:
        """Say that the row just taken cannot be read."""
        raw = "".join(self._taken)[: MAX_LINE_BYTES + 1].encode(_BYTES)
        text = raw.decode(errors="replace").rstrip()
        return DamagedRowError(f"Row is corrupted and cannot be read, please fix and resend ({why}).", text)


class _Part(io.BufferedIOBase):
    """Some bytes of a stored file, from the first to the last, in pieces of its own choice."""

    def __init__(self, read: Read, start: int, end: int, at_once: int) -> None:
        super().__init__()
        self._read, self._at, self._end, self._at_once = read, start, end, at_once

    def readable(self) -> bool:
        return True

    def read1(self, _size: int = -1) -> bytes:
        """Read the next piece; how little is asked for does not matter to who asks."""
        data = self._read(self._at, min(self._at + self._at_once, self._end))
        self._at += len(data)
        return data


def _header(read: Read, size: int) -> tuple[list[tuple[str, ...]], int]:
    """Read the columns, and where the first row begins."""
    start = len(_BYTE_ORDER_MARK) if read(0, min(3, size)) == _BYTE_ORDER_MARK else 0
    lines = _Lines(read, start, size, _HEADER_AT_ONCE)
    try:
        names = next(csv.reader(lines, strict=True), [])
    except csv.Error as error:
        raise UnreadableFileError(f"its header cannot be read: {error}") from None
    # What is not UTF-8 is not printable then, and refused as such.
    header = [name.encode(_BYTES).decode(errors="surrogateescape") for name in names]
    return _columns(header), lines.offset


def _columns(header: Sequence[str]) -> list[tuple[str, ...]]:
    """Read column names as paths."""
    if not any(name.strip() for name in header):
        raise UnreadableFileError("the first line must name the columns: the header is empty", EMPTY_HEADER)
    if len(header) > MAX_FIELDS:
        raise UnreadableFileError(f"a row may have {MAX_FIELDS} fields; the header has {len(header)} columns")
    columns = [tuple(name.strip().split(".")) for name in header]
    known: set[tuple[str, ...]] = set()
    for number, path in enumerate(columns, start=1):
        if not path[0] and len(path) == 1:
            raise UnreadableFileError(f"column {number} of the header has no name", EMPTY_HEADER)
        name = ".".join(path)
        if not all(path) or not name.isprintable():
            raise UnreadableFileError(f"the name of column {number} is not a path of fields with dots between them")
        if len(path) > MAX_DEPTH:
            raise UnreadableFileError(f"column {number} is nested deeper than {MAX_DEPTH} levels")
        if path[0] == _IDENTITIES and len(path) == 1:
            raise UnreadableFileError("identities have a column for each namespace: identityMap.<namespace>")
        if path in known:
            raise UnreadableFileError(f"the header has the column {name} twice")
        known.add(path)
    for path in columns:
        if path[0] != _IDENTITIES and any(path[:length] in known for length in range(1, len(path))):
            raise UnreadableFileError(f"the header has {'.'.join(path)} and also a column for what it is a part of")
    return columns


def _row(columns: Sequence[tuple[str, ...]], values: Sequence[str], lines: _Lines) -> Any:
    if len(values) != len(columns):
        return lines.damaged(f"it has {len(values)} values, the header has {len(columns)} columns")
    row: dict[str, Any] = {}
    for path, value in zip(columns, values, strict=True):
        if not value:
            continue
        if not value.isascii():
            try:
                value = value.encode(_BYTES).decode()  # noqa: PLW2901 - most need nothing
            except UnicodeDecodeError:
                return lines.damaged("it is not UTF-8")
        if path[0] == _IDENTITIES:
            identities = row.setdefault(_IDENTITIES, {})
            item: dict[str, Any] = {"id": value} if identities else {"id": value, "primary": True}
            identities[".".join(path[1:])] = [item]
            continue
        place = row
        for step in path[:-1]:
            place = place.setdefault(step, {})
        place[path[-1]] = value
    return row
