"""Updates of records in the profile store: any order, races, crashes, deletes, and switching a dataset over."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from api import profile_documents
from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.errors import EntityNotFoundError
from tessera.domain.explain import explain
from tessera.domain.identity import Identity
from tessera.domain.merge_policy import MergePolicy
from tessera.domain.place import Place, batch_place, cutoff_place
from tessera.domain.rows import PlacedRow
from tessera.domain.tenant import Tenant
from tessera.domain.times import iso_ms
from tessera.domain.upsert import Action
from tessera.domain.upsert.message import accept_message
from tessera.services.ingestion.staged import placed, written
from tessera.services.profile_reader import Person, ProfileReader
from tessera.services.profile_writer import ProfileWriter
from tessera.services.write_report import WriteReport
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.profile_table import ProfileTable
from tests.integration.conftest import empty_profile_table
from tests.integration.executors import Inline
from tests.integration.hostile import CrashError, HostileClient

NOW_MS = 1_800_000_000_000
START_MS = 1_700_000_000_000
BATCH = "01J00000000000000000000000"
CRM, IDENTITIES = "crm", "identities"
DATASETS = {
    CRM: DatasetSettings(CRM, DatasetKind.RECORD, profile_enabled=True, identity_enabled=True, upsert=True),
    IDENTITIES: DatasetSettings(IDENTITIES, DatasetKind.RECORD, identity_enabled=True),
}
DALIA = Identity("crmid", "1")
IDENTITY_MAP = {"crmid": [{"id": "1", "primary": True}]}


@pytest.fixture
def tenants(cloud: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tenant]:
    """New sandboxes without end, each in an empty profile table; nobody waits after a lost race."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())

    def make() -> Iterator[Tenant]:
        while True:
            empty_profile_table()
            tenant = Tenant("ACME@AdobeOrg", uuid.uuid4().hex)
            configuration = Configuration(1, "id", tenant.sandbox, "development", datasets=DATASETS)
            configuration = configuration.with_policy(MergePolicy("time", "", default=True))
            configurations.create(tenant, configuration.with_namespaces(["crmid", "email"]))
            yield tenant

    return make()


def table(seed: int | None = None, calls_to_live: int | None = None) -> ProfileTable:
    client: Any = aws.dynamodb()
    if seed is not None:
        client = HostileClient(client, seed, calls_to_live)
    return ProfileTable(client, aws.profile_table())


def configurations() -> ConfigurationStore:
    return ConfigurationStore(aws.dynamodb(), aws.registry_table())


def at(number: int) -> Place:
    return batch_place(START_MS, BATCH, 0, number)


def message(tenant: Tenant, number: int, data: str, operations: Any = None, **body: Any) -> PlacedRow:
    """A streamed row at a place, which was kept somewhere between acceptance and processing."""
    asked = {"data": data, **(operations or {})}
    configuration = configurations().current(tenant)
    row = accept_message({"identityMap": IDENTITY_MAP, **body}, asked, DATASETS[CRM], configuration, 100)
    return next(placed([written(number, row)], START_MS, BATCH, 0))


def apply(tenant: Tenant, *rows: PlacedRow, to: ProfileTable | None = None) -> WriteReport:
    return ProfileWriter(configurations(), to or table(), Inline()).apply(tenant, CRM, rows)


def find(tenant: Tenant, identity: Identity = DALIA) -> Person:
    reader = ProfileReader(configurations(), table(), Inline())
    return reader.person(tenant, identity.xid(tenant), namespace=None, policy_id=None, now_ms=NOW_MS)


def body(tenant: Tenant) -> dict[str, Any] | None:
    """What a look-up shows, but for the identities; ``None`` where it finds nobody."""
    try:
        entity = find(tenant).entity()
    except EntityNotFoundError:
        return None
    del entity["identityMap"]
    return entity


def item(tenant: Tenant) -> dict[str, Any]:
    """The stored fragment."""
    key = {"pk": {"S": f"{tenant.key}#{DALIA.xid(tenant)}"}, "sk": {"S": f"R#{CRM}"}}
    stored: dict[str, Any] = aws.dynamodb().get_item(TableName=aws.profile_table(), Key=key)["Item"]
    return stored


def change(tenant: Tenant, mutate: Callable[[DatasetSettings], DatasetSettings]) -> None:
    configurations().change(tenant, lambda known: known.with_dataset(mutate(known.datasets[CRM])))


