"""A batch comes out the same however often, and wherever, its machine is cut off (laws 2 and 3)."""

from __future__ import annotations

import itertools
import random
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import orjson
import pytest

from tessera.domain.configuration import DatasetKind, DatasetSettings
from tessera.services import batches as batch_service
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.registry import Registry
from tests.integration import ingest_machine
from tests.integration.conftest import Caller, forget
from tests.integration.disturbed import Clients, Wrong
from tests.integration.hostile import CrashError
from tests.integration.test_batches import EVENTS, TENANT, Client, event, input_of, json_lines, stored

VERSION = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NOW_NS = 1_750_258_800_000_000_000


class Mortal:
    """Counts the calls of all clients that share a ``life`` and dies before one of them."""

    def __init__(self, client: Any, life: Life) -> None:
        self._client = client
        self._life = life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name in {"exceptions", "meta", "generate_presigned_url"}:
            return found
        if name == "get_paginator":
            return lambda *args: MortalPaginator(found(*args), self._life)

        def call(**request: Any) -> Any:
            # Dying after a call leaves what dying before the next one leaves.
            self._life.spend()
            return found(**request)

        return call


class MortalPaginator:
    def __init__(self, paginator: Any, life: Life) -> None:
        self._paginator = paginator
        self._life = life

    def paginate(self, **request: Any) -> Iterator[Any]:
        for page in self._paginator.paginate(**request):
            self._life.spend()
            yield page


class Life:
    """How many calls are left; ``None`` is eternal."""

    def __init__(self, left: int | None) -> None:
        self.left = left
        self.spent = 0

    def spend(self) -> None:
        self.spent += 1
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise CrashError


@pytest.fixture
def client(call: Caller, monkeypatch: pytest.MonkeyPatch) -> Client:
    ingest_machine.created_machine(monkeypatch)
    monkeypatch.setattr(time, "time_ns", lambda: NOW_NS)
    ConfigurationStore(aws.dynamodb(), aws.registry_table()).change(
        TENANT,
        lambda known: known.with_dataset(
            DatasetSettings(EVENTS, DatasetKind.EVENT, profile_enabled=True, identity_enabled=True)
        ),
    )
    return Client(call)


def loaded(client: Client, monkeypatch: pytest.MonkeyPatch) -> str:
    """A complete batch with linked people, repeats, a conflict and bad rows, always under the same id."""
    monkeypatch.setattr(batch_service.secrets, "randbits", lambda _: 7)
    batch = client.created(EVENTS, partialIngestionPercent=50, enableErrorDiagnostics=True)
    linked = {"CRM": [{"id": "c1", "primary": True}], "Till": [{"id": "t1"}]}
    rows = [event(1), event(2, identityMap=linked), event(1, other=True), {}, event(2, identityMap=linked)]
    client.put(batch, "a.json", json_lines(rows), EVENTS)
    client.put(batch, "b.json", json_lines([event(3)]) + b"{", EVENTS)
    client.signal(batch)
    return batch


def lake() -> dict[str, bytes]:
    """What is in the lake; versions are named at random, so their names are left out."""
    s3 = boto3.client("s3")
    return {
        item["Key"]: VERSION.sub(b"", s3.get_object(Bucket="lake", Key=item["Key"])["Body"].read())
        for item in s3.list_objects_v2(Bucket="lake").get("Contents", [])
    }


def everything(batch: str) -> tuple[Any, ...]:
    record = BatchStore(Registry(boto3.client("dynamodb"), "registry")).get(TENANT, batch).to_document()
    namespaces = ConfigurationStore(boto3.client("dynamodb"), "registry").current(TENANT).custom_namespaces
    return stored(), record, lake(), namespaces


