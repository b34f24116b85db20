"""Look-ups of several persons, filters and explanations through the function (contract: profile-api §2.5 to §2.9)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from api import entities
from tessera.domain.identity import Identity
from tessera.services import timeline
from tessera.storage import aws
from tests.integration.conftest import Answer, Caller
from tests.integration.rounds import rounds
from tests.integration.test_entities import (
    DEV,
    ECID,
    EVENTS,
    PATH,
    PROFILE,
    Store,
    dalia,
    events,
    follow,
    ids,
    only,
    profile,
    store,
    xid,
)

__all__ = ["dalia", "store"]


def post(call: Caller, **body: Any) -> Answer:
    return call(entities.handler, "POST", PATH, body=body)


def profiles(call: Caller, *identities: dict[str, Any], **more: Any) -> Answer:
    return post(call, schema={"name": PROFILE}, identities=list(identities), **more)


def named(namespace: str, value: str) -> dict[str, Any]:
    return {"entityId": value, "entityIdNS": {"code": namespace}}


def test_several_identities_at_once(call: Caller, dalia: Store) -> None:
    answer = profiles(call, named("Email", "dalia@ex.org"), {"entityId": xid("ecid", ECID)}, named("ECID", "9" * 38))
    assert answer.status == 200
    body = answer.json()
    known, same, unknown = xid("email", "dalia@ex.org"), xid("ecid", ECID), xid("ecid", "9" * 38)
    assert list(body) == [known, same, unknown]
    assert body[known]["entity"] == body[same]["entity"]
    assert body[known]["requestedIdentity"] == named("Email", "dalia@ex.org")
    assert body[same]["requestedIdentity"] == {"entityId": same}
    assert body[unknown] == {
        "entityId": unknown,
        "sources": [""],
        "entity": {},
        "lastModifiedAt": "1970-01-01T00:00:00Z",
        "requestedIdentity": named("ECID", "9" * 38),
    }
    single = only(profile(call, entityId="dalia@ex.org", entityIdNS="email"))
    assert {key: value for key, value in body[known].items() if key != "requestedIdentity"} == single


@pytest.mark.parametrize("fields", [None, ["person", "identities"]])
def test_each_identity_of_a_person_is_answered_as_if_asked_for_alone(
    call: Caller, dalia: Store, fields: list[str] | None
) -> None:
    asked = [named("Email", "dalia@ex.org"), named("ECID", "9" * 38), named("CRMID", "4217"), named("ECID", ECID)]
    together = profiles(call, *asked, **({} if fields is None else {"fields": fields})).json()
    assert list(together) == [xid(one["entityIdNS"]["code"].lower(), one["entityId"]) for one in asked]
    query = {} if fields is None else {"fields": ",".join(fields)}
    for one in (asked[0], asked[2], asked[3]):
        code = one["entityIdNS"]["code"]
        alone = only(profile(call, entityId=one["entityId"], entityIdNS=code, **query))
        assert together[xid(code.lower(), one["entityId"])] == {**alone, "requestedIdentity": one}


def test_filters_of_events_do_nothing_to_profiles(call: Caller, dalia: Store) -> None:
    answer = profiles(
        call,
        named("Email", "dalia@ex.org"),
        named("CRMID", "4217"),
        timeFilter={"startTime": 0, "endTime": 1},
        limit=1,
        orderby="-timestamp",
        withCA=True,
    )
    assert len(answer.json()) == 2
    assert all(entry["entity"] for entry in answer.json().values())


def test_fields_and_policies_of_several(call: Caller, dalia: Store) -> None:
    answer = profiles(call, named("CRMID", "4217"), fields=["person.name", "identities"], mergePolicyId="none")
    (entry,) = answer.json().values()
    assert entry["entity"] == {
        "person": {"name": {"firstName": "Dalia"}},
        "identities": [{"id": "4217", "namespace": {"code": "crmid"}, "primary": True}],
    }
    assert profiles(call, named("CRMID", "4217"), mergePolicyId="nosuch").status == 404


@pytest.mark.parametrize(
    ("identity", "status", "says"),
    [
        ({"entityId": "garbage"}, "422", "UPS-MRG-1000001"),
        (named("nosuch", "x"), "400", "nosuch"),
        (named("a b", "x"), "400", "namespace"),
    ],
)
def test_what_is_wrong_with_one_of_several_is_all_that_is_answered(
    call: Caller, dalia: Store, identity: dict[str, Any], status: str, says: str
) -> None:
    answer = profiles(call, named("CRMID", "4217"), identity)
    assert answer.status == 207
    (failure,) = answer.json()
    assert set(failure) == {"xid", "error"}
    assert failure["error"]["statusCode"] == status
    assert says in failure["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"schema": {"name": PROFILE}},
        {"schema": {"name": PROFILE}, "identities": []},
        {"schema": {"name": PROFILE}, "identities": [{}]},
        {"schema": {"name": PROFILE}, "identities": [{"entityId": "x", "entityIdNS": "Email"}]},
        {"schema": {"name": PROFILE}, "identities": [{"entityId": "x"}] * 1001},
        {"schema": {"name": PROFILE}, "identities": [named("CRMID", "1")], "fields": ["a"] * 1000},
        {"schema": {"name": "nosuch"}, "identities": [named("CRMID", "1")]},
        {"schema": PROFILE, "identities": [named("CRMID", "1")]},
        {"schema": {"name": EVENTS}, "identities": [named("CRMID", "1")]},
        {
            "schema": {"name": EVENTS},
            "relatedSchema": {"name": PROFILE},
            "identities": [named("CRMID", "1")],
            "limit": 0,
        },
    ],
)
def test_bodies_that_are_refused(call: Caller, dalia: Store, body: dict[str, Any]) -> None:
    answer = post(call, **body)
    assert answer.status == 400, answer.text


def test_malformed_json(call: Caller, dalia: Store) -> None:
    headers = {"Content-Type": "application/json"}
    answer = call(entities.handler, "POST", PATH, body=b'{"schema": {', headers=headers)
    assert answer.status == 400
    assert "UPLIB-101206-500" in answer.text


def test_a_hundred_identities_take_two_rounds_of_reads(call: Caller, store: Store) -> None:
    """Fifty persons with two identities each: every identity is read once, the configuration once."""
    for number in range(1, 51):
        identity_map = {"CRMID": [{"id": str(number), "primary": True}], "Email": [{"id": f"{number}@ex.org"}]}
        store.put("crm", {"identityMap": identity_map, "n": number})
    asked = [named("CRMID", str(number)) for number in range(1, 51)]
    asked += [named("Email", f"{number}@ex.org") for number in range(1, 51)]
    calls: list[str] = []
    client = aws.dynamodb()
    client.meta.events.register("before-call.dynamodb.*", lambda model, **_: calls.append(model.name))
    profiles(call, asked[0])
    calls.clear()
    answer = profiles(call, *asked)
    assert len(answer.json()) == 100
    assert sorted(calls) == ["GetItem"] + ["Query"] * 100
    calls.clear()
    answer = profiles(call, *asked[:50])
    assert [entry["entity"]["n"] for entry in answer.json().values()] == list(range(1, 51))
    assert sorted(calls) == ["GetItem"] + ["Query"] * 100
    # The configuration and those asked for; then the others of their graphs.
    with rounds(41, 40):
        assert len(profiles(call, *asked[:40]).json()) == 40


@pytest.mark.parametrize("large", ["x" * 2_000_000, ["a"] * 440_000], ids=["text", "quotes"])
def test_who_does_not_fit_into_the_answer_is_named(call: Caller, store: Store, large: object) -> None:
    """An answer travels as a string within JSON, where each quote takes two bytes."""
    for number in range(1, 5):
        store.put("crm", {"identityMap": {"CRMID": [{"id": str(number)}]}, "large": large})
    asked = [named("CRMID", str(number)) for number in range(1, 5)]
    answer = profiles(call, *asked)
    assert answer.status == 207, answer.text[:500]
    left_out = [failure["xid"] for failure in answer.json()]
    assert left_out == [xid("crmid", "3"), xid("crmid", "4")]
    assert all("ask for fewer" in failure["error"]["message"] for failure in answer.json())
    assert profiles(call, *asked[:2]).status == 200


def test_identities_and_events_of_many_are_read_side_by_side(call: Caller, store: Store) -> None:
    """Two rounds of reads for twenty people, whatever is asked of them: not one person after the other."""
    for number in range(20):
        identity_map = {"CRMID": [{"id": f"p{number}"}]}
        for event in range(3):
            timestamp = f"2026-03-04T08:0{event}:00Z"
            store.put("web", {"_id": f"e{number}-{event}", "timestamp": timestamp, "identityMap": identity_map})
    asked = [named("CRMID", f"p{number}") for number in range(20)]
    profiles(call, asked[0])
    # The configuration and every identity; then the events.
    with rounds(21):
        assert len(profiles(call, *asked).json()) == 20
    with rounds(21, 20):
        answer = post(call, schema={"name": EVENTS}, relatedSchema={"name": PROFILE}, identities=asked, limit=5)
    assert [page["_page"]["count"] for page in answer.json().values()] == [3] * 20


def test_one_answer_reads_so_much_of_many_and_the_others_go_on(
    call: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the last of them would take too long to read is left for their next pages, which lose nothing."""
    monkeypatch.setattr(timeline, "MAX_PAGE_BYTES", 3000)
    people = [f"p{number}" for number in range(40)]
    for person in people:
        for event in range(3):
            row = {"_id": f"{person}-{event}", "timestamp": f"2026-03-04T08:0{event}:00Z"}
            store.put("web", {**row, "identityMap": {"CRMID": [{"id": person}]}, "text": person * 10})
    for order in ("timestamp", "-timestamp"):
        body: dict[str, Any] = {
            "schema": {"name": EVENTS},
            "relatedSchema": {"name": PROFILE},
            "identities": [named("CRMID", person) for person in people],
            "orderby": order,
        }
        pages = post(call, **body).json()
        assert [xid("crmid", person) for person in people] == list(pages)
        assert 0 < sum(page["_page"]["count"] == 0 for page in pages.values()) < len(people)
        for person, first in zip(people, pages.values(), strict=True):
            seen = [child["entityId"] for child in first["children"]]
            link = first["_links"]["next"]
            while payload := link.get("payload"):
                (page,) = post(call, **payload).json().values()
                seen += [child["entityId"] for child in page["children"]]
                link = page["_links"]["next"]
            assert sorted(seen) == [f"{person}-{event}" for event in range(3)]
            assert seen == sorted(seen, reverse=order == "-timestamp")


