"""The laws of the design over generated histories, against a model that can be checked by eye."""

from __future__ import annotations

import itertools
import random
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tessera.domain import explain
from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.errors import EntityNotFoundError, TooManyRelatedIdentitiesError
from tessera.domain.identity import Identity, Xid
from tessera.domain.merge_policy import AttributeMerge, GraphType, MergePolicy
from tessera.domain.place import Place, batch_place
from tessera.domain.rows import PlacedRow, accept
from tessera.domain.tenant import Tenant
from tessera.services.profile_reader import Person, ProfileReader
from tessera.services.profile_writer import ProfileWriter
from tessera.services.timeline import Timeline, Window
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.profile_table import ProfileTable
from tests.integration.conftest import empty_profile_table
from tests.integration.executors import Inline
from tests.integration.hostile import CrashError, HostileClient

NOW_MS = 1_800_000_000_000
ACCEPTED_MS, ACCEPTED_AT = 1_700_000_000_000, "2023-11-14T22:13:20Z"
BATCH = "01J00000000000000000000000"
RECORDS, OTHER_RECORDS, EVENTS = "record-a", "record-b", "event-a"
DATASETS = {
    RECORDS: DatasetSettings(RECORDS, DatasetKind.RECORD, profile_enabled=True, identity_enabled=True),
    OTHER_RECORDS: DatasetSettings(OTHER_RECORDS, DatasetKind.RECORD, profile_enabled=True, identity_enabled=False),
    EVENTS: DatasetSettings(EVENTS, DatasetKind.EVENT, profile_enabled=True, identity_enabled=True),
}
POLICIES = [
    MergePolicy("time-pdg", "", default=True),
    MergePolicy("time-none", "", graph=GraphType.NONE),
    *(
        MergePolicy(
            f"precedence-{graph}",
            "",
            graph=graph,
            attribute_merge=AttributeMerge.DATASET_PRECEDENCE,
            order=(OTHER_RECORDS, RECORDS),
        )
        for graph in GraphType
    ),
]
IDENTITIES = [Identity("crmid", "1"), Identity("crmid", "2"), Identity("email", "a@b.c"), Identity("loyalty", "L1")]


@dataclass(frozen=True)
class Fact:
    """A row as it was sent, and where it stands in history."""

    dataset_id: str
    place: Place
    body: dict[str, Any]
    identities: tuple[Identity, ...]

    @property
    def primary(self) -> Identity:
        return self.identities[0]

    @property
    def age(self) -> str:
        """What ranks a record: the date that it gives, or else when it was accepted."""
        return str(self.body.get("extSourceSystemAudit", {}).get("lastUpdatedDate", ACCEPTED_AT))

    def placed(self) -> PlacedRow:
        return PlacedRow(self.place, accept(self.body, DATASETS[self.dataset_id].kind, 100))


class Model:
    """What the store should answer, worked out from all facts at once."""

    def __init__(self, facts: Sequence[Fact]) -> None:
        self.facts = facts

    def graph(self, start: Identity) -> set[Identity]:
        links = [set(fact.identities) for fact in self.facts if DATASETS[fact.dataset_id].identity_enabled]
        graph = {start}
        while more := set().union(*(link for link in links if link & graph)) - graph:
            graph |= more
        return graph

    def records(self, graph: set[Identity]) -> list[Fact]:
        last: dict[tuple[str, Identity], Fact] = {}
        for fact in sorted(self.facts, key=lambda fact: fact.place):
            if fact.dataset_id != EVENTS and fact.primary in graph:
                last[fact.dataset_id, fact.primary] = fact
        return sorted(last.values(), key=lambda fact: (fact.age, fact.place), reverse=True)

    def attributes(self, graph: set[Identity]) -> dict[str, Any]:
        entity: dict[str, Any] = {}
        for fact in self.records(graph):
            for name, value in fact.body["person"].items():
                entity.setdefault(name, value)
        return entity

    def events(self, graph: set[Identity]) -> dict[tuple[str, str], dict[str, Any]]:
        first: dict[tuple[str, str], dict[str, Any]] = {}
        for fact in sorted(self.facts, key=lambda fact: fact.place):
            if fact.dataset_id == EVENTS and fact.primary in graph:
                first.setdefault((fact.body["timestamp"], fact.body["_id"]), fact.body)
        return first

    def exists(self, identity: Identity) -> bool:
        graph = self.graph(identity)
        return len(graph) > 1 or any(fact.primary == identity for fact in self.facts)


