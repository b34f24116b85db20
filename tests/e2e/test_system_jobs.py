"""Deletes of datasets and batches, by the deployed machine and Adobe's client (contract: profile-api §13.36, 38)."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import pytest
from aepp.customerprofile import Profile

from ops.client import Client
from ops.outputs import Outputs
from tests.e2e.conftest import adobe_client, register

JOBS = "/data/core/ups/system/jobs"
TAGS = ("unifiedProfile", "unifiedIdentity")


@pytest.fixture(scope="module")
def configuration(outputs: Outputs) -> dict[str, str]:
    """An organisation of its own: its list has these jobs and no other."""
    return register(f"{uuid.uuid4().hex.upper()}@AdobeOrg")


@pytest.fixture(scope="module")
def client(configuration: dict[str, str]) -> Client:
    return Client(configuration)


@pytest.fixture(scope="module")
def adobe(configuration: dict[str, str]) -> Profile:
    return adobe_client(configuration)


def finished(client: Client, job: str) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found: dict[str, Any] = client.http.get(f"{JOBS}/{job}").json()
        if found["status"] in {"SUCCESS", "FAILED"}:
            return found
        time.sleep(0.5)
    raise AssertionError("the job takes too long")


def test_a_dataset_goes_and_what_others_say_stays(client: Client, adobe: Profile) -> None:
    crm = client.create_dataset("deletes crm", "profile", *TAGS)
    loyalty = client.create_dataset("deletes loyalty", "profile", *TAGS)
    dalia = {"CRMID": [{"id": "4217", "primary": True}], "Email": [{"id": "dalia@ex.org"}]}
    only = {"Email": [{"id": "only@ex.org", "primary": True}], "Phone": [{"id": "+15550100"}]}
    assert client.ingest(crm, [{"identityMap": dalia, "city": "Ghent"}])["status"] == "success"
    email = {"Email": [{"id": "dalia@ex.org", "primary": True}]}
    rows = [{"identityMap": email, "tier": "gold"}, {"identityMap": only, "tier": "silver"}]
    assert client.ingest(loyalty, rows)["status"] == "success"
    (before,) = client.entity("CRMID", "4217").json().values()
    assert (before["entity"]["tier"], before["entity"]["city"]) == ("gold", "Ghent")

    job = adobe.createDeleteSystemJob(dataSetId=loyalty)
    assert job["status"] == "NEW"
    assert job["id"] == job["requestId"]
    (after,) = client.entity("CRMID", "4217").json().values()
    assert after["entity"]["city"] == "Ghent"
    assert "tier" not in after["entity"]
    assert client.entity("Email", "only@ex.org").status_code == 404

    done = finished(client, job["id"])
    assert done["status"] == "SUCCESS", done
    assert isinstance(done["metrics"], str)
    assert json.loads(done["metrics"])["recordsProcessed"] == 2
    assert adobe.getDeleteSystemJob(job["id"]) == done
    (after,) = client.entity("CRMID", "4217").json().values()
    assert (after["entity"].get("tier"), after["entity"]["city"]) == (None, "Ghent")
    assert client.entity("Email", "only@ex.org").status_code == 404
    members = client.http.get("/data/core/identity/cluster/members", params={"ns": "Email", "id": "only@ex.org"})
    assert "15550100" in members.text
    receipt = client.http.get(f"{JOBS}/{job['id']}/receipt").json()
    assert receipt["swept"][0]["deleted"]["records"] == 2
    assert receipt["rescan"]["found"] == 0
    assert receipt["rescan"]["identitiesLookedAt"] >= 2


def test_a_batch_of_events_goes_alone(client: Client, adobe: Profile) -> None:
    web = client.create_dataset("deletes web", "experienceevent", *TAGS)
    identity = {"Email": [{"id": "batches@ex.org", "primary": True}]}

    def events(*names: str) -> str:
        rows = [{"_id": name, "timestamp": "2026-03-01T08:00:00Z", "identityMap": identity} for name in names]
        return str(client.ingest(web, rows)["id"])

    events("kept")
    batch = events("gone 1", "gone 2")

    def seen() -> list[str]:
        return [child["entityId"] for child in client.events("Email", "batches@ex.org").json()["children"]]

    assert len(seen()) == 3
    job = adobe.createDeleteSystemJob(batchId=batch)
    assert job["requestType"] == "DELETE_EE_BATCH"
    assert seen() == ["kept"]
    assert finished(client, job["id"])["status"] == "SUCCESS"
    assert seen() == ["kept"]


def test_the_list_ends_and_a_job_is_removed(client: Client, adobe: Profile) -> None:
    names = [client.create_dataset(f"deletes {number}", "profile", *TAGS) for number in range(23)]
    jobs = [adobe.createDeleteSystemJob(dataSetId=name)["id"] for name in names]
    newest = jobs[::-1]
    page = client.http.get(JOBS, params={"start": 1, "limit": 10}).json()
    assert [child["id"] for child in page["children"]] == newest[10:20]
    listed = adobe.getDeleteSystemJobs(limit=10, n_results=100)
    assert len(listed) == 25
    assert [one["id"] for one in listed][:23] == newest
    # Wherever each of them is.
    assert [adobe.deleteDeleteSystemJob(job) for job in jobs] == [200] * 23
    answer = client.http.get(f"{JOBS}/{jobs[0]}")
    assert (answer.status_code, answer.json()["status"]) == (404, 404)
    assert len(adobe.getDeleteSystemJobs(limit=10, n_results=100)) == 2


def test_a_person_s_delete_is_a_job_with_a_receipt(client: Client) -> None:
    crm = client.create_dataset("deletes a person", "profile", *TAGS)
    erin = {"CRMID": [{"id": "5151", "primary": True}], "Email": [{"id": "erin@ex.org"}]}
    assert client.ingest(crm, [{"identityMap": erin, "city": "Ghent"}])["status"] == "success"
    query = {"schema.name": "_xdm.context.profile", "entityId": "5151", "entityIdNS": "CRMID"}
    assert client.http.delete("/data/core/ups/access/entities", params=query).status_code == 202
    assert client.entity("Email", "erin@ex.org").status_code == 404
    newest = client.http.get(JOBS, params={"limit": 1}).json()["children"][0]
    assert newest["requestType"] == "DELETE_ENTITY"
    assert finished(client, newest["id"])["status"] == "SUCCESS"
    receipt = client.http.get(f"{JOBS}/{newest['id']}/receipt").json()
    assert receipt["target"] == {"identities": 2}
    assert receipt["swept"][0]["deleted"]["records"] == 1
    assert (receipt["rescan"]["found"], receipt["rescan"]["rounds"]) == (0, 2)
    assert client.http.delete(f"{JOBS}/{newest['id']}").status_code == 422
