"""A sandbox that has one of everything, made by calls to the routes, and the names of what there is in it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration import ingest_machine, stream_queues
from tests.integration.bad_requests import Known
from tests.integration.conftest import ORG, Caller
from tests.integration.documented import template_of
from tests.integration.test_batches import json_lines, person
from tests.integration.test_header_errors import endpoints

PROFILE = "_xdm.context.profile"
EVENT = "_xdm.context.experienceevent"
RECORDS = "https://ns.adobe.com/xdm/context/profile"
DATASETS = "/data/foundation/catalog/dataSets"
IMPORT = "/data/foundation/import/batches"
POLICIES = "/data/core/ups/config/mergePolicies"
ATTRIBUTES = "/data/core/ca/attributes"
CONNECTIONS = "/data/foundation/flowservice/connections"
REGISTRY = "/data/foundation/schemaregistry"
EXPORTS = "/data/core/ups/export/jobs"
JOBS = "/data/core/ups/system/jobs"
ERASURES = JOBS + "/erasures"
MACHINES = (
    "BACKFILL_MACHINE",
    "EXPIRY_MACHINE",
    *(f"{job}_STATE_MACHINE_ARN" for job in ("EXPORT", "DELETE", "PURGE", "ERASE")),
)

HANDLERS = {
    (route.method, route.pattern.replace("+}", "}")): endpoint.handler
    for endpoint in endpoints()
    for route in endpoint.routes
}


def startable_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every state machine be started; only ingestion is run."""
    machine = ingest_machine.created_machine(monkeypatch)
    for variable in MACHINES:
        monkeypatch.setenv(variable, machine)
    stream_queues.created_queues(monkeypatch)


def furnished(call: Caller, sandbox: str) -> Known:
    """Make one of everything; answer what there is."""
    bodies: dict[str, list[Any]] = defaultdict(list)

    def do(method: str, address: str, body: Any = None, **headers: str) -> Any:
        path, query = urlsplit(address).path, parse_qs(urlsplit(address).query)
        template = template_of(method, path)
        if body is not None:
            bodies[template].append(body)
        handler = HANDLERS[method, template]
        sent = {"x-sandbox-name": sandbox, **headers}
        answer = call(handler, method, path, query=query, body=body, headers=sent)
        assert answer.status < 300, (address, answer.text)
        return answer.json()

    def dataset(schema: str) -> str:
        tags = {"unifiedProfile": ["enabled:true"]}
        (reference,) = do("POST", DATASETS, {"name": sandbox, "schemaRef": {"id": schema}, "tags": tags})
        return str(reference).rpartition("/")[2]

    def batch() -> str:
        batch_id = do("POST", IMPORT, {"datasetId": records, "inputFormat": {"format": "json"}})["id"]
        file = f"{IMPORT}/{batch_id}/datasets/{records}/files/a.json"
        do("PUT", file, json_lines([person(1), person(2)]), **{"Content-Type": "application/octet-stream"})
        return str(batch_id)

    records, events, union = (
        dataset(RECORDS),
        dataset(RECORDS.replace("profile", "experienceevent")),
        dataset(RECORDS + "__union"),
    )
    loading, loaded = batch(), batch()
    parts = f"{IMPORT}/{loading}/datasets/{records}/files/b.json"
    do("POST", parts + "?action=INITIALIZE")
    do("PATCH", parts, b"{", **{"Content-Type": "application/octet-stream", "Content-Range": "bytes 0-0/2"})
    do("POST", f"{IMPORT}/{loaded}?action=COMPLETE")
    assert ingest_machine.run({"org_id": ORG, "sandbox": sandbox, "batch_id": loaded}) == "done"
    schema = {"title": sandbox, "type": "object", "allOf": [{"$ref": RECORDS}]}
    policy = {
        "schema": {"name": PROFILE},
        "identityGraph": {"type": "none"},
        "attributeMerge": {"type": "timestampOrdered"},
    }
    attribute = {
        "name": "visits",
        "displayName": "Visits",
        "description": "",
        "expression": {"type": "PQL", "format": "pql/text", "value": "xEvent.count()"},
        "duration": {"count": 7, "unit": "DAYS"},
        "status": "DRAFT",
    }
    connection = {
        "name": "Tills",
        "connectionSpec": {"id": "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb"},
        "auth": {"params": {"authenticationRequired": False}},
    }
    export = {"schema": {"name": PROFILE}, "destination": {"datasetId": union}, "fields": "", "filter": {}}
    erasure = {"identities": [{"entityId": f"gone from {sandbox}", "entityIdNS": {"code": "CRM"}}], "hold": True}
    made = do("POST", REGISTRY + "/tenant/schemas", schema)
    schemas = [made["$id"], made["meta:altId"]]
    connected = do("POST", CONNECTIONS, connection)["id"]
    inlet = do("GET", f"{CONNECTIONS}/{connected}")["items"][0]["auth"]["params"]["inletId"]
    erased = do("POST", ERASURES, erasure)["id"]
    policies, attributes = [do("POST", POLICIES, policy)["id"]], [do("POST", ATTRIBUTES, attribute)["id"]]
    exports = [str(do("POST", EXPORTS, export)["id"])]
    xid = do("GET", "/data/core/identity/identity?id=c1&namespace=CRM")["xid"]
    datasets, batches, identities = [records, events, union], [loading, loaded], ["c1", "c2", xid]
    texts = {
        ATTRIBUTES: attributes,
        CONNECTIONS: [connected],
        DATASETS: datasets,
        DATASETS.replace("catalog/", "catalog/v2/"): datasets,
        ERASURES: [erased],
        EXPORTS: exports,
        JOBS: [erased],
        POLICIES: policies,
        REGISTRY + "/{container}/{kind}": schemas,
        "action": ["COMPLETE", "ABORT", "FAIL", "REVERT", "INITIALIZE", "PRESIGN"],
        "batch": batches,
        "batchid": batches,
        "code": ["CRM", "Email"],
        "container": ["tenant", "global"],
        "dataset": datasets,
        "datasetid": datasets,
        "entityid": identities,
        "entityidns": ["CRM", "Email"],
        "file": [f"{loaded}-0"],
        "id": [*identities, *policies],
        "inlet": [inlet],
        "kind": ["schemas", "fieldgroups", "datatypes", "classes"],
        "linkedentityid": identities,
        "linkedentityidns": ["CRM", "Email"],
        "mergepolicyid": policies,
        "namespace": ["CRM"],
        "op": ["add", "copy", "move", "remove", "replace", "test"],
        "path": ["a.json", "b.json", "row_errors", "input_files"],
        "relatedschema.name": [PROFILE],
        "schema.name": [PROFILE, EVENT],
        "xid": [xid],
        "xids": [xid],
    }
    # All that is a schema's own in its two names.
    hashed = made["$id"].rpartition("/")[2]
    return Known(texts, bodies, [*datasets, *batches, *policies, *attributes, *exports, connected, erased, hashed])
