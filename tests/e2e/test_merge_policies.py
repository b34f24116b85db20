"""Merge policies on the local cloud: calls at once, Adobe's own client, and dry runs over ingested people."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from aepp.customerprofile import Profile

from ops.client import PROFILE, Client
from ops.outputs import Outputs
from tests.e2e.conftest import adobe_client, register

PATH = "/data/core/ups/config/mergePolicies"


@pytest.fixture(scope="module")
def own(outputs: Outputs) -> dict[str, str]:
    """A client of an organisation that only these tests use: the default policy of the others stays theirs."""
    return register(f"POL{uuid.uuid4().hex[:12].upper()}@AdobeOrg")


@pytest.fixture(scope="module")
def http(own: dict[str, str]) -> httpx.Client:
    return Client(own).http


@pytest.fixture
def seeded(http: httpx.Client) -> Iterator[str]:
    """The policy that the sandbox came with; afterwards it is the default again, and the only one."""
    (policy,) = listed(http)
    yield policy["id"]
    set_(http, policy["id"], default=True).raise_for_status()
    for other in listed(http):
        if other["isActiveOnEdge"]:
            set_(http, other["id"], isActiveOnEdge=False).raise_for_status()
        if other["id"] != policy["id"]:
            assert http.delete(f"{PATH}/{other['id']}").status_code == 200


def body(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "schema": {"name": PROFILE},
        "identityGraph": {"type": "pdg"},
        "attributeMerge": {"type": "timestampOrdered"},
        **more,
    }


def listed(http: httpx.Client, **query: str) -> list[dict[str, Any]]:
    answer = http.get(PATH, params=query)
    answer.raise_for_status()
    return list(answer.json()["children"])


def set_(http: httpx.Client, policy_id: str, **fields: object) -> httpx.Response:
    operations = [{"op": "add", "path": f"/{name}", "value": value} for name, value in fields.items()]
    return http.patch(f"{PATH}/{policy_id}", json=operations)


def at_once(deeds: Sequence[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(deeds)) as threads:
        return list(threads.map(lambda deed: deed(), deeds))


def test_policies_created_at_once_keep_to_the_limit_and_to_one_default(http: httpx.Client, seeded: str) -> None:
    answers = at_once(
        [
            lambda name=f"p{number}": http.post(PATH, json=body(name, default=True, isActiveOnEdge="true"))  # type: ignore[misc]
            for number in range(9)
        ]
    )
    assert Counter(answer.status_code for answer in answers) == {200: 4, 422: 5}
    policies = listed(http)
    assert {policy["id"] for policy in policies} == {
        seeded,
        *(answer.json()["id"] for answer in answers if answer.status_code == 200),
    }
    (default,) = [policy["id"] for policy in policies if policy["default"]]
    assert [policy["id"] for policy in policies if policy["isActiveOnEdge"]] == [default]
    assert {policy["version"] for policy in policies if policy["id"] != default} == {2}
    assert next(policy["version"] for policy in policies if policy["id"] == default) == 1


def test_changes_at_once_are_a_version_each(http: httpx.Client, seeded: str) -> None:
    policy_id = http.post(PATH, json=body("v1")).json()["id"]
    answers = at_once([lambda name=f"n{number}": set_(http, policy_id, name=name) for number in range(8)])  # type: ignore[misc]
    assert sorted(answer.json()["version"] for answer in answers) == list(range(2, 10))
    for answer in answers:
        version = answer.json()["version"]
        assert [item for item in listed(http, version=str(version)) if item["id"] == policy_id] == [answer.json()]


def test_the_default_is_one_whoever_asks_for_it_at_once(http: httpx.Client, seeded: str) -> None:
    ids = [http.post(PATH, json=body(f"p{number}")).json()["id"] for number in range(4)]
    answers = at_once([lambda one=one: set_(http, one, default="true") for one in [*ids, seeded]])  # type: ignore[misc]
    assert {answer.status_code for answer in answers} == {200}
    assert sum(policy["default"] for policy in listed(http)) == 1


def test_a_policy_changed_and_deleted_at_once_is_deleted(http: httpx.Client, seeded: str) -> None:
    for _ in range(5):
        policy_id = http.post(PATH, json=body("short-lived")).json()["id"]
        changed, deleted, again = at_once(
            [
                lambda one=policy_id: set_(http, one, name="changed"),  # type: ignore[misc]
                lambda one=policy_id: http.delete(f"{PATH}/{one}"),  # type: ignore[misc]
                lambda one=policy_id: http.delete(f"{PATH}/{one}"),  # type: ignore[misc]
            ]
        )
        assert changed.status_code in {200, 404}
        assert sorted([deleted.status_code, again.status_code]) == [200, 404]
        assert http.get(f"{PATH}/{policy_id}").status_code == 404
        assert [policy["id"] for policy in listed(http)] == [seeded]


def test_a_policy_put_on_the_edge_and_deleted_at_once(http: httpx.Client, seeded: str) -> None:
    """One of the two calls is too late; never is a policy that is active on the edge gone."""
    for _ in range(5):
        policy_id = http.post(PATH, json=body("edge")).json()["id"]
        changed, deleted = at_once(
            [
                lambda one=policy_id: set_(http, one, isActiveOnEdge=True),  # type: ignore[misc]
                lambda one=policy_id: http.delete(f"{PATH}/{one}"),  # type: ignore[misc]
            ]
        )
        assert (changed.status_code, deleted.status_code) in {(200, 400), (404, 200)}
        if changed.status_code == 200:
            set_(http, policy_id, isActiveOnEdge=False).raise_for_status()
            assert http.delete(f"{PATH}/{policy_id}").status_code == 200


@pytest.fixture
def profiles(own: dict[str, str]) -> Profile:
    """The published client, pointed at the service as its documentation of endpoints allows."""
    return adobe_client(own)


def test_adobe_s_client(profiles: Profile, seeded: str) -> None:
    first = profiles.createMergePolicy(
        {
            **body("real-time-customer-profile-default", default=False),
            "imsOrgId": "1BD6382559DF0C130A49422D@AdobeOrg",
            "attributeMerge": {"type": "timestampOrdered", "order": ["string"]},
            "updateEpoch": 1234567890,
        }
    )
    assert first["attributeMerge"] == {"type": "timestampOrdered"}
    assert first["version"] == 1
    ids = {seeded, first["id"], *(profiles.createMergePolicy(body(f"p {number}"))["id"] for number in range(3))}
    assert profiles.createMergePolicy(body("sixth"))["status"] == 422
    for limit in (1, 2, 3, 5, 100):
        found = profiles.getMergePolicies(limit=limit)
        assert len(found) == 5
        assert {policy["id"] for policy in found} == ids
        assert [policy["name"] for policy in found] == sorted(policy["name"] for policy in found)

    assert profiles.getMergePolicy(first["id"]) == first
    replaced = profiles.updateMergePolicy(first["id"], {**first, "name": "replaced"})
    assert (replaced["name"], replaced["version"]) == ("replaced", 2)
    operations = [{"op": "add", "path": "/identityGraph.type", "value": "none"}]
    patched = profiles.patchMergePolicy(first["id"], operations)
    assert (patched["identityGraph"], patched["version"]) == ({"type": "none"}, 3)
    refused = profiles.patchMergePolicy(first["id"], [*operations, {"op": "add", "path": "/x", "value": "y"}])
    assert refused["status"] == 400
    assert profiles.getMergePolicyActiveOnEdge() is None
    profiles.patchMergePolicy(first["id"], [{"op": "add", "path": "/isActiveOnEdge", "value": "true"}])
    assert profiles.getMergePolicyActiveOnEdge()["id"] == first["id"]
    assert profiles.deleteMergePolicy(first["id"])["status"] == 400
    profiles.patchMergePolicy(first["id"], [{"op": "add", "path": "/isActiveOnEdge", "value": "false"}])
    assert profiles.deleteMergePolicy(first["id"]) == 200
    gone = profiles.getMergePolicy(first["id"])
    assert (gone["status"], gone["title"]) == (404, "Merge policy not found")


def test_a_dry_run_predicts_what_applying_does(own: dict[str, str], http: httpx.Client, seeded: str) -> None:
    client = Client(own)
    crm, loyalty = (
        client.create_dataset(name, "profile", "unifiedProfile", "unifiedIdentity") for name in ("crm", "loyalty")
    )
    people = [f"person-{number}" for number in range(40)]

    def rows(tier: str) -> list[dict[str, Any]]:
        return [
            {
                "identityMap": {"crmid": [{"id": person, "primary": True}], "email": [{"id": f"{person}@ex.org"}]},
                "tier": tier,
                tier: number,
            }
            for number, person in enumerate(people)
        ]

    assert client.ingest(crm, rows("plain"))["status"] == "success"
    assert client.ingest(loyalty, rows("gold")[:25])["status"] == "success"
    tried = body("tried", attributeMerge={"type": "dataSetPrecedence", "order": [crm]})
    identities = [{"entityId": person, "entityIdNS": {"code": "crmid"}} for person in people]

    def entities() -> dict[str, Any]:
        answers = [client.entity("crmid", person).json() for person in people]
        return {xid: found["entity"] for answer in answers for xid, found in answer.items()}

    predicted = http.post(f"{PATH}/dryRun", json={"policy": tried, "identities": identities}).json()
    assert (predicted["compared"], predicted["changed"]) == (40, 25)
    assert predicted["fields"] == {"gold": 25, "tier": 25}
    sampled = http.post(f"{PATH}/dryRun", json={"policy": tried, "sample": 30}).json()
    assert sampled["compared"] == 30
    assert 15 <= sampled["changed"] <= 25
    everybody = http.post(f"{PATH}/dryRun", json={"policy": tried, "sample": 1000}).json()
    assert (everybody["compared"], everybody["changed"]) == (40, 25)

    before = entities()
    http.post(PATH, json={**tried, "default": True}).raise_for_status()
    after = entities()
    # These entities have no objects but the map of identities, whose arrays are leaves too.
    differing = {
        xid: {
            name: (before[xid].get(name), after[xid].get(name))
            for name in before[xid].keys() | after[xid].keys()
            if before[xid].get(name) != after[xid].get(name)
        }
        for xid in before
    }
    assert {
        profile["entityId"]: {change["path"]: (change["before"], change["after"]) for change in profile["changes"]}
        for profile in predicted["profiles"]
    } == {xid: changes for xid, changes in differing.items() if changes}
