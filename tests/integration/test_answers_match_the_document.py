"""What the functions really read and answer is what the OpenAPI document says."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from api import (
    batches,
    computed_attributes,
    data_access,
    datasets,
    entities,
    identities,
    inlets,
    merge_policies,
    schemas,
    system_jobs,
)
from tessera.domain.computed.definition import Progress, Status
from tessera.domain.computed.window import Unit, Window
from tessera.domain.tenant import Tenant
from tessera.domain.times import iso_ms
from tessera.gateway import JSON_PATCH, Query
from tessera.services.computed.compiled import compile_attribute
from tests.integration import purge_machine
from tests.integration.conftest import CLIENT_ID, ORG, Caller, client_document
from tests.integration.documented import Documented
from tests.integration.ingest_machine import created_machine
from tests.integration.test_batches import RECORDS, Client, client, json_lines, person
from tests.integration.test_entities import ECID, EVENTS, LOYALTY, PATH, PROFILE, WEB, Store, dalia, store, xid

__all__ = ["client", "dalia", "store"]

POLICIES = "/data/core/ups/config/mergePolicies"
ATTRIBUTES = "/data/core/ca/attributes"
IDENTITY = "/data/core/identity"
NAMESPACES = "/data/core/idnamespace/identities"
REGISTRY = "/data/foundation/schemaregistry"
DATASETS = "/data/foundation/catalog/dataSets"
CONNECTIONS = "/data/foundation/flowservice/connections"
IMPORT = "/data/foundation/import/batches"
CATALOG = "/data/foundation/catalog"
DEV = Tenant(ORG, "dev")
CRM = {"entityId": "4217", "entityIdNS": "crmid"}
EMAIL = {"entityId": "dalia@ex.org", "entityIdNS": {"code": "Email"}}
NOBODY = {"entityId": "nobody@ex.org", "entityIdNS": {"code": "Email"}}


@pytest.fixture
def documented(call: Caller, monkeypatch: pytest.MonkeyPatch) -> Documented:
    checked = Documented(call)
    for name in ("get", "every", "__contains__"):
        monkeypatch.setattr(Query, name, _noted(getattr(Query, name), checked.read))
    return checked


def _noted(real: Callable[[Query, str], Any], read: set[str]) -> Callable[[Query, str], Any]:
    def asked(query: Query, parameter: str) -> Any:
        read.add(parameter.lower())
        return real(query, parameter)

    return asked


def test_profiles(documented: Documented, dalia: Store) -> None:
    for query in (
        {**CRM, "explain": "true"},
        {**CRM, "fields": "person,identities"},
        {"entityId": xid("crmid", "4217"), "mergePolicyId": "none"},
    ):
        answer = documented(entities.handler, "GET", PATH, query={"schema.name": PROFILE, **query})
        assert answer.status == 200
    body = {
        "schema": {"name": PROFILE},
        "identities": [EMAIL, NOBODY, {"entityId": xid("ecid", ECID)}],
        "fields": ["city"],
    }
    assert len(documented(entities.handler, "POST", PATH, body=body).json()) == 3
    failing = {**body, "identities": [EMAIL, {"entityId": "garbage"}]}
    assert documented(entities.handler, "POST", PATH, body=failing).status == 207


def test_every_rule_that_an_explanation_can_name(documented: Documented, store: Store) -> None:
    rule = compile_attribute("xEvent.count()", Window(7, Unit.DAYS)).rule
    store.configurations.change(
        DEV, lambda known: known.with_attribute("seen", "xEvent.count()", rule).with_ready_attribute("seen")
    )
    identity_map = {"Email": [{"id": "dalia@ex.org"}]}
    segment = {"lastQualificationTime": "2026-01-01T00:00:00Z", "status": "existing"}
    dated = {"extSourceSystemAudit": {"lastUpdatedDate": "2026-01-01T00:00:00Z"}}
    store.put(LOYALTY, {"identityMap": identity_map, "segmentMembership": {"ups": {"s": segment}}, **dated})
    store.put(WEB, {"identityMap": identity_map, "_id": "e", "timestamp": iso_ms(time.time_ns() // 1_000_000 - 1000)})
    rules = set()
    for policy in ({}, {"mergePolicyId": "loyalty-only"}):
        asked = {"schema.name": PROFILE, "entityId": "dalia@ex.org", "entityIdNS": "email", "explain": "true", **policy}
        (profile,) = documented(entities.handler, "GET", PATH, query=asked).json().values()
        rules |= {leaf["rule"] for leaf in profile["explain"].values()}
    assert rules == {"timestampOrdered", "dataSetPrecedence", "identityGraph", "lastQualificationTime", "computed"}


def test_events(documented: Documented, dalia: Store) -> None:
    asked = {"schema.name": EVENTS, "relatedSchema.name": PROFILE, "relatedEntityId": ECID, "relatedEntityIdNS": "ecid"}
    for more in (
        {"limit": "2", "orderby": "-timestamp", "property": ["n>=2", "n<5"]},
        {"startTime": "0", "endTime": "1", "offsets": "", "start": ""},
    ):
        answer = documented(entities.handler, "GET", PATH, query={**asked, **more})
        assert answer.status == 200
    body: dict[str, Any] = {
        "schema": {"name": EVENTS},
        "relatedSchema": {"name": PROFILE},
        "identities": [{"relatedEntityId": "4217", "relatedEntityIdNS": {"code": "crmid"}}, NOBODY],
        "timeFilter": {"startTime": 0},
        "limit": 2,
        "orderby": "timestamp",
    }
    answer = documented(entities.handler, "POST", PATH, body=body)
    assert answer.status == 200
    payload = answer.json()[xid("crmid", "4217")]["_links"]["next"]["payload"]
    assert documented(entities.handler, "POST", PATH, body=payload).status == 200


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ({"schema.name": PROFILE}, {}, 400),
        ({"schema.name": PROFILE, **CRM}, {"x-gw-ims-org-id": None}, 400),
        ({"schema.name": PROFILE, **CRM}, {"Authorization": "Bearer nonsense"}, 401),
        ({"schema.name": PROFILE, **CRM}, {"x-api-key": None}, 403),
        ({"schema.name": PROFILE, **CRM}, {"x-gw-ims-org-id": "ELSEWHERE@AdobeOrg"}, 403),
        ({"schema.name": PROFILE, "entityId": "x", "entityIdNS": "email"}, {}, 404),
        ({"schema.name": PROFILE, **CRM}, {"x-sandbox-name": "nosuch"}, 404),
        ({"schema.name": PROFILE, "entityId": "garbage"}, {}, 422),
    ],
)
def test_errors_of_entities(
    documented: Documented, dalia: Store, query: dict[str, str], headers: dict[str, str | None], status: int
) -> None:
    assert documented(entities.handler, "GET", PATH, query=query, headers=headers).status == status


def test_errors_of_bodies(documented: Documented) -> None:
    for body, headers, status in (
        (b"{", {}, 400),
        ({"ids": []}, {}, 400),
        ({"ids": [{"id": "x"}]}, {"Content-Type": None}, 400),
        ({"ids": [{"id": "x"}]}, {"Content-Type": "text/plain"}, 415),
    ):
        for handler, path in ((entities.handler, PATH), (merge_policies.handler, POLICIES + "/bulk-get")):
            assert documented(handler, "POST", path, body=body, headers=headers).status == status


def test_bodies_that_are_too_large(documented: Documented) -> None:
    large = b" " * 4_600_000
    assert documented(entities.handler, "POST", PATH, body=large).status == 413
    assert documented(datasets.handler, "POST", DATASETS, body=large).status == 413


def test_callers_who_may_not(documented: Documented) -> None:
    documented.call.registry.put(f"client#{CLIENT_ID}", "client", client_document(permissions=["read"]))
    for handler, path, query in (
        (datasets.handler, DATASETS + "/x", {}),
        (entities.handler, PATH, {"schema.name": PROFILE, **CRM}),
    ):
        answer = documented(handler, "DELETE", path, query=query)
        assert (answer.status, answer.json()["title"]) == (403, "Permission denied")


def test_deleting_a_person(documented: Documented, dalia: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELETE_STATE_MACHINE_ARN", created_machine(monkeypatch))
    for query, status in (({}, 400), (CRM, 202), ({"entityId": "nobody@ex.org", "entityIdNS": "email"}, 404)):
        answer = documented(entities.handler, "DELETE", PATH, query={"schema.name": PROFILE, **query})
        assert answer.status == status


def test_what_storage_cannot_take_now(documented: Documented, dalia: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def throttled(*_: Any, **__: Any) -> Any:
        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, "Query")

    monkeypatch.setattr("tessera.services.profile_reader.ProfileReader.person", throttled)
    monkeypatch.setattr("tessera.services.merge_policies.MergePolicies.all", throttled)
    assert documented(entities.handler, "GET", PATH, query={"schema.name": PROFILE, **CRM}).status == 429
    assert documented(merge_policies.handler, "GET", POLICIES).status == 429
    monkeypatch.setattr("tessera.services.merge_policies.MergePolicies.all", lambda *_: 1 / 0)
    assert documented(merge_policies.handler, "GET", POLICIES).status == 500


def test_merge_policies(documented: Documented, dalia: Store) -> None:
    def do(method: str, path: str = "", **more: Any) -> Any:
        return documented(merge_policies.handler, method, POLICIES + path, **more)

    wanted = {
        "name": "Loyalty first",
        "schema": {"name": PROFILE},
        "identityGraph": {"type": "auto"},
        "attributeMerge": {"type": "dataSetPrecedence", "order": [LOYALTY]},
        "default": "true",
    }
    assert do("POST", "/dryRun", body={"policy": wanted, "identities": [EMAIL]}).json()["changed"] == 1
    assert do("POST", "/dryRun", body={"policy": wanted, "sample": 2}).status == 200
    created = do("POST", body=wanted)
    assert created.status == 200
    one = "/" + created.json()["id"]
    assert do("GET", one).status == do("PUT", one, body={**wanted, "default": False}).status == 200
    operation = {"op": "add", "path": "/name", "value": "Loyalty"}
    assert do("PATCH", one, body=operation).status == do("PATCH", one, body=[operation]).status == 200
    page = do("GET", query={"limit": "2", "orderBy": "", "schema.name": PROFILE, "start": ""})
    assert page.json()["_page"]["next"]
    assert do("GET", query={"limit": "2", "start": page.json()["_page"]["next"], "schema.name": PROFILE}).status == 200
    filters = {
        "default": "true",
        "isActiveOnEdge": "false",
        "identityGraph.type": "pdg",
        "attributeMerge.type": "timestampOrdered",
    }
    assert do("GET", query={**filters, "version": "1"}).status == 200
    assert do("POST", "/bulk-get", body={"ids": [{"id": one[1:]}, {"id": "nosuch"}]}).status == 207
    assert do("DELETE", one).status == 200
    assert do("GET", one).status == do("DELETE", one).status == 404
    assert do("POST", body={"name": "incomplete"}).status == 400


def test_computed_attributes(documented: Documented, monkeypatch: pytest.MonkeyPatch) -> None:
    def do(method: str, path: str = "", **more: Any) -> Any:
        return documented(computed_attributes.handler, method, ATTRIBUTES + path, **more)

    monkeypatch.setenv("BACKFILL_MACHINE", created_machine(monkeypatch))
    wanted = {
        "name": "spend6m",
        "displayName": "Spend",
        "description": "",
        "expression": {"type": "PQL", "format": "pql/text", "value": "xEvent.sum(n)"},
        "duration": {"count": 6, "unit": "MONTHS"},
        "keepCurrent": True,
        "status": "DRAFT",
    }
    created = do("POST", body=wanted)
    assert created.status == 200
    one = "/" + created.json()["id"]
    assert do("GET", one).status == do("PATCH", one, body={"description": "x", "status": "NEW"}).status == 200
    service = computed_attributes.catalogue()
    service.advance(DEV, one[1:], Status.FAILED, progress=Progress(1, 2), failure="why")
    assert do("GET", one).json()["failure"] == "why"
    draft = do("POST", body={**wanted, "name": "draft"}).json()["id"]
    filters = {"property": ["name=contains(s,d)", "updateEpoch>=1"], "sortBy": "-name", "limit": "1", "offset": "0"}
    page = do("GET", query=filters).json()
    assert {"self", "next", "prev", "last"} == page["_links"].keys()
    assert do("GET", query={"status": "failed"}).json()["_page"]["totalCount"] == 1
    asked = {"identities": [EMAIL, {"entityId": xid("ecid", ECID)}]}
    assert do("POST", f"/{draft}/preview", body=asked).status == 200
    assert do("DELETE", f"/{draft}").status == 202
    assert do("GET", f"/{draft}").status == do("POST", f"/{draft}/preview", body=asked).status == 404
    assert do("DELETE", one).status == do("PATCH", body={"status": "NEW"}).status == 400
    assert do("POST", body=wanted).status == do("GET", query={"limit": "41"}).status == 400


def test_identities(documented: Documented, dalia: Store) -> None:
    def do(method: str, path: str, **more: Any) -> Any:
        return documented(identities.handler, method, path, **more)

    assert do("GET", IDENTITY + "/identity", query={"namespace": "Email", "id": "a@ex.org"}).status == 200
    assert do("GET", IDENTITY + "/identity", query={"id": "a@ex.org", "nsid": "6"}).status == 200
    for query in ({"xid": xid("crmid", "4217"), "graph-type": "none"}, {"ns": "email", "id": "x@ex.org"}):
        assert do("GET", IDENTITY + "/cluster/members", query=query).status == 200
    body = {
        "xids": [xid("crmid", "4217")],
        "compositeXids": [{"ns": "Email", "id": "dalia@ex.org"}],
        "graph-type": "pdg",
    }
    assert do("POST", IDENTITY + "/v2/graph", body=body).status == 200
    body = {"composite_xid": [{"nsid": 6, "id": "nobody@ex.org"}], "graph_type": "none"}
    assert do("POST", IDENTITY + "/clusters/members", body=body).status == 200
    link = {**CRM, "linkedEntityId": "dalia@ex.org", "linkedEntityIdNS": "email"}
    assert do("GET", IDENTITY + "/links", query=CRM).status == 200
    removed = do("DELETE", IDENTITY + "/links", query=link).json()
    assert "removed" in {one["state"] for one in removed["links"]}
    by_hand = {**CRM, "linkedEntityId": "new@ex.org", "linkedEntityIdNS": {"code": "email"}}
    assert (
        do("POST", IDENTITY + "/links", query=link).status
        == do("POST", IDENTITY + "/links", body=by_hand).status
        == 200
    )
    assert do("POST", IDENTITY + "/blocked", body=CRM).json()["blocked"]
    refused = do("GET", IDENTITY + "/links", query=CRM).json()["links"]
    assert any("reason" in one for one in refused)
    assert not do("DELETE", IDENTITY + "/blocked", query=CRM).json()["blocked"]
    assert do("GET", IDENTITY + "/links", query={"entityId": xid("email", "stranger@ex.org")}).status == 404


def test_namespaces(documented: Documented, dalia: Store) -> None:
    def do(method: str, path: str = "", **more: Any) -> Any:
        return documented(identities.handler, method, NAMESPACES + path, **more)

    wanted = {"code": "Shop", "name": "Shop", "idType": "CROSS_DEVICE", "description": "At the counter", "unique": True}
    created = do("POST", body=wanted)
    assert created.status == 200
    one = f"/{created.json()['id']}"
    assert do("GET").status == do("GET", one).status == do("PUT", one, body={**wanted, "name": "Shops"}).status == 200
    assert do("POST", body={**wanted, "idType": "NONSENSE"}).status == 400
    assert do("GET", "/999999999").status == 404


def test_datasets(documented: Documented) -> None:
    def do(method: str, path: str = "", **more: Any) -> Any:
        return documented(datasets.handler, method, DATASETS + path, **more)

    wanted = {
        "name": "Customers",
        "schemaRef": {
            "id": "https://ns.adobe.com/xdm/context/profile",
            "contentType": "application/vnd.adobe.xed+json",
        },
        "tags": {"unifiedProfile": ["enabled:true"]},
        "fileDescription": {"format": "json"},
        "anything": {"else": [1]},
    }
    created = do("POST", body=wanted)
    assert created.status == 201
    one = created.json()[0].removeprefix("@/dataSets")
    assert do("GET", one).status == do("GET", one, query={"properties": "name,tags"}).status == 200
    query = {
        "limit": "5",
        "start": "0",
        "orderBy": "desc:created",
        "name": "Customers",
        "property": ["name~^C"],
        "tags": "unifiedProfile",
    }
    assert list(do("GET", query=query).json()) == [one[1:]]
    assert do("PATCH", one, body={"description": "Who buys"}).status == 200
    operations = [{"op": "replace", "path": "/description", "value": "Who bought"}]
    assert do("PATCH", one, body=operations, headers={"Content-Type": JSON_PATCH}).status == 200
    assert do("PUT", one, body={"name": "Buyers"}).status == 200
    answer = documented(datasets.handler, "PATCH", f"{CATALOG}/v2/dataSets{one}", body={"tags": {"a": ["b"]}})
    assert answer.status == 200
    assert do("PUT", one, body={"name": "Sellers"}, headers={"If-Match": '"1.0.0"'}).status == 412
    assert do("POST", body={"name": ""}).status == 400
    assert do("DELETE", one).status == 200
    assert do("GET", one).status == 404


def test_schemas(documented: Documented) -> None:
    def do(method: str, path: str, **more: Any) -> Any:
        return documented(schemas.handler, method, REGISTRY + path, **more)

    full, brief = ({"Accept": f"application/vnd.adobe.xed-{kind}+json; version=1"} for kind in ("full-desc", "id"))
    group = {"title": "G", "type": "object", "properties": {"_acme": {"properties": {"key": {"type": "string"}}}}}
    made = do("POST", "/tenant/fieldgroups", body=group)
    assert made.status == 201
    parts = [{"$ref": "https://ns.adobe.com/xdm/context/profile"}, {"$ref": made.json()["$id"]}]
    created = do("POST", "/tenant/schemas", body={"title": "S", "allOf": parts})
    assert created.status == 201
    one = f"/tenant/schemas/{created.json()['meta:altId']}"
    descriptor = {
        "@type": "xdm:descriptorIdentity",
        "xdm:sourceSchema": created.json()["$id"],
        "xdm:sourceProperty": "/_acme/key",
        "xdm:namespace": "crmid",
        "xdm:isPrimary": True,
    }
    described_ = do("POST", "/tenant/descriptors", body=descriptor)
    assert described_.status == 201
    its = f"/tenant/descriptors/{described_.json()['@id']}"
    assert do("GET", its).status == 200
    assert do("PUT", its, body=descriptor).status == 201
    v2 = {"Accept": "application/vnd.adobe.xdm-v2+json"}
    assert do("GET", "/tenant/descriptors", headers=v2, query={"property": "@type"}).json()["_page"]["count"] == 1
    assert do("GET", "/tenant/descriptors").status == 200
    tag = [{"op": "add", "path": "/meta:immutableTags", "value": ["union"]}]
    assert do("PATCH", one, body=tag).status == 200
    assert do("PUT", one, body={"title": "S2", "allOf": parts}).status == 400
    assert do("PUT", one, body={"title": "S2", "allOf": parts, "meta:immutableTags": ["union"]}).status == 200
    assert do("GET", one, headers=full).status == 200
    query = {"orderby": "-title", "limit": "1", "property": "title==S2", "start": ""}
    assert do("GET", "/tenant/schemas", headers=brief, query=query).json()["_page"]["count"] == 1
    assert do("GET", "/tenant/unions").status == 200
    assert do("GET", "/tenant/unions/_xdm.context.profile__union", headers=full).status == 200
    assert do("GET", "/stats").json()["counts"]["schemas"] == 1
    assert do("DELETE", its).status == 400
    assert do("DELETE", one).status == 400
    assert do("POST", "/global/classes", body={"title": "C"}).status == 405
    other = do("POST", "/tenant/schemas", body={"title": "T", "allOf": parts}).json()
    assert do("DELETE", f"/tenant/schemas/{other['meta:altId']}").status == 204
    assert do("GET", f"/tenant/schemas/{other['meta:altId']}").status == 404


def test_inlets(documented: Documented) -> None:
    def do(method: str, path: str = "", **more: Any) -> Any:
        return documented(inlets.handler, method, CONNECTIONS + path, **more)

    spec = {"id": "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb", "version": "1.0"}
    params = {"sourceId": "till-7", "dataType": "xdm", "name": "Tills", "authenticationRequired": False}
    auth = {"specName": "Streaming Connection", "params": params}
    wanted = {"name": "Shops", "description": "Tills", "connectionSpec": spec, "auth": auth}
    created = do("POST", body=wanted)
    assert created.status == do("POST", body={**wanted, "state": "disabled"}).status == 201
    one = f"/{created.json()['id']}"
    operations = [{"op": "replace", "path": "/name", "value": "Stores"}]
    etag = {"If-Match": created.json()["etag"]}
    assert do("PATCH", one, body=operations, headers=etag).status == 200
    assert do("PATCH", one, body=operations, headers=etag).status == 412
    assert do("PATCH", one, body=operations).status == 428
    assert do("GET", one).status == 200
    query = {"limit": "1", "orderby": "-name", "property": ["name!=x"], "continuationToken": ""}
    assert do("GET", query=query).json()["_links"]
    assert do("GET", query={"count": "true"}).json() == {"count": 2}
    assert do("POST", body={"name": "Shops"}).status == 400
    assert do("DELETE", one).status == 204
    assert do("GET", one).status == 404


def test_batches(documented: Documented, client: Client) -> None:
    def do(method: str, path: str, **more: Any) -> Any:
        return documented(batches.handler, method, path, **more)

    created = do("POST", IMPORT, body={"datasetId": RECORDS, "inputFormat": {"format": "JSON"}, "tags": {"a": ["b"]}})
    assert created.status == 201
    one = f"{IMPORT}/{created.json()['id']}"
    file = f"{one}/datasets/{RECORDS}/files/in/people.json"
    octets = {"Content-Type": "application/octet-stream"}
    assert do("PUT", file, body=json_lines([person(1)]), headers=octets).status == 200
    assert do("POST", file, query={"action": "PRESIGN"}).status == 200
    preview = {"format": "JSON", "isMultiLineJson": "false", "nrow": "3", "header": "true", "charset": "utf-8"}
    assert do("GET", f"{one}/datasets/{RECORDS}/preview", query=preview).json()["preview"]["rows"]
    assert do("PATCH", file, body=b"part", headers=octets).status == 400
    assert do("PATCH", IMPORT, body={"replay": {}}).status == 400
    assert do("POST", one, query={"action": "ABORT"}).status == 200
    assert do("POST", one, query={"action": "COMPLETE"}).status == 400
    query = {
        "limit": "5",
        "start": "0",
        "orderBy": "asc:created",
        "status": "aborted",
        "dataSet": RECORDS,
        "createdAfter": "0",
    }
    assert len(do("GET", f"{CATALOG}/batches", query=query).json()) == 1
    assert do("GET", f"{CATALOG}/batches", query={"properties": "status", "batch": "nosuch"}).json() == {}
    assert do("GET", f"{CATALOG}/batches/nosuch").status == 404


def test_what_became_of_a_batch(documented: Documented, client: Client) -> None:
    good: dict[str, object] = person(1)
    bad: dict[str, object] = {"person": {}}
    described_ = client.ingest(
        {"a.json": json_lines([good, bad])}, enableErrorDiagnostics=True, partialIngestionPercent=50
    )
    for path in (f"{CATALOG}/batches/{described_['id']}", f"{CATALOG}/batch/{described_['id']}"):
        shown = documented(batches.handler, "GET", path).json()[described_["id"]]
        assert shown["errors"]
        assert shown["completed"]
    export = f"/data/foundation/export/batches/{described_['id']}"
    for what, query in (
        ("meta", {}),
        ("meta", {"path": "input_files", "limit": "1"}),
        ("meta", {"path": "input_files/a.json"}),
        ("meta", {"path": "row_errors", "start": "0"}),
        ("failed", {}),
    ):
        answer = documented(data_access.handler, "GET", f"{export}/{what}", query=query)
        assert answer.status == 200
        assert answer.json()["data"]
    file = {"path": answer.json()["data"][0]["name"]}
    assert documented(data_access.handler, "GET", export + "/failed", query=file).json()["data"][0]["_validationErrors"]
    lines = documented(
        data_access.handler, "GET", export + "/failed", query=file, headers={"Accept": "application/x-ndjson"}
    )
    assert lines.status == 200
    assert documented(data_access.handler, "GET", export + "/meta", query={"path": "nosuch"}).status == 404


def test_system_jobs(documented: Documented, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def do(method: str, path: str = "", **more: Any) -> Any:
        return documented(system_jobs.handler, method, system_jobs.PATH + path, **more)

    purge_machine.created_machine(monkeypatch)
    client.ingest({"a.json": json_lines([person(1)])})
    created = do("POST", body={"dataSetId": RECORDS, "removeLinks": True, "lake": True})
    assert created.status == 200
    job = created.json()["id"]
    assert do("POST", body={"datasetId": RECORDS}).status == 422
    assert do("POST", body={"batchId": "nosuch"}).status == 400
    assert do("GET", f"/{job}/receipt").status == 404
    assert purge_machine.run(job) == "done"
    assert do("GET", f"/{job}").json()["metrics"]
    query = {"limit": "5", "start": "0", "sort": "status:asc"}
    assert len(do("GET", query=query).json()["children"]) == 1
    assert do("GET", query={"page": "1"}).json()["children"] == []
    receipt = do("GET", f"/{job}/receipt")
    assert len(receipt.json()["swept"]) == 3
    assert do("DELETE", f"/{job}").status == 200
    assert do("GET", f"/{job}").status == 404
