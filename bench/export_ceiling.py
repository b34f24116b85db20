"""The ceiling to look up to: the same fragments merged by one thread of DuckDB, from Parquet, into the same rows.

It is given what no worker has: all fragments of all profiles in columns, and nobody else to serve.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from bench.export_worker import Memory
from tessera.domain.export.job import EVENTS_COLUMN
from tessera.domain.export.shape import Column
from tessera.services.export.writing import Table

# So many copies of everything, for a run to be long enough.
_COPIES = 20
_IDENTITIES = pa.map_(pa.string(), pa.list_(pa.struct([("id", pa.string()), ("primary", pa.bool_())])))


def per_second(lake: Memory, records: Sequence[Mapping[str, Any]], events: Mapping[str, Sequence[Any]]) -> float:
    """Merge records, the later ones over the earlier, and events, all by profile; return profiles per second.

    Raises RuntimeError when the rows are not those of the export.
    """
    profiles = list(records[0])
    with tempfile.TemporaryDirectory() as directory:
        for number, bodies in enumerate(records):
            rows = [{"id": name, "_acme": bodies[value]["_acme"]} for value in profiles for name in _copies(value)]
            _write(pa.Table.from_pylist(rows), f"{directory}/{number}.parquet")
        if events:
            _write(_events(events), f"{directory}/events.parquet")
        out = Path(directory) / "out.parquet"
        merging = _merging(records[0][profiles[0]]["_acme"], directory, bool(events))
        with duckdb.connect(config={"threads": 1}) as connection:
            started = time.process_time()
            connection.sql(f"COPY ({merging}) TO '{out}' (COMPRESSION zstd)")
            seconds = time.process_time() - started
        merged = [row for row in pq.read_table(out).to_pylist() if row["identityMap"][0][1][0]["id"] in profiles]
    if _sorted(merged) != _sorted(_exported(lake)):
        raise RuntimeError("DuckDB merges other rows")
    return len(profiles) * _COPIES / seconds


def _copies(value: str) -> list[str]:
    return [value, *(f"{value}-{copy}" for copy in range(1, _COPIES))]


def _events(events: Mapping[str, Sequence[Any]]) -> pa.Table:
    bodies = [event for of_one in events.values() for event in of_one]
    plain = pa.array([{name: inner for name, inner in body.items() if name != "identityMap"} for body in bodies])
    identities = pa.array([list(body["identityMap"].items()) for body in bodies], _IDENTITIES)
    fields = [*plain.type, pa.field("identityMap", _IDENTITIES)]
    event = pa.StructArray.from_arrays([*plain.flatten(), identities], fields=fields)
    ids = [value for value, of_one in events.items() for _ in of_one]
    names = [[value if copy == 0 else f"{value}-{copy}" for value in ids] for copy in range(_COPIES)]
    return pa.concat_tables([pa.table({"id": pa.array(some), "event": event}) for some in names])


def _merging(groups: Mapping[str, Mapping[str, Any]], directory: str, events: bool) -> str:
    merged = ", ".join(
        f"{group} := struct_pack({', '.join(_coalesced(group, name) for name in names)})"
        for group, names in groups.items()
    )
    of_events = (
        f" LEFT JOIN (SELECT id, list(event ORDER BY event.timestamp) AS {EVENTS_COLUMN} "
        f"FROM '{directory}/events.parquet' GROUP BY id) USING (id)"
    )
    return (
        f"SELECT struct_pack({merged}) AS _acme, {EVENTS_COLUMN + ', ' if events else ''}"
        "MAP {'crmid': [{'id': id}]} AS identityMap "
        f"FROM '{directory}/1.parquet' one FULL JOIN '{directory}/0.parquet' other USING (id)"
        f"{of_events if events else ''}"
    )


def _coalesced(group: str, name: str) -> str:
    return f"{name} := coalesce(one._acme.{group}.{name}, other._acme.{group}.{name})"


def _exported(lake: Memory) -> list[dict[str, Any]]:
    table = Table({name: Column.from_document(document) for name, document in lake.made.items()})
    lines = lake.lines()
    table.add(b"\n".join([*lines, b""]), max(map(len, lines)) + 1)
    found: list[dict[str, Any]] = pq.read_table(io.BytesIO(table.finished())).to_pylist()
    return found


def _sorted(rows: Sequence[dict[str, Any]]) -> list[bytes]:
    return sorted(orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in rows)


def _write(table: pa.Table, file: str) -> None:
    pq.write_table(table, file, compression="zstd")
