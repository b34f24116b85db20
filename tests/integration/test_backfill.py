"""Events of before an attribute was published count in it afterwards, once each, whatever happens meanwhile (law 3)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import boto3
import orjson
import pytest

from jobs import backfill as tasks
from tessera.domain.computed.definition import Definition, Edit, Progress, Status, Wanted
from tessera.domain.computed.values import computed_values
from tessera.domain.computed.window import Unit, Window
from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.errors import EntityNotFoundError, NotFoundError
from tessera.domain.identity import INDEX_SHARDS, Identity, shard_of
from tessera.domain.merge_policy import GraphType, MergePolicy
from tessera.domain.place import batch_place, cutoff_place
from tessera.domain.profile import Event, EventStream
from tessera.domain.rows import PlacedRow, accept
from tessera.domain.tenant import Tenant
from tessera.domain.times import iso_ms, parse_ms
from tessera.services import lease, stream_shares
from tessera.services.computed import backfill
from tessera.services.computed.backfill import Backfill, BusyIdentityError, Filler
from tessera.services.computed.catalogue import AttributeCatalogue
from tessera.services.computed.compiled import compile_attribute
from tessera.services.deletion import Deletions
from tessera.services.profile_reader import ProfileReader
from tessera.services.profile_writer import ProfileWriter
from tessera.services.stream_shares import Share
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.jobs import DeletionStore
from tessera.storage.lake import Lake
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry
from tessera.storage.stream_index import StreamIndex
from tests.integration.conftest import ORG
from tests.integration.executors import Inline
from tests.integration.hostile import CrashError, HostileClient
from tests.integration.test_batches_crashes import Life, Mortal

HOUR = 3_600_000
NOW = parse_ms("2026-02-27T21:17:00Z")
BATCH = "01J00000000000000000000000"
SHOP, APP = "shop", "app"
POLICY = MergePolicy("default", "", default=True)
ADA, BOB, CYD = (Identity("crmid", name) for name in ("ada", "bob", "cyd"))
WEEK = Window(7, Unit.DAYS)
VISITS, SPEND = "xEvent.count()", 'xEvent[type = "buy"].sum(price)'
# What waits out writers, in seconds: more than the lease.
WAIT_S = 210.0


def events(dataset: str) -> DatasetSettings:
    return DatasetSettings(dataset, DatasetKind.EVENT, profile_enabled=True, identity_enabled=True)


class Machine:
    """Remembers what was started."""

    def __init__(self) -> None:
        self.started: dict[str, dict[str, Any]] = {}

    def start(self, name: str, document: Any) -> None:
        self.started.setdefault(name, dict(document))


class Watched(ProfileTable):
    """A table that tells before it does something; ``before`` is called once for a method, then forgotten."""

    def __init__(self, client: Any = None) -> None:
        super().__init__(client or aws.dynamodb(), aws.profile_table())
        self.before: dict[str, Callable[[], None]] = {}
        self.read_events_of: list[str] = []

    def _tell(self, name: str) -> None:
        self.before.pop(name, lambda: None)()

    def streams(self, *args: Any, **kwargs: Any) -> dict[Any, EventStream]:
        found = super().streams(*args, **kwargs)
        self._tell("answering streams")
        return found

    def put_stream(self, *args: Any, **kwargs: Any) -> None:
        self._tell("put_stream")
        super().put_stream(*args, **kwargs)

    def put_event(self, *args: Any, **kwargs: Any) -> Event | None:
        self._tell("put_event")
        return super().put_event(*args, **kwargs)

    def events_of_stream(self, tenant: Tenant, xid: Any, *args: Any) -> Iterator[Event]:
        self.read_events_of.append(xid)
        self._tell("events_of_stream")
        yield from super().events_of_stream(tenant, xid, *args)


def apart() -> Iterator[Tenant]:
    """Make up sandboxes in which no two people are in the same shard of the index."""
    while True:
        tenant = Tenant(ORG, uuid.uuid4().hex)
        if len({shard_of(one.xid(tenant)) for one in (ADA, BOB, CYD)}) == 3:
            yield tenant


@dataclass
class World:
    """A sandbox whose clock is moved by hand, with writers, the machine's steps and readers.

    Its three people are in three shards of the index, so that a share can have one of them.
    """

    tenant: Tenant = field(default_factory=lambda: next(apart()))
    now_ms: int = NOW
    places: Iterator[int] = field(default_factory=count)
    pauses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())
        configuration = Configuration(1, "id", self.tenant.sandbox, "development").with_policy(POLICY)
        self.configurations.create(self.tenant, configuration.with_dataset(events(SHOP)).with_namespaces(["crmid"]))
        self.machine = Machine()
        self.table = Watched()
        self.lake = Lake(aws.s3(), aws.lake_bucket())

    def clock(self) -> float:
        return self.now_ms / 1000

    def clock_ms(self) -> int:
        return self.now_ms

    def wait(self, seconds: float = WAIT_S) -> None:
        self.now_ms += int(seconds * 1000)

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.wait(seconds)

    # What callers do

    def event(
        self,
        identity: Identity = ADA,
        number: int = 0,
        *others: Identity,
        ago: float = 1.0,
        price: float = 1,
        kind: str = "buy",
    ) -> PlacedRow:
        """Accept an event dated some hours ago, from when the world began."""
        ids = [{"id": one.value, **({"primary": True} if one is identity else {})} for one in (identity, *others)]
        body = {"_id": f"e{number}", "timestamp": iso_ms(NOW - int(ago * HOUR)), "type": kind, "price": price}
        row = accept({"identityMap": {"crmid": ids}, **body}, DatasetKind.EVENT, 100)
        return PlacedRow(batch_place(self.now_ms, BATCH, 0, next(self.places)), row)

    def write(self, *rows: PlacedRow, dataset: str = SHOP, table: ProfileTable | None = None) -> None:
        writer = ProfileWriter(
            self.configurations, table or Watched(), Inline(), clock=self.clock, clock_ms=self.clock_ms
        )
        writer.apply(self.tenant, dataset, rows)

    def open_app(self) -> None:
        """Add a second dataset of events."""
        self.configurations.change(self.tenant, lambda known: known.with_dataset(events(APP)))

    def catalogue(self, client: Any = None) -> AttributeCatalogue:
        client = client or aws.dynamodb()
        return AttributeCatalogue(
            ConfigurationStore(client, aws.registry_table()),
            Registry(client, aws.registry_table()),
            compile_attribute,
            self.machine,
            clock_ms=self.clock_ms,
        )

    def publish(self, name: str = "visits", expression: str = VISITS, window: Window = WEEK) -> str:
        wanted = Wanted(name, name, "", expression, window, publish=True)
        return self.catalogue().create(self.tenant, "me", wanted).id

    def disable(self, attribute: str) -> None:
        self.catalogue().change(self.tenant, attribute, Edit(status=Status.DISABLED))

    def get(self, attribute: str) -> Definition:
        return self.catalogue().get(self.tenant, attribute)

    def values(self, identity: Identity = ADA) -> dict[str, Any]:
        reader = ProfileReader(self.configurations, self.table, Inline())
        xid = identity.xid(self.tenant)
        person = reader.person(self.tenant, xid, namespace=None, policy_id=None, now_ms=self.now_ms)
        return computed_values(person.members.values(), person.policy, person.configuration, self.now_ms)

    def stream(self, identity: Identity = ADA, dataset: str = SHOP) -> EventStream:
        xid = identity.xid(self.tenant)
        return Watched().streams(self.tenant, [xid], dataset)[xid]

    def change_dataset(self, dataset: str, **changes: Any) -> None:
        self.configurations.change(
            self.tenant, lambda known: known.with_dataset(replace(known.datasets[dataset], **changes))
        )

    def delete_person(self, identity: Identity) -> None:
        jobs = DeletionStore(Registry(aws.dynamodb(), aws.registry_table()))
        deletions = Deletions(self.table, jobs, Machine(), self.clock_ms, self.wait)
        deletions.accept(self.tenant, identity.xid(self.tenant), GraphType.NONE, "me")
        self.wait(1)

    # What the machine does

    def course(self) -> Backfill:
        index = StreamIndex(aws.dynamodb(), aws.profile_table())
        return Backfill(self.catalogue(), self.configurations, index, self.lake, Inline())

    def filler(
        self, client: Any = None, s3: Any = None, table: ProfileTable | None = None, index: StreamIndex | None = None
    ) -> Filler:
        client, table = client or aws.dynamodb(), table or (Watched(client) if client else self.table)
        return Filler(
            self.catalogue(client),
            ConfigurationStore(client, aws.registry_table()),
            index or StreamIndex(client, aws.profile_table()),
            table,
            Lake(s3 or aws.s3(), aws.lake_bucket()),
            Inline(),
            self.clock,
            self.clock_ms,
            self.pause,
        )

    def begin(self, attribute: str) -> bool:
        return self.course().begin(self.tenant, attribute)

    def plan(self, attribute: str) -> list[Share]:
        planned = self.course().plan(self.tenant, attribute)
        shares = [Share.from_document(one) for one in self.lake.shares(self.tenant, attribute)]
        assert len(shares) == planned
        return shares

    def fill(self, attribute: str, *shares: Share, **how: Any) -> None:
        for share in shares:
            while not self.filler(**how).fill(self.tenant, attribute, share):
                pass

    def finish(self, attribute: str) -> None:
        self.course().finish(self.tenant, attribute)

    def run(self, attribute: str) -> None:
        """Do all that the machine does."""
        if self.begin(attribute):
            self.wait()
            self.fill(attribute, *self.plan(attribute))
            self.finish(attribute)

    def at_work(self, attribute: str) -> Share:
        """Begin, wait and plan; return a share with just ADA's shard of the shop, which is all that one test needs."""
        self.begin(attribute)
        self.wait()
        self.plan(attribute)
        return self.shard(ADA)

    def shard(self, identity: Identity) -> Share:
        shard = shard_of(identity.xid(self.tenant))
        return Share(SHOP, (shard,))


