"""A sample comes out the same however often, and wherever, its machine is cut off; and none is taken twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from tessera.domain.sample.job import LONGEST_MS
from tessera.services.sample import counting
from tessera.storage import aws
from tessera.storage.codec import unpack
from tessera.storage.registry import LostRaceError
from tests.integration import sample_machine
from tests.integration.conftest import forget
from tests.integration.hostile import CrashError, HostileClient
from tests.integration.test_batches_crashes import Life, Mortal
from tests.integration.test_export_crashes import registry, restore, versions
from tests.integration.test_samples import CRM, SHOP, Clock, Sampled, clock, event, who, world

__all__ = ["clock", "world"]


def few(world: Sampled) -> None:
    world.write(CRM, ([who(0), who(0, "email")], {"x": 0}), *(([who(number)], {"x": 1}) for number in (1, 2)))
    world.write(SHOP, ([who(0, "email")], event(1)), ([who(3)], event(2)))


def mortal(patched: pytest.MonkeyPatch, left: int | None) -> Life:
    life = Life(left)
    clients = {name: boto3.client(name) for name in ("dynamodb", "s3", "stepfunctions")}
    forget()
    for name, found in clients.items():
        patched.setattr(aws, name, lambda found=found: Mortal(found, life))
    return life


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever counts notes it after every person."""
    monkeypatch.setattr(counting, "MAX_PART_SECONDS", -1.0)
    monkeypatch.setattr(counting, "_PAGE", 1)


