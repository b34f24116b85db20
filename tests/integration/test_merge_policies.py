"""Merge policies through the function (contract: profile-api §3, scenarios 25 to 31 of §13)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api import entities, merge_policies
from tessera.domain.configuration import DatasetKind, DatasetSettings
from tessera.domain.errors import UnprocessableError
from tessera.domain.merge_policy import AttributeMerge, MergePolicy
from tessera.domain.tenant import Tenant
from tessera.gateway import JSON_PATCH
from tessera.services.merge_policies import MergePolicies
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.registry import Registry
from tests.integration.conftest import CLIENT_ID, ORG, OTHER_ORG, SANDBOXES, Answer, Caller, client_document
from tests.integration.hostile import HostileClient

PATH = "/data/core/ups/config/mergePolicies"
PROFILE, ACCOUNT = "_xdm.context.profile", "_xdm.context.account"
DEV = Tenant(ORG, "dev")
SEEDED = "00000000-0000-4000-8000-000000000dev"
CRM, LOYALTY = "crm", "loyalty"


@pytest.fixture(autouse=True)
def datasets(call: Caller) -> None:
    for dataset_id in (CRM, LOYALTY):
        settings_ = DatasetSettings(dataset_id, DatasetKind.RECORD, profile_enabled=True)
        store().change(DEV, lambda now, one=settings_: now.with_dataset(one))  # type: ignore[misc]


def store() -> ConfigurationStore:
    return ConfigurationStore(aws.dynamodb(), aws.registry_table())


def body(
    name: str | None = "p",
    *,
    schema: str = PROFILE,
    graph: str = "pdg",
    merge: str = "timestampOrdered",
    order: object = None,
    **more: Any,
) -> dict[str, Any]:
    attribute_merge: dict[str, Any] = {"type": merge} | ({"order": order} if order is not None else {})
    named = {"name": name} if name is not None else {}
    return {
        **named,
        "schema": {"name": schema},
        "identityGraph": {"type": graph},
        "attributeMerge": attribute_merge,
        **more,
    }


def precedence(*order: str, **more: Any) -> dict[str, Any]:
    return body(merge="dataSetPrecedence", order=list(order), **more)


def post(call: Caller, policy: object, **headers: str | None) -> Answer:
    return call(merge_policies.handler, "POST", PATH, body=policy, headers=headers)


def create(call: Caller, policy: dict[str, Any]) -> dict[str, Any]:
    answer = post(call, policy)
    assert answer.status == 200, answer.text
    return dict(answer.json())


def read(call: Caller, policy_id: str) -> dict[str, Any]:
    answer = call(merge_policies.handler, "GET", f"{PATH}/{policy_id}")
    assert answer.status == 200, answer.text
    return dict(answer.json())


def patch(call: Caller, policy_id: str, operations: object, **headers: str) -> Answer:
    return call(merge_policies.handler, "PATCH", f"{PATH}/{policy_id}", body=operations, headers=headers)


def put(call: Caller, policy_id: str, policy: object) -> Answer:
    return call(merge_policies.handler, "PUT", f"{PATH}/{policy_id}", body=policy)


def delete(call: Caller, policy_id: str) -> Answer:
    return call(merge_policies.handler, "DELETE", f"{PATH}/{policy_id}")


def listed(call: Caller, **query: Any) -> dict[str, Any]:
    answer = call(merge_policies.handler, "GET", PATH, query=query)
    assert answer.status == 200, answer.text
    return dict(answer.json())


def names(call: Caller, **query: Any) -> list[str]:
    return [child["name"] for child in listed(call, **query)["children"]]


def test_a_created_policy_is_shown_whole_and_its_server_s_fields_are_the_server_s(call: Caller) -> None:
    sent = precedence(
        CRM,
        LOYALTY,
        name="Loyalty first",
        id="mine",
        imsOrgId="OTHER@AdobeOrg",
        sandbox={"sandboxName": "prod"},
        version=9,
        updateEpoch=1,
        unknown={"a": 1},
    )
    created = create(call, sent)
    assert created == {
        "id": created["id"],
        "name": "Loyalty first",
        "imsOrgId": ORG,
        "sandbox": {
            "sandboxId": SANDBOXES["dev"]["id"],
            "sandboxName": "dev",
            "type": "development",
            "default": False,
        },
        "schema": {"name": PROFILE},
        "version": 1,
        "identityGraph": {"type": "pdg"},
        "attributeMerge": {"type": "dataSetPrecedence", "order": [CRM, LOYALTY]},
        "isActiveOnEdge": False,
        "default": False,
        "updateEpoch": created["updateEpoch"],
    }
    assert created["id"] != "mine"
    assert created["updateEpoch"] > 1_700_000_000
    assert read(call, created["id"]) == created
    assert created in listed(call)["children"]


def test_what_may_be_spelled_in_several_ways(call: Caller) -> None:
    """Scenario 28, the older graph type and place of the order, booleans in strings, and no name."""
    plain = create(call, body(order=[], graph="pdg", name=""))
    spelled = create(call, body(order=["string"], graph="auto", name=None))
    assert spelled == {**plain, "id": spelled["id"], "updateEpoch": spelled["updateEpoch"]}
    older = body(merge="dataSetPrecedence", default="true", isActiveOnEdge="FALSE", name=None)
    older["attributeMerge"]["data"] = {"order": [LOYALTY]}
    created = create(call, older)
    assert created["attributeMerge"] == {"type": "dataSetPrecedence", "order": [LOYALTY]}
    assert (created["default"], created["isActiveOnEdge"]) == (True, False)
    assert "order" not in create(call, body(order=["string"], default=None))["attributeMerge"]


WRONG = [
    ({}, "schema: Field required"),
    (body() | {"schema": {}}, "schema.name"),
    (body(schema=""), "schema.name"),
    (body(schema=" "), "schema.name"),
    (body(schema="https://ns.adobe.com/xdm/context/profile"), "schema.name"),
    (body() | {"schema": PROFILE}, "schema"),
    (body(graph="everybody"), "identityGraph.type: Input should be 'none' or 'pdg'"),
    (body() | {"identityGraph": {}}, "identityGraph.type"),
    (body(merge="newest"), "'timestampOrdered' or 'dataSetPrecedence'"),
    (body() | {"attributeMerge": {}}, "attributeMerge.type"),
    (body(merge="dataSetPrecedence"), "attributeMerge.order must name datasets"),
    (precedence(), "attributeMerge.order must name datasets"),
    (precedence(CRM, LOYALTY, CRM), "names the dataset crm twice"),
    (precedence(CRM, "nosuch"), "dataset 'nosuch' does not exist"),
    (precedence(*(f"d{number}" for number in range(101))), "names 101 datasets; it can name 100"),
    (body(merge="dataSetPrecedence", order=CRM), "attributeMerge.order"),
    (body(merge="dataSetPrecedence", order=[CRM, 7]), "attributeMerge.order.1"),
    (body(merge="dataSetPrecedence", order=[""]), "attributeMerge.order.0"),
    (body(default="maybe"), "default: must be true or false"),
    (body(default=1), "default: must be true or false"),
    (body(isActiveOnEdge="yes"), "isActiveOnEdge"),
    (body() | {"name": 7}, "name"),
    (body("x" * 257), "name"),
    ([], ""),
    ("text", ""),
    (None, ""),
    (b"{", ""),
    (b'{"name": NaN}', ""),
]


@pytest.mark.parametrize(("policy", "says"), WRONG)
def test_what_is_wrong_with_a_policy_is_said_and_nothing_is_created_or_changed(
    call: Caller, policy: object, says: str
) -> None:
    before = store().current(DEV)
    for answer in (post(call, policy), put(call, SEEDED, policy)):
        assert answer.status == 400, answer.text
        assert says in str(answer.json())
    assert store().current(DEV) == before


def test_a_default_policy_takes_over_from_the_one_of_its_class(call: Caller) -> None:
    """Scenario 25: one object, a boolean in a string, and look-ups follow."""
    of_accounts = create(call, body("accounts", schema=ACCOUNT, default=True))
    chosen = create(call, precedence(CRM, LOYALTY))
    answer = patch(call, chosen["id"], {"op": "add", "path": "/default", "value": "true"})
    assert answer.status == 200
    changed = answer.json()
    assert changed == {**chosen, "default": True, "version": 2, "updateEpoch": changed["updateEpoch"]}
    seeded = read(call, SEEDED)
    assert (seeded["default"], seeded["version"]) == (False, 2)
    assert seeded["updateEpoch"] == changed["updateEpoch"]
    assert read(call, of_accounts["id"]) == of_accounts
    query = {"schema.name": PROFILE, "entityId": "x", "entityIdNS": "email"}
    assert store().current(DEV).default_policy(PROFILE).id == chosen["id"]  # type: ignore[union-attr]
    assert call(entities.handler, "GET", "/data/core/ups/access/entities", query=query).status == 404


def test_a_default_policy_can_be_given_up_and_deleted(call: Caller) -> None:
    assert patch(call, SEEDED, {"op": "replace", "path": "/default", "value": False}).json()["default"] is False
    query = {"schema.name": PROFILE, "entityId": "x", "entityIdNS": "email"}
    assert call(entities.handler, "GET", "/data/core/ups/access/entities", query=query).status == 422
    assert (delete(call, SEEDED).status, listed(call)["children"]) == (200, [])


def test_a_policy_that_changes_its_class_is_the_default_of_the_new_one(call: Caller) -> None:
    of_accounts = create(call, body("accounts", schema=ACCOUNT, default=True))
    assert patch(call, SEEDED, [{"op": "add", "path": "/schema.name", "value": ACCOUNT}]).status == 200
    assert read(call, of_accounts["id"])["default"] is False
    assert read(call, SEEDED)["default"] is True


def test_one_policy_is_active_on_the_edge_and_cannot_be_deleted(call: Caller) -> None:
    first = create(call, body("first", isActiveOnEdge=True))
    assert create(call, body("other class", schema=ACCOUNT, isActiveOnEdge=True))["version"] == 1
    assert (read(call, first["id"])["isActiveOnEdge"], read(call, first["id"])["version"]) == (False, 2)
    assert put(call, first["id"], body("first", isActiveOnEdge="true")).status == 200
    on_edge = [child["name"] for child in listed(call)["children"] if child["isActiveOnEdge"]]
    assert on_edge == ["first"]

    answer = delete(call, first["id"])
    assert answer.status == 400
    assert "set isActiveOnEdge to false first" in answer.json()["title"] + answer.json()["detail"]
    assert read(call, first["id"])["version"] == 3
    assert patch(call, first["id"], [{"op": "add", "path": "/isActiveOnEdge", "value": "false"}]).status == 200
    assert delete(call, first["id"]).status == 200


def test_deleting_answers_200_and_nothing(call: Caller) -> None:
    policy_id = create(call, body())["id"]
    answer = delete(call, policy_id)
    assert (answer.status, answer.text) == (200, "")
    for gone in (
        delete(call, policy_id),
        call(merge_policies.handler, "GET", f"{PATH}/{policy_id}"),
        put(call, policy_id, body()),
        patch(call, policy_id, {"op": "add", "path": "/default", "value": True}),
    ):
        assert gone.status == 404
        assert gone.json()["title"] == "Merge policy not found"
        assert gone.json()["errors"] == {
            "404": [{"code": "UPLIB-101221-404", "message": "Merge policy not found"}],
        }


def test_the_sixth_policy_is_refused_and_other_sandboxes_have_their_own_five(call: Caller) -> None:
    """Scenario 27; other classes count, and so does the policy that the sandbox came with."""
    for number in range(4):
        create(call, body(f"p{number}", schema=[PROFILE, ACCOUNT][number % 2]))
    answer = post(call, body("one too many"))
    assert answer.status == 422
    assert "has 5 merge policies and can have 5" in str(answer.json())
    assert len(listed(call)["children"]) == 5
    assert post(call, body("elsewhere"), **{"x-sandbox-name": "prod"}).status == 200
    assert put(call, SEEDED, body("changed")).status == 200
    assert delete(call, SEEDED).status == 200
    assert post(call, body("fits")).status == 200


def test_a_lower_limit_stops_only_creation(call: Caller) -> None:
    """A sandbox with more policies than it can have keeps working (contract: profile-api §3.2)."""
    create(call, body("second"))
    service = MergePolicies(store(), Registry(aws.dynamodb(), aws.registry_table()), limit=1, clock=lambda: 5.9)
    with pytest.raises(UnprocessableError):
        service.create(DEV, MergePolicy("", "third"))
    assert service.change(DEV, SEEDED, lambda policy: policy).updated_s == 5


def test_put_replaces_everything_a_caller_may_set(call: Caller) -> None:
    created = create(call, precedence(CRM, name="old", graph="none", default=True))
    answer = put(call, created["id"], {**body(name=None), "id": "other", "version": 40, "updateEpoch": 1})
    assert answer.status == 200
    assert answer.json() == {
        **created,
        "name": "",
        "identityGraph": {"type": "pdg"},
        "attributeMerge": {"type": "timestampOrdered"},
        "default": False,
        "version": 2,
        "updateEpoch": answer.json()["updateEpoch"],
    }
    assert read(call, created["id"]) == answer.json()


@pytest.mark.parametrize(
    ("operations", "changed"),
    [
        ([{"op": "add", "path": "/name", "value": "new"}], {"name": "new"}),
        ({"op": "replace", "path": "/name", "value": "new"}, {"name": "new"}),
        ([{"op": "add", "path": "/identityGraph.type", "value": "none"}], {"identityGraph": {"type": "none"}}),
        ([{"op": "add", "path": "/identityGraph/type", "value": "auto"}], {}),
        ([{"op": "add", "path": "/schema.name", "value": ACCOUNT}], {"schema": {"name": ACCOUNT}}),
        ([{"op": "add", "path": "/version", "value": 77}], {}),
        ([{"op": "add", "path": "/isActiveOnEdge", "value": "True"}], {"isActiveOnEdge": True}),
        (
            [{"op": "add", "path": "/attributeMerge.type", "value": "timestampOrdered"}],
            {"attributeMerge": {"type": "timestampOrdered"}},
        ),
        (
            [{"op": "add", "path": "/attributeMerge/order", "value": [LOYALTY, CRM]}],
            {"attributeMerge": {"type": "dataSetPrecedence", "order": [LOYALTY, CRM]}},
        ),
        (
            [
                {"op": "add", "path": "/attributeMerge.type", "value": "timestampOrdered"},
                {"op": "replace", "path": "/attributeMerge.order", "value": [LOYALTY]},
                {"op": "add", "path": "/attributeMerge.type", "value": "dataSetPrecedence", "from": "/x"},
            ],
            {"attributeMerge": {"type": "dataSetPrecedence", "order": [LOYALTY]}},
        ),
    ],
)
def test_patching_is_one_version_in_both_dialects(call: Caller, operations: object, changed: dict[str, Any]) -> None:
    created = create(call, precedence(CRM, name="old"))
    answer = patch(call, created["id"], operations)
    assert answer.status == 200, answer.text
    assert answer.json() == {**created, **changed, "version": 2, "updateEpoch": answer.json()["updateEpoch"]}
    assert patch(call, created["id"], operations, **{"Content-Type": JSON_PATCH}).json()["version"] == 3


GOOD = {"op": "add", "path": "/name", "value": "new"}


@pytest.mark.parametrize(
    "operations",
    [
        [GOOD, {"op": "add", "path": "/nothing", "value": 1}],
        [GOOD, {"op": "add", "path": "/idActiveOnEdge", "value": True}],
        [GOOD, {"op": "add", "path": "name", "value": "x"}],
        [GOOD, {"op": "add", "path": "", "value": {}}],
        [GOOD, {"op": "add", "path": "/id", "value": "x"}],
        [GOOD, {"op": "add", "path": "/updateEpoch", "value": 1}],
        [GOOD, {"op": "add", "path": "/identityGraph", "value": {"type": "none"}}],
        [GOOD, {"op": "add", "path": "/identityGraph..type", "value": "none"}],
        [GOOD, {"op": "add", "path": "/attributeMerge/order/-", "value": CRM}],
        [GOOD, {"op": "add", "path": "/name"}],
        [GOOD, {"op": "add", "path": "/name", "value": None}],
        [GOOD, {"op": "add", "path": "/name", "value": 7}],
        [GOOD, {"op": "add", "path": "/default", "value": "maybe"}],
        [GOOD, {"op": "add", "path": "/default", "value": 1}],
        [{"op": "add", "path": "/default", "value": "maybe"}, {"op": "add", "path": "/default", "value": True}],
        [GOOD, {"op": "add", "path": "/identityGraph.type", "value": "x"}],
        [GOOD, {"op": "add", "path": "/schema.name", "value": ""}],
        [GOOD, {"op": "add", "path": "/attributeMerge.type", "value": "dataSetPrecedence"}],
        [
            GOOD,
            {"op": "add", "path": "/attributeMerge.type", "value": "dataSetPrecedence"},
            {"op": "add", "path": "/attributeMerge.order", "value": ["nosuch"]},
        ],
        [GOOD, {"op": "add", "path": "/attributeMerge.order", "value": CRM}],
        [GOOD, {"op": "remove", "path": "/name", "value": None}],
        [GOOD, {"op": "test", "path": "/name", "value": "p"}],
        [GOOD, {"path": "/name", "value": "x"}],
        [GOOD, "replace"],
        [GOOD] * 101,
        [],
        {},
        "text",
        None,
    ],
)
def test_a_patch_that_cannot_be_done_does_nothing(call: Caller, operations: object) -> None:
    created = create(call, body())
    before = store().current(DEV)
    answer = patch(call, created["id"], operations)
    assert answer.status == 400, answer.text
    assert store().current(DEV) == before


OPERATIONS = [
    ({"op": "add", "path": "/name", "value": "a"}, {"name": "a"}),
    ({"op": "replace", "path": "/name", "value": "b"}, {"name": "b"}),
    ({"op": "add", "path": "/default", "value": "true"}, {"default": True}),
    ({"op": "add", "path": "/default", "value": False}, {"default": False}),
    ({"op": "add", "path": "/attributeMerge.type", "value": "dataSetPrecedence"}, {"precedes": True}),
    ({"op": "add", "path": "/attributeMerge/type", "value": "timestampOrdered"}, {"precedes": False}),
    ({"op": "add", "path": "/attributeMerge/order", "value": [CRM]}, {"order": (CRM,)}),
    ({"op": "add", "path": "/attributeMerge.order", "value": []}, {"order": ()}),
    ({"op": "add", "path": "/attributeMerge.order", "value": ["nosuch"]}, {"order": ("nosuch",)}),
    ({"op": "add", "path": "/nothing", "value": 1}, None),
    ({"op": "remove", "path": "/name", "value": 1}, None),
]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=5))
def test_a_patch_is_done_whole_or_not_at_all(call: Caller, chosen: list[tuple[dict[str, Any], Any]]) -> None:
    before = store().current(DEV)
    policy = before.policies[SEEDED]
    state = {
        "name": policy.name,
        "default": policy.default,
        "precedes": policy.attribute_merge is AttributeMerge.DATASET_PRECEDENCE,
        "order": policy.order,
    }
    for _, changed in chosen:
        state |= changed or {}
    possible = None not in [changed for _, changed in chosen] and (not state["precedes"] or state["order"] == (CRM,))
    answer = patch(call, SEEDED, [operation for operation, _ in chosen])
    after = store().current(DEV)
    if not possible:
        assert answer.status == 400
        assert after == before
        return
    assert answer.status == 200
    now = after.policies[SEEDED]
    assert (now.name, now.default, now.version) == (state["name"], state["default"], policy.version + 1)
    assert now.order == (state["order"] if state["precedes"] else ())


def test_a_policy_stays_changeable_when_a_dataset_of_its_order_is_gone(call: Caller) -> None:
    created = create(call, precedence(CRM, LOYALTY))
    store().change(DEV, lambda now: now.without_dataset(CRM))
    assert patch(call, created["id"], {"op": "add", "path": "/name", "value": "new"}).status == 200
    assert put(call, created["id"], precedence(LOYALTY, CRM)).status == 200
    assert put(call, created["id"], precedence(LOYALTY)).status == 200
    assert put(call, created["id"], precedence(LOYALTY, CRM)).status == 400


def test_every_version_of_a_policy_can_be_read(call: Caller) -> None:
    """The version a sandbox came with is found too, and the version in which a policy was demoted."""
    created = create(call, body("second", default=True))
    for name in ("renamed", "again"):
        patch(call, created["id"], {"op": "add", "path": "/name", "value": name})
    assert names(call) == ["Default Timebased", "again"]
    first = {child["name"]: child for child in listed(call, version="1")["children"]}
    assert first["second"] == created
    assert first["Default Timebased"]["default"] is True
    second = {child["name"]: child for child in listed(call, version="2")["children"]}
    assert second["Default Timebased"]["default"] is False
    assert second["renamed"]["version"] == 2
    assert names(call, version="3") == ["again"]
    assert names(call, version="4") == names(call, version="3", default="false") == []
    assert names(call, version="1", default="true", orderBy="-name") == ["second", "Default Timebased"]
    assert listed(call, version="1", limit="1")["_page"]["totalCount"] == 2


def test_history_stays_in_its_sandbox_and_behind_a_delete(call: Caller) -> None:
    created = create(call, body("first"))
    put(call, created["id"], body("second"))
    delete(call, created["id"])
    assert names(call, version="1") == ["Default Timebased"]
    registry = Registry(aws.dynamodb(), aws.registry_table())
    kept = [document["name"] for sort, document in registry.each(f"{DEV.key}#policy") if created["id"] in sort]
    assert kept == ["first", "second"]


class TestList:
    @pytest.fixture
    def five(self, call: Caller) -> list[str]:
        for policy in (
            body("b", graph="none"),
            precedence(CRM, name="a"),
            body("b", schema=ACCOUNT, default=True),
            precedence(LOYALTY, name="ü & x=1", graph="none", isActiveOnEdge=True),
        ):
            create(call, policy)
        return ["Default Timebased", "a", "b", "b", "ü & x=1"]

    def test_the_page_says_all_there_is_to_say(self, call: Caller, five: list[str]) -> None:
        answer = listed(call)
        assert answer["_page"] == {"totalCount": 5, "pageSize": 20, "count": 5, "next": ""}
        assert answer["_links"] == {"next": {"href": ""}}
        assert [child["name"] for child in answer["children"]] == five

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"schema.name": ACCOUNT}, ["b"]),
            ({"schema.name": "nosuch"}, []),
            ({"default": "true"}, ["Default Timebased", "b"]),
            ({"default": "false", "schema.name": PROFILE}, ["a", "b", "ü & x=1"]),
            ({"isActiveOnEdge": "True"}, ["ü & x=1"]),
            ({"identityGraph.type": "none"}, ["b", "ü & x=1"]),
            ({"identityGraph.type": "auto", "default": "false"}, ["a"]),
            ({"attributeMerge.type": "dataSetPrecedence"}, ["a", "ü & x=1"]),
            ({"default": "", "version": "", "start": "", "limit": "", "orderBy": ""}, None),
            ({"start": "0"}, None),
            ({"orderBy": "name"}, None),
            ({"orderby": "+name"}, None),
            ({"orderBy": " name"}, None),
            ({"limit": "1000"}, None),
        ],
    )
    def test_filters(self, call: Caller, five: list[str], query: dict[str, str], expected: list[str] | None) -> None:
        assert names(call, **query) == (five if expected is None else expected)

    @pytest.mark.parametrize("spelling", ["orderBy", "orderby"])
    def test_descending(self, call: Caller, five: list[str], spelling: str) -> None:
        assert names(call, **{spelling: "-name"}) == five[::-1]

    @pytest.mark.parametrize("order", ["", "name", "-name"])
    @pytest.mark.parametrize("limit", [1, 2, 3, 5])
    def test_pages_hold_each_policy_once(self, call: Caller, five: list[str], order: str, limit: int) -> None:
        """Scenario 31: the client splits the address at ``?`` and adds its own limit to the one that is there."""
        seen: list[tuple[str, str]] = []
        answer = listed(call, limit=str(limit), orderBy=order)
        for _ in range(10):
            seen += [(child["name"], child["id"]) for child in answer["children"]]
            assert answer["_page"]["count"] == len(answer["children"]) <= limit
            assert (answer["_page"]["totalCount"], answer["_page"]["pageSize"]) == (5, limit)
            href = answer["_links"]["next"]["href"]
            assert bool(answer["_page"]["next"]) is bool(href)
            if not href:
                break
            given = parse_qsl(href.split("?")[1], keep_blank_values=True)
            query: dict[str, list[str]] = {}
            for name, value in [*given, ("limit", "100" if limit == 2 else str(limit))]:
                query.setdefault(name, []).append(value)
            assert query["limit"][0] == str(limit)
            answer = listed(call, **query)
        assert [name for name, _ in seen] == (five[::-1] if order == "-name" else five)
        assert len(set(seen)) == 5

    def test_pages_of_other_sizes_and_the_cursor_alone(self, call: Caller, five: list[str]) -> None:
        first = listed(call, limit="1", orderBy="-name")
        rest = listed(call, limit="100", start=first["_page"]["next"])
        assert [child["name"] for child in rest["children"]] == five[::-1][1:]

    def test_filters_are_repeated_in_the_address(self, call: Caller, five: list[str]) -> None:
        answer = listed(call, limit="1", **{"attributeMerge.type": "dataSetPrecedence", "schema.name": PROFILE})
        href = answer["_links"]["next"]["href"]
        assert href.startswith("@/mergePolicies?start=")
        query = dict(parse_qsl(urlsplit(href).query, keep_blank_values=True))
        assert query == {
            "start": answer["_page"]["next"],
            "orderBy": "",
            "limit": "1",
            "schema.name": PROFILE,
            "attributeMerge.type": "dataSetPrecedence",
        }
        assert names(call, **query) == ["ü & x=1"]

    def test_a_page_is_right_when_the_policy_of_its_cursor_is_gone(self, call: Caller, five: list[str]) -> None:
        first = listed(call, limit="2")
        assert delete(call, first["children"][1]["id"]).status == 200
        assert names(call, start=first["_page"]["next"]) == five[2:]

    def test_cursors_of_other_lists_are_refused(self, call: Caller, five: list[str]) -> None:
        cursor = listed(call, limit="1")["_page"]["next"]
        filtered = listed(call, limit="1", **{"default": "false"})["_page"]["next"]
        for query, headers in (
            ({"start": cursor, "orderBy": "-name"}, {}),
            ({"start": cursor, "default": "false"}, {}),
            ({"start": filtered}, {}),
            ({"start": cursor}, {"x-sandbox-name": "prod"}),
        ):
            assert call(merge_policies.handler, "GET", PATH, query=query, headers=headers).status == 400

    @pytest.mark.parametrize(
        "query",
        [
            {"start": "1"},
            {"start": "!!!"},
            {"start": "bm90IGpzb24"},
            {"start": "WzFd"},
            {"start": "W251bGwsbnVsbCxudWxsLG51bGxd"},
            {"start": "e30"},
            {"start": "ü"},
            {"limit": "0"},
            {"limit": "-1"},
            {"limit": "many"},
            {"orderBy": "updateEpoch"},
            {"orderBy": "--name"},
            {"default": "maybe"},
            {"isActiveOnEdge": "1"},
            {"identityGraph.type": "everybody"},
            {"attributeMerge.type": "newest"},
            {"version": "0"},
            {"version": "first"},
        ],
    )
    def test_odd_requests(self, call: Caller, query: dict[str, str]) -> None:
        answer = call(merge_policies.handler, "GET", PATH, query=query)
        assert answer.status == 400, answer.text
        assert answer.json()["status"] == 400


def bulk_get(call: Caller, wanted: object, **headers: str | None) -> Answer:
    return call(merge_policies.handler, "POST", PATH + "/bulk-get", body=wanted, headers=headers)


def test_bulk_get_answers_207_with_those_that_there_are(call: Caller) -> None:
    """Scenario 30."""
    created = create(call, body())
    for ids in ([SEEDED, created["id"], "nosuch"], [SEEDED, created["id"], SEEDED]):
        answer = bulk_get(call, {"ids": [{"id": policy_id} for policy_id in ids]})
        assert answer.status == 207
        assert answer.json() == {"results": {SEEDED: read(call, SEEDED), created["id"]: created}}
    assert bulk_get(call, {"ids": [{"id": "nosuch"}]}).json() == {"results": {}}
    # A read: it may leave the sandbox out, and is of the default one then.
    answer = bulk_get(call, {"ids": [{"id": SEEDED}]}, **{"x-sandbox-name": None})
    assert (answer.status, answer.json()) == (207, {"results": {}})


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        [],
        None,
        {"ids": []},
        {"ids": None},
        {"ids": [{}]},
        {"ids": ["x"]},
        {"ids": [{"id": 7}]},
        {"ids": [{"id": "x"}] * 1001},
    ],
)
def test_bulk_get_of_nothing(call: Caller, wanted: object) -> None:
    assert bulk_get(call, wanted).status == 400


def test_bulk_get_is_not_the_id_of_a_policy(call: Caller) -> None:
    assert call(merge_policies.handler, "GET", PATH + "/bulk-get").status == 405
    assert call(merge_policies.handler, "DELETE", PATH + "/bulk-get").status == 405


def test_sandboxes_and_organisations_do_not_see_each_other(call: Caller) -> None:
    call.registry.put(f"client#{CLIENT_ID}", "client", client_document([ORG, OTHER_ORG]))
    created = create(call, body(default=True))
    for elsewhere in ({"x-sandbox-name": "prod"}, {"x-gw-ims-org-id": OTHER_ORG}):
        for method, sent in (
            ("GET", None),
            ("DELETE", None),
            ("PATCH", {"op": "add", "path": "/name", "value": "x"}),
            ("PUT", body()),
        ):
            path = f"{PATH}/{created['id']}"
            answer = call(merge_policies.handler, method, path, body=sent, headers=elsewhere)
            assert answer.status == 404
        ids = {"ids": [{"id": created["id"]}]}
        assert bulk_get(call, ids, **elsewhere).json() == {"results": {}}
        found = call(merge_policies.handler, "GET", PATH, headers=elsewhere).json()
        assert [child["default"] for child in found["children"]] == [True]
    assert read(call, created["id"]) == created


@pytest.mark.parametrize("policy_id", ["0", "..", "%2e%2e", "a%2Fb", "%00", "x" * 3000, "%F0%9F%98%80"])
def test_ids_that_are_none_are_not_found(call: Caller, policy_id: str) -> None:
    assert call(merge_policies.handler, "GET", f"{PATH}/{policy_id}").status == 404
    assert call(merge_policies.handler, "DELETE", f"{PATH}/{policy_id}").status == 404


class Rival:
    """A registry's client between whose reads and writes somebody else does something, as often as there is to do."""

    def __init__(self, *deeds: Callable[[], object]) -> None:
        self._deeds = list(deeds)

    def __getattr__(self, name: str) -> Any:
        if name == "transact_write_items" and self._deeds:
            self._deeds.pop(0)()
        return getattr(aws.dynamodb(), name)

    def service(self) -> MergePolicies:
        client: Any = self
        return MergePolicies(ConfigurationStore(client, aws.registry_table()), Registry(client, aws.registry_table()))


