"""What a dataset or a batch brought is as if it had never been, whatever comes when and dies where (law 7)."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import boto3
import pytest

from tessera.domain.batch import Batch, BatchStatus
from tessera.domain.computed.window import Unit, Window
from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.deletion import JobStatus
from tessera.domain.errors import EntityNotFoundError
from tessera.domain.identity import Identity
from tessera.domain.merge_policy import GraphType
from tessera.domain.place import batch_place
from tessera.domain.purge import Purge
from tessera.domain.rows import PlacedRow, Row, accept
from tessera.domain.tenant import Tenant
from tessera.domain.times import iso_ms
from tessera.domain.ulid import ulid
from tessera.domain.upsert import Action
from tessera.services import timeline
from tessera.services.computed.compiled import compile_attribute
from tessera.services.deletion import Deletions
from tessera.services.ingestion.staged import written
from tessera.services.profile_reader import Person, ProfileReader
from tessera.services.profile_writer import ProfileWriter
from tessera.services.purging.accepting import AlreadyAskedError, Purges, Wanted
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.jobs import DeletionStore
from tessera.storage.journal import Journal
from tessera.storage.lake import Lake
from tessera.storage.profile_table import ProfileTable
from tessera.storage.purges import PurgeStore
from tessera.storage.registry import Registry
from tests.integration import purge_machine
from tests.integration.conftest import ORG, forget
from tests.integration.executors import Inline
from tests.integration.hostile import CrashError, HostileClient
from tests.integration.test_batches_crashes import Life, Mortal

TENANT = Tenant(ORG, "dev")
CRM, TIERS, SHOP = "crm", "tiers", "shop"
DATASETS = [
    DatasetSettings(CRM, DatasetKind.RECORD, profile_enabled=True, identity_enabled=True),
    DatasetSettings(TIERS, DatasetKind.RECORD, profile_enabled=True, upsert=True),
    DatasetSettings(SHOP, DatasetKind.EVENT, profile_enabled=True, identity_enabled=True),
]
PEOPLE = [Identity("email", f"{number}@ex.org") for number in range(3)]
SPENT = "spent"


class Nothing:
    """Starts nothing, and knows of nothing that was streamed."""

    def start(self, name: str, document: Mapping[str, Any]) -> None:
        """Do nothing."""

    def is_known(self, tenant: Tenant, dataset_id: str, batch_id: str) -> bool:
        """Know none."""
        return False


@dataclass
class Brought:
    """A batch: when it was accepted, and its rows by whom."""

    id: str
    dataset: str
    at_ms: int
    rows: list[tuple[Identity, dict[str, Any]]]

    def placed(self) -> list[PlacedRow]:
        kind = DatasetKind.EVENT if self.dataset == SHOP else DatasetKind.RECORD
        return [
            PlacedRow(batch_place(self.at_ms, self.id, 0, number), self.row(one, body, kind))
            for number, (one, body) in enumerate(self.rows)
        ]

    def row(self, one: Identity, body: Mapping[str, Any], kind: DatasetKind) -> Row:
        row = accept({"identityMap": {one.namespace: [{"id": one.value}]}, **body}, kind, 100)
        return replace(row, action=Action.MERGE) if self.dataset == TIERS else row


class Stale(ConfigurationStore):
    """Goes by the configuration of before for as long as a writer may: for its first reading."""

    def __init__(self, before: Configuration) -> None:
        super().__init__(aws.dynamodb(), aws.registry_table())
        self._before: Configuration | None = before

    def current(self, tenant: Tenant) -> Configuration:
        if self._before is not None:
            before, self._before = self._before, None
            return before
        return super().current(tenant)


@dataclass
class World:
    """A sandbox with three datasets and a computed attribute; time goes on by a second with each thing that happens."""

    now_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000 - 3_600_000)

    def __post_init__(self) -> None:
        self.connect()
        compiled = compile_attribute("xEvent.sum(amount)", Window(7, Unit.DAYS))
        for one in DATASETS:
            self.configurations.change(TENANT, lambda known, one=one: known.with_dataset(one))  # type: ignore[misc]
        self.configurations.change(
            TENANT,
            lambda known: known.with_attribute(SPENT, "xEvent.sum(amount)", compiled.rule).with_ready_attribute(SPENT),
        )

    def connect(self) -> None:
        """Take the clients that the process has now."""
        self.configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())
        self.table = ProfileTable(aws.dynamodb(), aws.profile_table())
        self.registry = Registry(aws.dynamodb(), aws.registry_table())

    def tick(self) -> int:
        self.now_ms += 1000
        return self.now_ms

    def bring(self, dataset: str, *rows: tuple[Identity, dict[str, Any]]) -> Brought:
        """Accept a batch: from here on it may be applied."""
        at_ms = self.tick()
        batch = Brought(ulid(at_ms, secrets.randbits(80)), dataset, at_ms, list(rows))
        record = Batch(batch.id, dataset, at_ms, "me", completed_ms=at_ms, judged=True, status=BatchStatus.STAGED)
        BatchStore(self.registry).add(TENANT, record)
        lines = [written(number, item.row) for number, item in enumerate(batch.placed())]
        Lake(aws.s3(), aws.lake_bucket()).stage(TENANT, batch.id, "000000", lines)
        return batch

    def apply(self, batch: Brought, configurations: Any = None) -> None:
        """Apply a batch the way a worker does, unless its record says that it is not to be."""
        if BatchStore(self.registry).get(TENANT, batch.id).applies:
            ProfileWriter(configurations or self.configurations, self.table, Inline()).apply(
                TENANT, batch.dataset, batch.placed()
            )

    def delete(self, dataset: str = "", batch: Brought | None = None, **more: Any) -> Purge:
        at_ms = self.tick()
        purges = Purges(
            self.configurations,
            PurgeStore(self.registry),
            BatchStore(self.registry),
            Nothing(),
            Journal(aws.s3(), aws.lake_bucket()),
            Nothing(),
            clock_ms=lambda: at_ms,
            pause=lambda _: None,
        )
        return purges.accept(TENANT, Wanted(dataset, batch.id if batch else "", **more), "me")

    def sweep(self, job: Purge) -> None:
        assert purge_machine.run(job.id) == "done"

    def person(self, one: Identity) -> Person | None:
        reader = ProfileReader(self.configurations, self.table, Inline())
        now = time.time_ns() // 1_000_000
        try:
            return reader.person(TENANT, one.xid(TENANT), namespace=None, policy_id=None, now_ms=now)
        except EntityNotFoundError:
            return None

    def seen(self, one: Identity) -> Any:
        """What readers see of somebody: fields, events, and what is computed of them."""
        person = self.person(one)
        if person is None:
            return None
        entity = person.entity()
        space, group = person.computed_at
        spent = entity.pop(space, {}).get(group, {}).get(SPENT)
        page = timeline.Timeline(self.table, Inline()).page(
            TENANT, person, timeline.Window(), 1000, None, person.now_ms
        )
        entity.pop("identityMap")
        return entity, sorted(event.body["_id"] for event in page.events), spent


@pytest.fixture
def world(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> World:
    purge_machine.created_machine(monkeypatch)
    return World()


def bought(world: World, name: str, amount: int) -> dict[str, Any]:
    return {"_id": name, "timestamp": iso_ms(world.now_ms - 60_000 - amount), "amount": amount}


def stored() -> dict[tuple[str, str], Any]:
    items = boto3.client("dynamodb").scan(TableName=aws.profile_table())["Items"]
    return {(item["pk"]["S"], item["sk"]["S"]): item for item in items}


@dataclass
class Model:
    """What is to be seen, worked out from all batches and deletes at once."""

    batches: list[Brought] = field(default_factory=list)
    cutoffs: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)

    def rows(self, dataset: str, one: Identity) -> list[tuple[str, dict[str, Any]]]:
        return sorted(
            (
                (item.place, body)
                for batch in self.batches
                if batch.dataset == dataset and batch.id not in self.deleted
                for item, (who, body) in zip(batch.placed(), batch.rows, strict=True)
                if who == one and item.place > self.cutoffs.get(dataset, "")
            ),
            key=lambda row: row[0],
        )

    def seen(self, one: Identity) -> Any:
        records, updates, events = (self.rows(dataset, one) for dataset in (CRM, TIERS, SHOP))
        if not (records or updates or events):
            return None
        merged: dict[str, tuple[str, Any]] = {}
        if records:
            place, body = records[-1]
            merged |= {name: (place, value) for name, value in body.items()}
        updated: dict[str, Any] = {}
        for _, body in updates:
            updated |= body
        for name, value in updated.items():
            if name not in merged or updates[-1][0] > merged[name][0]:
                merged[name] = (updates[-1][0], value)
        first: dict[tuple[str, str], dict[str, Any]] = {}
        for _, body in events:
            first.setdefault((body["_id"], body["timestamp"]), body)
        amounts = [body["amount"] for body in first.values()]
        entity = {name: value for name, (_, value) in merged.items()}
        return entity, sorted(body["_id"] for body in first.values()), sum(amounts) if amounts else None


@pytest.mark.parametrize("seed", range(12))
def test_it_is_as_if_it_had_never_been(world: World, seed: int) -> None:
    """Batches and deletes are accepted in one order; applied, repeated and swept in another."""
    dice = random.Random(seed)
    model = Model()
    to_apply: list[Brought] = []
    to_sweep: list[Purge] = []
    gone: list[dict[str, Any]] = []
    for number in range(dice.randrange(8, 14)):
        chance = dice.random()
        if chance < 0.6 or not model.batches:
            dataset = dice.choice([CRM, TIERS, SHOP, SHOP])
            rows = []
            for position in range(dice.randrange(1, 4)):
                body: dict[str, Any] = {dice.choice(["city", "tier", "name"]): f"{number}-{position}"}
                if dataset == SHOP:
                    # What was deleted may come again, with a later batch.
                    again = [one for one in gone if dice.random() < 0.3]
                    body = again[0] if again else bought(world, f"e{number}-{position}", 1 << number)
                rows.append((dice.choice(PEOPLE), body))
            batch = world.bring(dataset, *rows)
            model.batches.append(batch)
            to_apply.append(batch)
        elif chance < 0.8:
            dataset = dice.choice([CRM, TIERS, SHOP])
            if any(job.dataset_id == dataset and not job.batch_id for job in to_sweep):
                continue
            job = world.delete(dataset)
            model.cutoffs[dataset] = job.cutoff
            to_sweep.append(job)
            gone += [body for batch in model.batches if batch.dataset == SHOP == dataset for _, body in batch.rows]
        else:
            alive = [one for one in model.batches if one.dataset == SHOP and one.id not in model.deleted]
            if not alive:
                continue
            batch = dice.choice(alive)
            # An event that another batch has too would have to be restored: see the receipt's limits.
            ids = {body["_id"] for _, body in batch.rows}
            shared = any(body["_id"] in ids for one in alive if one is not batch for _, body in one.rows)
            if shared:
                continue
            to_sweep.append(world.delete(batch=batch))
            model.deleted.add(batch.id)
            gone += [body for _, body in batch.rows]
        while to_apply and dice.random() < 0.6:
            world.apply(to_apply.pop(dice.randrange(len(to_apply))))
        if dice.random() < 0.3:
            world.apply(dice.choice(model.batches))
        if to_sweep and dice.random() < 0.4:
            world.sweep(to_sweep.pop(dice.randrange(len(to_sweep))))
    dice.shuffle(to_apply)
    for batch in to_apply:
        world.apply(batch)
    for job in to_sweep:
        world.sweep(job)
    for batch in model.batches:
        world.apply(batch)
    for one in PEOPLE:
        assert world.seen(one) == model.seen(one)
    # Nothing is left of what is not seen.
    alive = [place for one in PEOPLE for dataset in (CRM, TIERS, SHOP) for place, _ in model.rows(dataset, one)]
    places = {item["p"]["S"] for (_, sort), item in stored().items() if sort[0] in "RE"}
    assert places <= set(alive)
    assert all(not settings.deleted for settings in world.configurations.current(TENANT).datasets.values())


class TestWritersThatDoNotKnow:
    """A writer goes by the configuration that it read, for as long as its function runs."""

    def test_an_event_of_before_is_not_counted_in_the_state_of_after(self, world: World) -> None:
        one = PEOPLE[0]
        old = world.bring(SHOP, (one, bought(world, "old", 5)))
        before = world.configurations.current(TENANT)
        job = world.delete(SHOP)
        new = world.bring(SHOP, (one, bought(world, "new", 7)))
        world.apply(new)
        world.apply(old, Stale(before))
        assert world.seen(one) == ({}, ["new"], 7)
        world.sweep(job)
        assert world.seen(one) == ({}, ["new"], 7)
        assert len([sort for _, sort in stored() if sort.startswith("E#")]) == 1

    @pytest.mark.parametrize("amount", [7, 5], ids=["another body", "the same body"])
    def test_it_does_not_take_the_place_of_one_of_after(self, world: World, amount: int) -> None:
        one = PEOPLE[0]
        body = bought(world, "e", 5)
        old = world.bring(SHOP, (one, body))
        before = world.configurations.current(TENANT)
        world.delete(SHOP)
        new = world.bring(SHOP, (one, {**body, "amount": amount}))
        world.apply(new)
        world.apply(old, Stale(before))
        assert world.seen(one) == ({}, ["e"], amount)

    @pytest.mark.parametrize("counted", [True, False])
    def test_nor_does_one_of_before_the_delete_of_a_person(self, world: World, counted: bool) -> None:
        one = PEOPLE[0]
        body = {**bought(world, "e", 5), **({} if counted else {"amount": None})}
        world.apply(world.bring(CRM, (one, {"city": "Ghent"})))
        old = world.bring(SHOP, (one, body))
        heads = world.table.heads(TENANT, [one.xid(TENANT)])
        at_ms = world.tick()
        deletions = Deletions(world.table, DeletionStore(world.registry), Nothing(), lambda: at_ms, lambda _: None)
        deletions.accept(TENANT, one.xid(TENANT), GraphType.PRIVATE, "me")
        new = world.bring(SHOP, (one, {**body, "of": "new"}))
        world.apply(new)

        class Early(ProfileTable):
            """Has read the heads before the delete."""

            asked = False

            def heads(self, *arguments: Any, **more: Any) -> Any:
                if not self.asked:
                    self.asked = True
                    return heads
                return super().heads(*arguments, **more)

        table = Early(aws.dynamodb(), aws.profile_table())
        ProfileWriter(world.configurations, table, Inline()).apply(TENANT, SHOP, old.placed())
        assert world.seen(one) == ({}, ["e"], 5 if counted else None)

    def test_a_batch_that_is_deleted_while_it_is_applied(self, world: World) -> None:
        one = PEOPLE[0]
        world.apply(world.bring(SHOP, (one, bought(world, "other", 1))))
        batch = world.bring(SHOP, (one, bought(world, "a", 2)), (one, bought(world, "b", 4)))
        before = world.configurations.current(TENANT)
        job = world.delete(batch=batch)
        world.apply(batch, Stale(before))
        assert world.seen(one)[:2] == ({}, ["other"])
        world.sweep(job)
        assert world.seen(one) == ({}, ["other"], 1)
        world.apply(batch)
        assert world.seen(one) == ({}, ["other"], 1)

    def test_an_event_of_a_batch_that_is_being_deleted_comes_again(self, world: World) -> None:
        one = PEOPLE[0]
        body = bought(world, "e", 5)
        batch = world.bring(SHOP, (one, body))
        world.apply(batch)
        job = world.delete(batch=batch)
        assert world.seen(one)[1] == []
        world.apply(world.bring(SHOP, (one, {**body, "of": "new"})))
        assert world.seen(one) == ({}, ["e"], 5)
        world.sweep(job)
        assert world.seen(one) == ({}, ["e"], 5)
        (event,) = [item for (_, sort), item in stored().items() if sort.startswith("E#")]
        assert not event["p"]["S"].startswith(job.prefix)


class TestDying:
    """Wherever a process dies, asking again, or the machine's next attempt, brings the same about."""

    def people(self, world: World) -> Brought:
        world.apply(world.bring(CRM, *[(one, {"city": "Ghent"}) for one in PEOPLE]))
        world.apply(world.bring(TIERS, (PEOPLE[0], {"tier": "gold", "city": "Bruges"})))
        batch = world.bring(SHOP, *[(one, bought(world, f"e{n}", 1 << n)) for n, one in enumerate(PEOPLE)])
        world.apply(batch)
        world.apply(world.bring(SHOP, (PEOPLE[0], bought(world, "other", 16))))
        return batch

    @pytest.mark.parametrize("what", [CRM, TIERS, SHOP, "batch"])
    def test_the_machine(self, world: World, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
        batch = self.people(world)
        job = world.delete(batch=batch) if what == "batch" else world.delete(what, lake=True)
        if what == TIERS:
            world.apply(world.bring(TIERS, (PEOPLE[0], {"tier": "silver"})))
        spent = 0
        with monkeypatch.context() as patched:
            life = mortal(patched, None)
            snapshot = everything()
            assert purge_machine.run(job.id) == "done"
            spent = life.spent
        forget()
        expected = ([world.seen(one) for one in PEOPLE], shapes(), counts(world, job))
        assert spent > 20
        for left in range(0, spent, 3):
            restore(snapshot)
            with monkeypatch.context() as patched:
                mortal(patched, left)
                with pytest.raises(CrashError):
                    purge_machine.run(job.id)
            forget()
            assert purge_machine.run(job.id) == "done"
            assert ([world.seen(one) for one in PEOPLE], shapes(), counts(world, job)) == expected, left

    @pytest.mark.parametrize("seed", range(3))
    def test_on_storage_as_it_may_be(self, world: World, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        """Pages of one item, keys left unprocessed, transactions that meet others."""
        batch = self.people(world)
        jobs = [world.delete(batch=batch), world.delete(TIERS, remove_links=True), world.delete(CRM)]
        world.apply(world.bring(TIERS, (PEOPLE[0], {"tier": "silver"})))
        expected = [({"tier": "silver"}, ["other"], 16), None, None]
        with monkeypatch.context() as patched:
            forget()
            hostile = HostileClient(boto3.client("dynamodb"), seed)
            patched.setattr(aws, "dynamodb", lambda: hostile)
            for job in jobs:
                assert purge_machine.run(job.id) == "done"
        forget()
        assert [world.seen(one) for one in PEOPLE] == expected
        assert sorted(sort[0] for _, sort in stored()) == ["E", "H", "H", "H", "R", "S"]

    def test_the_caller(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.people(world)
        snapshot = everything()
        left = 0
        while True:
            restore(snapshot)
            with monkeypatch.context() as patched:
                mortal(patched, left)
                world.connect()
                try:
                    world.delete(CRM)
                    break
                except CrashError:
                    pass
            forget()
            world.connect()
            cut = world.configurations.current(TENANT).datasets[CRM].cutoff is not None
            jobs = [document for _, document in world.registry.each(f"{TENANT.key}#job")]
            # Both are there or neither.
            assert [job["status"] for job in jobs] == [JobStatus.NEW] * cut
            assert all((world.seen(one) or ({},))[0].get("city") != "Ghent" for one in PEOPLE) is cut
            if cut:
                with pytest.raises(AlreadyAskedError):
                    world.delete(CRM)
            left += 1
        assert left >= 5


def mortal(patched: pytest.MonkeyPatch, left: int | None) -> Life:
    life = Life(left)
    dynamodb, s3 = boto3.client("dynamodb"), boto3.client("s3")
    forget()
    patched.setattr(aws, "dynamodb", lambda: Mortal(dynamodb, life))
    patched.setattr(aws, "s3", lambda: Mortal(s3, life))
    return life


def everything() -> Any:
    """All items of both tables, and all versions of objects there are."""
    dynamodb, s3 = boto3.client("dynamodb"), boto3.client("s3")
    tables = {name: dynamodb.scan(TableName=name)["Items"] for name in ("profiles", "registry")}
    objects = {
        item["Key"]: s3.get_object(Bucket="lake", Key=item["Key"])["Body"].read()
        for item in s3.list_objects_v2(Bucket="lake").get("Contents", ())
    }
    return tables, objects


def restore(snapshot: Any) -> None:
    """Make it all as it was."""
    tables, objects = snapshot
    dynamodb, s3 = boto3.client("dynamodb"), boto3.client("s3")
    for name, items in tables.items():
        wanted = {(item["pk"]["S"], item["sk"]["S"]): item for item in items}
        now = {(item["pk"]["S"], item["sk"]["S"]): item for item in dynamodb.scan(TableName=name)["Items"]}
        for key in now.keys() - wanted.keys():
            dynamodb.delete_item(TableName=name, Key={"pk": {"S": key[0]}, "sk": {"S": key[1]}})
        for key, item in wanted.items():
            if now.get(key) != item:
                dynamodb.put_item(TableName=name, Item=item)
    found = {item["Key"] for item in s3.list_objects_v2(Bucket="lake").get("Contents", ())}
    for key in found - objects.keys():
        s3.delete_object(Bucket="lake", Key=key)
    for key, body in objects.items():
        if key not in found:
            s3.put_object(Bucket="lake", Key=key, Body=body)


def shapes() -> Any:
    """Which items there are, at which places."""
    return {key: item.get("p") for key, item in stored().items()}


def counts(world: World, job: Purge) -> Any:
    done = PurgeStore(Registry(aws.dynamodb(), aws.registry_table())).get(TENANT, job.id)
    assert done.status is JobStatus.SUCCESS
    return {name: count for name, count in done.counts.items() if name != "lakeObjects"}
