"""Computed values are exact at the instant of the read, whatever came before and in whatever order (laws 2, 3, 5, 7).

A history of events, links, publications and deletes is made up, and at random instants every value is compared with
the naive one: computed in Python from all events that were processed and not deleted, of all members of the graph.
"""

from __future__ import annotations

import itertools
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import methodcaller
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tessera.domain.computed.window import Unit, Window
from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.deletion import PersonDeletion
from tessera.domain.errors import EntityNotFoundError
from tessera.domain.identity import Identity, Xid
from tessera.domain.merge_policy import MergePolicy
from tessera.domain.place import Place, batch_place, cutoff_place, later, survives
from tessera.domain.rows import PlacedRow, accept
from tessera.domain.tenant import Tenant
from tessera.domain.times import iso_ms, parse_ms
from tessera.services.computed.compiled import attributes_of, compile_attribute
from tessera.services.computed.preview import Preview
from tessera.services.computed.rebuilding import complete
from tessera.services.deletion import Deletions
from tessera.services.linking import Linker
from tessera.services.links import Links
from tessera.services.profile_reader import ProfileReader
from tessera.services.profile_writer import ProfileWriter
from tessera.services.sweep import Sweep
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.jobs import DeletionStore
from tessera.storage.link_history import LinkHistory
from tessera.storage.profile_items import event_key
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry
from tests.integration.conftest import empty_profile_table
from tests.integration.executors import Inline
from tests.integration.hostile import CrashError, HostileClient
from tests.unit.computed.model import Known, value_at

HOUR = 3_600_000
BEGIN = parse_ms("2026-02-27T21:17:00Z")
BATCH = "01J00000000000000000000000"
SHOP, APP = "shop", "app"
DATASETS = {
    name: DatasetSettings(name, DatasetKind.EVENT, profile_enabled=True, identity_enabled=True) for name in (SHOP, APP)
}
POLICY = MergePolicy("default", "", default=True)
IDENTITIES = tuple(Identity("crmid", value) for value in ("a", "b", "c"))


class Defined(NamedTuple):
    """An attribute, and in Python what an event gives to it."""

    expression: str
    window: Window
    gives: Callable[[Mapping[str, Any]], Any]


def bought(body: Mapping[str, Any]) -> bool:
    return bool(body.get("type") == "buy")


ATTRIBUTES = {
    "spend": Defined(
        'xEvent[type = "buy"].sum(price)', Window(3, Unit.DAYS), lambda e: e.get("price") if bought(e) else None
    ),
    "visits": Defined("xEvent.count()", Window(24, Unit.HOURS), lambda e: 1),
    "least": Defined("xEvent[price > 0].min(price)", Window(2, Unit.WEEKS), lambda e: e.get("price")),
    "most": Defined("xEvent.max(price)", Window(1, Unit.MONTHS), lambda e: e.get("price")),
    "latest": Defined(
        'xEvent[type = "buy"].topN(timestamp, 1).map({"timestamp": timestamp, "value": price}).head()',
        Window(1, Unit.MONTHS),
        lambda e: e.get("price") if bought(e) else None,
    ),
    "last3": Defined(
        "xEvent.topN(timestamp, 3).map(type)",
        Window(7, Unit.DAYS),
        lambda e: e.get("type"),
    ),
}


class Processed(NamedTuple):
    """An event of the model."""

    identity: Identity
    dataset_id: str
    place: Place
    time_ms: int
    body: Mapping[str, Any]


class Machine:
    """Starts nothing: the test sweeps by itself."""

    def start(self, name: str, document: Mapping[str, Any]) -> None:
        """Do nothing."""


