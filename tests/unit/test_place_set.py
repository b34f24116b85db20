"""A set of places says of every place what a set of strings says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.place import Place, stream_place
from tessera.domain.place_set import HASH_BYTES, PlaceSet
from tessera.domain.ulid import ulid

# Few requests with few messages each, so that neighbours are in the set and others are not.
PLACES = st.builds(
    lambda ms, request, position: stream_place(ms, ulid(ms, request), position),
    st.integers(0, 3),
    st.integers(0, 3),
    st.one_of(st.none(), st.integers(0, 3)),
)


@given(st.frozensets(PLACES), st.lists(PLACES))
def test_it_is_a_set(places: frozenset[Place], others: list[Place]) -> None:
    found = PlaceSet.of(places)
    assert len(found) == len(places)
    assert len(found.hashes) == HASH_BYTES * len(places)
    for place in (*places, *others):
        assert (place in found) is (place in places)
    if places:
        assert (found.low, found.high) == (min(places), max(places))
    assert found == PlaceSet.of(sorted(places, reverse=True))
