"""Receipts: a scan of everything finds what they say remains, and nothing else (law 7)."""

from __future__ import annotations

import io
import time
from typing import Any

import boto3
import orjson
import pytest
import zstandard

from api import system_jobs
from tessera.domain.export.job import Exported
from tessera.domain.ulid import ulid
from tessera.services.ingestion import applying
from tessera.services.profile_writer import ProfileWriter
from tessera.storage.codec import unpack
from tests.integration import ingest_machine, purge_machine
from tests.integration.test_batches import (
    EVENTS,
    RECORDS,
    TENANT,
    UNION,
    client,
    event,
    input_of,
    json_lines,
    person,
    stored,
)
from tests.integration.test_system_jobs import PATH, Deletes, deletes, kinds

__all__ = ["client", "deletes"]

CANARY = "canary-4711"


def decoded(value: Any) -> str:
    """Everything that a value of an item says."""
    if "B" in value:
        return orjson.dumps(unpack(value["B"])).decode()
    return str(value)


def found_in_tables() -> set[str]:
    """Decode every item of both tables; where the canary is."""
    dynamodb = boto3.client("dynamodb")
    found = set()
    for table in ("profiles", "registry"):
        for page in dynamodb.get_paginator("scan").paginate(TableName=table):
            for item in page["Items"]:
                if CANARY in "".join(map(decoded, item.values())):
                    found.add(f"{table} {item['sk']['S'].partition('#')[0]}")
    return found


def found_in_lake() -> set[str]:
    """Decode every version of every object; below which prefixes the canary is."""
    s3 = boto3.client("s3")
    found = set()
    for page in s3.get_paginator("list_object_versions").paginate(Bucket="lake"):
        for item in page.get("Versions", ()):
            body = s3.get_object(Bucket="lake", Key=item["Key"], VersionId=item["VersionId"])["Body"].read()
            if body.startswith(b"\x28\xb5\x2f\xfd"):
                body = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body)).read()
            if CANARY.encode() in body or CANARY in item["Key"]:
                found.add(item["Key"].partition("/")[0])
    return found


def receipt(deletes: Deletes, job: str) -> Any:
    answer = deletes.client.call(system_jobs.handler, "GET", f"{PATH}/{job}/receipt")
    assert answer.status == 200, answer.text
    return answer.json()


def places(receipt: Any) -> str:
    return " ".join(f"{one['where']} {one['what']}" for one in receipt["remains"])


