"""A scan that decodes everything finds a person before, and after exactly what the receipt says remains (law 7)."""

from __future__ import annotations

from typing import Any

import pytest

from api import entities, erasures, export_jobs
from jobs import erase
from tessera.domain.rows import HELD
from tests.integration import export_machine, ingest_machine
from tests.integration.conftest import Answer, Caller
from tests.integration.erasing import everything
from tests.integration.executors import Inline
from tests.integration.test_batches import (
    EVENTS,
    RECORDS,
    TENANT,
    UNION,
    Client,
    client,
    event,
    input_of,
    json_lines,
    person,
)

__all__ = ["client"]

CANARY = "Canary-7391"
NAMED = {"entityId": "canary@ex.org", "entityIdNS": {"code": "Email"}}


def row(made: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make a row the canary's: in its body and in who it is of."""
    identities = {"CRM": [{"id": CANARY, "primary": True}], "Email": [{"id": "canary@ex.org"}]}
    return {**made, "identityMap": identities, "note": CANARY, **more}


def found() -> dict[str, str]:
    """What has the canary, by where it is."""
    return {name: text for name, text in everything().items() if CANARY.lower() in text.lower()}


def look_up(call: Caller) -> Answer:
    query = {"schema.name": "_xdm.context.profile", "entityId": "canary@ex.org", "entityIdNS": "Email"}
    return call(entities.handler, "GET", entities.PATH, query=query)


@pytest.fixture
def machines(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    export_machine.created_machine(monkeypatch)
    monkeypatch.setenv("ERASE_STATE_MACHINE_ARN", "arn:aws:states:eu-west-1:123456789012:stateMachine:export")
    for module in (erasures, erase):
        monkeypatch.setattr(module, "ThreadPoolExecutor", lambda *args: Inline())


def work(job_id: str) -> None:
    for task in (erase.accept, erase.sweep, erase.search):
        state: dict[str, Any] = {"org_id": TENANT.org_id, "sandbox": TENANT.sandbox, "job_id": job_id, "done": False}
        while not state["done"]:
            state = task(state, None)


def export(call: Caller) -> tuple[int, str]:
    body = {"schema": {"name": "_xdm.context.profile"}, "destination": {"datasetId": UNION}}
    job = call(export_jobs.handler, "POST", export_jobs.PATH, body=body).json()
    assert export_machine.run(job["id"]) == "done"
    return job["id"], job["destination"]["batchId"]


def test_what_remains_is_what_the_receipt_says(client: Client, call: Caller, machines: None) -> None:
    others = [person(1), person(2)]
    records = client.ingest({"a.json": json_lines([row(person(3)), *others])})["id"]
    events = client.ingest({"e.json": json_lines([row(event(4)), event(1)])}, EVENTS)["id"]
    repeats = client.ingest({"f.json": json_lines([row(event(4))])}, EVENTS)["id"]
    beside = client.ingest({"b.json": json_lines(others)})["id"]
    job, exported = export(call)
    # Accepted before the erasure, and processed after it.
    waiting = client.created()
    client.put(waiting, "late.json", json_lines([row(person(5), note=f"{CANARY} late")]))
    assert client.signal(waiting).status == 200

    before = found()
    kinds = {name.split("/")[0] if name.startswith("lake:") else name.split(":")[-1][:2] for name in before}
    assert kinds >= {"H", f"R#{RECORDS}"[:2], "E#", "C#", "lake:raw", "lake:staged", "lake:exports", "lake:jobs"}
    assert look_up(call).status == 200

    answer = call(erasures.handler, "POST", erasures.PATH, body={"identities": [NAMED], "hold": True})
    assert answer.status == 200
    assert look_up(call).status == 404
    erasure = answer.json()["id"]
    assert ingest_machine.run(input_of(waiting)) == "done"
    assert look_up(call).status == 404
    work(erasure)
    receipt = call(erasures.handler, "GET", f"{erasures.PATH}/{erasure}/receipt").json()
    assert receipt["status"] == "SUCCESS"
    assert receipt["proof"]["found"] == 0
    remains = {one["store"]: one for one in receipt["remains"] if {"count", "sources", "exports"} & one.keys()}
    assert remains["profileTable"]["count"] == 2
    assert "whose records others replaced" in remains["lake"]["what"]
    batches = {one["batchId"] for one in remains["lake"]["sources"]}
    assert batches == {records, events, repeats}
    assert remains["exports"]["exports"] == [{"datasetId": UNION, "batchId": exported, "certain": True}]

    # The batch that was in flight wrote nothing, and its files are its own.
    named = batches | {waiting}
    for name in found():
        if name.startswith("profiles:"):
            assert name.endswith(":H")
            continue
        kind, _, which, *_ = name.removeprefix("lake:").split("/")
        assert name.startswith("lake:")
        if kind in {"raw", "staged"}:
            assert which in named, name
        elif kind == "exports":
            assert which == exported, name
        else:
            assert (kind, which) == ("jobs", "export"), name
            assert f"/export/{job}/" in name
    assert beside not in batches

    # A fresh upload is refused, row by row.
    again = client.ingest({"c.json": json_lines([row(person(6)), person(7)])})["id"]
    (refused,) = client.rejected(again)
    assert [error["code"] for error in refused["_errors"]] == [HELD]
    assert look_up(call).status == 404

    # The next export has nobody who is erased.
    _, newer = export(call)
    assert [one for one in found() if f"exports/{TENANT.key}/{newer}" in one] == []


def test_an_export_that_does_not_say_whose_its_rows_are_is_named_as_uncertain(
    client: Client, call: Caller, machines: None
) -> None:
    client.ingest({"a.json": json_lines([row(person(3))])})
    body = {
        "schema": {"name": "_xdm.context.profile"},
        "destination": {"datasetId": UNION},
        "fields": "person.name.firstName",
    }
    job = call(export_jobs.handler, "POST", export_jobs.PATH, body=body).json()
    assert export_machine.run(job["id"]) == "done"
    erasure = call(erasures.handler, "POST", erasures.PATH, body={"identities": [NAMED]}).json()["id"]
    work(erasure)
    receipt = call(erasures.handler, "GET", f"{erasures.PATH}/{erasure}/receipt").json()
    (exports,) = [one["exports"] for one in receipt["remains"] if "exports" in one]
    assert [(one["batchId"], one["certain"]) for one in exports] == [(job["destination"]["batchId"], False)]
