"""Clicks in a shop, an event a row, and the same rows as files of every format.

The shape is that of the clickstream that ``retentioneering`` ships (Apache-2.0): a user, a session, what was clicked,
when and on what, and four words about the user. Rows are made up, or read from such a file in CSV.
"""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from bench.people import identity_map
from tessera.domain.schema.compiled import CompiledSchema, for_rows
from tessera.domain.schema.composition import compose
from tessera.services.ingestion.chunks import ChunkKind

_FIRST = datetime(2024, 3, 13, tzinfo=UTC)
_CLICKS = ("home", "promo_page", "catalog", "product", "cart", "checkout", "purchase", "help")
_WORDS = {
    "platform": ("desktop", "ios", "android"),
    "channel": ("email", "ads", "organic", "referral"),
    "cohort": ("2024-01", "2024-02", "2024-03"),
    "lifecycle": ("new", "returning"),
}
_TEXT = {"type": "string"}
_SCHEMA: dict[str, Any] = {
    "properties": {
        "_id": _TEXT,
        "timestamp": {"type": "string", "format": "date-time"},
        "eventType": _TEXT,
        "_acme": {
            "properties": {
                "session": _TEXT,
                "step": {"type": "integer", "minimum": 0, "meta:xdmType": "int"},
                **dict.fromkeys(_WORDS, _TEXT),
            }
        },
    },
    "required": ["_id", "timestamp"],
}


def clicks(file: Path | None = None) -> Iterator[dict[str, Any]]:
    """Walk events without end, about 30 to a user: those of a file, if there is one, then made-up ones."""
    if file:
        with gzip.open(file, "rt", newline="") if file.suffix == ".gz" else file.open(newline="") as text:
            for number, row in enumerate(csv.DictReader(text)):
                words = (row["platform"], row["acquisition_channel"], row["user_cohort"], row["user_lifecycle"])
                moment = f"{row['timestamp'].replace(' ', 'T')}Z"
                yield _click(row["user_id"], row["session_id"], number, row["event"], moment, words)
    yield from _made_up()


def _made_up() -> Iterator[dict[str, Any]]:
    pick = random.Random(0)
    number = 0
    for user in range(10**9):
        words = tuple(pick.choice(choices) for choices in _WORDS.values())
        moment = _FIRST + timedelta(seconds=pick.randrange(90 * 86400))
        for session in range(3):
            for _ in range(10):
                moment += timedelta(seconds=pick.randrange(1, 120))
                at = f"{moment:%Y-%m-%dT%H:%M:%S}Z"
                yield _click(f"u{user:07d}", f"s{user:07d}{session}", number, pick.choice(_CLICKS), at, words)
                number += 1


def _click(user: str, session: str, step: int, what: str, at: str, words: tuple[str, ...]) -> dict[str, Any]:
    return {
        "_id": f"{session}-{step:08d}",
        "timestamp": at,
        "eventType": what,
        "identityMap": identity_map(user),
        "_acme": {"session": session, "step": step, **dict(zip(_WORDS, words, strict=True))},
    }


def schema() -> CompiledSchema:
    """Compile the schema that such rows are of."""
    return CompiledSchema(for_rows(compose(_SCHEMA, lambda _: None)), ())


@dataclass(frozen=True)
class Source:
    """Rows as a file of some format; ``end`` is where a worker stops, ``parse`` reads it and does nothing with it."""

    name: str
    kind: ChunkKind
    raw: bytes
    end: int
    parse: Callable[[], object]


def sources(rows: list[dict[str, Any]]) -> list[Source]:
    """Write the same rows in each format."""
    lines = b"\n".join([*map(orjson.dumps, rows), b""])
    table, columns = _table(rows), _columns(rows)
    return [
        Source("JSON", ChunkKind.LINES, lines, len(lines), lambda: [orjson.loads(line) for line in lines.splitlines()]),
        Source(
            "CSV", ChunkKind.CSV, columns, len(columns), lambda: list(csv.reader(io.StringIO(columns.decode(), "")))
        ),
        Source(
            "Parquet",
            ChunkKind.ROW_GROUP,
            table,
            len(rows),
            lambda: pq.read_table(io.BytesIO(table), use_threads=False).to_pylist(),
        ),
    ]


def _columns(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    own = list(rows[0]["_acme"])
    (namespace,) = rows[0]["identityMap"]
    writer.writerow(["_id", "timestamp", "eventType", f"identityMap.{namespace}", *(f"_acme.{name}" for name in own)])
    for row in rows:
        user = row["identityMap"][namespace][0]["id"]
        writer.writerow([row["_id"], row["timestamp"], row["eventType"], user, *row["_acme"].values()])
    return text.getvalue().encode()


def _table(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, row_group_size=len(rows))
    return buffer.getvalue()


def write_parquet(target: Path, count: int, *, group: int = 100_000) -> None:
    """Write a large file, a row group at a time."""
    rows = clicks()
    with target.open("wb") as file:
        writer: pq.ParquetWriter | None = None
        for start in range(0, count, group):
            table = pa.Table.from_pylist(list(islice(rows, min(group, count - start))))
            writer = writer or pq.ParquetWriter(file, table.schema)
            writer.write_table(table, row_group_size=group)
        if writer:
            writer.close()
