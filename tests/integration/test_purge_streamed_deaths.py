"""The delete of a batch of streamed rows, wherever a process dies, and in tables that are restored (law 7)."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from ops import journal
from tessera.domain.deletion import JobStatus
from tessera.services.purging.accepting import AlreadyAskedError
from tessera.storage import aws
from tessera.storage.registry import Registry
from tests.integration import purge_machine, stream_queues
from tests.integration.conftest import forget
from tests.integration.hostile import CrashError
from tests.integration.purging_world import PEOPLE, SHOP, TENANT
from tests.integration.snapshots import restore, snapshot
from tests.integration.streaming_world import DAY_MS, Sent, StreamingWorld, made
from tests.integration.test_purge_laws import counts, mortal, shapes
from tests.integration.test_restoring import restored

LEFT = [({}, ["between"], 2), ({}, ["other"], 8), None]


@pytest.fixture
def world(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> StreamingWorld:
    return made(monkeypatch)


def streamed(world: StreamingWorld) -> tuple[str, list[Sent]]:
    """A batch of three rows between and beside which are others: of a later round, and of a later window."""
    one, other, third = PEOPLE
    begin_ms = world.now_ms - 3_600_000
    sent = [
        world.send(one, "first", 1, begin_ms),
        world.send(one, "between", 2, begin_ms + 1),
        world.send(third, "last", 4, begin_ms + 2),
        world.send(other, "too", 16, begin_ms + 3),
    ]
    first, between, *rest = sent
    world.deliver(first, *rest)
    ((batch, _),) = world.gather().items()
    world.deliver(between)
    world.gather()
    world.deliver(world.send(other, "other", 8, begin_ms + 4))
    return batch, sent


def seen(world: StreamingWorld) -> list[Any]:
    return [world.seen(one) for one in PEOPLE]


def without_values(found: list[Any]) -> list[Any]:
    """What is computed, and who is known by nothing else, is settled by the job."""
    return [(one and one[1]) or None for one in found]


def test_the_caller(world: StreamingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, _ = streamed(world)
    before = without_values(seen(world))
    begin, now_ms = snapshot(), world.now_ms
    left = 0
    while True:
        restore(begin)
        world.now_ms = now_ms
        with monkeypatch.context() as patched:
            mortal(patched, left)
            world.connect()
            try:
                world.delete_streamed(batch)
                break
            except CrashError:
                pass
        forget()
        world.connect()
        hidden = bool(world.configurations.current(TENANT).datasets[SHOP].deleted_rows)
        jobs = [document["status"] for _, document in world.registry.each(f"{TENANT.key}#job")]
        # All is there, or nothing.
        assert jobs == [JobStatus.NEW] * hidden
        assert len(list(world.registry.each(f"{TENANT.key}#deleted-rows#{SHOP}"))) == hidden
        assert without_values(seen(world)) == (without_values(LEFT) if hidden else before)
        if hidden:
            with pytest.raises(AlreadyAskedError):
                world.delete_streamed(batch)
        else:
            world.delete_streamed(batch)
            assert without_values(seen(world)) == without_values(LEFT)
        left += 1
    assert left >= 6


@pytest.mark.parametrize("lake", [False, True])
def test_the_machine(world: StreamingWorld, monkeypatch: pytest.MonkeyPatch, lake: bool) -> None:
    batch, sent = streamed(world)
    job = world.delete_streamed(batch, lake=lake)
    with monkeypatch.context() as patched:
        life = mortal(patched, None)
        begin = snapshot()
        assert purge_machine.run(job.id) == "done"
        spent = life.spent
    forget()
    world.connect()
    assert seen(world) == LEFT
    expected = shapes(), counts(world, job)
    assert spent > 20
    for left in range(0, spent, 3):
        restore(begin)
        with monkeypatch.context() as patched:
            mortal(patched, left)
            with pytest.raises(CrashError):
                purge_machine.run(job.id)
        forget()
        world.connect()
        # Who reads the configuration also reads which rows it says are going.
        assert without_values(seen(world)) == without_values(LEFT), left
        assert purge_machine.run(job.id) == "done"
        world.deliver(*sent)
        assert seen(world) == LEFT, left
        assert (shapes(), counts(world, job)) == expected, left
        stream_queues.empty("windows")


class TestRestored:
    """Tables of an instant before the delete, or in the middle of it, and a lake of after it."""

    def restore(
        self, world: StreamingWorld, monkeypatch: pytest.MonkeyPatch, tables: list[str], instant_ms: int
    ) -> dict[str, int]:
        monkeypatch.setenv("PROFILE_TABLE", tables[0])
        monkeypatch.setenv("REGISTRY_TABLE", tables[1])
        forget()
        found = journal.replay("lake", *tables, instant_ms)
        assert journal.replay("lake", *tables, instant_ms) == found
        forget()
        world.connect()
        return found

    def tables(self) -> list[str]:
        return [restored(name) for name in (aws.profile_table(), aws.registry_table())]

    @pytest.mark.parametrize("lake", [False, True])
    def test_it_is_hidden_again(self, world: StreamingWorld, monkeypatch: pytest.MonkeyPatch, lake: bool) -> None:
        batch, sent = streamed(world)
        world.now_ms += 600_000
        instant, tables = world.now_ms, self.tables()
        world.now_ms += 600_000
        job = world.delete_streamed(batch, lake=lake)
        assert purge_machine.run(job.id) == "done"
        world.now_ms += 20 * DAY_MS
        assert self.restore(world, monkeypatch, tables, instant) == {"batch": 1}
        assert without_values(seen(world)) == without_values(LEFT)
        assert tags(batch) == []
        # Its messages may still be in a queue; and asked for again, it goes.
        world.deliver(*sent)
        assert without_values(seen(world)) == without_values(LEFT)
        assert purge_machine.run(world.delete_streamed(batch).id) == "done"
        world.deliver(*sent)
        assert [one[1] if one else None for one in seen(world)] == without_values(LEFT)

    def test_what_was_at_work_then_is_still_known(self, world: StreamingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
        batch, _ = streamed(world)
        job = world.delete_streamed(batch, lake=True)
        world.now_ms += 600_000
        instant, tables = world.now_ms, self.tables()
        assert purge_machine.run(job.id) == "done"
        assert tags(batch) == [{"Key": "state", "Value": "let-go"}]
        assert self.restore(world, monkeypatch, tables, instant) == {}
        # Nothing deletes it any more while the settings name it.
        assert tags(batch) == []
        assert without_values(seen(world)) == without_values(LEFT)


def tags(batch: str) -> list[dict[str, str]]:
    """How the object is marked that says which rows a batch had."""
    key = f"places/{TENANT.key}/{SHOP}/{batch}"
    found: list[dict[str, str]] = boto3.client("s3").get_object_tagging(Bucket="lake", Key=key)["TagSet"]
    return found
