"""However a file of JSON lines is split, every line is read once, at its own offset."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tessera.services.ingestion import lines
from tessera.services.ingestion.chunks import LARGEST_RANGE, SMALLEST_RANGE, byte_ranges, range_size
from tessera.services.ingestion.lines import lines_in

BOM = b"\xef\xbb\xbf"
CONTENTS = st.one_of(
    st.just(b""),
    st.just(b"  \t"),
    st.text(alphabet=st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=30).map(str.encode),
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    parts = [draw(CONTENTS) + draw(st.sampled_from([b"\n", b"\r\n"])) for _ in range(draw(st.integers(0, 12)))]
    return draw(st.sampled_from([b"", BOM])) + b"".join(parts) + draw(CONTENTS)


def model(body: bytes) -> list[tuple[int, bytes]]:
    """Lines and their offsets, the slow and plain way."""
    found = []
    offset = 0
    for line in body.split(b"\n"):
        text = line.removeprefix(BOM) if offset == 0 else line
        if text.strip():
            found.append((offset, text))
        offset += len(line) + 1
    return found


def split(body: bytes, cuts: list[int]) -> list[tuple[int, bytes]]:
    bounds = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    return [line for start, end in pairwise(bounds) for line in lines_in(lambda a, b: body[a:b], len(body), start, end)]


@given(files(), st.lists(st.integers(0, 1000), max_size=20))
@example(b'{"a":1}\n{"b":2}', [8])
@example(b'{"a":1}\r\n\r\n{"b":2}\n', [8, 9, 10, 11])
@example(BOM + b"x\n" + BOM, [1, 2, 3, 4])
def test_every_line_is_read_once_however_the_file_is_split(body: bytes, cuts: list[int]) -> None:
    assert split(body, cuts) == model(body)


@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=8))
def test_any_bytes_at_all(body: bytes, cuts: list[int]) -> None:
    assert split(body, cuts) == model(body)


@given(files(), st.integers(1, 40))
def test_ranges_cover_a_file(body: bytes, length: int) -> None:
    ranges = list(byte_ranges(len(body), length))
    assert b"".join(body[start:end] for start, end in ranges) == body
    read = [line for start, end in ranges for line in lines_in(lambda a, b: body[a:b], len(body), start, end)]
    assert read == model(body)


def test_a_line_that_is_too_long_is_cut_the_same_way_however_the_file_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 10)
    monkeypatch.setattr(lines, "_LOOK_AHEAD", 7)
    body = b"a" * 35 + b"\nshort\n" + b"b" * 10 + b"\n" + b"c" * 11
    expected = [(0, b"a" * 11), (36, b"short"), (42, b"b" * 10), (53, b"c" * 11)]
    for cut in range(len(body) + 1):
        assert split(body, [cut]) == expected
    assert split(body, list(range(len(body)))) == expected


def test_a_small_batch_is_spread_and_a_large_one_is_cut_into_the_largest_ranges() -> None:
    assert range_size([1000]) == SMALLEST_RANGE
    assert range_size([10**11]) == LARGEST_RANGE
    assert SMALLEST_RANGE < range_size([10**8]) < LARGEST_RANGE
