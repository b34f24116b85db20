"""Lists of identities as callers send them: an array in a JSON body, lines of JSON, or CSV.

Every line is either an identity, as namespace and value or as an XID, or invalid for a reason; none is lost.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import orjson

from tessera.domain.identity import Identity, Xid, is_namespace_code, is_xid, unusable_because
from tessera.domain.tenant import Tenant

HEADER = ("namespace", "id")

# Whether the code of a namespace is known.
Known = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Entry:
    """A line: an ``identity``, or just an ``xid``; or a ``reason`` why it is neither. Lines count from 1."""

    line: int
    identity: Identity | None = None
    xid: Xid | None = None
    reason: str = ""

    def names(self, tenant: Tenant) -> Xid | None:
        """Return the XID that is named, ``None`` for an invalid line."""
        return self.identity.xid(tenant) if self.identity else self.xid

    def to_document(self) -> list[Any]:
        """Write it as the JSON array that is stored while it waits."""
        named = [self.identity.namespace, self.identity.value] if self.identity else None
        return [self.line, named, self.xid, self.reason]

    @classmethod
    def from_document(cls, document: Sequence[Any]) -> Self:
        """Read it from what is stored."""
        line, named, xid, reason = document
        return cls(line, Identity(*named) if named else None, xid, reason)


def entry(line: int, value: object, code: object, known: Known) -> Entry:
    """Judge an identity; without a namespace, its value is an XID."""
    if not isinstance(value, str) or not value or not _is_text(value):
        return Entry(line, reason="the id is not a text")
    if code is None:
        return (
            Entry(line, xid=Xid(value)) if is_xid(value) else Entry(line, reason="without a namespace, an XID is due")
        )
    if not isinstance(code, str) or not is_namespace_code(code) or not known(code):
        return Entry(line, reason="the namespace is not known in this sandbox")
    identity = Identity.of(code, value)
    if reason := unusable_because(identity):
        return Entry(line, reason=reason)
    return Entry(line, identity)


def json_lines(body: bytes, known: Known) -> Iterator[Entry]:
    """Read lines of JSON objects ``{"entityId", "entityIdNS": {"code"}}``; empty lines are passed over."""
    for number, line in enumerate(body.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            yield Entry(number, reason="the line is no JSON")
            continue
        if not isinstance(value, dict):
            yield Entry(number, reason="the line is no JSON object")
            continue
        namespace = value.get("entityIdNS")
        code = namespace.get("code", "") if isinstance(namespace, dict) else namespace
        yield entry(number, value.get("entityId"), code, known)


def csv_lines(body: bytes, known: Known) -> Iterator[Entry]:
    """Read lines ``namespace,id``, with the header or without; empty lines are passed over.

    An empty namespace says that the id is an XID.
    """
    # What is not UTF-8 comes through as surrogates, and is found where it stands.
    text = body.decode("utf-8-sig", "surrogateescape")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    for number, row in _rows(reader):
        if isinstance(row, str):
            yield Entry(number, reason=row)
        elif len(row) != len(HEADER):
            if any(row):
                yield Entry(number, reason=f"the line has {len(row)} fields, not {len(HEADER)}")
        elif number > 1 or tuple(cell.strip().lower() for cell in row) != HEADER:
            code, value = row
            yield entry(number, value, code or None, known)


def _rows(reader: Any) -> Iterable[tuple[int, list[str] | str]]:
    while True:
        first = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield first, f"what begins here is no CSV up to line {reader.line_num}: {error}"
        else:
            yield first, row


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
