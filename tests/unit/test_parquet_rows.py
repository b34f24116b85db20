"""Parquet values as the JSON they stand for, and files that are none."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tessera.domain.rows import RowError
from tessera.services.ingestion import parquet
from tessera.services.ingestion.sources import UnreadableFileError


def written(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def reader(body: bytes) -> Any:
    return lambda start, end: body[start:end]


def read(body: bytes) -> list[Any]:
    groups = parquet.row_groups(reader(body), len(body))
    return [
        (group.first_row + number, row)
        for group in groups
        for number, row in parquet.rows(reader(body), len(body), group.index)
    ]


def test_every_type_has_a_form_in_json() -> None:
    moment = datetime(2025, 6, 18, 14, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=2)))
    values: dict[str, tuple[pa.DataType, object, object]] = {
        "text": (pa.string(), "é", "é"),
        "long_text": (pa.large_string(), "x", "x"),
        "category": (pa.dictionary(pa.int32(), pa.string()), "a", "a"),
        "number": (pa.int64(), 2**62, 2**62),
        "byte": (pa.int8(), -1, -1),
        "real": (pa.float64(), 0.1, 0.1),
        "flag": (pa.bool_(), True, True),
        "day": (pa.date32(), date(2025, 6, 18), "2025-06-18"),
        "zoned": (pa.timestamp("ms", "Europe/Paris"), moment, "2025-06-18T12:00:00.250Z"),
        "local": (pa.timestamp("us"), datetime(2025, 6, 18, 14, 0, 0, 1), "2025-06-18T14:00:00.000001Z"),
        "nanos": (pa.timestamp("ns", "UTC"), datetime(2025, 6, 18, tzinfo=UTC), "2025-06-18T00:00:00.000Z"),
        "price": (pa.decimal128(12, 2), Decimal("12.50"), 12.5),
        "whole": (pa.decimal128(12, 0), Decimal(12), 12),
        "unmarked": (pa.binary(), b"plain", "plain"),
        "binary": (pa.binary(), b"\xff\x00", "/wA="),
        "list": (pa.list_(pa.date32()), [date(2025, 1, 1), None], ["2025-01-01", None]),
        "struct": (pa.struct([("at", pa.timestamp("ns")), ("n", pa.int32())]), {"at": datetime(2025, 1, 1), "n": None},
                   {"at": "2025-01-01T00:00:00.000Z", "n": None}),
        "map": (pa.map_(pa.string(), pa.list_(pa.struct([("id", pa.string())]))), [("Email", [{"id": "a@b"}])],
                {"Email": [{"id": "a@b"}]}),
        "missing": (pa.string(), None, None),
    }  # fmt: skip
    table = pa.table({name: pa.array([value], kind) for name, (kind, value, _) in values.items()})
    [(number, row)] = read(written(table))
    assert number == 0
    assert row == {name: expected for name, (_, _, expected) in values.items()}
    orjson.dumps(row)


def test_rows_are_numbered_through_row_groups() -> None:
    table = pa.table({"n": list(range(25_000))})
    body = written(table, row_group_size=7_000)
    assert [(number, row["n"]) for number, row in read(body)] == [(n, n) for n in range(25_000)]


def test_a_row_group_too_large_to_hold_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_MAX_IN_MEMORY", 0)
    table = pa.table({"n": list(range(5_000)), "t": [f"text {n}" for n in range(5_000)]})
    assert [row["t"] for _, row in read(written(table))] == [f"text {n}" for n in range(5_000)]


def test_a_dictionary_of_one_large_value_does_not_fill_the_memory() -> None:
    text = "x" * 1_000_000
    body = written(pa.table({"a": pa.array([text] * 1000).dictionary_encode()}))
    assert len(body) < 100_000
    most = 0
    for _, row in parquet.rows(reader(body), len(body), 0):
        assert len(row["a"]) == len(text)
        most = max(most, pa.total_allocated_bytes())
    assert most < 500_000_000


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_does_not_have_costs_its_own_row(bad: float) -> None:
    table = pa.table({"n": [1.0, bad, None, 3.0], "inner": [{"x": 1.0}, {"x": 2.0}, {"x": bad}, {"x": None}]})
    found = [row for _, row in read(written(table))]
    assert [isinstance(row, RowError) for row in found] == [False, True, True, False]
    assert found[3] == {"n": 3.0, "inner": {"x": None}}


def test_a_time_beyond_the_calendar_costs_its_own_row() -> None:
    table = pa.table({"t": pa.array([0, 2**62], pa.timestamp("us", "UTC"))})
    found = [row for _, row in read(written(table))]
    assert found[0] == {"t": "1970-01-01T00:00:00.000Z"}
    assert isinstance(found[1], RowError)


@pytest.mark.parametrize(
    "body",
    [b"", b"PAR1", b"PAR1PAR1", b'{"a": 1}\n', b"PAR1" + b"\x00" * 50 + b"\xff\xff\xff\x7fPAR1",
     b"PAR1" + b"\x00" * 50 + b"\x20\x00\x00\x00PAR1", b"PAR1" + b"\x00" * 50 + b"\x20\x00\x00\x00PARE"],
)  # fmt: skip
def test_what_is_no_parquet(body: bytes) -> None:
    with pytest.raises(UnreadableFileError):
        parquet.row_groups(reader(body), len(body))


def test_a_damaged_row_group_is_told() -> None:
    body = bytearray(written(pa.table({"t": [f"text {n}" for n in range(10_000)]}), compression="zstd"))
    body[200:4000] = b"\xff" * 3800
    with pytest.raises(UnreadableFileError):
        read(bytes(body))


def test_a_column_that_is_there_twice_is_refused() -> None:
    body = written(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]))
    with pytest.raises(UnreadableFileError, match="the column a twice"):
        parquet.row_groups(reader(body), len(body))


def test_binary_views_are_read_as_binary_is() -> None:
    body = written(pa.table({"a": pa.array([b"text", b"\xff"], pa.binary_view())}))
    assert [row["a"] for _, row in read(body)] == ["text", "/w=="]


def test_ten_thousand_and_one_columns_are_too_many() -> None:
    widest = pa.table({f"c{n}": pa.array([1], pa.int8()) for n in range(10_000)})
    body = written(widest)
    assert len(read(body)[0][1]) == 10_000
    body = written(widest.append_column("more", pa.array([1], pa.int8())))
    with pytest.raises(UnreadableFileError, match="10001 columns"):
        parquet.row_groups(reader(body), len(body))
