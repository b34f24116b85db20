"""Links by rows and by hand: the effective graph is a function of what is known, and unmerging is the inverse."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.errors import EntityNotFoundError, NotFoundError
from tessera.domain.identity import Identity, Namespace
from tessera.domain.merge_policy import MergePolicy
from tessera.domain.place import Place, batch_place
from tessera.domain.rows import PlacedRow, accept
from tessera.domain.tenant import Tenant
from tessera.services.linking import Linker
from tessera.services.links import Links, LinkState
from tessera.services.profile_reader import ProfileReader
from tessera.services.profile_writer import ProfileWriter
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.link_history import LinkHistory
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry
from tests.integration.conftest import empty_profile_table
from tests.integration.executors import Inline
from tests.integration.hostile import CrashError, HostileClient

BATCH = "01J00000000000000000000000"
EPOCH_MS = 1_700_000_000_000
DATASET = DatasetSettings("records", DatasetKind.RECORD, profile_enabled=True, identity_enabled=True)
# Of the namespace crm a person has one value.
CRM = Namespace("crm", 10_000_000, "CROSS_DEVICE", unique=True)
PEOPLE = [Identity("crm", "1"), Identity("crm", "2"), *(Identity("email", f"{name}@ex.org") for name in "abc")]

Pair = frozenset[Identity]


@dataclass
class World:
    """A sandbox, and everything that was said in it."""

    tenant: Tenant
    seed: int | None = None
    said: dict[Pair, Place] = field(default_factory=dict)
    removed: set[Pair] = field(default_factory=set)
    blocked: set[Identity] = field(default_factory=set)
    clock_ms: int = EPOCH_MS

    def __post_init__(self) -> None:
        client: Any = aws.dynamodb() if self.seed is None else HostileClient(aws.dynamodb(), self.seed)
        self.configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())
        self.table = ProfileTable(client, aws.profile_table())
        self.writer = ProfileWriter(self.configurations, self.table, Inline())
        history = LinkHistory(Registry(aws.dynamodb(), aws.registry_table()))
        linker = Linker(self.table, Inline())
        self.links = Links(self.configurations, self.table, linker, history, lambda: self.clock_ms)

    def row(self, one: Identity, other: Identity | None = None) -> None:
        """A record of ``one`` comes in that names ``other`` too."""
        self.clock_ms += 1000
        place = batch_place(self.clock_ms, BATCH, 0, 0)
        body: dict[str, Any] = {
            "identityMap": {one.namespace: [{"id": one.value, "primary": True}]},
            "n": self.clock_ms,
        }
        if other is not None:
            body["identityMap"].setdefault(other.namespace, []).append({"id": other.value})
            if one not in self.blocked and other not in self.blocked:
                pair = frozenset((one, other))
                self.said[pair] = min(place, self.said.get(pair, place))
        self.writer.apply(self.tenant, DATASET.id, [PlacedRow(place, accept(body, DatasetKind.RECORD, 100))])

    def remove(self, one: Identity, other: Identity) -> None:
        self.clock_ms += 1000
        pair = frozenset((one, other))
        if pair in self.said or pair in self.removed:
            self.links.remove(self.tenant, self.xid(one), self.xid(other), "me")
            self.removed.add(pair)
        else:
            with pytest.raises((NotFoundError, EntityNotFoundError)):
                self.links.remove(self.tenant, self.xid(one), self.xid(other), "me")

    def add(self, one: Identity, other: Identity) -> None:
        self.clock_ms += 1000
        pair = frozenset((one, other))
        self.links.add(self.tenant, one, other, "me")
        self.removed.discard(pair)
        if not self.blocked & pair:
            self.said.setdefault(pair, Place(f"{self.clock_ms:011x}.~"))

    def block(self, one: Identity) -> None:
        self.clock_ms += 1000
        self.links.block(self.tenant, one, "me")
        self.blocked.add(one)

    def unblock(self, one: Identity) -> None:
        self.clock_ms += 1000
        if one in self.blocked:
            self.links.unblock(self.tenant, one, "me")
            self.blocked.discard(one)

    def xid(self, identity: Identity) -> Any:
        return identity.xid(self.tenant)

    def graphs(self) -> dict[Identity, set[Identity]]:
        """What the graphs should be: pair after pair in order of place, unless a rule stands against it."""
        graphs = {identity: {identity} for identity in PEOPLE}
        for pair, _ in sorted(self.said.items(), key=lambda item: (item[1], sorted(map(self.xid, item[0])))):
            one, other = pair
            joined = graphs[one] | graphs[other]
            two_crm_ids = sum(identity.namespace == "crm" for identity in joined) > 1
            if pair in self.removed or pair & self.blocked or (two_crm_ids and graphs[one] is not graphs[other]):
                continue
            for identity in joined:
                graphs[identity] = joined
        return graphs

    def check(self) -> None:
        by_xid = {self.xid(identity): identity for identity in PEOPLE}
        heads = self.table.heads(self.tenant, list(by_xid))
        for identity, graph in self.graphs().items():
            head = heads.get(self.xid(identity))
            found = {identity} if head is None else {by_xid[xid] for xid in head.graph}
            assert found == graph, identity

    def read(self, identity: Identity) -> Any:
        """What a look-up answers, but for the ids of things."""
        reader = ProfileReader(self.configurations, self.table, Inline())
        try:
            person = reader.person(self.tenant, self.xid(identity), namespace=None, policy_id=None, now_ms=0)
        except EntityNotFoundError:
            return None
        return person.entity(), person.sources, len(person.graph), person.last_modified_ms


@pytest.fixture
def worlds(cloud: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes new worlds in an empty profile table; a test makes those it needs before anything happens in one."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())

    def make(seed: int | None = None) -> World:
        empty_profile_table()
        tenant = Tenant("ACME@AdobeOrg", uuid.uuid4().hex)
        configuration = Configuration(1, "id", tenant.sandbox, "development", datasets={DATASET.id: DATASET})
        policy = MergePolicy("default", "Default Timebased", default=True)
        configurations.create(tenant, configuration.with_policy(policy).with_namespace(CRM))
        return World(tenant, seed)

    yield make


people = st.sampled_from(PEOPLE)
pairs = st.tuples(people, people).filter(lambda pair: pair[0] != pair[1])
steps = st.one_of(
    st.tuples(st.just("row"), pairs),
    st.tuples(st.just("row"), pairs),
    st.tuples(st.just("remove"), pairs),
    st.tuples(st.just("add"), pairs),
    st.tuples(st.sampled_from(["block", "unblock"]), st.tuples(people)),
)
# Examples are small as they come; making them smaller takes minutes on a simulated table.
EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@EXAMPLES
@given(story=st.lists(steps, max_size=10), seed=st.none() | st.integers(0, 99))
def test_graphs_are_what_the_links_and_the_rules_say(worlds: Any, story: list[Any], seed: int | None) -> None:
    world = worlds(seed)
    for action, arguments in story:
        getattr(world, action)(*arguments)
    world.check()


@EXAMPLES
@given(links=st.lists(pairs, max_size=6), last=pairs, also=st.lists(pairs, max_size=2))
def test_merging_and_unmerging_is_as_if_never_merged(
    worlds: Any, links: list[Any], last: tuple[Identity, Identity], also: list[Any]
) -> None:
    merged, never = worlds(), worlds()
    for world in (merged, never):
        for one, other in links:
            if {one, other} != set(last):
                world.row(one, other)
    merged.row(*last)
    never.row(last[0])
    for world in (merged, never):
        for one, other in also:
            if {one, other} != set(last):
                world.row(one, other)
    merged.remove(*last)
    for identity in PEOPLE:
        if identity == last[1] and never.read(identity) is None:
            continue
        assert merged.read(identity) == never.read(identity)
    before = [merged.read(identity) for identity in PEOPLE]
    merged.row(*last)
    merged.check()
    if (last[0], last[1]) not in also:
        assert [read and read[2] for read in before] == [
            read and read[2] for read in (merged.read(identity) for identity in PEOPLE)
        ]


@EXAMPLES
@given(story=st.lists(steps, min_size=1, max_size=6), calls_to_live=st.integers(0, 12), seed=st.integers(0, 99))
def test_a_change_that_dies_in_between_can_be_repeated(
    worlds: Any, story: list[Any], calls_to_live: int, seed: int
) -> None:
    world = worlds()
    *before, (action, arguments) = story
    for earlier, given_arguments in before:
        getattr(world, earlier)(*given_arguments)
    healthy = world.table
    dying = ProfileTable(HostileClient(aws.dynamodb(), seed, calls_to_live), aws.profile_table())
    for holder in (world.writer, world.links, world.links._linker, world.writer._linker):
        holder._store = dying
    said, removed, blocked = dict(world.said), set(world.removed), set(world.blocked)
    clock_ms = world.clock_ms
    try:
        getattr(world, action)(*arguments)
    except CrashError:
        world.said, world.removed, world.blocked, world.clock_ms = said, removed, blocked, clock_ms
        for holder in (world.writer, world.links, world.links._linker, world.writer._linker):
            holder._store = healthy
        getattr(world, action)(*arguments)
    world.table = healthy
    world.check()


def test_a_refused_link_takes_effect_when_what_stood_against_it_goes(worlds: Any) -> None:
    world = worlds()
    one, two, mail = PEOPLE[0], PEOPLE[1], PEOPLE[2]
    world.row(one, mail)
    world.row(two, mail)
    states = {link.other.identity: link for link in world.links.of(world.tenant, world.xid(mail))}
    assert states[one].state is LinkState.EFFECTIVE
    assert states[two].state is LinkState.REFUSED
    assert "two values" in states[two].reason
    assert list(states[two].sources) == [DATASET.id]
    world.remove(one, mail)
    states = {link.other.identity: link.state for link in world.links.of(world.tenant, world.xid(mail))}
    assert states == {one: LinkState.REMOVED, two: LinkState.EFFECTIVE}
    world.add(one, mail)
    world.check()
    history = world.links.history(world.tenant, world.xid(mail))
    assert [entry["action"] for entry in history] == ["removed", "added"]
    assert {entry["clientId"] for entry in history} == {"me"}


def test_unmerging_a_collapsed_graph_restores_the_parts_that_are_small_enough(worlds: Any) -> None:
    world = worlds()
    chain = [Identity("email", f"{number}@ex.org") for number in range(104)]
    for one, other in itertools.pairwise(chain):
        if one != chain[51]:
            world.row(one, other)
    world.row(chain[51], chain[52])
    heads = world.table.heads(world.tenant, [world.xid(one) for one in chain])
    assert all(head.collapsed for head in heads.values())
    world.remove(chain[51], chain[52])
    heads = world.table.heads(world.tenant, [world.xid(one) for one in chain])
    assert {len(heads[world.xid(one)].graph) for one in chain} == {52}
    assert not any(head.collapsed for head in heads.values())
