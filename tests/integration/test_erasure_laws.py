"""Erasures, holds and lifts between rows that are processed in any order: against a model that knows only places."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tessera.domain.identity import Identity
from tessera.domain.place import Place, batch_place
from tessera.domain.rows import PlacedRow
from tessera.services.profile_writer import ProfileWriter
from tests.integration.conftest import empty_profile_table
from tests.integration.erasing import ErasingWorld
from tests.integration.executors import Inline
from tests.integration.test_person_delete import BATCH, CRM, WEB, row

IDENTITIES = [Identity("crmid", "1"), Identity("crmid", "2"), Identity("email", "a@b.c"), Identity("loyalty", "L1")]


@dataclass
class Fact:
    """A row as it was accepted; ``refused`` when it named somebody who was held then."""

    dataset: str
    place: Place
    named: tuple[Identity, ...]
    placed: PlacedRow
    refused: bool


@dataclass
class Model:
    """What should be visible, worked out as if every row were processed the moment it is accepted."""

    facts: list[Fact] = field(default_factory=list)
    gone: dict[Identity, str] = field(default_factory=dict)
    held: set[Identity] = field(default_factory=set)

    def person(self, start: Identity) -> set[Identity]:
        person = {start}
        while more := set().union(*(f.named for f in self.facts if not f.refused and person & {*f.named})) - person:
            person |= more
        return person

    def erase(self, identity: Identity, at: str, *, hold: bool) -> None:
        for one in self.person(identity):
            self.gone[one] = at
            if hold:
                self.held.add(one)

    def lift(self, identity: Identity, at: str) -> None:
        for one in self.person(identity) & self.held:
            self.gone[one] = at
            self.held.remove(one)

    def visible(self) -> set[tuple[Identity, str, str]]:
        shown: set[tuple[Identity, str, str]] = set()
        last: dict[Identity, str] = {}
        for fact in self.facts:
            primary = fact.named[0]
            if fact.refused or fact.place <= self.gone.get(primary, ""):
                continue
            if fact.dataset == WEB:
                shown.add((primary, WEB, fact.place))
            else:
                last[primary] = fact.place
        return shown | {(primary, CRM, place) for primary, place in last.items()}


ROWS = st.tuples(
    st.just("row"),
    st.sampled_from([CRM, WEB]),
    st.permutations(range(len(IDENTITIES))).flatmap(
        lambda order: st.integers(1, 2).map(lambda size: tuple(order[:size]))
    ),
)
STEPS = st.one_of(
    ROWS,
    ROWS,
    ROWS,
    st.tuples(st.just("process"), st.integers(0, 3)),
    st.tuples(st.just("again")),
    st.tuples(st.just("work")),
    st.tuples(st.just("erase"), st.integers(0, len(IDENTITIES) - 1), st.booleans()),
    st.tuples(st.just("lift"), st.integers(0, len(IDENTITIES) - 1)),
)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, min_size=4, max_size=16), seed=st.integers(0, 1000))
def test_what_is_visible_does_not_depend_on_the_order_of_processing(
    cloud: None, steps: list[tuple[object, ...]], seed: int
) -> None:
    empty_profile_table()
    world, model, chance = ErasingWorld(rows=[]), Model(), random.Random(seed)
    writer = ProfileWriter(world.configurations, world.table, Inline(), clock_ms=lambda: world.now_ms)
    waiting: list[Fact] = []

    def process(facts: list[Fact]) -> None:
        for fact in chance.sample(facts, len(facts)):
            writer.apply(world.tenant, fact.dataset, [fact.placed])

    def drain() -> None:
        process(waiting)
        waiting.clear()

    for step in steps:
        world.now_ms += 10_000
        match step:
            case ("row", str(dataset), tuple(numbers)):
                named = tuple(IDENTITIES[number] for number in numbers)
                place = batch_place(world.now_ms, BATCH, 0, 0)
                body = {"_id": place, "timestamp": "2023-03-04T08:00:00Z"} if dataset == WEB else {"city": place}
                _, placed = row(dataset, place, named[0], *named[1:], **body)
                fact = Fact(dataset, place, named, placed, bool(model.held & {*named}))
                model.facts.append(fact)
                waiting.append(fact)
            case ("process", int(count)):
                some = chance.sample(waiting, min(count, len(waiting)))
                process(some)
                waiting[:] = [fact for fact in waiting if fact not in some]
            case ("again",):
                process(model.facts)
                waiting.clear()
            case ("work",):
                world.work()
            case ("erase", int(number), bool(hold)):
                identity = IDENTITIES[number]
                known = world.table.heads(world.tenant, [world.xid(identity)])
                at = world.now_ms
                world.erase(identity, hold=hold)
                if known or hold:
                    model.erase(identity, batch_place(at + 1000, BATCH, 0, 0), hold=hold)
                if hold:
                    # Rows that name whom a row in flight makes one of the held are not looked at twice.
                    drain()
            case ("lift", int(number)):
                drain()
                identity = IDENTITIES[number]
                head = world.table.heads(world.tenant, [world.xid(identity)]).get(world.xid(identity))
                if head is not None and head.holds:
                    at = world.now_ms
                    world.lift(identity)
                    model.lift(identity, batch_place(at + 1000, BATCH, 0, 0))
        if not waiting:
            assert world.visible(*IDENTITIES) == model.visible()
    drain()
    assert world.visible(*IDENTITIES) == model.visible()
    process(model.facts)
    world.work()
    process(model.facts)
    assert world.visible(*IDENTITIES) == model.visible()