@pytest.fixture
def world(cloud: None, monkeypatch: pytest.MonkeyPatch) -> World:
    # Writers do not wait after a lost race.
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    return World()


def stored() -> dict[tuple[str, str], Any]:
    found = boto3.client("dynamodb").scan(TableName="profiles")["Items"]
    return {(item["pk"]["S"], item["sk"]["S"]): item for item in found}


# The course


def test_events_of_before_count_afterwards(world: World) -> None:
    world.write(world.event(ADA, 1, price=0.1), world.event(ADA, 2, price=0.2), world.event(BOB, 3, price=5))
    world.open_app()
    world.write(world.event(ADA, 4, price=0.3, kind="view"), dataset=APP)
    attribute = world.publish("spend", SPEND)
    world.write(world.event(ADA, 5, price=10))
    assert world.machine.started == {
        attribute: {"org_id": ORG, "sandbox": world.tenant.sandbox, "attribute_id": attribute}
    }
    assert world.begin(attribute)
    assert world.get(attribute).status is Status.INITIALIZING
    world.wait()
    shares = world.plan(attribute)
    assert [(one.dataset_id, one.identities) for one in shares] == [(SHOP, 2), (APP, 1)]
    assert world.get(attribute).status is Status.PROCESSING
    world.fill(attribute, shares[0])
    assert world.get(attribute).progress == Progress(2, 3)
    assert world.values() == {}
    world.fill(attribute, shares[1])
    world.finish(attribute)
    finished = world.get(attribute)
    assert (finished.status, finished.progress, finished.failure) == (Status.PROCESSED, Progress(3, 3), "")
    assert world.values(ADA) == {"spend": 10.3}
    assert world.values(BOB) == {"spend": 5}
    world.write(world.event(ADA, 6, price=0.7))
    assert world.values(ADA) == {"spend": 11}


