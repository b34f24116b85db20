"""Rows of erased persons are taken out of the lake, and those of others stay byte for byte (law 7)."""

from __future__ import annotations

import io
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest

from api import batches, data_access, erasures
from tessera.domain.configuration import DatasetKind, DatasetSettings
from tessera.services.erasure.lake import course
from tessera.services.ingestion import applying
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tests.integration import erase_machine, ingest_machine
from tests.integration.conftest import ORG
from tests.integration.lake_world import CANARY, NAMED, LakeWorld, found, text_of, theirs, versions, world
from tests.integration.test_batches import (
    ELSEWHERE,
    EVENTS,
    RECORDS,
    TENANT,
    client,
    event,
    input_of,
    json_lines,
    parquet,
    person,
    stored,
)
from tests.integration.test_batches_in_parts import part, post
from tests.integration.test_schemas_api import ENABLED, OWN, Registry, dataset

__all__ = ["client", "world"]


def files(world: LakeWorld, batch: str) -> dict[str, bytes]:
    """The files of a batch as a caller reads them."""
    read: dict[str, bytes] = {}
    for one in world.client.read(batch, "files").json()["data"]:
        path = f"/data/foundation/export/files/{one['dataSetFileId']}"
        (told,) = world.call(data_access.handler, "GET", path).json()["data"]
        answer = world.call(data_access.handler, "GET", path, query={"path": told["name"]})
        assert answer.status == 200
        body = answer.text.encode("latin-1")
        assert len(body) == told["length"]
        read[told["name"]] = body
    return read


def test_nothing_of_the_person_is_left_and_everything_of_others(world: LakeWorld) -> None:
    world.bring()
    kinds = {(key.split("/")[0], key.rpartition(".")[2] if key.startswith("raw") else "") for key in found()}
    assert {"json", "csv", "parquet"} <= {form for kind, form in kinds if kind == "raw"}
    assert {kind for kind, _ in kinds} == {"raw", "staged", "rejected", "stream"}
    schema = pq.read_schema(io.BytesIO(files(world, world.batches["parquet"])["p.parquet"]))
    untouched = {(key, version): body for key, version, body in versions() if CANARY not in text_of(key, body).lower()}

    job = world.erase()
    assert erase_machine.run(job) == "done"
    assert found() == []
    of = world.batches
    first_line_ends_oddly = world.others.replace(b"\n", b"\r\n\n", 1)
    assert files(world, of["lines"]) == {"a.json": first_line_ends_oddly, "clean.json": world.others}
    assert files(world, of["parts"]) == {"big/one.json": world.others}
    assert files(world, of["over"]) == {"w.json": world.others}
    assert files(world, of["csv"]) == {"t.csv": b'identityMap.CRM,identityMap.Email,note\nc1,,"a\nb"\nc2,,c\n'}
    (document,) = files(world, of["document"]).values()
    assert document == b"[" + world.others.strip().replace(b"\n", b",\n") + b"]\n"
    table = pq.read_table(io.BytesIO(files(world, of["parquet"])["p.parquet"]))
    assert table.schema == schema
    assert [row["identityMap"]["Email"][0]["id"] for row in table.to_pylist()] == ["c1", "c2", "c3"]
    assert [row["_id"] for row in world.client.rejected(of["rejected"])] == [""]

    # What had nothing of the person is not written anew, but for a file in parts, which is one object now.
    written = {(key, version): body for key, version, body in versions()}
    of_parts = f"/{of['parts']}/"
    kept = {name for name in untouched if not name[0].startswith("jobs/") and of_parts not in name[0]}
    assert {name: untouched[name] for name in kept} == {name: written[name] for name in kept if name in written}
    assert len(kept) > 5

    receipt = world.receipt(job)
    assert receipt["status"] == "SUCCESS"
    assert {one["datasetId"]: (one["rows"], one["objects"]) for one in receipt["lake"]["datasets"]} == {
        RECORDS: (34, 16),
        EVENTS: (8, 7),
    }
    assert receipt["lake"]["formerVersions"] == 1
    assert receipt["lake"]["notLookedInto"] == []
    proof = receipt["lake"]["proof"]
    assert (proof["readings"], proof["found"]) == (2, 0)
    assert proof["objects"] > 20
    # Told with the file, and the figures of the batch are those of its ingestion.
    listed_file = world.client.read(of["lines"], "meta", path="input_files/a.json").json()["data"][0]
    assert listed_file["erasedRows"] == 3
    assert world.client.status(of["lines"])["metrics"]["inputRecordCount"] == 9


