"""Files without the rows of some persons: a model takes rows away from a list, whatever the format (law 7)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.erasure import Look, Unread
from tessera.domain.identity import Identity, Xids
from tessera.domain.schema.identity_field import IdentityField
from tessera.domain.tenant import Tenant
from tessera.services.erasure.lake import parquet, texts
from tessera.services.erasure.lake.checkpoint import Checkpoint, Inside
from tessera.services.erasure.lake.texts import Cuts
from tessera.services.erasure.lake.wanted import Concerned, Wanted, identities_of
from tessera.services.ingestion.documents import documents
from tessera.storage.lake import without_rows
from tessera.storage.received import StoredFile

TENANT = Tenant("org", "dev")
GONE = Identity.of("Email", "gone@ex.org")
UNTIL = {GONE.xid(TENANT): 10}
CONCERNED = Concerned(Wanted(TENANT, UNTIL), 10)

# True for a row of the person, a text that is no row, or what else is in a row of somebody.
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
ROWS = st.lists(st.tuples(st.booleans(), TEXT), max_size=30)


def row_of(gone: bool, note: str) -> dict[str, Any]:
    value = "Gone@ex.org" if gone else "kept@ex.org"
    return {"note": note, "identityMap": {"CRM": [{"id": note}], "Email": [{"id": value}]}}


def read_of(body: bytes) -> Callable[[int, int], bytes]:
    return lambda start, end: body[start:end]


def left_of(body: bytes, walk: Any, interruptions: int) -> tuple[bytes, Cuts]:
    """What is left of a file that is gone through with so many interruptions at whatever row they come."""
    cuts = Cuts()
    while True:
        # What is kept between invocations is JSON.
        found = Checkpoint(inside=Inside("v", cuts)).to_document()
        inside = Checkpoint.from_document(orjson.loads(orjson.dumps(found))).inside
        assert inside is not None
        cuts = inside.cuts
        interruptions -= 1
        over = interruptions >= 0
        if texts.find(walk(read_of(body), len(body), cuts.at), len(body), cuts, CONCERNED.row, lambda: over):  # noqa: B023
            break
    pieces = list(texts.left(read_of(body), len(body), cuts, 0))
    for piece, offset in pieces[:-1]:
        assert pieces[pieces.index((piece, offset)) + 1 :] == list(texts.left(read_of(body), len(body), cuts, offset))
    return b"".join(piece for piece, _ in pieces), cuts


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(texts, "READ_AT_ONCE", 100)
    monkeypatch.setattr(texts, "_ROWS_BETWEEN_LOOKS_AT_THE_CLOCK", 3)
    yield


@given(ROWS, st.sampled_from([b"\n", b"\r\n", b"\n\n"]), st.booleans(), st.integers(0, 3))
def test_json_lines(rows: list[tuple[bool, str]], end: bytes, ends: bool, interruptions: int) -> None:
    lines = [orjson.dumps(row_of(*row)) if row[1] != "!" else b"{no json" for row in rows]
    gone = [row[0] and row[1] != "!" for row in rows]
    whole = [line + end for line in lines]
    if whole and not ends:
        whole[-1] = lines[-1]
    left, cuts = left_of(b"".join(whole), texts.json_rows, interruptions)
    assert left == b"".join(line for line, goes in zip(whole, gone, strict=True) if not goes)
    assert (cuts.rows, cuts.unread) == (sum(gone), sum(row[1] == "!" for row in rows))


@given(ROWS, st.booleans(), st.integers(0, 3))
def test_csv(rows: list[tuple[bool, str]], quoted: bool, interruptions: int) -> None:
    def line(values: list[str]) -> bytes:
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL).writerow(values)
        return text.getvalue().encode()

    head = line(["note", "identityMap.Email"])
    written = [line([f"{note}\n{note}", "GONE@ex.org" if gone else "kept@ex.org"]) for gone, note in rows]
    left, cuts = left_of(head + b"".join(written), texts.csv_rows, interruptions)
    assert left == head + b"".join(one for one, (gone, _) in zip(written, rows, strict=True) if not gone)
    assert cuts.rows == sum(gone for gone, _ in rows)


@given(ROWS, st.booleans(), st.sampled_from([b",", b" ,\n  "]))
def test_documents(rows: list[tuple[bool, str]], array: bool, between: bytes) -> None:
    raw = [orjson.dumps(row_of(*row), option=orjson.OPT_INDENT_2) for row in rows]
    body = b"[" + between.join(raw) + b"]" if array else b"\n".join(raw)
    left, taken, unread = texts.document_without(body, CONCERNED.row)
    assert [one for _, one in documents(left)] == [one for one, row in zip(raw, rows, strict=True) if not row[0]]
    assert (taken, unread) == (sum(row[0] for row in rows), 0)
    if array:
        assert len(orjson.loads(left)) == len(rows) - taken


@given(ROWS, st.integers(1, 7), st.sampled_from(["snappy", "zstd", "none"]), st.integers(0, 3))
def test_parquet(rows: list[tuple[bool, str]], group: int, codec: str, interruptions: int) -> None:
    kind = pa.map_(pa.string(), pa.list_(pa.struct([("id", pa.string()), ("primary", pa.bool_())])))
    schema = pa.schema(
        [
            pa.field("note", pa.dictionary(pa.int32(), pa.string())),
            pa.field("at", pa.timestamp("ns", "UTC")),
            pa.field("identityMap", kind),
            pa.field("count", pa.uint32(), nullable=False),
        ],
        metadata={"made": "by hand"},
    )
    values = [
        {
            "note": note,
            "at": number,
            "identityMap": [("Email", [{"id": "gone@ex.org" if gone else "kept@ex.org", "primary": None}])],
            "count": number,
        }
        for number, (gone, note) in enumerate(rows)
    ]
    table = pa.Table.from_pylist(values, schema)
    whole = io.BytesIO()
    pq.write_table(table, whole, row_group_size=group, compression=codec)
    read, size = read_of(whole.getvalue()), len(whole.getvalue())
    cuts = Cuts()
    over = iter([True] * interruptions)
    while not parquet.find(read, size, CONCERNED.columns, cuts, CONCERNED.row, lambda: next(over, False)):
        pass
    assert cuts.rows == sum(gone for gone, _ in rows)
    if not cuts.rows:
        return
    sink = io.BytesIO()
    sink.close = lambda: None  # type: ignore[method-assign]
    parquet.write_without(read, size, cuts, sink)
    written = pq.ParquetFile(io.BytesIO(sink.getvalue()))
    kept = table.filter(pa.array([not gone for gone, _ in rows], pa.bool_()))
    before = pq.ParquetFile(io.BytesIO(whole.getvalue()))
    assert written.schema_arrow.equals(before.schema_arrow, check_metadata=True)
    assert written.schema.equals(before.schema)
    assert written.read().to_pylist() == kept.to_pylist()
    groups = [written.metadata.row_group(index) for index in range(written.metadata.num_row_groups)]
    assert {one.column(0).compression for one in groups} <= {"UNCOMPRESSED" if codec == "none" else codec.upper()}
    assert all(one.num_rows <= group for one in groups)


def test_a_line_longer_than_a_row_may_be_stays_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "READ_AT_ONCE", 1_000_000)
    long = b'{"identityMap": {"Email": [{"id": "gone@ex.org"}]}, "x": "' + b"x" * 3_000_000 + b'"}\n'
    short = orjson.dumps(row_of(True, "")) + b"\n"
    left, cuts = left_of(short + long + short, texts.json_rows, 0)
    assert (left == long, cuts.rows, cuts.unread) == (True, 2, 1)


def test_rejected_rows_that_were_kept_as_they_stood() -> None:
    rows = [
        {"_corrupt_record": orjson.dumps(row_of(True, "a")).decode(), "_errors": []},
        {"_corrupt_record": "{cut", "_errors": []},
        {**row_of(True, "b"), "_errors": []},
        {**row_of(False, "c"), "_errors": []},
    ]
    lines = [orjson.dumps(row) + b"\n" for row in rows]
    left, cuts = left_of(b"".join(lines), texts.rejected_rows, 0)
    assert (left, cuts.rows, cuts.unread) == (lines[1] + lines[3], 2, 1)


FIELDS = [IdentityField(("_own", "mail"), "Email", True), IdentityField(("number",), "CRM", False)]


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"identityMap": {"EMAIL": [{"id": "A@ex.org"}]}}, {("email", "a@ex.org")}),
        ({"identityMap": {"crm": [{"id": 7}, {"id": None}, {}, 5]}, "number": 7}, {("crm", "7")}),
        ({"_own": {"mail": "b@ex.org"}, "number": 1.5}, {("email", "b@ex.org"), ("crm", "1.5")}),
        ({"_own": "x", "identityMap": {"crm": "x"}, "number": True}, set()),
        ({"identityMap": [], "number": "n"}, {("crm", "n")}),
        # Two primary ones, of which ingestion takes neither.
        (
            {"identityMap": {"CRM": [{"id": "1", "primary": True}, {"id": "2", "primary": True}]}},
            {("crm", "1"), ("crm", "2")},
        ),
    ],
)
def test_whom_a_row_names(row: dict[str, Any], named: set[tuple[str, str]]) -> None:
    found = {Identity.of(*one) for one in identities_of(row, FIELDS)}
    assert {(one.namespace, one.value) for one in found} == named


def test_rows_accepted_after_the_erasure_stay() -> None:
    wanted = CONCERNED.wanted
    assert [wanted.has("EMAIL", "GONE@ex.org", at_ms) for at_ms in (0, 10, 11)] == [True, True, False]
    assert not Wanted(Tenant("org", "prod"), UNTIL).has("email", "gone@ex.org", 0)


@given(st.lists(st.tuples(st.sampled_from(["Email", "eMAIL", "CRM", "crm", "ECID"]), TEXT), max_size=20), st.data())
def test_a_set_of_xids_has_those_that_it_was_made_of(named: list[tuple[str, str]], data: st.DataObject) -> None:
    inside = data.draw(st.sets(st.sampled_from(named))) if named else set()
    xids = {Identity.of(*one).xid(TENANT) for one in inside}
    known = Xids(TENANT, xids)
    for one in named:
        xid = Identity.of(*one).xid(TENANT)
        assert known.find(*one) == (xid if xid in xids else None)


def test_a_plan_is_changed_once() -> None:
    before, after = StoredFile("a", 9, "e1", "v1", in_parts=True), StoredFile("key", 5, "e2", "v2")
    other = ["b", 1, "e", "v", False]
    plan = {"v": 1, "files": [["a", 9, "e1", "v1", True], other], "chunks": []}
    changed = without_rows(plan, "a", before.version, after, 2)
    assert changed is not None
    assert changed["files"] == [["a", 5, "e2", "v2", False], other]
    assert changed["erased"] == {"a": 2}
    assert without_rows(changed, "a", before.version, after, 2) is None
    again = without_rows(changed, "a", after.version, StoredFile("key", 4, "e3", "v3"), 1)
    assert again is not None
    assert again["erased"] == {"a": 3}


def test_a_look_is_stored_and_read() -> None:
    look = Look(2, {"d": (3, 2)}, 1, 0, 9, 1000, (Unread("why", "f", "d", "b", 1),), 4)
    assert Look.from_document(orjson.loads(orjson.dumps(look.to_document()))) == look
    assert look.found == 4
