"""The registry of schemas over HTTP, and rows that are judged by its schemas (contract: data-and-pql §4.1, §4.3)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from operator import methodcaller
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api import batches, data_access, datasets, entities, schemas
from tessera.domain.computed.definition import Definition, Status
from tessera.domain.computed.rule import Function, Rule
from tessera.domain.computed.window import Unit, Window
from tessera.domain.configuration import Configuration, DatasetKind
from tessera.domain.tenant import Tenant
from tessera.gateway import JSON_PATCH
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tests.integration.conftest import CLIENT_ID, ORG, OTHER_ORG, Answer, Caller, client_document
from tests.integration.ingest_machine import asked_for, created_machine, run

BASE = "/data/foundation/schemaregistry"
PROFILE = "https://ns.adobe.com/xdm/context/profile"
EVENT = "https://ns.adobe.com/xdm/context/experienceevent"
OWN = "_tessera"
UNION: dict[str, Any] = {"meta:immutableTags": ["union"]}
TENANT = Tenant(ORG, "dev")
FULL = "application/vnd.adobe.xed-full+json; version=1"


def group_of(title: str = "Loyalty", required: list[str] | None = None, **fields: Any) -> dict[str, Any]:
    own = {"type": "object", "properties": fields, **({"required": required} if required else {})}
    return {
        "title": title,
        "type": "object",
        "meta:intendedToExtend": [PROFILE, EVENT],
        "definitions": {"customFields": {"type": "object", "properties": {OWN: own}}},
        "allOf": [{"$ref": "#/definitions/customFields", "type": "object", "meta:xdmType": "object"}],
    }


LOYALTY: dict[str, Any] = {
    "email": {"title": "E-mail", "type": "string", "format": "email"},
    "level": {"type": "string", "enum": ["gold", "silver"]},
    "points": {"type": "integer", "minimum": 0},
    "ratio": {"type": "number"},
    "since": {"type": "string", "format": "date"},
    "seen": {"type": "string", "format": "date-time"},
    "code": {"type": "string", "pattern": "^[A-Z]{2}$"},
    "tags": {"type": "array", "items": {"type": "string"}},
}


class Registry:
    """A client of the registry."""

    def __init__(self, call: Caller) -> None:
        self._call = call

    def __call__(self, method: str, path: str, body: object = None, accept: str = "", **query: Any) -> Answer:
        headers = {"Accept": accept or "application/vnd.adobe.xed+json"}
        if isinstance(body, list):
            headers["Content-Type"] = "application/json"
        return self._call(schemas.handler, method, BASE + path, body=body, query=query, headers=headers)

    def made(self, kind: str, body: object) -> dict[str, Any]:
        answer = self("POST", f"/tenant/{kind}", body)
        assert answer.status == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def group(self, title: str = "Loyalty", required: list[str] | None = None, **fields: Any) -> dict[str, Any]:
        return self.made("fieldgroups", group_of(title, required, **(fields or LOYALTY)))

    def schema(self, title: str, *parts: str, base: str = PROFILE, **more: Any) -> dict[str, Any]:
        refs = [{"$ref": one, "type": "object", "meta:xdmType": "object"} for one in (base, *parts)]
        return self.made("schemas", {"title": title, "type": "object", "allOf": refs, **more})

    def identity(self, schema: Mapping[str, Any], path: str, namespace: str = "Email", *, primary: bool = False) -> Any:
        return self("POST", "/tenant/descriptors", identity_of(schema, path, namespace, primary=primary))

    def patch(self, schema: Mapping[str, Any], op: str, path: str, value: object = None) -> Answer:
        return self("PATCH", f"/tenant/schemas/{schema['meta:altId']}", [{"op": op, "path": path, "value": value}])


def identity_of(schema: Mapping[str, Any], path: str, namespace: str, *, primary: bool = False) -> dict[str, Any]:
    return {
        "@type": "xdm:descriptorIdentity",
        "xdm:sourceSchema": schema["$id"],
        "xdm:sourceVersion": 1,
        "xdm:sourceProperty": path,
        "xdm:namespace": namespace,
        "xdm:property": "xdm:code",
        "xdm:isPrimary": primary,
    }


@pytest.fixture
def registry_(call: Caller) -> Registry:
    return Registry(call)


def configuration() -> Configuration:
    return ConfigurationStore(aws.dynamodb(), aws.registry_table()).current(TENANT)


def dataset(call: Caller, schema_id: str, **tags: list[str]) -> str:
    body: dict[str, Any] = {"name": "d", "schemaRef": {"id": schema_id}, "tags": tags}
    answer = call(datasets.handler, "POST", "/data/foundation/catalog/dataSets", body=body)
    assert answer.status == 201, answer.text
    return str(answer.json()[0].removeprefix("@/dataSets/"))


def test_a_schema_is_made_of_a_class_and_field_groups(registry_: Registry) -> None:
    group = registry_.group()
    assert re.fullmatch(r"https://ns\.adobe\.com/tessera/mixins/[0-9a-f]{48}", group["$id"])
    made = registry_.schema("Members", group["$id"], description="Who has a card")
    assert re.fullmatch(r"https://ns\.adobe\.com/tessera/schemas/[0-9a-f]{48}", made["$id"])
    assert made["meta:altId"] == f"_tessera.schemas.{made['$id'].rpartition('/')[2]}"
    assert (made["version"], made["meta:class"], made["imsOrg"]) == ("1.0", PROFILE, ORG)
    assert made["meta:extends"] == [PROFILE, group["$id"], "https://ns.adobe.com/xdm/data/record"]
    for spelled in (quote(made["$id"], safe=""), made["meta:altId"], made["meta:altId"] + "/", made["$id"]):
        assert registry_("GET", f"/tenant/schemas/{spelled}").json() == made
    full = registry_("GET", f"/tenant/schemas/{made['meta:altId']}", accept=FULL).json()
    assert "allOf" not in full
    assert (full["title"], full["$id"]) == ("Members", made["$id"])
    fields = full["properties"][OWN]["properties"]
    assert fields["points"] == {"type": "integer", "minimum": 0, "meta:xdmType": "long"}
    assert fields["email"]["title"] == "E-mail"
    assert {"_id", "identityMap", "personID", OWN} <= full["properties"].keys()
    assert configuration().schemas[made["$id"]].kind is DatasetKind.RECORD


def test_views_of_a_resource(registry_: Registry) -> None:
    group = registry_.group()
    made = registry_.schema("Members", group["$id"])
    registry_.identity(made, f"/{OWN}/email")
    path = f"/tenant/schemas/{made['meta:altId']}"

    def seen(kind: str) -> dict[str, Any]:
        return dict(registry_("GET", path, accept=f"application/vnd.adobe.{kind}+json; version=1").json())

    assert "title" not in seen("xed-notext")
    assert "title" not in seen("xdm-full-notext")["properties"][OWN]["properties"]["email"]
    assert [one["xdm:sourceProperty"] for one in seen("xdm-full-desc")["meta:descriptors"]] == [f"/{OWN}/email"]
    flat = seen("xdm-full-flat")["properties"]
    assert flat[f"{OWN}/points"]["type"] == "integer"
    assert flat[f"{OWN}/tags[*]"]["type"] == "string"
    for accept in ("", "*/*", "application/json", "application/vnd.adobe.xed+json", "nonsense"):
        assert registry_("GET", path, accept=accept).json() == made
    missing = registry_("GET", path, accept="application/vnd.adobe.xed+json; version=2")
    assert (missing.status, missing.json()["title"]) == (404, "Resource not found")


def test_lists_have_pages_filters_and_an_order(registry_: Registry) -> None:
    for title in ("b", "d", "a", "c"):
        registry_.schema(title)
    registry_.schema("event", base=EVENT, **UNION)
    brief = "application/vnd.adobe.xed-id+json"
    first = registry_("GET", "/tenant/schemas", accept=brief, orderby="title", limit="3").json()
    assert [one["title"] for one in first["results"]] == ["a", "b", "c"]
    assert set(first["results"][0]) == {"$id", "meta:altId", "version", "title"}
    following = first["_page"]["next"]
    rest = registry_("GET", "/tenant/schemas/", orderby="title", limit="3", start=following).json()
    assert [one["title"] for one in rest["results"]] == ["d", "event"]
    assert (rest["_page"]["next"], rest["_page"]["count"], rest["_links"]["next"]) == (None, 2, None)

    def titles(**query: Any) -> list[str]:
        return [one["title"] for one in registry_("GET", "/tenant/schemas", **query).json()["results"]]

    assert titles(orderby="-title", limit="2") == ["event", "d"]
    assert titles(orderby="title", start="b") == ["c", "d", "event"]
    assert titles(property="title==b") == ["b"]
    assert titles(property=["meta:immutableTags==union", f"meta:class=={EVENT}"]) == ["event"]
    assert titles(property=["meta:immutableTags==union", f"meta:class=={PROFILE}"]) == []
    assert titles(property=f"meta:extends!={PROFILE}") == ["event"]
    assert titles(property="meta:immutableTags") == ["event"]
    assert titles(property="title>=d") == ["d", "event"]
    built_in = registry_("GET", "/global/classes", accept=brief).json()["results"]
    assert {PROFILE, EVENT} <= {one["$id"] for one in built_in}
    assert registry_("GET", "/global/fieldgroups").json()["_page"]["next"] is None
    assert registry_("GET", "/global/classes/_xdm.context.profile").json()["$id"] == PROFILE
    assert registry_("GET", "/tenant/classes/_xdm.context.profile").json()["$id"] == PROFILE
    assert registry_("GET", f"/global/schemas/{first['results'][0]['meta:altId']}").status == 404


def test_stats_say_what_own_fields_are_named_by(registry_: Registry) -> None:
    registry_.schema("a", **UNION)
    stats = registry_("GET", "/stats/").json()
    assert (stats["tenantId"], stats["imsOrg"]) == ("tessera", ORG)
    assert stats["counts"] == {"schemas": 1, "classes": 0, "mixins": 0, "datatypes": 0, "unions": 1}
    assert stats["classUsage"][PROFILE][0]["title"] == "a"
    assert stats["recentlyCreatedResources"][0]["title"] == "a"


def test_classes_and_data_types_of_ones_own(registry_: Registry) -> None:
    of_records = {"title": "Property", "type": "object", "allOf": [{"$ref": "https://ns.adobe.com/xdm/data/record"}]}
    own_class = registry_.made("classes", of_records)
    room = registry_.made("datatypes", {"title": "Room", "properties": {"beds": {"meta:xdmType": "short"}}})
    group = registry_.group("Rooms", rooms={"type": "array", "items": {"$ref": room["$id"]}})
    made = registry_.schema("House", group["$id"], base=own_class["$id"])
    assert made["meta:class"] == own_class["$id"]
    full = registry_("GET", f"/tenant/schemas/{made['meta:altId']}", accept=FULL).json()
    beds = full["properties"][OWN]["properties"]["rooms"]["items"]["properties"]["beds"]
    assert beds == {"type": "integer", "meta:xdmType": "short"}
    # Rows of other classes are not part of the profiles of persons.
    assert registry_.patch(made, "add", "/meta:immutableTags", ["union"]).status == 400
    group2 = registry_.made("schemas", {**made, "title": "House 2", "allOf": [*made["allOf"], {"$ref": IDENTITY_MAP}]})
    assert registry_.patch(group2, "add", "/meta:immutableTags", ["union"]).status == 200
    settings_ = configuration().schemas[group2["$id"]]
    assert (settings_.in_union, settings_.profiled) == (True, False)


IDENTITY_MAP = "https://ns.adobe.com/xdm/context/identitymap"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "title"),
        ({"title": ""}, "title"),
        ({"title": "x"}, "allOf must refer to one class"),
        ({"title": "x", "allOf": []}, "allOf must refer to one class"),
        ({"title": "x", "allOf": [{"$ref": PROFILE}, {"$ref": EVENT}]}, "refers to 2"),
        ({"title": "x", "allOf": "y"}, "allOf"),
        ({"title": "x", "allOf": [{"$ref": PROFILE}, {"$ref": "https://ns.adobe.com/tessera/mixins/0"}]}, "no such"),
        ({"title": "x", "allOf": [{"$ref": PROFILE}, {"$ref": "http://127.0.0.1/x"}]}, "no such resource"),
        ({"title": "x", "allOf": [{"$ref": PROFILE}, 7]}, "JSON object"),
        ({"title": "x", "allOf": [{"$ref": PROFILE}, {"properties": {"a": {}}}]}, "/a: a field needs a type"),
        ({"title": "x", "allOf": [{"$ref": PROFILE}, {"properties": {"a": {"type": "text"}}}]}, "/a: a field needs"),
        ({"title": "x", "allOf": [{"$ref": PROFILE}, {"properties": {"a": {"type": "array"}}}]}, "array needs items"),
        ({"title": "x", "allOf": [{"$ref": PROFILE}, {"properties": {"a/b": {"type": "string"}}}]}, "name"),
        ({"title": "x", "allOf": [{"$ref": PROFILE}, {"properties": {"_id": {"type": "integer"}}}]}, "/_id is defined"),
        (
            {"title": "x", "allOf": [{"$ref": PROFILE}, {"properties": {"a": {"anyOf": [{"type": "string"}]}}}]},
            "anyOf is not supported",
        ),
        *(
            (
                {"title": "x", "allOf": [{"$ref": PROFILE}, {"properties": {"a": {"type": "string", **more}}}]},
                "cannot be used",
            )
            for more in (
                {"pattern": "("},
                {"pattern": "(?=a)b"},
                {"pattern": "(a)\\1"},
                {"pattern": "((a{999}){999}){999}"},
                {"pattern": 7},
                {"minLength": -1},
                {"enum": "a"},
                {"format": 7},
            )
        ),
        ({"title": "x", "type": "array", "allOf": [{"$ref": PROFILE}]}, "type must be object"),
        ({"title": "x", "allOf": [{"$ref": PROFILE}], "meta:immutableTags": "union"}, "meta:immutableTags"),
        ({"title": "x", "allOf": [{"$ref": PROFILE}], "note": "y" * 200_001}, "at most 200,000"),
        ([], "dictionary"),
        (b"{", "Line 1"),
    ],
)
def test_what_is_wrong_with_a_schema_is_said(registry_: Registry, body: object, said: str) -> None:
    answer = registry_("POST", "/tenant/schemas", body)
    assert answer.status == 400
    assert said in answer.json()["detail"]
    assert registry_("GET", "/tenant/schemas").json()["results"] == []


def test_errors_are_those_of_the_registry(registry_: Registry) -> None:
    registry_.group("Same")
    taken = registry_("POST", "/tenant/schemas", {"title": "Same", "allOf": [{"$ref": PROFILE}]})
    body = taken.json()
    assert (taken.status, body["type"]) == (400, "http://ns.adobe.com/aep/errors/XDM-1521-400")
    assert body["report"]["detailed-message"] == body["detail"]
    assert body["report"]["registryRequestId"] == body["requestId"]
    missing = registry_("GET", "/tenant/schemas/_tessera.schemas.0").json()
    assert (missing["type"], missing["status"]) == ("http://ns.adobe.com/aep/errors/XDM-1010-404", 404)
    assert registry_("POST", "/global/schemas", {"title": "x"}).status == 405
    assert registry_("GET", "/tenant/frobs").status == 404


def test_references_in_circles_and_exponential_ones_are_refused(registry_: Registry) -> None:
    one = registry_.made("datatypes", {"title": "0", "properties": {"a": {"type": "string"}}})
    itself = {"title": "0", "properties": {"a": {"$ref": one["$id"]}}}
    answer = registry_("PUT", f"/tenant/datatypes/{one['meta:altId']}", itself)
    assert (answer.status, "leads back to itself" in answer.text) == (400, True)
    for number in range(1, 40):
        before = one["$id"]
        body = {"title": str(number), "properties": {name: {"$ref": before} for name in "abc"}}
        answer = registry_("POST", "/tenant/datatypes", body)
        if answer.status == 400:
            break
        one = answer.json()
    assert "at most 10000 fields" in answer.json()["detail"] or "too large" in answer.json()["detail"]


def test_a_schema_in_use_can_only_be_added_to(call: Caller, registry_: Registry) -> None:
    group = registry_.group()
    made = registry_.schema("Members", group["$id"])
    path = f"/tenant/fieldgroups/{group['meta:altId']}"

    def changed(**fields: Any) -> Answer:
        known = {name: one for name, one in {**LOYALTY, **fields}.items() if one is not None}
        return registry_("PUT", path, group_of("Loyalty", **known))

    assert changed(points=None).status == 200
    assert changed().status == 200
    first = configuration().schemas[made["$id"]].version
    dataset(call, made["$id"])
    for refused in (
        {"points": None},
        {"points": {"type": "string"}},
        {"points": {"type": "integer", "minimum": 1}},
        {"points": {"type": "integer", "minimum": 0, "maximum": 9}},
        {"level": {"type": "string", "enum": ["gold"]}},
        {"email": {"type": "string", "format": "uri"}},
        {"code": {"type": "string", "pattern": "^[A-Z]{3}$"}},
        {"tags": {"type": "array", "items": {"type": "integer"}}},
    ):
        answer = changed(**refused)
        assert (answer.status, "can only be added to" in answer.text) == (400, True), refused
    assert configuration().schemas[made["$id"]].version == first
    added = changed(points={"type": "integer"}, level={"type": "string", "enum": ["gold", "silver", "tin"]}, new=TEXT)
    assert added.status == 200
    assert added.json()["version"] == "1.3"
    assert configuration().schemas[made["$id"]].version != first
    assert registry_("DELETE", f"/tenant/schemas/{made['meta:altId']}").status == 400
    assert registry_("DELETE", path).status == 400
    assert registry_.patch(made, "replace", "/allOf", [{"$ref": PROFILE}]).status == 400
    assert registry_.patch(made, "replace", "/allOf", [{"$ref": EVENT}]).status == 400
    assert registry_.patch(made, "replace", "/title", "Other").status == 200


TEXT = {"type": "string"}


def test_what_nothing_uses_can_be_deleted(registry_: Registry) -> None:
    group = registry_.group()
    made = registry_.schema("Members", group["$id"])
    descriptor = registry_.identity(made, f"/{OWN}/email").json()
    answer = registry_("DELETE", f"/tenant/schemas/{made['meta:altId']}")
    assert (answer.status, answer.text) == (204, "")
    assert registry_("GET", f"/tenant/schemas/{made['meta:altId']}").status == 404
    assert registry_("GET", f"/tenant/descriptors/{descriptor['@id']}").status == 404
    assert registry_("DELETE", f"/tenant/fieldgroups/{group['meta:altId']}").status == 204
    assert made["$id"] not in configuration().schemas


def test_descriptors(call: Caller, registry_: Registry) -> None:
    made = registry_.schema("Members", registry_.group()["$id"])
    answer = registry_.identity(made, f"/{OWN}/email", primary=True)
    assert answer.status == 201
    descriptor = answer.json()
    path = f"/tenant/descriptors/{descriptor['@id']}"
    assert registry_("GET", path).json() == descriptor
    other = {"@type": "xdm:alternateDisplayInfo", "xdm:sourceSchema": made["$id"], "xdm:sourceProperty": "/_id"}
    kept = registry_("POST", "/tenant/descriptors", {**other, "xdm:title": {"en_us": "Key"}}).json()
    assert kept["xdm:title"] == {"en_us": "Key"}
    by_type = registry_("GET", "/tenant/descriptors", accept="application/vnd.adobe.xdm-link+json").json()
    assert by_type["xdm:descriptorIdentity"] == [f"/tenant/descriptors/{descriptor['@id']}"]
    listed = registry_(
        "GET",
        "/tenant/descriptors/",
        accept="application/vnd.adobe.xdm-v2+json",
        property=f"@type==xdm:descriptorIdentity,xdm:sourceSchema=={made['$id']}",
    ).json()
    assert (listed["results"], listed["_page"]["next"]) == ([descriptor], None)
    replaced = registry_("PUT", path, identity_of(made, f"/{OWN}/code", "crmid", primary=True))
    assert (replaced.status, replaced.json()) == (201, {"@id": descriptor["@id"]})
    dataset(call, made["$id"])
    assert registry_("PUT", path, identity_of(made, f"/{OWN}/email", "Email", primary=True)).status == 400
    assert registry_("DELETE", path).status == 400
    second = registry_.identity(made, f"/{OWN}/email").json()
    assert registry_("DELETE", f"/tenant/descriptors/{second['@id']}").status == 204
    assert registry_("GET", f"/tenant/descriptors/{second['@id']}").status == 404


def test_descriptors_that_are_refused(registry_: Registry) -> None:
    made = registry_.schema("Members", registry_.group()["$id"])
    assert registry_.identity(made, f"/{OWN}/email", primary=True).status == 201
    good = identity_of(made, f"/{OWN}/code", "crmid")
    for wrong in (
        {"@type": "xdm:descriptorFrob"},
        {"xdm:sourceSchema": PROFILE},
        {"xdm:sourceProperty": "email"},
        {"xdm:sourceProperty": f"/{OWN}/nothing"},
        {"xdm:sourceProperty": f"/{OWN}/points"},
        {"xdm:sourceProperty": f"/{OWN}/email"},
        {"xdm:sourceProperty": 7},
        {"xdm:namespace": "no good"},
        {"xdm:namespace": 999, "xdm:property": "xdm:id"},
        {"xdm:isPrimary": True},
        {"xdm:isPrimary": "yes"},
    ):
        assert registry_("POST", "/tenant/descriptors", {**good, **wrong}).status == 400, wrong
    assert (
        registry_("POST", "/tenant/descriptors", {**good, "xdm:namespace": 6, "xdm:property": "xdm:id"}).status == 201
    )


def test_unions_have_the_fields_of_all_schemas_that_are_enabled(registry_: Registry) -> None:
    assert registry_("GET", "/tenant/unions").json()["results"] == []
    one = registry_.schema("One", registry_.group("G1", points={"type": "integer"}, name=TEXT)["$id"], **UNION)
    other = registry_.schema("Other", registry_.group("G2", level=TEXT, name=TEXT)["$id"])
    assert registry_.patch(other, "add", "/meta:immutableTags", ["union"]).json()["meta:immutableTags"] == ["union"]
    registry_.schema("Not", registry_.group("G3", secret=TEXT)["$id"])
    (listed,) = registry_("GET", "/tenant/unions", accept="application/vnd.adobe.xed-id+json").json()["results"]
    assert listed["$id"] == PROFILE + "__union"
    for path in ("/tenant/unions/", "/tenant/schemas/"):
        full = registry_("GET", path + quote(listed["$id"], safe=""), accept=FULL).json()
        assert set(full["properties"][OWN]["properties"]) == {"points", "level", "name"}
    assert "properties" not in registry_("GET", f"/tenant/unions/{listed['meta:altId']}").json()
    conflicting = registry_.schema("Conflict", registry_.group("G4", points=TEXT)["$id"])
    refused = registry_.patch(conflicting, "add", "/meta:immutableTags", ["union"])
    assert (refused.status, refused.json()["type"]) == (400, "http://ns.adobe.com/aep/errors/XDM-1413-400")
    assert registry_.patch(one, "remove", "/meta:immutableTags").status == 400


def test_the_union_of_profiles_has_the_computed_attributes(call: Caller, registry_: Registry) -> None:
    window = Window(7, Unit.DAYS)
    configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())
    kinds = {
        "spend": (Function.SUM, "number"),
        "last": (Function.MOST_RECENT, "string"),
        "draft": (Function.SUM, "number"),
    }
    for name, (function, result) in kinds.items():
        status = Status.DRAFT if name == "draft" else Status.PROCESSED
        definition = Definition(
            name, name, "Title", "", "xEvent.count()", window, function, result, False, status, 0, "", 0
        )
        call.registry.put(f"{TENANT.key}#attribute", name, definition.to_document())
        if status is Status.PROCESSED:
            publish = methodcaller("with_attribute", name, "xEvent.count()", Rule(function, window))
            configurations.change(TENANT, publish)
    (union,) = registry_("GET", "/tenant/unions", accept=FULL).json()["results"]
    fields = union["properties"][OWN]["properties"]["ComputedAttributes"]["properties"]
    assert set(fields) == {"spend", "last"}
    assert (fields["spend"]["type"], fields["last"]["properties"]["value"]["type"]) == ("number", "string")


def test_a_dataset_is_enabled_if_its_schema_is(call: Caller, registry_: Registry) -> None:
    made = registry_.schema("Members", registry_.group()["$id"])
    dataset_id = dataset(call, made["$id"], unifiedProfile=["enabled:true"], unifiedIdentity=["enabled:true"])
    assert configuration().datasets[dataset_id].profile_enabled is False
    described = call(datasets.handler, "GET", f"/data/foundation/catalog/dataSets/{dataset_id}").json()[dataset_id]
    assert described["tags"]["unifiedProfile"] == ["enabled:true"]
    assert registry_.patch(made, "add", "/meta:immutableTags", ["union"]).status == 200
    found = configuration().datasets[dataset_id]
    assert (found.profile_enabled, found.identity_enabled, found.schema) == (True, True, made["$id"])
    events = registry_.schema("Visits", base=EVENT, **UNION)
    visits = dataset(call, events["$id"])
    assert configuration().datasets[visits].kind is DatasetKind.EVENT
    account = registry_.schema("Account", base="https://ns.adobe.com/xdm/context/account")
    business = dataset(call, account["$id"], unifiedProfile=["enabled:true"])
    assert configuration().datasets[business].profile_enabled is False


def test_sandboxes_and_organisations_do_not_see_each_other(call: Caller, registry_: Registry) -> None:
    call.registry.put(f"client#{CLIENT_ID}", "client", client_document([ORG, OTHER_ORG]))
    made = registry_.schema("Members", registry_.group()["$id"])
    for elsewhere in ({"x-sandbox-name": "prod"}, {"x-gw-ims-org-id": OTHER_ORG}):
        for method, body in (("GET", None), ("DELETE", None), ("PUT", {"title": "x"})):
            path = f"{BASE}/tenant/schemas/{made['meta:altId']}"
            assert call(schemas.handler, method, path, body=body, headers=elsewhere).status == 404
        refers: dict[str, Any] = {"name": "x", "schemaRef": {"id": made["$id"]}}
        answer = call(datasets.handler, "POST", "/data/foundation/catalog/dataSets", body=refers, headers=elsewhere)
        assert answer.status == 400


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    [
        *("type", "properties", "items", "additionalProperties", "required", "enum", "const", "format", "pattern"),
        *("minimum", "maximum", "exclusiveMinimum", "multipleOf", "minLength", "maxItems", "uniqueItems", "allOf"),
        *("$ref", "meta:xdmType", "title", "definitions", "default", "meta:immutableTags", "meta:enum"),
    ]
)
_LIKELY = st.sampled_from(
    [
        *("object", "array", "string", "integer", "number", "boolean", "date-time", "map", "short", "#/definitions/a"),
        *(PROFILE, EVENT, IDENTITY_MAP, "#", "#/allOf/0", "^a*$", True, 0, 1.5, -1, [], {}, ["a"]),
    ]
)
_FIELD = st.recursive(
    st.dictionaries(_KEYS, _LIKELY, max_size=4) | _JSON,
    lambda inner: st.dictionaries(
        _KEYS, inner | _LIKELY | st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner), max_size=4
    ),
    max_leaves=12,
)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(parts=st.lists(_FIELD, max_size=3), more=st.dictionaries(_KEYS, _FIELD, max_size=3), kind=st.integers(0, 4))
def test_no_body_is_an_error_of_ours(registry_: Registry, parts: list[Any], more: dict[str, Any], kind: int) -> None:
    """Law 9, and what is accepted can be read in every view and be the schema of rows."""
    name = ("schemas", "classes", "fieldgroups", "datatypes", "descriptors")[kind]
    body: dict[str, Any] = {"title": str(len(str((parts, more)))), "allOf": [{"$ref": PROFILE}, *parts], **more}
    if kind == 4:
        body = {"@type": "xdm:descriptorIdentity", "xdm:sourceSchema": str(parts)[:20], **more}
    answer = registry_("POST", f"/tenant/{name}", body)
    assert answer.status in {201, 400}, answer.text
    if answer.status == 201:
        made = answer.json()
        for accept in (FULL, "application/vnd.adobe.xed-full-notext-flat-desc+json"):
            assert registry_("GET", f"/tenant/{name}/{made['meta:altId']}", accept=accept).status == 200
        assert registry_("DELETE", f"/tenant/{name}/{made['meta:altId']}").status in {204, 400}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=_JSON, method=st.sampled_from(["POST", "PUT", "PATCH"]), path=st.integers(0, 3))
def test_no_json_at_all_is_an_error_of_ours(registry_: Registry, body: Any, method: str, path: int) -> None:
    where = ("/tenant/schemas", "/tenant/descriptors", "/tenant/schemas/x", "/tenant/descriptors/x")[path]
    assert 400 <= registry_(method, where, orjson.dumps(body)).status < 500


class Ingestion:
    """Ingests rows into a dataset."""

    def __init__(self, call: Caller) -> None:
        self._call = call

    def __call__(self, dataset_id: str, *rows: Mapping[str, Any], percent: int = 100) -> tuple[str, dict[str, Any]]:
        path = "/data/foundation/import/batches"
        body = {
            "datasetId": dataset_id,
            "inputFormat": {"format": "json"},
            "partialIngestionPercent": percent,
            "enableErrorDiagnostics": True,
        }
        batch_id = self._call(batches.handler, "POST", path, body=body).json()["id"]
        raw = b"".join(orjson.dumps(row) + b"\n" for row in rows)
        headers = {"Content-Type": "application/octet-stream"}
        file = f"{path}/{batch_id}/datasets/{dataset_id}/files/rows.json"
        assert self._call(batches.handler, "PUT", file, body=raw, headers=headers).status == 200
        done = self._call(batches.handler, "POST", f"{path}/{batch_id}", query={"action": "COMPLETE"})
        assert done.status == 200
        asked = next(one for one in reversed(asked_for()) if one["batch_id"] == batch_id)
        run({key: asked[key] for key in ("org_id", "sandbox", "batch_id")})
        answer = self._call(batches.handler, "GET", f"/data/foundation/catalog/batches/{batch_id}")
        return batch_id, dict(answer.json()[batch_id])

    def errors(self, batch_id: str) -> Iterator[dict[str, Any]]:
        path = f"/data/foundation/export/batches/{batch_id}/meta"
        listed = self._call(data_access.handler, "GET", path, query={"path": "row_errors"}).json()["data"]
        for file in listed:
            answer = self._call(data_access.handler, "GET", path, query={"path": file["name"]})
            yield from answer.json()["data"]

    def profile(self, namespace: str, value: str) -> dict[str, Any]:
        query = {"schema.name": "_xdm.context.profile", "entityId": value, "entityIdNS": namespace}
        answer = self._call(entities.handler, "GET", "/data/core/ups/access/entities", query=query)
        assert answer.status == 200, answer.text
        (found,) = answer.json().values()
        return dict(found["entity"])


@pytest.fixture
def ingest(call: Caller, monkeypatch: pytest.MonkeyPatch) -> Ingestion:
    created_machine(monkeypatch)
    return Ingestion(call)


ENABLED = {"unifiedProfile": ["enabled:true"], "unifiedIdentity": ["enabled:true"]}


def members(registry_: Registry, required: list[str] | None = None) -> dict[str, Any]:
    made = registry_.schema("Members", registry_.group(required=required)["$id"])
    assert registry_.identity(made, f"/{OWN}/email", primary=True).status == 201
    assert registry_.patch(made, "add", "/meta:immutableTags", ["union"]).status == 200
    return made


def test_rows_are_converted_and_their_fields_are_identities(
    call: Caller, registry_: Registry, ingest: Ingestion
) -> None:
    made = members(registry_)
    assert registry_.identity(made, f"/{OWN}/code", "crmid").status == 201
    dataset_id = dataset(call, made["$id"], **ENABLED)
    row = {
        "email": "Maya@example.com",
        "level": "gold",
        "points": "1250",
        "ratio": "0.5",
        "since": 86_400_000,
        "seen": "2026-03-04T08:55:27+02",
        "code": "AB",
        "tags": [1, "b", None],
    }
    _, batch = ingest(dataset_id, {OWN: row, "extra": 1})
    assert batch["status"] == "success", batch
    for namespace, value in (("Email", "maya@example.com"), ("crmid", "AB")):
        found = ingest.profile(namespace, value)
        assert found[OWN] == {
            **row,
            "points": 1250,
            "ratio": 0.5,
            "since": "1970-01-02",
            "seen": "2026-03-04T06:55:27.000Z",
            "tags": ["1", "b"],
        }
        assert found["extra"] == 1
        assert found["identityMap"] == {"email": [{"id": "maya@example.com"}], "crmid": [{"id": "AB"}]}


def test_each_rejected_row_has_its_reason(call: Caller, registry_: Registry, ingest: Ingestion) -> None:
    dataset_id = dataset(call, members(registry_, required=["level"])["$id"], **ENABLED)
    good = {"email": "a@example.com", "level": "gold"}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"level": None}, "INGEST-1555-400"),
        ({"email": None}, "INGEST-1555-400"),
        ({"level": "bronze"}, "INGEST-1510-400"),
        ({"points": -1}, "INGEST-1510-400"),
        ({"code": "abc"}, "INGEST-1510-400"),
        ({"email": "nobody"}, "INGEST-1510-400"),
        ({"points": "many"}, "INGEST-1505-400"),
        ({"points": 1.5}, "INGEST-1505-400"),
        ({"points": True}, "INGEST-1505-400"),
        ({"points": 2**60}, "INGEST-1510-400"),
        ({"ratio": {}}, "INGEST-1505-400"),
        ({"since": "2026-02-30"}, "INGEST-1510-400"),
        ({"seen": "yesterday"}, "INGEST-1510-400"),
        ({"tags": "one"}, "INGEST-1505-400"),
    ]
    batch_id, batch = ingest(dataset_id, {OWN: good}, *({OWN: {**good, **one}} for one, _ in wrong))
    assert (batch["status"], batch["metrics"]["failedRecordCount"]) == ("success", len(wrong))
    errors = list(ingest.errors(batch_id))
    assert len(errors) == len(wrong)
    # What was sent is what can be read back, not what conversion made of it.
    codes = {orjson.dumps(one[OWN]): one["_errors"][0]["code"] for one in errors}
    assert codes == {orjson.dumps({**good, **one}): code for one, code in wrong}


def test_datasets_without_a_registered_schema_take_rows_as_before(call: Caller, ingest: Ingestion) -> None:
    dataset_id = dataset(call, PROFILE, **ENABLED)
    _, batch = ingest(dataset_id, {"points": "x", "identityMap": {"crmid": [{"id": "7"}]}})
    assert batch["status"] == "success"
    assert ingest.profile("crmid", "7")["points"] == "x"


def test_required_fields_may_be_missing_where_the_dataset_says_so(
    call: Caller, registry_: Registry, ingest: Ingestion
) -> None:
    made = members(registry_, required=["level", "points"])
    row = {OWN: {"email": "a@example.com"}}
    _, refused = ingest(dataset(call, made["$id"], **ENABLED), row)
    assert refused["status"] == "failed"
    relaxed = dataset(call, made["$id"], **ENABLED, acp_validationContext=["disabled"])
    _, batch = ingest(relaxed, row)
    assert batch["status"] == "success"
    _, batch = ingest(relaxed, {OWN: {"email": "a@example.com", "points": "x"}})
    assert batch["status"] == "failed"


def test_a_batch_is_judged_by_the_schema_that_it_was_planned_with(
    call: Caller, registry_: Registry, ingest: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs import ingest as machine  # noqa: PLC0415

    made = members(registry_)
    dataset_id = dataset(call, made["$id"], **ENABLED)
    plan = machine.plan

    def planned_then_changed(event: Any, context: object) -> Any:
        answer = plan(event, context)
        group = registry_("GET", "/tenant/fieldgroups").json()["results"][0]
        stricter = group_of("Loyalty", ["level"], **LOYALTY)
        assert registry_("PUT", f"/tenant/fieldgroups/{group['meta:altId']}", stricter).status == 200
        return answer

    monkeypatch.setattr(machine, "plan", planned_then_changed)
    row = {OWN: {"email": "a@example.com"}}
    _, batch = ingest(dataset_id, row)
    assert batch["status"] == "success"
    monkeypatch.setattr(machine, "plan", plan)
    _, batch = ingest(dataset_id, row)
    assert batch["status"] == "failed"


def test_events_of_a_registered_schema(call: Caller, registry_: Registry, ingest: Ingestion) -> None:
    made = registry_.schema("Visits", registry_.group()["$id"], base=EVENT, **UNION)
    dataset_id = dataset(call, made["$id"], **ENABLED)
    event = {"_id": 7, "timestamp": 1_772_614_527_000, "identityMap": {"crmid": [{"id": 7, "primary": "true"}]}}
    batch_id, batch = ingest(dataset_id, event, {**event, "_id": None}, {**event, "timestamp": "today"})
    assert (batch["status"], batch["metrics"]["failedRecordCount"]) == ("success", 2), batch
    assert {one["_errors"][0]["code"] for one in ingest.errors(batch_id)} == {"INGEST-1555-400", "INGEST-1510-400"}


def test_json_patch_comes_with_either_content_type(call: Caller, registry_: Registry) -> None:
    made = registry_.schema("Members")
    answer = call(
        schemas.handler,
        "PATCH",
        f"{BASE}/tenant/schemas/{made['meta:altId']}",
        body=[{"op": "add", "path": "/allOf/-", "value": {"$ref": registry_.group()["$id"]}}],
        headers={"Content-Type": JSON_PATCH},
    )
    assert (answer.status, len(answer.json()["allOf"])) == (200, 2)
    assert registry_.patch(made, "replace", "/$id", "x").status == 400