class TestDatasets:
    def test_without_the_lake(self, deletes: Deletes) -> None:
        deletes.ingest([person(1, of=CANARY), person(2, of=CANARY)])
        assert (found_in_tables(), found_in_lake()) == ({"profiles R"}, {"raw", "staged"})
        job = deletes.delete({"dataSetId": RECORDS})["id"]
        assert (found_in_tables(), found_in_lake()) == (set(), {"raw", "staged"})
        told = receipt(deletes, job)
        assert told["jobId"] == job
        assert told["target"] == {"datasetId": RECORDS}
        (table,) = told["swept"]
        assert table["store"] == "profile table"
        assert {name: count for name, count in table["deleted"].items() if count} == {"records": 2}
        assert told["rescan"] == {
            **told["rescan"],
            "identitiesLookedAt": 2,
            "itemsLookedAt": 0,
            "found": 0,
            "rounds": 1,
        }
        assert "raw/, staged/" in places(told)
        assert "point-in-time recovery" in places(told)
        assert told["limits"] == []

    def test_with_the_lake(self, deletes: Deletes) -> None:
        deletes.ingest([person(1, of=CANARY)])
        rows = json_lines([person(2, of=CANARY), {"of": CANARY}])
        deletes.client.ingest({"a.json": rows}, RECORDS, enableErrorDiagnostics=True, partialIngestionPercent=90)
        waiting = deletes.client.created(RECORDS)
        deletes.client.put(waiting, "later.json", json_lines([person(3, of="later")]))
        assert found_in_lake() == {"raw", "staged", "rejected"}
        job = deletes.delete({"dataSetId": RECORDS, "lake": True})["id"]
        assert (found_in_tables(), found_in_lake()) == (set(), set())
        told = receipt(deletes, job)
        assert [part["store"] for part in told["swept"]] == ["profile table", "data lake"]
        # Of each batch: what was received, what was staged, and what four steps noted; and once what was rejected.
        assert told["swept"][1]["deleted"]["objectVersions"] >= 13
        assert "raw/, staged/" not in places(told)
        # A batch that was not complete is not of before the delete.
        assert deletes.client.signal(waiting).status == 200
        assert ingest_machine.run(input_of(waiting)) == "done"
        assert deletes.look_up(3)["of"] == "later"

    def test_exports_of_before_are_named(self, deletes: Deletes) -> None:
        deletes.ingest([person(1)])
        now = time.time_ns() // 1_000_000
        old, older, later = (ulid(now + passed, 1) for passed in (-1000, -2000, 3_600_000))
        exported = Exported((old, later), (older,)).to_document()
        deletes.client.call.registry.put(f"{TENANT.key}#exported", UNION, exported)
        told = receipt(deletes, deletes.delete({"dataSetId": RECORDS})["id"])
        assert [one for one in (old, older, later) if one in places(told)] == [old, older]

    def test_events(self, deletes: Deletes) -> None:
        deletes.ingest([event(1, of=CANARY), event(2, of=CANARY)], EVENTS)
        deletes.ingest([event(2, of=CANARY)], EVENTS)
        assert found_in_tables() == {"profiles C", "profiles E"}
        job = deletes.delete({"dataSetId": EVENTS})["id"]
        assert found_in_tables() == set()
        assert kinds() == {"H": 2}
        (table,) = receipt(deletes, job)["swept"]
        deleted = table["deleted"]
        assert (deleted["events"], deleted["eventCopies"], deleted["streamsDeleted"]) == (2, 1, 2)

    def test_when_what_was_missed_is_found_by_the_last_look(self, deletes: Deletes, monkeypatch: Any) -> None:
        """A writer that nobody waited for brings something back: it is found, deleted, and looked for again."""
        deletes.ingest([person(1, of=CANARY), person(2)])
        before = stored()
        job = deletes.asked({"dataSetId": RECORDS})
        settle = purge_machine.purge.look

        def look(event_: Any, context: object) -> Any:
            if event_["job"]["round"] == 1:
                for item in before.values():
                    boto3.client("dynamodb").put_item(TableName="profiles", Item=item)
            return settle(event_, context)

        monkeypatch.setattr(purge_machine.purge, "look", look)
        assert purge_machine.run(job) == "done"
        assert found_in_tables() == set()
        told = receipt(deletes, job)
        assert (told["rescan"]["rounds"], told["rescan"]["found"]) == (2, 0)
        assert told["swept"][0]["deleted"]["records"] == 4

    def test_no_end_of_it_is_a_failure(self, deletes: Deletes, monkeypatch: Any) -> None:
        deletes.ingest([person(1)])
        before = stored()
        job = deletes.asked({"dataSetId": RECORDS})
        look = purge_machine.purge.look

        def haunted(event_: Any, context: object) -> Any:
            for item in before.values():
                boto3.client("dynamodb").put_item(TableName="profiles", Item=item)
            return look(event_, context)

        monkeypatch.setattr(purge_machine.purge, "look", haunted)
        assert purge_machine.run(job) == "broken"
        failed = deletes.get(job).json()
        assert failed["status"] == "FAILED"
        assert "still found 1 items" in failed["reason"]
        assert orjson.loads(failed["metrics"])
        monkeypatch.undo()
        assert deletes.client.call(system_jobs.handler, "GET", f"{PATH}/{job}/receipt").status == 404


class TestLinks:
    def linked(self, deletes: Deletes) -> None:
        both = {"identityMap": {"CRM": [{"id": "c1", "primary": True}], "Email": [{"id": "c1@ex.org"}]}}
        deletes.ingest([both])
        deletes.ingest([{**both, "_id": "e1", "timestamp": "2025-06-18T14:00:00Z"}], EVENTS)

    def test_they_stay_unless_asked_for(self, deletes: Deletes) -> None:
        self.linked(deletes)
        deletes.delete({"dataSetId": RECORDS})
        deletes.delete({"dataSetId": EVENTS})
        heads = [item for key, item in stored().items() if key.endswith(" H")]
        assert [len(unpack(head["b"]["B"])["m"]) for head in heads] == [1, 1]
        assert deletes.look_up(1) is None

    def test_those_that_only_this_dataset_asserted_go(self, deletes: Deletes) -> None:
        self.linked(deletes)
        first = deletes.delete({"dataSetId": RECORDS, "removeLinks": True})["id"]
        heads = [unpack(item["b"]["B"]) for key, item in stored().items() if key.endswith(" H")]
        # The events say so too.
        assert [len(head["m"]) for head in heads] == [1, 1]
        assert {source for head in heads for _, source, _ in head["a"]} == {EVENTS}
        deletes.delete({"dataSetId": EVENTS, "removeLinks": True})
        heads = [unpack(item["b"]["B"]) for key, item in stored().items() if key.endswith(" H")]
        assert [set(head) for head in heads] == [{"i"}, {"i"}]
        assert receipt(deletes, first)["swept"][1] == {"store": "identity graph", "deleted": {"links": 1}}

    def test_what_is_said_again_meanwhile_stays(self, deletes: Deletes) -> None:
        self.linked(deletes)
        jobs = [deletes.asked({"dataSetId": dataset, "removeLinks": True}) for dataset in (RECORDS, EVENTS)]
        both = {"identityMap": {"CRM": [{"id": "c1", "primary": True}], "Email": [{"id": "c1@ex.org"}]}}
        deletes.ingest([{**both, "of": "new"}])
        for job in jobs:
            assert purge_machine.run(job) == "done"
        heads = [unpack(item["b"]["B"]) for key, item in stored().items() if key.endswith(" H")]
        assert [len(head["m"]) for head in heads] == [1, 1]
        assert {source for head in heads for _, source, _ in head["a"]} == {RECORDS}


