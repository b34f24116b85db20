"""What a dataset, a batch or a person's delete reaches is as if it had never been, whatever comes when (law 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tessera.domain.configuration import Configuration
from tessera.domain.deletion import JobStatus, PersonDeletion
from tessera.domain.errors import EntityNotFoundError
from tessera.domain.identity import Identity
from tessera.domain.place import Place, batch_id_of, survives
from tessera.domain.purge import Purge
from tessera.domain.times import iso_ms, parse_ms
from tessera.services.profile_writer import ProfileWriter
from tessera.services.purging import reached
from tessera.services.purging.accepting import AlreadyAskedError
from tessera.storage import aws
from tessera.storage.profile_items import event_key, key_of_event, xid_of
from tessera.storage.profile_table import ProfileTable
from tessera.storage.purges import PurgeStore
from tessera.storage.registry import Registry
from tests.integration import purge_machine
from tests.integration.conftest import forget
from tests.integration.executors import Inline
from tests.integration.hostile import CrashError, HostileClient
from tests.integration.purging_world import CRM, PEOPLE, SHOP, TENANT, TIERS, Brought, Stale, World, bought, stored
from tests.integration.snapshots import restore, snapshot
from tests.integration.test_batches_crashes import Life, Mortal

HOUR_MS = 3_600_000
TIMES = "times"
NOTHING: Any = ({}, [], None)


@pytest.fixture
def world(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> World:
    purge_machine.created_machine(monkeypatch)
    return World()


@dataclass
class Model:
    """What is to be seen: the rows of the batches that were applied, but for those that a delete reaches."""

    applied: list[Brought] = field(default_factory=list)
    cutoffs: dict[str | Identity, Place] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    replaced: set[str] = field(default_factory=set)

    def rows(self, dataset: str, one: Identity) -> list[tuple[Place, dict[str, Any]]]:
        """The rows of somebody that are there, in order of place."""
        return sorted(
            (
                (item.place, body)
                for batch in self.applied
                if batch.dataset == dataset and batch.id not in self.deleted | self.replaced
                for item, (who, body) in zip(batch.placed(), batch.rows, strict=True)
                if who == one and survives(item.place, self.cutoffs.get(dataset), self.cutoffs.get(one))
            ),
            key=lambda row: row[0],
        )

    def events(self, one: Identity) -> dict[str, tuple[Place, dict[str, Any]]]:
        """The first row of each event of somebody."""
        return {body["_id"]: (place, body) for place, body in reversed(self.rows(SHOP, one))}

    def fields(self, one: Identity) -> dict[str, Any]:
        """The last record, and the record that updates make; the values of the later one of the two win."""
        records, updates = self.rows(CRM, one)[-1:], self.rows(TIERS, one)
        updated = {name: value for _, body in updates for name, value in body.items()}
        ranked = sorted([*records, *[(place, updated) for place, _ in updates[-1:]]], key=lambda row: row[0])
        return {name: value for _, body in ranked for name, value in body.items()}

    def seen(self, one: Identity) -> Any:
        fields, events = self.fields(one), self.events(one)
        if not (fields or events):
            return None
        return fields, sorted(events), sum(body["amount"] for _, body in events.values()) or None


class History:
    """Batches and deletes in the order in which they are accepted, applied and swept in another."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.model = Model()
        self.began_ms = world.now_ms
        self.batches: list[Brought] = []
        self.waiting: list[Brought] = []
        self.jobs: list[Purge | PersonDeletion] = []
        world.publish(TIMES, "xEvent.count()")
        self.known: dict[str, Configuration] = {}

    def body(self, dataset: str, number: int) -> dict[str, Any]:
        """Of records, one field or another with a value that no other row has; of events, one of two bodies."""
        if dataset != SHOP:
            return {["city", "tier"][number % 2]: f"{len(self.batches)}-{number}"}
        event = number // 2
        # The sum of amounts tells which bodies it is made of.
        return {"_id": f"e{event}", "timestamp": iso_ms(self.began_ms - event * HOUR_MS), "amount": 1 << number}

    def bring(self, dataset: str, rows: Sequence[tuple[Identity, int]], *, streamed: bool = False) -> None:
        bodies = [(one, self.body(dataset, number)) for one, number in rows]
        self.accept((self.world.stream if streamed else self.world.bring)(dataset, *bodies))

    def accept(self, batch: Brought) -> None:
        self.batches.append(batch)
        self.waiting.append(batch)
        self.known[batch.id] = self.world.configurations.current(TENANT)

    def replay(self, old: Brought, rows: Sequence[tuple[Identity, int]]) -> None:
        """Replace an active batch of events, from beginning to end."""
        gone = self.model.deleted | self.model.replaced
        if old.streamed or old.id in gone or old not in self.model.applied or self.is_being_replaced(old):
            return
        self.accept(self.world.bring(SHOP, *[(one, self.body(SHOP, number)) for one, number in rows], replaced=old))

    def is_being_replaced(self, batch: Brought) -> bool:
        return batch in [one.replaced for one in self.waiting]

    def apply(self, batch: Brought, *, apart: bool = False, late: bool = False) -> None:
        """Apply a batch; ``late``: by a writer that began when it was complete, and knows no delete of after that."""
        self.world.apply(batch, Stale(self.known[batch.id]) if late else None, apart=apart)
        if batch not in self.model.applied:
            self.model.applied.append(batch)
        if batch.replaced is not None:
            self.model.replaced.add(batch.replaced.id)

    def delete_dataset(self, dataset: str) -> None:
        if any(isinstance(job, Purge) and job.dataset_id == dataset and not job.batch_id for job in self.jobs):
            with pytest.raises(AlreadyAskedError):
                self.world.delete(dataset)
            return
        job = self.world.delete(dataset)
        self.model.cutoffs[dataset] = job.cutoff
        self.jobs.append(job)

    def delete_batch(self, batch: Brought) -> None:
        unfinished = batch in self.waiting and batch.replaced is not None
        if batch.streamed or unfinished or batch.id in self.model.deleted or self.is_being_replaced(batch):
            return
        self.jobs.append(self.world.delete(batch=batch))
        self.model.deleted.add(batch.id)

    def delete_person(self, one: Identity) -> None:
        try:
            job = self.world.delete_person(one)
        except EntityNotFoundError:
            assert self.model.seen(one) is None
            return
        self.model.cutoffs[one] = job.cutoff
        self.jobs.append(job)

    def sweep(self, job: Purge | PersonDeletion) -> None:
        self.jobs.remove(job)
        if isinstance(job, Purge):
            # The machine waits until there is no writer any more that began before.
            self.known = dict.fromkeys(self.known, self.world.configurations.current(TENANT))
        self.world.sweep(job)

    def settle(self) -> None:
        """All is applied that was brought, and all is swept; then all comes once more."""
        for batch in self.waiting:
            self.apply(batch)
        for job in list(self.jobs):
            self.sweep(job)
        for batch in reversed(self.batches):
            self.apply(batch)

    def check(self) -> None:
        """Computed values forget a batch when it is swept, and so does who is known by nothing else.

        What others brought of its events comes back then.
        """
        open_ones = {job.batch_id for job in self.jobs if isinstance(job, Purge) and job.batch_id}
        for one in PEOPLE:
            seen, expected = self.world.seen(one), self.model.seen(one)
            if not open_ones:
                assert seen == expected
                assert self.world.computed(one, TIMES) == (len(self.model.events(one)) or None)
                continue
            of_batches = {
                body["_id"] for batch in self.batches if batch.id in open_ones for who, body in batch.rows if who == one
            }
            fields, events, _ = expected or NOTHING
            assert (seen or NOTHING)[0] == fields
            assert set(events) - of_batches <= set((seen or NOTHING)[1]) <= set(events)

    def check_storage(self) -> None:
        """Nothing is left of what is not seen, but for what would be seen if something else were deleted."""
        alive = {
            place for one in PEOPLE for dataset in (CRM, TIERS, SHOP) for place, _ in self.model.rows(dataset, one)
        }
        items = stored()
        assert {item["p"]["S"] for (_, sort), item in items.items() if sort[0] in "REC"} <= alive
        first = [place for one in PEOPLE for place, _ in self.model.events(one).values()]
        assert sorted(item["p"]["S"] for (_, sort), item in items.items() if sort[0] == "E") == sorted(first)
        kept = {
            (xid_of(pk), key_of_event(sort), batch_id_of(Place(item["p"]["S"])))
            for (pk, sort), item in items.items()
            if sort[0] in "EC"
        }
        assert kept == {
            (one.xid(TENANT), event_key(parse_ms(body["timestamp"]), SHOP, body["_id"]), batch_id_of(place))
            for one in PEOPLE
            for place, body in self.model.rows(SHOP, one)
        }
        assert all(not known.deleted for known in self.world.configurations.current(TENANT).datasets.values())


