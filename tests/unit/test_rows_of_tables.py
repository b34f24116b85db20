"""CSV: what is read as a row, and what is refused (RFC 4180; contract: data-and-pql §4.2)."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.services.ingestion.sources import UnreadableFileError, check_text
from tessera.services.ingestion.tables import DamagedRowError, records

VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def rows(body: str | bytes) -> list[Any]:
    found = list(records(body if isinstance(body, bytes) else body.encode()))
    assert [number for number, _ in found] == list(range(len(found)))
    return [row for _, row in found]


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
    before = csv.field_size_limit(50)
    try:
        found = rows('a,b\n1,"' + "x,y\n" * 20 + "8,9\n")
    finally:
        csv.field_size_limit(before)
    damaged = [row for row in found if isinstance(row, DamagedRowError)]
    assert len(damaged) == 1
    assert found[-1] == {"a": "8", "b": "9"}
    assert damaged[0].text.count("\n") < 15
    assert before == 1_000_000


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
