"""CSV: a header of column names, then one row per record (RFC 4180; contract: data-and-pql §4.2).

A column name with dots is the path of a field. A column ``identityMap.<namespace>`` holds an id of that namespace; of
several in a row the first that has a value is the primary identity. All values are text, an empty one is no value.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from tessera.domain.rows import UNREADABLE, RowError
from tessera.domain.verdict import EMPTY_HEADER
from tessera.services.ingestion.lines import MAX_LINE_BYTES
from tessera.services.ingestion.sources import MAX_DEPTH, MAX_FIELDS, UnreadableFileError

_IDENTITIES = "identityMap"

# A quote that is never closed costs what follows up to this, and no more.
csv.field_size_limit(MAX_LINE_BYTES)


def records(body: bytes) -> Iterator[tuple[int, Any]]:
    """Walk the rows of a file, each with its number from 0; one that cannot be read comes as a DamagedRowError.

    Raises UnreadableFileError for a header that cannot be used.
    """
    source = _Lines(body)
    reader = csv.reader(source, strict=True)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise UnreadableFileError(f"its header cannot be read: {error}") from None
    columns = _columns(header)
    number = 0
    while True:
        source.taken.clear()
        try:
            values = next(reader, None)
            if values is None:
                return
            if not values:
                continue
            row = _row(columns, values, source)
        except csv.Error as error:
            row = source.damaged(str(error))
        yield number, row
        number += 1


class DamagedRowError(RowError):
    """A row of text that cannot be read; ``text`` is what stands in the file."""

    def __init__(self, message: str, text: str) -> None:
        super().__init__(UNREADABLE, message)
        self.text = text


class _Lines:
    """The lines of a file, and those taken since ``taken`` was last emptied."""

    def __init__(self, body: bytes) -> None:
        self.taken: list[str] = []
        self._lines = io.TextIOWrapper(io.BytesIO(body), "utf-8-sig", "surrogateescape", newline="")

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.taken.append(line)
        return line

    def damaged(self, why: str) -> DamagedRowError:
        """Say that the row just taken cannot be read."""
        text = "".join(self.taken).encode(errors="surrogateescape").decode(errors="replace")
        return DamagedRowError(f"Row is corrupted and cannot be read, please fix and resend ({why}).", text.rstrip())


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


def _row(columns: Sequence[tuple[str, ...]], values: Sequence[str], source: _Lines) -> Any:
    if len(values) != len(columns):
        return source.damaged(f"it has {len(values)} values, the header has {len(columns)} columns")
    row: dict[str, Any] = {}
    for path, value in zip(columns, values, strict=True):
        if not value:
            continue
        if not value.isascii() and not _is_utf8(value):
            return source.damaged("it is not UTF-8")
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


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
