"""Messages over HTTP, through the queue, into the store and the lake (contract: data-and-pql §4.5, §4.6, §7.39-40)."""

from __future__ import annotations

import base64
import random
import time
from dataclasses import dataclass
from typing import Any

import boto3
import orjson
import pytest

from api import batches, data_access, entities, schemas, streaming
from jobs import stream
from tessera.domain.configuration import DatasetKind, DatasetSettings
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tests.integration import stream_queues
from tests.integration.conftest import ORG, OTHER_ORG, Answer, Caller
from tests.integration.inlets import TENANT, make_inlet
from tests.integration.stream_queues import close_windows, pump, waiting

RECORDS, EVENTS, UPSERT, IDENTITIES, UNION = (
    "64f0000000000000000000" + digits for digits in ("01", "02", "03", "04", "05")
)
PROFILE_CLASS = "https://ns.adobe.com/xdm/context/profile"
EVENT_CLASS = "https://ns.adobe.com/xdm/context/experienceevent"
WRONG_ORG = "Message has an absent or wrong ims org in the header"
UNKNOWN = "Message has unknown xdm format"


def person(number: int, **more: object) -> dict[str, object]:
    return {"identityMap": {"CRM": [{"id": f"c{number}"}]}, "person": {"name": {"firstName": f"N{number}"}}, **more}


def event(number: int, **more: object) -> dict[str, object]:
    return {"_id": f"e{number}", "timestamp": "2025-06-18T14:00:00Z", "identityMap": {"CRM": [{"id": "c1"}]}, **more}


def message(entity: object, dataset: str = RECORDS, schema: str = "", **header: object) -> dict[str, Any]:
    reference = {
        "id": schema or (EVENT_CLASS if dataset == EVENTS else PROFILE_CLASS),
        "contentType": "application/vnd.adobe.xed-full+json;version=1",
    }
    return {
        "header": {"schemaRef": reference, "imsOrgId": ORG, "datasetId": dataset, "source": {"name": "till"}, **header},
        "body": {"xdmMeta": {"schemaRef": reference}, "xdmEntity": entity},
    }


@dataclass
class Client:
    """A sender, and a reader of what became of it."""

    call: Caller
    inlet: str

    def send(self, body: object, *, sync: bool = False, inlet: str = "", **options: Any) -> Answer:
        query = {"syncValidation": "true"} if sync else None
        path = f"/collection/{inlet or self.inlet}"
        return self.call(streaming.handler, "POST", path, body=body, query=query, **options)

    def send_several(self, *messages: object) -> Answer:
        path = f"/collection/batch/{self.inlet}"
        return self.call(streaming.handler, "POST", path, body={"messages": list(messages)})

    def entity(self, value: str = "c1") -> Answer:
        query = {"schema.name": "_xdm.context.profile", "entityId": value, "entityIdNS": "CRM"}
        return self.call(entities.handler, "GET", "/data/core/ups/access/entities", query=query)

    def profile(self, value: str = "c1") -> dict[str, Any]:
        answer = self.entity(value)
        assert answer.status == 200, answer.text
        ((_, found),) = answer.json().items()
        return dict(found)

    def events(self, value: str = "c1") -> list[dict[str, Any]]:
        query = {
            "schema.name": "_xdm.context.experienceevent",
            "relatedSchema.name": "_xdm.context.profile",
            "relatedEntityId": value,
            "relatedEntityIdNS": "CRM",
        }
        answer = self.call(entities.handler, "GET", "/data/core/ups/access/entities", query=query)
        assert answer.status == 200, answer.text
        return [child["entity"] for child in answer.json()["children"]]

    def batches(self, **query: str) -> list[dict[str, Any]]:
        answer = self.call(batches.handler, "GET", "/data/foundation/catalog/batches", query=query)
        return sorted(answer.json().values(), key=lambda batch: (batch["status"], batch["id"]), reverse=True)

    def rows(self, batch: str) -> list[dict[str, Any]]:
        """The rows of a batch's files, read back as a caller does."""
        listed = self.call(data_access.handler, "GET", f"/data/foundation/export/batches/{batch}/files").json()["data"]
        found = []
        for one in listed:
            path = f"/data/foundation/export/files/{one['dataSetFileId']}"
            name = self.call(data_access.handler, "GET", path).json()["data"][0]["name"]
            text = self.call(data_access.handler, "GET", path, query={"path": name}).text
            found += [orjson.loads(line) for line in text.splitlines()]
        return found

    def rejected(self, batch: str) -> list[dict[str, Any]]:
        path = f"/data/foundation/export/batches/{batch}/meta"
        files = self.call(data_access.handler, "GET", path, query={"path": "row_errors"}).json()["data"]
        read = [self.call(data_access.handler, "GET", path, query={"path": file["name"]}).json() for file in files]
        return [row for one in read for row in one["data"]]


