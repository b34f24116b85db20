"""Merging and choosing fields."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.fields import select, selection
from tessera.domain.graph import Head
from tessera.domain.identity import Identity, Xid
from tessera.domain.merge import contributing_fragments, merge
from tessera.domain.merge_policy import AttributeMerge, MergePolicy
from tessera.domain.place import batch_place
from tessera.domain.profile import IdentityItems, RecordFragment

BATCH = "01J00000000000000000000000"
DATASETS = {name: DatasetSettings(name, DatasetKind.RECORD, profile_enabled=True) for name in ("crm", "loyalty", "web")}
CONFIGURATION = Configuration(1, "id", "dev", "development", datasets=DATASETS)
BY_TIME = MergePolicy("t", "by time")


def by_precedence(*order: str) -> MergePolicy:
    return MergePolicy("p", "by precedence", attribute_merge=AttributeMerge.DATASET_PRECEDENCE, order=order)


def fragment(dataset: str, accepted_ms: int, body: dict[str, Any], custom_ms: int | None = None) -> RecordFragment:
    return RecordFragment(Xid("x"), dataset, batch_place(accepted_ms, BATCH, 0, 0), body, custom_ms)


def merged(fragments: list[RecordFragment], policy: MergePolicy) -> dict[str, Any]:
    member = IdentityItems(Head(Xid("x"), Identity("crmid", "1")), fragments, [])
    entity = merge(contributing_fragments([member], policy, CONFIGURATION), [])
    del entity["identityMap"]
    return entity


CRM = fragment("crm", 1, {"name": {"first": "Dalia"}, "city": "Ghent", "tags": ["a"]})
LOYALTY = fragment("loyalty", 2, {"name": {"first": "Dali", "nick": "D"}, "tier": "gold", "tags": ["b"]})


def test_the_newest_fragment_wins_and_older_ones_fill_gaps() -> None:
    assert merged([CRM, LOYALTY], BY_TIME) == {
        "name": {"first": "Dali", "nick": "D"},
        "city": "Ghent",
        "tier": "gold",
        "tags": ["b"],
    }


def test_precedence_goes_by_the_order_of_datasets_and_leaves_others_out() -> None:
    assert merged([CRM, LOYALTY], by_precedence("crm", "loyalty"))["name"] == {"first": "Dalia", "nick": "D"}
    assert merged([CRM, LOYALTY], by_precedence("crm")) == CRM.body


def test_a_custom_date_stands_for_the_time_of_ingestion() -> None:
    late = fragment("crm", 3, {"name": {"first": "Late"}}, custom_ms=1)
    assert merged([late, LOYALTY], BY_TIME)["name"]["first"] == "Dali"


def test_an_object_and_a_scalar_at_the_same_path_do_not_mix() -> None:
    assert merged([fragment("crm", 1, {"a": {"b": 1}}), fragment("web", 2, {"a": 5})], BY_TIME) == {"a": 5}
    assert merged([fragment("crm", 1, {"a": 5}), fragment("web", 2, {"a": {"b": 1}})], BY_TIME) == {"a": {"b": 1}}


def test_memberships_merge_segment_by_segment_by_their_qualification() -> None:
    old = {"s1": {"lastQualificationTime": "2026-01-02T00:00:00Z", "status": "exited"}}
    new = {
        "s1": {"lastQualificationTime": "2026-01-01T00:00:00Z", "status": "existing"},
        "s2": {"lastQualificationTime": "2026-01-01T00:00:00Z", "status": "existing"},
    }
    entity = merged(
        [
            fragment("crm", 1, {"segmentMembership": {"ups": old}}),
            fragment("web", 2, {"segmentMembership": {"ups": new}}),
        ],
        BY_TIME,
    )
    assert {key: value["status"] for key, value in entity["segmentMembership"]["ups"].items()} == {
        "s1": "exited",
        "s2": "existing",
    }


bodies = st.recursive(
    st.integers(0, 3), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
).map(lambda value: value if isinstance(value, dict) else {"a": value})
fragments_of_datasets = st.lists(
    st.builds(fragment, st.sampled_from(sorted(DATASETS)), st.integers(1, 3), bodies, st.none() | st.integers(1, 3)),
    max_size=5,
)
policies = st.sampled_from([BY_TIME, by_precedence("web", "crm")])


@given(fragments_of_datasets.flatmap(lambda given: st.tuples(st.just(given), st.permutations(given))), policies)
def test_merging_does_not_depend_on_the_order_in_which_fragments_are_read(
    orders: tuple[list[RecordFragment], list[RecordFragment]], policy: MergePolicy
) -> None:
    one, other = orders
    keys = {(item.dataset_id, item.place, item.custom_date_ms) for item in one}
    if len(keys) == len(one) and len({(item.dataset_id, item.place) for item in one}) == len(one):
        assert merged(one, policy) == merged(other, policy)


@given(fragments_of_datasets, policies)
def test_merging_changes_no_fragment(given_fragments: list[RecordFragment], policy: MergePolicy) -> None:
    before = repr(given_fragments)
    merged(given_fragments, policy)
    assert repr(given_fragments) == before


ENTITY = {
    "person": {"name": {"first": "Dalia", "last": "M"}, "age": 30},
    "orders": [{"id": 1, "price": {"total": 5, "tax": 1}}, {"id": 2}, "x"],
    "city": "Ghent",
    "phones": {"e.164": "+32"},
    "back\\slash": 1,
    "no\\escape": 2,
}


@pytest.mark.parametrize(
    ("paths", "selected"),
    [
        (["person.name"], {"person": {"name": {"first": "Dalia", "last": "M"}}}),
        (["person.name.first", "city"], {"person": {"name": {"first": "Dalia"}}, "city": "Ghent"}),
        (["person", "person.age"], {"person": ENTITY["person"]}),
        (["person.age", "person"], {"person": ENTITY["person"]}),
        (["orders.price.total"], {"orders": [{"price": {"total": 5}}]}),
        (["orders"], {"orders": ENTITY["orders"]}),
        (["nosuch.path", "city.inner"], {}),
        ([".", ""], {}),
        (["phones.e\\.164"], {"phones": {"e.164": "+32"}}),
        (["phones.e.164"], {}),
        (["back\\\\slash", "no\\escape"], {"back\\slash": 1, "no\\escape": 2}),
    ],
)
def test_fields(paths: list[str], selected: dict[str, Any]) -> None:
    assert select(ENTITY, selection(paths)) == selected
