"""Whatever JSON is exported comes back from Parquet; who reads what leaves nobody out."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.domain.export.rows import with_entries
from tessera.domain.export.shape import Column, Shape, as_text, columns_of
from tessera.domain.export.share import Counts, shares_for
from tessera.domain.identity import INDEX_SHARDS, Identity, shard_of
from tessera.domain.tenant import Tenant
from tessera.services.export.writing import Table
from tests.exported import as_json, without_nulls

NAMES = st.sampled_from(["a", "b", "c.d", "ü", ""])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.integers(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
IDENTITY_MAPS = st.dictionaries(st.sampled_from(["crm", "email"]), st.lists(st.just({"id": "1"}), max_size=2))
ROWS = st.lists(
    st.fixed_dictionaries(
        {"identityMap": IDENTITY_MAPS},
        optional={
            "x": VALUES,
            "y": VALUES,
            "segmentMembership": st.dictionaries(
                st.just("ups"), st.dictionaries(st.sampled_from("st"), st.just({"status": "exited"}))
            ),
            "eventList": st.lists(st.fixed_dictionaries({"identityMap": IDENTITY_MAPS}, optional={"z": VALUES})),
        },
    ),
    min_size=1,
    max_size=4,
)


def shape_of(rows: list[Any]) -> Shape:
    """Each row is observed by another worker."""
    united = Shape()
    for row in rows:
        one = Shape()
        one.observe(row)
        united.unite(Shape.from_document(orjson.loads(orjson.dumps(one.to_document()))))
    return united


def through_parquet(rows: list[Any], columns: dict[str, Column]) -> list[Any]:
    table = Table({name: Column.from_document(column.to_document()) for name, column in columns.items()})
    lines = [orjson.dumps(with_entries(row)) for row in rows]
    table.add(b"\n".join([*lines, b""]), max(map(len, lines)) + 1)
    return [as_json(row) for row in pq.read_table(io.BytesIO(table.finished())).to_pylist()]


def expected(value: Any, column: Column) -> Any:
    """A value as it should come back: text where types met, and nothing else changed."""
    if value is None:
        return None
    if column.mixed:
        return as_text(value)
    if column.fields is not None:
        # A struct has all of its fields: one without a value and one that is not there are the same.
        return {name: expected(inner, column.fields[name]) for name, inner in value.items()}
    if column.items is not None and column.kind == "map":
        return {name: expected(inner, column.items) for name, inner in value.items()}
    return [expected(item, column.items) for item in value] if column.items is not None else value


@settings(max_examples=150, deadline=None)
@given(ROWS)
def test_rows_come_back_from_parquet(rows: list[Any]) -> None:
    columns = columns_of(shape_of(rows))
    assert list(columns) == sorted(columns)
    wanted = [{name: expected(value, columns[name]) for name, value in row.items()} for row in rows]
    assert through_parquet(_with_entries_restored(rows), columns) == without_nulls(wanted)


def _with_entries_restored(rows: list[Any]) -> list[Any]:
    before = orjson.dumps(rows)
    for row in rows:
        with_entries(row)
    assert orjson.dumps(rows) == before
    return rows


@pytest.mark.parametrize(
    ("values", "kind", "mixed"),
    [
        ([1, -5, None], "bigint", ()),
        ([1, 2.5], "double", ()),
        ([1 << 60, 1], "bigint", ()),
        ([(1 << 53) + 1, 0.5], "string", ("bigint", "double")),
        ([1 << 63, 1], "string", ("bigint", "decimal")),
        (["a", None], "string", ()),
        ([None], "string", ()),
        (["a", 1], "string", ("string", "bigint")),
        ([True, 1], "string", ("boolean", "bigint")),
        ([True, False], "boolean", ()),
        ([[], [1]], "array", ()),
        ([[1], 1], "string", ("bigint", "array")),
        ([{}], "string", ("struct",)),
        ([{}, {"a": 1}], "struct", ()),
    ],
)
def test_types(values: list[Any], kind: str, mixed: tuple[str, ...]) -> None:
    column = columns_of(shape_of([{"x": value} for value in values]))["x"]
    assert (column.kind, column.mixed) == (kind, mixed)


def test_types_as_athena_writes_them() -> None:
    row = {"identityMap": {"crm": [{"id": "1"}]}, "a": {"b": [{"c": 1.5}], "d": True}}
    row["segmentMembership"] = {"ups": {"s": {"status": "exited"}}}
    assert {name: column.hive_type() for name, column in columns_of(shape_of([row])).items()} == {
        "a": "struct<b:array<struct<c:double>>,d:boolean>",
        "identityMap": "map<string,array<struct<id:string>>>",
        "segmentMembership": "map<string,map<string,struct<status:string>>>",
    }


def test_objects_of_very_many_names_are_text() -> None:
    column = columns_of(shape_of([{"x": {f"n{number}": 1 for number in range(10_001)}}]))["x"]
    assert column == Column("string", mixed=("struct",))


@pytest.mark.parametrize("identities", [0, 1, 10_000, 40_000, 2_559_999, 2_560_000, 100_000_000, 10**10])
def test_shares_leave_nobody_out_and_take_nobody_twice(identities: int) -> None:
    shares = list(shares_for(identities))
    assert len({share.name for share in shares}) == len(shares) <= INDEX_SHARDS * 64
    if identities <= 100_000_000:
        assert len(shares) >= identities // 10_000 // 2
    for number in range(200):
        xid = Identity("crm", str(number)).xid(Tenant("ORG", "dev"))
        mine = [
            share
            for share in shares
            if share.first <= shard_of(xid) <= share.last
            # As the index is asked: see PersonIndex.
            if (share.after and share.after + "!") <= xid <= share.upto + "~"
        ]
        assert len(mine) == 1


def test_counts_add_up() -> None:
    one, other = Counts(1, 2, 3, 4, {"a": 1}), Counts(1, 0, 0, 0, {"a": 1, "b": 1})
    assert Counts.total([one, other]) == Counts(2, 2, 3, 4, {"a": 2, "b": 1})
