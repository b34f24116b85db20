"""Look-ups of profiles and events through the function (contract: profile-api §2, scenarios of §13)."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest

from api import entities, identities
from tessera.domain.configuration import DatasetKind, DatasetSettings
from tessera.domain.identity import Identity
from tessera.domain.merge_policy import AttributeMerge, GraphType, MergePolicy
from tessera.domain.place import batch_place
from tessera.domain.rows import PlacedRow, accept
from tessera.domain.tenant import Tenant
from tessera.services.profile_writer import ProfileWriter
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.profile_table import ProfileTable
from tests.integration.conftest import ORG, Answer, Caller
from tests.integration.rounds import rounds

PATH = "/data/core/ups/access/entities"
PROFILE, EVENTS = "_xdm.context.profile", "_xdm.context.experienceevent"
DEV = Tenant(ORG, "dev")
ECID = "4" * 38
CRM, LOYALTY, WEB = "crm", "loyalty", "web"
DATASETS = [
    DatasetSettings(CRM, DatasetKind.RECORD, profile_enabled=True, identity_enabled=True),
    DatasetSettings(LOYALTY, DatasetKind.RECORD, profile_enabled=True, identity_enabled=True),
    DatasetSettings(WEB, DatasetKind.EVENT, profile_enabled=True, identity_enabled=True),
]
NONE = MergePolicy("none", "none", graph=GraphType.NONE)
LOYALTY_ONLY = MergePolicy(
    "loyalty-only", "", graph=GraphType.NONE, attribute_merge=AttributeMerge.DATASET_PRECEDENCE, order=(LOYALTY,)
)
OF_ACCOUNTS = MergePolicy("accounts", "", schema_class="_xdm.context.account")


class Store:
    """Writes rows as ingestion does; each at a place after the one before."""

    def __init__(self) -> None:
        self.configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())
        table = ProfileTable(aws.dynamodb(), aws.profile_table())
        self._writer = ProfileWriter(self.configurations, table, ThreadPoolExecutor(1))
        self._count = 0

    def put(self, dataset: str, body: dict[str, Any]) -> None:
        kind = next(item.kind for item in DATASETS if item.id == dataset)
        self._count += 1
        place = batch_place(1_772_614_000_000 + self._count * 1000, f"01J{self._count:023d}", 0, 0)
        self._writer.apply(DEV, dataset, [PlacedRow(place, accept(body, kind, 100))])


@pytest.fixture
def store(call: Caller) -> Store:
    store = Store()

    def prepare(now: Any) -> Any:
        for dataset in DATASETS:
            now = now.with_dataset(dataset)
        for policy in (NONE, LOYALTY_ONLY, OF_ACCOUNTS):
            now = now.with_policy(policy)
        return now.with_namespaces(["CRMID"])

    store.configurations.change(DEV, prepare)
    return store


@pytest.fixture
def dalia(store: Store) -> Store:
    """Person D of the contract's fixture: a CRM record, a loyalty record, five web events."""
    identity_map = {"CRMID": [{"id": "4217", "primary": True}], "Email": [{"id": "Dalia@ex.org"}]}
    store.put(CRM, {"identityMap": identity_map, "person": {"name": {"firstName": "Dalia"}}, "city": "Ghent"})
    store.put(
        LOYALTY,
        {"identityMap": {"Email": [{"id": "dalia@ex.org"}]}, "person": {"name": {"firstName": "Dali"}}, "tier": "gold"},
    )
    for number in range(1, 6):
        identity_map = {"ECID": [{"id": ECID, "primary": True}]}
        if number == 3:
            identity_map["CRMID"] = [{"id": "4217"}]
        timestamp = f"2026-03-04T08:0{number}:00Z"
        store.put(WEB, {"_id": f"e{number}", "timestamp": timestamp, "identityMap": identity_map, "n": number})
    return store


def profile(call: Caller, **query: str) -> Answer:
    return call(entities.handler, "GET", PATH, query={"schema.name": PROFILE, **query})


def events(call: Caller, **query: str) -> Answer:
    given = {"schema.name": EVENTS, "relatedSchema.name": PROFILE, **query}
    return call(entities.handler, "GET", PATH, query=given)


