"""Erasing persons over HTTP: lists, holds, the receipt, and everything that is stored of somebody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import orjson
import pytest

from api import entities, erasures, system_jobs
from jobs import erase
from tessera.domain.identity import Identity
from tessera.domain.place import batch_place
from tessera.services.erasure import accepting
from tessera.services.profile_writer import ProfileWriter
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.profile_table import ProfileTable
from tests.integration.conftest import CLIENT_ID, Answer, Caller, client_document
from tests.integration.documented import Documented
from tests.integration.erasing import everything
from tests.integration.executors import Inline
from tests.integration.test_answers_match_the_document import documented
from tests.integration.test_person_delete import CRM, CRM_ID, DATASETS, DEV, DEVICE, EMAIL, PERSON, T, at, dalia, row

__all__ = ["documented"]

CANARY = "dalia@ex.org"
OTHER_BATCH = "01J00000000000000000000001"
PROFILE = "_xdm.context.profile"
NAMED = {"entityId": CANARY, "entityIdNS": {"code": "Email"}}
ASKED = {"entityId": CANARY, "entityIdNS": "Email"}
NOBODY = {"entityId": "nobody@ex.org", "entityIdNS": {"code": "Email"}}

Do = Callable[..., Answer]


@pytest.fixture
def do(documented: Documented, monkeypatch: pytest.MonkeyPatch) -> Do:
    arn = boto3.client("stepfunctions").create_state_machine(
        name="erase",
        definition='{"StartAt": "End", "States": {"End": {"Type": "Pass", "End": true}}}',
        roleArn="arn:aws:iam::123456789012:role/machine",
    )["stateMachineArn"]
    monkeypatch.setenv("ERASE_STATE_MACHINE_ARN", arn)
    for module in (erasures, erase):
        monkeypatch.setattr(module, "ThreadPoolExecutor", lambda *args: Inline())

    def prepare(now: Any) -> Any:
        for dataset in DATASETS.values():
            now = now.with_dataset(dataset)
        return now.with_namespaces(["CRMID"])

    configurations().change(DEV, prepare)
    put(*dalia())
    return lambda method, path, **more: documented(erasures.handler, method, path, **more)


def configurations() -> ConfigurationStore:
    return ConfigurationStore(aws.dynamodb(), aws.registry_table())


def put(*rows: Any) -> list[Any]:
    writer = ProfileWriter(configurations(), ProfileTable(aws.dynamodb(), aws.profile_table()), Inline())
    return [writer.apply(DEV, dataset, [placed]) for dataset, placed in rows]


def run_machine() -> None:
    """Run the tasks of every execution, each as often as it asks."""
    client = boto3.client("stepfunctions")
    machine = client.list_state_machines()["stateMachines"][0]["stateMachineArn"]
    for one in client.list_executions(stateMachineArn=machine)["executions"]:
        given = orjson.loads(client.describe_execution(executionArn=one["executionArn"])["input"])
        for task in (erase.accept, erase.sweep, erase.search):
            state: dict[str, Any] = {**given, "done": False}
            while not state["done"]:
                state = orjson.loads(orjson.dumps(task(state, None)))


def look_up(call: Caller, identity: Identity) -> int:
    query = {"schema.name": PROFILE, "entityId": identity.value, "entityIdNS": identity.namespace}
    return call(entities.handler, "GET", entities.PATH, query=query).status


def test_erasing_a_person_with_proof(do: Do, call: Caller, documented: Documented) -> None:
    before = {name for name, text in everything().items() if CANARY in text}
    assert [name.split(":")[-1] for name in before if ":R#" in name]
    answer = do("POST", erasures.PATH, body={"identities": [NAMED, NOBODY, {"entityId": "nonsense"}]})
    job = answer.json()
    assert answer.status == 200
    assert (job["status"], job["requestType"], job["jobType"]) == ("IN-PROGRESS", "ERASE_PERSONS", "DELETE")
    assert job["identities"] == {"erased": 1, "alone": 0, "notFound": 1, "invalid": 1, "reached": 3}
    assert [(line["line"], line["outcome"]) for line in job["lines"]] == [(2, "notFound"), (3, "invalid")]
    assert [look_up(call, identity) for identity in PERSON] == [404] * 3
    one = f"{erasures.PATH}/{job['id']}"
    assert "proof" not in do("GET", one + "/receipt").json()
    run_machine()
    assert do("GET", one).json()["status"] == "SUCCESS"
    assert do("GET", one).json()["acceptedAt"] == job["acceptedAt"]
    receipt = do("GET", one + "/receipt").json()
    assert receipt["swept"] == {
        "profileTable": {"records": 2, "events": 5, "eventCopies": 0},
        "computedState": {"streams": 1},
    }
    assert (receipt["proof"]["identities"], receipt["proof"]["found"]) == (3, 0)
    assert receipt["requestedBy"] == CLIENT_ID
    # In the list of all jobs it is one of them.
    assert documented(system_jobs.handler, "GET", f"{system_jobs.PATH}/{job['id']}/receipt").json() == receipt
    (listed,) = documented(system_jobs.handler, "GET", system_jobs.PATH).json()["children"]
    assert listed == documented(system_jobs.handler, "GET", f"{system_jobs.PATH}/{job['id']}").json()
    of_erasures = do("GET", one).json()
    assert listed == {name: of_erasures[name] for name in of_erasures.keys() - {"identities", "acceptedAt"}}
    assert orjson.loads(listed["metrics"])["recordsProcessed"] == 8
    assert documented(system_jobs.handler, "DELETE", f"{system_jobs.PATH}/{job['id']}").status == 422
    # What the receipt says remains, and nothing else.
    left = {name for name, text in everything().items() if CANARY in text}
    heads = {f"profiles:{DEV.key}#{identity.xid(DEV)}:H" for identity in PERSON}
    assert left == {name for name in heads if EMAIL.xid(DEV) in name}
    (kept,) = [one for one in receipt["remains"] if one.get("count")]
    assert kept["count"] == len(heads) == boto3.client("dynamodb").scan(TableName=aws.profile_table())["Count"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/csv", b"namespace,id\r\nEmail,dalia@ex.org\r\n\r\nEmail,nobody@ex.org\r\nnowhere,1\r\nonly\r\n"),
        (
            "application/x-ndjson",
            b'{"entityId":"dalia@ex.org","entityIdNS":{"code":"Email"}}\n\n'
            b'{"entityId":"nobody@ex.org","entityIdNS":{"code":"Email"}}\n{"entityId":"1","entityIdNS":{"code":"no"}}\n{\n',
        ),
    ],
)
def test_a_file_is_a_list(do: Do, call: Caller, kind: str, body: bytes) -> None:
    answer = call(erasures.handler, "POST", erasures.PATH, body=body, headers={"Content-Type": kind})
    assert answer.status == 200
    counts = answer.json()["identities"]
    assert counts == {"erased": 1, "alone": 0, "notFound": 1, "invalid": 2, "reached": 3}
    assert [line["outcome"] for line in answer.json()["lines"]] == ["notFound", "invalid", "invalid"]
    assert look_up(call, CRM_ID) == 404


def test_a_long_file_is_worked_through_by_the_machine(do: Do, call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "LINES_PER_PART", 2)
    body = b"Email,nobody@ex.org\nno,1\nEmail,dalia@ex.org\n"
    query = {"hold": "true"}
    answer = call(erasures.handler, "POST", erasures.PATH, body=body, query=query, headers={"Content-Type": "text/csv"})
    assert answer.status == 202
    job = answer.json()
    assert job["status"] == "NEW"
    assert not job.keys() & {"acceptedAt", "lines", "metrics"}
    one = f"{erasures.PATH}/{job['id']}"
    assert look_up(call, CRM_ID) == 200
    assert do("GET", one + "/lines").status == 404
    run_machine()
    done = do("GET", one).json()
    assert done["identities"] == {"erased": 1, "alone": 0, "notFound": 1, "invalid": 1, "reached": 4}
    assert (done["status"], done["properties"]) == ("SUCCESS", {"hold": True, "lake": False})
    page = do("GET", one + "/lines").json()
    assert [line["line"] for line in page["lines"]] == [1, 2]
    assert do("GET", one + "/lines", query={"start": page["_page"]["next"]}).json() == {"lines": [], "_page": {}}
    assert look_up(call, CRM_ID) == 404


def test_holding_and_lifting(do: Do, call: Caller) -> None:
    assert do("GET", erasures.PATH + "/holds", query=ASKED).status == 404
    do("POST", erasures.PATH, body={"identities": [NAMED], "hold": True})
    assert {one["entityId"] for one in do("GET", erasures.PATH + "/holds").json()["children"]} == {
        identity.xid(DEV) for identity in PERSON
    }
    first = do("GET", erasures.PATH + "/holds", query={"limit": "2"}).json()
    assert first["_page"]["count"] == 2
    rest = do("GET", erasures.PATH + "/holds", query={"limit": "2", "start": first["_page"]["next"]}).json()
    assert rest["_page"] == {"count": 1}
    later = T * 2
    (report,) = put(row(CRM, at(later), CRM_ID, EMAIL, city="Oslo"))
    assert list(report.refused) == [at(later)]
    lifted = do("DELETE", erasures.PATH + "/holds", query={"entityId": "4217", "entityIdNS": "crmid"}).json()
    assert not lifted["held"]
    assert [(entry["action"], entry["clientId"]) for entry in lifted["history"]] == [
        ("held", CLIENT_ID),
        ("lifted", CLIENT_ID),
    ]
    assert do("GET", erasures.PATH + "/holds").json() == {"children": [], "_page": {"count": 0}}
    put(row(CRM, at(later), CRM_ID, EMAIL, city="Oslo"))
    assert look_up(call, EMAIL) == 200


def test_everything_that_is_stored_of_a_person(do: Do, monkeypatch: pytest.MonkeyPatch) -> None:
    put(row("web", at(T + 60), DEVICE, _id="ahead", timestamp="2043-03-04T08:00:00Z"))
    put(row("web", batch_place(T + 61, OTHER_BATCH, 0, 0), DEVICE, _id="ahead", timestamp="2043-03-04T08:00:00Z"))
    found = do("POST", erasures.SUBJECT, body=NAMED).json()
    assert found["entityId"] == EMAIL.xid(DEV)
    assert {one["identity"]["id"] for one in found["identities"]} == {identity.value for identity in PERSON}
    assert found["profile"]["entity"]["city"] == "Ghent"
    kinds = [piece["kind"] for piece in found["pieces"]]
    assert (kinds.count("record"), kinds.count("event"), kinds.count("computedState")) == (2, 6, 1)
    (copy,) = [piece for piece in found["pieces"] if piece["kind"] == "eventCopy"]
    assert (copy["batchId"], copy["body"]["_id"]) == (OTHER_BATCH, "ahead")
    assert all(
        piece["batchId"] and piece["ingestedAt"] for piece in found["pieces"] if piece["kind"] != "computedState"
    )
    assert not any(piece["deleted"] for piece in found["pieces"])
    linked = [link for one in found["identities"] for link in one["links"]]
    assert {link["datasetId"] for link in linked} == {"crm", "web"}

    monkeypatch.setattr("api.subject_documents.MAX_PIECES_BYTES", 400)
    pages, body = [], dict(NAMED)
    while True:
        page = do("POST", erasures.SUBJECT, body=body).json()
        pages.append(page)
        if "next" not in page["_page"]:
            break
        body["start"] = page["_page"]["next"]
    assert [piece for page in pages for piece in page["pieces"]] == found["pieces"]
    assert ["identities" in page for page in pages] == [True, *[False] * (len(pages) - 1)]
    assert len(pages) > 3

    do("POST", erasures.PATH, body={"identities": [NAMED]})
    erased = do("POST", erasures.SUBJECT, body=dict(NAMED)).json()
    assert erased["profile"] == {"reason": "Entity not found"}
    assert all(piece["deleted"] for piece in erased["pieces"])
    run_machine()
    assert do("POST", erasures.SUBJECT, body=NAMED).json()["pieces"] == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"identities": []}),
        (400, {"identities": [NAMED] * 1001}),
        (400, {"identities": [NAMED], "files": True}),
        (400, {}),
        (400, b"{"),
    ],
)
def test_what_cannot_be_erased(do: Do, call: Caller, status: int, body: Any) -> None:
    answer = do("POST", erasures.PATH, body=body)
    assert answer.status == status
    assert look_up(call, EMAIL) == 200


def test_what_is_not_there(do: Do, call: Caller) -> None:
    for path in ("/nosuch", "/nosuch/receipt", "/nosuch/lines"):
        assert do("GET", erasures.PATH + path).status == 404
    assert do("POST", erasures.SUBJECT, body=NOBODY).status == 404
    assert do("POST", erasures.SUBJECT, body={"entityId": "nonsense"}).status == 400
    assert do("POST", erasures.SUBJECT, body={**NAMED, "start": "x"}).status == 400
    assert do("GET", erasures.PATH + "/holds", query={"start": "x"}).status == 400
    assert do("DELETE", erasures.PATH + "/holds", query=ASKED).status == 404
    assert do("DELETE", erasures.PATH + "/holds", query={}).status == 400
    empty = call(erasures.handler, "POST", erasures.PATH, body=b"\n", headers={"Content-Type": "text/csv"})
    assert empty.status == 400


def test_only_who_may_erase(do: Do, call: Caller) -> None:
    call.registry.put(f"client#{CLIENT_ID}", "client", client_document(permissions=["read", "ingest", "configure"]))
    assert do("POST", erasures.PATH, body={"identities": [NAMED]}).status == 403
    assert do("POST", erasures.SUBJECT, body=NAMED).status == 403
    assert do("GET", erasures.PATH + "/holds").status == 403
    assert look_up(call, EMAIL) == 200


def test_nothing_personal_is_logged(do: Do, caplog: pytest.LogCaptureFixture) -> None:
    do("POST", erasures.PATH, body={"identities": [NAMED], "hold": True})
    do("POST", erasures.SUBJECT, body=NAMED)
    run_machine()
    do("DELETE", erasures.PATH + "/holds", query=ASKED)
    logged = "\n".join([*caplog.messages, *(str(vars(record)) for record in caplog.records)])
    assert "worked" in logged
    assert CANARY not in logged