def test_what_cannot_be_looked_into_is_named(world: LakeWorld) -> None:
    rows = [theirs(person(4)), person(1)]
    broken = b'{"identityMap": {"Email": [{"id": "' + CANARY.encode() + b'"}]}, "cut'
    some = world.client.ingest(
        {"s.json": json_lines(rows) + broken}, partialIngestionPercent=90, enableErrorDiagnostics=True
    )["id"]
    damaged = world.client.ingest({"d.parquet": b"PAR1" + CANARY.encode() + b"PAR1"}, form="parquet")["id"]
    loading = world.client.created()
    world.client.put(loading, "l.json", json_lines(rows))
    begun = world.client.created()
    post(world.client, begun, "INITIALIZE")
    part(world.client, begun, 0, json_lines(rows))
    assert world.client.signal(begun, "ABORT").status == 200
    dropped = f"drop-rejected/{ORG}/dev/nowhere/x.json"
    boto3.client("s3").put_object(Bucket="lake", Key=dropped, Body=json_lines(rows))

    job = world.erase()
    assert erase_machine.run(job) == "done"
    lake = world.receipt(job)["lake"]
    named = {
        (one.get("batchId", ""), one.get("file", "").split("/")[0], one.get("rows", 0)) for one in lake["notLookedInto"]
    }
    assert named == {
        (some, "input_files", 1),
        (some, "row_errors", 1),
        (damaged, "input_files", 0),
        (loading, "", 0),
        (begun, "parts", 0),
        ("", "drop-rejected", 0),
    }
    assert lake["notLookedIntoCount"] == len(lake["notLookedInto"])
    # All that is left is in these.
    for key in found():
        assert any(which in key for which in (some, damaged, loading, begun)) or key == dropped, key
    assert files(world, some)["s.json"] == json_lines([person(1)]) + broken


def test_other_sandboxes_and_later_rows_are_not_touched(world: LakeWorld) -> None:
    prod = world.call(
        batches.handler,
        "POST",
        "/data/foundation/import/batches",
        body={"datasetId": ELSEWHERE, "inputFormat": {"format": "json"}},
        headers={"x-sandbox-name": "prod"},
    ).json()["id"]
    body = json_lines([theirs(person(4)), person(1)])
    path = f"/data/foundation/import/batches/{prod}/datasets/{ELSEWHERE}/files/p.json"
    headers = {"x-sandbox-name": "prod", "Content-Type": "application/octet-stream"}
    assert world.call(batches.handler, "PUT", path, body=body, headers=headers).status == 200
    world.client.ingest({"a.json": body})
    job = world.erase(hold=True)
    later = world.client.ingest({"b.json": body}, enableErrorDiagnostics=True)["id"]
    assert erase_machine.run(job) == "done"
    assert {key.split("/")[2] for key in found()} == {prod, later}
    # Held: not in the profile store, and still in the lake.
    assert [row["_errors"][0]["code"] for row in world.client.rejected(later)] == ["TESSERA-INGEST-HELD"]
    assert files(world, later) == {"b.json": body}


def test_a_batch_that_is_being_ingested_is_waited_for(world: LakeWorld) -> None:
    world.client.ingest({"a.json": json_lines([theirs(person(4))])})
    waiting = world.client.created(enableErrorDiagnostics=True, partialIngestionPercent=50)
    world.client.put(
        waiting,
        "w.json",
        json_lines(
            [
                theirs(person(5)),
                person(1),
                {**theirs(person(6)), "extSourceSystemAudit": {"lastUpdatedDate": "x"}},
                person(2),
            ]
        ),
    )
    assert world.client.signal(waiting).status == 200
    job = world.erase()
    ended: list[str] = []

    def ingest() -> None:
        if not ended:
            ended.append(ingest_machine.run(input_of(waiting)))

    assert erase_machine.run(job, ingest) == "done"
    assert ended == ["done"]
    assert found() == []
    assert world.client.status(waiting)["status"] == "success"
    assert files(world, waiting) == {"w.json": json_lines([person(1), person(2)])}


