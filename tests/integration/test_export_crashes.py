"""An export comes out the same however often, and wherever, its machine is cut off, and never half."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from itertools import count
from typing import Any

import boto3
import pytest

from tessera.services.export import gathering
from tessera.storage import aws
from tessera.storage.executions import Executions
from tessera.storage.registry import LostRaceError
from tests.integration import export_machine
from tests.integration.conftest import forget
from tests.integration.hostile import CrashError, HostileClient
from tests.integration.test_batches_crashes import Life, Mortal
from tests.integration.test_export import (
    CRM,
    HOUR,
    NOW,
    SHOP,
    UNION,
    World,
    batches_with_files,
    by_identity,
    pointed_at,
    who,
    world,
)
from tests.integration.test_export_jobs_api import active, get, post, walking

__all__ = ["world"]


def few(world: World) -> None:
    world.write(CRM, ([who(0), who(1)], {"x": 0}), *(([who(number)], {"x": number}) for number in (2, 3)))
    world.write(SHOP, ([who(3)], {"_id": "e", "timestamp": "2025-06-18T01:00:00Z"}))


def registry() -> dict[tuple[str, str], Any]:
    return {
        (item["pk"]["S"], item["sk"]["S"]): item
        for item in boto3.client("dynamodb").scan(TableName="registry")["Items"]
    }


def restore(items: dict[tuple[str, str], Any], objects: set[str]) -> None:
    """Take back what was written to the registry and the lake since."""
    dynamodb, s3 = boto3.client("dynamodb"), boto3.client("s3")
    now = registry()
    for key in now.keys() - items.keys():
        dynamodb.delete_item(TableName="registry", Key={"pk": {"S": key[0]}, "sk": {"S": key[1]}})
    for key, item in items.items():
        if now.get(key) != item:
            dynamodb.put_item(TableName="registry", Item=item)
    found = s3.list_object_versions(Bucket="lake")
    for item in [*found.get("DeleteMarkers", ()), *found.get("Versions", ())]:
        if item["VersionId"] not in objects:
            s3.delete_object(Bucket="lake", Key=item["Key"], VersionId=item["VersionId"])


def versions() -> set[str]:
    return {item["VersionId"] for item in boto3.client("s3").list_object_versions(Bucket="lake").get("Versions", ())}


def mortal(patched: pytest.MonkeyPatch, left: int | None) -> Life:
    life = Life(left)
    dynamodb, s3 = boto3.client("dynamodb"), boto3.client("s3")
    forget()
    patched.setattr(aws, "dynamodb", lambda: Mortal(dynamodb, life))
    patched.setattr(aws, "s3", lambda: Mortal(s3, life))
    return life


def numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts get numbers for names, and each worker gathers several."""
    names = count()
    monkeypatch.setattr(gathering.secrets, "token_hex", lambda _: f"{next(names):04d}")
    monkeypatch.setattr(gathering, "MAX_PART_BYTES", 60)
    assert secrets.token_hex is gathering.secrets.token_hex


def seen(world: World, old: str, job: Any) -> tuple[list[str], list[Any]]:
    """What readers see: which batches are active, and their rows. It must be all of one export."""
    batches = active(world)
    assert batches in ([old], [job["destination"]["batchId"]])
    (batch,) = batches
    rows = by_identity(world.rows(batch))
    assert len(rows) == (3 if batch != old else 1)
    assert batches_with_files() >= {batch}
    return batches, rows


def test_the_machine_may_die_after_any_call_and_start_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    numbered(monkeypatch)
    world.write(CRM, ([who(0)], {"x": 9}), at_ms=NOW - 2 * HOUR)
    old = world.export()["destination"]["batchId"]
    few(world)
    job = world.ask(additionalFields={"eventList": {}})
    items, objects = registry(), versions()
    with monkeypatch.context() as patched:
        life = mortal(patched, None)
        assert export_machine.run(job["id"]) == "done"
    forget()
    expected = seen(world, old, job)
    described = world.job(job)
    assert life.spent > 40

    died = 0
    # Every call of the last steps, which make it visible, and every sixth before.
    moments = [*range(0, life.spent - 16, 6), *range(life.spent - 16, life.spent)]
    for left in moments:
        restore(items, objects)
        with monkeypatch.context() as patched:
            mortal(patched, left)
            try:
                export_machine.run(job["id"])
            except CrashError:
                died += 1
        forget()
        seen(world, old, job)
        assert export_machine.run(job["id"], times=1 + left % 2) in {"done", "over"}
        assert seen(world, old, job) == expected, f"after {left} calls"
        assert world.job(job) == described
        (file,) = pointed_at()
        assert job["destination"]["batchId"] in file
        assert batches_with_files() == {job["destination"]["batchId"]}
    assert died > len(moments) * 0.8


