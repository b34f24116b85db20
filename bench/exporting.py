"""E1: what a profile of an export takes of a worker, from the answers of storage to a Parquet file.

Profiles are small or rich, everything else is as a worker has it: pages of identities read side by side, rows that are
gathered, kept as parts, read again and written. The floor makes the same calls through as many threads, decodes the
same bodies and writes the same file from rows that it was given merged. Finding identities by the index is left out on
both sides.

python -m bench.exporting PROFILES prints the peak memory of a worker for so many rich profiles.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import zstandard
from botocore import xform_name

from bench import export_ceiling, export_scale
from bench.canned import Call
from bench.export_scale import Measured
from bench.export_worker import Memory, Worker
from bench.memory import peak_mb
from bench.people import EVENTS, MANY_RECORDS, event, wide_record
from bench.session import ANSWER_S
from bench.store import ENVIRONMENT, TENANT, Inline, Store, store
from bench.table import Line, limited
from bench.timing import Compared, compare
from bench.units import READ_UNIT, read_units
from jobs.export import WALKERS  # with it comes how often a worker's garbage is collected
from tessera.domain.export.shape import Column
from tessera.domain.graph import Head
from tessera.domain.identity import Identity, Xid
from tessera.domain.place import Place
from tessera.domain.profile import IdentityItems, RecordFragment
from tessera.services.export.writing import Table
from tessera.storage.aws import CONNECTIONS
from tessera.storage.codec import unpack
from tessera.storage.item_sizes import item_size

PROFILES = 200
_EVENT_BYTES = 500
_MEMORY_AT = (40_000, 80_000)


@dataclass(frozen=True)
class Shape:
    """What a profile has: so many attributes in each of two datasets, so many events."""

    name: str
    attributes: int
    events: int

    def __str__(self) -> str:
        """Name it with its size."""
        return f"{self.name}: 2 x {self.attributes} attributes, {self.events} events"


SHAPES = (Shape("small", 5, 0), Shape("rich", 200, 20))


def measure() -> tuple[list[Line], list[Line]]:
    """E1: CPU per profile against the floor, profiles per second and core, read units, workers, memory; and dollars."""
    lines, dollars = [], []
    for shape in SHAPES:
        with store() as made:
            cpu, measured, duckdb = _measured(made, shape)
        lines += _lines(shape, cpu, measured, duckdb)
        lines += export_scale.on_paper(shape.name, measured)
        dollars.append(export_scale.dollars(shape.name, measured))
    few, many = (_peak_of(profiles) for profiles in _MEMORY_AT)
    what = f"peak memory of a worker, {_MEMORY_AT[1]:,} rich profiles against {_MEMORY_AT[0]:,}: {many:.0f} MB"
    return [*lines, limited("E1", what, many / few, 1.1, floor=f"{few:.0f} MB")], dollars


def _lines(shape: Shape, cpu: Compared, measured: Measured, duckdb: float) -> list[Line]:
    per_second, least = 1000 / cpu.ours_ms, 1000 / cpu.floor_ms
    return [
        limited("E1", f"{shape}: {cpu.ours_ms:.2f} ms of CPU", cpu.ratio, 1.5, floor=f"{cpu.floor_ms:.2f} ms"),
        Line("E1", f"{shape}: profiles per second and core", f"{least:,.0f}", f"{per_second:,.0f}"),
        Line(
            "E1", f"{shape}: profiles per second and core, the same rows by DuckDB from Parquet", "", f"{duckdb:,.0f}"
        ),
        Line("E1", f"{shape}: read units per profile", "", f"{measured.read_units:.2f}"),
        Line("E1", f"{shape}: read units per profile, of the index", "", f"{measured.index_units:.3f}"),
        *(
            Line(
                "E1",
                f"{shape}: {run.profiles:,} profiles by {run.workers} workers, {export_scale.CORES} cores, answers "
                f"after {export_scale.ANSWER_S * 1000:.0f} ms; {run.cpu_ms:.2f} ms of CPU each",
                "",
                f"{run.wall_s:.1f} s",
            )
            for run in measured.runs
        ),
    ]


def _measured(made: Store, shape: Shape) -> tuple[Compared, Measured, float]:
    records, events = _write(made, shape)
    xids = sorted(Identity.of("crmId", value).xid(TENANT) for value in _values())
    worker = Worker(made.table, xids, shape.events > 0, Inline(), Inline())
    made.wire.taken()
    if worker.run() != PROFILES:
        raise RuntimeError(f"not all of the {PROFILES} profiles are exported")
    calls = made.wire.taken()
    with _threads(worker) as threaded, made.wire.replaying(ANSWER_S):
        cpu = compare(threaded.run, _floor(made.wire.client, calls, worker.lake, threaded.readers), times=1, rounds=9)
    with made.wire.replaying(export_scale.ANSWER_S):
        runs = export_scale.runs(lambda: _threads(worker), PROFILES, 8000 / cpu.ours_ms)
    measured = Measured(
        runs,
        sum(map(read_units, calls)) / PROFILES,
        _index_bytes(made) / PROFILES / READ_UNIT / 2,
        sum(map(len, worker.lake.lines())) / PROFILES,
    )
    per_profile = Compared(cpu.ours_ms / PROFILES, cpu.floor_ms / PROFILES, cpu.ratio)
    return per_profile, measured, export_ceiling.per_second(worker.lake, records, events)


@contextmanager
def _threads(worker: Worker) -> Iterator[Worker]:
    with ThreadPoolExecutor(CONNECTIONS) as readers, ThreadPoolExecutor(WALKERS) as walkers:
        yield replace(worker, readers=readers, walkers=walkers)


def _values() -> list[str]:
    return [f"p{number}" for number in range(PROFILES)]


def _write(made: Store, shape: Shape) -> tuple[list[dict[str, Any]], dict[str, list[Any]]]:
    """Write profiles, each with a record in two datasets and its events; return both, by profile."""
    records = [{value: wide_record(value, number, shape.attributes) for value in _values()} for number in range(2)]
    for dataset, bodies in zip(MANY_RECORDS, records, strict=False):
        made.write(dataset, list(bodies.values()))
    if not shape.events:
        return records, {}
    events = {value: [event(value, number, _EVENT_BYTES) for number in range(shape.events)] for value in _values()}
    made.write(EVENTS, [of_one[0] for of_one in events.values()])
    made.keep(EVENTS, [body for of_one in events.values() for body in of_one[1:]])
    return records, events


def _floor(client: Any, calls: Sequence[Call], lake: Memory, readers: Executor) -> Callable[[], object]:
    """Make the same calls, decode the same bodies, and write the same rows, which are merged already."""
    asked = [(getattr(client, xform_name(call.operation)), call.arguments) for call in calls]
    rows = [orjson.loads(line) for line in lake.lines()]
    columns = {name: Column.from_document(document) for name, document in lake.made.items()}

    def read(operation: Any, arguments: Any) -> None:
        for item in operation(**arguments).get("Items", ()):
            if "b" in item:
                unpack(item["b"]["B"])

    def floor() -> bytes:
        list(readers.map(read, *zip(*asked, strict=True)))
        lines = [orjson.dumps(row) for row in rows]
        table = Table(columns)
        table.add(b"\n".join([*lines, b""]), max(map(len, lines)) + 1)
        return table.finished()

    return floor


def _index_bytes(made: Store) -> int:
    """Return the size of all that the index has: it projects nothing but keys."""
    pages = made.wire.client.get_paginator("scan").paginate(TableName=ENVIRONMENT["PROFILE_TABLE"])
    found = [item for page in pages for item in page["Items"]]
    made.wire.taken()
    return sum(item_size({key: item[key] for key in ("pk", "sk", "ik")}) for item in found if "ik" in item)


class OnDisk(Memory):
    """Keeps parts as files: a worker holds none."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = Path(tempfile.mkdtemp(dir=sys.argv[2]))

    def write_part(self, tenant: Any, job: int, part: str, rows: Sequence[bytes], shape: Any) -> None:
        """Write a file."""
        super().write_part(tenant, job, part, rows, shape)
        (self._directory / part).write_bytes(self.parts.pop(part))

    def rows(self, _tenant: Any, _job: int, part: str) -> bytes:
        """Read it."""
        return zstandard.ZstdDecompressor().decompress((self._directory / part).read_bytes())


