"""What differs between two entities."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.difference import Change, changes

ENTITIES = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(
        st.sampled_from([0, 1, 1.0, True, False, "1", [], [1], [True], [{"a": 1}], {}]),
        lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {}, []),
        ({"a": {"b": 1}}, {"a": {"b": 1}}, []),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, [Change("a.b", 1, 3), Change("a.c", 2, None)]),
        ({"a": 5}, {"a": {"b": 1}}, [Change("a", 5, None), Change("a.b", None, 1)]),
        ({"a": {}}, {}, [Change("a", {}, None)]),
        ({"a": {}}, {"a": {"b": 1}}, [Change("a", {}, None), Change("a.b", None, 1)]),
        ({"a": [1, 2]}, {"a": [2, 1]}, [Change("a", [1, 2], [2, 1])]),
        ({"a": [{"x": 1, "y": 2}]}, {"a": [{"y": 2, "x": 1}]}, []),
        ({"a": [{"x": 1}]}, {"a": [{"x": True}]}, [Change("a", [{"x": 1}], [{"x": True}])]),
        ({"a.b": 1, "a": {"b": 2}}, {"a": {"b": 2}}, [Change("a\\.b", 1, None)]),
    ],
)
def test_changes(before: dict[str, Any], after: dict[str, Any], expected: list[Change]) -> None:
    assert changes(before, after) == expected


@given(ENTITIES, ENTITIES)
def test_there_is_none_when_they_read_the_same_and_the_other_way_round_is_the_same_in_reverse(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    found = changes(one, other)
    assert (not found) is (ordered(one) == ordered(other))
    assert [Change(item.path, item.after, item.before) for item in found] == changes(other, one)


def ordered(value: Any) -> str:
    """An entity as its text, its keys in order."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{ordered(value[name])}" for name in sorted(value)) + "}"
    return "[" + ",".join(map(ordered, value)) + "]" if isinstance(value, list) else repr(value)