def configure(*datasets: DatasetSettings) -> None:
    store = ConfigurationStore(aws.dynamodb(), aws.registry_table())
    for dataset in datasets:
        store.change(TENANT, lambda known, dataset=dataset: known.with_dataset(dataset))  # type: ignore[misc]


@pytest.fixture
def client(call: Caller, monkeypatch: pytest.MonkeyPatch) -> Client:
    stream_queues.created_queues(monkeypatch)
    configure(
        DatasetSettings(RECORDS, DatasetKind.RECORD, profile_enabled=True, identity_enabled=True),
        DatasetSettings(EVENTS, DatasetKind.EVENT, profile_enabled=True, identity_enabled=True),
        DatasetSettings(UPSERT, DatasetKind.RECORD, profile_enabled=True, upsert=True),
        DatasetSettings(IDENTITIES, DatasetKind.RECORD, identity_enabled=True),
        DatasetSettings(UNION, DatasetKind.UNION),
    )
    # Known already, so that asking for somebody who is not there is answered 404.
    ConfigurationStore(aws.dynamodb(), aws.registry_table()).change(
        TENANT, lambda known: known.with_namespaces(["CRM"])
    )
    return Client(call, make_inlet())


def stored() -> dict[str, Any]:
    """Everything in the profile table."""
    items = boto3.client("dynamodb").scan(TableName=aws.profile_table())["Items"]
    return {f"{item['pk']['S']} {item['sk']['S']}": item for item in items}