def xid(namespace: str, value: str) -> str:
    return Identity.of(namespace, value).xid(DEV)


def only(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.text
    ((key, value),) = answer.json().items()
    assert value["entityId"] == key
    return dict(value)


def ids(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.text
    return [child["entityId"] for child in answer.json()["children"]]


def follow(call: Caller, answer: Answer, *without: str) -> Answer:
    href = answer.json()["_links"]["next"]["href"]
    query = {key: value for key, value in parse_qsl(urlsplit(href).query) if key not in without}
    return call(entities.handler, "GET", PATH, query=query)


def test_a_person_is_merged_from_all_identities_newest_first(call: Caller, dalia: Store) -> None:
    found = only(profile(call, entityId="4217", entityIdNS="crmid"))
    assert found["entityId"] == xid("CRMID", "4217")
    assert found["entity"]["person"] == {"name": {"firstName": "Dali"}}
    assert (found["entity"]["city"], found["entity"]["tier"]) == ("Ghent", "gold")
    assert found["entity"]["identityMap"] == {
        "crmid": [{"id": "4217"}],
        "email": [{"id": "dalia@ex.org"}],
        "ecid": [{"id": ECID}],
    }
    assert found["sources"] == [LOYALTY, CRM]
    assert len(found["tags"]) == 2
    assert found["mergePolicy"]["id"].endswith("dev")
    assert found["lastModifiedAt"] == "2026-03-04T08:46:42Z"
    assert set(found["identityGraph"]) == {xid("crmid", "4217"), xid("email", "dalia@ex.org"), xid("ecid", ECID)}


def test_every_identity_gives_the_same_entity_under_its_own_key(call: Caller, dalia: Store) -> None:
    by_crm = only(profile(call, entityId="4217", entityIdNS="CRMID"))
    for namespace, value in (("Email", "DALIA@ex.org"), ("ecid", ECID)):
        found = only(profile(call, entityId=value, entityIdNS=namespace))
        assert found["entityId"] == xid(namespace, value) != by_crm["entityId"]
        assert found["entity"] == by_crm["entity"]
        assert set(found["identityGraph"]) == set(by_crm["identityGraph"])
    assert only(profile(call, entityId=xid("email", "dalia@ex.org")))["entity"] == by_crm["entity"]


def test_a_look_up_takes_one_round_trip_or_two(call: Caller, dalia: Store) -> None:
    """Law 8: the configuration and the identity, then the other members of its graph; a page of events is one more."""
    dalia.put(CRM, {"identityMap": {"CRMID": [{"id": "alone"}]}})
    only(profile(call, entityId="alone", entityIdNS="crmid"))
    with rounds(2):
        only(profile(call, entityId="alone", entityIdNS="crmid"))
    with rounds(2, 2):
        only(profile(call, entityId="4217", entityIdNS="crmid"))
    with rounds(2):
        only(profile(call, entityId="4217", entityIdNS="crmid", mergePolicyId="none"))
    with rounds(2, 2, 1):
        assert len(ids(events(call, entityId="4217", entityIdNS="crmid"))) == 5


def test_a_link_of_a_deleted_dataset_makes_nobody_known(call: Caller, dalia: Store) -> None:
    """Law 7: not even where another link of theirs, taken away by hand, was said by a dataset that is still there."""
    shared = {"Email": [{"id": "shared@ex.org"}]}
    dalia.put(CRM, {"identityMap": {"CRMID": [{"id": "one", "primary": True}], **shared}})
    dalia.put(LOYALTY, {"identityMap": {"CRMID": [{"id": "two", "primary": True}], **shared}})
    only(profile(call, entityId="shared@ex.org", entityIdNS="email"))
    removed = {"entityId": "shared@ex.org", "entityIdNS": "email", "linkedEntityId": "two", "linkedEntityIdNS": "crmid"}
    assert call(identities.handler, "DELETE", "/data/core/identity/links", query=removed).status == 200
    assert only(profile(call, entityId="shared@ex.org", entityIdNS="email"))["sources"] == [CRM]
    dalia.configurations.change(DEV, lambda now: now.without_dataset(CRM))
    assert profile(call, entityId="shared@ex.org", entityIdNS="email").status == 404
    assert profile(call, entityId="one", entityIdNS="crmid").status == 404
    assert only(profile(call, entityId="two", entityIdNS="crmid"))["sources"] == [LOYALTY]


def test_without_stitching_only_the_identity_itself_is_read(call: Caller, dalia: Store) -> None:
    found = only(profile(call, entityId="4217", entityIdNS="crmid", mergePolicyId="none"))
    assert found["entity"]["person"]["name"]["firstName"] == "Dalia"
    assert "tier" not in found["entity"]
    assert found["identityGraph"] == [xid("crmid", "4217")]
    assert profile(call, entityId="4217", entityIdNS="crmid", mergePolicyId="loyalty-only").status == 404
    assert profile(call, entityId="dalia@ex.org", entityIdNS="email", mergePolicyId="loyalty-only").status == 200


def test_fields_select_subtrees_and_nothing_else(call: Caller, dalia: Store) -> None:
    found = only(profile(call, entityId="4217", entityIdNS="crmid", fields="person.name,nosuch.path"))
    assert found["entity"] == {"person": {"name": {"firstName": "Dali"}}}
    assert found["sources"]
    found = only(profile(call, entityId="4217", entityIdNS="crmid", fields="identities"))
    identities = found["entity"]["identities"]
    assert {"id": "4217", "namespace": {"code": "crmid"}, "primary": True} in identities
    assert len(identities) == 3
    assert sum("primary" in identity for identity in identities) == 1


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ({"entityId": "4217"}, 422, "UPS-MRG-1000001:Identities cannot be retrieved for XID"),
        ({"entityId": "A" * 28}, 422, "UPS-MRG-1000001"),
        ({"entityIdNS": "email"}, 400, "cannot be empty"),
        ({}, 400, "entityId is required"),
        ({"entityId": "x", "entityIdNS": "nosuch"}, 400, "nosuch"),
        ({"entityId": "x", "entityIdNS": "a b"}, 400, "namespace"),
        ({"entityId": "nobody@ex.org", "entityIdNS": "email"}, 404, "Entity not found"),
        ({"entityId": "4217", "entityIdNS": "crmid", "mergePolicyId": "nosuch"}, 404, "Merge policy not found"),
        ({"entityId": "4217", "entityIdNS": "crmid", "mergePolicyId": "accounts"}, 400, "_xdm.context.account"),
        ({"entityId": "4217", "entityIdNS": "crmid", "schema.name": "_xdm.context.nosuch"}, 400, "schema.name"),
        ({"entityId": "4217", "entityIdNS": "crmid", "schema.name": ""}, 400, "schema.name"),
        ({"entityId": "4217", "entityIdNS": "crmid", "property": "a=1"}, 400, "property"),
    ],
)
def test_what_cannot_be_looked_up(call: Caller, dalia: Store, query: dict[str, str], status: int, says: str) -> None:
    answer = profile(call, **query)
    assert answer.status == status, answer.text
    body = answer.json()
    assert body["status"] == status
    assert body["statusCode"] == str(status)
    assert says in body["message"]


