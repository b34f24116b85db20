"""Parts of a file: whole if and only if they cover it once (contract: data-and-pql §4.2)."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.errors import InvalidRequestError
from tessera.domain.intervals import Interval, content_range, merged, whole

INTERVALS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 6)).map(lambda pair: Interval(pair[0], sum(pair) - 1)), max_size=6
)
CUTS = st.lists(st.integers(1, 40), max_size=8, unique=True).map(sorted)


@given(INTERVALS)
def test_whole_is_every_byte_once(intervals: list[Interval]) -> None:
    times = Counter(byte for one in intervals for byte in range(one.first, one.last + 1))
    covered = bool(times) and all(times[byte] == 1 for byte in range(max(times) + 1))
    try:
        size = whole(intervals)
    except InvalidRequestError:
        assert not covered
    else:
        assert covered
        assert size == max(times) + 1


@given(CUTS, st.randoms())
def test_a_file_that_was_cut_is_whole_in_any_order(cuts: list[int], order: object) -> None:
    bounds = [0, *cuts, 41]
    parts = [Interval(first, beyond - 1) for first, beyond in pairwise(bounds)]
    order.shuffle(parts)  # type: ignore[attr-defined]
    assert whole(parts, [41]) == 41
    assert merged(parts) == [Interval(0, 40)]
    with pytest.raises(InvalidRequestError, match="said 42"):
        whole(parts, [42])


@given(INTERVALS)
def test_what_is_united_has_the_same_bytes_and_no_neighbours(intervals: list[Interval]) -> None:
    united = merged(intervals)
    assert {byte for one in united for byte in range(one.first, one.last + 1)} == {
        byte for one in intervals for byte in range(one.first, one.last + 1)
    }
    assert all(before.last + 1 < after.first for before, after in pairwise(united))


@given(st.integers(0, 10**10), st.integers(1, 10**7), st.integers(0, 100))
def test_what_is_written_is_read(first: int, length: int, more: int) -> None:
    last = first + length - 1
    assert content_range(f"bytes {first}-{last}", length) == (Interval(first, last), None)
    assert content_range(f"bytes {first}-{last}/*", length) == (Interval(first, last), None)
    assert content_range(f"bytes={first}-{last}/{last + 1 + more}", length) == (Interval(first, last), last + 1 + more)
