"""I1, I2, I3: what it takes to bring rows in, in write units and in CPU."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import orjson
from botocore import xform_name
from botocore.exceptions import ClientError

from bench.clicks import Source
from bench.people import EVENTS, OTHER_RECORDS, RECORDS, UPDATES, event, identity_map, record
from bench.store import BATCH, DAY_MS, ENVIRONMENT, START_MS, Inline, Store, store
from bench.table import Line, limited
from bench.timing import Compared, compare
from bench.units import Meter
from ops import cdnow
from tessera.domain.batch import Batch
from tessera.domain.rows import RowSchema
from tessera.domain.tenant import Tenant
from tessera.services.ingestion.applying import Applier
from tessera.services.ingestion.chunks import Chunk, ChunkKind
from tessera.services.ingestion.validation import Validator
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.lake import Lake

_ROWS = 2000
_EVENTS_PER_IDENTITY = 10
_ROW_BYTES = 500
_FILE = "rows.json"
_GRAPHS = (2, 5, 20)
_CUSTOMERS = 500
_UPDATES = 20


@dataclass(frozen=True)
class Units:
    """What one event takes in request units, for the prices: those of known identities, a new day begun."""

    written: float
    read: float


def event_units() -> tuple[list[Line], Units]:
    """I1: write units per event, also of the sample's purchases into an empty store."""
    values = [f"person-{number}" for number in range(100)]

    def events(first: int, each: int) -> list[dict[str, Any]]:
        return [event(value, number, _ROW_BYTES) for value in values for number in range(first, first + each)]

    lines = []
    with store() as made:
        meter = Meter()
        made.metered(meter, EVENTS, events(0, 10))
        again, _ = made.metered(meter, EVENTS, events(10, 10))
        next_day, read = made.metered(meter, EVENTS, events(20, 10), START_MS + DAY_MS)
        single, _ = made.metered(meter, EVENTS, events(30, 1), START_MS + 2 * DAY_MS)
    lines.append(limited("I1", "known identities", again, 1, floor="1"))
    lines.append(limited("I1", "known, first batch of a day, 10 events each", next_day, 1, floor="1"))
    lines.append(limited("I1", "known, one event each per day", single, 1, floor="1"))
    with store() as made:
        bought = [purchase for purchase in cdnow.purchases() if int(purchase.sample) <= _CUSTOMERS]
        cold, _ = made.metered(Meter(), EVENTS, list(cdnow.events(bought)))
    what = f"empty store, sample data: {len(bought):,} events of {_CUSTOMERS} people"
    lines.append(Line("I1", what, "1", f"{cold:.2f}"))
    return lines, Units(next_day, read)


def record_units() -> list[Line]:
    """I3: write units of a record row."""
    values = [f"person-{number}" for number in range(100)]
    with store() as made:
        meter = Meter()
        first, _ = made.metered(meter, RECORDS, [record(value, _ROW_BYTES) for value in values])
        repeat, _ = made.metered(
            meter, RECORDS, [record(value, _ROW_BYTES, version=1) for value in values], START_MS + DAY_MS
        )
    lines = [
        limited("I3", "first row of an identity", first, 3, floor="2"),
        limited("I3", "repeat with new content", repeat, 1, floor="1"),
    ]
    lines.extend(_link_line(members) for members in _GRAPHS)
    lines.append(_update_line(values))
    return lines


def _update_line(values: Sequence[str]) -> Line:
    """Update a few fields of records in an upsert dataset again and again, each time by another batch."""
    with store() as made:
        meter = Meter()
        made.metered(meter, UPDATES, [record(value, _ROW_BYTES) for value in values])
        for number in range(1, _UPDATES + 1):
            group = record("", _ROW_BYTES, version=number)
            name = ("person", "personalEmail", "homeAddress", "_acme")[number % 4]
            changes = [{"identityMap": identity_map(value, ()), name: group[name]} for value in values]
            written, read = made.metered(meter, UPDATES, changes, START_MS + number * DAY_MS)
    what = f"update of some fields of a record, the {_UPDATES}th time; read units: {read:.2f}"
    return limited("I3", what, written, 1, floor="1")


def _link_line(members: int) -> Line:
    """Link one more known identity to a graph, with a row of the identity that leads it."""
    values = [f"{members}-{number}" for number in range(members)]
    with store() as made:
        meter = Meter()
        linked = values[1:-1]
        made.metered(meter, RECORDS, [record(values[0], _ROW_BYTES, linked)])
        made.metered(meter, RECORDS, [record(values[-1], _ROW_BYTES)])
        row = [record(values[0], _ROW_BYTES, values[1:], version=1)]
        written, _ = made.metered(meter, RECORDS, row, START_MS + DAY_MS)
    what = f"with a new link, {members} members then: {written:.0f} units, per member"
    return limited("I3", what, written / members, 2, floor=f"{2 + 1 / members:.2f}")