@st.composite
def histories(draw: st.DrawFn) -> list[Fact]:
    facts = []
    for position in range(draw(st.integers(1, 9))):
        dataset_id = draw(st.sampled_from(sorted(DATASETS)))
        identities = tuple(draw(st.lists(st.sampled_from(IDENTITIES), min_size=1, max_size=3, unique=True)))
        body: dict[str, Any] = {"identityMap": {}}
        for identity in identities:
            body["identityMap"].setdefault(identity.namespace, []).append(
                {"id": identity.value, "primary": identity == identities[0]}
            )
        if dataset_id == EVENTS:
            body["_id"] = draw(st.sampled_from(["e1", "e2"]))
            body["timestamp"] = draw(st.sampled_from(["2025-01-01T00:00:00Z", "1969-01-02T00:00:00Z"]))
            body["eventType"] = draw(st.sampled_from(["view", "buy"]))
        else:
            body["person"] = draw(
                st.dictionaries(st.sampled_from(["first", "last", "age"]), st.integers(0, 9), min_size=1)
            )
            if date := draw(st.sampled_from(["", "", "2020-01-01T00:00:00Z", "2025-01-01T00:00:00Z"])):
                body["extSourceSystemAudit"] = {"lastUpdatedDate": date}
        facts.append(Fact(dataset_id, batch_place(ACCEPTED_MS, BATCH, 0, position), body, identities))
    return facts


@dataclass(frozen=True)
class Run:
    """How a history is processed: pieces of rows of one dataset, in this order, some of them again."""

    pieces: list[list[Fact]]


@st.composite
def processed_histories(draw: st.DrawFn) -> tuple[list[Fact], Run]:
    facts = draw(histories())
    order = draw(st.permutations(facts))
    repeated = draw(st.lists(st.sampled_from(facts), max_size=4))
    pieces: list[list[Fact]] = []
    for fact in [*order, *repeated]:
        if pieces and pieces[-1][0].dataset_id == fact.dataset_id and draw(st.booleans()):
            pieces[-1].append(fact)
        else:
            pieces.append([fact])
    return facts, Run(pieces)


@pytest.fixture
def tenants(cloud: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tenant]:
    """New sandboxes without end, each in an empty profile table: an example takes those it needs before it begins.

    Nobody waits after a lost race.
    """
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())

    def make() -> Iterator[Tenant]:
        while True:
            empty_profile_table()
            tenant = Tenant("ACME@AdobeOrg", uuid.uuid4().hex)
            configuration = Configuration(1, "id", tenant.sandbox, "development", datasets=DATASETS)
            for policy in POLICIES:
                configuration = configuration.with_policy(policy)
            names = [identity.namespace for identity in IDENTITIES]
            configurations.create(tenant, configuration.with_namespaces(names))
            yield tenant

    return make()


def store(seed: int | None = None, calls_to_live: int | None = None) -> tuple[ConfigurationStore, ProfileTable]:
    client: Any = aws.dynamodb()
    if seed is not None:
        client = HostileClient(client, seed, calls_to_live)
    return ConfigurationStore(aws.dynamodb(), aws.registry_table()), ProfileTable(client, aws.profile_table())


def apply(tenant: Tenant, run: Run, seed: int | None = None, calls_to_live: int | None = None) -> None:
    configurations, table = store(seed, calls_to_live)
    writer = ProfileWriter(configurations, table, Inline())
    for piece in run.pieces:
        writer.apply(tenant, piece[0].dataset_id, [fact.placed() for fact in piece])


def find(tenant: Tenant, identity: Identity, seed: int | None = None) -> Person:
    configurations, table = store(seed)
    reader = ProfileReader(configurations, table, Inline())
    return reader.person(tenant, identity.xid(tenant), namespace=identity.namespace, policy_id=None, now_ms=NOW_MS)


