"""Which queries are aggregates of events, and what they are made of (contract: data-and-pql §1.6)."""

from __future__ import annotations

from typing import Any

import pytest

from tessera.pql import Aggregate, PqlError, aggregate_of, parse
from tessera.pql import syntax as s

NOW = 1_750_260_600_000  # 2025-06-18T15:30:00Z
MOST_RECENT = 'xEvent[{}].topN(timestamp, 1).map({{"timestamp": timestamp, "value": {}}}).head()'
SHAPES: list[tuple[str, str, list[str], str | None, int | None]] = [
    ("xEvent.count()", "COUNT", [], None, None),
    ("$1.xEvent.count()", "COUNT", [], None, None),
    ("(profile) => profile.xEvent.count()", "COUNT", [], None, None),
    ('xEvent[eventType = "a"].count()', "COUNT", ['eventType = "a"'], None, None),
    ("xEvent.sum(order.total)", "SUM", [], "order.total", None),
    ("xEvent.sum((E) => E.a * E.b)", "SUM", [], "a * b", None),
    ("xEvent[a and b and (c or d)].min(e)", "MIN", ["a", "b", "c or d"], "e", None),
    ("xEvent[a][b].filter(c).max(e)", "MAX", ["a", "b", "c"], "e", None),
    ("xEvent[a and b][c].max(timestamp)", "MAX", ["a", "b", "c"], "timestamp", None),
    (MOST_RECENT.format("a", "b.c"), "MOST_RECENT", ["a"], "b.c", 1),
    ("xEvent[a].topN(timestamp, 7).map(b)", "LIST", ["a"], "b", 7),
    ("xEvent[lines[sku = ^best]].count()", "COUNT", ["lines[sku = $1.best]"], None, None),
    ("xEvent.sum(lines[n > 1].n.sum() + extra)", "SUM", [], "lines[n > 1].n.sum() + extra", None),
    ("xEvent[exists l from lines where l.n = n].count()", "COUNT", ["exists l from lines where l.n = n"], None, None),
]


@pytest.mark.parametrize(("text", "function", "conditions", "value", "size"), SHAPES, ids=[row[0] for row in SHAPES])
def test_the_parts(text: str, function: str, conditions: list[str], value: str | None, size: int | None) -> None:
    query = parse(text)
    found = aggregate_of(query)
    assert query.is_aggregate
    assert (found.function, found.size) == (function, size)
    assert [condition.query.text for condition in found.conditions] == conditions
    assert (found.value.text if found.value else None) == value


REFUSED = [
    "xEvent",
    "xEvent[a]",
    "xEvent.count() > 5",
    "xEvent.count() + 1",
    "xEvent.average(a)",
    "xEvent.count(a)",
    "xEvent.sum()",
    "orders.count()",
    "orders[a].sum(b)",
    "$2.xEvent.count()",
    "person.age",
    "xEvent.lines.count()",
    "xEvent[lines].lines.count()",
    "xEvent[a = ^person.age].count()",
    "xEvent[lines[a = ^^b]].count()",
    "xEvent[a = $1.b].count()",
    "xEvent[a = $2.b].count()",
    "xEvent[xEvent.count() > 1].count()",
    "xEvent.sum(a + ^b)",
    "xEvent.topN(a, 1).map(b)",
    "xEvent.topN(timestamp, 0).map(b)",
    "xEvent.topN(timestamp, n).map(b)",
    "xEvent.bottomN(timestamp, 1).map(b)",
    "xEvent.topN(timestamp, 1).head().b",
    MOST_RECENT.format("a", "b").replace("timestamp, 1", "timestamp, 2"),
    MOST_RECENT.format("a", "b").replace('"timestamp": timestamp', '"timestamp": a'),
    "let e = xEvent in e.count()",
    'inSegment("x")',
]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_none(text: str) -> None:
    query = parse(text)
    assert not query.is_aggregate
    with pytest.raises(PqlError, match=r"possible are: xEvent\[...\].sum\(path\), xEvent\[...\].count\(\)"):
        aggregate_of(query)