def test_of_two_policies_made_the_default_at_once_one_is(call: Caller) -> None:
    rival = Rival(lambda: create(call, body("rival", default=True, isActiveOnEdge=True)))
    mine = rival.service().create(DEV, MergePolicy("", "mine", default=True, active_on_edge=True))
    policies = store().current(DEV).policies.values()
    assert [policy.id for policy in policies if policy.default] == [mine.id]
    assert [policy.id for policy in policies if policy.active_on_edge] == [mine.id]
    assert {policy.name: policy.version for policy in policies} == {"Default Timebased": 2, "rival": 2, "mine": 1}
    assert {child["name"]: child["default"] for child in listed(call, version="1")["children"]} == {
        "Default Timebased": True,
        "rival": True,
        "mine": True,
    }


def test_the_limit_holds_when_the_fifth_comes_twice_at_once(call: Caller) -> None:
    for number in range(3):
        create(call, body(f"p{number}"))
    rival = Rival(lambda: create(call, body("rival")))
    with pytest.raises(UnprocessableError):
        rival.service().create(DEV, MergePolicy("", "mine"))
    assert "mine" not in names(call)


def test_a_policy_deleted_while_it_is_changed_stays_deleted(call: Caller) -> None:
    created = create(call, body())
    rival = Rival(lambda: delete(call, created["id"]))
    with pytest.raises(Exception, match="Merge policy not found"):
        rival.service().change(DEV, created["id"], lambda policy: policy)
    assert names(call) == ["Default Timebased"]


def test_a_policy_put_on_the_edge_while_it_is_deleted_stays(call: Caller) -> None:
    created = create(call, body())
    rival = Rival(lambda: patch(call, created["id"], {"op": "add", "path": "/isActiveOnEdge", "value": True}))
    with pytest.raises(Exception, match="active on the edge"):
        rival.service().delete(DEV, created["id"])
    assert read(call, created["id"])["isActiveOnEdge"] is True


def test_changes_survive_a_client_that_misbehaves(call: Caller) -> None:
    client: Any = HostileClient(aws.dynamodb(), seed=3)
    table = aws.registry_table()
    service = MergePolicies(ConfigurationStore(client, table), Registry(client, table))
    created = service.create(DEV, MergePolicy("", "0", default=True))
    for number in itertools.count(1):
        service.change(DEV, created.id, lambda policy, n=number: MergePolicy("", str(n), default=True))  # type: ignore[misc]
        if number == 8:
            break
    versions = [service.all_at(DEV, version) for version in range(1, 10)]
    assert [one.name for found in versions for one in found if one.id == created.id] == [str(n) for n in range(9)]
