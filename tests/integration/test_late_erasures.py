"""An erasure that a late link carries to somebody hides what came before it and nothing else (laws 2, 5 and 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tessera.domain.identity import Identity
from tessera.domain.place import batch_prefix, hand_place
from tessera.services import event_removal, event_streams, linking, survivors
from tessera.services.profile_writer import ProfileWriter
from tessera.services.reclaiming import Reclaimer
from tessera.storage import aws
from tessera.storage.profile_table import ProfileTable
from tests.integration.executors import Inline
from tests.integration.hostile import CrashError, HostileClient
from tests.integration.purging_world import CRM, PEOPLE, SHOP, TENANT, Brought, World, bought, stored
from tests.integration.snapshots import restore, snapshot
from tests.integration.test_purge_laws import world
from tests.integration.turns import Turns

__all__ = ["world"]

ONE, ERASED = PEOPLE[:2]
XID = ONE.xid(TENANT)
# Whether the events count in an attribute.
COUNTED = pytest.mark.parametrize("counted", [True, False])


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (event_removal, event_streams, linking, survivors):
        monkeypatch.setattr(module.time, "sleep", lambda _: None)


def shopping(world: World, name: str, amount: int, *, counted: bool) -> Brought:
    body = bought(world, name, amount)
    return world.bring(SHOP, (ONE, body if counted else {**body, "amount": None}))


def linking_row(world: World, one: Identity, other: Identity) -> Brought:
    identities = {"email": [{"id": one.value, "primary": True}, {"id": other.value}]}
    return world.bring(CRM, (one, {"identityMap": identities}))


def apply(world: World, batch: Brought, client: Any = None, table: ProfileTable | None = None) -> None:
    table = table or ProfileTable(client or aws.dynamodb(), aws.profile_table())
    ProfileWriter(world.configurations, table, Inline()).apply(TENANT, batch.dataset, batch.placed())


def reclaim(world: World, people: Sequence[Identity] = (ONE,), client: Any = None) -> None:
    """What sweeps do with those whom an erasure has reached by now."""
    table = ProfileTable(client or aws.dynamodb(), aws.profile_table())
    reclaimer = Reclaimer(table, world.configurations, Inline())
    for xid, head in table.heads(TENANT, [one.xid(TENANT) for one in people]).items():
        if head.cutoff is not None:
            reclaimer.delete(
                TENANT, xid, table.keys_at_or_below(TENANT, xid, head.cutoff, after=None, limit=1000).sorts, head.cutoff
            )
            reclaimer.settle(TENANT, xid)


class Late:
    """Somebody with an old event, whom a link joins to a person who was erased since; then comes a new event."""

    def __init__(self, world: World, *, counted: bool) -> None:
        self.world = world
        world.apply(world.bring(CRM, (ERASED, {"city": "Ghent"})))
        self.old = shopping(world, "old", 5, counted=counted)
        self.link = linking_row(world, ERASED, ONE)
        world.delete_person(ERASED)
        self.new = shopping(world, "new", 7, counted=counted)
        self.expected = ({}, ["new"], 7 if counted else None)

    def assert_right(self, message: object = "") -> None:
        """Assert that the new event is seen and the old one is not, before and after a sweep."""
        assert self.world.seen(ONE) == self.expected, message
        reclaim(self.world)
        assert self.world.seen(ONE) == self.expected, message
        of_one = sorted(sort[0] for pk, sort in stored() if pk.endswith(XID))
        assert of_one == ["E", "H", "S"], message


@COUNTED
def test_what_came_after_the_erasure_is_seen(world: World, counted: bool) -> None:
    late = Late(world, counted=counted)
    for batch in (late.old, late.new, late.link):
        world.apply(batch)
    late.assert_right()
    # A repetition changes nothing.
    for batch in (late.link, late.old, late.new):
        world.apply(batch)
    late.assert_right()


def test_of_whom_nothing_is_left_nobody_is_seen(world: World) -> None:
    """Also when the newest event, which had the stream's place, is gone with its batch."""
    late = Late(world, counted=False)
    late.old.rows += [(ONE, {**bought(world, "other", 1), "amount": None})]
    for batch in (late.new, late.old):
        world.apply(batch)
    prefix = batch_prefix(late.new.at_ms, late.new.id)
    events = world.table.events_of_stream(TENANT, XID, SHOP, 0)
    event_removal.EventRemover(world.configurations, world.table).remove(
        TENANT, lambda place: place.startswith(prefix), list(events)
    )
    assert world.seen(ONE) == ({}, ["old", "other"], None)
    world.apply(late.link)
    assert world.seen(ONE) is None
    reclaim(world)
    assert [sort for pk, sort in stored() if pk.endswith(XID)] == ["H"]


