"""Exports on the deployed stacks: Adobe's client unchanged, every row a look-up, also while rows come in."""

from __future__ import annotations

import io
import threading
from typing import Any

import pyarrow.parquet as pq
import pytest
from aepp.customerprofile import Profile

from ops.client import PROFILE, Client
from tests.e2e.conftest import adobe_client
from tests.exported import as_json

PERSONS = 60


@pytest.fixture(scope="module")
def profiles(configuration: dict[str, str]) -> Profile:
    return adobe_client(configuration)


@pytest.fixture(scope="module")
def shop(client: Client) -> str:
    """People of whom every third has two identities, and a dataset of theirs."""
    dataset = client.create_dataset("exported people", "profile", "unifiedProfile", "unifiedIdentity")
    assert client.ingest(dataset, [person(number, 1) for number in range(PERSONS)])["status"] == "success"
    return dataset


@pytest.fixture(scope="module")
def target(client: Client) -> str:
    return client.create_dataset("exports", "profile__union")


def person(number: int, version: int) -> dict[str, Any]:
    identities: dict[str, Any] = {"Shopper": [{"id": f"s{number}", "primary": True}]}
    if number % 3 == 0:
        identities["Card"] = [{"id": f"c{number}"}]
    return {"identityMap": identities, "_shop": {"number": number, "version": version, "twin": version}}


def rows(client: Client, batch_id: str) -> list[dict[str, Any]]:
    tables = [pq.read_table(io.BytesIO(body)) for body in client.files(batch_id)]
    return [as_json(row) for table in tables for row in table.to_pylist()]


def test_adobe_s_client_exports(profiles: Profile, client: Client, shop: str, target: str) -> None:
    (policy,) = [one for one in profiles.getMergePolicies() if one["default"]]
    job = profiles.createExportJob(fields=["identityMap", "_shop"], mergePolicyId=policy["id"], datasetId=target)
    assert (job["status"], job["mergePolicy"]["version"]) == ("NEW", 1)
    *_, last = client.export_progress(job["id"])
    assert last["status"] == "SUCCEEDED", last
    described = profiles.getExportJob(job["id"])
    exported = rows(client, described["destination"]["batchId"])
    mine = [row for row in exported if "_shop" in row]
    assert len(exported) == described["metrics"]["totalExportedProfileCounter"] >= PERSONS
    assert sorted(row["_shop"]["number"] for row in mine) == list(range(PERSONS))
    for row in mine[:10]:
        answer = client.entity("Shopper", row["identityMap"]["shopper"][0]["id"])
        (profile,) = answer.json().values()
        assert row == profile["entity"]
    assert described["id"] in [one["id"] for one in profiles.getExportJobs(limit=1000)["records"]]
    assert profiles.deleteExportJob(job["id"]) == 200
    assert profiles.getExportJob(job["id"])["status"] == "SUCCEEDED"


def test_a_cancelled_export_leaves_what_was_there(profiles: Profile, client: Client, shop: str, target: str) -> None:
    job = client.create_export(target)
    assert profiles.deleteExportJob(job["id"]) == 200
    *_, last = client.export_progress(job["id"])
    assert last["status"] == "FAILED"
    assert "cancelled" in last["errors"][0]["msg"]
    assert client.http.get(f"/data/foundation/catalog/batches/{job['destination']['batchId']}").status_code == 404


def test_while_rows_come_in_every_row_is_a_look_up(client: Client, shop: str, target: str) -> None:
    """Both fields of a version come in one row: a look-up never shows them apart, and neither does an export."""
    stop = threading.Event()

    def ingest() -> None:
        version = 2
        while not stop.is_set():
            client.ingest(shop, [person(number, version) for number in range(PERSONS)])
            version += 1

    thread = threading.Thread(target=ingest)
    thread.start()
    try:
        job = client.create_export(target, fields="identityMap,_shop")
        *_, last = client.export_progress(job["id"])
    finally:
        stop.set()
        thread.join()
    assert last["status"] == "SUCCEEDED", last
    mine = [row for row in rows(client, job["destination"]["batchId"]) if "_shop" in row]
    assert sorted(row["_shop"]["number"] for row in mine) == list(range(PERSONS))
    assert all(row["_shop"]["version"] == row["_shop"]["twin"] for row in mine)
    assert all(("card" in row["identityMap"]) == (row["_shop"]["number"] % 3 == 0) for row in mine)


def test_unknown_jobs(client: Client, profiles: Profile) -> None:
    assert profiles.getExportJob("12345")["status"] == 404
    assert client.http.post("/data/core/ups/export/jobs", json={"schema": {"name": PROFILE}}).status_code == 400
