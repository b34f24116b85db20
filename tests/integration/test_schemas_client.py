"""Adobe's own client of the registry, unchanged, against the function (the requests it makes go to the handler)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aepp
import pytest
import requests
from aepp import schema as aepp_schema
from aepp.fieldgroupmanager import FieldGroupManager
from aepp.schemamanager import SchemaManager
from requests.adapters import HTTPAdapter

from api import schemas
from tests.integration.conftest import CLIENT_ID, ORG, Caller, proxy_event
from tests.integration.test_schemas_api import EVENT, OWN, PROFILE, group_of

TEXT = {"type": "string", "title": "Text"}


@pytest.fixture
def client(call: Caller, monkeypatch: pytest.MonkeyPatch) -> Iterator[aepp_schema.Schema]:
    """The client, signed in."""

    def send(_adapter: HTTPAdapter, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        url = urlsplit(str(request.url))
        body = request.body.encode() if isinstance(request.body, str) else None
        query = parse_qs(url.query, keep_blank_values=True)
        event = proxy_event(
            str(request.method),
            url.path,
            query=query,
            body=body,
            headers={k: str(v) for k, v in request.headers.items()},
        )
        proxy = schemas.handler(event, None)
        answer = requests.Response()
        answer.status_code = proxy["statusCode"]
        answer.headers.update(proxy["headers"])
        answer._content = proxy["body"].encode()
        answer.request, answer.url = request, str(request.url)
        return answer

    monkeypatch.setattr(HTTPAdapter, "send", send)
    monkeypatch.setitem(aepp.config.endpoints, "global", "https://api.example.com")
    config = {
        "org_id": ORG,
        "client_id": CLIENT_ID,
        "token": call.issuer.token(),
        "date_limit": time.time() + 3000,
        "sandbox": "dev",
        "environment": "prod",
        "scopes": "x",
        "connectionType": "oauthV2",
    }
    header = {**call.headers(), "Content-Type": "application/json", "Accept": "application/json"}
    yield aepp_schema.Schema(config=config, header=header)


def test_from_a_field_group_to_a_union(client: aepp_schema.Schema) -> None:
    assert client.getTenantId() == "tessera"
    assert {PROFILE, EVENT} <= {one["$id"] for one in client.getClassesGlobal(format="xed")}
    assert client.getClasses() == []
    group = client.createFieldGroup(group_of("Loyalty", email=TEXT, level=TEXT))
    made = client.createProfileSchema("Members", [group["$id"]], description="Who has a card")
    assert [one["title"] for one in client.getSchemas()] == ["Members"]
    assert client.data.schemas_altId == {"Members": made["meta:altId"]}
    assert [one["title"] for one in client.getFieldGroups(format="xed")] == ["Loyalty"]
    full = client.getSchema(made["$id"], full=True, desc=True)
    assert set(full["properties"][OWN]["properties"]) == {"email", "level"}
    assert f"{OWN}.email" in client.getSchemaPaths(made["$id"])
    operation = client.createDescriptorOperation(
        made["$id"], "xdm:descriptorIdentity", f"{OWN}.email", identityNSCode="Email", identityPrimary=True
    )
    descriptor = client.createDescriptor(operation)
    assert client.getDescriptors(type_desc="xdm:descriptorIdentity") == [descriptor]
    assert client.getDescriptor(descriptor["@id"]) == descriptor
    short = client.createDescriptor(
        sourceSchema=made["$id"], sourceProperty=f"/{OWN}/level", namespace="crmid", primary=False
    )
    assert client.deleteDescriptor(short["@id"]) == 204
    assert client.enableSchemaForRealTime(made["$id"])["meta:immutableTags"] == ["union"]
    (union,) = client.getUnions()
    assert OWN in client.getUnion(union["$id"])["properties"]
    assert [one["title"] for one in client.getXDMprofileSchema()["results"]] == ["Members"]


def test_changes(client: aepp_schema.Schema) -> None:
    group = client.createFieldGroup(group_of("Loyalty", email=TEXT))
    made = client.createExperienceEventSchema("Visits", [])
    added = client.addFieldGroupToSchema(made["$id"], [group["$id"]])
    assert (added["version"], len(added["allOf"])) == ("1.1", 2)
    renamed = client.patchSchema(made["$id"], [{"op": "replace", "path": "/title", "value": "Views"}])
    assert renamed["title"] == "Views"
    assert client.extendFieldGroup(group["$id"])["meta:intendedToExtend"] == [PROFILE, EVENT]
    other = client.createClass(title="Thing", class_template="https://ns.adobe.com/xdm/data/record")
    assert client.getClass(other["$id"])["title"] == "Thing"
    assert client.deleteClass(other["$id"]) == 204
    assert client.deleteSchema(made["$id"]) == 204
    assert client.getSchema(made["$id"])["status"] == 404


def test_managers(client: aepp_schema.Schema) -> None:
    groups = FieldGroupManager(schemaAPI=client, title="Cards", fg_class=["profile"])
    groups.addField(OWN, dataType="object", objectComponents={"number": "string"})
    group = groups.createFieldGroup()
    assert group["meta:altId"].startswith("_tessera.mixins.")
    manager = SchemaManager(title="People", schemaAPI=client, schemaClass=PROFILE)
    manager.addFieldGroup(group["$id"])
    made = manager.createSchema()
    assert made["meta:class"] == PROFILE
    again = SchemaManager(made["$id"], schemaAPI=client)
    assert "number" in str(again.to_dict())
