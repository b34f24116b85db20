"""When events expire, and how a TTL is asked for (contract: profile-api §10)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.computed.window import Unit
from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings, from_document, to_document
from tessera.domain.errors import InvalidRequestError
from tessera.domain.expiry import (
    BEGINNING_MS,
    KEPT_MS,
    LATE_MS,
    Expiry,
    days_of,
    expiry_after,
    settled_ms,
)
from tessera.domain.times import DAY_MS, parse_ms

MAY_15 = parse_ms("2026-05-15T00:00:00Z")


def asking(value: Any) -> dict[str, Any]:
    return {"extensions": {"adobe_unifiedProfile": {"rowExpiration": {"ttlValue": value}}}}


def test_the_published_example() -> None:
    """30 days set on 15 May: what is of before 15 April has expired, an event of 18 April does on 18 May."""
    expiry = expiry_after(None, 30, MAY_15, tracked_ms=MAY_15, job="j")
    assert expiry is not None
    assert expiry.horizon_ms(MAY_15) == parse_ms("2026-04-15T00:00:00Z")
    april_18 = parse_ms("2026-04-18T00:00:00Z")
    may_18 = parse_ms("2026-05-18T00:00:00Z")
    assert expiry.horizon_ms(may_18 - 1) < april_18 <= expiry.horizon_ms(may_18)


@pytest.mark.parametrize(("value", "days"), [("P1D", 1), ("P30D", 30), ("P36500D", 36_500), (None, None)])
def test_a_whole_number_of_days(value: Any, days: int | None) -> None:
    assert days_of(asking(value)) == days


@pytest.mark.parametrize(
    "description",
    [
        *(asking(value) for value in ("P0D", "P-1D", "P1.5D", "30", "P1M", "P1Y", "P4W", "PT24H", "P030D", "P36501D")),
        *(asking(value) for value in (30, 30.0, True, "", "p30d", "P30D ", "P30D\n", ["P30D"], {}, "P٣D")),
        {"extensions": "P30D"},
        {"extensions": {"adobe_unifiedProfile": ["rowExpiration"]}},
        {"extensions": {"adobe_unifiedProfile": {"rowExpiration": "P30D"}}},
    ],
)
def test_anything_else_is_refused(description: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="extensions"):
        days_of(description)


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"extensions": {}},
        {"extensions": {"adobe_lakeHouse": {"rowExpiration": {"ttlValue": "P3Y"}}}},
        {"extensions": {"adobe_unifiedProfile": {}}},
        {"extensions": {"adobe_unifiedProfile": {"rowExpiration": {}}}},
    ],
)
def test_nothing_is_asked_for(description: dict[str, Any]) -> None:
    assert days_of(description) is None


changes = st.lists(
    st.tuples(st.integers(0, 200 * DAY_MS), st.one_of(st.none(), st.integers(1, 90))), min_size=1, max_size=6
)


@given(changes, st.integers(0, 200 * DAY_MS))
def test_what_has_expired_stays_so_whatever_the_ttl_becomes(steps: list[tuple[int, int | None]], later: int) -> None:
    expiry, now, horizon = None, MAY_15, BEGINNING_MS
    for number, (after, days) in enumerate(steps):
        now += after
        if expiry is not None:
            horizon = max(horizon, expiry.horizon_ms(now))
        expiry = expiry_after(expiry, days, now, tracked_ms=0, job=str(number))
        if expiry is not None:
            assert expiry.horizon_ms(now) >= horizon
            assert days is None or expiry.horizon_ms(now) >= now - days * DAY_MS
    if expiry is not None:
        assert expiry.horizon_ms(now + later) >= expiry.horizon_ms(now)


@given(st.integers(1, 90), st.integers(-400 * DAY_MS, DAY_MS), st.integers(0, 200 * DAY_MS))
def test_an_event_is_stored_until_it_has_been_expired_for_long(days: int, age: int, later: int) -> None:
    expiry, timestamp = Expiry(days), MAY_15 + age
    until = expiry.stored_until_s(timestamp, MAY_15)
    assert until is not None
    if timestamp > expiry.horizon_ms(MAY_15):
        assert 0 <= until * 1000 - (timestamp + days * DAY_MS + KEPT_MS) < 1000
    # Saying so again later never puts it off.
    again = expiry.stored_until_s(timestamp, MAY_15 + later, until)
    assert again == until


@given(st.integers(0, 400 * DAY_MS), st.sampled_from([Unit.HOURS, Unit.DAYS, Unit.WEEKS, Unit.MONTHS]))
def test_a_unit_in_which_something_may_still_change_is_stored_whole(after: int, unit: Unit) -> None:
    """So a sum over it can be built anew, with what has expired in it."""
    days, now = 30, MAY_15 + after
    horizon = Expiry(days).horizon_ms(now)
    bucket = unit.bucket(settled_ms(horizon) + 1)
    first = unit.start(bucket)
    until = Expiry(days).stored_until_s(first, first)
    assert until is not None
    assert until * 1000 >= now


def test_taking_a_ttl_away_and_raising_it() -> None:
    thirty = Expiry(30)
    for days in (None, 60):
        changed = thirty.changed(days, MAY_15, "next")
        expired, alive = MAY_15 - 31 * DAY_MS, MAY_15 - 29 * DAY_MS
        assert expired <= changed.horizon_ms(MAY_15 + DAY_MS * 20) < alive
        stored_until = thirty.stored_until_s(expired, MAY_15)
        assert changed.stored_until_s(expired, MAY_15, stored_until) == stored_until
    assert thirty.changed(None, MAY_15, "").stored_until_s(MAY_15, MAY_15, 17) is None
    assert thirty.changed(60, MAY_15, "").stored_until_s(MAY_15, MAY_15, 17) == (MAY_15 + 60 * DAY_MS + KEPT_MS) // 1000


def test_a_ttl_that_stays_is_no_change() -> None:
    before = expiry_after(None, 30, MAY_15, tracked_ms=1, job="a")
    assert expiry_after(before, 30, MAY_15 + DAY_MS, tracked_ms=2, job="b") is before
    assert expiry_after(None, None, MAY_15, tracked_ms=2, job="b") is None


def test_it_is_part_of_the_configuration() -> None:
    configuration = Configuration(1, "id", "dev", "development")
    for expiry in (None, Expiry(30), Expiry(None, 5, 7, "job")):
        dataset = DatasetSettings("web", DatasetKind.EVENT, expiry=expiry)
        known = configuration.with_dataset(dataset)
        assert from_document(to_document(known)) == known
    assert DatasetSettings("web", DatasetKind.EVENT).horizon_ms(MAY_15) == BEGINNING_MS
    assert settled_ms(BEGINNING_MS) == BEGINNING_MS
    assert settled_ms(MAY_15) == MAY_15 - LATE_MS