def test_a_link_that_was_blocked_names_somebody_never_seen(world: World) -> None:
    world.apply(world.bring(CRM, (ERASED, {"city": "Ghent"})))
    rules = world.configurations.current(TENANT).link_rules
    linker = linking.Linker(world.table, Inline())
    linker.block(TENANT, rules, ERASED, hand_place(world.tick()), blocked=True)
    link = linking_row(world, ERASED, ONE)
    world.delete_person(ERASED)
    world.apply(link)
    assert (world.seen(ONE), world.seen(ERASED)) == (None, None)


def schedules(first: int, second: int) -> list[list[int]]:
    """Ways in which the first worker is interrupted once or twice, and the second once meanwhile: some fifty of all."""
    found = [
        [one, half, two]
        for one in range(first + 1)
        for half in range(1, second + 1)
        for two in range(1, first - one + 1)
    ]
    return found[:: len(found) // 50]


def interleaved(schedule: list[int], writer: Callable[[Any], None], other: Callable[[Any], None]) -> list[int]:
    turns = Turns(schedule)
    clients = [turns.client(boto3.client("dynamodb"), number) for number in (0, 1)]
    turns.run(lambda: writer(clients[0]), lambda: other(clients[1]))
    return turns.calls


@COUNTED
@pytest.mark.parametrize(("begun", "swept"), [(True, True), (False, True), (False, False)])
def test_a_writer_and_the_link_may_take_turns_at_any_call(
    world: World, counted: bool, begun: bool, swept: bool
) -> None:
    late = Late(world, counted=counted)
    if begun:
        world.apply(late.old)
    before = snapshot()

    def write(client: Any) -> None:
        if not begun:
            apply(world, late.old, client)
        apply(world, late.new, client)

    def join(client: Any) -> None:
        apply(world, late.link, client)
        if swept:
            reclaim(world, client=client)

    for schedule in schedules(*interleaved([], write, join)):
        restore(before)
        interleaved(schedule, write, join)
        late.assert_right(schedule)


@COUNTED
def test_two_writers_who_read_the_heads_before_the_link(world: World, counted: bool) -> None:
    """One begins the stream with an event of before when the link is done, the other adds to it."""
    late = Late(world, counted=counted)

    class Meanwhile(ProfileTable):
        """Does something between its readings of heads and streams."""

        def __init__(self, do: Callable[[], None]) -> None:
            super().__init__(aws.dynamodb(), aws.profile_table())
            self._do: Callable[[], None] | None = do

        def streams(self, *args: Any, **options: Any) -> Any:
            do, self._do = self._do, None
            if do is not None:
                do()
            return super().streams(*args, **options)

    before_old = Meanwhile(lambda: apply(world, late.link))
    apply(world, late.new, table=Meanwhile(lambda: apply(world, late.old, table=before_old)))
    assert world.seen(ONE) == late.expected


@COUNTED
@pytest.mark.parametrize("swept", [False, True])
def test_dying_anywhere_the_repetition_puts_it_right(world: World, counted: bool, swept: bool) -> None:
    late = Late(world, counted=counted)
    world.apply(late.old)
    before = snapshot()
    deaths = 0
    for order in ((late.new, late.link), (late.link, late.new)):
        for calls_to_live in range(100):
            restore(before)
            client = HostileClient(aws.dynamodb(), calls_to_live, calls_to_live, conflict_rate=0.0)
            done: list[Brought] = []
            try:
                for batch in order:
                    apply(world, batch, client)
                    done.append(batch)
            except CrashError:
                deaths += 1
                if swept:
                    reclaim(world)
                for batch in order:
                    if batch not in done:
                        apply(world, batch)
            late.assert_right(calls_to_live)
            if len(done) == len(order):
                break
    assert deaths > 40


STEPS = st.one_of(
    st.tuples(st.just("event"), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("event"), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("link"), st.integers(0, 2), st.integers(1, 2)),
    st.tuples(st.just("erase"), st.integers(0, 2)),
    st.tuples(st.just("process"), st.integers(0, 9)),
    st.tuples(st.just("process"), st.integers(0, 9)),
    st.tuples(st.just("sweep")),
)


class Model:
    """What should be seen, as if every row were processed the moment it is accepted."""

    def __init__(self) -> None:
        self.links: list[tuple[int, int]] = []
        self.events: dict[int, list[tuple[str, int | None]]] = {0: [], 1: [], 2: []}
        self.alive: set[int] = set()

    def person(self, number: int, links: Sequence[tuple[int, int]]) -> set[int]:
        person = {number}
        while more := {one for link in links if person & {*link} for one in link} - person:
            person |= more
        return person

    def erase(self, number: int) -> None:
        for one in self.person(number, self.links):
            self.events[one] = []
            self.alive.discard(one)

    def seen(self, number: int) -> Any:
        person = self.person(number, self.links)
        events = [event for one in person for event in self.events[one]]
        if not events and not person & self.alive:
            return None
        amounts = [amount for _, amount in events if amount is not None]
        return {}, sorted(name for name, _ in events), sum(amounts) if amounts else None


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, min_size=6, max_size=16))
def test_what_is_seen_depends_on_places_only(world: World, steps: list[tuple[Any, ...]]) -> None:
    empty = snapshot()
    try:
        _play(world, steps)
    finally:
        restore(empty)


