"""Taking rows out of the lake when workers die, time is over, and others write the same objects (laws 2 and 7)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs import erase
from tessera.services.erasure.lake import texts, writing
from tessera.storage import aws
from tests.integration import erase_machine
from tests.integration.conftest import forget
from tests.integration.hostile import CrashError
from tests.integration.lake_world import CANARY, LakeWorld, found, theirs, world
from tests.integration.test_batches import RECORDS, TENANT, client, json_lines, parquet, person
from tests.integration.test_batches_crashes import mortal, reset
from tests.integration.test_batches_in_parts import in_parts
from tests.integration.test_erasing_the_lake import files

__all__ = ["client", "world"]

OTHERS = [person(1), {"identityMap": 5}, person(2)]


def bring(world: LakeWorld) -> str:
    """A batch of one file in parts, with rows of the person and of others, accepted and rejected."""
    wrong = {**theirs(person(4)), "extSourceSystemAudit": {"lastUpdatedDate": "x"}}
    body = json_lines([OTHERS[0], theirs(person(4)), OTHERS[1], wrong, OTHERS[2]])
    batch = world.client.created(enableErrorDiagnostics=True, partialIngestionPercent=60)
    in_parts(world.client, batch, body, [10, len(body) // 2])
    world.completed(batch)
    return batch


def erased(world: LakeWorld, monkeypatch: pytest.MonkeyPatch, left: int | None) -> int:
    """Erase the person by workers of which one dies after so many calls in the lake; tells how many there were."""
    reset()
    forget()
    batch = bring(world)
    job = world.erase()
    call = erase_machine._call
    calls, died = 0, f"dead after {left}"
    with monkeypatch.context() as patched:
        life = mortal(patched, None)

        def stubborn(step: str, event: Any) -> Any:
            """Call a task again that dies."""
            nonlocal left, calls
            if step not in {"plan", "look", "settle"}:
                return call(step, event)
            life.left, life.spent = left, 0
            try:
                answer = call(step, event)
            except CrashError:
                life.left = left = None
                answer = call(step, event)
            if left is not None:
                left -= life.spent
            life.left = None
            calls += life.spent
            return answer

        patched.setattr(erase_machine, "_call", stubborn)
        assert erase_machine.run(job) == "done"
    forget()
    assert found() == [], died
    assert files(world, batch) == {"big/one.json": json_lines(OTHERS)}, died
    assert len(world.client.rejected(batch)) == 1
    (of_records,) = world.receipt(job)["lake"]["datasets"]
    assert of_records == {"datasetId": RECORDS, "rows": 4, "objects": 3}, died
    return calls


def test_a_worker_may_die_before_a_call(world: LakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = erased(world, monkeypatch, None)
    assert calls > 40
    # Every third call, for time's sake. The second reading makes the calls of the first that write nothing.
    for left in range(0, calls * 2 // 3, 3):
        erased(world, monkeypatch, left)


class Ticking:
    """A clock that goes on at each look, so that every invocation is over after three."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 15
        return self.now


@pytest.fixture
def short_of_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Invocations that are over after a few rows or megabytes; tells how many there were."""
    monkeypatch.setattr(writing, "WORKING_S", 40)
    monkeypatch.setattr(texts, "_ROWS_BETWEEN_LOOKS_AT_THE_CLOCK", 1000)
    monkeypatch.setattr(texts, "READ_AT_ONCE", 1_000_000)
    monkeypatch.setattr(writing, "_AT_ONCE_BYTES", 1_000_000)
    # What storage takes as a part that is not the last.
    monkeypatch.setattr(writing, "_PART_BYTES", 5_300_000)
    forget()
    monkeypatch.setattr(erase._looker(), "_clock", Ticking())
    looks = [0]
    look = erase.look

    def counted(event: Any, context: object) -> Any:
        looks[0] += 1
        return look(event, context)

    monkeypatch.setattr(erase, "look", counted)
    yield looks


def test_a_large_file_is_read_and_written_in_many_invocations(world: LakeWorld, short_of_time: list[int]) -> None:
    noise = "x" * 1000
    rows = [theirs(person(4), number) if number % 3000 == 7 else person(number, note=noise) for number in range(13_000)]
    batch = world.client.created(enableErrorDiagnostics=True)
    lake = aws.s3()
    where = f"raw/{TENANT.key}/{batch}/{RECORDS}/large.json"
    lake.put_object(
        Bucket="lake", Key=where, Body=json_lines(rows), ContentType="text/x-mine", Metadata={"mine": "yes"}
    )
    assert world.client.signal(batch, "ABORT").status == 200
    world.client.ingest({"a.json": json_lines([theirs(person(4))])})
    assert erase_machine.run(world.erase()) == "done"
    assert found() == []
    assert short_of_time[0] > 20
    after = lake.get_object(Bucket="lake", Key=where)
    kept = [row for number, row in enumerate(rows) if number % 3000 != 7]
    assert after["Body"].read() == json_lines(kept)
    assert (after["ContentType"], after["Metadata"]) == ("text/x-mine", {"mine": "yes"})
    assert after["ETag"].endswith('-3"')
    assert lake.list_multipart_uploads(Bucket="lake").get("Uploads", []) == []


def test_parquet_of_many_row_groups_is_left_and_gone_on_with(world: LakeWorld, short_of_time: list[int]) -> None:
    rows = [theirs(person(4), number) if number % 10 == 3 else person(number, note="n") for number in range(60)]
    for row in rows:
        row["identityMap"] = {"Email": [{"id": CANARY if row["note"] != "n" else "o@ex.org"}]}
        row["note"] = ""
    whole = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(parquet(rows))), whole, row_group_size=5)
    batch = world.client.ingest({"p.parquet": whole.getvalue()}, form="parquet")["id"]
    assert erase_machine.run(world.erase()) == "done"
    assert found() == []
    assert short_of_time[0] > 4
    left = pq.read_table(io.BytesIO(files(world, batch)["p.parquet"])).to_pylist()
    assert len(left) == 54


def test_whoever_writes_the_object_meanwhile_is_not_written_over(
    world: LakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = world.client.ingest({"a.json": json_lines([theirs(person(4)), person(1)])})["id"]
    job = world.erase()
    s3 = aws.s3()
    meanwhile = json_lines([theirs(person(5)), person(2), person(3)])
    raw = next(key for key in found() if key.startswith("raw/"))

    class Racing:
        """Lets somebody write a file just before it is written anew."""

        raced = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(s3, name)

        def put_object(self, **request: Any) -> Any:
            if request["Key"] == raw and not self.raced:
                self.raced += 1
                s3.put_object(Bucket="lake", Key=raw, Body=meanwhile)
            return s3.put_object(**request)

    racing = Racing()
    with monkeypatch.context() as patched:
        forget()
        patched.setattr(aws, "s3", lambda: racing)
        assert erase_machine.run(job) == "done"
    forget()
    assert racing.raced == 1
    assert found() == []
    # The batch has the file that it was made of; what was put there later is one version below it.
    assert files(world, batch) == {"a.json": json_lines([person(1)])}