def test_of_repeated_parameters_the_first_counts(call: Caller, dalia: Store) -> None:
    twice = {"schema.name": [PROFILE, EVENTS], "entityId": ["4217", "nobody"], "entityIdNS": ["crmid", "nosuch"]}
    found = call(entities.handler, "GET", PATH, query=twice | {"mergePolicyId": ["none", "nosuch"]})
    assert found.json() == profile(call, entityId="4217", entityIdNS="crmid", mergePolicyId="none").json()


def test_a_policy_of_another_sandbox_is_not_found(call: Caller, dalia: Store) -> None:
    assert (
        profile(call, entityId="4217", entityIdNS="crmid", mergePolicyId=f"00000000-0000-4000-8000-{'dev':0>12}").status
        == 200
    )
    answer = profile(call, entityId="4217", entityIdNS="crmid", mergePolicyId=f"00000000-0000-4000-8000-{'prod':0>12}")
    assert (answer.status, answer.json()["title"]) == (404, "Merge policy not found")


def test_an_xid_of_another_sandbox_is_not_found(call: Caller, dalia: Store) -> None:
    answer = profile(call, entityId=Identity.of("crmid", "4217").xid(Tenant(ORG, "prod")))
    assert answer.status == 404
    in_prod = call(
        entities.handler,
        "GET",
        PATH,
        query={"schema.name": PROFILE, "entityId": "dalia@ex.org", "entityIdNS": "email"},
        headers={"x-sandbox-name": "prod"},
    )
    assert in_prod.status == 404


