"""Batches over HTTP and through their machine: what good and bad input gets (contract: data-and-pql §4.2, §4.3, §7)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import boto3
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api import batches, data_access
from tessera.domain.configuration import DatasetKind, DatasetSettings
from tessera.domain.tenant import Tenant
from tessera.services.ingestion import chunks as splitting
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tests.integration import ingest_machine
from tests.integration.conftest import ORG, Answer, Caller

RECORDS, EVENTS, UNION, UPSERT, ELSEWHERE = (
    "64f0000000000000000000" + digits for digits in ("01", "02", "03", "04", "05")
)
IMPORT = "/data/foundation/import/batches"
TENANT = Tenant(ORG, "dev")


@dataclass
class Client:
    """A caller of the ingestion API."""

    call: Caller

    def create(self, body: object, **options: Any) -> Answer:
        return self.call(batches.handler, "POST", IMPORT, body=body, **options)

    def created(self, dataset: str = RECORDS, form: str = "json", multi_line: bool = False, **more: object) -> str:
        answer = self.create(
            {"datasetId": dataset, "inputFormat": {"format": form, "isMultiLineJson": multi_line}, **more}
        )
        assert answer.status == 201, answer.text
        return str(answer.json()["id"])

    def put(self, batch: str, path: str, body: bytes, dataset: str = RECORDS, **headers: str) -> Answer:
        return self.call(
            batches.handler,
            "PUT",
            f"{IMPORT}/{batch}/datasets/{dataset}/files/{path}",
            body=body,
            headers={"Content-Type": "application/octet-stream", **headers},
        )

    def signal(self, batch: str, action: str = "COMPLETE") -> Answer:
        return self.call(batches.handler, "POST", f"{IMPORT}/{batch}", query={"action": action})

    def status(self, batch: str) -> dict[str, Any]:
        answer = self.call(batches.handler, "GET", f"/data/foundation/catalog/batches/{batch}")
        assert answer.status == 200
        assert answer.json() == self.call(batches.handler, "GET", f"/data/foundation/catalog/batch/{batch}").json()
        described: dict[str, Any] = answer.json()[batch]
        return described

    def read(self, batch: str, what: str, **query: str) -> Answer:
        return self.call(data_access.handler, "GET", f"/data/foundation/export/batches/{batch}/{what}", query=query)

    def rejected(self, batch: str) -> list[dict[str, Any]]:
        """Every rejected row, read back the way a caller does."""
        files = self.read(batch, "meta", path="row_errors").json()["data"]
        return [row for file in files for row in self.read(batch, "meta", path=file["name"]).json()["data"]]

    def ingest(self, files: Mapping[str, bytes], dataset: str = RECORDS, times: int = 1, **more: Any) -> dict[str, Any]:
        """Bring files all the way, and hold what every batch must keep to."""
        batch = self.created(dataset, **more)
        for path, body in files.items():
            assert self.put(batch, path, body, dataset).status == 200
        assert self.signal(batch).status == 200
        ended = ingest_machine.run(input_of(batch), times=times)
        described = self.status(batch)
        assert described["status"] == {"done": "success", "refused": "failed", "broken": "stalled"}[ended]
        metrics = described["metrics"]
        assert metrics["failedRecordCount"] == metrics["inputRecordCount"] - metrics["outputRecordCount"]
        return described


def input_of(batch: str) -> dict[str, str]:
    return {"org_id": ORG, "sandbox": "dev", "batch_id": batch}


@pytest.fixture
def client(call: Caller, monkeypatch: pytest.MonkeyPatch) -> Client:
    ingest_machine.created_machine(monkeypatch)
    store = ConfigurationStore(aws.dynamodb(), aws.registry_table())
    for tenant, dataset in (
        (TENANT, DatasetSettings(RECORDS, DatasetKind.RECORD, profile_enabled=True, identity_enabled=True)),
        (TENANT, DatasetSettings(EVENTS, DatasetKind.EVENT, profile_enabled=True, identity_enabled=True)),
        (TENANT, DatasetSettings(UNION, DatasetKind.UNION)),
        (TENANT, DatasetSettings(UPSERT, DatasetKind.RECORD, profile_enabled=True, upsert=True)),
        (Tenant(ORG, "prod"), DatasetSettings(ELSEWHERE, DatasetKind.RECORD, profile_enabled=True)),
    ):
        store.change(tenant, lambda known, dataset=dataset: known.with_dataset(dataset))  # type: ignore[misc]
    return Client(call)


def person(number: int, **more: object) -> dict[str, object]:
    return {"identityMap": {"CRM": [{"id": f"c{number}"}]}, "person": {"name": {"firstName": f"N{number}"}}, **more}


def event(number: int, **more: object) -> dict[str, object]:
    return {
        "_id": f"e{number}",
        "timestamp": "2025-06-18T14:00:00Z",
        "identityMap": {"CRM": [{"id": f"c{number}"}]},
        **more,
    }


def json_lines(rows: Sequence[object]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def parquet(rows: list[Any]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def stored() -> dict[str, Any]:
    """Everything in the profile table."""
    items = boto3.client("dynamodb").scan(TableName=aws.profile_table())["Items"]
    return {f"{item['pk']['S']} {item['sk']['S']}": item for item in items}


class TestCreating:
    def test_the_batch_object(self, client: Client) -> None:
        answer = client.create(
            {"datasetId": RECORDS, "inputFormat": {"format": "JSON"}, "enableErrorDiagnostics": True,
             "partialIngestionPercent": 5, "tags": {"mine": ["a"]}}
        )  # fmt: skip
        assert answer.status == 201
        batch = answer.json()
        assert len(batch["id"]) == 26
        assert batch["status"] == "loading"
        assert batch["imsOrg"] == ORG
        assert batch["version"] == "1.0.0"
        assert batch["relatedObjects"] == [{"type": "dataSet", "id": RECORDS}]
        assert batch["inputFormat"] == {"format": "json", "isMultiLineJson": False}
        assert batch["tags"] == {
            "mine": ["a"], "acp_enableErrorDiagnostics": ["true"], "acp_partialIngestionPercent": ["5"],
        }  # fmt: skip
        assert batch["created"] == batch["updated"] > 1_600_000_000_000
        assert batch["createdUser"] == batch["updatedUser"]
        assert client.status(batch["id"]) == batch

    def test_the_spelling_of_the_client_and_the_default_format(self, client: Client) -> None:
        answer = client.create({"datasetId": RECORDS, "partialIngestionPercentage": 12.5})
        assert answer.json()["inputFormat"] == {"format": "parquet"}
        assert answer.json()["tags"] == {"acp_partialIngestionPercent": ["12.5"]}
        assert client.create({"datasetId": RECORDS, "partialIngestionPercent": 0}).json()["tags"] == {}

    @pytest.mark.parametrize(
        ("body", "status", "says"),
        [
            ({}, 400, "datasetId"),
            ([], 400, ""),
            ({"datasetId": 5}, 400, "datasetId"),
            ({"datasetId": "nobody"}, 404, "does not exist in this sandbox"),
            ({"datasetId": ELSEWHERE}, 404, "does not exist in this sandbox"),
            ({"datasetId": UNION}, 400, "union"),
            ({"datasetId": RECORDS, "inputFormat": {"format": "csv", "isMultiLineJson": True}}, 400, "isMultiLineJson"),
            ({"datasetId": RECORDS, "inputFormat": {"format": "xml"}}, 400, "json, parquet or csv"),
            ({"datasetId": RECORDS, "inputFormat": "json"}, 400, "inputFormat"),
            ({"datasetId": RECORDS, "inputFormat": {"isMultiLineJson": True}}, 400, "isMultiLineJson"),
            ({"datasetId": RECORDS, "partialIngestionPercent": 101}, 400, "partialIngestionPercent"),
            ({"datasetId": RECORDS, "partialIngestionPercent": -1}, 400, "partialIngestionPercent"),
            ({"datasetId": RECORDS, "replay": {"predecessors": ["x"]}}, 404, "does not exist"),
            ({"datasetId": UPSERT, "replay": {"predecessors": ["x"]}}, 400, "upsert"),
            ({"datasetId": RECORDS, "tags": {"a": "b"}}, 400, "tags"),
            ({"datasetId": RECORDS, "tags": {"a": ["b" * 10_001]}}, 400, "tags"),
        ],
    )
    def test_what_cannot_be_created(self, client: Client, body: object, status: int, says: str) -> None:
        answer = client.create(body)
        assert answer.status == status
        assert says in answer.text
        assert client.call(batches.handler, "GET", "/data/foundation/catalog/batches").json() == {}

    def test_malformed_json_and_a_wrong_content_type(self, client: Client) -> None:
        assert client.create(b"{").status == 400
        assert client.create({"datasetId": RECORDS}, headers={"Content-Type": "text/plain"}).status == 415
        assert client.call(batches.handler, "PATCH", IMPORT, body={"replay": {"predecessors": ["$x"]}}).status == 400


class TestUploading:
    def test_the_last_content_of_a_path_counts_and_directories_are_kept(self, client: Client) -> None:
        batch = client.created()
        for body in (b"first", json_lines([person(1)])):
            answer = client.put(batch, "a/b%20c/one.json", body)
            assert (answer.status, answer.json()) == (200, {})
        [file] = client.read(batch, "meta", path="input_files").json()["data"]
        assert file["name"] == "input_files/a/b c/one.json"
        assert file["length"] == len(json_lines([person(1)]))

    @pytest.mark.parametrize(
        "path",
        ["../x", "a/../x", "a//x", "./x", "%2e%2e/x", "a%2f..%2fx", "%252e%252e/x", "a%00b", "a%0ab", "%2Fx", "x" * 513,
         "a%5c..%5cb", "a%ef%bf%bf", "%c3%a9" * 257],
    )  # fmt: skip
    def test_unusable_paths(self, client: Client, path: str) -> None:
        batch = client.created()
        assert client.put(batch, path, b"{}").status == 400
        url = f"{IMPORT}/{batch}/datasets/{RECORDS}/files/{path}"
        assert client.call(batches.handler, "POST", url, query={"action": "PRESIGN"}).status == 400
        assert client.read(batch, "meta", path="input_files").json()["data"] == []

    def test_wrong_batches_datasets_types_and_sizes(self, client: Client) -> None:
        batch = client.created()
        assert client.put("01BX5ZZKBKACTAV9WEVGEMMVRZ", "a", b"x").status == 404
        assert client.put(batch, "a", b"x", dataset=EVENTS).status == 404
        assert client.put(batch, "a", b"x", **{"Content-Type": "application/json"}).status == 415
        assert client.put(batch, "a", b"x", **{"x-sandbox-name": "prod"}).status == 404
        answer = client.put(batch, "a", b"x" * 4_500_001)
        assert answer.status == 413
        assert "action=PRESIGN" in answer.text
        assert "action=INITIALIZE" in answer.text
        assert client.put(batch, "a", b"x" * 4_500_000).status == 200

    def test_presigning(self, client: Client) -> None:
        batch = client.created()
        url = f"{IMPORT}/{batch}/datasets/{RECORDS}/files/big/one.json"
        answer = client.call(batches.handler, "POST", url, query={"action": "presign"})
        assert answer.status == 200
        assert set(answer.json()) == {"url", "method", "headers", "expiresInSeconds"}
        assert f"/{batch}/{RECORDS}/big/one.json?" in answer.json()["url"]
        refused = client.call(batches.handler, "POST", url, query={"action": "nonsense"})
        assert refused.status == 400
        assert "PRESIGN" in refused.text

    def test_a_file_that_comes_while_the_batch_is_completed_is_not_acknowledged(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batch = client.created()
        client.put(batch, "a.json", json_lines([person(1)]))
        storage = batches._batches()._files
        receive = storage.receive

        def late(*args: Any) -> None:
            client.signal(batch)
            ingest_machine.run(input_of(batch))
            receive(*args)

        monkeypatch.setattr(storage, "receive", late)
        assert client.put(batch, "b.json", json_lines([person(2)])).status == 400
        assert client.status(batch)["metrics"]["inputRecordCount"] == 1


class TestStatus:
    def test_complete_is_repeatable_in_every_state_and_starts_one_execution(self, client: Client) -> None:
        batch = client.created()
        client.put(batch, "a.json", json_lines([person(1)]))
        for _ in range(2):
            answer = client.signal(batch, "complete")
            assert (answer.status, answer.json()) == (200, {})
            assert client.status(batch)["status"] == "loaded"
        assert ingest_machine.asked_for() == [{"name": batch, **input_of(batch)}]
        assert client.put(batch, "b.json", b"{}").status == 400
        ingest_machine.run(input_of(batch))
        done = client.status(batch)
        assert done["status"] == "success"
        assert client.signal(batch).status == 200
        ingest_machine.run(input_of(batch))
        assert client.status(batch) == done
        assert len(ingest_machine.asked_for()) == 1

    def test_a_crash_between_the_record_and_the_start_is_mended_by_the_next_complete(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batch = client.created()
        client.put(batch, "a.json", json_lines([person(1)]))
        with monkeypatch.context() as broken:
            broken.setattr(batches._batches()._machine, "start", lambda *_: 1 / 0)
            assert client.signal(batch).status == 500
        assert client.status(batch)["status"] == "loaded"
        assert ingest_machine.asked_for() == []
        assert client.signal(batch).status == 200
        assert len(ingest_machine.asked_for()) == 1

    @pytest.mark.parametrize(("action", "status"), [("ABORT", "aborted"), ("fail", "failed")])
    def test_giving_up_is_for_loading_batches_only(self, client: Client, action: str, status: str) -> None:
        batch = client.created()
        for _ in range(2):
            assert client.signal(batch, action).status == 200
            assert client.status(batch)["status"] == status
        assert client.signal(batch).status == 400
        assert client.put(batch, "a", b"x").status == 400
        ingest_machine.run(input_of(batch))
        assert client.status(batch)["status"] == status
        loaded = client.created()
        client.signal(loaded)
        assert client.signal(loaded, action).status == 400

    def test_other_actions_and_batches(self, client: Client) -> None:
        batch = client.created()
        for action in ("", "nonsense"):
            assert client.signal(batch, action).status == 400
        assert client.signal("nobody").status == 404
        assert client.call(batches.handler, "GET", "/data/foundation/catalog/batches/nobody").status == 404
        assert client.read("nobody", "meta").status == 404

    def test_a_stalled_batch_is_tried_again_under_a_new_name(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batch = client.created()
        client.put(batch, "a.json", json_lines([person(1)]))
        client.signal(batch)
        ingest_machine.run(input_of(batch))

        other = client.created()
        client.put(other, "a.json", json_lines([person(2)]))
        client.signal(other)
        with monkeypatch.context() as broken:
            broken.setattr(ingest_machine.ingest._applier()._writer, "apply", lambda *_: 1 / 0)
            assert ingest_machine.run(input_of(other)) == "broken"
        stalled = client.status(other)
        assert stalled["status"] == "stalled"
        assert stalled["errors"] == [
            {"code": "TESSERA-INGEST-503", "description": "ZeroDivisionError: division by zero"}
        ]
        assert client.signal(other).status == 200
        assert client.status(other)["status"] == "retrying"
        assert [item["name"] for item in ingest_machine.asked_for()] == [batch, other, f"{other}-2"]
        assert ingest_machine.run(input_of(other)) == "done"
        assert client.status(other)["status"] == "success"
        assert client.status(other)["errors"] == []

    def test_a_fault_before_anything_is_applied_fails_the_batch(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batch = client.created()
        client.put(batch, "a.json", json_lines([person(1)]))
        client.signal(batch)
        with monkeypatch.context() as broken:
            broken.setattr("tessera.services.ingestion.validation.accept", lambda *_, **__: 1 / 0)
            assert ingest_machine.run(input_of(batch)) == "broken"
        assert client.status(batch)["status"] == "failed"
        assert "ZeroDivisionError" in client.status(batch)["errors"][0]["description"]
        assert stored() == {}

    def test_listing(self, client: Client) -> None:
        ids = [client.created(dataset) for dataset in (RECORDS, EVENTS, RECORDS)]
        client.signal(ids[0], "ABORT")

        def listed(**query: str) -> list[str]:
            answer = client.call(batches.handler, "GET", "/data/foundation/catalog/batches", query=query)
            assert answer.status == 200, answer.text
            return list(answer.json())

        assert sorted(listed()) == sorted(ids)
        assert listed(orderBy="asc:created") == listed()[::-1]
        assert listed(limit="1", start="1") == listed()[1:2]
        assert listed(start="3") == []
        assert listed(dataSet=EVENTS) == [ids[1]]
        assert listed(status="aborted") == [ids[0]]
        assert listed(status="active") == []
        assert listed(limit="1000") == listed()
        answer = client.call(
            batches.handler, "GET", "/data/foundation/catalog/batches", query={"properties": "status,tags"}
        )
        assert set(answer.json()[ids[0]]) == {"status", "tags"}
        for query in ({"limit": "0"}, {"limit": "x"}, {"start": "-1"}, {"status": "nonsense"}):
            assert client.call(batches.handler, "GET", "/data/foundation/catalog/batches", query=query).status == 400
        other = client.call(
            batches.handler, "GET", "/data/foundation/catalog/batches", headers={"x-sandbox-name": "prod"}
        )
        assert other.json() == {}


class TestIngesting:
    def test_every_format_brings_the_same_rows(self, client: Client) -> None:
        rows = [person(number) for number in range(3)]
        lines = client.ingest({"a.json": json_lines(rows[:2]), "sub/b.json": json_lines(rows[2:]).strip()})
        table = stored()
        assert len(table) >= 6
        assert lines["metrics"]["inputFileCount"] == 2
        assert lines["metrics"]["inputRecordCount"] == lines["metrics"]["outputRecordCount"] == 3
        assert lines["metrics"]["inputByteSize"] == len(json_lines(rows)) - 1
        assert lines["errors"] == []
        assert lines["completed"] >= lines["started"] >= lines["created"]
        for files, more in (
            ({"a.json": orjson.dumps(rows, option=orjson.OPT_INDENT_2)}, {"multi_line": True}),
            ({"a.parquet": parquet(rows)}, {"form": "parquet"}),
        ):
            described = client.ingest(files, **more)
            assert described["metrics"]["outputRecordCount"] == 3
            assert stored().keys() == table.keys()

    def test_a_file_is_split_without_a_trace(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        rows = [event(number) for number in range(40)]
        client.ingest({"a.json": json_lines(rows)}, EVENTS)
        whole = stored()
        monkeypatch.setattr(splitting, "SMALLEST_RANGE", 100)
        monkeypatch.setattr("tessera.services.ingestion.planning.range_size", lambda _: 333)
        described = client.ingest({"a.json": json_lines(rows)}, EVENTS, times=2)
        assert described["metrics"]["partitionCount"] > 10
        assert described["metrics"]["outputRecordCount"] == 40
        assert described["metrics"]["conflictRecordCount"] == 0
        # What the second batch brought again lies beside what the first one did.
        assert {key for key in stored() if " C#" not in key} == whole.keys()

    def test_partial_ingestion(self, client: Client) -> None:
        good = [person(number) for number in range(96)]
        bad = [{"person": {}}] * 4
        options = {"partialIngestionPercent": 5, "enableErrorDiagnostics": True}
        kept = client.ingest({"a.json": json_lines(good + bad)}, **options)
        assert kept["status"] == "success"
        assert kept["metrics"]["failedRecordCount"] == kept["failedRecordCount"] == 4
        assert [error["recordCount"] for error in kept["errors"]] == [4, 4]
        assert kept["errors"][-1]["code"] == "INGEST-1212-400"
        before = stored()
        refused = client.ingest({"a.json": json_lines([person(n + 500) for n in range(94)] + [{}] * 6)}, **options)
        assert refused["status"] == "failed"
        assert stored() == before
        assert len(client.rejected(refused["id"])) == 6
        undiagnosed = client.ingest({"a.json": json_lines(good + bad)}, partialIngestionPercent=5)
        assert [error["code"] for error in undiagnosed["errors"]] == ["INGEST-1211-400"]
        assert len(client.rejected(undiagnosed["id"])) == 4

    def test_a_second_body_for_an_event_is_recorded_and_the_first_counts(self, client: Client) -> None:
        described = client.ingest({"a.json": json_lines([event(1, a=1), event(1, a=2), event(1, a=1)])}, EVENTS)
        assert described["status"] == "success"
        rows = client.rejected(described["id"])
        assert described["metrics"]["conflictRecordCount"] == len(rows) == 1
        assert rows[0]["a"] == 2
        assert rows[0]["_errors"][0]["code"] == "TESSERA-INGEST-CONFLICT"

    def test_custom_namespaces_are_known_before_a_row_is_applied(self, client: Client) -> None:
        client.ingest({"a.json": json_lines([{"identityMap": {"Loyalty": [{"id": "x1"}]}}])})
        found = ConfigurationStore(aws.dynamodb(), aws.registry_table()).current(TENANT).namespace("LOYALTY")
        assert found is not None
        assert found.code == "Loyalty"
        before = stored()
        many = [{"identityMap": {f"N{number}": [{"id": "x"}]}} for number in range(501)]
        refused = client.ingest({"a.json": json_lines(many)})
        assert refused["status"] == "failed"
        assert refused["errors"][0]["code"] == "TESSERA-INGEST-422"
        assert stored() == before

    def test_a_file_overwritten_after_it_was_planned_is_read_as_it_was(self, client: Client) -> None:
        batch = client.created()
        client.put(batch, "a.json", json_lines([person(1)]))
        client.signal(batch)
        ingest_machine.ingest.plan(input_of(batch), None)
        key = f"raw/{TENANT.key}/{batch}/{RECORDS}/a.json"
        boto3.client("s3").put_object(Bucket="lake", Key=key, Body=json_lines([person(2), person(3)]))
        assert ingest_machine.run(input_of(batch)) == "done"
        assert client.status(batch)["metrics"]["outputRecordCount"] == 1

    def test_a_file_that_is_gone_fails_the_batch(self, client: Client) -> None:
        batch = client.created()
        client.put(batch, "a.json", json_lines([person(1)]))
        client.signal(batch)
        ingest_machine.ingest.plan(input_of(batch), None)
        s3 = boto3.client("s3")
        for version in s3.list_object_versions(Bucket="lake", Prefix="raw/")["Versions"]:
            s3.delete_object(Bucket="lake", Key=version["Key"], VersionId=version["VersionId"])
        assert ingest_machine.run(input_of(batch)) == "refused"
        assert client.status(batch)["errors"][0]["code"] == "TESSERA-INGEST-409"
        assert stored() == {}

    def test_a_dataset_deleted_meanwhile_fails_the_batch(self, client: Client) -> None:
        batch = client.created()
        client.put(batch, "a.json", json_lines([person(1)]))
        client.signal(batch)
        ConfigurationStore(aws.dynamodb(), aws.registry_table()).change(
            TENANT, lambda known: known.without_dataset(RECORDS)
        )
        assert ingest_machine.run(input_of(batch)) == "refused"
        assert client.status(batch)["errors"][0]["code"] == "TESSERA-INGEST-404"


LONG = "x" * 1025
BAD_ROWS: dict[str, tuple[str, bytes]] = {
    "no identity": (RECORDS, b'{"person":{}}'),
    "an empty identityMap": (RECORDS, b'{"identityMap":{}}'),
    "an identity over 1,024 characters": (RECORDS, orjson.dumps({"identityMap": {"CRM": [{"id": LONG}]}})),
    "a placeholder": (RECORDS, b'{"identityMap":{"CRM":[{"id":"0"}]}}'),
    "a record over 100 KB": (RECORDS, orjson.dumps(person(1, text="x" * 110_000))),
    "an event over 10 KB": (EVENTS, orjson.dumps(event(1, text="x" * 11_000))),
    "a line over 1 MB": (RECORDS, orjson.dumps(person(1, text="x" * 1_100_000))),
    "NaN": (RECORDS, b'{"identityMap":{"CRM":[{"id":"a"}]},"n":NaN}'),
    "Infinity": (RECORDS, b'{"identityMap":{"CRM":[{"id":"a"}]},"n":-Infinity}'),
    "200-deep nesting": (
        RECORDS, b'{"identityMap":{"CRM":[{"id":"a"}]},"n":' + b'{"a":' * 200 + b"1" + b"}" * 201,
    ),
    "10,001 fields": (RECORDS, orjson.dumps(person(1, **{f"c{n}": 1 for n in range(10_001)}))),
    "a timestamp that is none": (EVENTS, orjson.dumps(event(1, timestamp="yesterday"))),
    "no timestamp": (EVENTS, b'{"_id":"e","identityMap":{"CRM":[{"id":"a"}]}}'),
    "no _id": (EVENTS, b'{"timestamp":"2025-06-18T14:00:00Z","identityMap":{"CRM":[{"id":"a"}]}}'),
    "no JSON": (RECORDS, b"{nonsense"),
    "not UTF-8": (RECORDS, b'{"a":"\xff"}'),
    "a number": (RECORDS, b"5"),
    "null": (RECORDS, b"null"),
    "an array in the middle": (RECORDS, b"[]"),
}  # fmt: skip


class TestBadRows:
    @pytest.mark.parametrize("name", BAD_ROWS)
    def test_one_bad_row_fails_a_batch_without_partial_ingestion(self, client: Client, name: str) -> None:
        dataset, raw = BAD_ROWS[name]
        good = [event(n) if dataset == EVENTS else person(n) for n in range(7, 9)]
        described = client.ingest({"a.json": json_lines(good) + raw}, dataset)
        assert described["status"] == "failed"
        assert [error["code"] for error in described["errors"]] == ["INGEST-1211-400"]
        assert stored() == {}

    @pytest.mark.parametrize("name", BAD_ROWS)
    def test_with_partial_ingestion_it_is_kept_apart_with_its_reason(self, client: Client, name: str) -> None:
        dataset, raw = BAD_ROWS[name]
        good = [event(n) if dataset == EVENTS else person(n) for n in range(7, 9)]
        body = json_lines(good) + raw
        described = client.ingest(
            {"a.json": body}, dataset, times=2, partialIngestionPercent=50, enableErrorDiagnostics=True
        )
        assert described["status"] == "success"
        metrics = described["metrics"]
        assert (metrics["inputRecordCount"], metrics["outputRecordCount"]) == (3, 2)
        [row] = client.rejected(described["id"])
        assert row["_filename"] == "a.json"
        [reason] = row["_errors"]
        assert reason["code"].startswith("INGEST-")
        assert reason["message"]
        assert described["errors"][0] == {
            "code": reason["code"], "description": described["errors"][0]["description"], "recordCount": 1,
        }  # fmt: skip
        if "_corrupt_record" in row:
            assert raw.decode(errors="replace").startswith(row["_corrupt_record"])
        else:
            assert {**row, **orjson.loads(raw)} == row

    def test_a_batch_without_a_good_row_fails_even_if_all_may_be_bad(self, client: Client) -> None:
        assert client.ingest({"a.json": b"{}\n"}, partialIngestionPercent=100)["status"] == "failed"

    def test_nan_in_parquet_and_in_a_document_costs_the_row(self, client: Client) -> None:
        rows = [person(1, n=1.0), person(2, n=float("nan"))]
        options: dict[str, Any] = {"partialIngestionPercent": 50}
        for files, more in (
            ({"a.parquet": parquet(rows)}, {"form": "parquet"}),
            ({"a.json": str(rows).replace("'", '"').replace("nan", "NaN").encode()}, {"multi_line": True}),
        ):  # fmt: skip
            described = client.ingest(files, **options, **more)
            assert (described["status"], described["failedRecordCount"]) == ("success", 1)
            assert len(client.rejected(described["id"])) == 1


class TestBadFiles:
    @pytest.mark.parametrize(
        ("files", "more", "code", "says"),
        [
            ({}, {}, "106", "no files"),
            ({"a.json": b""}, {}, "106", "a.json"),
            ({"a.json": b"{}", "b.json": b""}, {}, "106", "b.json"),
            ({"a.json": b"\n \n"}, {}, "106", "no rows"),
            ({"a.json": b"[]"}, {"multi_line": True}, "106", "no rows"),
            ({"a.json": orjson.dumps([person(1)])}, {}, "INGEST-1401-400", "isMultiLineJson"),
            ({"a.json": b"[\n" + orjson.dumps(person(1)) + b"\n]"}, {}, "INGEST-1401-400", "isMultiLineJson"),
            ({"a.json": b"\xef\xbb\xbf [1]"}, {}, "INGEST-1401-400", "isMultiLineJson"),
            ({"a.json": b"[{},"}, {"multi_line": True}, "INGEST-1401-400", "line 1"),
            ({"a.json": b"[\xff]"}, {"multi_line": True}, "INGEST-1401-400", "UTF-8"),
            ({"a.parquet": json_lines([person(1)])}, {"form": "parquet"}, "INGEST-1401-400", "not a Parquet file"),
            ({"a": b"PAR1" + b"x" * 40 + b"\x10\0\0\0PAR1"}, {"form": "parquet"}, "INGEST-1401-400", "Parquet"),
            ({"a.parquet": parquet([{f"c{n}": 1 for n in range(10_001)}])}, {"form": "parquet"}, "INGEST-1401-400",
             "10001 columns"),
        ],
    )  # fmt: skip
    def test_a_file_that_cannot_be_read_fails_the_batch_whatever_the_threshold(
        self, client: Client, files: dict[str, bytes], more: dict[str, Any], code: str, says: str
    ) -> None:
        good: dict[str, bytes] = {}
        if files and "no rows" not in says:
            good = {"z": parquet([person(1)]) if more.get("form") else json_lines([person(1)])}
        described = client.ingest({**files, **good}, partialIngestionPercent=100, **more)
        assert described["status"] == "failed"
        assert described["errors"][0]["code"] == code
        assert says in described["errors"][0]["description"]
        assert stored() == {}

    def test_too_many_files(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tessera.services.ingestion.planning.MAX_FILES", 2)
        described = client.ingest({str(number): json_lines([person(number)]) for number in range(3)})
        assert described["errors"][0]["code"] == "TESSERA-INGEST-413"

    def test_a_document_over_the_limit(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tessera.services.ingestion.planning.MAX_DOCUMENT_BYTES", 10)
        described = client.ingest({"a": orjson.dumps([person(1)])}, multi_line=True)
        assert described["errors"][0]["code"] == "TESSERA-INGEST-413"


class TestDiagnostics:
    def test_listing_and_paging(self, client: Client) -> None:
        bad = [{"n": number} for number in range(5)]
        described = client.ingest({"sub/a.json": json_lines([person(1), *bad]) + b"{"})
        batch = described["id"]
        root = client.read(batch, "meta").json()
        assert [item["name"] for item in root["data"]] == ["input_files", "row_errors", "row_errors_sample.json"]
        files = client.read(batch, "meta", path="row_errors").json()
        names = ["row_errors/parsing_errors_0.json", "row_errors/validation_errors_0.json"]
        assert [item["name"] for item in files["data"]] == names
        assert files["_page"] == {"limit": 100, "count": 2}
        assert files["_links"]["next"]["href"] == ""
        assert client.read(batch, "meta", path=names[0]).json()["data"] == [
            {"_corrupt_record": "{", "_errors": [{"code": "INGEST-1401-400", "message": _ANY}],
             "_filename": "sub/a.json"}
        ]  # fmt: skip
        first = client.read(batch, "meta", path=names[1], limit="3").json()
        assert [row["n"] for row in first["data"]] == [0, 1, 2]
        assert "start=3" in first["_links"]["next"]["href"]
        rest = client.read(batch, "meta", path=names[1], limit="3", start="3").json()
        assert [row["n"] for row in rest["data"]] == [3, 4]
        assert rest["_links"]["next"]["href"] == ""
        [file] = client.read(batch, "meta", path="input_files").json()["data"]
        assert client.read(batch, "meta", path=file["name"]).json()["data"][0]["path"] == "sub/a.json"
        assert [item["name"] for item in client.read(batch, "failed").json()["data"]] == [
            name.removeprefix("row_errors/") for name in names
        ]
        violation = client.read(batch, "failed", path="parsing_errors_0.json").json()["data"][0]["_validationErrors"][0]
        assert set(violation) == {"keyword", "message", "pointerToViolation", "schemaLocation", "causingExceptions"}

    def test_json_lines_for_who_asks_for_them(self, client: Client) -> None:
        batch = client.ingest({"a.json": json_lines([{"n": 1}, {"n": 2}])})["id"]
        answer = client.call(
            data_access.handler,
            "GET",
            f"/data/foundation/export/batches/{batch}/meta",
            query={"path": "row_errors/validation_errors_0.json"},
            headers={"Accept": "application/x-ndjson"},
        )
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert [orjson.loads(line)["n"] for line in answer.text.splitlines()] == [1, 2]

    @pytest.mark.parametrize(
        ("path", "status"),
        [("nonsense", 404), ("row_errors/none.json", 404), ("row_errors/../../x", 400), ("input_files/none", 404)],
    )
    def test_what_is_not_there(self, client: Client, path: str, status: int) -> None:
        batch = client.created()
        assert client.read(batch, "meta", path=path).status == status

    def test_another_sandbox_sees_nothing(self, client: Client) -> None:
        batch = client.ingest({"a.json": b"{}"})["id"]
        for what in ("meta", "failed"):
            answer = client.call(
                data_access.handler,
                "GET",
                f"/data/foundation/export/batches/{batch}/{what}",
                headers={"x-sandbox-name": "prod"},
            )
            assert answer.status == 404


class _Any:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and bool(other)

    __hash__ = None  # type: ignore[assignment]


_ANY = _Any()
