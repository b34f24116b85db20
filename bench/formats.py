"""I2, the formats: clicks as JSON, CSV and Parquet, with and without a schema, and against boto3's own batch writer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
import orjson
from boto3.dynamodb.types import TypeSerializer

from bench.canned import Wire
from bench.clicks import clicks, schema, sources
from bench.ingestion import compared_source
from bench.people import EVENTS, NAMESPACE, event
from bench.store import DAY_MS, ENVIRONMENT, START_MS, store
from bench.table import Line, limited
from bench.timing import Compared, compare
from bench.units import WRITE_UNIT, Meter, units
from tessera.storage.item_sizes import item_size

_ROWS = 2000
Row = dict[str, Any]


def measure(file: Path | None, *, rounds: int = 3) -> list[Line]:
    """Compare each format with its floor, then the cheapest way to write the same rows without any of ours."""
    rows = list(islice(clicks(file), _ROWS))
    users = {row["identityMap"][NAMESPACE][0]["id"] for row in rows}
    known = [event(user, 0, 300) for user in sorted(users)]
    lines = []
    found: dict[str, Compared] = {}
    for source in sources(rows):
        for what, judge, limit in (("", None, 2), (" with a schema", schema(), 4)):
            with store() as made:
                each = compared_source(made, EVENTS, known, source, len(rows), rounds=rounds, schema=judge)
            found[source.name + what] = each
            told = (
                f"{source.name}{what}: {each.ours_ms:.2f} ms of CPU per row, {1000 / each.ours_ms:,.0f} rows/s a core"
            )
            lines.append(limited("I2", told, each.ratio, limit, floor=f"{each.floor_ms:.2f} ms"))
    written, units_each = _batch_writer(rows, rounds)
    ours = found["JSON with a schema"].ours_ms
    told = f"boto3's batch writer, the same rows: {written:.2f} ms of CPU per row; JSON with a schema against it"
    lines.append(Line("I2", told, f"{written:.2f} ms", f"{ours / written:.2f}"))
    lines.append(_units(rows, known, units_each))
    return lines


def _batch_writer(rows: list[Row], rounds: int) -> tuple[float, float]:
    """Return the CPU in ms and the write units of a row that is parsed and put as it is, 25 to a call."""
    raw = b"\n".join([*map(orjson.dumps, rows), b""])
    with store() as made:
        table = boto3.resource("dynamodb").Table(ENVIRONMENT["PROFILE_TABLE"])
        wire = Wire(table.meta.client)

        def write() -> None:
            with table.batch_writer() as batch:
                for line in raw.splitlines():
                    batch.put_item(Item=_item(orjson.loads(line)))

        write()
        wire.taken()
        del made
        with wire.replaying():
            whole = compare(write, write, times=1, rounds=rounds)
    serialize = TypeSerializer().serialize
    sizes = [_item_size(serialize(_item(row))["M"]) for row in rows]
    return whole.ours_ms / len(rows), sum(units(size, WRITE_UNIT) for size in sizes) / len(rows)


def _item(row: Row) -> Row:
    return {"pk": row["identityMap"][NAMESPACE][0]["id"], "sk": f"{row['timestamp']}#{row['_id']}", "body": row}


def _item_size(item: Mapping[str, Any]) -> int:
    """Size of an item with maps and lists: each takes three bytes, and each thing in it one more."""
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


def _size(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + _size(inner) for name, inner in content.items())
    if kind == "L":
        return 3 + sum(1 + _size(inner) for inner in content)
    return item_size({"": value})


def _units(rows: list[Row], known: list[Row], of_writer: float) -> Line:
    with store() as made:
        meter = Meter()
        made.metered(meter, EVENTS, known)
        written, read = made.metered(meter, EVENTS, rows, START_MS + DAY_MS)
    return Line("I2", f"write units per row, users known; read units: {read:.2f}", f"{of_writer:.2f}", f"{written:.2f}")
