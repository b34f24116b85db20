"""CSV: what is read as a row, and what is refused (RFC 4180; contract: data-and-pql §4.2)."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.services.ingestion import tables
from tessera.services.ingestion.sources import UnreadableFileError, check_text
from tessera.services.ingestion.tables import DamagedRowError, ranges, records

VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def rows(body: str | bytes) -> list[Any]:
    raw = body if isinstance(body, bytes) else body.encode()
    found = placed(raw, [(0, len(raw))])
    assert len({offset for offset, _ in found}) == len(found)
    return [row for _, row in found]


def placed(body: bytes, shares: list[tuple[int, int]]) -> list[tuple[int, Any]]:
    """The rows of a file as workers find them, each with its offset; a damaged one as what is told of it."""

    def read(start: int, end: int) -> bytes:
        return body[start:end]

    return [row for start, end in shares for row in records(read, len(body), start, end)]


def told(found: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    return [(at, (str(row), row.text) if isinstance(row, DamagedRowError) else row) for at, row in found]


def test_columns_are_paths_and_identities() -> None:
    header = "identityMap.CRM,identityMap.Email,person.name.firstName,person.age,note\n"
    assert rows(header + 'c1,m@x.org,Maya,31,"a, ""b""\nc"\r\n,n@x.org,,,\n') == [
        {
            "identityMap": {"CRM": [{"id": "c1", "primary": True}], "Email": [{"id": "m@x.org"}]},
            "person": {"name": {"firstName": "Maya"}, "age": "31"},
            "note": 'a, "b"\nc',
        },
        {"identityMap": {"Email": [{"id": "n@x.org", "primary": True}]}},
    ]


@given(st.lists(st.tuples(VALUES, VALUES), max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_whatever_a_writer_writes_is_read(values: list[tuple[str, str]], end: str, bom: bool) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b.c"), *values])
    body = text.getvalue().encode("utf-8-sig" if bom else "utf-8")
    wanted = [{**({"a": a} if a else {}), **({"b": {"c": c}} if c else {})} for a, c in values]
    assert rows(body) == wanted


@given(st.lists(st.binary(max_size=20), max_size=12))
def test_any_bytes_are_rows_or_damaged_rows(lines: list[bytes]) -> None:
    body = b"\n".join([b"a,b", *lines])
    for row in rows(body):
        assert isinstance(row, dict | DamagedRowError)


@pytest.mark.parametrize(
    ("line", "why"),
    [("1", "1 values"), ("1,2,3", "3 values"), ('1,"x"y', "expected"), ("1,\udcff", "UTF-8")],
)
def test_a_damaged_row_costs_itself_and_is_kept_as_it_was(line: str, why: str) -> None:
    body = f"a,b\n0,0\n{line}\n2,2\n".encode(errors="surrogateescape")
    found = rows(body)
    assert (found[0], found[-1]) == ({"a": "0", "b": "0"}, {"a": "2", "b": "2"})
    damaged = found[1]
    assert isinstance(damaged, DamagedRowError)
    assert damaged.code == "INGEST-1401-400"
    assert why in str(damaged)
    assert damaged.text == line.replace("\udcff", "\ufffd")


def test_a_quote_that_is_never_closed_costs_no_more_than_the_longest_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_LINE_BYTES", 50)
    found = rows('a,b\n1,"' + "x,y\n" * 20 + "8,9\n")
    damaged = [row for row in found if isinstance(row, DamagedRowError)]
    assert len(damaged) == 1
    assert found[-1] == {"a": "8", "b": "9"}
    assert damaged[0].text.count("\n") < 15
    assert csv.field_size_limit() == 1_000_000


PIECES = st.sampled_from(["a", "é", ",", '"', '""', "\n", "\r\n", "\r", "\0", "x,y\n", '"q\nr",s\n', "z" * 30])
FILES = st.one_of(
    st.lists(PIECES, max_size=60).map(lambda found: "".join(found).encode()),
    st.lists(st.binary(max_size=9), max_size=12).map(b"\n".join),
)


@given(FILES, st.integers(1, 60), st.sampled_from([20, 1000]), st.booleans())
def test_a_row_is_the_same_however_the_file_is_cut(body: bytes, length: int, longest: int, bom: bool) -> None:
    body = (b"\xef\xbb\xbf" if bom else b"") + b"a,b\n" + body
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tables, "MAX_LINE_BYTES", longest)
        for name in ("_READ_AT_ONCE", "_HEADER_AT_ONCE"):
            patched.setattr(tables, name, 7)
        shares = list(ranges(lambda start, end: body[start:end], len(body), length))
        assert [start for start, _ in shares] == [0, *(end for _, end in shares[:-1])]
        assert shares[-1][1] == len(body)
        # Each is as long as asked, or a row more: nobody gets more than that to do.
        assert all(end - start < length + 2 * longest + len(body) * (longest < 30) for start, end in shares)
        assert told(placed(body, shares)) == told(placed(body, [(0, len(body))]))


def test_a_line_without_end_costs_one_row_and_is_not_kept_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_LINE_BYTES", 100)
    body = b"a,b\n1,2\n3," + b"x" * 1000 + b"\n5,6\n"
    asked: list[int] = []

    def read(start: int, end: int) -> bytes:
        asked.append(end - start)
        return body[start:end]

    monkeypatch.setattr(tables, "_READ_AT_ONCE", 64)
    monkeypatch.setattr(tables, "_HEADER_AT_ONCE", 64)
    found = list(records(read, len(body), 0, len(body)))
    assert max(asked) <= 64
    assert [row for _, row in found if isinstance(row, dict)] == [{"a": "1", "b": "2"}, {"a": "5", "b": "6"}]
    [(offset, damaged)] = [one for one in found if isinstance(one[1], DamagedRowError)]
    assert (offset, len(damaged.text)) == (8, 101)
    assert "longer than 100 bytes" in str(damaged)


@pytest.mark.parametrize(
    ("header", "code", "why"),
    [
        ("", "118", "empty"), ("\n", "118", "empty"), (",,", "118", "empty"), ("a,,b", "118", "column 2"),
        ("a,b,a", "INGEST-1401-400", "twice"),
        ("a.b,a", "INGEST-1401-400", "part of"),
        ("a..b", "INGEST-1401-400", "path"),
        ("identityMap", "INGEST-1401-400", "namespace"),
        ('"a', "INGEST-1401-400", "header"),
        (".".join("a" * 101), "INGEST-1401-400", "deeper"),
        (",".join(map(str, range(10_001))), "INGEST-1401-400", "10001"),
    ],
)  # fmt: skip
def test_headers_that_cannot_be_used(header: str, code: str, why: str) -> None:
    with pytest.raises(UnreadableFileError, match=why) as refused:
        rows(f"{header}\n1,2\n")
    assert refused.value.code == code


@pytest.mark.parametrize("body", ["a,b".encode("utf-16"), b"\xfe\xff\0a", b"\x1f\x8b\x08", b"PK\x03\x04", b"PAR1"])
def test_what_begins_as_no_text_is_told_by_its_name(body: bytes) -> None:
    with pytest.raises(UnreadableFileError, match="UTF-8"):
        check_text(body)
    check_text(b"a,b")
    check_text(b"\xef\xbb\xbfa")