def history(tenant: Tenant) -> list[PlacedRow]:
    """One of everything: what is left depends on all of it."""
    return [
        message(tenant, 1, "create", person={"first": "Dali", "age": 30}, tags=["a"], plan="basic"),
        message(tenant, 2, "merge", person={"first": "Dalia"}, tags={"$append": ["b"]}),
        message(tenant, 3, "delete"),
        message(tenant, 4, "merge", person={"first": "Dalia", "age": 31}, tags={"$append": ["c"]}),
        message(tenant, 5, "merge", person={"age": 32}, tags={"$append": ["d"]}, plan={"name": "gold"}),
        message(tenant, 6, "merge", person={"last": "Haddad"}, plan={"level": 2}),
    ]


EXPECTED = {
    "person": {"first": "Dalia", "age": 32, "last": "Haddad"},
    "tags": ["c", "d"],
    "plan": {"name": "gold", "level": 2},
}
EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@EXAMPLES
@given(data=st.data())
def test_updates_in_any_order_and_pieces_with_crashes_end_as_in_the_order_accepted(
    tenants: Iterator[Tenant], data: st.DataObject
) -> None:
    tenant = next(tenants)
    rows = history(tenant)
    order = data.draw(st.permutations([*rows, *data.draw(st.lists(st.sampled_from(rows), max_size=3))]))
    seed = data.draw(st.integers(0, 99))
    pieces: list[list[PlacedRow]] = [[]]
    for row in order:
        if data.draw(st.booleans()):
            pieces.append([])
        pieces[-1].append(row)
    for piece in pieces:
        for calls_to_live in data.draw(st.lists(st.integers(0, 6), max_size=2)):
            try:
                apply(tenant, *piece, to=table(seed, calls_to_live))
            except CrashError:
                continue
        apply(tenant, *piece, to=table(seed))
    assert body(tenant) == EXPECTED
    assert find(tenant).last_modified_ms == START_MS
    assert item(tenant)["p"]["S"] == at(6)
    assert item(tenant)["fl"]["S"] == at(3)


@pytest.mark.parametrize("calls_to_live", range(12))
def test_a_crash_at_any_call_is_made_good_by_the_retry(tenants: Iterator[Tenant], calls_to_live: int) -> None:
    """The hostile client dies before and after each write."""
    tenant = next(tenants)
    first, *rest = history(tenant)
    apply(tenant, first)
    dying = table(1, calls_to_live)
    try:
        for row in rest:
            apply(tenant, row, to=dying)
    except CrashError:
        pass
    for row in rest:
        apply(tenant, row)
    before = item(tenant)
    assert body(tenant) == EXPECTED
    report = apply(tenant, *history(tenant))
    assert (report.written, report.unchanged) == (0, 6)
    assert item(tenant) == before


def test_updates_of_one_fragment_at_once_are_all_there(tenants: Iterator[Tenant]) -> None:
    tenant = next(tenants)
    rows = [message(tenant, number, "merge", **{f"field{number}": number}, all={"$append": [number]})
            for number in range(16)]  # fmt: skip
    barrier = threading.Barrier(8)

    def work(share: Sequence[PlacedRow]) -> None:
        barrier.wait()
        for row in share:
            apply(tenant, row)

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(work, [rows[start::8] for start in range(8)]))
    assert body(tenant) == {**{f"field{number}": number for number in range(16)}, "all": list(range(16))}


def test_whoever_loses_the_race_reads_again(tenants: Iterator[Tenant]) -> None:
    """Another writer comes between reading and writing, each time in another way."""
    tenant = next(tenants)
    others = [
        message(tenant, 3, "merge", b=1),
        message(tenant, 1, "merge", c=1),
        message(tenant, 2, "create", d=1),
        message(tenant, 9, "merge", e=1),
    ]
    left = list(others)

    class Raced(ProfileTable):
        def change_record(self, *arguments: Any) -> bool:
            if left:
                apply(tenant, left.pop(0))
            return super().change_record(*arguments)

    apply(tenant, message(tenant, 0, "create", z=1))
    apply(tenant, message(tenant, 5, "merge", a=1), to=Raced(aws.dynamodb(), aws.profile_table()))
    assert not left
    assert body(tenant) == {"a": 1, "b": 1, "d": 1, "e": 1}


def test_rows_of_one_fragment_are_written_once(tenants: Iterator[Tenant]) -> None:
    tenant = next(tenants)
    rows = [message(tenant, number, "merge", **{f"field{number}": number}) for number in range(20)]
    report = apply(tenant, *rows)
    assert (report.written, report.unchanged) == (20, 0)
    assert item(tenant)["n"] == {"N": "1"}
    assert len(body(tenant) or {}) == 20