def test_a_batch_s(deletes: Deletes) -> None:
    deletes.ingest([event(1, of="other")], EVENTS)
    batch = deletes.ingest([{**event(1, of=CANARY), "_id": "x"}, event(2, of=CANARY)], EVENTS)
    job = deletes.asked({"batchId": batch, "lake": True})
    assert deletes.client.call(system_jobs.handler, "GET", f"{PATH}/{job}/receipt").status == 404
    assert found_in_tables() == {"profiles E"}
    assert purge_machine.run(job, times=2) == "done"
    assert (found_in_tables(), found_in_lake()) == (set(), set())
    assert kinds() == {"H": 2, "S": 1, "E": 1}
    told = receipt(deletes, job)
    assert told["target"] == {"datasetId": EVENTS, "batchId": batch}
    assert (told["swept"][0]["deleted"]["events"], told["swept"][0]["deleted"]["streamsSettled"]) == (2, 2)
    assert len(told["limits"]) == 1


def test_a_batch_s_of_whose_events_others_have_copies(deletes: Deletes) -> None:
    """What it had first is shown from the other batch; what the other one had first stays as it is."""
    deletes.ingest([event(1, of="other")], EVENTS)
    batch = deletes.ingest([event(1, of=CANARY), event(2, of=CANARY)], EVENTS)
    deletes.ingest([event(2, of="other")], EVENTS)
    assert found_in_tables() == {"profiles C", "profiles E"}
    job = deletes.asked({"batchId": batch})
    assert purge_machine.run(job, times=2) == "done"
    assert found_in_tables() == set()
    assert kinds() == {"H": 2, "S": 2, "E": 2}
    told = receipt(deletes, job)
    deleted = told["swept"][0]["deleted"]
    assert (deleted["events"], deleted["eventCopies"]) == (1, 1)
    assert told["rescan"]["found"] == 0


def test_jobs_of_other_kinds_have_none(deletes: Deletes) -> None:
    job = {"kind": "ttl", "id": "01J", "status": "SUCCESS", "at": 1, "updated": 1, "counts": {}, "reason": ""}
    deletes.client.call.registry.put(f"{TENANT.key}#job", "01J", job)
    assert deletes.get("01J").status == 200
    assert deletes.client.call(system_jobs.handler, "GET", f"{PATH}/01J/receipt").status == 404


@pytest.mark.parametrize(("dataset", "by"), [(RECORDS, "dataset"), (EVENTS, "dataset"), (EVENTS, "batch")])
def test_a_delete_that_is_accepted_while_the_batch_is_applied(
    deletes: Deletes, monkeypatch: pytest.MonkeyPatch, dataset: str, by: str
) -> None:
    """Some rows are written before, some would be after, and the machine is cut off and tried again meanwhile."""
    row: Any = event if dataset == EVENTS else person
    monkeypatch.setattr(applying, "_ROWS_AT_ONCE", 2)
    batch = deletes.client.created(dataset)
    deletes.client.put(batch, "a.json", json_lines([row(number, of=CANARY) for number in range(6)]), dataset)
    assert deletes.client.signal(batch).status == 200
    apply, jobs = ProfileWriter.apply, []

    def interrupted(writer: ProfileWriter, *arguments: Any) -> Any:
        report = apply(writer, *arguments)
        if not jobs:
            assert found_in_tables() == {f"profiles {'E' if dataset == EVENTS else 'R'}"}
            jobs.append(deletes.asked({"batchId": batch} if by == "batch" else {"dataSetId": dataset}))
        return report

    with monkeypatch.context() as patched:
        patched.setattr(ProfileWriter, "apply", interrupted)
        assert ingest_machine.run(input_of(batch), times=1) == "done"
    assert [deletes.look_up(number) for number in range(2, 6)] == [None] * 4
    assert purge_machine.run(jobs[0]) == "done"
    assert found_in_tables() == set()
    # The ingestion is tried again, as it is when its last answer was lost.
    assert ingest_machine.run(input_of(batch)) == "done"
    assert found_in_tables() == set()
    assert not {"R", "E", "S"} & set(kinds())