class TestOneMessage:
    def test_written_before_the_answer_when_it_is_validated(self, client: Client) -> None:
        answer = client.send(message(person(1)), sync=True)
        assert answer.status == 200, answer.text
        told = answer.json()
        assert set(told) == {"inletId", "xactionId", "receivedTimeMs", "syncValidation"}
        assert told["inletId"] == client.inlet
        assert told["syncValidation"] == {"status": "pass"}
        assert abs(told["receivedTimeMs"] - time.time() * 1000) < 60_000
        assert told["xactionId"].startswith(f"{told['receivedTimeMs']}:")
        assert waiting("stream") == []
        profile = client.profile()
        assert profile["entity"]["person"] == {"name": {"firstName": "N1"}}
        assert profile["sources"] == [RECORDS]
        assert profile["tags"] == [told["xactionId"]]

    def test_received_only_when_it_is_not(self, client: Client) -> None:
        answer = client.send(message(person(1)))
        assert answer.status == 200
        assert answer.json()["syncValidation"] == {"skipped": True}
        assert client.entity().status == 404
        assert len(waiting("stream")) == 1
        assert pump() == 1
        profile = client.profile()
        assert profile["tags"] == [answer.json()["xactionId"]]
        assert profile["lastModifiedAt"].startswith(time.strftime("%Y-%m-%dT", time.gmtime()))

    def test_both_ways_end_in_a_batch_of_the_dataset(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        client.send(message(event(1), EVENTS), sync=True)
        client.send(message(event(2), EVENTS))
        pump()
        assert {one["_id"] for one in client.events()} == {"e1", "e2"}
        assert client.batches() == []
        close_windows(monkeypatch)
        [batch] = client.batches()
        assert batch["status"] == "success"
        assert batch["relatedObjects"] == [{"type": "dataSet", "id": EVENTS}]
        assert batch["metrics"]["inputRecordCount"] == batch["metrics"]["outputRecordCount"] == 2
        assert batch["inputFormat"]["format"] == "json"
        assert sorted(row["_id"] for row in client.rows(batch["id"])) == ["e1", "e2"]
        refused = client.call(
            batches.handler,
            "POST",
            "/data/foundation/import/batches",
            body={"datasetId": EVENTS, "replay": {"predecessors": [batch["id"]]}},
        )
        assert (refused.status, "streamed" in refused.text) == (400, True)

    def test_an_organisation_that_is_not_named_is_the_inlets(self, client: Client) -> None:
        sent = message(person(1))
        del sent["header"]["imsOrgId"], sent["header"]["source"]
        assert client.send(sent, sync=True).status == 200
        assert client.entity().status == 200

    @pytest.mark.parametrize("sync", [True, False])
    @pytest.mark.parametrize(
        ("spoilt", "text", "says"),
        [
            (lambda one: one["header"].update(imsOrgId=OTHER_ORG), WRONG_ORG, "imsOrgId"),
            (lambda one: one["header"].update(imsOrgId=""), WRONG_ORG, "imsOrgId"),
            (lambda one: one["header"].update(imsOrgId=[ORG]), WRONG_ORG, "imsOrgId"),
            (lambda one: one.pop("header"), UNKNOWN, "header"),
            (lambda one: one.pop("body"), UNKNOWN, "body"),
            (lambda one: one["header"].pop("datasetId"), UNKNOWN, "datasetId"),
            (lambda one: one["header"].update(datasetId=["x"]), UNKNOWN, "datasetId"),
            (lambda one: one["header"].update(datasetId="nobody"), UNKNOWN, "datasetId"),
            (lambda one: one["header"].update(datasetId=UNION), UNKNOWN, "union"),
            (lambda one: one["header"].pop("schemaRef"), UNKNOWN, "header.schemaRef"),
            (lambda one: one["header"].update(schemaRef={"id": EVENT_CLASS}), UNKNOWN, "header.schemaRef"),
            (lambda one: one["body"].pop("xdmMeta"), UNKNOWN, "body.xdmMeta"),
            (lambda one: one["body"].update(xdmMeta={"schemaRef": {"id": {}}}), UNKNOWN, "body.xdmMeta"),
        ],
    )
    def test_what_is_refused_as_it_arrives(self, client: Client, sync: bool, spoilt: Any, text: str, says: str) -> None:
        sent = message(person(1))
        spoilt(sent)
        answer = client.send(sent, sync=sync)
        assert answer.status == 400
        told = answer.json()
        assert says in told.pop("detail")
        assert told == {
            "type": "http://ns.adobe.com/adobecloud/problem/data-collection-service/inlet",
            "status": 400,
            "title": "Invalid XDM Message Format",
            "report": {"message": f"inletId: [{client.inlet}] imsOrgId: [{ORG}] {text}"},
        }
        assert waiting("stream") == []
        assert stored() == {}

    def test_bodies_that_are_no_messages(self, client: Client) -> None:
        assert client.send(b"{").status == 400
        assert client.send([]).status == 400
        assert client.send(message(person(1)), headers={"Content-Type": "application/x-jackson-smile"}).status == 415
        assert client.send(message(person(1, much="x" * (1 << 20)))).status == 413
        assert client.send(message(person(1)), inlet="nobody").status == 404
        assert waiting("stream") == []

    def test_what_a_queue_does_not_take_waits_in_the_lake(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        noise = base64.b85encode(random.Random(1).randbytes(400_000)).decode()
        assert client.send(message(person(1, noise=noise))).status == 200
        assert len(waiting("stream")[0]["Body"]) < 1000
        pump()
        assert client.entity().status == 404
        close_windows(monkeypatch)
        [batch] = client.batches()
        [row] = client.rejected(batch["id"])
        assert row["_errors"][0]["code"] == "INGEST-1413-400"

    def test_a_queue_that_takes_nothing_is_told(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tessera.storage.queues._LONGEST_PAUSE_S", 0)
        real = aws.sqs()
        calls = []

        class Full:
            def send_message_batch(self, QueueUrl: str, Entries: list[Any]) -> Any:
                calls.append(len(Entries))
                if len(calls) > 1 and calls[0] > 1:
                    return {"Failed": [{"Id": entry["Id"]} for entry in Entries]}
                good, bad = Entries[:-1], Entries[-1:]
                if good:
                    real.send_message_batch(QueueUrl=QueueUrl, Entries=good)
                return {"Failed": [{"Id": entry["Id"]} for entry in bad]}

        monkeypatch.setattr(streaming._receiver()._queue, "_client", Full())
        answer = client.send(message(person(1)))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        calls.clear()
        answers = client.send_several(message(person(1)), message(person(2))).json()["responses"]
        assert [one.get("statusCode") for one in answers] == [None, 503]
        pump()
        assert client.entity("c1").status == 200
        assert client.entity("c2").status == 404


class TestValidation:
    @pytest.fixture
    def schema(self, client: Client) -> str:
        fields = {
            "points": {"type": "integer", "minimum": 0},
            "tier": {"type": "string", "enum": ["silver", "gold"]},
            "code": {"type": "string", "pattern": "^[A-Z]+$"},
            **{f"n{number}": {"type": "integer"} for number in range(4)},
        }
        answer = client.call(
            schemas.handler,
            "POST",
            "/data/foundation/schemaregistry/tenant/schemas",
            body={
                "title": "Members",
                "type": "object",
                "meta:extends": [PROFILE_CLASS],
                "allOf": [
                    {"$ref": PROFILE_CLASS},
                    {"properties": {"_tessera": {"type": "object", "properties": fields, "required": ["points"]}}},
                ],
            },
        )
        assert answer.status == 201, answer.text
        schema_id = str(answer.json()["$id"])
        configure(
            DatasetSettings(RECORDS, DatasetKind.RECORD, profile_enabled=True, identity_enabled=True, schema=schema_id)
        )
        return schema_id

    def test_the_shape_of_a_refusal(self, client: Client, schema: str) -> None:
        bad = person(1, _tessera={"points": -1, "tier": "tin", "code": "a", "n0": "x", "n1": "x", "n2": "x", "n3": "x"})
        answer = client.send(message(bad, schema=schema), sync=True)
        assert answer.status == 400
        told = answer.json()
        violations = told["report"]["cause"].pop("_streamingValidation")
        assert told == {
            "type": "http://ns.adobe.com/adobecloud/problem/data-collection-service/inlet",
            "status": 400,
            "title": "Invalid XDM Message Format",
            "report": {
                "message": f"inletId: [{client.inlet}] imsOrgId: [{ORG}] Message is invalid",
                "cause": {},
            },
        }
        assert len(violations) == 5
        for one in violations:
            assert set(one) == {"schemaLocation", "pointerToViolation", "causingExceptions", "keyword", "message"}
            assert one["causingExceptions"] == []
        keywords = {one["pointerToViolation"]: one["keyword"] for one in violations}
        assert keywords["/_tessera/n0"] == "type"
        # Nothing is stored, and nothing is kept of it.
        assert stored() == {}
        assert stream_queues.asked_for() == []

    def test_the_same_message_unvalidated_becomes_a_failed_batch(
        self, client: Client, schema: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answer = client.send(message(person(1, _tessera={"points": -1}), schema=schema))
        assert answer.json()["syncValidation"] == {"skipped": True}
        pump()
        assert stored() == {}
        close_windows(monkeypatch)
        [batch] = client.batches(dataSet=RECORDS, status="failed")
        assert batch["metrics"]["failedRecordCount"] == batch["metrics"]["inputRecordCount"] == 1
        assert [error["code"] for error in batch["errors"]] == ["INGEST-1510-400", "INGEST-1212-400"]
        [row] = client.rejected(batch["id"])
        assert row["_tessera"] == {"points": -1}
        assert row["_filename"] == answer.json()["xactionId"]
        path = f"/data/foundation/export/batches/{batch['id']}/failed"
        name = client.call(data_access.handler, "GET", path).json()["data"][0]["name"]
        [shown] = client.call(data_access.handler, "GET", path, query={"path": name}).json()["data"]
        assert shown["_validationErrors"][0]["keyword"] == "minimum"

    def test_a_message_is_judged_by_what_was_in_force_when_it_came(self, client: Client, schema: str) -> None:
        client.send(message(person(1, _tessera={"points": "12"}), schema=schema))
        configure(DatasetSettings(RECORDS, DatasetKind.RECORD, profile_enabled=True, upsert=True, schema=schema))
        pump()
        assert client.profile()["entity"]["_tessera"] == {"points": 12}

    @pytest.mark.parametrize(
        ("spoilt", "says"),
        [
            (lambda one: one["header"].update(source={}), "Payload header is missing Source Name"),
            (lambda one: one["header"].update(source={"name": 5}), "Payload header is missing Source Name"),
            (lambda one: one["body"].pop("xdmEntity"), "Payload body is missing xdmEntity"),
            (lambda one: one["body"].update(xdmEntity=[]), "Payload body is missing xdmEntity"),
            (lambda one: one["body"]["xdmEntity"].pop("_id"), "an event needs an _id"),
            (lambda one: one["body"]["xdmEntity"].update(timestamp="yesterday"), "timestamp"),
            (lambda one: one["body"]["xdmEntity"].pop("identityMap"), "identityMap is missing"),
            (lambda one: one["body"]["xdmEntity"].update({f"f{n}": n for n in range(10_001)}), "fields"),
            (lambda one: one["header"].update(operations={"data": "merge"}), "events are never updated"),
        ],
    )
    def test_what_is_found_only_by_looking_at_the_row(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, spoilt: Any, says: str
    ) -> None:
        sent = message(event(1), EVENTS)
        spoilt(sent)
        told = client.send(sent, sync=True)
        assert told.status == 400
        [violation] = told.json()["report"]["cause"]["_streamingValidation"]
        assert says in violation["message"]
        assert client.send(sent).status == 200
        pump()
        close_windows(monkeypatch)
        [batch] = client.batches()
        assert batch["status"] == "failed"
        [row] = client.rejected(batch["id"])
        assert says in row["_errors"][0]["message"]
        assert stored() == {}


class TestSeveral:
    def test_each_by_itself(self, client: Client) -> None:
        wrong, bodiless = message(person(2), imsOrgId=OTHER_ORG), message(person(3))
        del bodiless["body"]
        answer = client.send_several(message(person(1)), wrong, bodiless, "nonsense", message(person(4)))
        assert answer.status == 207
        told = answer.json()
        assert set(told) == {"inletId", "batchId", "receivedTimeMs", "responses"}
        first, second, third, fourth, fifth = told["responses"]
        assert first == {"xactionId": f"{told['batchId']}:0"}
        assert fifth == {"xactionId": f"{told['batchId']}:4"}
        about = f"inletId: [{client.inlet}] imsOrgId: [{ORG}]"
        for one, text in ((second, WRONG_ORG), (third, UNKNOWN), (fourth, UNKNOWN)):
            assert (one["statusCode"], one["message"]) == (400, f"{about} {text}")
        pump()
        assert client.profile("c1")["tags"] == [first["xactionId"]]
        assert client.profile("c4")["tags"] == [fifth["xactionId"]]
        assert [client.entity(f"c{number}").status for number in (2, 3)] == [404, 404]

    def test_all_refused_none_sent_and_no_list(self, client: Client) -> None:
        assert client.send_several("a", 1).status == 207
        assert client.send_several().json()["responses"] == []
        path = f"/collection/batch/{client.inlet}"
        for body in ({}, [], {"messages": {}}):
            assert client.call(streaming.handler, "POST", path, body=body).status == 400
        query = {"syncValidation": "true"}
        assert client.call(streaming.handler, "POST", path, body={"messages": []}, query=query).status == 501
        assert waiting("stream") == []

    def test_more_than_one_call_to_the_queue_takes(self, client: Client) -> None:
        assert client.send_several(*[message(person(number)) for number in range(37)]).status == 207
        pump()
        assert {client.entity(f"c{number}").status for number in range(37)} == {200}

    def test_the_last_of_one_request_counts(self, client: Client) -> None:
        client.send_several(*[message(person(1, n=number)) for number in range(12)])
        client_order = waiting("stream")
        stream.process(stream_queues.event_of(client_order[::-1]), None)
        assert client.profile()["entity"]["n"] == 11


class TestUpdates:
    def test_merge_append_and_delete(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        client.send(message(person(1, tags=["a"], keep=1)), sync=True)
        merge = {"operations": {"data": "merge"}}
        bare = message(person(1, tags=["b"]), **merge)
        answer = client.send(bare, sync=True)
        assert answer.status == 400
        assert "$append" in answer.text
        assert client.send(message(person(1, tags={"$append": ["b"]}), **merge), sync=True).status == 200
        assert client.profile()["entity"]["tags"] == ["a", "b"]
        assert client.profile()["entity"]["keep"] == 1
        same = {"operations": {"data": "merge", "identity": "create", "identityDatasetId": RECORDS}}
        assert "would be replaced" in client.send(message(person(1), **same), sync=True).text
        assert client.send(message(person(1), operations={"data": "delete"}), sync=True).status == 200
        assert client.entity().status == 404
        close_windows(monkeypatch)
        [batch] = client.batches()
        assert [row["tags"] for row in client.rows(batch["id"])] == [["a"]]

    def test_rows_of_upsert_datasets_are_merged_and_not_in_the_lake(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client.send_several(message(person(1, a=1), UPSERT), message(person(1, b=2), UPSERT))
        pump()
        assert client.profile()["entity"].items() >= {"a": 1, "b": 2}.items()
        close_windows(monkeypatch)
        assert client.batches() == []
