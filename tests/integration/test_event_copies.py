"""An event that several brought is there as long as one of them is, whoever dies or comes between (laws 2, 3, 7)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from tessera.domain.place import cutoff_place
from tessera.domain.times import iso_ms
from tessera.services import event_removal, event_streams
from tessera.services.profile_writer import ProfileWriter
from tessera.services.reclaiming import Reclaimer
from tessera.storage import aws
from tessera.storage.profile_table import ProfileTable
from tests.integration.executors import Inline
from tests.integration.hostile import CrashError
from tests.integration.purging_world import PEOPLE, SHOP, TENANT, Brought, Stale, World, stored
from tests.integration.test_batches_crashes import Life, Mortal
from tests.integration.test_last_events import XID, Removal, configurations, of_batch, of_person, of_replay, put_back
from tests.integration.test_purge_laws import world
from tests.integration.turns import Turns

__all__ = ["world"]

ONE = PEOPLE[0]
WHEN = iso_ms(time.time_ns() // 1_000_000 - 7_200_000)
Act = Callable[[ProfileTable], object]


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (event_removal, event_streams):
        monkeypatch.setattr(module.time, "sleep", lambda _: None)


def kinds() -> str:
    """The kinds of items there are."""
    return "".join(sorted(sort[0] for _, sort in stored()))


def writing(world: World, batch: Brought, replaced: tuple[str, ...] = ()) -> Act:
    def write(table: ProfileTable) -> None:
        ProfileWriter(world.configurations, table, Inline()).apply(TENANT, SHOP, batch.placed(), replaced)

    return write


def event(amount: int | None = 5) -> dict[str, Any]:
    """Always the same one, with one body or another."""
    return {"_id": "e", "timestamp": WHEN, "amount": amount}


def taking_turns(first: Act, second: Act, step: int = 1) -> Iterator[list[int]]:
    """Have two workers take turns in all ways in which each interrupts the other once; tells each time how.

    With a ``step``, in some of them.
    """
    before = stored()
    client = boto3.client("dynamodb")

    def run(schedule: list[int]) -> list[int]:
        put_back(before)
        turns = Turns(schedule)
        tables = [ProfileTable(turns.client(client, number), aws.profile_table()) for number in (0, 1)]
        turns.run(lambda: first(tables[0]), lambda: second(tables[1]))
        return turns.calls

    for one in range(run([])[0] + 1):
        for other in itertools.count(1, step):
            calls = run([one, other])
            yield [one, other]
            if calls[1] <= other:
                # It has ended before the first went on.
                break


def dying(act: Act) -> Iterator[int]:
    """Have a worker die before each of its calls, each time from the same beginning."""
    before = stored()
    for calls in range(1000):
        put_back(before)
        try:
            act(ProfileTable(Mortal(boto3.client("dynamodb"), Life(calls)), aws.profile_table()))
        except CrashError:
            yield calls
        else:
            assert calls >= 3
            return


class TestMeanwhile:
    """A writer and a removal, or two of a kind, take turns at every call."""

    @pytest.mark.parametrize("removal", [of_batch, of_replay])
    @pytest.mark.parametrize("counted", [True, False])
    @pytest.mark.parametrize("earlier", [True, False])
    def test_a_copy_comes_while_what_is_shown_goes(
        self, world: World, removal: Any, counted: bool, earlier: bool
    ) -> None:
        batches = [world.bring(SHOP, (ONE, event(5 if counted else None))) for _ in range(2)]
        new, old = batches if earlier else reversed(batches)
        world.apply(old)
        remove: Removal = removal(world, old)
        for schedule in taking_turns(writing(world, new), remove):
            assert world.seen(ONE) == ({}, ["e"], 5 if counted else None), schedule
            assert kinds() == "EHS", schedule

    def test_two_removals(self, world: World) -> None:
        """Of what is shown and of the next one; the third one is left, whoever shows which meanwhile."""
        first, second, third = [world.bring(SHOP, (ONE, event(amount))) for amount in (5, 6, 7)]
        for batch in (first, second, third):
            world.apply(batch)
        assert kinds() == "CCEHS"
        removals = [of_replay(world, batch) for batch in (first, second)]
        for schedule in taking_turns(*removals, step=3):
            assert world.seen(ONE) == ({}, ["e"], 7), schedule
            assert kinds() == "EHS", schedule

    def test_an_earlier_one_takes_the_place_of_what_goes(self, world: World) -> None:
        """The event becomes a copy while its batch is removed."""
        first, old, last = [world.bring(SHOP, (ONE, event(amount))) for amount in (5, 6, 7)]
        world.apply(old)
        world.apply(last)
        for schedule in taking_turns(writing(world, first), of_replay(world, old)):
            assert world.seen(ONE) == ({}, ["e"], 5), schedule
            assert kinds() == "CEHS", schedule

    def test_three_writers_two_at_a_time(self, world: World) -> None:
        first, second, third = [world.bring(SHOP, (ONE, event(amount))) for amount in (5, 6, 7)]
        world.apply(third)
        for schedule in taking_turns(writing(world, first), writing(world, second)):
            assert world.seen(ONE) == ({}, ["e"], 5), schedule
            assert kinds() == "CCEHS", schedule


class TestDying:
    """Whoever dies before whichever call: what is tried again brings the same about."""

    @pytest.mark.parametrize("counted", [True, False])
    @pytest.mark.parametrize("earlier", [True, False])
    def test_the_writer(self, world: World, counted: bool, earlier: bool) -> None:
        batches = [world.bring(SHOP, (ONE, event(5 if counted else None))) for _ in range(2)]
        new, old = batches if earlier else reversed(batches)
        world.apply(old)
        remove = of_replay(world, old)
        write = writing(world, new)
        for calls in dying(write):
            # Whatever it has left, the other one goes, before or after it is tried again.
            died = stored()
            for rest in ((remove, write), (write, remove)):
                put_back(died)
                for act in rest:
                    act(world.table)
                assert world.seen(ONE) == ({}, ["e"], 5 if counted else None), calls
                assert kinds().replace("C", "") == "EHS", calls

    @pytest.mark.parametrize("removal", [of_batch, of_replay, of_person])
    def test_the_removal(self, world: World, removal: Any) -> None:
        first, second, third = [world.bring(SHOP, (ONE, event(amount))) for amount in (5, 6, 7)]
        for batch in (second, first, third):
            world.apply(batch)
        remove = removal(world, first)
        for calls in dying(remove):
            while remove(world.table):
                pass
            left, shapes = (({}, ["e"], 6), "CEHS") if removal is not of_person else (None, "H")
            assert (world.seen(ONE), kinds()) == (left, shapes), calls


class TestWhoDoesNotKnow:
    def test_what_is_left_out_for_a_batch_whose_delete_the_writer_does_not_know(self, world: World) -> None:
        """It is shown at once, and not only when the batch is swept."""
        old = world.bring(SHOP, (ONE, event()))
        world.apply(old)
        new = world.bring(SHOP, (ONE, event()))
        before = world.configurations.current(TENANT)
        job = world.delete(batch=old)
        world.apply(new, Stale(before))
        assert world.seen(ONE)[1] == ["e"]
        world.sweep(job)
        assert world.seen(ONE) == ({}, ["e"], 5)
        assert kinds() == "EHS"

    @pytest.mark.parametrize("counted", [True, False])
    def test_a_replay_leaves_the_first_place_to_a_third_batch(self, world: World, counted: bool) -> None:
        """Also where that one was left out for the batch that is replaced."""
        old = world.bring(SHOP, (ONE, event(5 if counted else None)))
        third = world.bring(SHOP, (ONE, event(6 if counted else None)))
        new = world.bring(SHOP, (ONE, event(7 if counted else None)), replaced=old)
        world.apply(old)
        world.apply(third)
        writing(world, new, (old.id,))(world.table)
        assert world.seen(ONE) == ({}, ["e"], 6 if counted else None)
        world.apply(new)
        assert world.seen(ONE) == ({}, ["e"], 6 if counted else None)
        (shown,) = [item for (_, sort), item in stored().items() if sort.startswith("E#")]
        assert shown["p"]["S"] == third.place(0)
        world.sweep(world.delete(batch=third))
        assert world.seen(ONE) == ({}, ["e"], 7 if counted else None)

    def test_a_cutoff_that_a_link_carries_between_two_copies(self, world: World) -> None:
        """Neither writer can have known of it; the sweep shows the copy that it does not reach."""
        world.apply(world.bring(SHOP, (ONE, event())))
        cutoff = cutoff_place(world.tick())
        world.apply(world.bring(SHOP, (ONE, event())))
        head = world.table.heads(TENANT, [XID])[XID]
        world.table.replace_heads(TENANT, [head.erasing(cutoff)], [])

        def sweep(table: ProfileTable) -> None:
            reclaimer = Reclaimer(table, configurations(table), Inline())
            page = table.keys_at_or_below(TENANT, XID, cutoff, after=None, limit=1000)
            reclaimer.delete(TENANT, XID, page.sorts, cutoff)
            reclaimer.settle(TENANT, XID)

        for calls in dying(sweep):
            sweep(world.table)
            assert world.seen(ONE) == ({}, ["e"], 5), calls
            assert kinds() == "EHS", calls


def test_messages_of_one_call_are_copies_of_each_other(world: World) -> None:
    """Each has a place of its own, so each can be deleted by itself."""
    request = world.stream(SHOP, *[(ONE, event(amount)) for amount in (5, 6, 7)])
    world.apply(request)
    assert world.seen(ONE) == ({}, ["e"], 5)
    assert kinds() == "CCEHS"
    world.apply(request)
    assert kinds() == "CCEHS"


def test_rows_of_one_batch_go_together(world: World) -> None:
    batch = world.bring(SHOP, (ONE, event()), (ONE, event(6)))
    world.apply(batch, apart=True)
    assert world.seen(ONE) == ({}, ["e"], 5)
    assert kinds() == "EHS"