def reset() -> None:
    """Empty what a batch writes."""
    dynamodb, s3 = boto3.client("dynamodb"), boto3.client("s3")
    for table in ("profiles", "registry"):
        for item in dynamodb.scan(TableName=table)["Items"]:
            if table == "profiles" or item["pk"]["S"].endswith("#batch"):
                dynamodb.delete_item(TableName=table, Key={"pk": item["pk"], "sk": item["sk"]})
    found = s3.list_object_versions(Bucket="lake")
    for item in [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]:
        s3.delete_object(Bucket="lake", Key=item["Key"], VersionId=item["VersionId"])


def mortal(monkeypatch: pytest.MonkeyPatch, left: int | None) -> Life:
    life = Life(left)
    dynamodb, s3 = boto3.client("dynamodb"), boto3.client("s3")
    forget()
    monkeypatch.setattr(aws, "dynamodb", lambda: Mortal(dynamodb, life))
    monkeypatch.setattr(aws, "s3", lambda: Mortal(s3, life))
    return life


def test_the_machine_may_die_after_any_call_and_start_over(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        batch = loaded(client, patched)
        life = mortal(patched, None)
        assert ingest_machine.run(input_of(batch)) == "done"
        expected = everything(batch)
    assert expected[1]["status"] == "success"
    assert expected[1]["metrics"]["inputRecordCount"] == 7
    assert expected[1]["metrics"]["conflictRecordCount"] == 1
    assert life.spent > 25

    died = 0
    for left in range(life.spent):
        forget()
        reset()
        with monkeypatch.context() as patched:
            assert loaded(client, patched) == batch
            mortal(patched, left)
            try:
                ingest_machine.run(input_of(batch))
            except CrashError:
                died += 1
        forget()
        assert ingest_machine.run(input_of(batch), times=1 + left % 2) == "done"
        assert everything(batch) == expected, f"after {left} calls"
    assert died > life.spent * 0.8


def test_the_machine_may_run_twice_at_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = loaded(client, monkeypatch)
    assert ingest_machine.run(input_of(batch)) == "done"
    expected = everything(batch)
    ingest = ingest_machine.ingest
    for seed in range(5):
        forget()
        reset()
        assert loaded(client, monkeypatch) == batch
        # Two executions, their tasks interleaved: each runs its own in order.
        order = random.Random(seed)
        running = [steps(input_of(batch)), steps(input_of(batch))]
        while running:
            turn = order.choice(running)
            if next(turn, None) is None:
                running.remove(turn)
        assert everything(batch) == expected
    # A task that comes when all is over, in any order, changes nothing.
    ingest.fail({**input_of(batch), "error": {"Error": "States.Timeout"}}, None)
    ingest.decide(input_of(batch), None)
    ingest.finish(input_of(batch), None)
    assert ingest.plan(input_of(batch), None)["chunks"] == 0
    assert everything(batch) == expected


def steps(batch: dict[str, str]) -> Iterator[str]:
    ingest = ingest_machine.ingest
    planned = ingest.plan(batch, None)
    yield "plan"
    shares = ingest_machine.chunks(planned) if planned["chunks"] else []
    for task in (ingest.validate, ingest.apply):
        for chunk in shares:
            task({"batch": batch, "chunk": chunk}, None)
            yield "chunk"
        if task is ingest.validate:
            assert ingest.decide(planned, None)["verdict"] == "apply"
            yield "decide"
    ingest.finish(planned, None)
    yield "finish"


def test_complete_at_the_same_time_from_many_sides_gives_one_time_and_one_execution(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = client.created(EVENTS)
    client.put(batch, "a.json", json_lines([event(1)]), EVENTS)
    ticks = iter(range(1000))
    monkeypatch.setattr(time, "time_ns", lambda: NOW_NS + next(ticks) * 1_000_000)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.signal(batch).status, range(8)))
    assert answers == [200] * 8
    assert len(ingest_machine.asked_for()) == 1
    given = BatchStore(Registry(aws.dynamodb(), "registry")).get(TENANT, batch).completed_ms
    client.signal(batch)
    assert BatchStore(Registry(aws.dynamodb(), "registry")).get(TENANT, batch).completed_ms == given


