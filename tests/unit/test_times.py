"""Times as text and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tessera.domain.times import iso_ms, parse_ms

FIRST, LAST = -62_135_596_800_000, 253_402_300_799_999


@given(st.integers(FIRST, LAST))
@example(FIRST)
@example(LAST)
@example(-1)
@example(0)
def test_a_time_is_written_as_the_library_writes_it_and_read_back(milliseconds: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    assert iso_ms(milliseconds) == moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    assert parse_ms(iso_ms(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "0000-01-01", "10000-01-01", FIRST - 1, LAST + 1]
)
def test_a_time_that_could_not_be_written_again_is_none(text: object) -> None:
    with pytest.raises(ValueError):
        parse_ms(text)


@pytest.mark.parametrize("milliseconds", [FIRST - 1, LAST + 1, 10**18, -(10**18), 10**30])
def test_a_time_beyond_the_calendar_cannot_be_written(milliseconds: int) -> None:
    with pytest.raises(OverflowError):
        iso_ms(milliseconds)