class Endless:
    """Makes up a rich identity for whoever is asked for: as many as wanted, none of them kept."""

    def __init__(self) -> None:
        self._raw = orjson.dumps(wide_record("p", 0, 200))

    def identity(self, _: Any, xid: Xid) -> IdentityItems:
        """Make one up."""
        head = Head(xid, Identity("crmid", str(xid)))
        body = orjson.loads(self._raw)
        return IdentityItems(head, [RecordFragment(xid, MANY_RECORDS[0], Place("0" * 11 + "." + "A" * 26), body)], [])


def _peak_of(profiles: int) -> float:
    """Measure the peak memory of a worker in a process of its own, in MB."""
    with tempfile.TemporaryDirectory() as directory:
        answer = subprocess.run(
            [sys.executable, "-m", "bench.exporting", str(profiles), directory],
            check=True,
            capture_output=True,
            text=True,
        )
    return float(answer.stdout)


def main() -> None:
    """Export made up profiles, their parts in a directory, then print the process's peak memory in MB."""
    xids = [Xid(f"{number:028d}") for number in range(int(sys.argv[1]))]
    worker = Worker(Endless(), xids, False, Inline(), Inline(), OnDisk)
    if worker.run() != len(xids):
        raise RuntimeError("not all profiles are exported")
    print(peak_mb())


if __name__ == "__main__":
    main()
