"""System jobs over HTTP: deletes of datasets and batches, their list, their errors (contract: profile-api §5, §13)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import boto3
import orjson
import pytest

from api import datasets, entities, system_jobs
from tessera.domain.configuration import DatasetSettings
from tessera.domain.deletion import JobStatus
from tessera.domain.place import END_OF_TIME
from tessera.services.purging import accepting
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.executions import Executions
from tessera.storage.purges import PurgeStore
from tessera.storage.registry import Registry
from tests.integration import purge_machine
from tests.integration.conftest import Answer
from tests.integration.test_batches import (
    ELSEWHERE,
    EVENTS,
    RECORDS,
    TENANT,
    UNION,
    UPSERT,
    Client,
    client,
    event,
    json_lines,
    person,
    stored,
)

__all__ = ["client"]

PATH = "/data/core/ups/system/jobs"


@dataclass
class Deletes:
    """A caller of the system jobs, who also ingests and looks up."""

    client: Client
    machine: str

    def ask(self, body: object, **options: Any) -> Answer:
        return self.client.call(system_jobs.handler, "POST", PATH, body=body, **options)

    def asked(self, body: object) -> str:
        answer = self.ask(body)
        assert answer.status == 200, answer.text
        assert answer.json()["status"] == "NEW"
        return str(answer.json()["id"])

    def get(self, job: str) -> Answer:
        return self.client.call(system_jobs.handler, "GET", f"{PATH}/{job}")

    def list(self, **query: str) -> Answer:
        return self.client.call(system_jobs.handler, "GET", PATH, query=query)

    def delete(self, body: object) -> Any:
        job = self.asked(body)
        assert purge_machine.run(job) == "done"
        described = self.get(job).json()
        assert described["status"] == "SUCCESS"
        return described

    def look_up(self, number: int, namespace: str = "CRM") -> Any:
        """The entity of a person, ``None`` if there is none."""
        answer = self.client.call(
            entities.handler,
            "GET",
            entities.PATH,
            query={"schema.name": "_xdm.context.profile", "entityId": f"c{number}", "entityIdNS": namespace},
        )
        assert answer.status in {200, 404}, answer.text
        if answer.status == 404:
            return None
        (found,) = answer.json().values()
        return found["entity"]

    def events(self, number: int) -> list[str]:
        answer = self.client.call(
            entities.handler,
            "GET",
            entities.PATH,
            query={
                "schema.name": "_xdm.context.experienceevent",
                "relatedSchema.name": "_xdm.context.profile",
                "relatedEntityId": f"c{number}",
                "relatedEntityIdNS": "CRM",
            },
        )
        assert answer.status in {200, 404}, answer.text
        return [] if answer.status == 404 else [child["entity"]["_id"] for child in answer.json()["children"]]

    def ingest(self, rows: Sequence[object], dataset: str = RECORDS) -> str:
        return str(self.client.ingest({"a.json": json_lines(rows)}, dataset)["id"])

    def settings(self, dataset: str) -> DatasetSettings:
        return ConfigurationStore(aws.dynamodb(), aws.registry_table()).current(TENANT).datasets[dataset]


@pytest.fixture
def deletes(client: Client, monkeypatch: pytest.MonkeyPatch) -> Deletes:
    return Deletes(client, purge_machine.created_machine(monkeypatch))


def kinds() -> dict[str, int]:
    """How many items of each kind there are."""
    found: dict[str, int] = {}
    for key in stored():
        kind = key.split(" ")[1][0]
        found[kind] = found.get(kind, 0) + 1
    return found


class TestAsking:
    def test_the_job_has_the_keys_of_both_dialects(self, deletes: Deletes) -> None:
        batch = deletes.ingest([event(1)], EVENTS)
        job = deletes.ask({"datasetId": EVENTS, "batchId": batch}).json()
        assert job["id"] == job["requestId"]
        assert job["imsOrgId"] == TENANT.org_id
        assert job["sandbox"] == {"sandboxName": "dev", "sandboxId": "11111111-0000-4000-8000-000000000002"}
        assert (job["jobType"], job["requestType"]) == ("DELETE", "DELETE_EE_BATCH")
        assert (job["dataSetId"], job["batchId"]) == (EVENTS, batch)
        assert job["properties"] == {"datasetId": EVENTS, "batchId": batch}
        assert job["status"] == "NEW"
        assert "metrics" not in job
        assert abs(job["createEpoch"] - time.time()) < 60
        assert job["createEpoch"] == job["updateEpoch"]
        assert len(job["createdAt"]) == len("2026-03-04T08:46:40.000000Z")
        assert job["createdAt"].endswith("000Z")
        described = deletes.get(job["id"]).json()
        assert described == job
        assert purge_machine.run(job["id"]) == "done"
        done = deletes.get(job["id"]).json()
        assert done["status"] == "SUCCESS"
        assert isinstance(done["metrics"], str)
        assert orjson.loads(done["metrics"]) == {"recordsProcessed": 2, "timeTakenInSec": 0}

    @pytest.mark.parametrize("body", [{"dataSetId": RECORDS}, {"datasetId": RECORDS}, {"dataSetId": RECORDS, "x": 1}])
    def test_both_spellings_of_a_dataset(self, deletes: Deletes, body: Any) -> None:
        deletes.ingest([person(1)])
        job = deletes.delete(body)
        assert job["requestType"] == "TRUNCATE_DATASET"
        assert job["properties"] == {"datasetId": RECORDS}
        assert "batchId" not in job
        assert deletes.look_up(1) is None

    def test_a_batch_is_found_without_its_dataset(self, deletes: Deletes) -> None:
        batch = deletes.ingest([event(1)], EVENTS)
        assert deletes.delete({"batchId": batch})["dataSetId"] == EVENTS
        assert deletes.events(1) == []

    @pytest.mark.parametrize(
        "body",
        [
            *({}, [], 5, "x", None, {"dataSetId": ""}, {"dataSetId": 5}, {"dataSetId": None}, {"batchId": ["x"]}),
            *({"dataSetId": "a", "datasetId": "b"}, {"dataSetId": "nobody"}, {"dataSetId": ELSEWHERE}),
            *({"dataSetId": UNION}, {"dataSetId": RECORDS, "lake": "maybe"}),
            {"batchId": "x", "removeLinks": True},
        ],
    )
    def test_junk(self, deletes: Deletes, body: Any) -> None:
        answer = deletes.ask(orjson.dumps(body))
        assert answer.status == 400
        problem = answer.json()
        assert [fault["message"] for fault in problem["errors"]["400"]] == [
            "Invalid delete request (Profile System Job)"
        ]
        assert problem["status"] == 400
        assert problem["type"].startswith("https://ns.adobe.com/aep/errors/")
        assert problem["requestId"]
        assert deletes.list().json()["children"] == []
        assert purge_machine.started(deletes.machine) == []

    def test_a_dataset_that_is_not_enabled_for_profiles(self, deletes: Deletes) -> None:
        created = deletes.client.call(
            datasets.handler,
            "POST",
            "/data/foundation/catalog/dataSets",
            body={"name": "x", "schemaRef": {"id": "https://ns.adobe.com/xdm/context/profile"}},
        ).json()
        answer = deletes.ask({"dataSetId": created[0].rpartition("/")[2]})
        assert (answer.status, "goes into profiles" in answer.text) == (400, True)

    def test_a_batch_of_records(self, deletes: Deletes) -> None:
        batch = deletes.ingest([person(1)])
        for body in ({"batchId": batch}, {"dataSetId": RECORDS, "batchId": batch}):
            answer = deletes.ask(body)
            assert answer.status == 422
            problem = answer.json()
            assert problem["type"] == "https://ns.adobe.com/aep/errors/UPAPI-036002-422"
            assert problem["title"] == "Invalid system job payload."
            (fault,) = problem["errors"]["422"]
            assert fault["message"] == f"Batch can only be specified for EE type '{RECORDS}'"
        assert deletes.look_up(1)

    def test_a_batch_that_is_not_there(self, deletes: Deletes) -> None:
        records = deletes.ingest([person(1)])
        loading = deletes.client.created(EVENTS)
        failed = str(deletes.client.ingest({"a.json": b"{}\n"}, EVENTS)["id"])
        for body in (
            {"datasetId": EVENTS, "batchId": "01J00000000000000000000000"},
            {"datasetId": EVENTS, "batchId": records},
            {"datasetId": EVENTS, "batchId": loading},
            {"batchId": loading},
            {"batchId": failed},
        ):
            answer = deletes.ask(body)
            assert answer.status == 400
            assert answer.json()["errors"]["400"] == [
                {"code": "400", "message": f"Batch not found for profile dataset '{EVENTS}'"}
            ]
            assert answer.json()["status"] == 400
        unknown = deletes.ask({"batchId": "nobody's"})
        assert (unknown.status, "Batch not found for profile dataset" in unknown.text) == (400, True)

    def test_the_same_target_is_asked_for_once_at_a_time(self, deletes: Deletes) -> None:
        batch = deletes.ingest([event(1)], EVENTS)
        for body in ({"dataSetId": EVENTS}, {"batchId": batch}):
            job = deletes.asked(body)
            again = deletes.ask(body)
            assert again.status == 422
            (fault,) = again.json()["errors"]["422"]
            assert fault["message"] == "Delete request (Profile System Job) Definition already exists"
            assert job in again.json()["detail"]
            assert purge_machine.run(job) == "done"
            assert deletes.asked(body) != job
        assert len(purge_machine.started(deletes.machine)) == 4

    def test_too_many_batches_at_once(self, deletes: Deletes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(accepting, "MAX_BATCHES_AT_ONCE", 1)
        one, other = deletes.ingest([event(1)], EVENTS), deletes.ingest([event(2)], EVENTS)
        job = deletes.asked({"batchId": one})
        assert deletes.ask({"batchId": other}).status == 422
        assert purge_machine.run(job) == "done"
        assert deletes.delete({"batchId": other})

    def test_who_may(self, deletes: Deletes) -> None:
        registry = Registry(aws.dynamodb(), aws.registry_table())
        document = registry.get("client#testclient0000000000000001", "client") or {}
        registry.put("client#testclient0000000000000001", "client", {**document, "permissions": ["read"]})
        assert deletes.ask({"dataSetId": RECORDS}).status == 403
        assert deletes.client.call(system_jobs.handler, "DELETE", f"{PATH}/x").status == 403
        assert deletes.list().status == 200
        assert deletes.get("x").status == 404


class TestWhatComesBetween:
    """The answer is never an error once the job is stored, and whoever asks next sees to it that it runs."""

    def test_the_machine_cannot_be_started(self, deletes: Deletes, monkeypatch: pytest.MonkeyPatch) -> None:
        deletes.ingest([person(1)])

        def refuse(*_: object) -> None:
            raise RuntimeError("no")

        with monkeypatch.context() as patched:
            patched.setattr(Executions, "start", refuse)
            job = deletes.asked({"dataSetId": RECORDS})
        assert deletes.look_up(1) is None
        assert purge_machine.started(deletes.machine) == []
        assert deletes.get(job).json()["status"] == "NEW"
        assert purge_machine.started(deletes.machine) == [job]
        assert deletes.ask({"dataSetId": RECORDS}).status == 422
        assert purge_machine.started(deletes.machine) == [job]

    def test_the_journal_cannot_be_written(self, deletes: Deletes, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patched:
            patched.setenv("LAKE_BUCKET", "nowhere")
            job = deletes.asked({"dataSetId": RECORDS})
        assert journal() == []
        assert purge_machine.run(job) == "done"
        assert [entry["dataset"] for entry in journal()] == [RECORDS]

    def test_an_answer_that_was_lost(self, deletes: Deletes, monkeypatch: pytest.MonkeyPatch) -> None:
        deletes.ingest([person(1)])
        change = ConfigurationStore.change

        def lost(*arguments: Any) -> None:
            change(*arguments)
            raise ConnectionError

        with monkeypatch.context() as patched:
            patched.setattr(ConfigurationStore, "change", lost)
            job = deletes.asked({"dataSetId": RECORDS})
        assert deletes.look_up(1) is None
        assert deletes.get(job).status == 200

    def test_a_transaction_that_takes_longer_than_the_grace(self, deletes: Deletes) -> None:
        now = iter([1000, 1000, 9000, 9001, 9002, 9003])
        pauses: list[float] = []
        purges = accepting.Purges(
            ConfigurationStore(aws.dynamodb(), aws.registry_table()),
            PurgeStore(Registry(aws.dynamodb(), aws.registry_table())),
            Nothing(),
            Nothing(),
            Nothing(),
            Nothing(),
            Nothing(),
            clock_ms=lambda: next(now),
            pause=pauses.append,
        )
        job = purges.accept(TENANT, accepting.Wanted(RECORDS), "me")
        assert deletes.settings(RECORDS).cutoff == job.cutoff
        assert int(job.cutoff[:11], 16) == 9001 + 250
        assert pauses == [pytest.approx(0.25)]
        assert [child["id"] for child in deletes.list().json()["children"]] == [job.id]

    def test_a_worker_that_died_long_ago(self, deletes: Deletes) -> None:
        job = deletes.asked({"dataSetId": RECORDS})
        store = PurgeStore(Registry(aws.dynamodb(), aws.registry_table()))
        store.change(TENANT, job, lambda known: known.started(1000))
        assert deletes.get(job).json()["status"] == "IN-PROGRESS"
        assert purge_machine.started(deletes.machine) == [job, f"{job}-2"]
        assert store.get(TENANT, job).status is JobStatus.NEW


class Nothing:
    """Does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def journal() -> list[Any]:
    s3 = boto3.client("s3")
    found = s3.list_objects_v2(Bucket="lake", Prefix="journal/").get("Contents", ())
    return [orjson.loads(s3.get_object(Bucket="lake", Key=item["Key"])["Body"].read()) for item in found]