def test_a_batch_that_is_never_ingested_fails_the_job(world: LakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.client.ingest({"a.json": json_lines([theirs(person(4))])})
    waiting = world.client.created()
    world.client.put(waiting, "w.json", json_lines([theirs(person(5))]))
    assert world.client.signal(waiting).status == 200
    job = world.erase()
    monkeypatch.setattr(course, "MAX_WAIT_MS", 1)
    assert erase_machine.run(job) == "broken"
    told = world.call(erasures.handler, "GET", f"{erasures.PATH}/{job}").json()
    assert told["status"] == "FAILED"
    assert waiting in told["reason"]


def test_a_lake_that_never_has_nothing_fails_the_job(world: LakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.client.ingest({"a.json": json_lines([theirs(person(4))])})
    job = world.erase()
    monkeypatch.setattr(course, "MAX_LOOKS", 1)
    assert erase_machine.run(job) == "broken"
    told = world.call(erasures.handler, "GET", f"{erasures.PATH}/{job}").json()
    assert (told["status"], "still found rows" in told["reason"]) == ("FAILED", True)
    assert "proof" not in world.receipt(job)["lake"]


def test_former_versions_that_have_the_person_go_too(world: LakeWorld) -> None:
    batch = world.client.created()
    for number in range(3):
        assert world.client.put(batch, "a.json", json_lines([theirs(person(4), number), person(number)])).status == 200
    world.completed(batch)
    job = world.erase()
    assert erase_machine.run(job) == "done"
    assert found() == []
    lake = world.receipt(job)["lake"]
    assert (lake["datasets"], lake["formerVersions"]) == ([{"datasetId": RECORDS, "rows": 2, "objects": 2}], 2)


def test_rows_that_are_half_applied_go_on_where_they_were(world: LakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is taken out before the one that comes next must not make that one be passed over."""
    batch = world.client.created(EVENTS)
    rows = [theirs(event(1)), event(2), theirs(event(3)), event(4), event(5)]
    world.client.put(batch, "e.json", json_lines(rows), EVENTS)
    assert world.client.signal(batch).status == 200
    planned = ingest_machine.ingest.plan(input_of(batch), None)
    (chunk,) = ingest_machine.chunks(planned)
    share = {"batch": input_of(batch), "chunk": chunk}
    ingest_machine.ingest.validate(share, None)
    assert ingest_machine.ingest.decide(planned, None)["verdict"] == "apply"
    with monkeypatch.context() as slow:
        slow.setattr(applying, "_ROWS_AT_ONCE", 1)
        slow.setattr(applying, "WORKING_S", 2.5)
        ticks = iter(range(1000))
        slow.setattr(ingest_machine.ingest._applier(), "_clock", lambda: next(ticks))
        assert ingest_machine.ingest.apply(share, None)["more"]
    assert erase_machine.run(world.erase()) == "done"
    assert found() == []
    # The machine may begin anew, too.
    assert ingest_machine.run(input_of(batch)) == "done"
    kept = {name for name in stored() if " E#" in name}
    assert len(kept) == 3
    assert world.client.status(batch)["metrics"]["outputRecordCount"] == 5


def test_a_batch_can_be_replaced_after_it_was_written_anew(world: LakeWorld) -> None:
    old = world.client.ingest({"e.json": json_lines([theirs(event(1)), event(2), event(3)])}, EVENTS)["id"]
    assert erase_machine.run(world.erase()) == "done"
    world.client.ingest({"n.json": json_lines([event(2)])}, EVENTS, replay={"predecessors": [old], "reason": "replace"})
    assert len({name for name in stored() if " E#" in name}) == 1
    assert found() == []


def test_who_is_in_the_lake_alone_is_erased_from_there(world: LakeWorld) -> None:
    """Ten thousand of whom the profile store knows nothing: they were sent to a dataset that profiles do not have."""
    apart = "64f0000000000000000000ff"
    settings = DatasetSettings(apart, DatasetKind.RECORD)
    ConfigurationStore(aws.dynamodb(), aws.registry_table()).change(
        TENANT, lambda known: known.with_dataset(settings).with_namespaces(["Email"])
    )
    everybody = [{"identityMap": {"Email": [{"id": f"p{number}@ex.org"}]}} for number in range(10_050)]
    batch = world.client.ingest({"p.parquet": parquet(everybody)}, apart, form="parquet")["id"]
    named = "namespace,id\n" + "".join(f"Email,p{number}@ex.org\n" for number in range(10_000))
    answer = world.call(
        erasures.handler,
        "POST",
        erasures.PATH,
        body=named.encode(),
        headers={"Content-Type": "text/csv"},
        query={"lake": "true"},
    )
    assert answer.status == 202, answer.text
    job = answer.json()["id"]
    assert erase_machine.run(job) == "done"
    assert world.receipt(job)["identities"]["notFound"] == 10_000
    left = pq.read_table(io.BytesIO(files(world, batch)["p.parquet"])).num_rows
    assert left == 50
    assert {one["datasetId"]: one["rows"] for one in world.receipt(job)["lake"]["datasets"]} == {apart: 20_000}


@pytest.mark.parametrize("datasets_go", [False, True])
def test_identities_in_fields_are_found_as_ingestion_finds_them(world: LakeWorld, *, datasets_go: bool) -> None:
    registry = Registry(world.call)
    registry_group = registry.group(email={"type": "string"}, points={"type": "integer"})
    schema = registry.schema("Members", registry_group["$id"])
    assert registry.identity(schema, f"/{OWN}/email", primary=True).status == 201
    members = dataset(world.call, schema["$id"], **ENABLED)
    rows = [("c@ex.org", 1), (CANARY, 2), ("d@ex.org", "x"), (CANARY.upper(), "y")]
    head = f"{OWN}.email,{OWN}.points\n"
    written = [f"{email},{points}\n" for email, points in rows]
    batch = world.client.ingest(
        {"m.csv": (head + "".join(written)).encode()},
        members,
        form="csv",
        partialIngestionPercent=90,
        enableErrorDiagnostics=True,
    )["id"]
    assert len(found()) == 3
    if datasets_go:
        ConfigurationStore(aws.dynamodb(), aws.registry_table()).change(
            TENANT, lambda known: known.without_dataset(members)
        )
    job = world.erase()
    assert erase_machine.run(job) == "done"
    assert found() == []
    assert files(world, batch) == {"m.csv": (head + written[0] + written[2]).encode()}
    assert [row[OWN]["email"] for row in world.client.rejected(batch)] == ["d@ex.org"]
    (taken,) = world.receipt(job)["lake"]["datasets"]
    assert taken == {"datasetId": members, "rows": 4, "objects": 3}


class TestTheCall:
    @pytest.mark.parametrize("value", ["true", 1, 0, None, [], "yes"])
    def test_lake_is_true_or_false(self, world: LakeWorld, value: Any) -> None:
        answer = world.call(erasures.handler, "POST", erasures.PATH, body={"identities": [NAMED], "lake": value})
        assert answer.status == 400
        assert "lake" in answer.text

    def test_without_it_the_lake_is_as_it_was(self, world: LakeWorld) -> None:
        world.client.ingest({"a.json": json_lines([theirs(person(4))])})
        before = found()
        job = world.erase(lake=False)
        assert erase_machine.run(job) == "done"
        assert found() == before
        receipt = world.receipt(job)
        assert "lake" not in receipt
        assert any(one.get("sources") for one in receipt["remains"])
        assert world.call(erasures.handler, "GET", f"{erasures.PATH}/{job}").json()["properties"] == {
            "hold": False,
            "lake": False,
        }