class _Bucket:
    """The lake's bucket in memory, and what was asked of it."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def put_object(self, **arguments: Any) -> dict[str, Any]:
        self.calls.append(("put_object", arguments))
        self.objects[arguments["Key"]] = arguments["Body"]
        return {}

    def get_object(self, **arguments: Any) -> dict[str, Any]:
        self.calls.append(("get_object", arguments))
        body = self.objects.get(arguments["Key"])
        if body is None:
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": arguments["Key"]}}, "GetObject")
        if "Range" in arguments:
            start, _, end = arguments["Range"].removeprefix("bytes=").partition("-")
            body = body[int(start) : int(end) + 1]
        return {"ETag": "etag", "Body": io.BytesIO(body)}


@dataclass(frozen=True)
class Judge:
    """Knows one schema, or none: what batches are judged by."""

    schema: RowSchema | None = None

    def compiled(self, _tenant: Tenant, _version: str, *, partial: bool) -> RowSchema | None:
        """Return it, whatever version is asked for."""
        return None if partial else self.schema


@dataclass
class _Worker:
    """Validates and applies the one chunk of a batch."""

    made: Store
    chunk: Chunk
    judge: Judge
    bucket: _Bucket = field(default_factory=_Bucket)

    @property
    def result(self) -> str:
        """Key of what it notes of a chunk that it applied: with that it would not apply it again."""
        return f"jobs/{self.made.tenant.key}/ingest/{BATCH}/apply/{self.chunk.chunk}.json"

    def run(self, executor: Executor) -> None:
        self.bucket.objects.pop(self.result, None)
        batches = BatchStore(self.made.registry)
        lake = Lake(self.bucket, ENVIRONMENT["LAKE_BUCKET"])  # type: ignore[arg-type]
        Validator(batches, self.made.configurations, lake, self.judge).validate(self.made.tenant, BATCH, self.chunk)
        Applier(batches, lake, self.made.writer(executor)).apply(self.made.tenant, BATCH, self.chunk)


def row_cpu(*, rounds: int = 3) -> dict[str, Compared]:
    """I2: CPU per row of validating and applying a chunk, and of parsing it and making the same calls."""
    identities = [f"person-{number}" for number in range(_ROWS // _EVENTS_PER_IDENTITY)]
    numbers = range(_EVENTS_PER_IDENTITY)
    people = [f"person-{number}" for number in range(_ROWS)]
    events = [event(value, number, _ROW_BYTES) for number in numbers for value in identities]
    with store() as made:
        known = [event(value, 99, _ROW_BYTES) for value in identities]
        of_events = compared(made, EVENTS, known, events, rounds=rounds)
    with store() as made:
        known, again = ([record(value, _ROW_BYTES, version=version) for value in people] for version in (0, 1))
        of_records = compared(made, OTHER_RECORDS, known, again, rounds=rounds)
    return {"events": of_events, "records": of_records}


def compared(
    made: Store, dataset_id: str, before: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], *, rounds: int
) -> Compared:
    """Compare the CPU per row of validating and applying a chunk with that of the same calls and nothing else."""
    raw = b"\n".join([*map(orjson.dumps, rows), b""])
    lines = Source("JSON", ChunkKind.LINES, raw, len(raw), lambda: [orjson.loads(line) for line in raw.splitlines()])
    return compared_source(made, dataset_id, before, lines, len(rows), rounds=rounds)


def compared_source(
    made: Store,
    dataset_id: str,
    before: Sequence[dict[str, Any]],
    source: Source,
    rows: int,
    *,
    rounds: int,
    schema: RowSchema | None = None,
) -> Compared:
    """Compare the same for a file of any format, its rows judged by a schema or by none."""
    tenant = made.tenant
    made.write(dataset_id, before)
    # As a worker that comes in the course of the same day: the identities are known.
    batch = Batch(BATCH, dataset_id, START_MS, "bench", completed_ms=START_MS + 1000, judged=True)
    BatchStore(made.registry).add(tenant, batch)
    chunk = Chunk("000000", source.kind, 0, _FILE, "etag", len(source.raw), 0, source.end)
    worker = _Worker(made, chunk, Judge(schema))
    worker.bucket.objects[f"raw/{tenant.key}/{BATCH}/{dataset_id}/{_FILE}"] = source.raw
    made.wire.taken()
    made.wire.forget()
    worker.run(Inline())
    calls = made.wire.taken()
    made.record_pointers()
    result = orjson.loads(worker.bucket.objects[worker.result])
    if result["rows"] != rows or result["conflicts"]:
        raise RuntimeError(f"of {rows} rows {result} were applied")
    with made.wire.replaying(), ThreadPoolExecutor(aws.CONNECTIONS) as executor:
        floor = _floor(made.wire.client, calls, worker.bucket, source.parse, executor)
        whole = compare(lambda: worker.run(executor), floor, times=1, rounds=rounds)
    return Compared(whole.ours_ms / rows, whole.floor_ms / rows, whole.ratio)


def _floor(
    client: Any, calls: Sequence[Any], bucket: _Bucket, parse: Callable[[], object], executor: Executor
) -> Callable[[], object]:
    made = [(getattr(client, xform_name(call.operation)), call.arguments) for call in calls]
    lake = [(getattr(bucket, name), arguments) for name, arguments in bucket.calls]

    def floor() -> None:
        for operation, arguments in lake:
            operation(**arguments)
        parse()
        list(executor.map(lambda call: call[0](**call[1]), made))

    return floor


def cpu_lines(compared: dict[str, Compared]) -> list[Line]:
    """I2 as lines."""
    return [
        limited("I2", f"{kind}: {each.ours_ms:.2f} ms of CPU per row", each.ratio, 2, floor=f"{each.floor_ms:.2f} ms")
        for kind, each in compared.items()
    ]
