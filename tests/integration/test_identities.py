"""Identities, namespaces, graphs and links through the function (contract: profile-api §7)."""

from __future__ import annotations

from typing import Any

import pytest

from api import identities
from tessera.domain.identity import Identity
from tests.integration.conftest import Answer, Caller
from tests.integration.test_entities import DEV, ECID, Store, dalia, profile, store, xid

__all__ = ["dalia", "store"]

IDENTITY = "/data/core/identity"
NAMESPACES = "/data/core/idnamespace/identities"
CRM_AND_MAIL = {
    "entityId": "4217",
    "entityIdNS": "crmid",
    "linkedEntityId": "Dalia@ex.org",
    "linkedEntityIdNS": "email",
}


def get(call: Caller, path: str, **query: str) -> Answer:
    return call(identities.handler, "GET", path, query=query)


def test_the_xid_of_an_identity_ingested_or_not(call: Caller, dalia: Store) -> None:
    assert get(call, IDENTITY + "/identity", namespace="Email", id="Dalia@ex.org").json() == {
        "xid": xid("email", "dalia@ex.org")
    }
    assert get(call, IDENTITY + "/identity", nsid="4", id="9" * 38).json() == {"xid": xid("ecid", "9" * 38)}
    assert get(call, IDENTITY + "/identity", namespace="crmid", nsid="4", id="1").json() == {"xid": xid("crmid", "1")}


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ({"id": "x"}, "Missing required query parameter - namespace"),
        ({"namespace": "email"}, "Missing required query parameter - id"),
        ({"namespace": "nosuch", "id": "x"}, "The namespace nosuch is not known in this sandbox"),
    ],
)
def test_what_has_no_xid(call: Caller, dalia: Store, query: dict[str, str], detail: str) -> None:
    answer = get(call, IDENTITY + "/identity", **query)
    assert answer.status == 400
    assert (answer.json()["title"], answer.json()["status"], answer.json()["detail"]) == ("InvalidInput", 400, detail)


def test_members_of_a_graph(call: Caller, dalia: Store) -> None:
    answer = get(call, IDENTITY + "/cluster/members", ns="email", id="dalia@ex.org").json()
    assert answer["xid"] == xid("email", "dalia@ex.org")
    assert answer["compositeXid"] == {"ns": "Email", "nsid": 6, "id": "dalia@ex.org"}
    assert {(one["ns"], one["id"]) for one in answer["members"]} == {
        ("Email", "dalia@ex.org"),
        ("CRMID", "4217"),
        ("ECID", ECID),
    }
    alone = get(call, IDENTITY + "/cluster/members", xid=xid("ecid", ECID), **{"graph-type": "none"}).json()
    assert [one["id"] for one in alone["members"]] == [ECID]
    unknown = get(call, IDENTITY + "/cluster/members", xid=xid("email", "no@body.org")).json()
    assert unknown["members"] == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/clusters/members", {"xids": [xid("crmid", "4217")], "compositeXids": [{"nsid": 4, "id": ECID}]}),
        ("/v2/graph", {"composite_xid": [{"ns": "CRMID", "id": "4217"}, {"ns": "ecid", "id": ECID}]}),
    ],
)
def test_members_of_several_graphs(call: Caller, dalia: Store, path: str, body: dict[str, Any]) -> None:
    answer = call(identities.handler, "POST", IDENTITY + path, body=body)
    one, other = answer.json()["clusters"]
    assert {item["xid"] for item in one["members"]} == {item["xid"] for item in other["members"]}
    assert len(one["members"]) == 3


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"xids": []},
        {"xids": ["A" * 28] * 1001},
        {"xids": ["garbage"]},
        {"composite_xid": [{"id": "x"}]},
        {"xids": 7},
    ],
)
def test_graphs_of_nobody(call: Caller, dalia: Store, body: dict[str, Any]) -> None:
    assert call(identities.handler, "POST", IDENTITY + "/v2/graph", body=body).status in {400, 422}


def test_links_say_who_asserted_them(call: Caller, dalia: Store) -> None:
    body = get(call, IDENTITY + "/links", entityId="4217", entityIdNS="crmid").json()
    by_namespace = {link["identity"]["namespace"]["code"]: link for link in body["links"]}
    assert set(by_namespace) == {"email", "ecid"}
    mail = by_namespace["email"]
    assert mail["state"] == "effective"
    assert mail["linkedEntityId"] == xid("email", "dalia@ex.org")
    (source,) = mail["assertedBy"]
    assert source["datasetId"] == "crm"
    assert source["assertedAt"] == "2026-03-04T08:46:41.000Z"
    assert by_namespace["ecid"]["assertedBy"][0]["datasetId"] == "web"
    assert body["history"] == []