def read_events(tenant: Tenant, person: Person, limit: int, forward: bool, seed: int | None) -> list[dict[str, Any]]:
    timeline = Timeline(store(seed)[1], Inline())
    events: list[dict[str, Any]] = []
    cursor = None
    for _ in range(100):
        page = timeline.page(tenant, person, Window(forward=forward), limit, cursor, NOW_MS)
        events += [event.body for event in page.events]
        cursor = page.resume
        if cursor is None:
            return events
    raise AssertionError("the pages have no end")


def check(tenant: Tenant, facts: Sequence[Fact], limit: int = 2, seed: int | None = None) -> None:
    """Compare every read with the model."""
    model = Model(facts)
    for identity in IDENTITIES:
        if not model.exists(identity):
            with pytest.raises(EntityNotFoundError):
                find(tenant, identity, seed)
            continue
        graph = model.graph(identity)
        person = find(tenant, identity, seed)
        assert set(person.graph) == {member.xid(tenant) for member in graph}
        assert person.graph[0] == identity.xid(tenant)
        entity = person.entity()
        assert entity.pop("identityMap") == identity_map(graph)
        assert entity.get("person", {}) == model.attributes(graph)
        assert person.sources == list(dict.fromkeys(fact.dataset_id for fact in model.records(graph)))
        expected = model.events(graph)
        for forward in (True, False):
            events = read_events(tenant, person, limit, forward, seed)
            found = {(event["timestamp"], event["_id"]): event for event in events}
            assert len(found) == len(events)
            assert found == expected
            times = [event["timestamp"] for event in events]
            assert times == sorted(times, reverse=not forward)


def identity_map(graph: set[Identity]) -> dict[str, list[dict[str, str]]]:
    ordered = sorted(graph, key=lambda identity: (identity.namespace, identity.value))
    return {
        namespace: [{"id": identity.value} for identity in members]
        for namespace, members in itertools.groupby(ordered, key=lambda identity: identity.namespace)
    }


# Examples are small as they come; making them smaller takes minutes on a simulated table.
EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@EXAMPLES
@given(history=processed_histories(), limit=st.integers(1, 5))
def test_what_is_read_depends_on_what_was_accepted_not_on_how_it_was_processed(
    tenants: Iterator[Tenant], history: tuple[list[Fact], Run], limit: int
) -> None:
    """Laws 1, 2, 3, 5: any order, splitting, repetition."""
    facts, run = history
    tenant = next(tenants)
    apply(tenant, run)
    check(tenant, facts, limit)


@EXAMPLES
@given(history=processed_histories(), seed=st.integers(0, 999), lives=st.lists(st.integers(0, 25), max_size=4))
def test_crashes_conflicts_and_partial_answers_change_nothing(
    tenants: Iterator[Tenant], history: tuple[list[Fact], Run], seed: int, lives: list[int]
) -> None:
    """Laws 2, 3, 5: the process dies after any call to storage, and everything is tried again."""
    facts, run = history
    tenant = next(tenants)
    for calls_to_live in lives:
        try:
            apply(tenant, run, seed, calls_to_live)
        except CrashError:
            continue
    apply(tenant, run, seed)
    check(tenant, facts, seed=seed)


def everything_read(tenant: Tenant, *, with_acceptance: bool = True) -> bytes:
    """Every look-up of every identity under every policy, and its events, as bytes; XIDs are put as identities."""
    configurations, table = store()
    reader, timeline = ProfileReader(configurations, table, Inline()), Timeline(table, Inline())
    names = {identity.xid(tenant): f"{identity.namespace}:{identity.value}" for identity in IDENTITIES}
    answers: list[Any] = []
    for identity, policy in itertools.product(IDENTITIES, POLICIES):
        try:
            person = reader.person(tenant, identity.xid(tenant), namespace=None, policy_id=policy.id, now_ms=NOW_MS)
        except EntityNotFoundError:
            answers.append(None)
            continue
        page = timeline.page(tenant, person, Window(), 100, None, NOW_MS)
        answers.append([person.entity(), sorted(names[xid] for xid in person.graph), [one.body for one in page.events]])
        if with_acceptance:
            answers.append([person.sources, person.tags, person.last_modified_ms, [one.place for one in page.events]])
            members = {xid: member.head.identity for xid, member in person.members.items()}
            answers.append(explain.document(explain.explain(person.entity(), person.fragments, policy), members))
    return orjson.dumps(answers, option=orjson.OPT_SORT_KEYS)