def test_a_graph_too_large_fails_by_itself(call: Caller, dalia: Store) -> None:
    head = entities._table().heads(DEV, [Identity.of("crmid", "4217").xid(DEV)]).popitem()[1]
    members = tuple(Identity("crmid", f"m{number}").xid(DEV) for number in range(50))
    entities._table().replace_heads(DEV, [replace(head, members=members)], [])
    answer = profiles(call, named("CRMID", "4217"), named("Email", "dalia@ex.org"))
    assert answer.status == 207
    (failure,) = answer.json()
    assert failure["xid"] == xid("crmid", "4217")
    assert "Too many related identities. Got: 51, max: 50" in failure["error"]["message"]
    for found in (
        profile(call, entityId="4217", entityIdNS="crmid"),
        events(call, entityId="4217", entityIdNS="crmid"),
    ):
        assert found.status == 422
        assert found.json()["title"] == "Too many related identities"


def test_events_of_several_persons_page_each_by_itself(call: Caller, dalia: Store) -> None:
    identity_map = {"ECID": [{"id": "7" * 38}]}
    for number in range(1, 3):
        timestamp = f"2026-03-04T09:0{number}:00Z"
        dalia.put(
            "web", {"_id": f"f{number}", "timestamp": timestamp, "identityMap": identity_map, "web": {"n": number}}
        )
    answer = post(
        call,
        schema={"name": EVENTS},
        relatedSchema={"name": PROFILE},
        identities=[
            {"relatedEntityId": xid("email", "dalia@ex.org")},
            named("ECID", "7" * 38),
            named("ECID", "9" * 38),
        ],
        limit=2,
        fields=["n", "web"],
        timeFilter={"startTime": 1772611320000},
    )
    body = answer.json()
    one, other, nobody = body.values()
    assert [child["entityId"] for child in one["children"]] == ["e2", "e3"]
    assert one["children"][0]["entity"] == {"n": 2}
    assert one["_page"] == {"orderby": "timestamp", "start": "e2", "count": 2, "next": "e4"}
    assert [child["entityId"] for child in other["children"]] == ["f1", "f2"]
    assert other["_links"] == {"next": {"href": ""}}
    assert nobody["children"] == []
    link = one["_links"]["next"]
    assert link["href"] == "/entities"
    assert link["payload"]["identities"][0]["start"] == "e4"
    again = post(call, **link["payload"]).json()
    assert list(again) == [xid("email", "dalia@ex.org")]
    (page,) = again.values()
    assert [child["entityId"] for child in page["children"]] == ["e4", "e5"]
    assert page["_links"] == {"next": {"href": ""}}
    bare = link["payload"] | {"identities": [{"relatedEntityId": xid("email", "dalia@ex.org"), "start": "e4"}]}
    (page,) = post(call, **bare).json().values()
    assert [child["entityId"] for child in page["children"]] == ["e4", "e5"]


