"""Getting data in by Adobe's own clients, unchanged: a schema, datasets, batches, updates, a replay."""

from __future__ import annotations

import io
import os
import time
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aepp import catalog, dataaccess, ingestion
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


def test_files_and_rejected_rows_are_read_back(
    client: Client, clients: tuple[Any, Any, Any], members: str, own: str
) -> None:
    dataset = dataset_of(client, members, "members read back", "enabled:true")
    access = dataaccess.DataAccess()
    loader = clients[2]
    batch = loader.createBatch(dataset, enableDiagnostic=True, partialIngestionPercentage=60)["id"]
    loader.uploadSmallFile(batch, dataset, "good.json", {own: {"number": "b1", "tier": "gold"}})
    loader.uploadSmallFile(batch, dataset, "bad.json", {own: {"number": "b2", "tier": "none"}})
    loader.uploadSmallFileFinish(batch)
    assert done(client, batch)["status"] == "success"

    files = access.getBatchFiles(batch)
    assert [file["dataSetFileId"] for file in files] == [f"{batch}-0", f"{batch}-1"]
    assert [file["dataSetFileId"] for file in access.getBatchFiles(batch, limit=1, start=1)] == [f"{batch}-1"]
    [named] = access.getFiles(f"{batch}-1")["data"]
    body = access.getFiles(f"{batch}-1", path=named["name"])
    assert (named["name"], named["length"]) == ("good.json", len(body))
    assert b'"b1"' in body
    # The client reads the headers of a file that is there by calling what is no function, and answers none.
    assert access.getHeadFile(f"{batch}-1", path="good.json") == {}
    assert access.getHeadFile(f"{batch}-7", path="good.json")["content-type"] == "application/json"
    ranged = client.http.get(
        f"/data/foundation/export/files/{batch}-1", params={"path": "good.json"}, headers={"Range": "bytes=2-9"}
    )
    assert (ranged.status_code, ranged.content) == (206, body[2:10])

    [failed] = access.getBatchFailed(batch)
    [row] = access.getBatchFailed(batch, path=failed["name"])
    assert row[own] == {"number": "b2", "tier": "none"}
    assert [one["keyword"] for one in row["_validationErrors"]] == ["enum"]
    assert [one["name"] for one in access.getBatchMeta(batch, path="input_files")["data"]] == [
        "input_files/bad.json", "input_files/good.json",
    ]  # fmt: skip
    shown = client.http.get(
        f"/data/foundation/import/batches/{batch}/datasets/{dataset}/preview", params={"format": "json", "nrow": 1}
    ).json()
    assert shown["preview"]["rows"] == [{"0": "b2", "1": "none"}]

    # Taken back, it can be read no more, and soon it is not there any more.
    assert client.http.post(f"/data/foundation/import/batches/{batch}", params={"action": "REVERT"}).is_success
    assert access.getBatchFiles(batch) == []
    assert _until(lambda: client.batch(batch)["status"], "deleted") == "deleted"
    assert access.getBatchFailed(batch) == []
    assert access.getFiles(f"{batch}-1")["status"] == 404
    assert entity(client, "b1")[own]["tier"] == "gold"


def test_parquet_is_read_back_as_it_was(client: Client, members: str, own: str) -> None:
    dataset = dataset_of(client, members, "parquet members", "enabled:true")
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{own: {"number": "p1", "points": 3}}]), buffer)
    batch = client.create_batch(dataset, "parquet")
    path = f"/data/foundation/import/batches/{batch}/datasets/{dataset}/files/members.parquet"
    octets = {"Content-Type": "application/octet-stream"}
    assert client.http.put(path, content=buffer.getvalue(), headers=octets).is_success
    shown = client.http.get(path.replace("/files/members.parquet", "/preview"), params={"format": "parquet"}).json()
    assert {column["name"] for column in shown["preview"]["columns"]} == {f"{own}/number", f"{own}/points"}
    client.complete(batch)
    assert done(client, batch)["status"] == "success"
    found = dataaccess.DataAccess().getFiles(f"{batch}-0", path="members.parquet")
    assert pq.read_table(found).to_pylist() == [{own: {"number": "p1", "points": 3}}]


def test_a_dropped_file_becomes_a_batch(client: Client, members: str, own: str) -> None:
    dataset = dataset_of(client, members, "dropped members", "enabled:true")
    folder = f"drop/{client.configuration['org_id']}/{client.configuration['sandbox']}"
    s3, bucket = boto3.client("s3"), os.environ["LAKE_BUCKET"]
    text = f"{own}.number,{own}.tier\nd1,gold\n"
    s3.put_object(Bucket=bucket, Key=f"{folder}/{dataset}/2026-03/new members.csv", Body=text.encode())
    s3.put_object(Bucket=bucket, Key=f"{folder}/nobody/lost.json", Body=b"{}")

    def found() -> list[str]:
        query = {"externalId": "2026-03/new members.csv", "dataSet": dataset}
        return list(client.http.get("/data/foundation/catalog/batches", params=query).json())

    assert _until(lambda: len(found()), 1) == 1
    [batch] = found()
    assert done(client, batch)["status"] == "success"
    assert entity(client, "d1")[own] == {"number": "d1", "tier": "gold"}

    def left() -> list[str]:
        listed = s3.list_objects_v2(Bucket=bucket, Prefix="drop").get("Contents", ())
        return [item["Key"] for item in listed if client.configuration["org_id"] in item["Key"]]

    aside = f"{folder}/nobody/lost.json".replace("drop/", "drop-rejected/", 1)
    assert _until(left, [aside, f"{aside}.reason.json"]) == [aside, f"{aside}.reason.json"]


def _until(look: Any, wanted: object, seconds: int = 60) -> Any:
    """Look until it is as wanted, and return what was seen last."""
    for _ in range(seconds * 4):
        if look() == wanted:
            break
        time.sleep(0.25)
    return look()