class TestDeletes:
    def test_a_deleted_fragment_is_not_found_and_leaves_nothing_but_its_place(self, tenants: Iterator[Tenant]) -> None:
        tenant = next(tenants)
        apply(tenant, message(tenant, 1, "create", a=1))
        apply(tenant, message(tenant, 2, "merge", b=1))
        apply(tenant, message(tenant, 3, "delete"))
        assert body(tenant) is None
        assert item(tenant).keys() == {"pk", "sk", "v", "p"}
        apply(tenant, message(tenant, 2, "merge", b=1))
        assert body(tenant) is None
        apply(tenant, message(tenant, 4, "merge", c=1))
        assert body(tenant) == {"c": 1}

    def test_a_delete_ahead_of_what_it_deletes(self, tenants: Iterator[Tenant]) -> None:
        tenant = next(tenants)
        apply(tenant, message(tenant, 3, "delete"))
        apply(tenant, message(tenant, 1, "create", a=1), message(tenant, 2, "merge", b=1))
        assert body(tenant) is None

    @pytest.mark.parametrize("floor", ["create", "merge"])
    def test_what_a_delete_of_rows_reached_is_absent_though_the_fragment_was_updated_since(
        self, tenants: Iterator[Tenant], floor: str
    ) -> None:
        """Law 7, also for a writer that did not know of it."""
        tenant = next(tenants)
        apply(tenant, message(tenant, 1, floor, a=1, both={"x": 1}, tags={"$append": [1]}))
        apply(tenant, message(tenant, 5, "merge", b=1, both={"y": 1}, tags={"$append": [2]}))
        change(tenant, lambda known: replace(known, cutoff=Place(at(3) + "~")))
        expected = {"b": 1, "both": {"y": 1}, "tags": [2]}
        assert body(tenant) == expected
        apply(tenant, message(tenant, 2, "merge", late=1))
        assert body(tenant) == expected
        apply(tenant, message(tenant, 6, "merge", c=1))
        assert body(tenant) == {**expected, "c": 1}
        assert item(tenant)["fl"]["S"] == at(3) + "~"


class TestSwitchingOver:
    def test_rows_from_before_are_what_updates_start_from(self, tenants: Iterator[Tenant]) -> None:
        tenant = next(tenants)
        plain = message(tenant, 5, "create", a=1, b=1)
        apply(tenant, plain)
        assert {"fl", "st", "n"}.isdisjoint(item(tenant))
        apply(tenant, message(tenant, 4, "merge", c=1))
        assert body(tenant) == {"a": 1, "b": 1}
        apply(tenant, message(tenant, 6, "merge", b=2))
        assert body(tenant) == {"a": 1, "b": 2}
        assert item(tenant)["fl"]["S"] == at(5)

    def test_switched_back_the_last_whole_row_replaces(self, tenants: Iterator[Tenant]) -> None:
        tenant = next(tenants)
        apply(tenant, message(tenant, 1, "merge", a=1, b=1))
        apply(tenant, message(tenant, 3, "create", a=2))
        assert body(tenant) == {"a": 2}
        assert {"fl", "st", "n"}.isdisjoint(item(tenant))

    def test_a_whole_row_that_comes_late_keeps_later_updates(self, tenants: Iterator[Tenant]) -> None:
        rows = {"create": {"a": 1, "b": 1}, "merge": {"b": 2}}
        for order in itertools.permutations(enumerate(rows)):
            tenant = next(tenants)
            for number, action in order:
                apply(tenant, message(tenant, number, action, **rows[action]))
            assert body(tenant) == {"a": 1, "b": 2}

    def test_a_dataset_that_was_off_meanwhile_takes_nothing_from_then(self, tenants: Iterator[Tenant]) -> None:
        tenant = next(tenants)
        change(tenant, lambda known: replace(known, off=((at(2), at(4)),)))
        apply(tenant, *[message(tenant, number, "merge", **{f"field{number}": 1}) for number in (2, 3, 4, 5)])
        assert body(tenant) == {"field2": 1, "field5": 1}


def test_an_updated_fragment_ranks_by_its_last_change_or_by_the_date_it_says(tenants: Iterator[Tenant]) -> None:
    tenant = next(tenants)
    date = {"extSourceSystemAudit": {"lastUpdatedDate": "2025-01-01T00:00:00Z"}}
    apply(tenant, message(tenant, 1, "merge", a=1, **date))
    apply(tenant, message(tenant, 2, "merge", b=1))
    (fragment,) = find(tenant).fragments
    assert fragment.place == at(2)
    assert fragment.custom_date_ms == 1_735_689_600_000
    apply(tenant, message(tenant, 3, "create", a=1))
    assert find(tenant).fragments[0].custom_date_ms is None


def test_explanations_show_the_updated_fragment(tenants: Iterator[Tenant]) -> None:
    tenant = next(tenants)
    apply(tenant, message(tenant, 1, "create", a=1, b=1), message(tenant, 2, "merge", a=2))
    person = find(tenant)
    leaves = {leaf.path: leaf.value for leaf in explain(person.entity(), person.fragments, person.policy)}
    assert (leaves["a",], leaves["b",]) == (2, 1)