def test_filtered_events(call: Caller, dalia: Store) -> None:
    asked = {"relatedEntityId": "4217", "relatedEntityIdNS": "crmid"}

    def filtered(*expressions: str, **more: str) -> Answer:
        query = {"schema.name": EVENTS, "relatedSchema.name": PROFILE, **asked, "property": list(expressions), **more}
        return call(entities.handler, "GET", PATH, query=query)

    assert ids(filtered("n>=2", "n<5")) == ["e2", "e3", "e4"]
    assert ids(filtered("n!=3")) == ["e1", "e2", "e4", "e5"]
    assert ids(filtered("nosuch=1")) == []
    assert filtered("n=1", "n=1", "n=1", "n=1").status == 400
    assert filtered("nonsense").status == 400
    first = filtered("n!=3", limit="2")
    assert ids(first) == ["e1", "e2"]
    assert first.json()["_page"]["next"] == "e4"
    assert ids(follow(call, first)) == ["e4", "e5"]
    href = first.json()["_links"]["next"]["href"]
    assert "property=n%21%3D3" in href
    offsets = href.split("offsets=")[1].split("&")[0]
    assert ids(filtered("n!=3", limit="2", offsets=offsets)) == ["e4", "e5"]


def test_a_cursor_belongs_to_its_query(call: Caller, dalia: Store) -> None:
    asked = {"relatedEntityId": "4217", "relatedEntityIdNS": "crmid"}
    href = events(call, **asked, limit="2").json()["_links"]["next"]["href"]
    offsets = href.split("offsets=")[1].split("&")[0]
    assert ids(events(call, **asked, limit="1", fields="n", offsets=offsets)) == ["e3"]
    for other in (
        {**asked, "orderby": "-timestamp"},
        {**asked, "startTime": "1"},
        {"relatedEntityId": "dalia@ex.org", "relatedEntityIdNS": "email"},
        {**asked, "mergePolicyId": "none"},
        {**asked, "property": "n=1"},
    ):
        answer = events(call, **other, offsets=offsets)
        assert answer.status == 400
        assert "another query" in answer.json()["message"]
    assert events(call, **asked, offsets=offsets[:-2] + "AA").status == 400