@dataclass
class World:
    """A sandbox whose clock is moved by hand, the services over it, and the model beside it."""

    tenant: Tenant
    client: Any
    now_ms: int = BEGIN
    accepted: list[tuple[str, PlacedRow]] = field(default_factory=list)
    model: dict[tuple[Identity, str], Processed] = field(default_factory=dict)
    places: int = 0
    unswept: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())
        configuration = Configuration(1, "id", self.tenant.sandbox, "development", datasets=DATASETS)
        self.configurations.create(self.tenant, configuration.with_policy(POLICY).with_namespaces(["crmid"]))
        self.use(self.client)

    def use(self, client: Any) -> None:
        """Go on with another client."""
        self.table = ProfileTable(client, aws.profile_table())

    def clock_ms(self) -> int:
        return self.now_ms

    def accept(self, dataset_id: str, identity: Identity, body: Mapping[str, Any], *others: Identity) -> None:
        """Take a row in; it is processed later."""
        ids = [{"id": identity.value, "primary": True}, *({"id": other.value} for other in others)]
        row = accept({"identityMap": {"crmid": ids}, **body}, DatasetKind.EVENT, 100)
        self.places += 1
        self.accepted.append((dataset_id, PlacedRow(batch_place(self.now_ms, BATCH, 0, self.places), row)))

    def process(self, some: Sequence[tuple[str, PlacedRow]]) -> None:
        """Write rows, and note in the model what is stored: of the same event the lowest place."""
        writer = ProfileWriter(self.configurations, self.table, Inline(), clock_ms=self.clock_ms)
        for dataset_id in (SHOP, APP):
            rows = [placed for name, placed in some if name == dataset_id]
            if rows:
                writer.apply(self.tenant, dataset_id, rows)
        for dataset_id, placed in some:
            row = placed.row
            if survives(placed.place, self.cutoff(row.primary, dataset_id)):
                key = event_key(row.timestamp_ms, dataset_id, row.event_id)
                known = self.model.get((row.primary, key))
                if (
                    known is None
                    or placed.place < known.place
                    or not survives(known.place, self.cutoff(row.primary, dataset_id))
                ):
                    one = Processed(row.primary, dataset_id, placed.place, row.timestamp_ms, row.body)
                    self.model[row.primary, key] = one

    def cutoff(self, identity: Identity, dataset_id: str) -> Place | None:
        xid = identity.xid(self.tenant)
        head = self.table.heads(self.tenant, [xid]).get(xid)
        configuration = self.configurations.current(self.tenant)
        return later(configuration.datasets[dataset_id].cutoff, head.cutoff if head else None)

    def publish(self, name: str) -> None:
        """Publish an attribute; it is not ready before it is filled."""
        one = ATTRIBUTES[name]
        self.configurations.change(
            self.tenant,
            lambda known: known.with_attribute(
                name, one.expression, compile_attribute(one.expression, one.window).rule
            ),
        )

    def fill(self) -> None:
        """Complete every state, as the backfill and the jobs of deletes do, and make all attributes ready."""
        configuration = self.configurations.current(self.tenant)
        attributes = attributes_of(configuration)
        for identity in IDENTITIES:
            for dataset_id in DATASETS:
                xid = identity.xid(self.tenant)
                stream = self.table.streams(self.tenant, [xid], dataset_id).get(xid)
                if stream is not None:
                    cutoff = self.cutoff(identity, dataset_id)
                    horizon = configuration.datasets[dataset_id].horizon_ms
                    complete(
                        *(self.table, self.tenant, stream, attributes, cutoff, horizon, self.clock_ms),
                        generation=attributes.generation,
                    )
        for name in configuration.attributes:
            self.configurations.change(self.tenant, methodcaller("with_ready_attribute", name))

    def disable(self, name: str) -> None:
        self.configurations.change(self.tenant, lambda known: known.without_attribute(name))

    def unlink(self, one: Identity, other: Identity) -> None:
        heads = self.table.heads(self.tenant, [one.xid(self.tenant)])
        if any(other.xid(self.tenant) in head.members for head in heads.values()):
            history = LinkHistory(Registry(aws.dynamodb(), aws.registry_table()))
            linker = Linker(self.table, Inline(), lambda size: None)
            links = Links(self.configurations, self.table, linker, history, self.clock_ms)
            try:
                links.remove(self.tenant, one.xid(self.tenant), other.xid(self.tenant), "me")
            except Exception as error:  # not linked directly
                assert "not linked directly" in str(error)

    def delete_person(self, identity: Identity) -> None:
        jobs = DeletionStore(Registry(aws.dynamodb(), aws.registry_table()))
        deletions = Deletions(self.table, jobs, Machine(), self.clock_ms, lambda seconds: None)
        try:
            job: PersonDeletion = deletions.accept(self.tenant, identity.xid(self.tenant), POLICY.graph, "me")
        except EntityNotFoundError:
            return
        self.now_ms += 1000
        self.unswept.append(job.id)

    def sweep(self) -> None:
        """Reclaim what was deleted."""
        jobs = DeletionStore(Registry(aws.dynamodb(), aws.registry_table()))
        sweep = Sweep(self.table, jobs, self.configurations, Inline(), clock_ms=self.clock_ms)
        while self.unswept:
            assert sweep.sweep(self.tenant, self.unswept.pop())

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete everything in a dataset that was accepted up to now."""
        cutoff = cutoff_place(self.now_ms)
        self.configurations.change(
            self.tenant, lambda known: known.with_dataset(replace(known.datasets[dataset_id], cutoff=cutoff))
        )
        self.now_ms += 1000
        self.fill()

    def check(self) -> None:
        """Compare every value of everybody with the naive one; values of who was deleted come with the sweep."""
        if self.unswept:
            return
        configuration = self.configurations.current(self.tenant)
        rules = attributes_of(configuration).rules
        reader = ProfileReader(self.configurations, self.table, Inline())
        xids = [identity.xid(self.tenant) for identity in IDENTITIES]
        draft = next((name for name in ATTRIBUTES if name not in configuration.attributes), None)
        previewed = {} if draft is None else self.preview(reader, draft, xids)
        for xid in xids:
            try:
                person = reader.person(self.tenant, xid, namespace=None, policy_id=None, now_ms=self.now_ms)
            except EntityNotFoundError:
                continue
            live = [event for event in self.live() if event.identity.xid(self.tenant) in person.members]
            expected = {}
            for name, attribute in configuration.attributes.items():
                if attribute.ready:
                    rule = rules[str(attribute.number)]
                    value = value_at(self.given(name, live), rule, self.now_ms)
                    if value is not None:
                        expected[name] = value
            namespace, group = person.computed_at
            assert person.entity().get(namespace, {}).get(group, {}) == expected
            if draft is not None:
                rule = compile_attribute(ATTRIBUTES[draft].expression, ATTRIBUTES[draft].window).rule
                assert previewed.get(xid) == value_at(self.given(draft, live), rule, self.now_ms), draft

    def preview(self, reader: ProfileReader, name: str, xids: Sequence[Xid]) -> dict[Xid, Any]:
        """Try an attribute that is not published."""
        one = ATTRIBUTES[name]
        preview = Preview(reader, self.table, Inline())
        return preview.values(self.tenant, one.expression, one.window, xids, now_ms=self.now_ms)

    def live(self) -> list[Processed]:
        return [
            event
            for event in self.model.values()
            if survives(event.place, self.cutoff(event.identity, event.dataset_id))
        ]

    def given(self, name: str, events: Sequence[Processed]) -> Iterator[Known]:
        for event in events:
            value = ATTRIBUTES[name].gives(event.body)
            if value is not None:
                tie = event_key(event.time_ms, event.dataset_id, event.body["_id"])[-22:]
                yield Known(event.time_ms, tie, value)


@pytest.fixture
def worlds(cloud: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """New worlds without end. Nobody waits after a lost race."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)

    def make() -> Iterator[World]:
        while True:
            empty_profile_table()
            yield World(Tenant("ACME@AdobeOrg", uuid.uuid4().hex), aws.dynamodb())

    return make()


EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
offsets = st.one_of(
    st.integers(-30 * HOUR, 3 * HOUR),
    st.integers(-40 * 24 * HOUR, 3 * 24 * HOUR),
    st.sampled_from([0, 1, -1, HOUR, -24 * HOUR]),
)
prices = st.sampled_from([1, 2.5, 0.1, 0.2, 19.99, 1e15, 0.3])


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """What happens, in order."""
    event = st.tuples(
        st.just("event"),
        st.sampled_from([SHOP, APP]),
        st.sampled_from(IDENTITIES),
        st.integers(0, 3),
        offsets,
        st.sampled_from(["buy", "view"]),
        prices,
        st.sampled_from([None, None, None, *IDENTITIES]),
    )
    what = st.one_of(
        event,
        event,
        event,
        st.tuples(st.just("process"), st.integers(0, 99)),
        st.tuples(st.just("process"), st.integers(0, 99)),
        st.tuples(st.just("again"), st.integers(0, 99)),
        st.tuples(st.just("wait"), st.one_of(st.integers(1, 3 * HOUR), st.integers(1, 9 * 24 * HOUR))),
        st.tuples(st.just("publish"), st.sampled_from(list(ATTRIBUTES))),
        st.just(("fill",)),
        st.tuples(st.just("unlink"), st.sampled_from(IDENTITIES), st.sampled_from(IDENTITIES)),
        st.one_of(
            st.tuples(st.just("delete person"), st.sampled_from(IDENTITIES)),
            st.just(("sweep",)),
            st.tuples(st.just("delete dataset"), st.sampled_from([SHOP, APP])),
            st.tuples(st.just("disable"), st.sampled_from(list(ATTRIBUTES))),
            st.just(("check",)),
        ),
    )
    early = draw(st.lists(st.sampled_from(list(ATTRIBUTES)), unique=True, max_size=4))
    before = [("publish", name) for name in early], draw(st.lists(event, min_size=3, max_size=8))
    return [*before[0], ("fill",), *before[1], ("process", 99), *draw(st.lists(what, max_size=30))]