def test_unmerging_and_linking_again(call: Caller, dalia: Store) -> None:
    answer = call(identities.handler, "DELETE", IDENTITY + "/links", query=CRM_AND_MAIL)
    assert answer.status == 200
    (removed,) = [link for link in answer.json()["links"] if link["state"] == "removed"]
    assert removed["removedBy"] == "testclient0000000000000001"
    assert removed["removedAt"].endswith("Z")
    by_crm = profile(call, entityId="4217", entityIdNS="crmid").json().popitem()[1]["entity"]
    by_mail = profile(call, entityId="dalia@ex.org", entityIdNS="email").json().popitem()[1]["entity"]
    assert (by_crm["person"]["name"]["firstName"], by_mail["person"]["name"]["firstName"]) == ("Dalia", "Dali")
    assert "tier" not in by_crm
    assert "city" not in by_mail

    again = {"CRMID": [{"id": "4217", "primary": True}], "Email": [{"id": "dalia@ex.org"}]}
    dalia.put("crm", {"identityMap": again, "person": {"name": {"firstName": "Dalia"}}, "city": "Ghent"})
    assert "tier" not in profile(call, entityId="4217", entityIdNS="crmid").json().popitem()[1]["entity"]

    answer = call(identities.handler, "POST", IDENTITY + "/links", query=CRM_AND_MAIL)
    assert answer.status == 200
    assert {link["state"] for link in answer.json()["links"]} == {"effective"}
    assert [entry["action"] for entry in answer.json()["history"]] == ["removed", "added"]
    assert profile(call, entityId="4217", entityIdNS="crmid").json().popitem()[1]["entity"]["tier"] == "gold"


def test_linking_by_hand_what_nobody_linked(call: Caller, dalia: Store) -> None:
    body = {
        "entityId": "4217",
        "entityIdNS": {"code": "crmid"},
        "linkedEntityId": "other@ex.org",
        "linkedEntityIdNS": {"code": "Email"},
    }
    answer = call(identities.handler, "POST", IDENTITY + "/links", body=body)
    (by_hand,) = [link for link in answer.json()["links"] if link["identity"]["id"] == "other@ex.org"]
    assert by_hand["state"] == "effective"
    assert by_hand["assertedBy"][0]["clientId"] == "testclient0000000000000001"
    found = profile(call, entityId="other@ex.org", entityIdNS="email").json().popitem()[1]
    assert found["entity"]["city"] == "Ghent"


@pytest.mark.parametrize(
    ("method", "query", "status"),
    [
        ("DELETE", {**CRM_AND_MAIL, "linkedEntityId": "nobody@ex.org"}, 404),
        ("DELETE", {**CRM_AND_MAIL, "entityId": "nobody"}, 404),
        ("DELETE", {"entityId": "4217", "entityIdNS": "crmid"}, 400),
        ("DELETE", {**CRM_AND_MAIL, "entityIdNS": "nosuch"}, 400),
        ("DELETE", {"entityId": "garbage", "linkedEntityId": "garbage"}, 422),
        ("POST", {**CRM_AND_MAIL, "linkedEntityId": "4217", "linkedEntityIdNS": "crmid"}, 400),
        ("POST", {**CRM_AND_MAIL, "linkedEntityId": "unknown"}, 400),
        ("POST", {"entityId": "4217", "entityIdNS": "crmid"}, 400),
        ("GET", {"entityId": "nobody", "entityIdNS": "crmid"}, 404),
        ("GET", {}, 400),
    ],
)
def test_links_that_cannot_be(call: Caller, dalia: Store, method: str, query: dict[str, str], status: int) -> None:
    answer = call(identities.handler, method, IDENTITY + "/links", query=query)
    assert answer.status == status, answer.text


def test_a_blocked_identity_links_nobody(call: Caller, dalia: Store) -> None:
    body = {"entityId": "dalia@ex.org", "entityIdNS": {"code": "email"}}
    assert call(identities.handler, "POST", IDENTITY + "/blocked", body=body).json()["blocked"] is True
    links = get(call, IDENTITY + "/links", entityId="dalia@ex.org", entityIdNS="email").json()
    assert links["links"][0]["state"] == "refused"
    assert "blocked" in links["links"][0]["reason"]
    assert "tier" not in profile(call, entityId="4217", entityIdNS="crmid").json().popitem()[1]["entity"]
    query = {"entityId": "dalia@ex.org", "entityIdNS": "email"}
    assert call(identities.handler, "DELETE", IDENTITY + "/blocked", query=query).json()["blocked"] is False
    assert profile(call, entityId="4217", entityIdNS="crmid").json().popitem()[1]["entity"]["tier"] == "gold"


