"""The contract's acceptance scenarios of entities and merge policies, over HTTP (contract: profile-api §13)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from ops.client import EVENTS, PROFILE, Client
from tests.e2e.conftest import register

ENTITIES = "/data/core/ups/access/entities"
POLICIES = "/data/core/ups/config/mergePolicies"
ECID = "40215566778899001122334455667788990011"
VISITOR = "7" * 38


@dataclass(frozen=True)
class Fixture:
    """Person D, the datasets and the policies of the contract, in an organisation of its own."""

    client: Client
    crm: str
    loyalty: str
    web: str
    by_time: str
    unstitched: str
    precedence: str
    loyalty_only: str

    def entity(self, namespace: str | None, value: str, **more: str) -> httpx.Response:
        return self.client.entity(namespace, value, **more)

    def profile(self, namespace: str | None, value: str, **more: str) -> dict[str, Any]:
        answer = self.entity(namespace, value, **more)
        assert answer.status_code == 200, answer.text
        ((key, found),) = answer.json().items()
        assert found["entityId"] == key
        return dict(found)

    def events(self, namespace: str, value: str, **more: Any) -> dict[str, Any]:
        answer = self.client.events(namespace, value, **more)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ids(self, namespace: str, value: str, **more: Any) -> list[str]:
        return [child["entityId"] for child in self.events(namespace, value, **more)["children"]]

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.client.http.post(path, json=body)

    def policy(self, name: str, graph: str = "pdg", order: list[str] | None = None, **more: Any) -> httpx.Response:
        merge: dict[str, Any] = {"type": "dataSetPrecedence", "order": order} if order else {"type": "timestampOrdered"}
        return self.post(
            POLICIES, name=name, schema={"name": PROFILE}, identityGraph={"type": graph}, attributeMerge=merge, **more
        )


def crm_row(**more: Any) -> dict[str, Any]:
    identity_map = {"CRMID": [{"id": "4217", "primary": True}], "Email": [{"id": "dalia@ex.org"}]}
    return {"identityMap": identity_map, "firstName": "Dalia", "city": "Ghent", **more}


def loyalty_row(**more: Any) -> dict[str, Any]:
    return {"identityMap": {"Email": [{"id": "dalia@ex.org"}]}, **more}


@pytest.fixture(scope="module")
def d(outputs: object) -> Iterator[Fixture]:
    client = Client(register(f"SCENARIOS{uuid.uuid4().hex[:8]}", "--sandbox", "dev"))
    tags = ("unifiedProfile", "unifiedIdentity")
    crm, loyalty = (client.create_dataset(name, "profile", *tags) for name in ("DS_CRM", "DS_LOY"))
    web = client.create_dataset("DS_WEB", "experienceevent", *tags)
    assert client.ingest(crm, [crm_row()])["status"] == "success"
    assert client.ingest(loyalty, [loyalty_row(firstName="Dali", tier="gold")])["status"] == "success"
    events = []
    for number in range(1, 6):
        identity_map = {"ECID": [{"id": ECID, "primary": True}]}
        if number == 3:
            identity_map["CRMID"] = [{"id": "4217"}]
        events.append(
            {
                "_id": f"e{number}",
                "timestamp": f"2026-03-0{number}T08:00:00Z",
                "identityMap": identity_map,
                "web": {"webPageDetails": {"isHomepage": number % 2 == 1}},
            }
        )
    events.append({"_id": "v1", "timestamp": "2026-03-01T00:00:00Z", "identityMap": {"ECID": [{"id": VISITOR}]}})
    assert client.ingest(web, events)["status"] == "success"
    default = client.http.get(POLICIES).json()["children"][0]["id"]
    fixture = Fixture(client, crm, loyalty, web, default, "", "", "")
    made = [
        fixture.policy("MP_N", "none"),
        fixture.policy("MP_P", order=[crm, loyalty]),
        fixture.policy("MP_1", "none", order=[loyalty]),
    ]
    assert {answer.status_code for answer in made} == {200}
    yield Fixture(client, crm, loyalty, web, default, *(answer.json()["id"] for answer in made))


def test_1_2_a_person_is_found_by_every_identity(d: Fixture) -> None:
    by_crm = d.profile("CRMID", "4217")
    entity = by_crm["entity"]
    assert (entity["firstName"], entity["city"], entity["tier"]) == ("Dali", "Ghent", "gold")
    assert by_crm["mergePolicy"]["id"] == d.by_time
    by_ecid = d.profile("ECID", ECID)
    assert by_ecid["entityId"] != by_crm["entityId"]
    assert set(by_ecid["identityGraph"]) == set(by_crm["identityGraph"])
    assert by_ecid["entity"] == entity


def test_5_6_without_stitching(d: Fixture) -> None:
    found = d.profile("CRMID", "4217", mergePolicyId=d.unstitched)
    assert found["entity"]["firstName"] == "Dalia"
    assert "tier" not in found["entity"]
    assert len(found["identityGraph"]) == 1
    by_mail = d.profile("Email", "dalia@ex.org", mergePolicyId=d.unstitched)["entity"]
    assert by_mail["tier"] == "gold"
    assert "city" not in by_mail
    missing = d.entity("CRMID", "4217", mergePolicyId=d.loyalty_only)
    assert (missing.status_code, missing.json()["status"]) == (404, 404)
    assert d.entity("Email", "dalia@ex.org", mergePolicyId=d.loyalty_only).status_code == 200


def test_10_11_xids_and_fields(d: Fixture) -> None:
    by_crm = d.profile("CRMID", "4217")
    assert d.profile(None, by_crm["entityId"]) == by_crm
    garbage = d.entity(None, "garbage")
    assert garbage.status_code == 422
    assert "UPS-MRG-1000001" in garbage.text
    assert d.entity("Email", "").status_code == 400
    chosen = d.profile("CRMID", "4217", fields="firstName,nosuch.path")
    assert chosen["entity"] == {"firstName": "Dali"}
    assert chosen["sources"] == by_crm["sources"]


def test_14_15_many_identities(d: Fixture) -> None:
    identities = [
        {"entityId": "dalia@ex.org", "entityIdNS": {"code": "Email"}},
        {"entityId": ECID, "entityIdNS": {"code": "ECID"}},
        {"entityId": "9" * 38, "entityIdNS": {"code": "ECID"}},
    ]
    answer = d.post(ENTITIES, schema={"name": PROFILE}, identities=identities)
    assert answer.status_code == 200
    one, same, unknown = answer.json().values()
    assert one["entity"] == same["entity"]
    assert (unknown["sources"], unknown["entity"], unknown["lastModifiedAt"]) == ([""], {}, "1970-01-01T00:00:00Z")
    filtered = d.post(
        ENTITIES,
        schema={"name": PROFILE},
        identities=identities[:2],
        timeFilter={"startTime": 1_000, "endTime": 2_000},
        limit=1,
    )
    assert all(entry["entity"] for entry in filtered.json().values())


def test_17_18_events(d: Fixture) -> None:
    page = d.events("Email", "dalia@ex.org")
    assert [child["entityId"] for child in page["children"]] == ["e1", "e2", "e3", "e4", "e5"]
    xid = d.profile("Email", "dalia@ex.org")["entityId"]
    assert {child["relatedEntityId"] for child in page["children"]} == {xid}
    assert d.ids("Email", "dalia@ex.org", mergePolicyId=d.unstitched) == []
    times = [child["timestamp"] for child in page["children"]]
    assert d.ids("Email", "dalia@ex.org", startTime=str(times[1]), endTime=str(times[3])) == ["e2", "e3"]
    assert d.ids("Email", "dalia@ex.org", orderby="-timestamp")[0] == "e5"
    url = f"{ENTITIES}?schema.name={EVENTS}&relatedSchema.name={PROFILE}&relatedEntityId=4217&relatedEntityIdNS=CRMID"
    answer = d.client.http.get(url + "&orderby=+timestamp")
    assert next(child["entityId"] for child in answer.json()["children"]) == "e1"


def test_19_pages(d: Fixture) -> None:
    page = d.events("CRMID", "4217", limit="2")
    assert (page["_page"]["count"], page["_page"]["next"]) == (2, "e3")
    href = page["_links"]["next"]["href"]
    assert "start=e3" in href
    assert "offsets=" in href
    page = d.client.http.get("/data/core/ups/access" + href).json()
    assert [child["entityId"] for child in page["children"]] == ["e3", "e4"]
    page = d.client.http.get("/data/core/ups/access" + page["_links"]["next"]["href"]).json()
    assert (page["_page"]["next"], page["_links"]["next"]["href"]) == ("", "")


def test_21_filters(d: Fixture) -> None:
    homepage, early = "web.webPageDetails.isHomepage=true", 'timestamp<="2026-03-03"'
    assert d.ids("CRMID", "4217", property=[homepage, early]) == ["e1"]
    assert d.client.events("CRMID", "4217", property=[homepage] * 4).status_code == 400  # type: ignore[arg-type]
    assert d.entity("CRMID", "4217", property=homepage).status_code == 400


def test_22_events_of_two_people(d: Fixture) -> None:
    asked = [
        {"relatedEntityId": d.profile("Email", "dalia@ex.org")["entityId"]},
        {"entityId": VISITOR, "entityIdNS": {"code": "ECID"}},
    ]
    answer = d.post(
        ENTITIES, schema={"name": EVENTS}, relatedSchema={"name": PROFILE}, identities=asked, limit=2
    ).json()
    one, other = answer.values()
    assert other["_links"]["next"] == {"href": ""}
    again = d.post(ENTITIES, **one["_links"]["next"]["payload"]).json()
    assert list(again) == [asked[0]["relatedEntityId"]]
    assert again[str(asked[0]["relatedEntityId"])]["children"][0]["entityId"] == "e3"


def test_7_8_replacement_and_custom_dates(d: Fixture) -> None:
    client = d.client
    assert client.ingest(d.loyalty, [loyalty_row(points=5)])["status"] == "success"
    entity = d.profile("CRMID", "4217")["entity"]
    assert "tier" not in entity
    assert (entity["firstName"], entity["points"]) == ("Dalia", 5)
    assert client.ingest(d.loyalty, [loyalty_row(firstName="Dali", tier="gold")])["status"] == "success"
    late = crm_row(extSourceSystemAudit={"lastUpdatedDate": "2020-01-01T00:00:00Z"})
    assert client.ingest(d.crm, [late])["status"] == "success"
    assert d.profile("CRMID", "4217")["entity"]["firstName"] == "Dali"
    assert client.ingest(d.crm, [crm_row()])["status"] == "success"
    assert client.ingest(d.loyalty, [loyalty_row(firstName="Dali", tier="gold")])["status"] == "success"


def test_13_a_graph_of_51(d: Fixture) -> None:
    def row(number: int) -> dict[str, Any]:
        identity_map = {"CRMID": [{"id": "hub", "primary": True}], "Phone": [{"id": f"+32{number:08d}"}]}
        return {"identityMap": identity_map, "n": number}

    assert d.client.ingest(d.crm, [row(number) for number in range(1, 50)])["status"] == "success"
    assert len(d.profile("CRMID", "hub")["identityGraph"]) == 50
    assert d.client.ingest(d.crm, [row(50)])["status"] == "success"
    for answer in (d.entity("CRMID", "hub"), d.client.events("CRMID", "hub")):
        assert answer.status_code == 422
        assert "Too many related identities" in answer.text
        assert "max: 50" in answer.text


def test_25_the_default_moves(d: Fixture) -> None:
    before = d.client.http.get(f"{POLICIES}/{d.precedence}").json()
    answer = d.client.http.patch(f"{POLICIES}/{d.precedence}", json={"op": "add", "path": "/default", "value": "true"})
    assert answer.status_code == 200
    assert answer.json()["default"] is True
    assert answer.json()["version"] == before["version"] + 1
    assert d.client.http.get(f"{POLICIES}/{d.by_time}").json()["default"] is False
    assert d.profile("CRMID", "4217")["mergePolicy"]["id"] == d.precedence
    assert d.profile("CRMID", "4217")["entity"]["firstName"] == "Dalia"
    back = [{"op": "replace", "path": "/default", "value": True}]
    assert d.client.http.patch(f"{POLICIES}/{d.by_time}", json=back).status_code == 200
    assert d.profile("CRMID", "4217")["mergePolicy"]["id"] == d.by_time


def test_27_28_30_limits_and_bodies(d: Fixture) -> None:
    fifth = d.policy("MP_5")
    assert fifth.status_code == 200
    sixth = d.policy("MP_6")
    assert 400 <= sixth.status_code < 500
    assert d.client.http.get(POLICIES).json()["_page"]["totalCount"] == 5
    elsewhere = d.client.http.post(
        POLICIES,
        json={
            "schema": {"name": PROFILE},
            "identityGraph": {"type": "pdg"},
            "attributeMerge": {"type": "timestampOrdered"},
        },
        headers={"x-sandbox-name": "prod"},
    )
    assert elsewhere.status_code == 200
    assert d.client.http.get(f"{POLICIES}/{elsewhere.json()['id']}").status_code == 404
    body = {"schema": {"name": PROFILE}, "identityGraph": {"type": "pdg"}}
    without = d.client.http.put(
        f"{POLICIES}/{fifth.json()['id']}", json={**body, "attributeMerge": {"type": "dataSetPrecedence"}}
    )
    assert without.status_code == 400
    dropped = d.client.http.put(
        f"{POLICIES}/{fifth.json()['id']}",
        json={**body, "attributeMerge": {"type": "timestampOrdered", "order": ["x"]}},
    )
    assert dropped.status_code == 200
    assert "order" not in dropped.json()["attributeMerge"]
    found = d.post(f"{POLICIES}/bulk-get", ids=[{"id": d.by_time}, {"id": d.unstitched}, {"id": "nosuch"}])
    assert found.status_code == 207
    assert set(found.json()["results"]) == {d.by_time, d.unstitched}
    assert d.client.http.delete(f"{POLICIES}/{fifth.json()['id']}").status_code == 200


def test_40_headers(d: Fixture) -> None:
    asked = {"schema.name": PROFILE, "entityId": "4217", "entityIdNS": "CRMID"}

    def without(name: str) -> httpx.Response:
        headers = {key: value for key, value in d.client.headers.items() if key != name}
        return httpx.get(d.client.configuration["base_url"] + ENTITIES, params=asked, headers=headers, trust_env=False)

    assert without("Authorization").json() == {"error_code": "403010", "message": "Oauth token is missing."}
    assert without("x-api-key").json() == {"error_code": "403000", "message": "Api Key is required"}
    assert without("x-gw-ims-org-id").json() == {"error_code": "400003", "message": "Missing header"}
    bare = d.client.http.post(ENTITIES, content=b"{}", headers={"Content-Type": ""})
    assert (bare.status_code, bare.json()["detail"]) == (400, "A valid content-type must be specified")
    assert d.client.http.post(ENTITIES, content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    xed = d.client.http.get(ENTITIES, params=asked, headers={"Accept": "application/vnd.adobe.xdm+json"})
    assert xed.status_code == 200
    assert xed.headers["content-type"].startswith("application/json")


def test_24_deleting_a_person(d: Fixture) -> None:
    asked = {"schema.name": PROFILE, "entityId": "dalia@ex.org", "entityIdNS": "Email"}
    accepted = d.client.http.delete(ENTITIES, params={**asked, "mergePolicyId": d.unstitched})
    assert (accepted.status_code, accepted.content) == (202, b"")
    assert "tier" not in d.profile("CRMID", "4217")["entity"]
    assert d.client.http.delete(ENTITIES, params=asked).status_code == 202
    assert d.entity("CRMID", "4217").status_code == 404
    assert d.client.events("ECID", ECID).status_code == 404
    deadline = time.monotonic() + 60
    while d.client.http.delete(ENTITIES, params=asked).status_code != 404:
        # A deletion under way is taken up again; after its job it is as if nobody had been there.
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert d.client.ingest(d.crm, [crm_row()])["status"] == "success"
    assert d.profile("CRMID", "4217")["entity"]["city"] == "Ghent"