def test_complete_may_go_wrong_at_any_call_and_is_then_asked_for_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Success means an execution; there is one, however often it was asked for, and the first time counts (law 4)."""
    ticks = itertools.count()
    monkeypatch.setattr(time, "time_ns", lambda: NOW_NS + next(ticks) * 1_000_000)
    clients = Clients(monkeypatch)
    records = BatchStore(Registry(boto3.client("dynamodb"), "registry"))

    def uploaded() -> str:
        clients.process()
        batch = client.created(EVENTS)
        client.put(batch, "a.json", json_lines([event(1)]), EVENTS)
        return batch

    def completed(batch: str, at: int | None = None, wrong: Wrong = Wrong.DIES) -> tuple[bool, int]:
        """Ask; tell whether it was answered with success, and how many calls that took."""
        trouble = clients.process(at, wrong)
        try:
            status = client.signal(batch).status
        except CrashError:
            return False, trouble.calls
        assert status in {200, 500}
        return status == 200, trouble.calls

    batch = uploaded()
    answered, calls = completed(batch)
    assert answered
    assert calls >= 4
    expected = records.get(TENANT, batch).to_document()
    for at in range(calls):
        for wrong in Wrong:
            batch = uploaded()
            answered, _ = completed(batch, at, wrong)
            accepted = records.get(TENANT, batch).completed_ms
            executions = [one for one in ingest_machine.asked_for() if one["name"].startswith(batch)]
            assert len(executions) == 1 or not answered, (at, wrong)
            for _ in range(2):
                assert completed(batch)[0]
            record = records.get(TENANT, batch).to_document()
            assert accepted in {0, record["completed_ms"]}, (at, wrong)
            told = {name: value for name, value in record.items() if not name.endswith("_ms")}
            same = {"id": batch, "external_id": batch}
            assert told == {name: value for name, value in (expected | same).items() if not name.endswith("_ms")}
            executions = [one for one in ingest_machine.asked_for() if one["name"].startswith(batch)]
            assert executions == [{"name": batch, **input_of(batch)}], (at, wrong)


def test_a_batch_nobody_works_on_any_more_is_started_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = client.created(EVENTS)
    client.put(batch, "a.json", json_lines([event(1)]), EVENTS)
    client.signal(batch)
    ingest_machine.ingest.plan(input_of(batch), None)
    client.signal(batch)
    assert [item["name"] for item in ingest_machine.asked_for()] == [batch]
    monkeypatch.setattr(time, "time_ns", lambda: NOW_NS + 26 * 3600 * 10**9)
    client.signal(batch)
    assert [item["name"] for item in ingest_machine.asked_for()] == [batch, f"{batch}-2"]
    assert ingest_machine.run(input_of(batch)) == "done"


def test_a_worker_of_a_refused_batch_writes_nothing(client: Client) -> None:
    batch = client.created(EVENTS)
    client.put(batch, "a.json", json_lines([event(1), {}]), EVENTS)
    client.signal(batch)
    planned = ingest_machine.ingest.plan(input_of(batch), None)
    assert ingest_machine.run(input_of(batch)) == "refused"
    for chunk in ingest_machine.chunks(planned):
        ingest_machine.ingest.apply({"batch": input_of(batch), "chunk": chunk}, None)
    ingest_machine.ingest.finish(input_of(batch), None)
    assert stored() == {}
    assert client.status(batch)["status"] == "failed"


def test_the_events_of_a_batch_hold_no_rows(client: Client) -> None:
    batch = client.created(EVENTS)
    client.put(batch, "a.json", json_lines([event(1, secret="maya@example.com")]), EVENTS)
    client.signal(batch)
    planned = ingest_machine.ingest.plan(input_of(batch), None)
    assert b"maya" not in orjson.dumps([planned, ingest_machine.chunks(planned)])
