"""Adobe's own client of the registry, unchanged, against the function."""

from __future__ import annotations

import pytest
from aepp import schema as aepp_schema
from aepp.fieldgroupmanager import FieldGroupManager
from aepp.schemamanager import SchemaManager

from api import schemas
from tests.integration.adobe import signed_in
from tests.integration.conftest import Caller
from tests.integration.test_schemas_api import EVENT, OWN, PROFILE, group_of

TEXT = {"type": "string", "title": "Text"}


@pytest.fixture
def client(call: Caller, monkeypatch: pytest.MonkeyPatch) -> aepp_schema.Schema:
    """The client, signed in."""
    return aepp_schema.Schema(**signed_in(call, monkeypatch, schemas.handler))


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