def test_what_is_longer_than_any_identity_is_not_blocked(call: Caller, store: Store) -> None:
    body = {"entityId": "x" * 1025, "entityIdNS": "email"}
    assert call(identities.handler, "POST", IDENTITY + "/blocked", body=body).status == 400


def test_what_is_said_of_namespaces_has_bounds_together(call: Caller, store: Store) -> None:
    """A configuration is one item, however many namespaces say how much about themselves."""

    def created(number: int) -> int:
        description = "".join(map(chr, range(0x4E00 + number, 0x4E00 + number + 2000)))
        body = {"code": f"n{number}", "name": "x", "idType": "COOKIE", "description": description}
        return call(identities.handler, "POST", NAMESPACES, body=body).status

    statuses = [created(number) for number in range(40)]
    assert statuses == [200] * 33 + [400] * 7
    short = {"code": "n0", "name": "x", "idType": "COOKIE"}
    number = next(one["id"] for one in get(call, NAMESPACES).json() if one["code"] == "n0")
    assert call(identities.handler, "PUT", f"{NAMESPACES}/{number}", body=short).status == 200
    assert created(99) == 200


def test_namespaces(call: Caller, dalia: Store) -> None:
    listed = {item["code"]: item for item in get(call, NAMESPACES).json()}
    assert (listed["ECID"]["id"], listed["Email"]["id"], listed["Phone"]["id"]) == (4, 6, 7)
    assert listed["Email"]["custom"] is False
    assert listed["CRMID"]["custom"] is True
    body = {
        "code": "Member",
        "name": "Member number",
        "idType": "CROSS_DEVICE",
        "description": "of the club",
        "unique": True,
    }
    created = call(identities.handler, "POST", NAMESPACES, body=body).json()
    assert created["id"] == 10_000_001
    assert created["unique"] is True
    assert created["createTime"] > 0
    assert get(call, f"{NAMESPACES}/{created['id']}").json() == created
    renamed = call(identities.handler, "PUT", f"{NAMESPACES}/{created['id']}", body={**body, "name": "Member"}).json()
    assert (renamed["name"], renamed["createTime"]) == ("Member", created["createTime"])
    adopted = call(
        identities.handler, "POST", NAMESPACES, body={"code": "crmid", "name": "CRM", "idType": "CROSS_DEVICE"}
    )
    assert (adopted.status, adopted.json()["code"], adopted.json()["name"]) == (200, "CRMID", "CRM")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "", {"code": "email", "name": "x", "idType": "EMAIL"}, 409),
        ("POST", "", {"code": "a b", "name": "x", "idType": "EMAIL"}, 400),
        ("POST", "", {"code": "new", "name": "x", "idType": "NOSUCH"}, 400),
        ("POST", "", {"code": "new", "name": "x", "idType": "NON_PEOPLE", "unique": True}, 400),
        ("POST", "", {"code": "crmid", "name": "x", "idType": "NON_PEOPLE"}, 409),
        ("POST", "", {"code": "crmid", "name": "x", "idType": "CROSS_DEVICE", "unique": True}, 409),
        ("POST", "", {"name": "x"}, 400),
        ("PUT", "/6", {"code": "Email", "name": "x", "idType": "EMAIL"}, 404),
        ("PUT", "/10000000", {"code": "CRMID", "name": "x", "idType": "EMAIL"}, 400),
        ("PUT", "/x", {"code": "CRMID", "name": "x", "idType": "EMAIL"}, 400),
        ("GET", "/99", None, 404),
    ],
)
def test_namespaces_that_cannot_be(
    call: Caller, dalia: Store, method: str, path: str, body: dict[str, Any] | None, status: int
) -> None:
    assert call(identities.handler, method, NAMESPACES + path, body=body).status == status


def test_identities_that_are_no_people_do_not_link(call: Caller, store: Store) -> None:
    body = {"code": "Machine", "name": "Machine", "idType": "NON_PEOPLE"}
    assert call(identities.handler, "POST", NAMESPACES, body=body).status == 200
    identity_map = {
        "Machine": [{"id": "m1", "primary": True}],
        "CRMID": [{"id": "1"}],
        "Email": [{"id": "one@ex.org"}],
    }
    store.put("crm", {"identityMap": identity_map, "n": 1})
    heads = identities._links().graphs(DEV, [Identity("machine", "m1").xid(DEV), Identity("crmid", "1").xid(DEV)])
    assert [len(graph) for graph in heads.values()] == [1, 2]
