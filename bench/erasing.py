"""K1: taking the rows of erased persons out of the lake: how fast a worker reads it and writes objects anew."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from bench.cost import WORKER_MEMORY_MB
from bench.table import Line
from bench.timing import compare
from tessera.domain import prices
from tessera.domain.batch import Batch, BatchStatus, FileFormat
from tessera.domain.configuration import DatasetKind
from tessera.domain.identity import Identity, Xid
from tessera.domain.rows import accept
from tessera.domain.tenant import Tenant
from tessera.services.erasure.lake.looking import Looker, ReadLake
from tessera.services.ingestion.staged import written
from tessera.storage.received import StoredFile
from tessera.storage.row_objects import Content, ObjectVersion, RowObject

_ROWS = 20_000
_PERSONS = 1000
_ROUNDS = 5
_TENANT = Tenant("bench", "prod")
_DATASET, _BATCH = "orders", "01HQ0000000000000000000000"
_MB = 1e6


@dataclass(frozen=True)
class _Form:
    """A format: an object of it, where it lies, and what only decodes it and makes it again."""

    name: str
    format: FileFormat
    key: str
    body: bytes
    floor: Callable[[bytes], object]
    rewritten: Callable[[bytes], object]


@dataclass
class _Canned:
    """Storage that has one object, and takes what is written."""

    form: _Form
    wanted_: dict[Xid, int]
    taken: int = 0
    written: list[bytes] = field(default_factory=list)

    # The records, notes and schemas.

    def get(self, *key: object) -> Any:
        return Batch(_BATCH, _DATASET, 1, "bench", self.form.format, status=BatchStatus.SUCCESS, completed_ms=1)

    def current(self, tenant: Tenant) -> Any:
        return self

    def schema_of(self, dataset_id: str) -> None:
        return None

    def plan(self, tenant: Tenant, batch_id: str) -> None:
        return None

    def note_rewritten(self, *of: object) -> None:
        return None

    def checkpoints(self, tenant: Tenant, job_id: str, number: int, shares: Sequence[str]) -> Any:
        return [None]

    def write_checkpoint(self, *of: Any) -> None:
        self.taken = of[-1]["taken"].get(_DATASET, [0, 0])[0]

    def wanted(self, tenant: Tenant, job_id: str, number: int) -> dict[Xid, int]:
        return self.wanted_

    # The object.

    def objects(self, tenant: Tenant, job_id: str, number: int, share: str) -> list[RowObject]:
        return [RowObject(self.form.key, (ObjectVersion("v1", len(self.form.body), latest=True),))]

    def content(self, tenant: Tenant, key: str, version: str = "") -> Content:
        body = self.form.body
        return Content(key, version, "etag", len(body), "", {}, len(body), lambda start, end: body[start:end])

    def replace(self, before: Content, current: Content, body: bytes) -> StoredFile:
        self.written = [body]
        return StoredFile(before.key, len(body), "new", "v2")

    def delete(self, key: str, version: str) -> None:
        return None


def measure() -> list[Line]:
    """Measure every format, with nobody in it who is erased and with one row in a hundred."""
    lines: list[Line] = []
    # Seconds that a row takes to be read, by format.
    per_row: dict[str, float] = {}
    for form in _forms():
        for what, wanted, floor in (
            ("read, nothing found", _wanted(_strangers()), form.floor),
            ("read and written without 1 % of its rows", _wanted(_people(_ROWS // 100)), form.rewritten),
        ):
            canned: Any = _Canned(form, wanted)
            lake = ReadLake(canned, canned, canned, canned, canned, canned)
            cpu = compare(
                lambda lake=lake: Looker(lake).look(_TENANT, "job", 1, "all"),  # type: ignore[misc]
                lambda floor=floor, form=form: floor(form.body),  # type: ignore[misc]
                times=1,
                rounds=_ROUNDS,
            )
            expected = _ROWS // 100 if canned.written else 0
            if canned.taken != expected or ("written" in what) != bool(canned.written):
                raise AssertionError(f"{form.name}: {canned.taken} rows were taken out, not {expected}")
            megabytes = len(form.body) / _MB
            speed = 1000 * megabytes / cpu.ours_ms
            per_row.setdefault(form.name, cpu.ours_ms / 1000 / _ROWS)
            told = f"{form.name}, {what}: {speed:,.0f} MB, {1000 * _ROWS / cpu.ours_ms:,.0f} rows per second of CPU"
            lines.append(Line("K1", told, f"{cpu.floor_ms / megabytes:.1f} ms/MB", f"{cpu.ratio:.2f}"))
    rows = 1e12 / (len(_lines()) / _ROWS)
    seconds = 2 * rows * (per_row["JSON lines"] + per_row["staged rows"])
    dollars = seconds * WORKER_MEMORY_MB / 1024 * prices.LAMBDA_ARM_PER_GB_SECOND
    told = f"a terabyte of JSON lines and its staged rows, read twice: {seconds / 3600:,.0f} hours of workers"
    return [*lines, Line("K1", told, "", f"${dollars:.2f}")]


def _lines() -> bytes:
    return b"".join(orjson.dumps(_row(number)) + b"\n" for number in range(_ROWS))


def _people(count: int) -> list[Identity]:
    return [Identity.of("Email", f"person-{number}@example.com") for number in range(count)]


def _strangers() -> list[Identity]:
    return [Identity.of("Email", f"{secrets.token_hex(8)}@example.org") for _ in range(_PERSONS)]


def _wanted(persons: Sequence[Identity]) -> dict[Xid, int]:
    return {one.xid(_TENANT): 10 for one in persons}


def _row(number: int) -> dict[str, Any]:
    return {
        "_id": f"event-{number}",
        "timestamp": "2025-06-18T14:00:00Z",
        "identityMap": {
            "Email": [{"id": f"person-{number}@example.com", "primary": True}],
            "ECID": [{"id": f"{number:038d}"}],
        },
        "commerce": {"order": {"priceTotal": number / 7, "currencyCode": "EUR"}},
        "productListItems": [{"SKU": f"sku-{number % 97}-{each}", "quantity": each} for each in range(4)],
        "web": {
            "webPageDetails": {"name": f"a page of the shop, number {number % 1013}", "URL": "https://ex.org/" * 4}
        },
    }


def _forms() -> list[_Form]:
    rows = [_row(number) for number in range(_ROWS)]
    table = pa.Table.from_pylist(
        [{**row, "identityMap": list(row["identityMap"].items())} for row in rows],
        pa.schema(
            [
                (field_.name, pa.map_(pa.string(), pa.list_(pa.struct([("id", pa.string()), ("primary", pa.bool_())]))))
                if field_.name == "identityMap"
                else (field_.name, field_.type)
                for field_ in pa.Table.from_pylist(rows[:10]).schema
            ]
        ),
    )
    columns = io.BytesIO()
    pq.write_table(table, columns, row_group_size=_ROWS // 2)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["_id", "timestamp", "identityMap.Email", "page", "url", "price", "city", "note"])
    for number in range(_ROWS):
        writer.writerow(
            [
                f"event-{number}",
                "2025-06-18T14:00:00Z",
                f"person-{number}@example.com",
                f"page {number}",
                "https://ex.org/" * 4,
                number / 7,
                "Bern",
                "a remark, " * 8,
            ]
        )
    staged = b'{"v":1}\n' + b"".join(
        written(number, accept(row, DatasetKind.EVENT, 500)) + b"\n" for number, row in enumerate(rows)
    )
    packed = zstandard.ZstdCompressor(1).compress(staged)
    raw, held = f"raw/{_TENANT.key}/{_BATCH}/{_DATASET}/file", f"staged/{_TENANT.key}/{_BATCH}/000000"
    return [
        _Form("JSON lines", FileFormat.JSON, raw, _lines(), _parse_lines, _parse_lines_and_join),
        _Form("CSV", FileFormat.CSV, raw, text.getvalue().encode(), _parse_csv, _parse_csv),
        _Form("Parquet", FileFormat.PARQUET, raw, columns.getvalue(), _parse_parquet, _rewrite_parquet),
        _Form("staged rows", FileFormat.JSON, held, packed, _parse_packed, _repack),
    ]


def _parse_lines(body: bytes) -> None:
    for line in body.splitlines():
        orjson.loads(line)


def _parse_lines_and_join(body: bytes) -> bytes:
    _parse_lines(body)
    return b"".join([body])


def _parse_csv(body: bytes) -> None:
    for _ in csv.reader(io.StringIO(body.decode("latin-1"), newline="")):
        pass


def _parse_parquet(body: bytes) -> None:
    pq.read_table(io.BytesIO(body), columns=["identityMap"], use_threads=False).column(0).to_pylist()


def _rewrite_parquet(body: bytes) -> None:
    _parse_parquet(body)
    pq.write_table(pq.read_table(io.BytesIO(body), use_threads=False), io.BytesIO())


def _parse_packed(body: bytes) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(body) as reader:
        whole = reader.read()
    _parse_lines(whole)
    return whole


def _repack(body: bytes) -> None:
    zstandard.ZstdCompressor(3).compress(_parse_packed(body))