def test_an_explanation_beside_the_same_entity(call: Caller, dalia: Store) -> None:
    plain = only(profile(call, entityId="4217", entityIdNS="crmid"))
    explained = only(profile(call, entityId="4217", entityIdNS="crmid", explain="true"))
    explanation = explained.pop("explain")
    assert explained == plain
    assert set(explanation) == {
        "person.name.firstName",
        "city",
        "tier",
        "identityMap.crmid",
        "identityMap.email",
        "identityMap.ecid",
    }
    first = explanation["person.name.firstName"]
    assert [candidate["value"] for candidate in first["candidates"]] == ["Dali", "Dalia"]
    assert first["rule"] == "timestampOrdered"
    assert first["candidates"][1]["datasetId"] == "crm"
    assert first["candidates"][1]["identity"] == {"id": "4217", "namespace": {"code": "crmid"}}
    chosen = only(profile(call, entityId="4217", entityIdNS="crmid", explain="true", fields="person,tier.deeper"))
    assert set(chosen["explain"]) == {"person.name.firstName", "tier"}
    assert profile(call, entityId="4217", entityIdNS="crmid", explain="maybe").status == 400


@pytest.mark.parametrize("schema_class", ["_xdm.context.account", "_xdm.context.opportunity"])
def test_business_classes_hold_nothing_yet(call: Caller, dalia: Store, schema_class: str) -> None:
    query = {"schema.name": schema_class, "entityId": "1", "entityIdNS": "b2b_account"}
    assert call(entities.handler, "GET", PATH, query=query).status == 404
    answer = post(call, schema={"name": schema_class}, identities=[named("b2b_account", "1")])
    (entry,) = answer.json().values()
    assert entry["entity"] == {}
    assert entry["sources"] == [""]


def test_withdrawn_classes_are_refused(call: Caller, dalia: Store) -> None:
    query = {"schema.name": "_xdm.context.campaign", "entityId": "1", "entityIdNS": "b2b_campaign"}
    assert call(entities.handler, "GET", PATH, query=query).status == 400


def test_many_fields_are_refused(call: Caller, dalia: Store) -> None:
    answer = profile(call, entityId="4217", entityIdNS="crmid", fields=",".join(f"a{n}" for n in range(1000)))
    assert answer.status == 400