NUMBERS = st.integers(0, 9)
# Few people and few events, so that the same come again.
WHO = st.sampled_from(PEOPLE[:2])
BRING = st.tuples(
    st.just("bring"),
    st.sampled_from([CRM, TIERS, SHOP, SHOP, SHOP]),
    st.lists(st.tuples(WHO, st.integers(0, 5)), min_size=1, max_size=3),
    st.booleans(),
)
# The same few events again and again, of one person.
REPEATS = st.lists(st.tuples(st.just(PEOPLE[0]), st.integers(0, 3)), min_size=1, max_size=3)
APPLY = st.tuples(st.just("apply"), NUMBERS, st.booleans(), st.booleans())
STEPS = st.one_of(
    BRING,
    BRING,
    st.tuples(st.just("bring"), st.just(SHOP), REPEATS, st.booleans()),
    st.tuples(st.just("stream"), REPEATS, st.booleans()),
    st.tuples(st.just("replay"), NUMBERS, REPEATS, st.booleans()),
    APPLY,
    st.tuples(st.just("again"), NUMBERS),
    st.tuples(st.just("delete dataset"), st.sampled_from([CRM, TIERS, SHOP])),
    st.tuples(st.just("delete batch"), NUMBERS, st.booleans()),
    st.tuples(st.just("delete person"), WHO),
    st.tuples(st.just("sweep"), NUMBERS),
)


