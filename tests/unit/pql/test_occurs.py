"""Times: the phrases of ``occurs`` against plain arithmetic on dates, and at the ends of the calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.pql import PqlError, parse

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ms(text: str) -> int:
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)


def holds(subject: Any, phrase: str, now: str = "2025-06-18T15:30:00") -> Any:
    return parse(f"t occurs {phrase}").evaluate({"t": subject, "u": "2025-06-18T15:30:00Z"}, now=ms(now))


PERIODS = [
    # A period, its first instant, and the first after it; the clock is a Wednesday.
    ("today", "2025-06-18T00:00:00", "2025-06-19T00:00:00"),
    ("yesterday", "2025-06-17T00:00:00", "2025-06-18T00:00:00"),
    ("tomorrow", "2025-06-19T00:00:00", "2025-06-20T00:00:00"),
    ("this millisecond", "2025-06-18T15:30:00", "2025-06-18T15:30:00.001"),
    ("this second", "2025-06-18T15:30:00", "2025-06-18T15:30:01"),
    ("last minute", "2025-06-18T15:29:00", "2025-06-18T15:30:00"),
    ("next hour", "2025-06-18T16:00:00", "2025-06-18T17:00:00"),
    ("this week", "2025-06-15T00:00:00", "2025-06-22T00:00:00"),
    ("last week", "2025-06-08T00:00:00", "2025-06-15T00:00:00"),
    ("next month", "2025-07-01T00:00:00", "2025-08-01T00:00:00"),
    ("last year", "2024-01-01T00:00:00", "2025-01-01T00:00:00"),
    ("this decade", "2020-01-01T00:00:00", "2030-01-01T00:00:00"),
    ("last decade", "2010-01-01T00:00:00", "2020-01-01T00:00:00"),
    ("this century", "2000-01-01T00:00:00", "2100-01-01T00:00:00"),
    ("last millennium", "1000-01-01T00:00:00", "2000-01-01T00:00:00"),
    ("date(2024, 2, 29)", "2024-02-29T00:00:00", "2024-03-01T00:00:00"),
    ("= 2 months before now", "2025-04-01T00:00:00", "2025-05-01T00:00:00"),
    ("= 1 weeks after today", "2025-06-22T00:00:00", "2025-06-29T00:00:00"),
    ("between yesterday and this week", "2025-06-17T00:00:00", "2025-06-22T00:00:00"),
]


@pytest.mark.parametrize(("phrase", "start", "end"), PERIODS, ids=[row[0] for row in PERIODS])
def test_a_period_has_its_first_instant_and_not_the_first_after_it(phrase: str, start: str, end: str) -> None:
    assert holds(ms(start), phrase) is True
    assert holds(ms(start) - 1, phrase) is False
    assert holds(ms(end) - 1, phrase) is True
    assert holds(ms(end), phrase) is False


@pytest.mark.parametrize(("phrase", "start", "end"), PERIODS[:16], ids=[row[0] for row in PERIODS[:16]])
def test_before_and_after_a_period(phrase: str, start: str, end: str) -> None:
    assert holds(ms(start) - 1, f"before {phrase}") is True
    assert holds(ms(start), f"before {phrase}") is False
    assert holds(ms(end), f"after {phrase}") is True
    assert holds(ms(end) - 1, f"after {phrase}") is False


MINUTES = {"minute": 1, "hour": 60, "day": 1440, "week": 10080}


@given(
    st.sampled_from(sorted(MINUTES)),
    st.integers(0, 50),
    st.sampled_from(["<", "<=", ">", ">=", "=", "!="]),
    st.sampled_from(["before", "after", "from"]),
    st.integers(-600_000, 600_000) | st.integers(-51, 51).map(lambda hours: hours * 60),
    st.booleans(),
)
def test_distances_are_arithmetic(
    unit: str, count: int, operator: str, direction: str, offset: int, by_attribute: bool
) -> None:
    now = datetime(2025, 6, 18, 15, 30, tzinfo=UTC)
    subject = now + timedelta(minutes=offset)
    sign = -1 if direction == "before" else 1
    far = now + sign * timedelta(minutes=count * MINUTES[unit])
    within = timedelta(0) <= sign * (subject - now) <= sign * (far - now)
    beyond = sign * (subject - far) > timedelta(0)
    week_start = datetime(2025, 6, 15, tzinfo=UTC)
    length = timedelta(minutes=MINUTES[unit])
    same_unit = (subject - week_start) // length == (far - week_start) // length
    expected = {
        "<=": within,
        "<": within and subject != far,
        ">": beyond,
        ">=": beyond or subject == far,
        "=": same_unit,
        "!=": not same_unit,
    }[operator]
    anchor = "u" if by_attribute else "now"
    assert holds(subject.isoformat(), f"{operator} {count} {unit}s {direction} {anchor}") is expected


CLAMPED = [
    ("2025-03-31T12:00:00", "month", 1, "2025-02-28T12:00:00"),
    ("2024-03-31T12:00:00", "month", 1, "2024-02-29T12:00:00"),
    ("2024-02-29T12:00:00", "year", 1, "2023-02-28T12:00:00"),
    ("2024-02-29T12:00:00", "year", 4, "2020-02-29T12:00:00"),
    ("2025-01-15T00:00:00", "month", 13, "2023-12-15T00:00:00"),
    ("2024-02-29T12:00:00", "century", 1, "1924-02-29T12:00:00"),
    ("2000-02-29T00:00:00", "century", 1, "1900-02-28T00:00:00"),
]


@pytest.mark.parametrize(("now", "unit", "count", "far"), CLAMPED)
def test_a_day_that_a_month_does_not_have_is_its_last(now: str, unit: str, count: int, far: str) -> None:
    phrase = f"<= {count} {unit} before now"
    assert holds(ms(far), phrase, now) is True
    assert holds(ms(far) - 1, phrase, now) is False


SAME_INSTANT = [
    "2025-06-18T15:30:00Z",
    "2025-06-18T15:30:00",
    "2025-06-18T15:30",
    "2025-06-18 15:30:00",
    "2025-06-18T17:30:00+02:00",
    "2025-06-18T17:30:00+02",
    "2025-06-18T17:30:00+0200",
    "2025-06-18T10:00:00.000-05:30",
    "2025-06-18T15:30:00.000999Z",
    1_750_260_600_000,
]


@pytest.mark.parametrize("subject", SAME_INSTANT)
def test_ways_to_write_an_instant(subject: Any) -> None:
    assert holds(subject, "on now") is True
    assert holds(subject, "now") is True
    assert holds(subject, "before now") is False
    assert holds(subject, "after now") is False
    assert holds(subject, "<= 0 days before now") is True
    assert holds(subject, "< 0 days before now") is False


@pytest.mark.parametrize(
    "subject", ["20250618", "2025-W25-3", "2025-06", "now", "", "2025-06-31", "2025-06-18x10:00", 1.5, True, [], {}]
)
def test_what_is_no_time(subject: Any) -> None:
    with pytest.raises(PqlError, match="expected a time"):
        holds(subject, "today")


@pytest.mark.parametrize("phrase", ["before v", "on v", "<= 1 days before v", "!= 1 days before v", "between v and u"])
def test_an_anchor_that_is_null(phrase: str) -> None:
    assert holds("2025-06-18", phrase) is False


def test_an_anchor_that_is_an_attribute() -> None:
    assert holds("2025-06-18T15:30:00Z", "on u") is True
    assert holds("2025-06-18T15:30:00.001Z", "on u") is False
    assert holds("2025-06-18T15:30:00.001Z", "after u") is True
    assert holds("2025-06-17T15:30:00Z", "<= 1 days before u") is True
    assert holds("2025-06-18T15:30:00Z", "between u and u") is True


def test_only_a_date_written_there_is_a_day() -> None:
    evening = "2025-06-18T20:00:00Z"
    assert holds(evening, "on date(2025, 6, 18)") is True
    assert parse("let d = date(2025, 6, 18) in t occurs on d").evaluate({"t": evening}, now=0) is False
    assert parse("t occurs on date(y, 6, 18)").evaluate({"t": evening, "y": 2025}, now=0) is True


@pytest.mark.parametrize("now", ["0001-01-01T00:00:00", "9999-12-31T23:59:59.999"])
@pytest.mark.parametrize("unit", ["hour", "week", "month", "century", "millennium"])
def test_the_calendar_goes_on_beyond_its_ends(now: str, unit: str) -> None:
    assert holds(ms(now), f"<= 999999999 {unit} before now", now) is True
    assert holds(ms(now), f"<= 999999999 {unit} after now", now) is True
    assert holds(ms(now), f"this {unit}", now) is True
    assert holds(ms(now), f"last {unit}", now) is False


def test_the_clock_is_read_at_each_evaluation() -> None:
    query = parse("t occurs today")
    subject = {"t": "2025-06-18T12:00:00Z"}
    clocks = ["2025-06-17T23:59:59", "2025-06-18T00:00:00", "2025-06-18T23:59:59", "2025-06-19T00:00:00"]
    assert [query.evaluate(subject, now=ms(now)) for now in clocks * 3] == [False, True, True, False] * 3


PURCHASES = {
    "xEvent": [
        {"timestamp": f"2025-06-18T0{hour}:00:00Z", "kind": kind, "n": hour}
        for hour, kind in enumerate("abcab", start=1)
    ]
    + [{"kind": "z"}]
}
CHAINS = [
    ('A: WHAT(kind = "a"), B: WHAT(kind = "b"), C: WHAT(kind = "c")', True),
    ('A: WHAT(kind = "c"), B: WHAT(kind = "b")', True),
    ('A: WHAT(kind = "c"), B: WHAT(kind = "b"), C: WHAT(kind = "a")', False),
    ('A: WHAT(kind = "a") COUNT(2), B: WHAT(kind = "b")', True),
    ('A: WHAT(kind = "a") COUNT(2), B: WHAT(kind = "c")', False),
    ('A: WHAT(kind = "a") COUNT(3)', False),
    ('A: WHAT(kind = "a") WHERE(n > 1), B: WHAT(kind = "b")', True),
    ('A: WHAT(kind = "b"), B: WHAT(kind = "b") WHEN(<= 8 hours before now)', False),
    ('A: WHAT(kind = "b") WHEN(before date(2025, 6, 18))', False),
    ('A: WHAT(kind = "z")', False),
    ("A: WHAT(n = ^least)", True),
]


@pytest.mark.parametrize(("steps", "expected"), CHAINS)
def test_chains(steps: str, expected: bool) -> None:
    query = parse(f"chain(xEvent, timestamp, [{steps}])")
    assert query.evaluate({**PURCHASES, "least": 1}, now=ms("2025-06-18T13:30:00")) is expected


def test_events_at_one_time_are_not_one_after_the_other() -> None:
    events = [{"timestamp": "2025-06-18T01:00:00Z", "kind": kind} for kind in "ab"]
    query = parse('chain(xEvent, timestamp, [A: WHAT(kind = "a"), B: WHAT(kind = "b")])')
    assert query.evaluate({"xEvent": events}, now=0) is False
    events.append({"timestamp": "2025-06-18T03:00:00+01:00", "kind": "b"})
    assert query.evaluate({"xEvent": events[::-1]}, now=0) is True
