"""How much of a store is looked at, and when it has changed (contract: profile-api §4.1)."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tessera.domain.sample.size import Census, change_percent, sampled_shards, shards_with
from tessera.domain.sample.tally import GRAPH_SIZES, bucket_of


@pytest.mark.parametrize(
    ("persons", "sample"),
    [
        (0, 1.0),
        (999_999, 1.0),
        (2_000_000, 0.5),
        (10_000_000, 0.1),
        (20_000_000, 0.05),
        (21_000_000, 0.05),
        (10**9, 0.05),
    ],
)
def test_sizes_of_samples(persons: int, sample: float) -> None:
    assert sampled_shards(persons) / 256 == pytest.approx(sample, abs=1 / 256)


@given(st.integers(1, 10**6), st.integers(0, 10**10))
def test_enough_shards_and_no_more(wanted: int, persons: int) -> None:
    shards = shards_with(wanted, persons)
    assert 1 <= shards <= 256
    assert shards == 256 or persons * shards / 256 >= wanted
    assert shards == 1 or persons * (shards - 1) / 256 < wanted


@given(
    lone=st.integers(0, 1000),
    graphs=st.integers(0, 300),
    size=st.integers(2, 6),
    more=st.integers(-200, 300),
    stitched=st.integers(0, 100),
)
def test_a_change_of_profiles_is_seen_whatever_makes_it(
    lone: int, graphs: int, size: int, more: int, stitched: int
) -> None:
    """Stores of persons alone and of graphs of one size; then some come or go, and some pairs become one."""
    profiles = lone + graphs
    assume(profiles > 0 and lone + more - 2 * stitched >= 0)
    before = Census(256, lone + graphs * size, graphs)
    linked = before.linked_per_graph(profiles)
    assert before.profiles(linked) == pytest.approx(profiles)
    now = Census(256, before.identities + more, graphs)
    assert change_percent(before, now, linked) == pytest.approx(abs(more) / profiles * 100)
    if size == 2 and graphs:
        joined = Census(256, now.identities, graphs + stitched)
        assert change_percent(before, joined, linked) == pytest.approx(abs(more - stitched) / profiles * 100)


def test_from_nothing_anything_is_a_change() -> None:
    assert change_percent(Census(256, 0, 0), Census(256, 0, 0), 0.0) == 0
    assert change_percent(Census(256, 0, 0), Census(256, 1, 0), 0.0) > 3


def test_classes_of_graphs() -> None:
    assert GRAPH_SIZES == ("1", "2", "3", "4", "5", "6-10", "11-20", "21-50", "51+")
    for size, name in {1: "1", 5: "5", 6: "6-10", 10: "6-10", 11: "11-20", 50: "21-50", 51: "51+", 100: "51+"}.items():
        assert bucket_of(size) == name
