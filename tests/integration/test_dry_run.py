"""Trying a merge policy: the prediction is what look-ups show before and after it is really made the default one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api import entities, merge_policies
from tessera.domain.configuration import DatasetKind, DatasetSettings
from tessera.domain.errors import UnprocessableError
from tessera.domain.graph import Head
from tessera.domain.identity import Identity, Xid, shard_of
from tessera.domain.merge_policy import GraphType, MergePolicy
from tessera.domain.place import batch_place
from tessera.domain.rows import PlacedRow, accept
from tessera.domain.tenant import Tenant
from tessera.services.dry_run import MAX_SECONDS, DryRun
from tessera.services.profile_writer import ProfileWriter
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.profile_items import head_item
from tessera.storage.profile_table import ProfileTable
from tests.integration.conftest import ORG, Answer, Caller
from tests.integration.executors import Inline
from tests.integration.hostile import HostileClient
from tests.integration.test_merge_policies import PROFILE, SEEDED, body, create, patch, precedence

PATH = "/data/core/ups/config/mergePolicies/dryRun"
DEV = Tenant(ORG, "dev")
CRM, LOYALTY, WEB = "crm", "loyalty", "web"
DATASETS = [
    DatasetSettings(CRM, DatasetKind.RECORD, profile_enabled=True, identity_enabled=True),
    DatasetSettings(LOYALTY, DatasetKind.RECORD, profile_enabled=True, identity_enabled=True),
    DatasetSettings(WEB, DatasetKind.EVENT, profile_enabled=True, identity_enabled=True),
]
NAMESPACES = {"crmid": "CRMID", "email": "Email"}


class Store:
    """Writes rows as ingestion does; each at a place after the one before."""

    def __init__(self) -> None:
        self.configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())
        self.table = ProfileTable(aws.dynamodb(), aws.profile_table())
        self._writer = ProfileWriter(self.configurations, self.table, ThreadPoolExecutor(1))
        self._count = 0

    def put(self, dataset: str, identities: Sequence[tuple[str, str]], **row: Any) -> None:
        identity_map: dict[str, list[dict[str, Any]]] = {}
        for index, (namespace, value) in enumerate(identities):
            identity_map.setdefault(namespace, []).append({"id": value, "primary": index == 0})
        self._count += 1
        kind = next(item.kind for item in DATASETS if item.id == dataset)
        place = batch_place(1_772_614_000_000 + self._count * 1000, f"01J{self._count:023d}", 0, 0)
        placed = PlacedRow(place, accept({"identityMap": identity_map, **row}, kind, 100))
        self._writer.apply(DEV, dataset, [placed])


@pytest.fixture
def store(call: Caller) -> Store:
    store = Store()

    def prepare(now: Any) -> Any:
        for dataset in DATASETS:
            now = now.with_dataset(dataset)
        return now.with_namespaces(["CRMID"])

    store.configurations.change(DEV, prepare)
    return store


@pytest.fixture
def people(store: Store) -> Store:
    """One linked over two datasets, one only of loyalty, one whose values differ in type, one of events only."""
    store.put(CRM, [("crmid", "1"), ("email", "a@ex.org")], person={"name": {"first": "Dalia"}}, city="Ghent", tags=[1])
    store.put(LOYALTY, [("email", "a@ex.org")], person={"name": {"first": "Dali"}}, tier="gold", tags=[1, 2])
    store.put(LOYALTY, [("email", "b@ex.org")], tier="silver", empty={}, flag=True)
    store.put(LOYALTY, [("crmid", "3")], points=1, level=2, same={"a": [True, {"b": 1}]})
    store.put(CRM, [("crmid", "3")], points=True, level=2.0, same={"a": [True, {"b": 1}]})
    store.put(WEB, [("crmid", "4")], _id="e1", timestamp="2026-03-04T08:00:00Z")
    return store


ASKED = [("crmid", "1"), ("email", "a@ex.org"), ("email", "b@ex.org"), ("crmid", "3"), ("crmid", "4")]


def dry_run(call: Caller, policy: object, **more: Any) -> Answer:
    return call(merge_policies.handler, "POST", PATH, body={"policy": policy, **more})


def report(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.text
    assert set(answer.json()) == {"compared", "changed", "profiles", "fields"}
    return dict(answer.json())


def asked(identities: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"entityId": value, "entityIdNS": {"code": NAMESPACES[code]}} for code, value in identities]


def xid(namespace: str, value: str) -> Xid:
    return Identity.of(namespace, value).xid(DEV)


def entity(call: Caller, identity: Xid) -> dict[str, Any]:
    """What a look-up shows; nothing where it shows nothing."""
    query = {"schema.name": PROFILE, "entityId": identity}
    answer = call(entities.handler, "GET", "/data/core/ups/access/entities", query=query)
    return dict(answer.json()[identity]["entity"]) if answer.status == 200 else {}


def leaves(value: Any, at: str = "") -> dict[str, str]:
    """Leaves by their paths, as their texts, so that ``1`` and ``True`` differ."""
    if not isinstance(value, dict) or (at and not value):
        return {at: repr(value)}
    return {
        path: leaf
        for name, item in value.items()
        for path, leaf in leaves(item, f"{at}.{name}" if at else name).items()
    }


POLICIES = {
    "by time, one identity": body("t", graph="none"),
    "by time, the graph": body("t"),
    "by order, the graph": precedence(CRM, LOYALTY),
    "by order, one identity": precedence(LOYALTY, CRM, graph="none"),
    "one dataset": precedence(CRM),
    "one dataset, one identity": precedence(LOYALTY, graph="none"),
    "events": precedence(WEB),
}


@pytest.mark.parametrize(("before", "tried"), list(itertools.product(POLICIES, POLICIES)))
def test_the_prediction_is_the_difference_that_applying_makes(
    call: Caller, people: Store, before: str, tried: str
) -> None:
    assert call(merge_policies.handler, "PUT", f"{PATH[:-7]}/{SEEDED}", body={**POLICIES[before], "default": True})
    was = people.configurations.current(DEV)
    predicted = report(dry_run(call, POLICIES[tried], identities=asked(ASKED)))
    assert people.configurations.current(DEV) == was

    old = {identity: entity(call, identity) for identity in (xid(*one) for one in ASKED)}
    create(call, {**POLICIES[tried], "default": True})
    new = {identity: entity(call, identity) for identity in old}

    real = {}
    for identity, entity_before in old.items():
        one, other = leaves(entity_before), leaves(new[identity])
        paths = sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))
        if paths:
            real[identity] = {path: (one.get(path, "None"), other.get(path, "None")) for path in paths}
    assert {
        profile["entityId"]: {one["path"]: (repr(one["before"]), repr(one["after"])) for one in profile["changes"]}
        for profile in predicted["profiles"]
    } == real
    assert predicted["changed"] == len(real)
    assert predicted["compared"] == sum(1 for identity in old if old[identity] or new[identity])
    counted = [path for changes in real.values() for path in changes]
    assert predicted["fields"] == {path: counted.count(path) for path in counted}
    assert (before != tried) or not real


def test_a_report_to_the_letter(call: Caller, people: Store) -> None:
    tried = precedence(CRM, LOYALTY)
    assert report(dry_run(call, tried, identities=asked(ASKED))) == {
        "compared": 5,
        "changed": 2,
        "profiles": [
            {
                "entityId": xid(*identity),
                "changes": [
                    {"path": "person.name.first", "before": "Dali", "after": "Dalia"},
                    {"path": "tags", "before": [1, 2], "after": [1]},
                ],
            }
            for identity in ASKED[:2]
        ],
        "fields": {"person.name.first": 2, "tags": 2},
    }


def test_a_person_who_is_absent_under_one_policy(call: Caller, people: Store) -> None:
    (profile,) = report(dry_run(call, precedence(CRM), identities=asked([("email", "b@ex.org")])))["profiles"]
    assert profile["entityId"] == xid("email", "b@ex.org")
    assert profile["changes"] == [
        {"path": "empty", "before": {}, "after": None},
        {"path": "flag", "before": True, "after": None},
        {"path": "identityMap.email", "before": [{"id": "b@ex.org"}], "after": None},
        {"path": "tier", "before": "silver", "after": None},
    ]


def test_identities_may_be_xids_repeated_or_nobody_s(call: Caller, people: Store) -> None:
    identities = [
        {"entityId": xid("crmid", "1")},
        *asked([("crmid", "1"), ("email", "nobody@ex.org")]),
        {"entityId": xid("crmid", "1"), "entityIdNS": None},
    ]
    found = report(dry_run(call, body(graph="none"), identities=identities))
    assert (found["compared"], found["changed"]) == (1, 1)


def test_a_graph_that_is_too_large_counts_as_absent(call: Caller, people: Store) -> None:
    """A look-up answers 422 there, so leaving graphs out of it makes the person readable."""
    head = Head(xid("crmid", "big"), Identity("crmid", "big"), collapsed=True)
    aws.dynamodb().put_item(TableName=aws.profile_table(), Item=head_item(DEV, head))
    people.put(CRM, [("crmid", "big")], city="Ghent")
    (profile,) = report(dry_run(call, body(graph="none"), identities=asked([("crmid", "big")])))["profiles"]
    assert {"path": "city", "before": None, "after": "Ghent"} in profile["changes"]
    assert report(dry_run(call, body(), identities=asked([("crmid", "big")])))["compared"] == 0


GOOD = {"policy": body(), "sample": 1}
ONE = asked([("crmid", "1")])


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({}, 400),
        ([], 400),
        (None, 400),
        ({"policy": body()}, 400),
        ({"sample": 5}, 400),
        ({"policy": "x", "sample": 5}, 400),
        (GOOD | {"identities": ONE}, 400),
        (GOOD | {"sample": 0}, 400),
        (GOOD | {"sample": 1001}, 400),
        (GOOD | {"sample": "5"}, 400),
        (GOOD | {"sample": 1.5}, 400),
        (GOOD | {"sample": True}, 400),
        ({"policy": body(), "identities": []}, 400),
        ({"policy": body(), "identities": ONE * 1001}, 400),
        ({"policy": body(), "identities": [{}]}, 400),
        ({"policy": body(), "identities": [{"entityId": ""}]}, 400),
        ({"policy": body(), "identities": [{"entityId": "4217"}]}, 422),
        ({"policy": body(), "identities": [{"entityId": "x", "entityIdNS": "Email"}]}, 400),
        ({"policy": body(), "identities": [{"entityId": "x", "entityIdNS": {}}]}, 400),
        ({"policy": body(), "identities": [{"entityId": "x", "entityIdNS": {"code": "a b"}}]}, 400),
        ({"policy": body(), "identities": [{"entityId": "x", "entityIdNS": {"code": "nosuch"}}]}, 400),
        (GOOD | {"policy": precedence()}, 400),
        (GOOD | {"policy": precedence("nosuch")}, 400),
        (GOOD | {"policy": body(graph="x")}, 400),
        (GOOD | {"policy": body(schema="_xdm.context.account")}, 400),
        (GOOD, 200),
    ],
)
def test_odd_requests(call: Caller, people: Store, sent: object, status: int) -> None:
    answer = call(merge_policies.handler, "POST", PATH, body=sent)
    assert answer.status == status, answer.text
    if status != 200:
        assert answer.json()["status"] == status


def test_without_a_default_policy_there_is_nothing_to_compare_with(call: Caller, people: Store) -> None:
    assert patch(call, SEEDED, {"op": "add", "path": "/default", "value": False}).status == 200
    assert dry_run(call, body(), sample=1).status == 422


def test_more_than_an_answer_can_carry_says_to_ask_for_less(call: Caller, store: Store) -> None:
    for number in range(70):
        store.put(LOYALTY, [("crmid", f"c{number}")], text="x" * 100_000)
    everyone = asked([("crmid", f"c{number}") for number in range(70)])
    answer = dry_run(call, precedence(CRM), identities=everyone)
    assert answer.status == 422
    assert "Compare fewer persons" in str(answer.json())
    assert report(dry_run(call, precedence(CRM), identities=everyone[:40]))["changed"] == 40


def sampled(table: ProfileTable, count: int) -> list[Xid]:
    return [xid for step in table.sample(DEV, [item.id for item in DATASETS], count, Inline()) for xid in step]


class TestSample:
    def test_each_person_is_taken_once(self, call: Caller, people: Store) -> None:
        """Two identities are one person, and people of events only are some too."""
        found = report(dry_run(call, precedence(CRM), sample=1000))
        leader = min(xid("crmid", "1"), xid("email", "a@ex.org"))
        assert found["compared"] == 4
        assert [profile["entityId"] for profile in found["profiles"]].count(leader) == 1
        assert report(dry_run(call, body(), sample=2)) == {"compared": 2, "changed": 0, "profiles": [], "fields": {}}

    def test_people_of_other_sandboxes_are_not_taken(self, call: Caller, people: Store) -> None:
        sent = {"policy": body(), "sample": 9}
        answer = call(merge_policies.handler, "POST", PATH, body=sent, headers={"x-sandbox-name": "prod"})
        assert report(answer)["compared"] == 0

    def test_the_index_may_be_behind(self, store: Store) -> None:
        """What it names and is not there, or leads no more, is passed over."""
        people = [xid("crmid", f"c{number}") for number in range(6)]
        gone, linked, leader = people[0], max(people[1:3]), min(people[1:3])
        for number in range(6):
            store.put(CRM, [("crmid", f"c{number}")], n=number)
        store.put(CRM, [("crmid", "c1"), ("crmid", "c2")])
        aws.dynamodb().delete_item(
            TableName=aws.profile_table(), Key={"pk": {"S": f"{DEV.key}#{gone}"}, "sk": {"S": "H"}}
        )
        found = sampled(store.table, 9)
        assert sorted(found) == sorted({*people} - {gone, linked})
        assert leader in found

    def test_collapsed_graphs_are_nobody_s(self, store: Store) -> None:
        head = Head(xid("crmid", "big"), Identity("crmid", "big"), collapsed=True)
        aws.dynamodb().put_item(TableName=aws.profile_table(), Item=head_item(DEV, head))
        store.put(CRM, [("crmid", "big")])
        assert sampled(store.table, 9) == []

    def test_small_pages_lose_nobody(self, store: Store) -> None:
        for number in range(12):
            store.put([CRM, LOYALTY][number % 2], [("crmid", f"c{number}")])
        client: Any = HostileClient(aws.dynamodb(), seed=1)
        table = ProfileTable(client, aws.profile_table())
        assert len(set(sampled(table, 100))) == 12

    def test_of_a_full_shard_only_the_beginning_is_read(self, store: Store) -> None:
        """An identity that is behind the end of one partition's beginning is not taken by way of another."""
        crowd = [f"n{number}" for number in range(4000) if shard_of(xid("crmid", f"n{number}")) == 7][:8]
        for value in crowd:
            store.put(CRM, [("crmid", value)])
        last = max(crowd, key=lambda value: xid("crmid", value))
        store.put(LOYALTY, [("crmid", last)])
        order = sorted(xid("crmid", value) for value in crowd)
        assert sampled(store.table, 3) == order[:3]

    def test_samples_differ(self, store: Store) -> None:
        for number in range(8):
            store.put(CRM, [("crmid", f"c{number}")])
        firsts = {sampled(store.table, 1)[0] for _ in range(4)}
        assert len(firsts) > 1