def _play(world: World, steps: list[tuple[Any, ...]]) -> None:
    model, waiting, everything = Model(), [], []
    for one in PEOPLE:
        world.apply(world.bring(SHOP, (one, {**bought(world, one.value, 1), "amount": None})))
    for number, one in enumerate(PEOPLE):
        model.events[number].append((one.value, None))
    for number, step in enumerate(steps):
        match step:
            case ("event", int(who), bool(counted)):
                body = {**bought(world, f"e{number}", number + 1)}
                if not counted:
                    body["amount"] = None
                batch = world.bring(SHOP, (PEOPLE[who], body))
                model.events[who].append((f"e{number}", body["amount"]))
                waiting.append(batch)
                everything.append(batch)
            case ("link", int(who), int(further)):
                other = (who + further) % 3
                batch = linking_row(world, PEOPLE[who], PEOPLE[other])
                model.links.append((who, other))
                model.alive |= {who, other}
                waiting.append(batch)
                everything.append(batch)
            case ("erase", int(who)):
                world.delete_person(PEOPLE[who])
                model.erase(who)
            case ("process", int(which)) if waiting:
                world.apply(waiting.pop(which % len(waiting)))
            case ("sweep",):
                reclaim(world, PEOPLE)
        if not waiting:
            assert [world.seen(one) for one in PEOPLE] == [model.seen(who) for who in range(3)]
    for again in (waiting[::-1], everything):
        for batch in again:
            world.apply(batch)
        assert [world.seen(one) for one in PEOPLE] == [model.seen(who) for who in range(3)]
        reclaim(world, PEOPLE)
        assert [world.seen(one) for one in PEOPLE] == [model.seen(who) for who in range(3)]