def test_the_tasks_do_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "ThreadPoolExecutor", lambda _: Inline())
    monkeypatch.setattr(time, "time_ns", lambda: world.now_ms * 1_000_000)
    world.write(world.event(ADA, 1))
    attribute = world.publish()
    job = world.machine.started[attribute]
    assert tasks.begin(job, None) == {**job, "active": True}
    planned = tasks.plan({**job, "active": True}, None)
    assert planned == {
        **job,
        "shares": 1,
        "manifest_bucket": "lake",
        "manifest_key": f"jobs/{world.tenant.key}/backfill/{attribute}/manifest.json",
    }
    (share,) = world.lake.shares(world.tenant, attribute)
    asked = {"job": job, "share": share}
    assert tasks.fill(asked, None) == {**asked, "done": True}
    assert tasks.finish(planned, None) == {}
    assert world.values() == {"visits": 1}
    assert tasks.begin(job, None)["active"] is False


def test_nothing_to_fill(world: World) -> None:
    attribute = world.publish()
    world.begin(attribute)
    world.wait()
    assert world.plan(attribute) == []
    world.finish(attribute)
    assert (world.get(attribute).status, world.get(attribute).progress) == (Status.PROCESSED, Progress(0, 0))
    world.write(world.event())
    assert world.values() == {"visits": 1}


