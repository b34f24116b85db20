"""Merge policies: what they may say, and what one takes over from the others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.errors import InvalidRequestError
from tessera.domain.merge_policy import MAX_ORDER, AttributeMerge, MergePolicy, normalised, with_policy

PRECEDENCE = MergePolicy("p", "p", attribute_merge=AttributeMerge.DATASET_PRECEDENCE, order=("a", "b"))


def test_only_precedence_keeps_an_order() -> None:
    assert normalised(PRECEDENCE) == PRECEDENCE
    by_time = replace(PRECEDENCE, attribute_merge=AttributeMerge.TIMESTAMP_ORDERED)
    assert normalised(by_time).order == ()
    assert normalised(replace(by_time, order=("a",) * 500)).order == ()


@pytest.mark.parametrize("order", [(), ("a", "b", "a"), tuple(str(number) for number in range(MAX_ORDER + 1))])
def test_an_order_names_datasets_once_each(order: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequestError, match="order"):
        normalised(replace(PRECEDENCE, order=order))


def test_an_order_may_be_as_long_as_the_limit() -> None:
    order = tuple(str(number) for number in range(MAX_ORDER))
    assert normalised(replace(PRECEDENCE, order=order)).order == order


POLICIES = st.builds(
    MergePolicy,
    id=st.sampled_from("1234"),
    name=st.just(""),
    schema_class=st.sampled_from(["x", "y"]),
    default=st.booleans(),
    active_on_edge=st.booleans(),
    updated_s=st.integers(0, 9),
)


@given(st.lists(POLICIES, max_size=12))
def test_there_is_one_default_per_class_and_one_on_the_edge(puts: list[MergePolicy]) -> None:
    known: dict[str, MergePolicy] = {}
    for policy in puts:
        before, known = known, with_policy(known, policy)
        assert known[policy.id] == policy
        assert known.keys() == before.keys() | {policy.id}
        for schema_class in ("x", "y"):
            assert sum(one.default and one.schema_class == schema_class for one in known.values()) <= 1
        assert sum(one.active_on_edge for one in known.values()) <= 1
        for other in before.values():
            now = known[other.id]
            if other.id != policy.id and now != other:
                assert (now.version, now.updated_s) == (other.version + 1, policy.updated_s)
                assert (other.default and not now.default) or (other.active_on_edge and not now.active_on_edge)