def test_an_explanation_names_the_batch_that_wrote_a_value_and_when_the_record_last_changed(
    tenants: Iterator[Tenant],
) -> None:
    tenant = next(tenants)
    memberships = {"ups": {"s1": {"lastQualificationTime": "2025-01-01T00:00:00Z"}}}
    rows: list[dict[str, Any]] = [
        {"a": 1, "b": 1, "list": {"$replace": [1]}},
        {"b": {"c": 2}, "segmentMembership": memberships},
        {"list": {"$append": [3]}},
        {"extSourceSystemAudit": {"lastUpdatedDate": "2025-01-01T00:00:00Z"}},
    ]

    def batch(number: int) -> Place:
        return batch_place(START_MS + number * 1000, f"01J{number:023d}", 0, 0)

    for number, row in enumerate(rows, start=1):
        apply(tenant, replace(message(tenant, number, "merge", **row), place=batch(number)))

    def written() -> dict[str, int]:
        explained = profile_documents.profile(find(tenant), None, explained=True)["explain"]
        found = {}
        for path, leaf in explained.items():
            if leaf["rule"] == "identityGraph":
                continue
            (candidate,) = leaf["candidates"]
            found[path] = number = int(candidate["batchId"][3:])
            assert candidate["ingestedAt"] == iso_ms(START_MS + number * 1000)
            assert candidate.get("lastModifiedAt") == (None if number == 4 else iso_ms(START_MS + 4000))
            assert candidate["customDate"] == "2025-01-01T00:00:00.000Z"
        return found

    later = {"b.c": 2, "segmentMembership.ups.s1": 2, "list": 3, "extSourceSystemAudit.lastUpdatedDate": 4}
    assert written() == {"a": 1, **later}
    (head,) = table().heads(tenant, [DALIA.xid(tenant)]).values()
    table().replace_heads(tenant, [replace(head, cutoff=batch(1))], [])
    assert written() == later


def test_links_are_asserted_by_the_dataset_that_the_message_names(tenants: Iterator[Tenant]) -> None:
    tenant = next(tenants)
    both = {**IDENTITY_MAP, "email": [{"id": "d@example.com"}]}
    apply(tenant, message(tenant, 1, "merge", a=1, identityMap=both))
    assert len(find(tenant).graph) == 1
    operations = {"identity": "create", "identityDatasetId": IDENTITIES}
    apply(tenant, message(tenant, 2, "merge", operations, a=1, identityMap=both))
    person = find(tenant, Identity("email", "d@example.com"))
    assert len(person.graph) == 2
    head = person.members[DALIA.xid(tenant)].head
    assert {source for _, source in head.assertions} == {IDENTITIES}


def test_an_update_that_makes_a_record_too_large_is_refused_with_the_reason(
    tenants: Iterator[Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = next(tenants)
    monkeypatch.setattr("tessera.storage.profile_table.MAX_FRAGMENT_BYTES", 200)
    apply(tenant, message(tenant, 1, "merge", a=1))
    long = [uuid.uuid4().hex for _ in range(40)]
    report = apply(tenant, message(tenant, 3, "merge", d={"$replace": long}))
    assert list(report.refused) == [at(3)]
    assert "may take 200" in str(report.refused[at(3)])
    assert "d" not in (body(tenant) or {})


def test_a_staged_row_is_read_back_as_it_was_accepted(tenants: Iterator[Tenant]) -> None:
    tenant = next(tenants)
    operations = {"identity": "create", "identityDatasetId": IDENTITIES}
    row = message(tenant, 7, "merge", operations, a={"b": {"$append": [1]}}).row
    assert (row.action, row.links_as) == (Action.MERGE, IDENTITIES)
    assert row.appends == frozenset({("a", "b")})
    old = orjson.loads(written(7, row))[:7]
    assert next(placed([orjson.dumps(old)], START_MS, BATCH, 0)).row.action is Action.CREATE


def test_a_person_deleted_is_gone_and_can_come_back_by_an_update(tenants: Iterator[Tenant]) -> None:
    tenant = next(tenants)
    apply(tenant, message(tenant, 1, "create", a=1), message(tenant, 2, "merge", b=1))
    heads = table().heads(tenant, [DALIA.xid(tenant)])
    cutoff = cutoff_place(START_MS)
    table().replace_heads(tenant, [replace(head, cutoff=cutoff) for head in heads.values()], [])
    assert body(tenant) is None
    later = message(tenant, 3, "merge", c=1)
    apply(tenant, replace(later, place=batch_place(START_MS + 1, BATCH, 0, 0)))
    assert body(tenant) == {"c": 1}
    assert item(tenant)["fl"]["S"] == cutoff