@pytest.fixture
def worlds(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """New worlds without end, each in the same sandbox, with nothing left of the one before."""
    purge_machine.created_machine(monkeypatch)
    nothing = snapshot()

    def make() -> Iterator[World]:
        while True:
            restore(nothing)
            forget()
            yield World()

    return make()


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, min_size=6, max_size=20))
def test_it_is_as_if_it_had_never_been(worlds: Iterator[World], steps: list[tuple[Any, ...]]) -> None:
    """Whatever is deleted is gone at the answer, and stays gone, whatever of it comes when, and how often."""
    world = next(worlds)
    history = History(world)
    for step in steps:
        match step:
            case ("bring", dataset, rows, at_once):
                history.bring(dataset, rows)
                if at_once:
                    history.apply(history.waiting.pop())
            case ("stream", rows, at_once):
                history.bring(SHOP, rows, streamed=True)
                if at_once:
                    history.apply(history.waiting.pop())
            case ("replay", number, rows, at_once) if brought := [
                one for one in history.batches if one.dataset == SHOP
            ]:
                waiting = len(history.waiting)
                history.replay(brought[number % len(brought)], rows)
                if at_once and len(history.waiting) > waiting:
                    history.apply(history.waiting.pop())
            case ("apply", number, apart, late) if history.waiting:
                batch = history.waiting.pop(number % len(history.waiting))
                history.apply(batch, apart=apart, late=late)
            case ("again", number) if history.model.applied:
                history.apply(history.model.applied[number % len(history.model.applied)])
            case ("delete dataset", dataset):
                history.delete_dataset(dataset)
            case ("delete batch", number, again) if brought := [one for one in history.batches if one.dataset == SHOP]:
                batch = brought[number % len(brought)]
                history.delete_batch(batch)
                if again:
                    history.accept(world.bring(SHOP, *batch.rows))
                    history.apply(history.waiting.pop())
            case ("delete person", one):
                history.delete_person(one)
            case ("sweep", number) if history.jobs:
                history.sweep(history.jobs[number % len(history.jobs)])
        history.check()
    history.settle()
    history.check()
    history.check_storage()


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
        world.delete_person(one)
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
            begin = snapshot()
            assert purge_machine.run(job.id) == "done"
            spent = life.spent
        forget()
        expected = ([world.seen(one) for one in PEOPLE], shapes(), counts(world, job))
        assert spent > 20
        for left in range(0, spent, 3):
            restore(begin)
            with monkeypatch.context() as patched:
                mortal(patched, left)
                with pytest.raises(CrashError):
                    purge_machine.run(job.id)
            forget()
            assert purge_machine.run(job.id) == "done"
            assert ([world.seen(one) for one in PEOPLE], shapes(), counts(world, job)) == expected, left

    def test_of_somebody_who_has_more_than_a_page_takes(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """A page is bounded by events too; an invocation that is cut off leaves the next one less to do."""
        monkeypatch.setattr(reached, "EVENTS_PER_IDENTITY", 2)
        for number, one in enumerate(PEOPLE):
            names = [f"{number}-{event}" for event in range(5 - 2 * number)]
            world.apply(world.bring(SHOP, *[(one, bought(world, name, 1)) for name in names]))
        job = world.delete(SHOP)
        world.apply(world.bring(SHOP, (PEOPLE[0], bought(world, "new", 16))))
        expected = [({}, ["new"], 16), None, None]
        begin, spent = snapshot(), 0
        with monkeypatch.context() as patched:
            life = mortal(patched, None)
            assert purge_machine.run(job.id) == "done"
            spent = life.spent
        forget()
        found = {"events": 9, "streams": 2}
        for left in (None, *range(0, spent, 3)):
            restore(begin)
            with monkeypatch.context() as patched:
                mortal(patched, left)
                with nullcontext() if left is None else pytest.raises(CrashError):
                    purge_machine.run(job.id)
            forget()
            assert purge_machine.run(job.id) == ("over" if left is None else "done")
            assert [world.seen(one) for one in PEOPLE] == expected
            done = counts(world, job)
            assert {name: done[name] for name in found} == found, left
            rescan = PurgeStore(world.registry).get(TENANT, job.id).rescan
            assert rescan is not None
            # Each once, and who is still there once more by the index.
            assert (rescan.identities, rescan.found) == (4, 0)

        # Cut off again and again, each time after as many calls as the beginning and two pages take.
        restore(begin)
        events = []
        while True:
            with monkeypatch.context() as patched:
                mortal(patched, 40)
                try:
                    purge_machine.run(job.id)
                    break
                except CrashError:
                    events.append(sum(sort.startswith("E#") for _, sort in stored()))
            forget()
            assert len(events) < 20
        assert len(events) > 1
        assert events == sorted(events, reverse=True)
        assert [world.seen(one) for one in PEOPLE] == expected

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
        begin = snapshot()
        left = 0
        while True:
            restore(begin)
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


def shapes() -> Any:
    """Which items there are, at which places."""
    return {key: item.get("p") for key, item in stored().items()}


def counts(world: World, job: Purge) -> Any:
    done = PurgeStore(Registry(aws.dynamodb(), aws.registry_table())).get(TENANT, job.id)
    assert done.status is JobStatus.SUCCESS
    return {name: count for name, count in done.counts.items() if name != "lakeObjects"}
