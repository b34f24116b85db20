"""Streaming on the deployed service: written before the answer, or within seconds, and never lost."""

from __future__ import annotations

import time
import uuid
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from aepp import config as aepp_config
from aepp.flowservice import FlowService
from aepp.ingestion import DataIngestion

from ops.client import Client
from ops.outputs import Outputs
from ops.replay import replay
from tessera.domain.message import Message
from tessera.domain.place import stream_place
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import ulid
from tessera.services.schema_versions import version_partition
from tessera.storage.codec import pack
from tessera.storage.registry import Registry
from tests.e2e.conftest import adobe_client

PROFILE = "https://ns.adobe.com/xdm/context/profile"
EVENT = "https://ns.adobe.com/xdm/context/experienceevent"
PATIENCE_S = 60
# A version of a schema that rows are judged by; until it is there, a message that names it cannot be dealt with.
LATE_VERSION = uuid.uuid4().hex


@pytest.fixture(scope="module")
def inlet(client: Client, configuration: dict[str, str]) -> str:
    """An open inlet, made by Adobe's client."""
    adobe_client(configuration)
    flows = FlowService()
    made = flows.createConnectionStreaming(
        name="Tills", sourceId="till-7", dataType="xdm", paramName="Tills", authenticationRequired=False
    )
    return str(flows.getConnection(made["id"])["auth"]["params"]["inletId"])


@pytest.fixture(scope="module")
def records(client: Client) -> str:
    return client.create_dataset("streamed people", "profile", "unifiedProfile", "unifiedIdentity")


@pytest.fixture(scope="module")
def events(client: Client) -> str:
    return client.create_dataset("streamed events", "experienceevent", "unifiedProfile", "unifiedIdentity")


@pytest.fixture(scope="module")
def loader(configuration: dict[str, str], inlet: str) -> DataIngestion:
    """Adobe's client; where it streams to stands in its table of endpoints."""
    aepp_config.endpoints["streaming"]["collection"] = configuration["base_url"]
    return DataIngestion()


@pytest.fixture(scope="module")
def poison(outputs: Outputs, tenant: Tenant, records: str) -> None:
    """A message that fails again and again, from before the other tests on, so that nobody waits for it."""
    queue = boto3.client("sqs")
    # Here nobody waits a minute for a message to come again.
    queue.set_queue_attributes(QueueUrl=outputs.stream_queue_url, Attributes={"VisibilityTimeout": "3"})
    now = time.time_ns() // 1_000_000
    sent = message(tenant, records, PROFILE, person("late@ex.org"))
    place = stream_place(now, ulid(now, 1), None)
    late = Message(tenant, records, place, sent["header"], sent["body"], schema=LATE_VERSION)
    queue.send_message(QueueUrl=outputs.stream_queue_url, MessageBody=encoded({"message": late.to_document()}))


def encoded(document: dict[str, Any]) -> str:
    return b64encode(pack(document)).decode()


def person(email: str, **more: object) -> dict[str, object]:
    return {"identityMap": {"Email": [{"id": email, "primary": True}]}, **more}


def message(tenant: Tenant, dataset: str, schema: str, entity: dict[str, object]) -> dict[str, Any]:
    reference = {"id": schema, "contentType": "application/vnd.adobe.xed-full+json;version=1"}
    header = {"schemaRef": reference, "imsOrgId": tenant.org_id, "datasetId": dataset, "source": {"name": "till"}}
    return {"header": header, "body": {"xdmMeta": {"schemaRef": reference}, "xdmEntity": entity}}


