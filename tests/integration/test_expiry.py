"""Events expire: over HTTP, on the way in, at every read, and in what is stored (contract: profile-api §10)."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Any

import boto3
import orjson
import pytest

from api import datasets
from jobs import expire as tasks
from tessera.domain.computed.window import Unit, Window
from tessera.domain.deletion import JobStatus
from tessera.domain.errors import InvalidRequestError, NotFoundError
from tessera.domain.expiry import KEPT_MS
from tessera.domain.expiry_job import ExpiryJob
from tessera.domain.place import batch_place
from tessera.domain.profile import Event, EventStream
from tessera.domain.rows import PlacedRow
from tessera.services import lease, stream_shares
from tessera.services.computed.preview import Preview
from tessera.services.event_removal import EventRemover
from tessera.services.profile_reader import ProfileReader
from tessera.services.stream_shares import Share
from tessera.storage import aws
from tessera.storage.expiry_jobs import ExpiryJobStore
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry
from tessera.storage.stored_events import StoredEvents
from tests.integration.conftest import ORG, Answer, Caller
from tests.integration.executors import Inline
from tests.integration.expiring_world import ADA, BEGIN, BOB, DAY, HALF_A_YEAR, WAIT_MS, World, extensions, stored
from tests.integration.hostile import CrashError, HostileClient
from tests.integration.ingest_machine import MACHINE_ROLE
from tests.integration.test_batches_crashes import Life, Mortal
from tests.integration.test_datasets_api import EVENT, PROFILE, TENANT, create, patch, read, settings

OTHER_BATCH = "01J00000000000000000000001"


@pytest.fixture
def world(cloud: None, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    return World()


# Over HTTP


@pytest.fixture
def machine(call: Caller, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """Create the machine, and return what lists its executions, oldest first."""
    client = boto3.client("stepfunctions")
    arn = client.create_state_machine(
        name="expiry",
        definition='{"StartAt": "End", "States": {"End": {"Type": "Pass", "End": true}}}',
        roleArn=MACHINE_ROLE,
    )["stateMachineArn"]
    monkeypatch.setenv("EXPIRY_MACHINE", arn)

    def executions() -> list[dict[str, Any]]:
        found = client.list_executions(stateMachineArn=arn)["executions"]
        return [
            {"name": one["name"], **orjson.loads(client.describe_execution(executionArn=one["executionArn"])["input"])}
            for one in sorted(found, key=lambda one: one["name"])
        ]

    return executions


def merge(call: Caller, dataset_id: str, body: object) -> Answer:
    return call(datasets.handler, "PATCH", f"/data/foundation/catalog/v2/dataSets/{dataset_id}", body=body)


def jobs() -> list[dict[str, Any]]:
    return [one for _, one in Registry(aws.dynamodb(), aws.registry_table()).each(f"{TENANT.key}#job")]


def test_a_ttl_is_set_read_back_and_in_force_and_a_job_asked_for(
    call: Caller, machine: Callable[[], list[dict[str, Any]]]
) -> None:
    dataset_id = create(call, schema=EVENT)
    lake = {"adobe_lakeHouse": {"rowExpiration": {"ttlValue": "P3Y"}}}
    assert merge(call, dataset_id, {"extensions": lake}).status == 200
    assert machine() == []
    answer = merge(call, dataset_id, extensions("P30D"))
    assert (answer.status, answer.json()) == (200, [f"@/dataSets/{dataset_id}"])
    assert read(call, dataset_id)["extensions"] == {**lake, **extensions("P30D")["extensions"]}
    found = settings(dataset_id)
    assert found is not None
    assert found.expiry is not None
    assert found.expiry.days == 30
    (job,) = jobs()
    assert {**job, "at": 0, "updated": 0} == {
        "kind": "ttl",
        "id": found.expiry.job,
        "dataset": dataset_id,
        "caller": job["caller"],
        "at": 0,
        "updated": 0,
        "status": "NEW",
        "attempt": 1,
        "counts": {},
        "reason": "",
    }
    assert machine() == [{"name": job["id"], "org_id": ORG, "sandbox": "dev", "job_id": job["id"]}]
    # What changes nothing about it asks for nothing.
    assert patch(call, dataset_id, {"description": "other"}).status == 200
    assert merge(call, dataset_id, extensions("P30D")).status == 200
    assert (len(jobs()), len(machine())) == (1, 1)
    assert merge(call, dataset_id, extensions("P10D")).status == 200
    assert (len(jobs()), len(machine())) == (2, 2)


@pytest.mark.parametrize("without", [{"ttlValue": None}, None])
def test_null_takes_it_away(call: Caller, machine: Callable[[], list[dict[str, Any]]], without: object) -> None:
    dataset_id = create(call, schema=EVENT, **extensions("P30D"))
    # Nothing is stored yet that a job would have to see to.
    assert machine() == []
    answer = merge(call, dataset_id, {"extensions": {"adobe_unifiedProfile": {"rowExpiration": without}}})
    assert answer.status == 200
    found = settings(dataset_id)
    assert found is not None
    assert found.expiry is not None
    assert found.expiry.days is None
    assert "ttlValue" not in str(read(call, dataset_id))
    assert len(machine()) == 1


def test_every_way_to_change_a_dataset_changes_it(call: Caller, machine: Callable[[], list[dict[str, Any]]]) -> None:
    dataset_id = create(call, schema=EVENT)

    def days() -> int | None:
        found = settings(dataset_id)
        return None if found is None or found.expiry is None else found.expiry.days

    assert patch(call, dataset_id, extensions("P2D")).status == 200
    assert days() == 2
    path = "/extensions/adobe_unifiedProfile/rowExpiration/ttlValue"
    assert patch(call, dataset_id, [{"op": "replace", "path": path, "value": "P3D"}]).status == 200
    assert days() == 3
    whole = {"name": "web", **extensions("P4D")}
    assert call(datasets.handler, "PUT", f"/data/foundation/catalog/dataSets/{dataset_id}", body=whole).status == 200
    assert days() == 4
    assert patch(call, dataset_id, {"extensions": None}).status == 200
    assert days() is None
    assert len(machine()) == 4


@pytest.mark.parametrize("value", ["P0D", "P1.5D", "P1M", 30, "forever"])
def test_what_is_no_ttl_is_refused_and_nothing_changed(
    call: Caller, machine: Callable[[], list[dict[str, Any]]], value: object
) -> None:
    dataset_id = create(call, schema=EVENT)
    before = read(call, dataset_id)
    body = {"extensions": {"adobe_unifiedProfile": {"rowExpiration": {"ttlValue": value}}}}
    answer = merge(call, dataset_id, body)
    assert answer.status == 400
    assert "extensions.adobe_unifiedProfile.rowExpiration.ttlValue must be a whole number of days" in answer.text
    assert read(call, dataset_id) == before
    assert (machine(), jobs()) == ([], [])
    answer = call(
        datasets.handler,
        "POST",
        "/data/foundation/catalog/dataSets",
        body={"name": "web", "schemaRef": {"id": EVENT}, **body},
    )
    assert answer.status == 400


def test_records_do_not_expire(call: Caller, machine: Callable[[], list[dict[str, Any]]]) -> None:
    dataset_id = create(call, schema=PROFILE)
    answer = merge(call, dataset_id, extensions("P30D"))
    assert answer.status == 400
    assert "is for events, not for records" in answer.text
    assert machine() == []


def test_a_job_that_was_never_begun_is_when_somebody_asks_again(
    call: Caller, machine: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_id = create(call, schema=EVENT)
    with monkeypatch.context() as broken:
        broken.setattr(
            "tessera.storage.executions.Executions.start", lambda *_: (_ for _ in ()).throw(ConnectionError())
        )
        assert merge(call, dataset_id, extensions("P30D")).status == 500
    # What was asked for is in force all the same.
    found = settings(dataset_id)
    assert found is not None
    assert found.expiry is not None
    assert machine() == []
    assert merge(call, dataset_id, extensions("P30D")).status == 200
    assert [one["job_id"] for one in machine()] == [found.expiry.job]
    # One that failed is tried again, one that is done is not.
    store = ExpiryJobStore(Registry(aws.dynamodb(), aws.registry_table()))
    store.change(TENANT, found.expiry.job, lambda known: known.started(1).failed("broke", 2))
    assert merge(call, dataset_id, extensions("P30D")).status == 200
    assert [one["name"] for one in machine()] == [found.expiry.job, f"{found.expiry.job}-2"]
    store.change(TENANT, found.expiry.job, lambda known: known.started(3).succeeded({}, 4))
    assert merge(call, dataset_id, extensions("P30D")).status == 200
    assert len(machine()) == 2


# On the way in


def test_what_had_expired_when_it_was_accepted_is_refused(world: World) -> None:
    world.set_ttl("P30D")
    assert not world.bring("old", BEGIN - 30 * DAY)
    assert world.bring("new", BEGIN - 30 * DAY + 1)
    assert world.shown() == ["new"]


def test_what_expired_while_it_waited_counts_and_is_not_shown(world: World) -> None:
    """Law 2: when it is processed makes no difference, and law 3: nor how often."""
    world.publish("seen", "xEvent.count()")
    world.set_ttl("P30D")
    row = world.accept("e1", BEGIN - 30 * DAY + 1000)
    world.bring("e2", BEGIN)
    world.now_ms += DAY // 2
    for _ in range(2):
        world.write(row)
        assert (world.shown(), world.values()) == (["e2"], {"seen": 2})


def test_what_waited_for_more_than_a_day_longer_is_left_alone(world: World) -> None:
    """Else a late repetition of something that is stored no longer would count twice."""
    world.publish("seen", "xEvent.count()")
    world.set_ttl("P30D")
    row = world.accept("e1", BEGIN - 30 * DAY + 1000)
    world.bring("e2", BEGIN)
    world.write(row)
    world.now_ms += 33 * DAY
    assert world.reclaim() == 1
    world.write(row)
    assert world.values() == {"seen": 2}


def test_somebody_with_nothing_but_expired_events_is_not_there(world: World) -> None:
    world.run(world.set_ttl("P30D"))
    world.bring("e1", BEGIN - 29 * DAY)
    world.bring("e2", BEGIN - 28 * DAY, BOB)
    assert world.person() is not None
    world.now_ms = BEGIN + DAY
    assert world.person() is None
    assert world.shown(BOB) == ["e2"]
    # Raising it brings nobody back.
    world.set_ttl("P300D")
    assert world.person() is None
    world.bring("e3", BEGIN)
    assert world.shown() == ["e3"]


def test_of_who_was_there_before_the_ttl_the_job_finds_out(world: World) -> None:
    world.bring("e1", BEGIN - 40 * DAY)
    world.bring("e2", BEGIN - 10 * DAY)
    world.bring("e3", BEGIN - 40 * DAY, BOB)
    job = world.set_ttl("P30D")
    assert (world.shown(), world.shown(BOB)) == (["e2"], [])
    world.run(job)
    assert (world.person() is None, world.person(BOB) is None) == (False, True)
    # From then on the settings alone decide, on the next read.
    world.set_ttl("P5D")
    assert world.person() is None


def test_a_preview_counts_what_could_be_counted(world: World) -> None:
    world.publish("seen", "xEvent.count()")
    for number, age in enumerate((40, 10, 5)):
        world.bring(f"e{number}", BEGIN - age * DAY)
    world.set_ttl("P30D")
    preview = Preview(ProfileReader(world.configurations, world.table, Inline()), world.table, Inline())
    xid = ADA.xid(world.tenant)
    found = preview.values(world.tenant, "xEvent.count()", HALF_A_YEAR, [xid], world.now_ms)
    assert found == {xid: 2}
    world.publish("later", "xEvent.count()")
    assert world.values() == {"seen": 3, "later": 2}


# Sums that are built anew


@pytest.mark.parametrize("unit", [Window(6, Unit.MONTHS), Window(4, Unit.WEEKS), Window(7, Unit.DAYS)])
def test_a_second_body_takes_nothing_from_what_has_expired(world: World, unit: Window) -> None:
    world.publish("spent", "xEvent.sum(price)", window=unit)
    world.publish("last", "xEvent.topN(timestamp, 10).map(price)", window=unit)
    world.run(world.set_ttl("P1D"))
    ages = (0.1, 0.5, 0.9)
    for step in range(6):
        earlier = world.accept(f"first{step}", world.now_ms - int(ages[0] * DAY), price=1)
        for number, age in enumerate(ages):
            world.bring(f"e{step}-{number}", world.now_ms - int(age * DAY), price=10)
        world.bring(f"first{step}", world.now_ms - int(ages[0] * DAY), price=100)
        before = world.values()
        # It was accepted first, and is processed last: the sums are built anew without the other body.
        world.write(earlier)
        after = world.values()
        assert after["spent"] == before["spent"] - 99
        assert sorted(after["last"]) == sorted([*before["last"], 1])[:-1] or len(before["last"]) == 10
        world.now_ms += 25 * 3_600_000
        world.reclaim()


# What is stored


def test_events_are_stored_until_they_have_been_expired_for_long(world: World) -> None:
    world.bring("e1", BEGIN - 80 * DAY)
    world.bring("e2", BEGIN - 40 * DAY)
    world.bring("e3", BEGIN - 10 * DAY)
    assert set(world.stored_until().values()) == {None}
    done = world.run(world.set_ttl("P30D"))
    assert done == ExpiryJob(
        done.id,
        world.dataset_id,
        "me",
        BEGIN,
        BEGIN + WAIT_MS,
        JobStatus.SUCCESS,
        counts={"identities": 1, "stamped": 2, "deleted": 1},
    )
    kept = (30 * DAY + KEPT_MS) // 1000
    assert list(world.stored_until().values()) == [
        (BEGIN - 40 * DAY) // 1000 + kept,
        (BEGIN - 10 * DAY) // 1000 + kept,
    ]
    world.bring("e4", BEGIN)
    before = stored()
    # Another one finds nothing to do.
    assert world.run(world.set_ttl("P30D")).counts == done.counts
    assert stored() == before
    # Shorter, longer, and none again: only what has not expired is put off.
    short = world.run(world.set_ttl("P20D"))
    assert short.counts == {"identities": 1, "stamped": 3, "deleted": 0}
    until_20 = world.stored_until()
    long = world.run(world.set_ttl("P300D"))
    assert long.counts == {"identities": 1, "stamped": 2, "deleted": 0}
    first, *others = world.stored_until().values()
    assert first == next(iter(until_20.values()))
    assert others == [(BEGIN - age * DAY + 300 * DAY + KEPT_MS) // 1000 for age in (10, 0)]
    world.run(world.set_ttl(None))
    assert list(world.stored_until().values()) == [first, None, None]


def test_copies_are_stored_as_long_as_events_are(world: World) -> None:
    """And one that takes the place of the event after that is stored as long as it is said by then."""
    first = world.accept("e1", BEGIN - 10 * DAY)
    repeat = PlacedRow(batch_place(world.now_ms, OTHER_BATCH, 0, 0), first.row)
    world.write(first)
    world.write(repeat)
    until = (BEGIN + 20 * DAY + KEPT_MS) // 1000
    assert world.run(world.set_ttl("P30D")).counts == {"identities": 1, "stamped": 2, "deleted": 0}
    events = StoredEvents(aws.dynamodb(), aws.profile_table())
    both = list(events.each(world.tenant, ADA.xid(world.tenant), world.dataset_id))
    assert [(one.place, one.stored_until_s) for one in both] == [(first.place, until), (repeat.place, until)]
    assert both[0].key == both[1].key
    # The batch goes after the TTL was raised, and before the job has come to the copy.
    world.set_ttl("P300D")
    remover = EventRemover(world.configurations, world.table, clock_ms=world.clock_ms)
    shown = world.table.stored_events(world.tenant, [Event(ADA.xid(world.tenant), both[0].key, "", first.place, {})])
    remover.remove(world.tenant, lambda place: place == first.place, list(shown.values()))
    (left,) = events.each(world.tenant, ADA.xid(world.tenant), world.dataset_id)
    assert (left.place, left.stored_until_s) == (repeat.place, (BEGIN + 290 * DAY + KEPT_MS) // 1000)


def test_the_tasks_do_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "ThreadPoolExecutor", lambda _: Inline())
    monkeypatch.setattr(time, "time_ns", lambda: world.now_ms * 1_000_000)
    world.bring("e1", BEGIN - 40 * DAY)
    job_id = world.set_ttl("P30D")
    world.now_ms += WAIT_MS
    job = world.machine.started[job_id]
    planned = tasks.plan(job, None)
    assert planned == {
        **job,
        "shares": 1,
        "manifest_bucket": "lake",
        "manifest_key": f"jobs/{world.tenant.key}/backfill/{job_id}/manifest.json",
    }
    assert world.jobs.get(world.tenant, job_id).status is JobStatus.IN_PROGRESS
    (share,) = world.lake.shares(world.tenant, job_id)
    with pytest.raises(RuntimeError, match="is not done"):
        tasks.finish(planned, None)
    asked = {"job": job, "share": share}
    assert tasks.stamp(asked, None) == {**asked, "done": True}
    assert tasks.finish(planned, None) == {}
    assert world.jobs.get(world.tenant, job_id).status is JobStatus.SUCCESS
    assert world.person() is None
    # What comes late changes nothing.
    assert tasks.fail({**job, "error": {"Cause": "late"}}, None) == {}
    assert tasks.plan(job, None)["shares"] == 0
    assert world.jobs.get(world.tenant, job_id).status is JobStatus.SUCCESS


def test_a_job_that_fails_says_why(world: World) -> None:
    job_id = world.set_ttl("P30D")
    world.plan(job_id)
    world.course().fail(world.tenant, job_id, "storage was not there")
    failed = world.jobs.get(world.tenant, job_id)
    assert (failed.status, failed.reason) == (JobStatus.FAILED, "storage was not there")
    assert world.run(job_id).reason == ""
    with pytest.raises(NotFoundError):
        world.jobs.get(world.tenant, "none")


def test_a_dataset_that_is_deleted_meanwhile_is_left_alone(world: World) -> None:
    world.bring("e1", BEGIN - 40 * DAY)
    job_id = world.set_ttl("P30D")
    (share,) = world.plan(job_id)
    world.catalogue.delete(world.tenant, world.dataset_id, "a")
    before = stored()
    assert world.stamper().stamp(world.tenant, job_id, share)
    assert stored() == before


def test_an_identity_with_more_events_than_there_is_time_for_is_gone_on_with(world: World) -> None:
    world.write(*(world.accept(f"e{number}", BEGIN - number * 3_600_000) for number in range(250)))
    job_id = world.set_ttl("P30D")
    (share,) = world.plan(job_id)
    stamper = world.stamper(client=Slow(boto3.client("dynamodb"), world))
    calls = 1
    while not stamper.stamp(world.tenant, job_id, share):
        calls += 1
    assert calls > 1
    assert None not in world.stored_until().values()
    world.course().finish(world.tenant, job_id)
    assert world.jobs.get(world.tenant, job_id).counts == {"identities": 1, "stamped": 250, "deleted": 0}


class Slow:
    """A client with which every write takes two seconds."""

    def __init__(self, client: Any, world: World) -> None:
        self._client = client
        self._world = world

    def __getattr__(self, name: str) -> Any:
        if name == "update_item":
            self._world.now_ms += 2000
        return getattr(self._client, name)


# Crashes, repetitions and races


def prepared(world: World) -> tuple[str, list[Share]]:
    """Two people, of whom one has only expired events, and one many of all sorts, some that count."""
    for number, age in enumerate((100, 61, 40, 31, 29, 1)):
        world.bring(f"e{number}", BEGIN - age * DAY)
    world.publish("seen", "xEvent.count()", window=Window(7, Unit.DAYS))
    world.bring("e9", BEGIN - DAY)
    world.bring("e1", BEGIN - 50 * DAY, BOB)
    job_id = world.set_ttl("P30D")
    world.now_ms += WAIT_MS
    return job_id, world.plan(job_id)


def work(world: World, job_id: str, shares: list[Share], **clients: Any) -> None:
    for share in shares:
        while not world.stamper(**clients).stamp(world.tenant, job_id, share):
            pass


def restore(before: dict[tuple[str, str], Any]) -> None:
    client = boto3.client("dynamodb")
    for key, item in stored().items():
        if key not in before:
            client.delete_item(TableName="profiles", Key={"pk": item["pk"], "sk": item["sk"]})
    for item in before.values():
        client.put_item(TableName="profiles", Item=item)
    s3 = boto3.client("s3")
    for found in s3.list_objects_v2(Bucket="lake").get("Contents", []):
        if not found["Key"].endswith("manifest.json"):
            s3.delete_object(Bucket="lake", Key=found["Key"])


def test_cut_off_at_any_call_and_run_again_is_as_undisturbed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id, shares = prepared(world)
    monkeypatch.setattr(stream_shares, "_PAGE", 1)
    before = stored()
    life = Life(None)
    work(world, job_id, shares, client=Mortal(boto3.client("dynamodb"), life), s3=Mortal(boto3.client("s3"), life))
    undisturbed = stored()
    assert undisturbed != before
    assert life.spent > 15
    for calls in range(life.spent):
        restore(before)
        left = Life(calls)
        mortal = {"client": Mortal(boto3.client("dynamodb"), left), "s3": Mortal(boto3.client("s3"), left)}
        with pytest.raises(CrashError):
            work(world, job_id, shares, **mortal)
        work(world, job_id, shares)
        assert stored() == undisturbed, calls
    # Twice is once.
    restore(undisturbed)
    work(world, job_id, shares)
    assert stored() == undisturbed
    assert (sorted(world.shown()), world.person(BOB)) == (["e4", "e5", "e9"], None)


def test_storage_that_refuses_and_pages(world: World) -> None:
    job_id, shares = prepared(world)
    before = stored()
    work(world, job_id, shares)
    undisturbed = stored()
    for seed in range(3):
        restore(before)
        work(world, job_id, shares, client=HostileClient(boto3.client("dynamodb"), seed, conflict_rate=0.5))
        assert stored() == undisturbed


def test_a_newer_event_that_comes_meanwhile_keeps_its_person_alive(cloud: None) -> None:
    """Whatever lies between two calls of the job, its person is there as long as the event is."""
    for calls in count():
        world = World()
        world.bring("e1", BEGIN - 40 * DAY)
        job_id = world.set_ttl("P30D")
        world.now_ms += WAIT_MS
        (share,) = world.plan(job_id)
        client = Interrupted(boto3.client("dynamodb"), calls, lambda world=world: world.bring("e2", BEGIN - DAY))
        while not world.stamper(client=client).stamp(world.tenant, job_id, share):
            pass
        if not client.interrupted:
            break
        assert world.shown() == ["e2"], calls
        world.now_ms = BEGIN + 29 * DAY
        assert world.person() is None, calls
    assert calls > 5


class Interrupted:
    """A client that does something before one of its calls."""

    def __init__(self, client: Any, call: int, meanwhile: Callable[[], object]) -> None:
        self._client = client
        self._left = call
        self._meanwhile = meanwhile
        self.interrupted = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(**request: Any) -> Any:
            self._left -= 1
            if self._left < 0 and not self.interrupted:
                self.interrupted = True
                self._meanwhile()
            return method(**request)

        return call if callable(method) and name != "exceptions" else method


def test_a_writer_that_does_not_know_the_ttl_yet_hides_nobody(world: World) -> None:
    """It says of no event that it is the newest; the job begins when its time is over."""
    world.bring("e1", BEGIN - 40 * DAY)
    late = world.accept("e2", BEGIN - DAY)
    table = Watched()
    jobs: list[str] = []
    table.before_put_event = lambda: jobs.append(world.set_ttl("P30D"))
    assert lease.LEASE_S * 1000 < WAIT_MS
    world.write(late, client=table)
    assert world.shown() == ["e2"]
    world.run(jobs[0])
    assert world.shown() == ["e2"]
    world.now_ms = BEGIN + 29 * DAY + 1
    assert world.person() is None


class Watched:
    """A client that tells before an event is put."""

    def __init__(self) -> None:
        self._client = boto3.client("dynamodb")
        self.before_put_event: Callable[[], object] = lambda: None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name != "put_item":
            return method

        def put(**request: Any) -> Any:
            if request["Item"]["sk"]["S"].startswith("E#"):
                tell, self.before_put_event = self.before_put_event, lambda: None
                tell()
            return method(**request)

        return put


def test_the_newest_event_is_known_whatever_the_order(world: World) -> None:
    world.run(world.set_ttl("P30D"))
    for age in (5, 9, 2, 7):
        world.bring(f"e{age}", BEGIN - age * DAY)
    xid = ADA.xid(world.tenant)
    stream = ProfileTable(aws.dynamodb(), aws.profile_table()).streams(world.tenant, [xid], world.dataset_id)[xid]
    assert isinstance(stream, EventStream)
    assert (stream.newest_ms, stream.of_all) == (BEGIN - 2 * DAY, True)


def test_a_sandbox_knows_only_its_own_jobs(world: World) -> None:
    job_id = world.set_ttl("P30D")
    with pytest.raises(NotFoundError):
        world.jobs.get(World().tenant, job_id)


def test_records_have_no_ttl_in_the_catalogue_either(world: World) -> None:
    with pytest.raises(InvalidRequestError, match="for events"):
        world.catalogue.create(
            world.tenant, "id", "me", {"name": "people", "schemaRef": {"id": PROFILE}, **extensions("P30D")}
        )