def test_without_a_default_policy_one_must_be_named(call: Caller, dalia: Store) -> None:
    def drop_default(now: Any) -> Any:
        return now.with_policy(MergePolicy(id=now.default_policy(PROFILE).id, name="was default"))

    dalia.configurations.change(DEV, drop_default)
    assert profile(call, entityId="4217", entityIdNS="crmid").status == 422
    assert profile(call, entityId="4217", entityIdNS="crmid", mergePolicyId="none").status == 200


def test_a_person_of_events_only_is_a_profile(call: Caller, store: Store) -> None:
    identity_map = {"ECID": [{"id": "7" * 38}]}
    store.put(WEB, {"_id": "e1", "timestamp": "2026-03-04T08:00:00Z", "identityMap": identity_map})
    found = only(profile(call, entityId="7" * 38, entityIdNS="ECID"))
    assert found["entity"] == {"identityMap": {"ecid": [{"id": "7" * 38}]}}
    assert found["sources"] == []


def test_events_of_all_identities_in_order(call: Caller, dalia: Store) -> None:
    answer = events(call, relatedEntityId="dalia@ex.org", relatedEntityIdNS="email")
    assert ids(answer) == ["e1", "e2", "e3", "e4", "e5"]
    body = answer.json()
    assert body["_page"] == {"orderby": "timestamp", "start": "e1", "count": 5, "next": ""}
    assert body["_links"] == {"next": {"href": ""}}
    first = body["children"][0]
    assert first["relatedEntityId"] == xid("email", "dalia@ex.org")
    assert first["timestamp"] == 1772611260000
    assert first["entity"]["timestamp"] == "2026-03-04T08:01:00Z"
    assert first["entity"]["identityMap"] == {"ECID": [{"id": ECID, "primary": True}]}
    assert first["lastModifiedAt"] == "2026-03-04T08:46:43Z"


def test_the_client_s_way_to_ask_for_events(call: Caller, dalia: Store) -> None:
    answer = events(
        call,
        entityId="4217",
        entityIdNS="crmid",
        relatedEntityId="4217",
        relatedEntityIdNS="crmid",
        limit="1000",
        offsets="",
    )
    assert len(ids(answer)) == 5
    assert len(ids(events(call, entityId="4217", entityIdNs="crmid"))) == 5


def test_events_without_stitching(call: Caller, dalia: Store) -> None:
    answer = events(call, relatedEntityId="dalia@ex.org", relatedEntityIdNS="email", mergePolicyId="none")
    assert ids(answer) == []
    assert answer.json()["_page"] == {"orderby": "timestamp", "start": "", "count": 0, "next": ""}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"startTime": "1772611320000", "endTime": "1772611440000"}, ["e2", "e3"]),
        ({"startTime": "1772611440000", "endTime": "1772611320000"}, []),
        ({"startTime": "1772611500000"}, ["e5"]),
        ({"endTime": "1772611260000"}, []),
        ({"orderby": "-timestamp"}, ["e5", "e4", "e3", "e2", "e1"]),
        ({"orderBy": " timestamp"}, ["e1", "e2", "e3", "e4", "e5"]),
        ({"orderby": "+timestamp", "startTime": "1772611380000"}, ["e3", "e4", "e5"]),
        ({"orderby": "-timestamp", "limit": "1", "endTime": "1772611380000"}, ["e2"]),
    ],
)
def test_time_ranges_and_orders(call: Caller, dalia: Store, query: dict[str, str], found: list[str]) -> None:
    assert ids(events(call, relatedEntityId="4217", relatedEntityIdNS="crmid", **query)) == found