def test_the_machine_may_die_after_any_call_and_start_over(
    world: Sampled, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    few(world)
    job = world.ask_for_one().json()["id"]
    items, objects = registry(), versions()
    with monkeypatch.context() as patched:
        life = mortal(patched, None)
        assert sample_machine.run(job) == "done"
    forget()
    expected = world.reports()
    assert expected[""]["totalRows"] == "4"
    assert expected["dataset/overlap"]["data"] == {"crm": 2, "crm,shop": 1, "shop": 1}
    assert life.spent > 40
    week = [name for name, its in sample_machine.started().items() if its["cause"] == "week"]

    died = 0
    # Every call of the last steps, and every third before.
    moments = [*range(0, life.spent - 16, 3), *range(life.spent - 16, life.spent)]
    for left in moments:
        restore(items, objects)
        with monkeypatch.context() as patched:
            mortal(patched, left)
            try:
                sample_machine.run(job)
            except CrashError:
                died += 1
        forget()
        assert sample_machine.run(job) in {"done", "not due"}
        assert world.reports() == expected, f"after {left} calls"
        assert [name for name, its in sample_machine.started().items() if its["cause"] == "week"] == week
    assert died > len(moments) * 0.8


def test_asking_may_die_anywhere_and_is_asked_again(world: Sampled, monkeypatch: pytest.MonkeyPatch) -> None:
    few(world)
    items, objects = registry(), versions()
    with monkeypatch.context() as patched:
        life = mortal(patched, None)
        world.ask_for_one()
    for left in range(life.spent):
        restore(items, objects)
        before = set(sample_machine.started())
        with monkeypatch.context() as patched:
            mortal(patched, left)
            with pytest.raises(CrashError):
                world.ask_for_one()
        forget()
        job = world.ask_for_one().json()["id"]
        new = set(sample_machine.started()) - before
        # One that was noted and not started is started now, by its own name.
        assert new == {job}, left
        assert sample_machine.run(job) == "done"


def test_the_machine_may_run_twice_at_once(world: Sampled, impatient: None) -> None:
    few(world)
    job = world.ask_for_one().json()["id"]
    running: list[Iterator[str]] = [sample_machine.walking(sample_machine.input_of(job)) for _ in range(2)]
    while running:
        for one in list(running):
            if next(one, None) is None:
                running.remove(one)
    assert world.reports()["dataset/overlap"]["data"] == {"crm": 2, "crm,shop": 1, "shop": 1}


def test_of_two_workers_at_one_share_the_slower_one_starts_over(
    world: Sampled, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    few(world)
    job = sample_machine.input_of(world.ask_for_one().json()["id"])
    state = sample_machine.call("plan", job)
    (share,) = sample_machine.shares(state)
    work = {"job": job, "share": share}
    write, late = sample_machine.sample._lake().write_tally, [True]

    def overtaken(*args: Any) -> None:
        write(*args)
        if late.pop():
            late.append(False)
            forget()
            assert sample_machine.call("count", work)["done"]

    monkeypatch.setattr(sample_machine.sample._lake(), "write_tally", overtaken, raising=False)
    with pytest.raises(LostRaceError):
        sample_machine.call("count", work)
    assert sample_machine.run(job["job_id"]) == "done"
    assert world.reports()[""]["totalRows"] == "4"


@pytest.mark.parametrize("step", ["plan", "count", "finish"])
def test_a_machine_that_gives_up_leaves_the_reports_of_before(
    world: Sampled, monkeypatch: pytest.MonkeyPatch, clock: Clock, step: str
) -> None:
    few(world)
    before = world.sample()
    clock.now += 1000
    job = world.ask_for_one().json()["id"]

    def broken(*_: Any) -> None:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(sample_machine.sample, step, broken)
        assert sample_machine.run(job) == "broken"
    forget()
    shown = world.reports()
    assert shown[""].pop("sampleJobRunning")["status"] is False
    before[""].pop("sampleJobRunning")
    assert shown == before
    # What comes late changes nothing, and another one can be asked for.
    assert sample_machine.run(job) == "not due"
    assert world.sample()[""]["lastSampledTimestamp"] > before[""]["lastSampledTimestamp"]
    # And even after one that failed somebody looks again in a week.
    assert len([its for its in sample_machine.started().values() if its["cause"] == "week"]) == 2


def test_a_job_that_has_died_is_not_waited_for(world: Sampled, clock: Clock) -> None:
    few(world)
    dead = world.ask_for_one().json()["id"]
    clock.now += LONGEST_MS
    job = world.ask_for_one().json()["id"]
    assert job != dead
    assert sample_machine.run(job) == "done"


@pytest.mark.parametrize("seed", range(2))
def test_storage_that_refuses_and_pages(world: Sampled, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    few(world)
    job = world.ask_for_one().json()["id"]
    hostile: Any = HostileClient(boto3.client("dynamodb"), seed)
    hostile.get_paginator = boto3.client("dynamodb").get_paginator
    with monkeypatch.context() as patched:
        patched.setattr(aws, "dynamodb", lambda: hostile)
        assert sample_machine.run(job) == "done"
    forget()
    assert world.reports()["dataset/overlap"]["data"] == {"crm": 2, "crm,shop": 1, "shop": 1}


def test_the_index_may_lag(world: Sampled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who it shows no more is passed over, and who it shows twice is counted once."""
    few(world)
    stale = boto3.client("dynamodb").scan(TableName="profiles")["Items"]
    world.write(CRM, ([who(1), who(2)], {"x": 2}))
    world.delete_person(who(3))
    real = sample_machine.sample.PersonIndex.page

    def lagging(index: Any, tenant: Any, name: str, after: str, before: str, limit: int) -> Any:
        page = real(index, tenant, name, after, before, limit)
        old = {item["pk"]["S"].rpartition("#")[2] for item in stale if item.get("ik", {}).get("S") == name}
        page.xids[:] = sorted({*page.xids, *(xid for xid in old if xid > after)})
        return page

    monkeypatch.setattr(sample_machine.sample.PersonIndex, "page", lagging)
    reports = world.sample()
    assert reports[""]["totalRows"] == "2"
    assert reports["dataset/overlap"]["data"] == {"crm": 1, "crm,shop": 1}


def test_nobody_s_data_is_in_what_a_sample_leaves(world: Sampled) -> None:
    few(world)
    world.write(CRM, ([who(5, "email")], {"secret": "canary"}))
    before = set(registry())
    world.sample()
    for key, item in registry().items():
        if key not in before:
            assert "canary" not in str(item)
    s3 = boto3.client("s3")
    for found in s3.list_objects_v2(Bucket="lake")["Contents"]:
        answer = s3.get_object(Bucket="lake", Key=found["Key"])
        body = answer["Body"].read()
        # Two bytes are found by chance in what is packed.
        text = body.decode() if answer["ContentType"] == "application/json" else str(unpack(body))
        assert "canary" not in text
        assert "p5" not in text
        assert "p5" not in found["Key"]