@EXAMPLES
@given(data=st.data())
def test_every_read_under_every_policy_is_the_same_however_a_history_is_processed(
    tenants: Iterator[Tenant], data: st.DataObject
) -> None:
    """Law 2: shuffled, split, doubled; compared byte for byte."""
    facts, run = data.draw(processed_histories())
    in_order, otherwise = next(tenants), next(tenants)
    apply(in_order, Run([[fact] for fact in facts]))
    apply(otherwise, run, seed=data.draw(st.integers(0, 99)))
    assert everything_read(otherwise) == everything_read(in_order)


@EXAMPLES
@given(facts=histories(), order=st.randoms(use_true_random=False))
def test_rows_with_their_own_time_may_also_be_accepted_in_any_order(
    tenants: Iterator[Tenant], facts: list[Fact], order: random.Random
) -> None:
    """Law 2: one record of each identity in each dataset, with a date of its own, and events with one body each."""
    dated: dict[Any, Fact] = {}
    for number, fact in enumerate(facts):
        body = dict(fact.body)
        if fact.dataset_id == EVENTS:
            body |= {"_id": f"e{number}"}
            dated[number] = replace(fact, body=body)
        else:
            body["extSourceSystemAudit"] = {"lastUpdatedDate": f"2025-01-{number + 1:02d}T00:00:00Z"}
            dated[fact.dataset_id, fact.primary] = replace(fact, body=body)
    accepted = list(dated.values())
    one, other = next(tenants), next(tenants)
    apply(one, Run([[fact] for fact in accepted]))
    order.shuffle(accepted)
    apply(
        other,
        Run(
            [
                [replace(fact, place=batch_place(1_700_000_000_000, BATCH, 0, position))]
                for position, fact in enumerate(accepted)
            ]
        ),
    )
    assert everything_read(other, with_acceptance=False) == everything_read(one, with_acceptance=False)


@EXAMPLES
@given(one=processed_histories(), other=processed_histories())
def test_tenants_never_meet(
    tenants: Iterator[Tenant], one: tuple[list[Fact], Run], other: tuple[list[Fact], Run]
) -> None:
    """Law 6: the same identities in two sandboxes are two persons, and every key begins with its tenant."""
    mine, theirs = next(tenants), next(tenants)
    apply(mine, one[1])
    apply(theirs, other[1])
    check(mine, one[0])
    check(theirs, other[0])


def test_every_key_begins_with_its_tenant(tenants: Iterator[Tenant]) -> None:
    tenant = next(tenants)
    body = {"_id": "1", "timestamp": "2025-01-01T00:00:00Z", "identityMap": {"crmid": [{"id": "1"}]}}
    apply(tenant, Run([[Fact(EVENTS, batch_place(1, BATCH, 0, 0), body, (IDENTITIES[0],))]]))
    stored = aws.dynamodb().scan(TableName=aws.profile_table())["Items"]
    # The format of streams is at its second version.
    assert {(item["sk"]["S"][0], item["v"]["N"]) for item in stored} == {("H", "1"), ("S", "2"), ("E", "1")}
    for item in stored:
        assert item["pk"]["S"] == f"{tenant.key}#{IDENTITIES[0].xid(tenant)}"
        assert item.get("ik", {"S": tenant.key})["S"].startswith(tenant.key)


def test_a_second_body_of_an_event_is_reported_and_the_earlier_place_wins(tenants: Iterator[Tenant]) -> None:
    tenant = next(tenants)
    body = {"_id": "1", "timestamp": "2025-01-01T00:00:00Z", "identityMap": {"crmid": [{"id": "1"}]}, "n": 1}
    early = Fact(EVENTS, batch_place(1, BATCH, 0, 0), body, (IDENTITIES[0],))
    late = replace(early, place=batch_place(2, BATCH, 0, 0), body={**body, "n": 2})
    same = replace(early, place=batch_place(3, BATCH, 0, 0))
    for order in itertools.permutations([early, late, same]):
        tenant = next(tenants)
        configurations, table = store()
        writer = ProfileWriter(configurations, table, Inline())
        conflicts = [conflict for fact in order for conflict in writer.apply(tenant, EVENTS, [fact.placed()]).conflicts]
        assert len(conflicts) >= 1
        person = find(tenant, IDENTITIES[0])
        assert [event["n"] for event in read_events(tenant, person, 5, True, None)] == [1]