@pytest.mark.parametrize("dropped", ["start", "offsets"])
@pytest.mark.parametrize(
    ("orderby", "pages"), [("timestamp", ["e1e2", "e3e4", "e5"]), ("-timestamp", ["e5e4", "e3e2", "e1"])]
)
def test_pages_follow_by_either_cursor(
    call: Caller, dalia: Store, dropped: str, orderby: str, pages: list[str]
) -> None:
    answer = events(call, relatedEntityId="4217", relatedEntityIdNS="crmid", limit="2", orderby=orderby)
    for number, expected in enumerate(pages):
        assert "".join(ids(answer)) == expected
        page = answer.json()["_page"]
        assert page["start"] == expected[:2]
        if number < len(pages) - 1:
            assert page["next"] == pages[number + 1][:2]
            assert f"start={page['next']}" in answer.json()["_links"]["next"]["href"]
            answer = follow(call, answer, dropped)
    assert page["next"] == ""


def test_fields_of_events(call: Caller, dalia: Store) -> None:
    answer = events(call, relatedEntityId="4217", relatedEntityIdNS="crmid", fields="n", limit="1")
    assert answer.json()["children"][0]["entity"] == {"n": 1}
    assert follow(call, answer).json()["children"][0]["entity"] == {"n": 2}


def garbage(value: object) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"relatedSchema.name": ""}, 400),
        ({"relatedSchema.name": "_xdm.context.account"}, 400),
        ({"limit": "0"}, 400),
        ({"limit": "-1"}, 400),
        ({"limit": "many"}, 400),
        ({"limit": "5000"}, 200),
        ({"orderby": "price"}, 400),
        ({"startTime": "yesterday"}, 400),
        ({"startTime": "99999999999999999"}, 400),
        ({"offsets": "!!!"}, 400),
        ({"offsets": "bm90IGpzb24"}, 400),
        ({"offsets": garbage(["zzz", None])}, 400),
        ({"offsets": garbage({"a": 1})}, 400),
        ({"offsets": garbage([None, None])}, 400),
        ({"start": "nosuch"}, 400),
        ({"relatedEntityId": "nobody"}, 404),
    ],
)
def test_odd_requests_for_events(call: Caller, dalia: Store, query: dict[str, str], status: int) -> None:
    answer = events(call, **{"relatedEntityId": "4217", "relatedEntityIdNS": "crmid", **query})
    assert answer.status == status, answer.text
    assert isinstance(answer.json(), dict)


def test_a_page_stays_right_when_the_event_of_its_cursor_is_gone(call: Caller, dalia: Store) -> None:
    answer = events(call, relatedEntityId="4217", relatedEntityIdNS="crmid", limit="2")
    table = ProfileTable(aws.dynamodb(), aws.profile_table())
    third = table.events(DEV, Identity("ecid", ECID).xid(DEV), "", "~", forward=True, limit=9).events[2]
    aws.dynamodb().delete_item(
        TableName=aws.profile_table(),
        Key={"pk": {"S": f"{DEV.key}#{third.xid}"}, "sk": {"S": f"E#{third.key}"}},
    )
    assert ids(follow(call, answer)) == ["e4", "e5"]


@pytest.mark.parametrize("large", ["x" * 400_000, ["a"] * 100_000], ids=["text", "quotes"])
def test_a_large_page_is_cut_short_and_goes_on(call: Caller, store: Store, large: object) -> None:
    """Events that unpack to more than an answer can carry come in several pages, each of them once.

    An answer travels as a string within JSON, where each quote takes two bytes.
    """
    identity_map = {"ECID": [{"id": ECID}]}
    for number in range(30):
        row = {"_id": f"e{number:02d}", "timestamp": f"2026-03-04T08:{number:02d}:00Z", "identityMap": identity_map}
        store.put(WEB, {**row, "large": large})
    seen: list[str] = []
    answer = events(call, relatedEntityId=ECID, relatedEntityIdNS="ecid")
    while True:
        seen += ids(answer)
        assert len(answer.text) < 5_500_000
        if not answer.json()["_links"]["next"]["href"]:
            break
        answer = follow(call, answer)
    assert seen == [f"e{number:02d}" for number in range(30)]
