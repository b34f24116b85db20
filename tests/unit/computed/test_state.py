"""Partial aggregates give, at any instant, what looking at every event gives (design: Computed attributes)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.domain.computed.rule import Function, Rule
from tessera.domain.computed.state import Contribution, State, completed, fold, repaired, total, value_of
from tessera.domain.computed.window import MAX_COUNT, Unit, Window
from tessera.domain.times import parse_ms
from tests.unit.computed import model

HOUR = 3_600_000
NOW = parse_ms("2026-03-01T00:30:00Z")
NUMBER = "1"

windows = st.sampled_from(list(MAX_COUNT)).flatmap(
    lambda unit: st.builds(Window, st.integers(1, MAX_COUNT[unit]), st.just(unit))
)
rules = st.builds(Rule, st.sampled_from(Function), windows, st.integers(1, 4))
numbers = st.one_of(
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False, width=64),
    st.sampled_from([0.1, 0.2, 1e308, -1e308, 5e-324, 19.99]),
)
# Near the reads most of all: at their boundaries, and before and behind them.
times = st.one_of(
    st.integers(NOW - 40 * HOUR, NOW + 40 * HOUR),
    st.integers(NOW - 250 * 24 * HOUR, NOW + 250 * 24 * HOUR),
    st.integers(-60, 60).map(lambda hours: NOW - 30 * 60_000 + hours * HOUR),
    st.integers(-200, 200).map(lambda days: NOW - 30 * 60_000 + days * 24 * HOUR),
)


def given_value(rule: Rule, value: Any) -> Any:
    """What a compiled attribute would give for an event."""
    if rule.function is Function.SUM:
        return total([value])
    return 1 if rule.function is Function.COUNT else value


@settings(max_examples=400)
@given(data=st.data(), rule=rules)
def test_a_value_is_what_looking_at_every_event_gives(data: st.DataObject, rule: Rule) -> None:
    events = data.draw(st.lists(st.tuples(times, numbers), max_size=25))
    known = [model.Known(time_ms, f"{n:04d}", value) for n, (time_ms, value) in enumerate(events)]
    states = [State(generation=1) for _ in range(data.draw(st.integers(1, 3)))]
    now_ms = NOW - 60 * 24 * HOUR
    arriving = data.draw(st.permutations(known))
    arrived: list[model.Known] = []
    while arriving:
        now_ms += data.draw(st.integers(0, 20 * 24 * HOUR))
        batch = [arriving.pop() for _ in range(data.draw(st.integers(1, len(arriving))))]
        which = data.draw(st.integers(0, len(states) - 1))
        contributions = [Contribution(one.time_ms, one.tie, {NUMBER: given_value(rule, one.value)}) for one in batch]
        states[which] = fold(states[which], contributions, {NUMBER: rule}, now_ms)
        arrived += batch
        for at_ms in (now_ms, now_ms + data.draw(st.integers(0, 30 * HOUR))):
            assert value_of(states, NUMBER, rule, at_ms) == model.value_at(arrived, rule, at_ms)
    for later in data.draw(st.lists(st.integers(0, 250 * 24 * HOUR), max_size=3)):
        assert value_of(states, NUMBER, rule, now_ms + later) == model.value_at(arrived, rule, now_ms + later)


def at(text: str) -> int:
    return parse_ms(text)


@pytest.mark.parametrize(
    ("window", "now", "begin"),
    [
        (Window(2, Unit.WEEKS), "2023-10-15T00:00:00Z", "2023-10-01T00:00:00Z"),
        (Window(2, Unit.WEEKS), "2023-10-21T23:59:59Z", "2023-10-01T00:00:00Z"),
        (Window(2, Unit.WEEKS), "2023-10-22T00:00:00Z", "2023-10-08T00:00:00Z"),
        (Window(1, Unit.DAYS), "2024-03-01T12:00:00Z", "2024-02-29T00:00:00Z"),
        (Window(24, Unit.HOURS), "2024-03-01T12:59:59Z", "2024-02-29T12:00:00Z"),
        (Window(6, Unit.MONTHS), "2024-03-31T12:00:00Z", "2023-09-01T00:00:00Z"),
    ],
)
def test_a_window_begins_at_a_calendar_unit(window: Window, now: str, begin: str) -> None:
    assert window.start(at(now)) == at(begin)
    assert model.start(at(now), window).timestamp() * 1000 == at(begin)


def test_sums_are_exact_whatever_the_order() -> None:
    rule = Rule(Function.SUM, Window(1, Unit.DAYS))
    values = [1e308, 0.1, 0.2, -1e308, 1e-300, 0.3]
    for order in (values, values[::-1], sorted(values)):
        state = State(generation=1)
        for n, value in enumerate(order):
            state = fold(state, [Contribution(NOW - 1, str(n), {NUMBER: total([value])})], {NUMBER: rule}, NOW)
        assert value_of([state], NUMBER, rule, NOW) == 0.6


def test_an_attribute_beyond_the_generation_is_left_to_the_rebuild() -> None:
    rule = Rule(Function.COUNT, Window(1, Unit.DAYS))
    state = fold(State(generation=1), [Contribution(NOW - 1, "a", {"2": 1})], {"2": rule}, NOW)
    assert state.partials == {}


def test_what_is_disabled_or_past_is_dropped_at_the_next_fold() -> None:
    rules = {"1": Rule(Function.COUNT, Window(1, Unit.DAYS)), "2": Rule(Function.LIST, Window(1, Unit.DAYS), 3)}
    state = fold(State(generation=2), [Contribution(NOW - 1, "a", {"1": 1, "2": "x"})], rules, NOW)
    assert state.partials
    assert state.latest
    assert fold(state, [], {}, NOW) == State(generation=2)
    assert fold(state, [], rules, NOW + 4 * 24 * HOUR) == State(generation=2)


def test_completing_a_state_keeps_what_it_counted_of_events_that_are_gone() -> None:
    rules = {"1": Rule(Function.COUNT, Window(1, Unit.DAYS)), "2": Rule(Function.SUM, Window(1, Unit.DAYS))}
    events = [Contribution(NOW - 2, "a", {"1": 1, "2": 5}), Contribution(NOW + 5, "b", {"1": 1, "2": 7})]
    state = fold(State(generation=1), events, rules, NOW)
    # The first event has expired; the second is due by now.
    rebuilt = fold(State(generation=2), events[1:], rules, NOW + 10)
    done = completed(state, rebuilt, rules, NOW + 10)
    assert value_of([done], "1", rules["1"], NOW + 10) == 2
    assert value_of([done], "2", rules["2"], NOW + 10) == 7


@settings(max_examples=400)
@given(data=st.data(), rule=rules)
def test_a_repaired_state_is_without_what_is_gone_and_with_what_expired(data: st.DataObject, rule: Rule) -> None:
    events = data.draw(st.lists(st.tuples(times, numbers), max_size=25))
    known = [model.Known(time_ms, f"{n:04d}", value) for n, (time_ms, value) in enumerate(events)]
    gone = [one for one in known if data.draw(st.booleans())]
    left = [one for one in known if one not in gone]
    # Those expired that lie before the units of all that are gone; of lists too little is known to tell.
    oldest = min((rule.window.unit.bucket(one.time_ms) for one in gone), default=0)
    past = [one for one in left if one.time_ms < NOW and rule.window.unit.bucket(one.time_ms) < oldest]
    expired = [] if rule.keeps_latest else past

    def folded(some: list[model.Known], now_ms: int) -> State:
        contributions = [Contribution(one.time_ms, one.tie, {NUMBER: given_value(rule, one.value)}) for one in some]
        return fold(State(generation=1), contributions, {NUMBER: rule}, now_ms)

    now_ms = NOW + data.draw(st.integers(0, 50 * HOUR))
    rebuilt = folded([one for one in left if one not in expired], now_ms)
    gone_keys = [(one.time_ms, one.tie) for one in gone]
    state = repaired(folded(known, NOW), rebuilt, gone_keys, {NUMBER: rule}, now_ms)
    for later in (0, 1, data.draw(st.integers(0, 250 * 24 * HOUR))):
        assert value_of([state], NUMBER, rule, now_ms + later) == model.value_at(left, rule, now_ms + later)
