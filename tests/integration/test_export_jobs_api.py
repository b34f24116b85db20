"""Export jobs over HTTP (contract: data-and-pql §3, scenarios 25 to 32 of §7)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from api import batches, data_access, export_jobs
from tests.integration import export_machine
from tests.integration.conftest import Answer, Caller
from tests.integration.test_export import (
    APP,
    CRM,
    HOUR,
    LOYALTY,
    NOW,
    SHOP,
    UNION,
    World,
    batches_with_files,
    who,
    world,
)

__all__ = ["world"]
PATH = export_jobs.PATH
PROFILE = {"name": "_xdm.context.profile"}


def post(world: World, **body: Any) -> Answer:
    return world.call(export_jobs.handler, "POST", PATH, body={"schema": PROFILE, **body})


def get(world: World, at: str = "", **query: str) -> Answer:
    return world.call(export_jobs.handler, "GET", f"{PATH}/{at}", query=query)


def delete(world: World, job: Any) -> Answer:
    return world.call(export_jobs.handler, "DELETE", f"{PATH}/{job['id']}")


def member(number: int, *memberships: tuple[str, str], at: str = "2025-06-01T00:00:00Z") -> Any:
    segments = {segment: {"status": status, "lastQualificationTime": at} for segment, status in memberships}
    return [who(number)], {"number": number, "segmentMembership": {"ups": segments}}


def segment(segment_id: str, **more: Any) -> dict[str, Any]:
    return {"segmentId": segment_id, **more}


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    return sorted(row["number"] for row in rows)


class TestTheJob:
    def test_as_it_is_created(self, world: World) -> None:
        asked = {"filter": {"emptyProfiles": True}, "fields": "number, person.name"}
        answer = post(world, destination={"datasetId": UNION}, **asked)
        job = answer.json()
        assert (answer.status, answer.headers["x-location"]) == (200, f"{PATH}/{job['id']}")
        assert isinstance(job["id"], int)
        assert 0 < job["id"] < 1 << 53
        assert job["status"] == "NEW"
        assert job["metrics"] == {"totalTime": {"startTimeInMs": NOW}}
        assert job["computeGatewayJobId"] == {"exportJob": ""}
        assert (job["creationTime"], job["updateTime"]) == (NOW, NOW)
        assert (job["filter"], job["fields"]) == (asked["filter"], asked["fields"])
        assert "additionalFields" not in job
        assert job["mergePolicy"]["version"] == 1
        assert len(job["destination"]["batchId"]) == 26
        assert "batches" not in job["destination"]
        assert get(world, str(job["id"])).json() == job

    def test_both_spellings_of_the_dataset(self, world: World) -> None:
        job = post(world, destination={"dataSetId": UNION}).json()
        assert (job["destination"]["datasetId"], job["destination"]["dataSetId"]) == (UNION, UNION)
        assert post(world, destination={"datasetId": UNION, "dataSetId": UNION}).status == 200
        assert post(world, destination={"datasetId": UNION, "dataSetId": CRM}).status == 400

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"destination": {"datasetId": CRM}}, "union schema"),
            ({"destination": {"datasetId": "nowhere"}}, "does not exist"),
            ({"destination": {}}, "datasetId"),
            ({}, "destination"),
            ({"destination": {"datasetId": UNION}, "schema": {"name": "_xdm.context.account"}}, "profile"),
            ({"destination": {"datasetId": UNION}, "mergePolicy": {"id": "none"}}, "policy none"),
            ({"destination": {"datasetId": UNION}, "mergePolicy": {"version": 7}}, "version 7"),
            ({"destination": {"datasetId": UNION, "segmentPerBatch": True}}, "segmentPerBatch"),
            ({"destination": {"datasetId": UNION}, "filter": {"segments": [{}]}}, "segmentId"),
            ({"destination": {"datasetId": UNION}, "filter": {"segments": [segment("a"), segment("a")]}}, "once"),
            ({"destination": {"datasetId": UNION}, "filter": {"segments": [segment("a", status=["out"])]}}, "exited"),
            ({"destination": {"datasetId": UNION}, "filter": {"fromIngestTimestamp": "yesterday"}}, "date and time"),
            ({"destination": {"datasetId": UNION}, "fields": ["a"]}, "dotted paths"),
            ({"destination": {"datasetId": UNION}, "filter": {"mine": "x" * 100_000}}, "100,000 bytes"),
            ({"destination": {"datasetId": UNION}, "evaluationInfo": {"segmentation": True}}, "segmentMembership"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_meant(self, world: World, body: dict[str, Any], said: str) -> None:
        answer = post(world, **body)
        assert answer.status == 400
        assert said in answer.text
        assert get(world).json()["records"] == []

    def test_blanks_are_nothing(self, world: World) -> None:
        body = {"fields": "", "filter": {}, "additionalFields": {}, "mergePolicy": {"id": ""}, "evaluationInfo": {}}
        assert post(world, destination={"datasetId": UNION}, **body).status == 200

    def test_progress_while_it_runs_and_times_afterwards(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        world.write(CRM, *(([who(number)], {"number": number}) for number in range(5)))
        job = world.ask()
        of_job = export_machine.input_of(job["id"])
        state = export_machine.call("plan", of_job)
        assert world.job(job)["progress"] == {"sharesDone": 0, "shares": 1, "profilesExported": 0}
        (share,) = export_machine.items(state, "shares_key", "shares")
        monkeypatch.setattr(time, "time_ns", lambda: (NOW + 5000) * 1_000_000)
        export_machine.call("gather", {"job": of_job, "share": share})
        running = world.job(job)
        assert (running["status"], running["updateTime"]) == ("PROCESSING", NOW)
        assert running["progress"] == {"sharesDone": 1, "shares": 1, "profilesExported": 5}
        assert export_machine.run(job["id"]) == "done"
        done = world.job(job)
        assert "progress" not in done
        assert done["metrics"]["profileExportTime"] == {
            "startTimeInMs": NOW, "endTimeInMs": NOW + 5000, "totalTimeInMs": 5000
        }  # fmt: skip
        assert done["metrics"]["totalTime"]["totalTimeInMs"] == 5000
        assert done["metrics"]["aCPDatasetWriteTime"]["totalTimeInMs"] == 0
        assert done["errors"] == []

    def test_ids_that_are_none(self, world: World) -> None:
        for unknown in ("1", "x", "1" * 17, "-1"):
            assert get(world, unknown).status == 404
            assert delete(world, {"id": unknown}).status == 404


class TestListing:
    def test_pages(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        ids = []
        for number in range(5):
            monkeypatch.setattr(time, "time_ns", lambda number=number: (NOW + number) * 1_000_000)
            ids.append(world.ask()["id"])
        seen: list[int] = []
        query: dict[str, str] = {"limit": "2"}
        while True:
            page = get(world, **query).json()
            seen += [job["id"] for job in page["records"]]
            assert page["page"]["pageSize"] == len(page["records"])
            assert (page["page"]["sortField"], page["page"]["sort"]) == ("createdTime", "desc")
            last = page["records"][-1]
            assert page["page"]["pageOffset"] == f"{last['creationTime']}_{last['id']}"
            following = page["link"]["next"]
            if not following:
                break
            assert following == f"/export/jobs/?limit=2&offset={page['page']['pageOffset']}"
            # As Adobe's client reads it.
            query["offset"] = following.split("offset=")[1]
        assert seen == ids[::-1]
        assert [job["id"] for job in get(world, start="3", limit="1000").json()["records"]] == ids[1::-1]
        assert [job["id"] for job in get(world, sort="createdTime:asc", limit="2").json()["records"]] == ids[:2]

    def test_by_status(self, world: World) -> None:
        done, new = world.export(), world.ask()
        cancelled = world.ask()
        delete(world, cancelled)
        for status, job in (("SUCCEEDED", done), ("NEW", new), ("failed", cancelled)):
            assert [one["id"] for one in get(world, status=status).json()["records"]] == [job["id"]]
        assert get(world, status="LOST").status == 400
        assert get(world, offset="x").status == 400
        assert get(world, sort="name").status == 400

    def test_nothing(self, world: World) -> None:
        page = get(world).json()
        assert (page["records"], page["link"], page["page"]["pageOffset"]) == ([], {"next": ""}, "")


class TestWhoIsExported:
    def test_25_events_only_when_asked_for(self, world: World) -> None:
        world.write(CRM, ([who(1)], {"number": 1}))
        one, two = (
            ([who(1)], {"_id": f"e{hour}", "timestamp": f"2025-06-18T0{hour}:00:00Z", "price": hour, "kind": "buy"})
            for hour in (1, 2)
        )
        world.write(SHOP, one, at_ms=NOW - 2 * HOUR)
        world.write(APP, two, at_ms=NOW - HOUR)
        (row,) = world.exported()
        assert set(row) == {"identityMap", "number"}
        (row,) = world.exported(fields="identityMap", additionalFields={"eventList": {"fields": "_id,price"}})
        assert row == {
            "identityMap": {"shopper": [{"id": "p1"}]},
            "eventList": [{"_id": "e1", "price": 1}, {"_id": "e2", "price": 2}],
        }
        for window, events in (
            ({"fromIngestTimestamp": "2025-06-18T13:00:00Z"}, ["e2"]),
            ({"toIngestTimestamp": "2025-06-18T14:00:00Z"}, ["e1"]),
            ({"fromIngestTimestamp": "2025-06-18T14:00:00Z"}, []),
        ):
            asked = {"eventList": {"fields": "_id", "filter": window}}
            (row,) = world.exported(additionalFields=asked)
            assert [event["_id"] for event in row["eventList"]] == events

    def test_26_states_of_members(self, world: World) -> None:
        world.write(
            CRM, member(1, ("a", "realized")), member(2, ("a", "existing")), member(3, ("a", "exited")), member(4),
            member(5, ("b", "realized")),
        )  # fmt: skip
        world.write(CRM, ([who(6)], {"number": 6}), ([who(7)], {"number": 7, "segmentMembership": {"ups": {"a": {}}}}))
        assert numbers(world.exported(filter={"segments": [segment("a")]})) == [1, 2]
        assert numbers(world.exported(filter={"segments": [segment("a", status=["exited"])]})) == [3]
        assert numbers(world.exported(filter={"segments": [segment("a"), segment("b")]})) == [1, 2, 5]
        assert numbers(world.exported(filter={"segments": [segment("a", segmentNs="aam")]})) == []
        assert numbers(world.exported()) == [1, 2, 3, 4, 5, 6, 7]

    def test_time_of_qualification(self, world: World) -> None:
        for day in (1, 2, 3):
            world.write(CRM, member(day, ("a", "realized"), at=f"2025-06-0{day}T00:00:00Z"))
        world.write(CRM, ([who(4)], {"number": 4, "segmentMembership": {"ups": {"a": {"status": "realized"}}}}))
        for start, end, expected in (
            ("2025-06-02T00:00:00Z", None, [2, 3]),
            (None, "2025-06-02T00:00:00Z", [1, 2]),
            ("2025-06-01T12:00:00Z", "2025-06-02T12:00:00Z", [2]),
            (None, None, [1, 2, 3, 4]),
        ):
            bounds = {"startTime": start, "endTime": end}
            bounds = {name: value for name, value in bounds.items() if value}
            asked = {"segments": [segment("a")], "segmentQualificationTime": bounds}
            assert numbers(world.exported(filter=asked)) == expected

    def test_27_who_has_events_only(self, world: World) -> None:
        world.write(CRM, ([who(1)], {"number": 1}))
        world.write(SHOP, ([who(2)], {"_id": "e", "timestamp": "2025-06-18T01:00:00Z"}))
        assert len(world.exported()) == 1
        assert len(world.exported(filter={"emptyProfiles": True})) == 2

    def test_profiles_updated_after_a_time(self, world: World) -> None:
        world.write(CRM, ([who(1)], {"number": 1}), ([who(2)], {"number": 2}), at_ms=NOW - 2 * HOUR)
        world.write(LOYALTY, ([who(2)], {"more": 1}), at_ms=NOW - HOUR)
        # That hour to the millisecond: strictly greater.
        for time_, expected in (("13:00:00Z", [2]), ("13:59:59.999Z", [2]), ("14:00:00Z", []), ("12:59:59Z", [1, 2])):
            asked = {"fromIngestTimestamp": f"2025-06-18T{time_}"}
            assert numbers(world.exported(filter=asked)) == expected

    def test_fields_that_nobody_has_are_columns_without_values(self, world: World) -> None:
        world.write(CRM, ([who(1)], {"number": 1}))
        job = world.export(fields="nothing.at.all")
        (table,) = world.tables(job["destination"]["batchId"])
        assert (table.column_names, table.num_rows) == (["nothing"], 1)


class TestWhereItGoes:
    def test_29_a_batch_for_each_segment(self, world: World) -> None:
        world.write(CRM, member(1, ("a", "realized")), member(2, ("a", "realized"), ("b", "realized")))
        segments = [segment("a"), segment("b"), segment("c")]
        job = world.export(destination={"segmentPerBatch": True}, filter={"segments": segments})
        assert "batchId" not in job["destination"]
        found = job["destination"]["batches"]
        assert [(one["segmentId"], one["segmentNs"], one["status"]) for one in found] == [
            (name, "ups", ["realized", "existing"]) for name in "abc"
        ]
        assert [numbers(world.rows(one["batchId"])) for one in found] == [[1, 2], [2], []]
        assert job["metrics"]["totalExportedProfileCounter"] == 2
        one = world.export(filter={"segments": segments})
        assert "batches" not in one["destination"]
        assert numbers(world.rows(one["destination"]["batchId"])) == [1, 2]

    def test_31_cancelled(self, world: World) -> None:
        world.write(CRM, ([who(1)], {"number": 1}))
        before = world.export()["destination"]["batchId"]
        for steps in range(6):
            job = world.ask()
            of_job = export_machine.input_of(job["id"])
            walk = walking(of_job)
            for _ in range(steps):
                next(walk)
            answer = delete(world, job)
            assert (answer.status, answer.json()) == (
                200, {"status": True, "message": "Export job has been marked for cancelling"}
            )  # fmt: skip
            list(walk)
            if steps < 5:
                assert world.job(job)["status"] == "FAILED"
                assert "cancelled" in world.job(job)["errors"][0]["msg"]
                batch = job["destination"]["batchId"]
                assert world.call(batches.handler, "GET", f"/data/foundation/catalog/batches/{batch}").status == 404
                assert len(world.rows(before)) == 1
                assert batches_with_files() == {before}
                assert delete(world, job).status == 200
                assert export_machine.run(job["id"]) == "over"
            else:
                assert world.job(job)["status"] == "SUCCEEDED"

    def test_32_who_left_is_gone_from_the_dataset(self, world: World) -> None:
        world.write(CRM, member(1, ("a", "realized")), member(2, ("a", "realized")))
        asked = {"filter": {"segments": [segment("a")]}}
        first = world.export(**asked)["destination"]["batchId"]
        world.write(CRM, member(2, ("a", "exited"), at="2025-06-02T00:00:00Z"))
        assert active(world) == [first]
        second = world.export(**asked)["destination"]["batchId"]
        assert active(world) == [second]
        assert numbers(world.rows(second)) == [1]
        assert world.rows(first) == []
        assert batch(world, first)["status"] == "inactive"

    def test_a_batch_of_an_export_is_one_of_the_catalogue(self, world: World) -> None:
        world.write(CRM, ([who(1)], {"number": 1}))
        job = world.export()
        described = batch(world, job["destination"]["batchId"])
        assert described["status"] == "success"
        assert (described["recordCount"], described["failedRecordCount"]) == (1, 0)
        meta = world.call(
            data_access.handler, "GET", f"/data/foundation/export/batches/{job['destination']['batchId']}/meta"
        )
        assert "export_manifest.json" in [one["name"] for one in meta.json()["data"]]

    def test_a_dataset_that_is_gone_when_it_comes_to_it(self, world: World) -> None:
        world.write(CRM, ([who(1)], {"number": 1}))
        job = world.ask()
        world.change(lambda known: known.without_dataset(UNION))
        assert export_machine.run(job["id"]) == "broken"
        failed = world.job(job)
        assert failed["status"] == "FAILED"
        assert "does not exist" in failed["errors"][0]["msg"]
        assert set(failed["errors"][0]) == {"code", "msg", "callStack"}


def walking(of_job: dict[str, Any]) -> Any:
    """Go through the machine step by step."""
    call = export_machine.call
    state = call("plan", of_job)
    yield "plan"
    shares = export_machine.items(state, "shares_key", "shares") if state["shares"] else []
    for share in shares:
        assert call("gather", {"job": of_job, "share": share})["done"]
    yield "gather"
    if not shares:
        call("finish", state)
        yield from ["settle", "write", "finish"]
        return
    state = call("settle", state)
    yield "settle"
    for file in export_machine.items(state, "files_key", "files") if state["files"] else []:
        call("write", {"job": of_job, "file": file})
    yield "write"
    call("finish", state)
    yield "finish"


def batch(world: World, batch_id: str) -> dict[str, Any]:
    answer = world.call(batches.handler, "GET", f"/data/foundation/catalog/batches/{batch_id}")
    described: dict[str, Any] = answer.json()[batch_id]
    return described


def active(world: World) -> list[str]:
    query = {"dataSet": UNION, "status": "success"}
    return list(world.call(batches.handler, "GET", "/data/foundation/catalog/batches", query=query).json())


def test_a_reader_may_not_ask_for_what_readers_may_not(call: Caller) -> None:
    call.registry.put(
        "client#testclient0000000000000001", "client", {"organisations": [], "permissions": [], "name": "tests"}
    )
    assert call(export_jobs.handler, "GET", PATH).status == 403