def test_the_machine_may_run_twice_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    numbered(monkeypatch)
    few(world)
    job = world.ask()
    running: list[Iterator[str]] = [walking(export_machine.input_of(job["id"])) for _ in range(2)]
    while running:
        for one in list(running):
            if next(one, None) is None:
                running.remove(one)
    assert len(world.rows(job["destination"]["batchId"])) == 3
    assert world.job(job)["metrics"]["totalExportedProfileCounter"] == 3


def test_of_two_workers_at_one_share_the_slower_one_starts_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    few(world)
    job = world.ask()
    of_job = export_machine.input_of(job["id"])
    (share,) = export_machine.items(export_machine.call("plan", of_job), "shares_key", "shares")
    work = {"job": of_job, "share": share}
    write, late = export_machine.export._lake().write_part, [True]

    def overtaken(*args: Any) -> None:
        write(*args)
        if late.pop():
            late.append(False)
            # Meanwhile the other one is done with it, and has seen somebody more.
            world.write(CRM, ([who(7)], {"x": 7}))
            forget()
            assert export_machine.call("gather", work)["done"]

    monkeypatch.setattr(export_machine.export._lake(), "write_part", overtaken, raising=False)
    with pytest.raises(LostRaceError):
        export_machine.call("gather", work)
    assert export_machine.run(job["id"]) == "done"
    assert len(world.rows(job["destination"]["batchId"])) == 4


@pytest.mark.parametrize("step", ["gather", "settle", "write", "finish"])
def test_a_machine_that_gives_up_says_why_and_shows_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    few(world)
    before = world.export()["destination"]["batchId"]
    job = world.ask()

    def broken(*_: Any) -> None:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(export_machine.export, step, broken)
        assert export_machine.run(job["id"]) == "broken"
    failed = world.job(job)
    assert (failed["status"], failed["errors"][0]["msg"]) == ("FAILED", "RuntimeError: the disk is full")
    assert active(world) == [before]
    assert batches_with_files() == {before}
    # What comes late changes nothing.
    assert export_machine.run(job["id"]) == "over"
    export_machine.call("finish", export_machine.input_of(job["id"]))
    assert active(world) == [before]
    assert world.job(job) == failed


@pytest.mark.parametrize("started", [False, True])
def test_a_machine_that_cannot_be_started_leaves_no_job_behind_that_waits(
    world: World, monkeypatch: pytest.MonkeyPatch, started: bool
) -> None:
    """The call fails before it takes effect or after."""
    few(world)
    start = Executions.start

    def failing(*asked: Any) -> None:
        if started:
            start(*asked)
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(Executions, "start", failing)
        answer = post(world, destination={"datasetId": UNION})
    assert answer.status == 500
    (job,) = get(world).json()["records"]
    assert job["status"] == "FAILED"
    assert "could not be started" in job["errors"][0]["msg"]
    assert export_machine.run(job["id"]) == "over"
    assert active(world) == []


@pytest.mark.parametrize("seed", range(3))
def test_storage_that_refuses_and_pages(world: World, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    few(world)
    hostile: Any = HostileClient(boto3.client("dynamodb"), seed, conflict_rate=0)
    hostile.get_paginator = boto3.client("dynamodb").get_paginator
    with monkeypatch.context() as patched:
        patched.setattr(export_machine.export.aws, "dynamodb", lambda: hostile)
        rows = world.exported(additionalFields={"eventList": {}})
    assert len(rows) == 3


def test_two_exports_into_one_dataset_at_once_leave_one_of_them(world: World) -> None:
    few(world)
    one, other = world.ask(fields="x"), world.ask(fields="identityMap")
    walks = [walking(export_machine.input_of(job["id"])) for job in (one, other)]
    while walks:
        for walk in list(walks):
            if next(walk, None) is None:
                walks.remove(walk)
    assert world.job(one)["status"] == world.job(other)["status"] == "SUCCEEDED"
    assert active(world) == [other["destination"]["batchId"]]
    assert other["destination"]["batchId"] in pointed_at()[0]


def test_what_the_machine_passes_on_holds_nobody_s_data(world: World) -> None:
    world.write(CRM, ([who(1, "email")], {"secret": "maya@example.com"}))
    job = world.ask()
    for key, item in registry().items():
        assert "maya" not in str((key, item))
    assert export_machine.run(job["id"]) == "done"
    names = [item["Key"] for item in boto3.client("s3").list_objects_v2(Bucket="lake")["Contents"]]
    assert not [name for name in names if "maya" in name or UNION in name.split("/")[:2]]
