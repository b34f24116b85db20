"""E1: what a profile of an export takes of a worker, from the answers of storage to a Parquet file.

Profiles are small or rich, everything else is as a worker has it: pages of identities read side by side, rows that are
gathered, kept as parts, read again and written. The floor makes the same calls, decodes the same bodies and writes the
same file from rows that it was given merged. Finding identities by the index is left out on both sides.

python -m bench.exporting PROFILES prints the peak memory of a worker for so many rich profiles.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from botocore import xform_name

from bench.canned import Call
from bench.people import EVENTS, MANY_RECORDS, event, wide_record
from bench.store import CONFIGURATION, NOW_MS, POLICY, TENANT, Inline, Store, store
from bench.table import Line, limited
from bench.timing import Compared, compare
from bench.units import read_units
from tessera.domain.export.job import ExportJob, ExportStatus, Wanted, WantedEvents
from tessera.domain.export.shape import Column
from tessera.domain.export.share import Checkpoint, Share
from tessera.domain.graph import Head
from tessera.domain.identity import Identity, Xid
from tessera.domain.place import Place
from tessera.domain.profile import IdentityItems, RecordFragment
from tessera.services.export.gathering import Gatherer
from tessera.services.export.settling import Settler
from tessera.services.export.writing import Table, Writer
from tessera.storage.codec import unpack
from tessera.storage.person_index import IndexPage
from tessera.storage.received import StoredFile

_PROFILES = 200
_EVENT_BYTES = 500
_SHARE = Share(0, 0)
_READERS, _WALKERS = 64, 16
_MEMORY_AT = (1_000, 8_000)


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


class Jobs:
    """One job and how far it is, in memory."""

    def __init__(self, events: bool) -> None:
        wanted = Wanted("exports", events=WantedEvents() if events else None, empty=True)
        self.job = ExportJob(1, NOW_MS, "", "", wanted, POLICY, ("batch",), status=ExportStatus.PROCESSING)
        self.at = Checkpoint()

    def get(self, *_: Any) -> ExportJob:
        """Read the job."""
        return self.job

    def change(self, _tenant: Any, _job: Any, mutate: Callable[[ExportJob], ExportJob]) -> ExportJob:
        """Change nothing: the job is to run again."""
        return mutate(self.job)

    def checkpoint(self, *_: Any) -> Checkpoint:
        """Read how far it is."""
        return self.at

    def checkpoints(self, *_: Any) -> dict[str, Checkpoint]:
        """Read how far it is."""
        return {_SHARE.name: self.at}

    def advance(self, _tenant: Any, _job: Any, _share: str, _before: Checkpoint, after: Checkpoint) -> None:
        """Note how far it is."""
        self.at = after


class Memory:
    """What the lake would keep."""

    def __init__(self) -> None:
        self.parts: dict[str, bytes] = {}
        self.shape: dict[str, Any] = {}
        self.made: Any = {}
        self.named: Any = []

    def plan(self, *_: Any) -> list[Any]:
        """One share."""
        return [{"first": _SHARE.first, "last": _SHARE.last}]

    def write_part(self, _tenant: Any, _job: int, part: str, rows: Sequence[bytes], shape: Any) -> None:
        """Compress rows as the lake does."""
        self.parts[part] = zstandard.ZstdCompressor(level=1).compress(b"\n".join([*rows, b""]))
        self.shape[part] = shape

    def rows(self, _tenant: Any, _job: int, part: str) -> bytes:
        """Read them."""
        return zstandard.ZstdDecompressor().decompress(self.parts[part])

    def shapes(self, _tenant: Any, _job: int, parts: Sequence[str]) -> Iterator[Any]:
        """Read shapes."""
        return iter([self.shape[part] for part in parts])

    def write_columns(self, _tenant: Any, _job: int, columns: Mapping[str, Any]) -> None:
        """Keep the columns."""
        self.made = columns

    def columns(self, *_: Any) -> Any:
        """Read them."""
        return self.made

    def write_files(self, _tenant: Any, _job: int, files: Sequence[Any]) -> None:
        """Keep the files."""
        self.named = files

    def write_file(self, _tenant: Any, _batch: str, name: str, body: bytes) -> StoredFile:
        """Let a file go."""
        return StoredFile(name, len(body), "")

    def write_result(self, *_: Any) -> None:
        """Let it go."""


@dataclass
class Known:
    """The identities of a share, all in one partition of the index."""

    xids: Sequence[Xid]

    def names(self, *_: Any, **__: Any) -> list[str]:
        """One partition."""
        return ["all"]

    def page(self, _tenant: Any, _name: str, after: str, _before: str, limit: int) -> IndexPage:
        """List some."""
        rest = [xid for xid in self.xids if xid > after] if after else self.xids
        return IndexPage(list(rest[:limit]), len(rest) > limit)


class Configurations:
    """The configuration, in memory: a worker reads it once per page."""

    def current(self, _: Any) -> Any:
        """Read it."""
        return CONFIGURATION


@dataclass
class Worker:
    """All that is done with a share, as often as wanted."""

    table: Any
    xids: Sequence[Xid]
    events: bool
    readers: Executor
    walkers: Executor
    lake: Memory = field(default_factory=Memory)

    def run(self) -> int:
        """Gather, settle and write; return how many profiles there were."""
        jobs: Any = Jobs(self.events)
        self.lake = Memory()
        lake: Any = self.lake
        configurations: Any = Configurations()
        known: Any = Known(self.xids)
        gatherer = Gatherer(
            jobs, configurations, known, self.table, lake, self.readers, self.walkers, clock_ms=lambda: NOW_MS
        )
        while not gatherer.gather(TENANT, 1, _SHARE):
            pass
        Settler(jobs, configurations, lake).settle_columns(TENANT, 1)
        for file in self.lake.named:
            Writer(jobs, lake).write(TENANT, 1, file)
        return int(jobs.at.counts.profiles)


def measure() -> list[Line]:
    """E1: CPU per profile against the floor, profiles per second and core, read units, and memory."""
    lines = []
    for shape in SHAPES:
        with store() as made:
            lines += _lines(shape, *_measured(made, shape))
    few, many = (_peak_mb(profiles) for profiles in _MEMORY_AT)
    what = f"peak memory of a worker, {_MEMORY_AT[1]:,} rich profiles against {_MEMORY_AT[0]:,}: {many:.0f} MB"
    return [*lines, limited("E1", what, many / few, 1.1, floor=f"{few:.0f} MB")]


def _lines(shape: Shape, cpu: Compared, read: float, duckdb: float) -> list[Line]:
    per_second = 1000 / cpu.ours_ms
    return [
        limited("E1", f"{shape}: {cpu.ours_ms:.2f} ms of CPU", cpu.ratio, 1.5, floor=f"{cpu.floor_ms:.2f} ms"),
        Line("E1", f"{shape}: profiles per second and core", f"{1000 / cpu.floor_ms:,.0f}", f"{per_second:,.0f}"),
        Line("E1", f"{shape}: read units per profile", "", f"{read:.2f}"),
        Line("E1", f"{shape}: profiles per second and core, DuckDB from Parquet, records only", "", f"{duckdb:,.0f}"),
    ]


def _measured(made: Store, shape: Shape) -> tuple[Compared, float, float]:
    records = _write(made, shape)
    xids = sorted(Identity.of("crmId", value).xid(TENANT) for value in records)
    with ThreadPoolExecutor(_READERS) as readers, ThreadPoolExecutor(_WALKERS) as walkers:
        worker = Worker(made.table, xids, shape.events > 0, Inline(), Inline())
        made.wire.taken()
        if worker.run() != _PROFILES:
            raise RuntimeError(f"not all of the {_PROFILES} profiles are exported")
        calls = made.wire.taken()
        floor = _floor(made.wire.client, calls, worker.lake)
        worker = replace(worker, readers=readers, walkers=walkers)
        with made.wire.replaying():
            cpu = compare(worker.run, floor, times=1, rounds=9)
    per_profile = Compared(cpu.ours_ms / _PROFILES, cpu.floor_ms / _PROFILES, cpu.ratio)
    return per_profile, sum(map(read_units, calls)) / _PROFILES, _duckdb(records)


def _write(made: Store, shape: Shape) -> dict[str, list[dict[str, Any]]]:
    """Write profiles, each with a record in two datasets and its events; return the records."""
    values = [f"p{number}" for number in range(_PROFILES)]
    records = {value: [wide_record(value, number, shape.attributes) for number in range(2)] for value in values}
    for number in range(2):
        made.write(MANY_RECORDS[number], [records[value][number] for value in values])
    if shape.events:
        first, *more = [[event(value, number, _EVENT_BYTES) for value in values] for number in range(shape.events)]
        made.write(EVENTS, first)
        for bodies in more:
            made.keep(EVENTS, bodies)
    return records


def _floor(client: Any, calls: Sequence[Call], lake: Memory) -> Callable[[], object]:
    """Make the same calls, decode the same bodies, and write the same rows, which are merged already."""
    asked = [(getattr(client, xform_name(call.operation)), call.arguments) for call in calls]
    rows = [orjson.loads(line) for part in lake.parts for line in lake.rows(None, 1, part).splitlines()]
    columns = {name: Column.from_document(document) for name, document in lake.made.items()}

    def floor() -> bytes:
        for operation, arguments in asked:
            for item in operation(**arguments).get("Items", ()):
                if "b" in item:
                    unpack(item["b"]["B"])
        lines = [orjson.dumps(row) for row in rows]
        table = Table(columns)
        table.add(b"\n".join([*lines, b""]), max(map(len, lines)) + 1)
        return table.finished()

    return floor


def _duckdb(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> float:
    """Merge the same records by one thread of DuckDB, from Parquet to Parquet; return profiles per second of CPU."""
    times = 20
    with tempfile.TemporaryDirectory() as directory:
        for number in range(2):
            rows = [
                {"id": f"{value}-{copy}", "_acme": found[number]["_acme"]}
                for value, found in records.items()
                for copy in range(times)
            ]
            pq.write_table(pa.Table.from_pylist(rows), Path(directory) / f"{number}.parquet", compression="zstd")
        groups = next(iter(records.values()))[0]["_acme"]
        merged = ", ".join(
            f"{group} := struct_pack({', '.join(_coalesced(group, name) for name in names)})"
            for group, names in groups.items()
        )
        connection = duckdb.connect(config={"threads": 1})
        started = time.process_time()
        connection.sql(
            f"COPY (SELECT id, struct_pack({merged}) AS _acme FROM '{directory}/1.parquet' one "
            f"FULL JOIN '{directory}/0.parquet' other USING (id)) TO '{directory}/out.parquet' (COMPRESSION zstd)"
        )
        return len(records) * times / (time.process_time() - started)


def _coalesced(group: str, name: str) -> str:
    return f"{name} := coalesce(one._acme.{group}.{name}, other._acme.{group}.{name})"


class Endless:
    """Makes up a rich identity for whoever is asked for: as many as wanted, none of them kept."""

    def __init__(self) -> None:
        self._body = wide_record("p", 0, 200)
        self._raw = orjson.dumps(self._body)

    def identity(self, _: Any, xid: Xid) -> IdentityItems:
        """Make one up."""
        head = Head(xid, Identity("crmid", str(xid)))
        body = orjson.loads(self._raw)
        return IdentityItems(head, [RecordFragment(xid, MANY_RECORDS[0], Place("0" * 11 + "." + "A" * 26), body)], [])


def _peak_mb(profiles: int) -> float:
    """Measure the peak memory of a worker in a process of its own."""
    answer = subprocess.run(
        [sys.executable, "-m", "bench.exporting", str(profiles)], check=True, capture_output=True, text=True
    )
    return float(answer.stdout)


def main() -> None:
    """Export made up profiles, then print the process's peak memory in MB."""
    xids = [Xid(f"{number:028d}") for number in range(int(sys.argv[1]))]
    if Worker(Endless(), xids, False, Inline(), Inline()).run() != len(xids):
        raise RuntimeError("not all profiles are exported")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