def play(world: World, history: Sequence[tuple[Any, ...]]) -> None:
    """Do what a history says; afterwards everything accepted is processed and every attribute filled."""
    done: list[tuple[str, PlacedRow]] = []
    published: set[str] = set()
    instants: dict[int, int] = {}
    for step in [*history, ("sweep",), ("publish", "spend"), ("process", 99), ("fill",), ("wait", 30 * HOUR)]:
        match step:
            case ("event", dataset_id, identity, number, offset, kind, price, other):
                # The same number is the same event: same id and time, whatever its body.
                time_ms = instants.setdefault(number, world.now_ms + offset)
                body = {"_id": f"e{number}", "timestamp": iso_ms(time_ms), "type": kind, "price": price}
                world.accept(dataset_id, identity, body, *([other] if other not in (None, identity) else []))
            case ("process", count):
                order = random.Random(count)
                some = order.sample(world.accepted, min(count, len(world.accepted)))
                world.accepted = [one for one in world.accepted if one not in some]
                world.process(some)
                done += some
            case ("again", count):
                world.process(random.Random(count).sample(done, min(3, len(done))))
            case ("wait", ms):
                world.now_ms += ms
            case ("publish", name):
                if name not in published:
                    world.publish(name)
                    published.add(name)
            case ("fill",):
                world.fill()
            case ("disable", name):
                world.disable(name)
            case ("unlink", one, other):
                world.unlink(one, other)
            case ("delete person", identity):
                world.delete_person(identity)
            case ("sweep",):
                world.sweep()
            case ("delete dataset", dataset_id):
                world.delete_dataset(dataset_id)
        world.check()


@EXAMPLES
@given(history=steps())
def test_values_are_exact_at_every_instant(worlds: Iterator[World], history: list[tuple[Any, ...]]) -> None:
    play(next(worlds), history)


@EXAMPLES
@given(history=steps(), seed=st.integers(0, 999))
def test_values_are_exact_before_a_hostile_storage(
    worlds: Iterator[World], history: list[tuple[Any, ...]], seed: int
) -> None:
    """Partial answers, one-item pages, conflicts."""
    world = next(worlds)
    world.use(HostileClient(aws.dynamodb(), seed))
    play(world, history)