def until(found: Callable[[], Any]) -> Any:
    """Ask until there is an answer."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := found()):
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.1)
    return answer


def test_validated_messages_are_read_at_once(
    client: Client, loader: DataIngestion, inlet: str, poison: None, tenant: Tenant, records: str
) -> None:
    sent = message(tenant, records, PROFILE, person("now@ex.org", person={"name": {"firstName": "Ada"}}))
    answer = loader.streamMessage(inlet, sent, syncValidation=True)
    assert answer["syncValidation"] == {"status": "pass"}
    ((_, profile),) = client.entity("Email", "now@ex.org").json().items()
    assert profile["entity"]["person"] == {"name": {"firstName": "Ada"}}
    assert profile["tags"] == [answer["xactionId"]]
    refused = loader.streamMessage(inlet, message(tenant, records, PROFILE, {}), syncValidation=True)
    assert refused["status"] == 400
    assert refused["report"]["cause"]["_streamingValidation"][0]["message"]


def test_other_messages_are_read_within_seconds(
    client: Client, loader: DataIngestion, inlet: str, tenant: Tenant, records: str, events: str
) -> None:
    identity = {"identityMap": {"Email": [{"id": "soon@ex.org", "primary": True}]}}
    buy = {"_id": "b1", "timestamp": "2026-03-01T08:00:00Z", **identity}
    good, bad = message(tenant, records, PROFILE, person("soon@ex.org", n=1)), message(tenant, events, EVENT, identity)
    wrong = message(Tenant("WRONG@AdobeOrg", "prod"), records, PROFILE, person("soon@ex.org", n=2))
    answers = loader.streamMessages(inlet, [good, wrong, bad, message(tenant, events, EVENT, buy)])["responses"]
    assert ["xactionId" in one for one in answers] == [True, False, True, True]
    began = time.monotonic()
    assert loader.streamMessage(inlet, message(tenant, events, EVENT, {**buy, "_id": "b2"}))["syncValidation"] == {
        "skipped": True
    }
    until(lambda: client.entity("Email", "soon@ex.org").status_code == 200)
    until(lambda: len(client.events("Email", "soon@ex.org").json()["children"]) == 2)
    print(f"streamed messages were read after {time.monotonic() - began:.2f} s")


def test_a_message_nobody_could_deal_with_is_replayed(
    client: Client, outputs: Outputs, poison: None, tenant: Tenant
) -> None:
    queue = boto3.client("sqs")

    def dead() -> bool:
        # It is moved when somebody asks for messages.
        queue.receive_message(QueueUrl=outputs.stream_queue_url, VisibilityTimeout=0)
        found = queue.get_queue_attributes(
            QueueUrl=outputs.stream_dead_letters_url, AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(found["Attributes"]["ApproximateNumberOfMessages"]) > 0

    until(dead)
    assert client.entity("Email", "late@ex.org").status_code == 404
    document = {"schema": {"type": "object"}, "identities": []}
    Registry(boto3.client("dynamodb"), outputs.registry_table).put(version_partition(tenant), LATE_VERSION, document)
    assert replay(queue, outputs.stream_dead_letters_url, outputs.stream_queue_url) >= 1
    until(lambda: client.entity("Email", "late@ex.org").status_code == 200)


def test_streamed_rows_become_batches(client: Client, events: str) -> None:
    def listed(status: str) -> Any:
        answer = client.http.get(
            "/data/foundation/catalog/batches", params={"dataSet": events, "status": status, "limit": 100}
        )
        return list(answer.json().values())

    def rows(status: str, figure: str) -> int:
        return sum(one["metrics"][figure] for one in listed(status))

    until(lambda: rows("success", "outputRecordCount") == 2 and rows("failed", "failedRecordCount") == 1)
    batch = listed("success")[0]["id"]
    file = client.http.get(f"/data/foundation/export/batches/{batch}/files").json()["data"][0]["dataSetFileId"]
    name = client.http.get(f"/data/foundation/export/files/{file}").json()["data"][0]["name"]
    body = client.http.get(f"/data/foundation/export/files/{file}", params={"path": name}).text
    assert '"b1"' in body or '"b2"' in body
    failed = listed("failed")[0]["id"]
    told = client.http.get(f"/data/foundation/export/batches/{failed}/meta", params={"path": "row_errors_sample.json"})
    assert told.json()["data"][0]["_errors"][0]["message"] == "an event needs an _id"


def test_a_deleted_batch_stays_away_whatever_comes_again(client: Client, outputs: Outputs, tenant: Tenant) -> None:
    queue = boto3.client("sqs")
    dataset = client.create_dataset("streamed and deleted", "experienceevent", "unifiedProfile", "unifiedIdentity")
    now = time.time_ns() // 1_000_000

    def one(number: int, at_ms: int) -> Message:
        identity = person("again@ex.org")
        entity = {"_id": f"e{number}", "timestamp": "2026-03-01T08:00:00Z", **identity}
        sent = message(tenant, dataset, EVENT, entity)
        return Message(tenant, dataset, stream_place(at_ms, ulid(at_ms, number), None), sent["header"], sent["body"])

    def deliver(*messages: Message) -> None:
        for sent in messages:
            body = encoded({"message": sent.to_document()})
            queue.send_message(QueueUrl=outputs.stream_queue_url, MessageBody=body)

    def seen() -> list[str]:
        answer = client.events("Email", "again@ex.org")
        return sorted(child["entityId"] for child in answer.json()["children"]) if answer.status_code == 200 else []

    def is_quiet() -> bool:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = queue.get_queue_attributes(QueueUrl=outputs.stream_queue_url, AttributeNames=names)["Attributes"]  # type: ignore[arg-type]
        return all(int(number) == 0 for number in found.values())

    gone = [one(number, now) for number in (1, 2)]
    deliver(*gone)
    until(lambda: seen() == ["e1", "e2"])
    listed = {"dataSet": dataset, "status": "success"}
    (batch,) = until(lambda: client.http.get("/data/foundation/catalog/batches", params=listed).json())
    job = client.http.post("/data/core/ups/system/jobs", json={"batchId": batch, "lake": True}).json()["id"]
    assert seen() == []
    deliver(*gone, one(3, time.time_ns() // 1_000_000))
    until(lambda: seen() == ["e3"])
    until(lambda: client.http.get(f"/data/core/ups/system/jobs/{job}").json()["status"] in {"SUCCESS", "FAILED"})
    assert client.http.get(f"/data/core/ups/system/jobs/{job}/receipt").json()["swept"][0]["deleted"]["events"] == 2
    deliver(*gone)
    until(is_quiet)
    assert seen() == ["e3"]
