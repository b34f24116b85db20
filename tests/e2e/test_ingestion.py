"""Getting data in by Adobe's own clients, unchanged: a schema, datasets, batches, updates, a replay."""

from __future__ import annotations

import time
from typing import Any

import pytest
from aepp import catalog, ingestion
from aepp import schema as schema_registry

from ops.client import Client
from tests.e2e.conftest import adobe_client


@pytest.fixture(scope="module")
def own(client: Client) -> str:
    """The object of the organisation's own fields."""
    return "_" + client.configuration["org_id"].partition("@")[0].lower()


@pytest.fixture(scope="module")
def clients(
    client: Client, configuration: dict[str, str]
) -> tuple[schema_registry.Schema, catalog.Catalog, ingestion.DataIngestion]:
    """The published clients of the registry, the catalogue and of ingestion."""
    adobe_client(configuration)
    return schema_registry.Schema(), catalog.Catalog(), ingestion.DataIngestion()


@pytest.fixture(scope="module")
def members(clients: tuple[Any, Any, Any], own: str) -> str:
    """A schema of profiles whose number names the person; answers its id."""
    registry = clients[0]
    fields = {
        "number": {"type": "string", "title": "Number"},
        "points": {"type": "integer", "title": "Points", "minimum": 0},
        "tier": {"type": "string", "title": "Tier", "enum": ["silver", "gold"]},
    }
    group = registry.createFieldGroup(
        {
            "type": "object",
            "title": "Membership",
            "meta:intendedToExtend": ["https://ns.adobe.com/xdm/context/profile"],
            "definitions": {"own": {"properties": {own: {"type": "object", "properties": fields}}}},
            "allOf": [{"$ref": "#/definitions/own"}],
        }
    )
    made = registry.createProfileSchema("Members", [group["$id"]], description="")
    operation = registry.createDescriptorOperation(
        made["$id"], "xdm:descriptorIdentity", f"{own}.number", identityNSCode="MemberId", identityPrimary=True
    )
    registry.createDescriptor(operation)
    registry.enableSchemaForRealTime(made["$id"])
    return str(made["$id"])


def dataset_of(client: Client, schema_id: str, name: str, *profile: str) -> str:
    answer = client.http.post(
        "/data/foundation/catalog/dataSets",
        json={
            "name": name,
            "schemaRef": {"id": schema_id, "contentType": "application/vnd.adobe.xed+json;version=1"},
            "tags": {"unifiedProfile": list(profile), "unifiedIdentity": ["enabled:true"]},
        },
    )
    answer.raise_for_status()
    return str(answer.json()[0]).rpartition("/")[2]


def done(client: Client, batch_id: str) -> dict[str, Any]:
    *_, last = client.progress(batch_id, pause_s=0.3)
    return last


def entity(client: Client, number: str) -> dict[str, Any]:
    answer = client.entity("MemberId", number)
    assert answer.status_code == 200
    ((_, profile),) = answer.json().items()
    return dict(profile["entity"])


def test_rows_are_judged_by_the_schema_and_named_by_its_descriptor(
    client: Client, clients: tuple[Any, Any, Any], members: str, own: str
) -> None:
    dataset = dataset_of(client, members, "judged members", "enabled:true")
    loader = clients[2]
    batch = loader.createBatch(dataset, enableDiagnostic=True, partialIngestionPercentage=60)["id"]
    loader.uploadSmallFile(batch, dataset, "good.json", {own: {"number": "m1", "points": 7, "tier": "gold"}})
    loader.uploadSmallFile(batch, dataset, "bad.json", {own: {"number": "m2", "points": -1}})
    loader.uploadSmallFileFinish(batch)
    ended = done(client, batch)
    assert (ended["status"], ended["metrics"]["failedRecordCount"]) == ("success", 1)
    assert entity(client, "m1") == {
        own: {"number": "m1", "points": 7, "tier": "gold"},
        "identityMap": {"memberid": [{"id": "m1"}]},
    }
    assert client.entity("MemberId", "m2").status_code == 404


def test_csv_in_parts(client: Client, members: str, own: str) -> None:
    dataset = dataset_of(client, members, "csv members", "enabled:true")
    batch = client.create_batch(dataset, "csv")
    text = f"{own}.number,{own}.points,{own}.tier\r\nc1,3,silver\r\nc2,,gold\r\n".encode()
    path = f"/data/foundation/import/batches/{batch}/datasets/{dataset}/files/members.csv"
    assert client.http.post(path, params={"action": "INITIALIZE"}).status_code == 201
    for first, last in ((20, len(text)), (0, 20)):
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"bytes {first}-{last - 1}"}
        assert client.http.patch(path, content=text[first:last], headers=headers).status_code == 200
    assert client.http.post(path, params={"action": "COMPLETE"}).is_success
    client.complete(batch)
    assert done(client, batch)["status"] == "success"
    assert entity(client, "c1")[own] == {"number": "c1", "points": 3, "tier": "silver"}
    assert entity(client, "c2")[own] == {"number": "c2", "tier": "gold"}


def test_an_updated_dataset_keeps_what_a_row_does_not_mention(
    client: Client, clients: tuple[Any, Any, Any], members: str, own: str
) -> None:
    dataset = dataset_of(client, members, "updated members", "enabled:true")
    clients[1].enableDatasetUpsert(dataset)
    time.sleep(0.5)
    assert client.ingest(dataset, [{own: {"number": "u1", "points": 1, "tier": "silver"}}])["status"] == "success"
    assert client.ingest(dataset, [{own: {"number": "u1", "points": 2}}])["status"] == "success"
    assert entity(client, "u1")[own] == {"number": "u1", "points": 2, "tier": "silver"}


def test_a_replay_takes_the_place_of_a_batch(
    client: Client, clients: tuple[Any, Any, Any], members: str, own: str
) -> None:
    dataset = dataset_of(client, members, "replayed members", "enabled:true")
    rows = [{own: {"number": number, "points": 1}} for number in ("r1", "r2")]
    first = client.ingest(dataset, rows)
    assert first["status"] == "success"
    old = next(iter(client.http.get("/data/foundation/catalog/batches", params={"dataSet": dataset}).json()))
    loader = clients[2]
    batch = loader.replayBatch(dataset, [old])["id"]
    loader.uploadSmallFile(batch, dataset, "again.json", {own: {"number": "r1", "points": 5}})
    loader.uploadSmallFileFinish(batch)
    assert done(client, batch)["status"] == "success"
    assert entity(client, "r1")[own] == {"number": "r1", "points": 5}
    assert client.entity("MemberId", "r2").status_code == 404
    assert client.batch(old)["status"] == "inactive"