class TestTheList:
    def jobs(self, count: int) -> list[str]:
        """Write jobs of the past; their ids, newest first."""
        registry = Registry(aws.dynamodb(), aws.registry_table())
        ids = []
        for number in range(count):
            kind = ("ttl", "person", "dataset", "something")[number % 4]
            job = f"01J{number:023d}"
            common = {
                "kind": kind,
                "id": job,
                "status": "SUCCESS",
                "at": 1000 * number,
                "updated": 1000 * number + 2500,
            }
            registry.put(f"{TENANT.key}#job", job, {**common, "counts": {"events": number}, "reason": ""})
            ids.append(job)
        return ids[::-1]

    def test_pages_are_numbered_from_zero(self, deletes: Deletes) -> None:
        ids = self.jobs(25)
        pages = [deletes.list(start=str(page), limit="10").json() for page in range(4)]
        assert [[child["id"] for child in page["children"]] for page in pages] == [ids[:10], ids[10:20], ids[20:], []]
        assert [page["_page"]["next"] for page in pages] == ["1", "2", "", ""]
        assert [page["_page"]["start"] for page in pages] == ["0", "1", "2", "3"]
        assert [page["_page"]["count"] for page in pages] == [10, 10, 5, 0]
        assert {page["_page"]["totalCount"] for page in pages} == {25}
        assert {page["_page"]["pageSize"] for page in pages} == {10}
        assert deletes.list(page="1", start="2", limit="10").json() == pages[1]
        assert deletes.list(page="2", limit="10").json() == pages[2]

    def test_a_hundred_unless_told_otherwise(self, deletes: Deletes) -> None:
        ids = self.jobs(101)
        page = deletes.list().json()
        assert [child["id"] for child in page["children"]] == ids[:100]
        assert page["_page"]["next"] == "1"

    def test_every_kind_of_job(self, deletes: Deletes) -> None:
        self.jobs(4)
        shown = {child["requestType"]: child for child in deletes.list().json()["children"]}
        assert set(shown) == {"BACKFILL_TTL", "DELETE_ENTITY", "TRUNCATE_DATASET", "SOMETHING"}
        assert {name: job["jobType"] for name, job in shown.items()} == {
            "BACKFILL_TTL": "BACKFILL_TTL",
            "DELETE_ENTITY": "DELETE",
            "TRUNCATE_DATASET": "DELETE",
            "SOMETHING": "SOMETHING",
        }
        assert orjson.loads(shown["SOMETHING"]["metrics"]) == {"recordsProcessed": 3, "timeTakenInSec": 2}

    def test_sorting_is_within_the_page(self, deletes: Deletes) -> None:
        ids = self.jobs(8)
        by_kind = deletes.list(sort="requestType:asc", limit="4").json()["children"]
        assert {child["id"] for child in by_kind} == set(ids[:4])
        found = [child["requestType"] for child in by_kind]
        assert found == sorted(found)
        assert [child["id"] for child in deletes.list(sort="id").json()["children"]] == ids[::-1]
        assert [child["id"] for child in deletes.list(sort="createEpoch:desc").json()["children"]] == ids
        # Jobs without a batch have no such key.
        assert len(deletes.list(sort="batchId:asc").json()["children"]) == 8

    @pytest.mark.parametrize(
        "query",
        [
            {"limit": "0"},
            {"limit": "-1"},
            {"limit": "x"},
            {"start": "-1"},
            {"page": "y"},
            {"sort": "x"},
            {"sort": "id:up"},
        ],
    )
    def test_what_cannot_be_asked(self, deletes: Deletes, query: Any) -> None:
        assert deletes.list(**query).status == 400

    def test_another_sandbox_sees_none_of_it(self, deletes: Deletes) -> None:
        (job,) = self.jobs(1)
        headers = {"x-sandbox-name": "prod"}
        elsewhere = deletes.client.call(system_jobs.handler, "GET", PATH, headers=headers)
        assert elsewhere.json()["children"] == []
        assert deletes.client.call(system_jobs.handler, "GET", f"{PATH}/{job}", headers=headers).status == 404
        assert deletes.client.call(system_jobs.handler, "DELETE", f"{PATH}/{job}", headers=headers).status == 404
        assert deletes.get("nobody's").json()["status"] == 404