def test_a_body_that_was_accepted_earlier_takes_the_place_of_one_that_is_counted(worlds: Iterator[World]) -> None:
    """Law 3: whichever is processed first, and whether each of them counts or not."""
    bodies = [{"type": "buy", "price": 7}, {"type": "buy", "price": 2.5}, {"type": "view", "price": 1}]
    for first, second in itertools.permutations(bodies, 2):
        for backwards in (False, True):
            world = next(worlds)
            for name in ("spend", "least", "latest", "visits"):
                world.publish(name)
            world.fill()
            for number, body in enumerate((first, second, {"type": "buy", "price": 100})):
                event = {"_id": "e1" if number < 2 else "other", "timestamp": iso_ms(BEGIN - HOUR), **body}
                world.accept(SHOP, IDENTITIES[0], event)
            for one in world.accepted[::-1] if backwards else world.accepted:
                world.process([one])
            world.check()
            world.process(world.accepted)
            world.check()


def buy(world: World, name: str, dataset_id: str, price: float) -> None:
    """Let somebody buy something an hour before the begin, and process it at once."""
    event = {"_id": name, "timestamp": iso_ms(BEGIN - HOUR), "type": "buy", "price": price}
    world.accept(dataset_id, IDENTITIES[0], event)
    world.process(world.accepted)
    world.accepted.clear()


def value(world: World) -> Any:
    reader = ProfileReader(world.configurations, world.table, Inline())
    xid = IDENTITIES[0].xid(world.tenant)
    person = reader.person(world.tenant, xid, namespace=None, policy_id=None, now_ms=world.now_ms)
    return person.entity().get("_acme", {}).get("ComputedAttributes", {}).get("spend")


def test_what_a_delete_reached_does_not_count_and_what_came_afterwards_does(worlds: Iterator[World]) -> None:
    """Law 7, for a dataset and for a person, with events that come in before the sweep."""
    world = next(worlds)
    world.publish("spend")
    world.fill()
    buy(world, "e1", SHOP, 1)
    buy(world, "e2", APP, 10)
    assert value(world) == 11
    world.delete_dataset(SHOP)
    assert value(world) == 10
    buy(world, "e3", SHOP, 100)
    assert value(world) == 110
    world.delete_person(IDENTITIES[0])
    buy(world, "e4", APP, 1000)
    assert value(world) == 1000
    world.sweep()
    assert value(world) == 1000
    buy(world, "e5", SHOP, 0.5)
    assert value(world) == 1000.5
    world.check()


def shop(world: World, count: int) -> None:
    """Accept events of two identities: late, duplicate, second bodies, dated ahead."""
    order = random.Random(count)
    for number in range(count):
        identity = IDENTITIES[number % 2]
        time_ms = BEGIN - (number % 7 - 2) * 20 * HOUR
        body = {"_id": f"e{number % 9}", "timestamp": iso_ms(time_ms), "type": "buy", "price": number % 4 + 0.1}
        world.accept(SHOP, identity, body, *(IDENTITIES[:2] if order.random() < 0.2 else ()))


def test_a_writer_that_dies_at_any_call_and_is_run_again_counts_once(worlds: Iterator[World]) -> None:
    """Before and after every call to storage in turn (law 3)."""
    for calls_to_live in range(60):
        world = next(worlds)
        world.publish("spend")
        world.publish("last3")
        world.fill()
        shop(world, 14)
        rows = list(world.accepted)
        world.use(HostileClient(aws.dynamodb(), calls_to_live, calls_to_live, conflict_rate=0.0))
        try:
            world.process(rows)
            survived = True
        except CrashError:
            survived = False
        world.use(aws.dynamodb())
        world.process(rows)
        world.check()
        world.now_ms += 50 * HOUR
        world.check()
        if survived:
            return
    raise AssertionError("it never got through: give it more calls")
