"""Compiled queries give what a naive walk over their trees gives, errors included."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings

from tessera.pql import PqlError, Query, parse, parse_json
from tests.unit.pql.generated import cases
from tests.unit.pql.model import ModelError, evaluate
from tests.unit.pql.test_more_cases import EVERY, NOW, OCCURS, PERSON, ms

pytestmark = pytest.mark.filterwarnings("error::SyntaxWarning")

MANY = settings(deadline=None, suppress_health_check=list(HealthCheck))
ERROR = object()


def outcome(do: Callable[[], Any]) -> Any:
    try:
        return do()
    except (PqlError, ModelError) as error:
        note(repr(error))
        return ERROR


def of(query: Query, profile: dict[str, Any], now: int) -> Any:
    return outcome(lambda: query.evaluate(profile, now=now))


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same, but for what the order of additions does to the last digits."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-12)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and bool(one == other)


@pytest.mark.parametrize(("text", "expected"), EVERY, ids=[text for text, _ in EVERY])
def test_the_model_gives_what_was_worked_out_by_hand(text: str, expected: Any) -> None:
    found = evaluate(parse(text).syntax, PERSON, now=ms(NOW))
    assert same(found, expected), found


@pytest.mark.parametrize(("moment", "phrase", "now", "expected"), OCCURS)
def test_the_model_tells_times_as_worked_out_by_hand(moment: Any, phrase: str, now: str, expected: bool) -> None:
    assert evaluate(parse(f"t occurs {phrase}").syntax, {"t": moment}, now=ms(now)) is expected


@given(cases())
@settings(MANY, max_examples=1_000)
def test_compiled_is_as_the_model(case: tuple[str, dict[str, Any], int]) -> None:
    text, profile, now = case
    query = parse(text)
    expected = outcome(lambda: evaluate(query.syntax, profile, now=now))
    found = of(query, profile, now)
    assert same(found, expected), (found, expected)


@given(cases())
@settings(MANY, max_examples=400)
def test_text_and_json_of_a_query_mean_the_same(case: tuple[str, dict[str, Any], int]) -> None:
    text, profile, now = case
    query = parse(text)
    expected = of(query, profile, now)
    for again in (parse(query.text), parse_json(query.to_json())):
        assert same(of(again, profile, now), expected)
        assert again.text == query.text
        assert again.result_type == query.result_type
        assert again.free_paths == query.free_paths
        assert again.uses_now == query.uses_now
