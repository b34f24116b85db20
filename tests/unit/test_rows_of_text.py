"""What is read as a row, and what is refused before its content is looked at."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.rows import RowError
from tessera.services.ingestion.documents import documents
from tessera.services.ingestion.sources import MAX_DEPTH, MAX_FIELDS, UnreadableFileError, parse

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
ROWS = st.lists(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.integers(-9, 9), max_size=3),
    max_size=6,
)


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    "raw",
    [
        b"{", b"nonsense", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": 1e999}', b'{"a": "\xff"}',
        b'{"a": "\\ud800"}', b"{'a': 1}", b'{"a": 1,}', nested(MAX_DEPTH + 1), nested(200), nested(5000),
        b"[" * 100_000, b'{"a":"' + b"x" * 1_000_000 + b'"}',
    ],
    ids=lambda raw: raw[:20].decode(errors="replace"),
)  # fmt: skip
def test_what_is_no_row(raw: bytes) -> None:
    with pytest.raises(RowError) as refused:
        parse(raw)
    assert refused.value.code == "INGEST-1401-400"


def test_the_limits_themselves_are_allowed() -> None:
    assert parse(nested(MAX_DEPTH))[0] == orjson.loads(nested(MAX_DEPTH))
    widest = {str(number): 1 for number in range(MAX_FIELDS)}
    assert parse(orjson.dumps(widest))[0] == widest
    with pytest.raises(RowError, match="more than 10000 fields"):
        parse(orjson.dumps({**widest, "more": 1}))
    with pytest.raises(RowError, match="more than 10000 fields"):
        parse(orjson.dumps([{"inner": widest}]))


def test_colons_and_brackets_in_text_are_not_counted_as_structure() -> None:
    row = {"a": ":" * 20_000, "b": "{[" * 2_000}
    assert parse(orjson.dumps(row)) == (row, len(orjson.dumps(row)))


def test_spelling_does_not_make_a_row_larger() -> None:
    row = {"a": ["x" * 100] * 100, "b": "\u00e9" * 100}
    spelled = json.dumps(row, indent=4).encode()
    assert parse(spelled)[1] == len(orjson.dumps(row)) < len(spelled)


@given(ROWS, st.sampled_from([None, 2]), st.booleans())
def test_a_document_gives_its_rows_in_order(rows: list[dict[str, int]], indent: int | None, bom: bool) -> None:
    body = json.dumps(rows, indent=indent, ensure_ascii=False).encode("utf-8-sig" if bom else "utf-8")
    assert [(number, orjson.loads(raw)) for number, raw in documents(body)] == list(enumerate(rows))


@given(st.lists(JSON_VALUES.filter(lambda value: not isinstance(value, list)), max_size=5))
def test_values_one_after_another_are_rows_too(values: list[object]) -> None:
    body = "\n\n".join(json.dumps(value, indent=1) for value in values).encode()
    assert [orjson.loads(raw) for _, raw in documents(body)] == values


def test_a_row_that_is_no_json_is_told_from_a_document_that_is_none() -> None:
    assert [raw for _, raw in documents(b'[{"a": NaN}, {"b": 1}]')] == [b'{"a": NaN}', b'{"b": 1}']


@pytest.mark.parametrize(
    "body",
    [b"[", b'[{"a":1}', b'[{"a":1},', b'[{"a":1} {"b":2}]', b"[,]", b'[{"a":1},]', b"\xff\xfe[", b'{"a":',
     b"[" + b"[" * 100_000],
    ids=lambda body: body[:20].decode(errors="replace"),
)  # fmt: skip
def test_a_broken_document_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(UnreadableFileError):
        list(documents(body))