def test_a_segment_in_a_condition_is_refused() -> None:
    with pytest.raises(PqlError, match="cannot refer to anything else"):
        aggregate_of(parse('xEvent[inSegment("x")].count()'))


EVENTS: list[dict[str, Any]] = [
    {"timestamp": f"2025-06-{day:02}T12:00:00Z", "kind": kind, "n": day, "lines": [{"n": day}, {"n": 1}]}
    for day, kind in [(18, "a"), (17, "b"), (12, "a"), (1, None)]
]
COUNTED = [
    "xEvent.count()",
    'xEvent[kind = "a"].count()',
    'xEvent[not (kind = "a")].count()',
    "xEvent[timestamp occurs <= 7 days before now].count()",
    'xEvent[timestamp occurs this month and kind = "a"][n > 12].count()',
    "xEvent[lines[n = ^n]].count()",
    "xEvent[lines[n > 12]].count()",
    "xEvent[lines.n.sum() in [2, 13]].count()",
    "xEvent[exists l from lines where l.n > 12].count()",
    "xEvent[(select l from lines where l.n > 12)].count()",
]


@pytest.mark.parametrize("text", COUNTED)
def test_events_that_meet_all_conditions_are_those_that_are_counted(text: str) -> None:
    query = parse(text)
    parts = aggregate_of(query)
    met = [event for event in EVENTS if all(each.query.holds(event, now=NOW) for each in parts.conditions)]
    assert len(met) == query.evaluate({"xEvent": EVENTS}, now=NOW)


def test_values_of_events_add_up_to_the_sum() -> None:
    query = parse('xEvent[kind = "a"].sum(n + lines.n.sum())')
    value = aggregate_of(query).value
    assert value is not None
    total = sum(value.evaluate(event, now=NOW) for event in EVENTS if event["kind"] == "a")
    assert total == query.evaluate({"xEvent": EVENTS}, now=NOW)


def clauses(condition: str) -> Aggregate:
    return aggregate_of(parse(f"xEvent[{condition}].count()"))


CLOCKS: list[tuple[str, str, s.When]] = [
    (
        "timestamp occurs <= 7 days before now",
        "timestamp",
        s.Distance("<=", 7, "day", "before", s.Clock("now")),
    ),
    ("a.b occurs < 2 weeks from this month", "a.b", s.Distance("<", 2, "week", "after", s.Period("this", "month"))),
    ("timestamp occurs today", "timestamp", s.During(s.Clock("today"))),
    ("timestamp occurs before last week", "timestamp", s.Beside("before", s.Period("last", "week"))),
]


@pytest.mark.parametrize(("text", "path", "when"), CLOCKS, ids=[row[0] for row in CLOCKS])
def test_a_clause_about_the_clock_is_given_as_data(text: str, path: str, when: s.When) -> None:
    (plain, timed) = clauses(f"a = 1 and {text}").conditions
    assert plain.clock is None
    assert timed.clock is not None
    assert (timed.clock.path, timed.clock.when) == (path, when)
    assert timed.query.uses_now


def test_a_clause_between_a_date_and_the_clock() -> None:
    (condition,) = clauses("timestamp occurs between date(2025, 1, 1) and now").conditions
    assert condition.clock is not None
    assert isinstance(condition.clock.when, s.Between)


@pytest.mark.parametrize(
    ("text", "uses_now"),
    [
        ("timestamp occurs on date(2025, 1, 1)", False),
        ("timestamp occurs before other", False),
        ("not (timestamp occurs today)", True),
        ("timestamp occurs today or a", True),
        ("timestamp occurs between other and now", True),
        ("lines[t occurs today]", True),
        ("lines.head().t occurs today", True),
        ("n = currentMonth()", True),
    ],
)
def test_what_is_no_plain_clause_about_the_clock(text: str, uses_now: bool) -> None:
    (condition,) = clauses(text).conditions
    assert condition.clock is None
    assert condition.query.uses_now is uses_now