class TestCancelling:
    @pytest.mark.parametrize("moment", ["new", "planned", "swept", "done"])
    def test_a_job_is_gone_and_what_it_deletes_stays_so(
        self, deletes: Deletes, moment: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deletes.ingest([person(number) for number in range(3)])
        job = deletes.asked({"dataSetId": RECORDS})

        def cancel() -> None:
            answer = deletes.client.call(system_jobs.handler, "DELETE", f"{PATH}/{job}")
            assert (answer.status, answer.text) == (200, "")

        steps = {"new": "begin", "planned": "sweep", "swept": "look", "done": None}
        step = steps[moment]
        if step is None:
            assert purge_machine.run(job) == "done"
            cancel()
        else:
            task = getattr(purge_machine.purge, step)
            monkeypatch.setattr(purge_machine.purge, step, lambda *arguments: (cancel(), task(*arguments))[1])
            assert purge_machine.run(job) in {"over", "done"}
        answer = deletes.get(job)
        assert answer.status == 404
        assert answer.json()["status"] == 404
        assert deletes.client.call(system_jobs.handler, "DELETE", f"{PATH}/{job}").status == 404
        assert [deletes.look_up(number) for number in range(3)] == [None] * 3

    def test_a_target_whose_job_was_cancelled_can_be_asked_for_again(self, deletes: Deletes) -> None:
        batch = deletes.ingest([event(1)], EVENTS)
        job = deletes.asked({"batchId": batch})
        assert deletes.client.call(system_jobs.handler, "DELETE", f"{PATH}/{job}").status == 200
        assert purge_machine.run(job) == "over"
        assert deletes.events(1) == []
        assert kinds()["E"] == 1
        deletes.delete({"batchId": batch})
        assert "E" not in kinds()
        assert deletes.settings(EVENTS).deleted == ()

    def test_a_person_s_is_not_for_callers_to_stop(self, deletes: Deletes) -> None:
        registry = Registry(aws.dynamodb(), aws.registry_table())
        job = {"kind": "person", "id": "01J", "status": "NEW", "at": 1, "updated": 1, "counts": {}, "reason": ""}
        registry.put(f"{TENANT.key}#job", "01J", job)
        answer = deletes.client.call(system_jobs.handler, "DELETE", f"{PATH}/01J")
        assert (answer.status, "cannot be cancelled" in answer.text) == (422, True)
        assert deletes.get("01J").status == 200


class TestDatasets:
    def test_records_vanish_at_once_and_are_swept(self, deletes: Deletes) -> None:
        deletes.ingest([person(1), person(2)])
        deletes.ingest([{"identityMap": person(2)["identityMap"], "city": "Ghent"}], UPSERT)
        job = deletes.asked({"dataSetId": RECORDS})
        assert deletes.look_up(1) is None
        assert deletes.look_up(2)["city"] == "Ghent"
        assert "person" not in deletes.look_up(2)
        assert kinds() == {"H": 2, "R": 3}
        assert purge_machine.run(job, times=2) == "done"
        assert kinds() == {"H": 2, "R": 1}
        assert deletes.look_up(2)["city"] == "Ghent"
        assert orjson.loads(deletes.get(job).json()["metrics"])["recordsProcessed"] == 2

    def test_events_and_their_streams(self, deletes: Deletes) -> None:
        deletes.ingest([event(1), {**event(1), "_id": "other"}, event(2)], EVENTS)
        deletes.ingest([person(1)])
        job = deletes.asked({"dataSetId": EVENTS})
        assert deletes.events(1) == deletes.events(2) == []
        assert deletes.look_up(2) is None
        assert deletes.look_up(1)
        assert purge_machine.run(job, times=2) == "done"
        assert kinds() == {"H": 2, "R": 1}
        store = PurgeStore(Registry(aws.dynamodb(), aws.registry_table()))
        assert store.get(TENANT, job).counts == {"events": 3, "streams": 2}

    def test_how_far_it_is(self, deletes: Deletes, monkeypatch: pytest.MonkeyPatch) -> None:
        deletes.ingest([person(1), person(2)])
        job = deletes.asked({"dataSetId": RECORDS})
        seen = []
        for step in ("plan", "sweep", "look"):
            task = getattr(purge_machine.purge, step)

            def watched(*arguments: Any, task: Any = task) -> Any:
                described = deletes.get(job).json()
                seen.append((described["status"], orjson.loads(described["metrics"])["recordsProcessed"]))
                return task(*arguments)

            monkeypatch.setattr(purge_machine.purge, step, watched)
        assert purge_machine.run(job) == "done"
        assert seen == [("IN-PROGRESS", 0), *[("IN-PROGRESS", 0)] * (len(seen) - 2), ("IN-PROGRESS", 2)]

    def test_what_comes_later_stays(self, deletes: Deletes) -> None:
        deletes.ingest([person(1), person(2)])
        deletes.ingest([event(1), event(2)], EVENTS)
        jobs = [deletes.asked({"dataSetId": dataset}) for dataset in (RECORDS, EVENTS)]
        deletes.ingest([person(1, of="new")])
        deletes.ingest([event(1, of="new"), {**event(2), "_id": "later"}], EVENTS)
        expected = (deletes.look_up(1)["of"], deletes.events(1), deletes.events(2))
        assert expected == ("new", ["e1"], ["later"])
        for job in jobs:
            assert purge_machine.run(job) == "done"
        assert (deletes.look_up(1)["of"], deletes.events(1), deletes.events(2)) == expected
        assert "of" not in deletes.look_up(2)
        # Of what was deleted nothing is left: everybody has a head; one record, two streams of one event each.
        assert kinds() == {"H": 2, "R": 1, "S": 2, "E": 2}

    def test_updates_keep_what_was_written_later(self, deletes: Deletes) -> None:
        deletes.ingest([{**person(1), "city": "Ghent", "tier": "gold"}], UPSERT)
        job = deletes.asked({"dataSetId": UPSERT})
        assert deletes.look_up(1) is None
        deletes.ingest([{"identityMap": person(1)["identityMap"], "tier": "silver"}], UPSERT)
        found = deletes.look_up(1)
        assert (found.get("tier"), found.get("city"), "person" in found) == ("silver", None, False)
        before = stored()
        assert b"Ghent" not in b"".join(map(body_of, before.values()))
        assert purge_machine.run(job, times=2) == "done"
        assert deletes.look_up(1) == found

    def test_a_dataset_that_is_deleted_itself(self, deletes: Deletes) -> None:
        created = deletes.client.call(
            datasets.handler,
            "POST",
            "/data/foundation/catalog/dataSets",
            body={
                "name": "x",
                "schemaRef": {"id": "https://ns.adobe.com/xdm/context/experienceevent"},
                "tags": {"unifiedProfile": ["enabled:true"]},
            },
        ).json()
        dataset = created[0].rpartition("/")[2]
        deletes.ingest([event(1), event(2)], dataset)
        deletes.ingest([event(1)], EVENTS)
        answer = deletes.client.call(datasets.handler, "DELETE", f"/data/foundation/catalog/dataSets/{dataset}")
        assert answer.status == 200
        (job,) = deletes.list().json()["children"]
        assert (job["requestType"], job["dataSetId"], job["status"]) == ("TRUNCATE_DATASET", dataset, "NEW")
        assert purge_machine.started(deletes.machine) == [job["id"]]
        assert deletes.look_up(2) is None
        assert purge_machine.run(job["id"]) == "done"
        assert kinds() == {"H": 2, "S": 1, "E": 1}
        assert [entry["cutoff"] for entry in journal()] == [END_OF_TIME]
        assert deletes.client.call(datasets.handler, "DELETE", f"/data/foundation/catalog/dataSets/{UNION}").status in {
            200,
            404,
        }

    def test_another_sandbox_s_dataset_stays(self, deletes: Deletes) -> None:
        deletes.ingest([person(1)])
        headers = {"x-sandbox-name": "prod"}
        assert deletes.ask({"dataSetId": RECORDS}, headers=headers).status == 400
        assert deletes.look_up(1)


def body_of(item: Mapping[str, Any]) -> bytes:
    """What an item says, decoded."""
    from tessera.storage.codec import unpack  # noqa: PLC0415

    return b"".join(orjson.dumps(unpack(value["B"])) for value in item.values() if "B" in value)
