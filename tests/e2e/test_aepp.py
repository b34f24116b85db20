"""Adobe's own client, unchanged, against the deployed service (contract: profile-api §12)."""

from __future__ import annotations

from typing import Any

import pytest
from aepp.customerprofile import Profile

from ops.client import EVENTS, PROFILE, Client
from tests.e2e.conftest import adobe_client


@pytest.fixture(scope="module")
def profiles(client: Client, configuration: dict[str, str]) -> Profile:
    """The published client, pointed at the service as its documentation of endpoints allows."""
    return adobe_client(configuration)


@pytest.fixture(scope="module")
def person(client: Client) -> str:
    """A person with a record and seven events."""
    records = client.create_dataset("aepp records", "profile", "unifiedProfile", "unifiedIdentity")
    events = client.create_dataset("aepp events", "experienceevent", "unifiedProfile", "unifiedIdentity")
    identity_map = {"Email": [{"id": "Dalia@ex.org", "primary": True}]}
    record = {"identityMap": identity_map, "person": {"name": {"firstName": "Dalia"}}}
    assert client.ingest(records, [record])["status"] == "success"
    rows = [
        {"_id": f"ev-{day}", "timestamp": f"2026-03-0{day}T08:00:00Z", "identityMap": identity_map, "eventType": "view"}
        for day in range(1, 8)
    ]
    assert client.ingest(events, rows)["status"] == "success"
    return "dalia@ex.org"


def test_get_entity(profiles: Profile, person: str) -> None:
    answer: dict[str, Any] = profiles.getEntity(schema_name=PROFILE, entityId=person, entityIdNS="email")
    (profile,) = answer.values()
    assert profile["entity"]["person"]["name"]["firstName"] == "Dalia"
    assert profile["entity"]["identityMap"] == {"email": [{"id": "dalia@ex.org"}]}


def test_get_entity_of_an_unknown_person(profiles: Profile, person: str) -> None:
    answer = profiles.getEntity(schema_name=PROFILE, entityId="nobody@ex.org", entityIdNS="email")
    assert answer["status"] == 404
    assert answer["title"] == "Entity not found"


def test_get_entity_events_pages(profiles: Profile, person: str) -> None:
    events = profiles.getEntityEvents(entityId=person, entityIdNS="email", limit=3, n_events=100)
    assert [event["entityId"] for event in events] == [f"ev-{day}" for day in range(1, 8)]


def test_get_entity_with_the_class_of_events(profiles: Profile, person: str) -> None:
    events = profiles.getEntity(schema_name=EVENTS, entityId=person, entityIdNS="email", limit=2)
    assert [event["entityId"] for event in events] == [f"ev-{day}" for day in range(1, 8)]


def test_get_entities(profiles: Profile, person: str) -> None:
    asked = [
        {"entityId": person, "entityIdNS": {"code": "Email"}},
        {"entityId": "no@body.org", "entityIdNS": {"code": "Email"}},
    ]
    answer = profiles.getEntities({"schema": {"name": PROFILE}, "fields": ["person.name"], "identities": asked})
    known, unknown = answer.values()
    assert known["entity"] == {"person": {"name": {"firstName": "Dalia"}}}
    assert (unknown["sources"], unknown["entity"]) == ([""], {})


def test_merge_policies_are_listed(profiles: Profile) -> None:
    policies = profiles.getMergePolicies(limit=1)
    assert [policy["name"] for policy in policies if policy["default"]] == ["Default Timebased"]


def test_delete_entity(profiles: Profile, person: str) -> None:
    assert profiles.deleteEntity(PROFILE, person, "email") == 202
    assert profiles.getEntity(schema_name=PROFILE, entityId=person, entityIdNS="email")["status"] == 404