def ticking(seconds: float) -> Any:
    """A clock that moves on at each look."""
    ticks = itertools.count()
    return lambda: next(ticks) * seconds


def test_what_takes_too_long_ends(people: Store) -> None:
    """Identities that were asked for are compared all or not at all; a sample is as large as time allows."""
    policy = MergePolicy("", "", graph=GraphType.NONE)
    slow = DryRun(people.configurations, people.table, Inline(), ticking(MAX_SECONDS * 0.9))
    assert len(list(slow.of_identities(DEV, policy, {xid("crmid", "1"): "CRMID"}, 0))) == 1
    many = {xid("crmid", f"c{number}"): None for number in range(60)}
    slow = DryRun(people.configurations, people.table, Inline(), ticking(MAX_SECONDS * 0.9))
    with pytest.raises(UnprocessableError, match="fewer identities"):
        list(slow.of_identities(DEV, policy, many, 0))
    slow = DryRun(people.configurations, people.table, Inline(), ticking(MAX_SECONDS * 2))
    assert list(slow.of_sample(DEV, policy, 5, 0)) == []
    slow = DryRun(people.configurations, people.table, Inline(), ticking(MAX_SECONDS / 12))
    assert len(list(slow.of_sample(DEV, policy, 5, 0))) < 4


class Counting:
    """A profile table that counts the reads of each kind and how many identities were asked for twice."""

    def __init__(self, table: ProfileTable) -> None:
        self._table = table
        self.read: list[Xid] = []

    def identity(self, tenant: Tenant, asked: Xid) -> Any:
        self.read.append(asked)
        return self._table.identity(tenant, asked)

    def sample(self, *arguments: Any) -> Any:
        return self._table.sample(*arguments)


def test_each_identity_is_read_once_for_both_policies(people: Store) -> None:
    counting = Counting(people.table)
    wanted = dict.fromkeys([xid("crmid", "1"), xid("email", "a@ex.org"), xid("crmid", "3")])
    tried = MergePolicy("", "", graph=GraphType.NONE)
    list(DryRun(people.configurations, counting, Inline()).of_identities(DEV, tried, wanted, 0))
    assert sorted(counting.read) == sorted(wanted)
