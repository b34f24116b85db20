"""Erasing a person on the deployed stacks: absent at the answer, swept and proved by the machine, held until lifted.

Their rows are taken out of the lake, and those of others stay.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

import orjson

from ops.client import Client

ERASURES = "/data/core/ups/system/jobs/erasures"
SUBJECT = "/data/core/ups/system/jobs/subjectAccess"


def test_a_person_is_erased_with_proof_and_held(client: Client) -> None:
    value = f"{uuid.uuid4().hex}@ex.org"
    named = {"entityId": value, "entityIdNS": {"code": "Email"}}
    rows = [
        {
            "identityMap": {"Email": [{"id": value, "primary": True}], "CRM": [{"id": value}]},
            "person": {"name": {"firstName": "Dalia"}},
        }
    ]
    dataset = client.create_dataset(f"people {value}", "profile", "unifiedProfile", "unifiedIdentity")
    other = {"identityMap": {"Email": [{"id": f"other-{value}"}]}, "person": {"name": {"firstName": "Omar"}}}
    first = client.ingest(dataset, [*rows, other])
    assert first["status"] == "success"
    assert client.entity("Email", value).status_code == 200
    held = client.http.post(SUBJECT, json=named).json()
    assert [piece["kind"] for piece in held["pieces"]] == ["record"]

    answer = client.http.post(ERASURES, json={"identities": [named], "hold": True, "lake": True})
    assert answer.status_code == 200, answer.text
    assert client.entity("CRM", value).status_code == 404
    job = settled(client, answer.json()["id"])
    assert job["status"] == "SUCCESS"
    receipt = client.http.get(f"{ERASURES}/{job['id']}/receipt").json()
    assert receipt["swept"]["profileTable"] == {"records": 1, "events": 0, "eventCopies": 0}
    assert (receipt["proof"]["identities"], receipt["proof"]["found"]) == (2, 0)
    of_jobs = client.http.get(f"/data/core/ups/system/jobs/{job['id']}").json()
    assert (of_jobs["requestType"], of_jobs["status"]) == ("ERASE_PERSONS", "SUCCESS")
    assert client.http.get(f"/data/core/ups/system/jobs/{job['id']}/receipt").json() == receipt

    assert [(one["datasetId"], one["rows"], one["objects"]) for one in receipt["lake"]["datasets"]] == [(dataset, 2, 2)]
    assert (receipt["lake"]["proof"]["readings"], receipt["lake"]["proof"]["found"]) == (2, 0)
    files = client.http.get(f"/data/foundation/export/batches/{first['id']}/files").json()["data"]
    path = files[0]["_links"]["self"]["href"]
    (told,) = client.http.get(path).json()["data"]
    assert client.http.get(path, params={"path": told["name"]}).content == orjson.dumps(other)
    assert client.entity("Email", f"other-{value}").status_code == 200

    batch = client.ingest(dataset, rows)
    assert batch["status"] == "success"
    assert client.entity("Email", value).status_code == 404
    failed = f"/data/foundation/export/batches/{batch['id']}/meta"
    (file,) = client.http.get(failed, params={"path": "row_errors"}).json()["data"]
    (row,) = client.http.get(failed, params={"path": file["name"]}).json()["data"]
    assert row["_errors"][0]["code"] == "TESSERA-INGEST-HELD"

    asked = {"entityId": value, "entityIdNS": "Email"}
    assert client.http.get(f"{ERASURES}/holds", params=asked).json()["held"]
    assert not client.http.delete(f"{ERASURES}/holds", params=asked).json()["held"]
    assert client.ingest(dataset, rows)["status"] == "success"
    assert client.entity("Email", value).status_code == 200


def settled(client: Client, job_id: str) -> dict[str, Any]:
    """Wait until a job is over."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        job: dict[str, Any] = client.http.get(f"{ERASURES}/{job_id}").json()
        if job["status"] in {"SUCCESS", "FAILED"}:
            return job
        time.sleep(0.3)
    raise AssertionError("the erasure has no end")
