"""Deleting a person: absent once accepted, reclaimed by a sweep, whatever comes in between (law 7, scenario 24)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import boto3
import orjson
import pytest

from api import entities, system_jobs
from jobs import delete
from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.deletion import JobStatus, PersonDeletion
from tessera.domain.errors import EntityNotFoundError, NotFoundError, TooManyRelatedIdentitiesError
from tessera.domain.export.job import Exported
from tessera.domain.graph import Head
from tessera.domain.identity import Identity, Xid
from tessera.domain.merge_policy import GraphType, MergePolicy
from tessera.domain.place import GRACE_MS, Place, accepted_ms, batch_place, cutoff_place
from tessera.domain.profile import Event
from tessera.domain.rows import PlacedRow, accept
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import ulid
from tessera.services import deletion, sweep
from tessera.services.deletion import Deletions
from tessera.services.profile_reader import Person, ProfileReader
from tessera.services.profile_writer import ProfileWriter
from tessera.services.sweep import Sweep
from tessera.services.timeline import Timeline, Window
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.jobs import DeletionStore
from tessera.storage.profile_items import event_key
from tessera.storage.profile_table import KeyPage, ProfileTable
from tessera.storage.registry import Registry
from tests.integration.conftest import ORG, Answer, Caller
from tests.integration.documented import Documented
from tests.integration.executors import Inline
from tests.integration.hostile import CrashError, HostileClient
from tests.integration.test_answers_match_the_document import documented

__all__ = ["documented"]

PATH = "/data/core/ups/access/entities"
PROFILE, EVENTS = "_xdm.context.profile", "_xdm.context.experienceevent"
DEV = Tenant(ORG, "dev")
BATCH = "01J00000000000000000000000"
T = 1_700_000_000_000
CRM, LOYALTY, WEB = "crm", "loyalty", "web"
DATASETS = {
    CRM: DatasetSettings(CRM, DatasetKind.RECORD, profile_enabled=True, identity_enabled=True),
    LOYALTY: DatasetSettings(LOYALTY, DatasetKind.RECORD, profile_enabled=True, identity_enabled=True),
    WEB: DatasetSettings(WEB, DatasetKind.EVENT, profile_enabled=True, identity_enabled=True),
}
WITH_GRAPH = MergePolicy("with-graph", "Default Timebased", default=True)
WITHOUT = MergePolicy("without", "", graph=GraphType.NONE)
CRM_ID, EMAIL, DEVICE = Identity("crmid", "4217"), Identity("email", "dalia@ex.org"), Identity("ecid", "4" * 38)
PERSON = (CRM_ID, EMAIL, DEVICE)


def row(dataset: str, place: Place, primary: Identity, *others: Identity, **body: Any) -> tuple[str, PlacedRow]:
    identity_map: dict[str, list[dict[str, Any]]] = {primary.namespace: [{"id": primary.value, "primary": True}]}
    for other in others:
        identity_map.setdefault(other.namespace, []).append({"id": other.value})
    return dataset, PlacedRow(place, accept({"identityMap": identity_map, **body}, DATASETS[dataset].kind, 100))


def event(number: int, place: Place, *others: Identity) -> tuple[str, PlacedRow]:
    when = f"2023-03-04T08:{number:02d}:00Z"
    return row(WEB, place, DEVICE, *others, _id=f"e{number}", timestamp=when, n=number)


def at(ms: int) -> Place:
    return batch_place(ms, BATCH, 0, 0)


def dalia() -> Iterable[tuple[str, PlacedRow]]:
    yield row(CRM, at(T + 1), CRM_ID, EMAIL, city="Ghent")
    yield row(LOYALTY, at(T + 2), EMAIL, tier="gold")
    for number in range(1, 6):
        yield event(number, at(T + 10 + number), *((CRM_ID,) if number == 3 else ()))


class Machine:
    """Remembers what was started, each name once."""

    def __init__(self) -> None:
        self.started: dict[str, dict[str, Any]] = {}

    def start(self, name: str, document: Any) -> None:
        self.started.setdefault(name, dict(document))


@dataclass
class World:
    """A sandbox with a person, a clock that stands, and services over clients that may be hostile."""

    tenant: Tenant = field(default_factory=lambda: Tenant(ORG, uuid.uuid4().hex))
    now_ms: int = T + 1000
    machine: Machine = field(default_factory=Machine)
    pauses: list[float] = field(default_factory=list)
    rows: Sequence[tuple[str, PlacedRow]] = field(default_factory=lambda: list(dalia()))
    people: Sequence[Identity] = PERSON

    def connect(self) -> None:
        """Go to the tables that the environment names."""
        self.configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())
        self.table = ProfileTable(aws.dynamodb(), aws.profile_table())
        self.jobs = DeletionStore(Registry(aws.dynamodb(), aws.registry_table()))

    def __post_init__(self) -> None:
        self.connect()
        configuration = Configuration(1, "id", self.tenant.sandbox, "development", datasets=DATASETS)
        configuration = configuration.with_policy(WITH_GRAPH).with_policy(WITHOUT).with_namespaces(["crmid"])
        self.configurations.create(self.tenant, configuration)
        self.put(*self.rows)

    def put(self, *rows: tuple[str, PlacedRow], table: ProfileTable | None = None) -> None:
        writer = ProfileWriter(self.configurations, table or self.table, Inline())
        for dataset, placed in rows:
            writer.apply(self.tenant, dataset, [placed])

    def xid(self, identity: Identity) -> Xid:
        return identity.xid(self.tenant)

    def find(self, identity: Identity, policy: MergePolicy = WITH_GRAPH) -> Person:
        reader = ProfileReader(self.configurations, self.table, Inline())
        xid = self.xid(identity)
        return reader.person(self.tenant, xid, namespace=None, policy_id=policy.id, now_ms=self.now_ms)

    def events(self) -> list[str]:
        page = Timeline(self.table, Inline()).page(self.tenant, self.find(DEVICE), Window(), 100, None, self.now_ms)
        return [event.body["_id"] for event in page.events]

    def gone(self) -> bool:
        for identity in PERSON:
            with pytest.raises(EntityNotFoundError):
                self.find(identity)
        return True

    def deletions(self, client: Any = None, table: Any = None) -> Deletions:
        client = client or aws.dynamodb()
        return Deletions(
            table or ProfileTable(client, aws.profile_table()),
            DeletionStore(Registry(client, aws.registry_table())),
            self.machine,
            lambda: self.now_ms,
            self.pauses.append,
        )

    def ask(self, identity: Identity = EMAIL, policy: MergePolicy = WITH_GRAPH, client: Any = None) -> None:
        """Do what the API does with a DELETE."""
        deletions = self.deletions(client)
        try:
            self.find(identity, policy)
            deletions.accept(self.tenant, self.xid(identity), policy.graph, "me")
        except EntityNotFoundError:
            if not deletions.resume(self.tenant, self.xid(identity)):
                raise

    def sweeper(self, client: Any = None, table: Any = None) -> Sweep:
        client = client or aws.dynamodb()
        return Sweep(
            table or ProfileTable(client, aws.profile_table()),
            DeletionStore(Registry(client, aws.registry_table())),
            ConfigurationStore(client, aws.registry_table()),
            Inline(),
            clock_ms=lambda: self.now_ms,
        )

    def run(self, client: Any = None, table: Any = None) -> None:
        """Do what the machine does, for all that were started."""
        for started in list(self.machine.started.values()):
            for _ in range(1000):
                if self.sweeper(client, table).sweep(self.tenant, started["job_id"]):
                    break
            else:
                raise AssertionError("the sweep has no end")

    def job(self) -> PersonDeletion:
        (job,) = self.jobs.since(self.tenant, 0)
        return job

    def stored(self) -> dict[tuple[Identity, str], dict[str, Any]]:
        """Everything the table holds of this sandbox, read by a scan."""
        names = {self.xid(identity): identity for identity in self.people}
        items = boto3.client("dynamodb").scan(TableName=aws.profile_table(), ConsistentRead=True)["Items"]
        return {
            (names[Xid(item["pk"]["S"].rpartition("#")[2])], item["sk"]["S"]): item
            for item in items
            if item["pk"]["S"].startswith(self.tenant.key)
        }

    def heads(self) -> dict[Xid, Head]:
        return self.table.heads(self.tenant, [self.xid(identity) for identity in PERSON])


@pytest.fixture
def world(cloud: None) -> World:
    return World()


ONLY_HEADS = {(identity, "H") for identity in PERSON}


def test_a_person_is_absent_once_the_delete_is_accepted_and_then_swept(world: World) -> None:
    graphs = {xid: head.graph for xid, head in world.heads().items()}
    job = world.deletions().accept(world.tenant, world.xid(EMAIL), GraphType.PRIVATE, "me")
    assert job.xids == tuple(sorted(map(world.xid, PERSON)))
    assert job.cutoff == cutoff_place(world.now_ms + GRACE_MS)
    assert world.jobs.get(world.tenant, job.id).status is JobStatus.NEW
    assert world.gone()
    assert len(world.stored()) == 3 + 2 + 1 + 5
    world.run()
    assert set(world.stored()) == ONLY_HEADS
    settled = world.jobs.get(world.tenant, job.id)
    assert settled.status is JobStatus.SUCCESS
    assert settled.counts == {"records": 2, "streams": 1, "events": 5}
    assert (settled.swept.round, settled.found, settled.proved_ms) == (2, 0, world.now_ms)
    assert (settled.caller, settled.at_ms) == ("me", world.now_ms)
    # The links stay (contract: profile-api §2.8).
    assert {xid: head.graph for xid, head in world.heads().items()} == graphs
    assert world.gone()


def test_without_the_graph_only_the_identity_asked_for(world: World) -> None:
    world.ask(EMAIL, WITHOUT)
    world.run()
    with pytest.raises(EntityNotFoundError):
        world.find(EMAIL, WITHOUT)
    found = world.find(CRM_ID).entity()
    assert found["city"] == "Ghent"
    assert "tier" not in found
    assert world.events() == ["e1", "e2", "e3", "e4", "e5"]
    assert world.job().counts == {"records": 1}


def test_another_identity_of_the_person_keeps_its_rows_when_a_link_comes_and_goes(world: World) -> None:
    # The cutoff is per identity: a link that comes later does not spread it.
    friend = Identity("email", "friend@ex.org")
    world.ask()
    world.now_ms += 10_000
    world.put(row(CRM, at(world.now_ms), friend, EMAIL, city="Bruges"))
    world.run()
    assert world.find(EMAIL).entity()["city"] == "Bruges"


def test_a_row_accepted_later_survives(world: World) -> None:
    world.ask()
    after = world.now_ms + GRACE_MS + 1
    world.put(row(CRM, at(after), CRM_ID, EMAIL, city="Lund"), event(6, at(after)))
    assert world.find(EMAIL).entity()["city"] == "Lund"
    assert world.events() == ["e6"]
    world.run()
    assert world.find(EMAIL).entity()["city"] == "Lund"
    assert "tier" not in world.find(EMAIL).entity()
    assert world.events() == ["e6"]
    # Of the dataset CRM there was nothing left to sweep, and the stream is alive.
    assert world.job().counts == {"records": 1, "events": 5}


def test_the_same_event_accepted_again_later_survives(world: World) -> None:
    world.ask()
    world.put(event(1, at(world.now_ms + GRACE_MS + 1)))
    world.run()
    assert world.events() == ["e1"]


@pytest.mark.parametrize("swept", [False, True])
def test_a_row_accepted_before_and_processed_after_stays_invisible(world: World, swept: bool) -> None:
    world.ask()
    if swept:
        world.run()
    before = set(world.stored())
    late = [row(CRM, at(T + 900), CRM_ID, city="Oslo"), event(7, at(T + 900)), event(1, at(T + 900))]
    world.put(*late)
    assert world.gone()
    assert set(world.stored()) == before
    world.run()
    assert world.gone()
    assert set(world.stored()) == ONLY_HEADS


class Interrupted(ProfileTable):
    """Lets something happen once, right after a read of one kind."""

    def __init__(self, method: str, happens: Callable[[], None]) -> None:
        super().__init__(aws.dynamodb(), aws.profile_table())
        self._method = method
        self._happens: Callable[[], None] | None = happens

    def _interrupt(self, method: str) -> None:
        if method == self._method and self._happens is not None:
            happens, self._happens = self._happens, None
            happens()

    def heads(self, *args: Any, **options: Any) -> dict[Xid, Head]:
        answer = super().heads(*args, **options)
        self._interrupt("heads")
        return answer

    def streams(self, *args: Any, **options: Any) -> Any:
        answer = super().streams(*args, **options)
        self._interrupt("streams")
        return answer

    def keys_at_or_below(self, *args: Any, **options: Any) -> KeyPage:
        answer = super().keys_at_or_below(*args, **options)
        self._interrupt("keys")
        return answer


@pytest.mark.parametrize("late_ms", [-100, 0, 1, GRACE_MS])
@pytest.mark.parametrize("kind", ["record", "event"])
def test_a_writer_that_read_the_heads_before_the_delete_writes_what_is_gone(
    world: World, kind: str, late_ms: int
) -> None:
    # Accepted before the caller of the delete has its answer: so it may count as deleted, and does everywhere.
    place = at(world.now_ms + late_ms)
    late = row(CRM, place, CRM_ID, city="Oslo") if kind == "record" else event(8, place)
    world.put(late, table=Interrupted("heads", world.ask))
    assert len(world.stored()) == 3 + 2 + 1 + 5 + (kind == "event")
    assert world.gone()
    world.run()
    assert world.gone()
    assert set(world.stored()) == ONLY_HEADS


@pytest.mark.parametrize("identity", PERSON)
def test_what_comes_between_listing_and_deleting_stays(world: World, identity: Identity) -> None:
    world.ask()
    later = at(world.now_ms + GRACE_MS + 1)
    rows = [event(1, later), event(6, later), row(CRM, later, CRM_ID, city="Lund")]
    world.run(table=_AfterListing(world, identity, rows))
    assert world.events() == ["e1", "e6"]
    assert world.find(CRM_ID).entity()["city"] == "Lund"


class _AfterListing(ProfileTable):
    """Rows come in right after the items of one identity were listed."""

    def __init__(self, world: World, identity: Identity, rows: list[tuple[str, PlacedRow]]) -> None:
        super().__init__(aws.dynamodb(), aws.profile_table())
        self._world, self._xid, self._rows = world, world.xid(identity), rows

    def keys_at_or_below(self, tenant: Tenant, xid: Xid, cutoff: Place, **options: Any) -> KeyPage:
        page = super().keys_at_or_below(tenant, xid, cutoff, **options)
        if xid == self._xid:
            rows, self._rows = self._rows, []
            self._world.put(*rows)
        return page


def test_a_stream_swept_while_a_writer_holds_it_is_made_again(world: World) -> None:
    world.ask()
    world.put(event(6, at(world.now_ms + GRACE_MS + 1)), table=Interrupted("streams", world.run))
    assert world.events() == ["e6"]


def test_a_commit_slower_than_the_grace_is_done_again(world: World) -> None:
    class Slow(ProfileTable):
        times = 0

        def replace_heads(self, *args: Any, **options: Any) -> None:
            super().replace_heads(*args, **options)
            self.times += 1
            world.now_ms += GRACE_MS + 1 if self.times == 1 else 100

    table = Slow(aws.dynamodb(), aws.profile_table())
    job = world.deletions(table=table).accept(world.tenant, world.xid(EMAIL), GraphType.PRIVATE, "me")
    assert table.times == 2
    # The answer waits until no row can be accepted below the cutoff any more.
    assert world.pauses == [(GRACE_MS - 100 + 1) / 1000]
    assert accepted_ms(job.cutoff) == world.now_ms - 100 + GRACE_MS
    assert {head.cutoff for head in world.heads().values()} == {job.cutoff}
    assert world.job() == job


def test_a_link_that_comes_meanwhile_is_part_of_it_or_comes_after(world: World) -> None:
    phone = Identity("phone", "+15550100")
    link = row(CRM, at(T + 20), CRM_ID, phone, city="Ghent")
    mine = row(LOYALTY, at(T + 21), phone, tier="silver")
    table = Interrupted("heads", lambda: world.put(mine, link))
    job = world.deletions(table=table).accept(world.tenant, world.xid(EMAIL), GraphType.PRIVATE, "me")
    assert world.xid(phone) in job.xids
    with pytest.raises(EntityNotFoundError):
        world.find(phone)


def test_a_later_cutoff_is_never_taken_back(world: World) -> None:
    world.now_ms += 60_000
    world.ask()
    last = {xid: head.cutoff for xid, head in world.heads().items()}
    world.now_ms -= 60_000
    world.deletions().accept(world.tenant, world.xid(CRM_ID), GraphType.PRIVATE, "me")
    assert {xid: head.cutoff for xid, head in world.heads().items()} == last


def test_unknown_and_too_many(world: World) -> None:
    deletions = world.deletions()
    with pytest.raises(EntityNotFoundError):
        deletions.accept(world.tenant, world.xid(Identity("email", "nobody@ex.org")), GraphType.PRIVATE, "me")
    with pytest.raises(NotFoundError):
        world.sweeper().sweep(world.tenant, BATCH)
    many = [Identity("email", f"{number}@ex.org") for number in range(48)]
    world.put(row(CRM, at(T + 30), CRM_ID, EMAIL, *many[:15]))
    for start in (15, 30):
        world.put(row(LOYALTY, at(T + 31 + start), EMAIL, *many[start : start + 15]))
    world.put(row(LOYALTY, at(T + 90), EMAIL, *many[45:47]))
    assert len(world.find(EMAIL).graph) == 50
    world.put(row(LOYALTY, at(T + 91), EMAIL, many[47]))
    with pytest.raises(TooManyRelatedIdentitiesError, match=r"Got: 51, max: 50"):
        deletions.accept(world.tenant, world.xid(EMAIL), GraphType.PRIVATE, "me")
    collapsed = [Identity("email", f"c{number}@ex.org") for number in range(60)]
    for start in range(0, 60, 15):
        world.put(row(LOYALTY, at(T + 92 + start), EMAIL, *collapsed[start : start + 15]))
    with pytest.raises(TooManyRelatedIdentitiesError, match=r"Got: 101, max: 50"):
        deletions.accept(world.tenant, world.xid(EMAIL), GraphType.PRIVATE, "me")
    # By itself each of them can go.
    assert deletions.accept(world.tenant, world.xid(EMAIL), GraphType.NONE, "me").xids == (world.xid(EMAIL),)
    assert world.heads()[world.xid(EMAIL)].collapsed


def outcome(world: World) -> Any:
    job = world.job()
    heads = {head.identity: (head.cutoff, len(head.members)) for head in world.heads().values()}
    return set(world.stored()), heads, job.status, job.counts, len(world.machine.started)


def test_dying_anywhere_and_starting_over_gives_the_same(cloud: None, monkeypatch: pytest.MonkeyPatch) -> None:
    # Pages of two, so that a sweep can die between them.
    monkeypatch.setattr(sweep, "_PAGE", 2)

    def play(calls_to_live: int | None) -> tuple[World, bool]:
        crm, loyalty, first, _, linking, *_ = dalia()
        world = World(rows=[crm, loyalty, linking, first])
        client = HostileClient(aws.dynamodb(), calls_to_live or 0, calls_to_live, conflict_rate=0.0)
        died = False
        for step in (lambda: world.ask(client=client), lambda: world.run(client)):
            try:
                step()
            except CrashError:
                died = True
                break
        world.now_ms += 1 if died and not world.machine.started else 0
        try:
            world.ask()
        except EntityNotFoundError:
            assert world.job().status is JobStatus.SUCCESS
        world.run()
        world.run()
        return world, died

    expected = outcome(play(None)[0])
    assert expected[0] == ONLY_HEADS
    assert expected[2:] == (JobStatus.SUCCESS, {"records": 2, "streams": 1, "events": 2}, 1)
    deaths = 0
    for calls_to_live in range(200):
        world, died = play(calls_to_live)
        found = outcome(world)
        # A delete that died before it was accepted is accepted a moment later, with a cutoff of its own.
        assert (found[0], *found[2:]) == (expected[0], *expected[2:]), calls_to_live
        assert set(found[1].values()) == {(world.job().cutoff, 2)}
        if not died:
            break
        deaths += 1
    assert deaths > 30


def test_conflicts_and_short_pages_change_nothing(cloud: None) -> None:
    for seed in range(5):
        world = World()
        client = HostileClient(aws.dynamodb(), seed, conflict_rate=0.6)
        world.ask(client=client)
        world.run(client)
        assert set(world.stored()) == ONLY_HEADS
        assert world.job().counts == {"records": 2, "streams": 1, "events": 5}


def test_a_sweep_stops_after_its_share_and_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "_PAGE", 2)
    monkeypatch.setattr(sweep, "MAX_ITEMS", 3)
    world.ask()
    job = world.job()
    assert world.sweeper().sweep(world.tenant, job.id) is False
    assert world.job().status is JobStatus.IN_PROGRESS
    assert sum(world.job().counts.values()) in {3, 4}
    world.run()
    assert world.job().status is JobStatus.SUCCESS
    assert world.job().counts == {"records": 2, "streams": 1, "events": 5}


def test_a_sweep_stops_when_its_time_is_over(world: World) -> None:
    ticks = iter(range(0, 100_000, 300))
    world.ask()
    table = ProfileTable(aws.dynamodb(), aws.profile_table())
    sweep = Sweep(
        table,
        world.jobs,
        world.configurations,
        Inline(),
        clock=lambda: float(next(ticks)),
        clock_ms=lambda: world.now_ms,
    )
    # One identity each time: three that have something, and the same three once more.
    results = [sweep.sweep(world.tenant, world.job().id) for _ in range(6)]
    assert results == [False, False, False, False, False, True]
    assert set(world.stored()) == ONLY_HEADS


def test_a_delete_that_failed_or_was_left_is_taken_up_when_asked_for_again(world: World) -> None:
    world.ask()
    job = world.job()
    world.ask(CRM_ID)
    assert list(world.machine.started) == [job.id]
    world.sweeper().fail(world.tenant, job.id, "States.TaskFailed: no")
    assert (world.job().status, world.job().reason) == (JobStatus.FAILED, "States.TaskFailed: no")
    assert world.gone()
    world.ask()
    world.now_ms += deletion.ABANDONED_MS + 1
    world.ask(DEVICE)
    assert list(world.machine.started) == [job.id, f"{job.id}-2", f"{job.id}-3"]
    world.run()
    assert (world.job().status, world.job().reason) == (JobStatus.SUCCESS, "")
    # What comes too late changes nothing.
    world.sweeper().fail(world.tenant, job.id, "States.Timeout")
    assert world.job().status is JobStatus.SUCCESS
    with pytest.raises(EntityNotFoundError):
        world.ask()


def test_a_round_that_finds_something_is_followed_by_another(world: World) -> None:
    class Behind(ProfileTable):
        """Writes an event below the cutoff when the first round has passed."""

        written = False

        def keys_at_or_below(self, *args: Any, **options: Any) -> KeyPage:
            if not self.written and world.job().swept.round == 2:
                self.written = True
                _, late = event(9, at(T + 40))
                key = event_key(late.row.timestamp_ms, WEB, "e9")
                self.put_event(world.tenant, Event(world.xid(DEVICE), key, WEB, late.place, late.row.body), None)
            return super().keys_at_or_below(*args, **options)

    world.ask()
    world.run(table=Behind(aws.dynamodb(), aws.profile_table()))
    assert set(world.stored()) == ONLY_HEADS
    assert world.job().counts == {"records": 2, "streams": 1, "events": 6}
    assert (world.job().swept.round, world.job().found) == (3, 0)


def test_a_job_stored_before_there_were_rounds_is_swept_from_its_beginning(world: World) -> None:
    world.ask()
    new = {"sweptTo", "countedTo", "found", "provedAt"}
    document = {name: value for name, value in world.job().to_document().items() if name not in new}
    old = {**document, "status": "IN-PROGRESS", "swept": [1, "S"], "counted": [1, "S"]}
    registry = Registry(aws.dynamodb(), aws.registry_table())
    registry.put(f"{world.tenant.key}#job", world.job().id, old)
    world.run()
    assert set(world.stored()) == ONLY_HEADS
    assert world.job().proved_ms


def test_two_sweeps_at_once_count_once(world: World) -> None:
    world.ask()
    job = world.job()
    other = world.sweeper()
    table = Interrupted("keys", lambda: other.sweep(world.tenant, job.id) or None)  # type: ignore[arg-type]
    assert world.sweeper(table=table).sweep(world.tenant, job.id)
    assert world.job().counts == {"records": 2, "streams": 1, "events": 5}
    assert set(world.stored()) == ONLY_HEADS


class TestOverHttp:
    """Scenario 24 and the answers, through the functions."""

    @pytest.fixture
    def client(self, call: Caller, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
        arn = boto3.client("stepfunctions").create_state_machine(
            name="delete",
            definition='{"StartAt": "End", "States": {"End": {"Type": "Pass", "End": true}}}',
            roleArn="arn:aws:iam::123456789012:role/machine",
        )["stateMachineArn"]
        monkeypatch.setenv("DELETE_STATE_MACHINE_ARN", arn)
        monkeypatch.setattr(delete, "ThreadPoolExecutor", lambda _: Inline())
        configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())

        def prepare(now: Configuration) -> Configuration:
            for dataset in DATASETS.values():
                now = now.with_dataset(dataset)
            return now.with_policy(WITHOUT).with_namespaces(["CRMID"])

        configurations.change(DEV, prepare)
        writer = ProfileWriter(configurations, ProfileTable(aws.dynamodb(), aws.profile_table()), Inline())
        for dataset, placed in dalia():
            writer.apply(DEV, dataset, [placed])
        return lambda method, schema=PROFILE, **query: call(
            entities.handler, method, PATH, query={"schema.name": schema, **query}
        )

    def test_with_the_graph(self, client: Callable[..., Answer]) -> None:
        answer = client("DELETE", entityId="dalia@ex.org", entityIdNS="email")
        assert (answer.status, answer.text) == (202, "")
        for _ in range(2):
            assert client("GET", entityId="4217", entityIdNS="CRMID").status == 404
            related = {"relatedSchema.name": PROFILE, "relatedEntityId": DEVICE.value, "relatedEntityIdNS": "ECID"}
            assert client("GET", EVENTS, **related).status == 404
            (name,) = sweep_all()
        again = client("DELETE", entityId="4217", entityIdNS="CRMID")
        assert again.status == 404
        assert again.json()["status"] == 404
        assert [name] == sweep_all()
        items = boto3.client("dynamodb").scan(TableName=aws.profile_table())["Items"]
        assert {item["sk"]["S"] for item in items} == {"H"}

    def test_without_the_graph(self, client: Callable[..., Answer]) -> None:
        asked = {"entityId": "dalia@ex.org", "entityIdNS": "email", "mergePolicyId": WITHOUT.id}
        assert client("DELETE", **asked).status == 202
        sweep_all()
        assert client("DELETE", **asked).status == 404
        (profile,) = client("GET", entityId="4217", entityIdNS="CRMID").json().values()
        assert profile["sources"] == [CRM]
        assert profile["entity"]["city"] == "Ghent"

    def test_until_it_is_done_the_same_delete_is_answered_the_same(self, client: Callable[..., Answer]) -> None:
        for _ in range(3):
            assert client("DELETE", entityId="dalia@ex.org", entityIdNS="email").status == 202
        assert len(sweep_all()) == 1

    @pytest.mark.parametrize(
        ("status", "query"),
        [
            (400, {"schema": "_xdm.context.account", "entityId": "1", "entityIdNS": "b2b_account"}),
            (400, {"schema": EVENTS, "entityId": "4217", "entityIdNS": "CRMID"}),
            (400, {"schema": "", "entityId": "4217", "entityIdNS": "CRMID"}),
            (400, {"entityId": "4217", "entityIdNS": "nowhere"}),
            (400, {"entityIdNS": "CRMID"}),
            (422, {"entityId": "no-xid"}),
            (404, {"entityId": "4218", "entityIdNS": "CRMID"}),
            (404, {"entityId": "4217", "entityIdNS": "CRMID", "mergePolicyId": "none-such"}),
        ],
    )
    def test_what_cannot_be_deleted(self, client: Callable[..., Answer], status: int, query: dict[str, str]) -> None:
        before = boto3.client("dynamodb").scan(TableName=aws.profile_table())["Items"]
        assert client("DELETE", **query).status == status
        assert boto3.client("dynamodb").scan(TableName=aws.profile_table())["Items"] == before
        assert sweep_all() == []

    def test_the_receipt(self, client: Callable[..., Answer], documented: Documented) -> None:
        client("DELETE", entityId="dalia@ex.org", entityIdNS="email")
        ((job, state),) = [(one["job_id"], one) for one in executions()]
        path = f"{system_jobs.PATH}/{job}/receipt"
        assert documented(system_jobs.handler, "GET", path).status == 404
        delete.sweep(state, None)
        receipt = documented(system_jobs.handler, "GET", path).json()
        assert (receipt["jobId"], receipt["target"]) == (job, {"identities": 3})
        deleted = {"records": 2, "events": 5, "eventCopies": 0, "streamsDeleted": 1}
        assert receipt["swept"] == [{"store": "profile table", "deleted": deleted}]
        look = receipt["rescan"]
        assert (look["identitiesLookedAt"], look["found"], look["rounds"]) == (3, 0, 2)
        assert look["at"] == receipt["finishedAt"]
        where = [one["where"] for one in receipt["remains"]]
        assert "heads in the profile table" in where
        assert not any("exports/" in one for one in where)
        assert "dalia" not in orjson.dumps(receipt).decode()
        listed = documented(system_jobs.handler, "GET", system_jobs.PATH).json()["children"]
        assert [(one["requestType"], one["status"]) for one in listed] == [("DELETE_ENTITY", "SUCCESS")]

    def test_exports_of_before_are_named_and_said_not_to_be_searched(
        self, client: Callable[..., Answer], call: Caller
    ) -> None:
        def with_union(now: Configuration) -> Configuration:
            return now.with_dataset(DatasetSettings("union", DatasetKind.UNION))

        ConfigurationStore(aws.dynamodb(), aws.registry_table()).change(DEV, with_union)
        before, after = ulid(1, 0), ulid(9_999_999_999_999, 0)
        registry = Registry(aws.dynamodb(), aws.registry_table())
        registry.put(f"{DEV.key}#exported", "union", Exported((before, after)).to_document())
        client("DELETE", entityId="dalia@ex.org", entityIdNS="email")
        (job,) = sweep_all()
        answer = call(system_jobs.handler, "GET", f"{system_jobs.PATH}/{job}/receipt")
        named = [one for one in answer.json()["remains"] if one["where"].startswith("exports/")]
        assert [one["where"] for one in named] == [f"exports/ in the data lake, of batch {before}"]
        assert "not searched" in named[0]["what"]

    def test_a_failure_is_recorded(self, client: Callable[..., Answer]) -> None:
        client("DELETE", entityId="dalia@ex.org", entityIdNS="email")
        (execution,) = executions()
        cause = orjson.dumps({"errorType": "ClientError", "errorMessage": "throttled"}).decode()
        assert delete.fail({**execution, "error": {"Error": "States.TaskFailed", "Cause": cause}}, None) == {}
        job = DeletionStore(Registry(aws.dynamodb(), aws.registry_table())).get(DEV, execution["job_id"])
        assert (job.status, job.reason) == (JobStatus.FAILED, "ClientError: throttled")


def executions() -> list[dict[str, Any]]:
    client = boto3.client("stepfunctions")
    machine = client.list_state_machines()["stateMachines"][0]["stateMachineArn"]
    found = client.list_executions(stateMachineArn=machine)["executions"]
    return [orjson.loads(client.describe_execution(executionArn=one["executionArn"])["input"]) for one in found]


def sweep_all() -> list[str]:
    """Run the machine's task for every execution, as often as it asks; return the jobs."""
    jobs = []
    for execution in executions():
        state = execution
        while not state.get("done"):
            state = orjson.loads(orjson.dumps(delete.sweep(state, None)))
        jobs.append(state["job_id"])
    return jobs