def test_a_deleted_dataset_or_person_is_absent_from_every_read(tenants: Iterator[Tenant]) -> None:
    """Law 7: cutoffs are honoured by reads and by writers that come late."""
    tenant = next(tenants)
    body = {"person": {"first": 1}, "identityMap": {"crmid": [{"id": "1"}]}}
    fact = Fact(RECORDS, batch_place(1_700_000_000_000, BATCH, 0, 0), body, (IDENTITIES[0],))
    apply(tenant, Run([[fact]]))
    configurations, _ = store()
    cutoff = Place(fact.place + "~")
    configurations.change(tenant, lambda now: now.with_dataset(replace(DATASETS[RECORDS], cutoff=cutoff)))
    with pytest.raises(EntityNotFoundError):
        find(tenant, IDENTITIES[0])
    apply(tenant, Run([[fact]]))
    with pytest.raises(EntityNotFoundError):
        find(tenant, IDENTITIES[0])
    later = replace(fact, place=batch_place(1_700_000_000_001, BATCH, 0, 0))
    apply(tenant, Run([[later]]))
    assert find(tenant, IDENTITIES[0]).entity()["person"] == {"first": 1}


def chain(tenant: Tenant, length: int) -> tuple[list[Fact], list[Xid]]:
    """Facts that link ``length`` identities in a row."""
    identities = [Identity("crmid", f"c{number}") for number in range(1, length + 1)]
    facts = [
        Fact(
            RECORDS,
            batch_place(1_700_000_000_000, BATCH, 0, number),
            {
                "person": {"n": number},
                "identityMap": {"crmid": [{"id": one.value, "primary": True}, {"id": two.value}]},
            },
            (one, two),
        )
        for number, (one, two) in enumerate(itertools.pairwise(identities))
    ]
    return facts, [identity.xid(tenant) for identity in identities]


def test_a_graph_of_50_is_read_and_of_51_refused_and_of_101_collapsed(tenants: Iterator[Tenant]) -> None:
    tenant = next(tenants)
    facts, xids = chain(tenant, 104)

    def count_of(number: int) -> int:
        try:
            return len(find(tenant, Identity("crmid", f"c{number}")).graph)
        except TooManyRelatedIdentitiesError as error:
            assert "max: 50" in str(error)
            return int(str(error).split("Got: ")[1].split(",")[0])

    apply(tenant, Run([facts[:49]]))
    assert {count_of(number) for number in (1, 25, 50)} == {50}
    apply(tenant, Run([facts[49:50]]))
    assert {count_of(number) for number in (1, 51)} == {51}
    apply(tenant, Run([facts[50:98]]))
    assert {count_of(number) for number in (1, 99)} == {99}
    apply(tenant, Run([[fact] for fact in facts[98:]]))
    assert {count_of(number) for number in (1, 50, 99, 100, 101, 104)} == {101}
    heads = store()[1].heads(tenant, xids)
    assert all(head.collapsed and not head.members for head in heads.values())


@pytest.mark.parametrize("calls_to_live", [3, 60, 150, 215])
def test_a_crash_while_a_graph_collapses_is_made_good_by_the_retry(
    tenants: Iterator[Tenant], calls_to_live: int
) -> None:
    tenant = next(tenants)
    facts, xids = chain(tenant, 106)
    apply(tenant, Run([facts[:50], facts[51:]]))
    joining = facts[50].placed()
    configurations, table = store()
    dying = ProfileTable(HostileClient(aws.dynamodb(), 1, calls_to_live, conflict_rate=0), aws.profile_table())
    with pytest.raises(CrashError):
        ProfileWriter(configurations, dying, Inline()).apply(tenant, RECORDS, [joining])
    ProfileWriter(configurations, table, Inline()).apply(tenant, RECORDS, [joining])
    heads = table.heads(tenant, xids)
    assert len(heads) == 106
    assert all(head.collapsed for head in heads.values())
