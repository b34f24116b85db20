"""Events that expire, over HTTP (contract: profile-api §10, §13 scenario 39)."""

from __future__ import annotations

import time
import uuid
from typing import Any

import boto3
import pytest

from ops.client import Client
from ops.outputs import Outputs
from tessera.domain.tenant import Tenant
from tessera.domain.times import DAY_MS, iso_ms
from tessera.storage.expiry_jobs import ExpiryJobStore
from tessera.storage.registry import Registry
from tests.e2e.conftest import register

TTL = {"extensions": {"adobe_unifiedProfile": {"rowExpiration": {"ttlValue": "P30D"}}}}


@pytest.fixture(scope="module")
def client(outputs: object) -> Client:
    return Client(register(f"EXPIRY{uuid.uuid4().hex[:8]}", "--sandbox", "dev"))


def aged(event_id: str, who: str, days: float) -> dict[str, Any]:
    timestamp = iso_ms(int(time.time() * 1000 - days * DAY_MS))
    return {"_id": event_id, "timestamp": timestamp, "identityMap": {"Web": [{"id": who}]}}


def shown(client: Client, who: str) -> list[str]:
    answer = client.events("Web", who)
    return [child["entityId"] for child in answer.json()["children"]] if answer.status_code == 200 else []


def test_39_what_is_older_than_the_ttl_is_gone(client: Client, outputs: Outputs) -> None:
    tags = ("unifiedProfile", "unifiedIdentity")
    web = client.create_dataset("DS_WEB", "experienceevent", *tags)
    crm = client.create_dataset("DS_CRM", "profile", *tags)
    before = [aged("a-old", "ann", 31), aged("a-new", "ann", 2), aged("b-old", "bob", 31), aged("c-old", "cleo", 40)]
    assert client.ingest(web, before)["status"] == "success"
    assert client.ingest(crm, [{"identityMap": {"Web": [{"id": "cleo"}]}, "city": "Ghent"}])["status"] == "success"
    assert shown(client, "ann") == ["a-old", "a-new"]

    answer = client.http.patch(f"/data/foundation/catalog/v2/dataSets/{web}", json=TTL)
    assert answer.status_code == 200, answer.text
    described = client.http.get(f"/data/foundation/catalog/dataSets/{web}").json()[web]
    assert described["extensions"] == TTL["extensions"]

    # On the next read.
    assert shown(client, "ann") == ["a-new"]
    assert shown(client, "bob") == []
    # Ingested today, and older than that.
    batch = client.ingest(web, [aged("d-old", "dora", 31), aged("a-late", "ann", 1)])
    assert batch["status"] == "success"
    assert (batch["metrics"]["inputRecordCount"], batch["metrics"]["outputRecordCount"]) == (2, 1)
    assert shown(client, "ann") == ["a-new", "a-late"]
    assert client.entity("Web", "dora").status_code == 404

    job = _finished(client, outputs, web)
    assert job.counts == {"identities": 3, "stamped": 4, "deleted": 0}
    # Who has nothing left is not there; attributes of others are untouched.
    assert client.entity("Web", "bob").status_code == 404
    assert client.entity("Web", "ann").status_code == 200
    answer = client.entity("Web", "cleo")
    ((_, cleo),) = answer.json().items()
    assert (answer.status_code, cleo["entity"]["city"]) == (200, "Ghent")
    assert shown(client, "cleo") == []


def _finished(client: Client, outputs: Outputs, dataset_id: str) -> Any:
    registry = Registry(boto3.client("dynamodb"), outputs.registry_table)
    tenant = Tenant(client.configuration["org_id"], client.configuration["sandbox"])
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        [job_id] = [one["id"] for _, one in registry.each(f"{tenant.key}#job") if one["dataset"] == dataset_id]
        job = ExpiryJobStore(registry).get(tenant, job_id)
        if job.status in ("SUCCESS", "FAILED"):
            assert job.reason == ""
            return job
        time.sleep(0.5)
    raise AssertionError("the job did not end")
