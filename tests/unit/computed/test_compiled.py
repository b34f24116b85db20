"""Which definitions can be computed, and what an event gives to them (contract: data-and-pql §1.6)."""

from __future__ import annotations

from typing import Any

import pytest

from tessera.domain.computed.rule import Function, Period
from tessera.domain.computed.window import Unit, Window
from tessera.domain.errors import InvalidRequestError
from tessera.services.computed.compiled import MAX_VALUE_BYTES, compile_attribute

WEEK = Window(7, Unit.DAYS)
RECENT = 'xEvent[price > 0].topN(timestamp, 1).map({"timestamp": timestamp, "value": price}).head()'


@pytest.mark.parametrize(
    ("expression", "window", "periods"),
    [
        ("xEvent[timestamp occurs <= 8 days before now].count()", WEEK, ()),
        ("xEvent[timestamp occurs <= 30 days before now].count()", WEEK, ()),
        ("xEvent[timestamp occurs < 4 months before now].count()", Window(3, Unit.MONTHS), ()),
        ("xEvent[timestamp occurs <= 1 years before now].count()", Window(6, Unit.MONTHS), ()),
        ("xEvent[timestamp occurs before now].count()", WEEK, ()),
        ("xEvent[timestamp occurs today].count()", WEEK, (Period(Unit.DAYS, 0, 1),)),
        ("xEvent[timestamp occurs today].count()", Window(24, Unit.HOURS), (Period(Unit.DAYS, 0, 1),)),
        ("xEvent[timestamp occurs last week].count()", Window(2, Unit.WEEKS), (Period(Unit.WEEKS, -1, 0),)),
        ("xEvent[timestamp occurs = 2 days before now].count()", WEEK, (Period(Unit.DAYS, -2, -1),)),
        ("xEvent[timestamp occurs before today].sum(price)", WEEK, (Period(Unit.DAYS, None, 0),)),
        ("xEvent[timestamp occurs after yesterday].sum(price)", WEEK, (Period(Unit.DAYS, 0, None),)),
        ("xEvent[timestamp occurs between yesterday and now].max(price)", WEEK, (Period(Unit.DAYS, -1, None),)),
    ],
)
def test_a_clause_about_the_clock_is_implied_or_becomes_a_period(
    expression: str, window: Window, periods: tuple[Period, ...]
) -> None:
    assert compile_attribute(expression, window).rule.periods == periods


@pytest.mark.parametrize(
    ("expression", "window", "message"),
    [
        ("xEvent[timestamp occurs <= 7 days before now].count()", WEEK, "whole days"),
        ("xEvent[timestamp occurs <= 3 hours before now].count()", WEEK, "whole days"),
        ("xEvent[timestamp occurs >= 3 days before now].count()", WEEK, "whole days"),
        ("xEvent[timestamp occurs this month].count()", Window(2, Unit.WEEKS), "whole weeks"),
        ("xEvent[not (timestamp occurs today)].count()", WEEK, "the clock"),
        ("xEvent[expiry occurs after now].count()", WEEK, "the event's timestamp"),
        ("xEvent.sum(currentYear())", WEEK, "must not depend on the clock"),
        ("xEvent[timestamp occurs yesterday].topN(timestamp, 3).map(price)", WEEK, "a period that ended"),
        ("xEvent.topN(timestamp, 51).map(price)", WEEK, "at most 50"),
        ("person.age", WEEK, "cannot be computed"),
        ("xEvent[^person.age > 3].count()", WEEK, "cannot be computed"),
        ("xEvent[price >].count()", WEEK, "line 1, column 15"),
    ],
)
def test_what_cannot_be_computed_is_refused_with_the_reason(expression: str, window: Window, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        compile_attribute(expression, window)


@pytest.mark.parametrize(
    ("expression", "body", "value"),
    [
        ("xEvent.count()", {}, 1),
        ("xEvent.sum(price)", {"price": 2.5}, "2.5"),
        ("xEvent.sum(price)", {}, None),
        ("xEvent.sum(price)", {"price": "2"}, None),
        ("xEvent.sum(items.price)", {"items": [{"price": 1}, {"price": 2}, {}]}, 3),
        ("xEvent.sum(price * quantity)", {"price": 2, "quantity": 3}, 6),
        ("xEvent.max(items.price)", {"items": [{"price": 1}, {"price": 2}]}, 2),
        ("xEvent.min(timestamp)", {"timestamp": "2026-03-01T00:00:00Z"}, "2026-03-01T00:00:00Z"),
        ("xEvent.min(name)", {"name": "not a time"}, None),
        ("xEvent[type > 5].count()", {"type": "text"}, None),
        ('xEvent[type = "a"][price > 1].count()', {"type": "a", "price": 2}, 1),
        ('xEvent[type = "a"][price > 1].count()', {"type": "b", "price": 2}, None),
        ("xEvent[items[price > 1]].count()", {"items": [{"price": 2}]}, 1),
        ("xEvent[items[price > 1]].count()", {"items": [{"price": 1}]}, None),
        (RECENT, {"price": 3}, 3),
        (RECENT, {}, None),
        ("xEvent.topN(timestamp, 2).map(tags)", {"tags": ["a", "b"]}, ["a", "b"]),
        ("xEvent.topN(timestamp, 2).map(deep)", {"deep": {"a": 1}}, None),
        ("xEvent.topN(timestamp, 2).map(long)", {"long": "x" * MAX_VALUE_BYTES}, None),
    ],
)
def test_what_an_event_gives(expression: str, body: dict[str, Any], value: Any) -> None:
    assert compile_attribute(expression, WEEK).value(body) == value


@pytest.mark.timeout(30, method="signal")
@pytest.mark.parametrize(
    "expression",
    [
        "xEvent[n[^n[^^n[this = 1]]]].count()",
        "xEvent.sum(n.map(^n.sum(this * 2)))",
        "xEvent[" + " and ".join(['not s.matches("(.?){900}z")'] * 300) + "].count()",
        "xEvent[" + " and ".join([f'not (s like "%_{"a" * 90}{number}b%")' for number in range(80)]) + "].count()",
    ],
)
def test_an_event_of_which_too_much_is_asked_gives_nothing_and_takes_no_time(expression: str) -> None:
    attribute = compile_attribute(expression, WEEK)
    body = {"n": [1] * 2_000, "s": "a" * 5_000}
    assert [attribute.value(body) for _ in range(100)] == [None] * 100
    assert attribute.value({"n": [1] * 9, "s": "a"}) is not None


def test_the_function_is_the_one_of_the_expression() -> None:
    assert compile_attribute(RECENT, WEEK).function is Function.MOST_RECENT
    assert compile_attribute("xEvent.topN(timestamp, 2).map(price)", WEEK).rule.size == 2