def test_every_stream_is_in_one_share(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    people = [Identity("crmid", f"c{number}") for number in range(60)]
    world.write(*(world.event(one, 1) for one in people))
    monkeypatch.setattr(stream_shares, "_IDENTITIES_PER_SHARE", 7)
    attribute = world.publish()
    world.begin(attribute)
    world.wait()
    shares = world.plan(attribute)
    assert len(shares) > 4
    assert len({share.name for share in shares}) == len(shares)
    for one in people:
        shard = shard_of(one.xid(world.tenant))
        assert len([share for share in shares if shard in share.shards]) == 1
    assert sum(share.identities for share in shares) == 60
    assert all(share.identities >= 7 for share in shares[:-1])
    world.fill(attribute, *reversed(shares))
    world.finish(attribute)
    assert all(world.values(one) == {"visits": 1} for one in people)


def test_a_worker_leaves_in_time_and_goes_on_where_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = [Identity("crmid", f"c{number}") for number in range(5000)]
    crowded = shard_of(everybody[0].xid(world.tenant))
    people = [*[one for one in everybody if shard_of(one.xid(world.tenant)) == crowded][:5], *everybody[1:5]]
    world.write(*(world.event(one, 1) for one in people))
    monkeypatch.setattr(stream_shares, "_PAGE", 2)
    attribute = world.publish()
    world.begin(attribute)
    world.wait()
    (share,) = world.plan(attribute)
    seen = [0]

    class Slow(Watched):
        def heads(self, *args: Any, **kwargs: Any) -> Any:
            world.wait(backfill.MAX_SECONDS / 2)
            return super().heads(*args, **kwargs)

    while not world.filler(table=Slow()).fill(world.tenant, attribute, share):
        progress = world.get(attribute).progress
        assert progress is not None
        assert progress.of == 9
        seen.append(progress.identities)
    assert seen == [0, 4, 8]
    assert world.get(attribute).progress == Progress(9, 9)
    world.finish(attribute)
    assert all(world.values(one) == {"visits": 1} for one in people)


def test_a_share_that_is_not_done_fails_the_job_and_the_next_execution_goes_on(world: World) -> None:
    world.write(world.event(ADA, 1), world.event(BOB, 2))
    attribute = world.publish()
    world.begin(attribute)
    world.wait()
    (share,) = world.plan(attribute)
    with pytest.raises(RuntimeError, match=share.name):
        world.finish(attribute)
    world.fill(attribute, world.shard(ADA))
    world.course().fail(world.tenant, attribute, "RuntimeError: a share")
    failed = world.get(attribute)
    assert (failed.status, failed.failure) == (Status.FAILED, "RuntimeError: a share")
    assert world.values() == {}
    world.table.read_events_of.clear()
    world.run(attribute)
    assert (world.get(attribute).status, world.get(attribute).failure) == (Status.PROCESSED, "")
    assert world.values(ADA) == world.values(BOB) == {"visits": 1}
    # What had been filled was not read again.
    assert world.table.read_events_of == [BOB.xid(world.tenant)]


def test_tasks_say_why_they_failed(world: World) -> None:
    attribute = world.publish()
    error = {"Error": "Exception", "Cause": '{"errorType": "BusyIdentityError", "errorMessage": "too fast"}'}
    tasks.fail({**world.machine.started[attribute], "error": error}, None)
    assert world.get(attribute).failure == "BusyIdentityError: too fast"
    unknown = {"org_id": ORG, "sandbox": world.tenant.sandbox, "attribute_id": str(uuid.uuid4())}
    with pytest.raises(NotFoundError):
        tasks.begin(unknown, None)


# Races with writers


def test_what_a_writer_of_before_writes_while_the_machine_waits_is_counted(world: World) -> None:
    world.write(world.event(ADA, 1))
    attribute = ""

    def published() -> None:
        nonlocal attribute
        attribute = world.publish()
        world.begin(attribute)
        world.wait(lease.LEASE_S - 1)

    late = Watched()
    late.before["put_event"] = published
    world.write(world.event(ADA, 2), world.event(BOB, 3), table=late)
    # It did not know of the attribute: its events are beside the state.
    assert [world.stream(one).state.generation for one in (ADA, BOB)] == [0, 0]
    world.wait()
    world.fill(attribute, *world.plan(attribute))
    world.finish(attribute)
    assert (world.values(ADA), world.values(BOB)) == ({"visits": 2}, {"visits": 1})


def test_a_writer_whose_lease_is_over_notices(world: World) -> None:
    attribute, version = "", 0

    def published() -> None:
        nonlocal attribute, version
        attribute, version = world.publish(), world.stream().version
        world.wait(lease.LEASE_S)
        late.before["put_event"] = lambda: pytest.fail("an event that counts was written by itself")

    late = Watched()
    late.before["put_event"] = published
    world.write(world.event(ADA, 1), world.event(ADA, 2), table=late)
    # The first was on its way when the lease ended; the second changed the stream, as whoever rebuilds it relies on.
    assert world.stream().version == version + 1
    world.run(attribute)
    assert world.values() == {"visits": 2}


def test_a_writer_whose_lease_is_over_counts_by_the_new_configuration(world: World) -> None:
    def published() -> None:
        world.publish()
        world.wait(lease.LEASE_S)

    late = Watched()
    late.before["answering streams"] = published
    late.before["put_event"] = lambda: pytest.fail("an event that counts was written by itself")
    world.write(world.event(ADA, 1), table=late)
    assert world.stream().state.generation == 1
    assert world.stream().state.partials == {"1": [Unit.DAYS.bucket(NOW - HOUR), 1]}


def test_a_writer_of_before_meets_a_stream_that_counts_what_it_does_not_know(world: World) -> None:
    """Both write the first events of one identity; who does not know the attribute must not write beside the other."""
    attribute = ""

    def somebody_else() -> None:
        nonlocal attribute
        attribute = world.publish()
        world.write(world.event(ADA, 1))
        assert world.stream().state.generation == 1

    late = Watched()
    late.before["answering streams"] = somebody_else
    world.write(world.event(ADA, 2), table=late)
    world.run(attribute)
    assert world.values() == {"visits": 2}


def test_a_writer_of_before_writes_beside_a_stream_that_is_rebuilt_meanwhile(world: World) -> None:
    """A rebuild for another reason does not make a state complete for what not everybody knows yet."""
    first = world.publish("spend", SPEND)
    world.run(first)
    lower = world.event(ADA, 1, price=7)
    world.write(world.event(ADA, 1, price=8), world.event(ADA, 2, price=1))
    second = ""

    def second_body() -> None:
        nonlocal second
        second = world.publish()
        # The event is known with a later place: its stream is rebuilt by a writer who knows both attributes.
        world.write(lower)
        assert world.stream().state.generation == 1

    late = Watched()
    late.before["put_event"] = second_body
    world.write(world.event(ADA, 3, kind="view"), table=late)
    assert world.values() == {"spend": 8}
    world.run(second)
    assert world.values() == {"spend": 8, "visits": 3}


def test_a_rebuild_by_who_knows_less_does_not_make_a_state_less_complete(world: World) -> None:
    second = ""
    first = world.publish("spend", SPEND)
    world.run(first)
    lower = world.event(ADA, 1, price=7)
    world.write(world.event(ADA, 1, price=8))

    def all_of_it() -> None:
        nonlocal second
        second = world.publish()
        now_ms, lease_left = world.now_ms, 5
        world.run(second)
        world.now_ms = now_ms + lease_left

    late = Watched()
    late.before["answering streams"] = all_of_it
    world.write(lower, table=late)
    assert world.values() == {"spend": 7, "visits": 1}


@pytest.mark.parametrize("when", ["put_stream", "events_of_stream", "answering streams"])
def test_an_event_that_comes_while_its_stream_is_rebuilt_counts_once(world: World, when: str) -> None:
    world.write(world.event(ADA, 1), world.event(ADA, 2))
    attribute = world.publish()
    share = world.at_work(attribute)
    world.table.before[when] = lambda: world.write(world.event(ADA, 3), world.event(ADA, 2))
    world.fill(attribute, share)
    world.run(attribute)
    assert world.values() == {"visits": 3}
    # Lost only where it had been read already.
    assert len(world.pauses) == {"put_stream": 1, "events_of_stream": 1, "answering streams": 1}[when]


def test_a_busy_identity_is_tried_again_and_does_not_hold_up_the_others(world: World) -> None:
    world.write(world.event(ADA, 0), world.event(BOB, 0), world.event(CYD, 0))
    attribute = world.publish()
    world.begin(attribute)
    world.wait()
    (share,) = world.plan(attribute)
    numbers = iter(range(1, 41))

    class Busy(Watched):
        def put_stream(self, tenant: Tenant, stream: EventStream, replaced: EventStream | None) -> None:
            if stream.xid != CYD.xid(tenant) and (number := next(numbers, None)):
                world.write(world.event(ADA, number), world.event(BOB, number))
            super().put_stream(tenant, stream, replaced)

    world.fill(attribute, share, table=Busy())
    world.finish(attribute)
    assert [world.values(one) for one in (ADA, BOB, CYD)] == [{"visits": 41}, {"visits": 41}, {"visits": 1}]
    assert max(world.pauses) <= 1


def test_an_identity_that_is_too_busy_for_minutes_is_given_up_for_now(world: World) -> None:
    world.write(world.event(ADA, 0), world.event(CYD, 0))
    attribute = world.publish()
    world.begin(attribute)
    world.wait()
    (share,) = world.plan(attribute)
    began = world.clock()

    class Endless(Watched):
        def put_stream(self, tenant: Tenant, stream: EventStream, replaced: EventStream | None) -> None:
            if stream.xid == ADA.xid(tenant):
                world.write(world.event(ADA, len(world.pauses) + 1))
                world.wait(5)
            super().put_stream(tenant, stream, replaced)

    with pytest.raises(BusyIdentityError):
        world.fill(attribute, share, table=Endless())
    assert backfill.MAX_WAIT_SECONDS <= world.clock() - began <= backfill.MAX_WAIT_SECONDS + 10
    assert world.stream(CYD).state.generation == 1
    written = len(world.pauses) + 2
    world.fill(attribute, share)
    world.finish(attribute)
    assert (world.values(ADA), world.values(CYD)) == ({"visits": written}, {"visits": 1})


# Crashes and repetitions


def prepared(world: World) -> tuple[str, list[Share]]:
    """Some streams, of which one is complete, one dead in part and with an event that is due later."""
    world.write(*(world.event(ADA, number, price=number, ago=number) for number in range(6)))
    world.write(world.event(BOB, 1), world.event(BOB, 2, ago=-2))
    world.wait(1)
    world.delete_person(BOB)
    world.write(world.event(BOB, 3), world.event(BOB, 4, ago=-3))
    attribute = world.publish("spend", SPEND)
    world.write(world.event(CYD, 1, price=4))
    world.begin(attribute)
    world.wait()
    world.plan(attribute)
    return attribute, [world.shard(ADA), world.shard(BOB)]


def restore(items: dict[tuple[str, str], Any]) -> None:
    client = boto3.client("dynamodb")
    for key, item in stored().items():
        if key not in items:
            client.delete_item(TableName="profiles", Key={"pk": item["pk"], "sk": item["sk"]})
    for item in items.values():
        client.put_item(TableName="profiles", Item=item)
    s3 = boto3.client("s3")
    for found in s3.list_objects_v2(Bucket="lake").get("Contents", []):
        if not found["Key"].endswith("manifest.json"):
            s3.delete_object(Bucket="lake", Key=found["Key"])


def notes() -> dict[str, int]:
    """How many identities the workers say they have dealt with."""
    s3 = boto3.client("s3")
    return {
        found["Key"]: orjson.loads(s3.get_object(Bucket="lake", Key=found["Key"])["Body"].read())["identities"]
        for found in s3.list_objects_v2(Bucket="lake")["Contents"]
        if not found["Key"].endswith("manifest.json")
    }


def test_cut_off_at_any_call_and_run_again_is_as_undisturbed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    attribute, shares = prepared(world)
    monkeypatch.setattr(stream_shares, "_PAGE", 1)
    before = stored()
    life = Life(None)
    world.fill(attribute, *shares, client=Mortal(boto3.client("dynamodb"), life), s3=Mortal(boto3.client("s3"), life))
    undisturbed, noted = stored(), notes()
    assert undisturbed != before
    assert life.spent > 25
    for calls in range(life.spent):
        restore(before)
        left = Life(calls)
        with pytest.raises(CrashError):
            world.fill(
                attribute, *shares, client=Mortal(boto3.client("dynamodb"), left), s3=Mortal(boto3.client("s3"), left)
            )
        world.fill(attribute, *shares)
        assert stored() == undisturbed, calls
        assert notes() == noted, calls
    # Twice is once.
    world.fill(attribute, *shares)
    assert stored() == undisturbed
    restore(undisturbed)
    world.fill(attribute, *shares)
    assert stored() == undisturbed
    world.run(attribute)
    assert stored() == undisturbed
    assert [world.values(one) for one in (ADA, BOB, CYD)] == [{"spend": 15}, {"spend": 1}, {"spend": 4}]
    world.wait(4 * 3600)
    assert world.values(BOB) == {"spend": 2}


@pytest.mark.parametrize("seed", range(5))
def test_storage_that_refuses_and_pages(world: World, seed: int) -> None:
    attribute, shares = prepared(world)
    before = stored()
    world.fill(attribute, *shares)
    undisturbed = stored()
    restore(before)
    hostile: Any = HostileClient(boto3.client("dynamodb"), seed, conflict_rate=0.5)
    world.fill(attribute, *shares, table=Watched(hostile), index=StreamIndex(hostile, aws.profile_table()))
    assert stored() == undisturbed


def test_two_attributes_published_at_once_share_the_reading_of_events(world: World) -> None:
    world.write(world.event(ADA, 1, price=2), world.event(ADA, 2, price=3, kind="view"), world.event(BOB, 3))
    visits, spend = world.publish(), world.publish("spend", SPEND)
    for one in (visits, spend):
        world.begin(one)
    world.wait()
    shares = [(one, share) for one in (visits, spend) for share in world.plan(one)]
    for one, share in shares:
        world.fill(one, share)
    assert sorted(world.table.read_events_of) == sorted(one.xid(world.tenant) for one in (ADA, BOB))
    world.finish(spend)
    assert world.values(ADA) == {"spend": 2}
    world.finish(visits)
    assert world.values(ADA) == {"spend": 2, "visits": 2}
    assert world.values(BOB) == {"spend": 1, "visits": 1}


def test_a_state_is_not_made_complete_for_what_others_still_wait_for(world: World) -> None:
    world.write(world.event(ADA, 1))
    visits, viewed = world.publish(), ""
    world.begin(visits)
    world.wait()
    (share,) = world.plan(visits)

    def meanwhile() -> None:
        nonlocal viewed
        viewed = world.publish("viewed", 'xEvent[type = "view"].sum(price)', Window(2, Unit.WEEKS))
        world.begin(viewed)
        world.fill(visits, share)
        assert world.stream().state.generation == 1

    late = Watched()
    late.before["put_event"] = meanwhile
    # It knows the first attribute only, in which so old an event does not count, and writes it by itself.
    world.write(world.event(ADA, 2, kind="view", price=5, ago=24 * 9.5), table=late)
    world.finish(visits)
    assert world.values() == {"visits": 1}
    world.run(viewed)
    assert world.values() == {"visits": 1, "viewed": 5}


# What counts


def test_late_future_repeated_and_linked_events(world: World) -> None:
    twice = world.event(ADA, 1)
    world.write(twice, world.event(ADA, 2, ago=24 * 6.5), world.event(ADA, 3, ago=24 * 40), world.event(ADA, 4, ago=-2))
    world.write(twice, world.event(BOB, 5, ADA))
    attribute = world.publish()
    world.write(twice, world.event(ADA, 6, ago=24 * 5))
    world.run(attribute)
    world.write(twice)
    assert world.values(ADA) == world.values(BOB) == {"visits": 4}
    world.wait(3 * 3600)
    assert world.values(ADA) == {"visits": 5}


def test_what_was_deleted_does_not_count(world: World) -> None:
    world.open_app()
    world.write(world.event(ADA, 1), world.event(BOB, 1), world.event(BOB, 2))
    world.write(world.event(ADA, 3), world.event(CYD, 3), dataset=APP)
    world.wait(1)
    world.delete_person(BOB)
    world.write(world.event(BOB, 4))
    world.change_dataset(APP, cutoff=cutoff_place(world.now_ms))
    world.wait(1)
    world.write(world.event(ADA, 5), dataset=APP)
    world.run(world.publish())
    assert world.values(ADA) == {"visits": 2}
    assert world.values(BOB) == {"visits": 1}
    with pytest.raises(EntityNotFoundError):
        world.values(CYD)


def test_a_dataset_whose_events_are_cut_off_while_it_is_filled(world: World) -> None:
    world.write(world.event(ADA, 1))
    world.wait(1)
    attribute = world.publish()
    share = world.at_work(attribute)
    world.table.before["put_stream"] = lambda: world.change_dataset(SHOP, cutoff=cutoff_place(world.now_ms))
    world.fill(attribute, share)
    world.run(attribute)
    with pytest.raises(EntityNotFoundError):
        world.values()
    world.wait(1)
    world.write(world.event(ADA, 2))
    assert world.values() == {"visits": 1}


def test_a_dataset_that_is_deleted_while_it_is_filled(world: World) -> None:
    world.open_app()
    world.write(world.event(ADA, 1), dataset=APP)
    world.write(world.event(ADA, 2))
    attribute = world.publish()
    world.begin(attribute)
    world.wait()
    shares = world.plan(attribute)
    world.configurations.change(world.tenant, lambda known: known.without_dataset(APP))
    world.fill(attribute, *shares)
    world.finish(attribute)
    assert world.stream(ADA, APP).state.generation == 0
    assert world.values() == {"visits": 1}


def test_a_dataset_that_is_enabled_once_more_has_what_it_had(world: World) -> None:
    world.write(world.event(ADA, 1))
    world.change_dataset(SHOP, profile_enabled=False)
    world.run(world.publish())
    world.change_dataset(SHOP, profile_enabled=True)
    assert world.values() == {"visits": 1}


def test_other_sandboxes_are_left_alone(world: World) -> None:
    other = World()
    for one in (world, other):
        one.write(one.event(ADA, 1))
    theirs = other.stream()
    world.run(world.publish())
    assert world.values() == {"visits": 1}
    assert other.stream() == theirs


# Disabling


@pytest.mark.parametrize("after", ["publishing", "begin", "plan", "fill"])
def test_one_that_is_disabled_meanwhile_ends_quietly(world: World, after: str) -> None:
    world.write(world.event(ADA, 1))
    attribute = world.publish()
    steps: Sequence[tuple[str, Callable[[], Any]]] = [
        ("publishing", lambda: None),
        ("begin", lambda: world.begin(attribute)),
        ("plan", lambda: world.course().plan(world.tenant, attribute)),
        ("fill", lambda: world.fill(attribute, Share(SHOP, (*range(INDEX_SHARDS),)))),
    ]
    names = [name for name, _ in steps]
    for _, step in steps[: names.index(after) + 1]:
        step()
    world.disable(attribute)
    if after == "publishing":
        assert not world.begin(attribute)
    if after == "begin":
        assert world.course().plan(world.tenant, attribute) == 0
    if after == "plan":
        world.fill(attribute, Share(SHOP, (*range(INDEX_SHARDS),)))
        assert world.table.read_events_of == []
    world.finish(attribute)
    world.course().fail(world.tenant, attribute, "no")
    assert (world.get(attribute).status, world.get(attribute).failure) == (Status.DISABLED, "")
    assert world.values() == {}
