"""The explanation of a merge: complete enough to put the entity together again."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.explain import document, explain
from tessera.domain.graph import Head
from tessera.domain.identity import Identity, Xid
from tessera.domain.merge import contributing_fragments, merge
from tessera.domain.merge_policy import AttributeMerge, MergePolicy
from tessera.domain.place import batch_place
from tessera.domain.profile import IdentityItems, RecordFragment

BATCH = "01J00000000000000000000000"
PEOPLE = {Xid("x"): Identity("crmid", "1"), Xid("y"): Identity("email", "a@b.c")}
DATASETS = {name: DatasetSettings(name, DatasetKind.RECORD, profile_enabled=True) for name in ("crm", "loyalty", "web")}
CONFIGURATION = Configuration(1, "id", "dev", "development", datasets=DATASETS)
POLICIES = [
    MergePolicy("t", "by time"),
    MergePolicy("p", "", attribute_merge=AttributeMerge.DATASET_PRECEDENCE, order=("web", "crm")),
]

names = st.sampled_from(["a", "b.c", "d\\", "segmentMembership"])
scalars = st.integers(0, 3) | st.lists(st.integers(0, 2), max_size=2)
values = st.recursive(scalars, lambda inner: st.dictionaries(names, inner, max_size=3), max_leaves=6)
memberships = st.dictionaries(
    st.just("ups"),
    st.dictionaries(
        st.sampled_from(["s1", "s2"]),
        st.fixed_dictionaries(
            {"lastQualificationTime": st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"])},
            optional={"status": st.sampled_from(["existing", "exited"])},
        )
        | scalars,
        max_size=2,
    )
    | scalars,
    max_size=1,
)
bodies = st.fixed_dictionaries({}, optional={"a": values, "b.c": values, "segmentMembership": memberships})


@st.composite
def merged(draw: st.DrawFn) -> tuple[dict[str, Any], list[RecordFragment], MergePolicy]:
    policy = draw(st.sampled_from(POLICIES))
    fragments = [
        RecordFragment(
            draw(st.sampled_from(sorted(PEOPLE))),
            draw(st.sampled_from(sorted(DATASETS))),
            batch_place(draw(st.integers(1, 3)), BATCH, 0, number),
            draw(bodies),
            draw(st.none() | st.integers(1, 3)),
        )
        for number in range(draw(st.integers(0, 4)))
    ]
    member = IdentityItems(Head(Xid("x"), PEOPLE[Xid("x")]), fragments, [])
    chosen = contributing_fragments([member], policy, CONFIGURATION)
    return merge(chosen, PEOPLE.values()), chosen, policy


def put_together(explanation: dict[str, Any]) -> dict[str, Any]:
    """Make the entity from the winners alone."""
    entity: dict[str, Any] = {}
    for path, leaf in explanation.items():
        *parents, name = [part.replace("\\.", ".").replace("\\\\", "\\") for part in split(path)]
        target = entity
        for parent in parents:
            target = target.setdefault(parent, {})
        target[name] = leaf["candidates"][0]["value"]
    return entity


def split(path: str) -> list[str]:
    return re.findall(r"(?:^|\.)((?:\\.|[^.\\])*)", path)


@given(merged())
def test_the_entity_follows_from_its_explanation(
    history: tuple[dict[str, Any], list[RecordFragment], MergePolicy],
) -> None:
    entity, fragments, policy = history
    explanation = document(explain(entity, fragments, policy), PEOPLE)
    assert put_together(explanation) == entity
    for path, leaf in explanation.items():
        assert leaf["value"] == leaf["candidates"][0]["value"], path


@given(merged())
def test_candidates_are_all_that_was_offered_with_where_it_came_from(
    history: tuple[dict[str, Any], list[RecordFragment], MergePolicy],
) -> None:
    entity, fragments, policy = history
    for leaf in explain(entity, fragments, policy):
        if leaf.path[0] == "identityMap":
            continue
        offered = [fragment for fragment in fragments if has(fragment.body, leaf.path)]
        found = [candidate.fragment for candidate in leaf.candidates]
        assert sorted(map(id, found)) == sorted(map(id, offered))


def has(body: Any, path: tuple[str, ...]) -> bool:
    for name in path:
        if not isinstance(body, dict) or name not in body:
            return False
        body = body[name]
    return True


def test_what_an_explanation_says() -> None:
    crm = RecordFragment(Xid("x"), "crm", batch_place(1000, BATCH, 0, 0), {"name": {"first": "Dalia"}})
    web = RecordFragment(Xid("y"), "web", batch_place(2000, BATCH, 0, 0), {"name": {"first": "Dali"}}, 500)
    entity = merge([crm, web], PEOPLE.values())
    explanation = document(explain(entity, [crm, web], POLICIES[0]), PEOPLE)
    assert explanation["name.first"] == {
        "value": "Dalia",
        "rule": "timestampOrdered",
        "candidates": [
            {
                "value": "Dalia",
                "datasetId": "crm",
                "batchId": BATCH,
                "identity": {"id": "1", "namespace": {"code": "crmid"}},
                "ingestedAt": "1970-01-01T00:00:01.000Z",
            },
            {
                "value": "Dali",
                "datasetId": "web",
                "batchId": BATCH,
                "identity": {"id": "a@b.c", "namespace": {"code": "email"}},
                "ingestedAt": "1970-01-01T00:00:02.000Z",
                "customDate": "1970-01-01T00:00:00.500Z",
            },
        ],
    }
    assert explanation["identityMap.crmid"]["rule"] == "identityGraph"
