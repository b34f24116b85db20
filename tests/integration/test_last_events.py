"""An event that comes while the last others of its identity go is found again, whoever is at which call (laws 5, 7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import boto3
import pytest

from tessera.domain.expiry import Expiry
from tessera.domain.merge_policy import GraphType
from tessera.domain.place import batch_prefix
from tessera.domain.profile import Event
from tessera.services import event_removal, event_streams
from tessera.services.deletion import Deletions
from tessera.services.event_removal import EventRemover
from tessera.services.profile_writer import ProfileWriter
from tessera.services.purging.batch_rows import BatchRows, StagedListing, places_of_prefix
from tessera.services.purging.reached import DatasetRows
from tessera.services.reclaiming import Reclaimer
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.jobs import DeletionStore
from tessera.storage.lake import Lake
from tessera.storage.person_index import PersonIndex
from tessera.storage.profile_items import event_key
from tessera.storage.profile_table import ProfileTable
from tests.integration.executors import Inline
from tests.integration.purging_world import PEOPLE, SHOP, TENANT, Brought, Nothing, Stale, World, bought, stored
from tests.integration.test_purge_laws import world
from tests.integration.turns import Turns

__all__ = ["world"]

ONE = PEOPLE[0]
XID = ONE.xid(TENANT)
# Tells whether there was anything.
Removal = Callable[[ProfileTable], bool]


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (event_removal, event_streams):
        monkeypatch.setattr(module.time, "sleep", lambda _: None)


def uncounted(world: World, name: str) -> dict[str, Any]:
    return {**bought(world, name, 1), "amount": None}


def of_replay(world: World, old: Brought) -> Removal:
    """What the removal of a replayed batch does, row by row."""
    prefix = batch_prefix(old.at_ms, old.id)
    events = [
        Event(XID, event_key(item.row.timestamp_ms, SHOP, item.row.event_id), SHOP, item.place, {})
        for item in old.placed()
    ]

    def remove(table: ProfileTable) -> bool:
        found = table.stored_events(TENANT, events)
        EventRemover(configurations(table), table).remove(TENANT, lambda place: place.startswith(prefix), events)
        return any(event.place.startswith(prefix) for event in found.values())

    return remove


def of_batch(world: World, old: Brought) -> Removal:
    """The sweep of a batch's delete."""
    job = world.delete(batch=old)

    def remove(table: ProfileTable) -> bool:
        listing = StagedListing(Lake(aws.s3(), aws.lake_bucket()))
        rows = BatchRows(listing, places_of_prefix, table, EventRemover(configurations(table), table), Inline())
        found = rows.find(TENANT, job, [XID])
        rows.delete(TENANT, job, found)
        return any(found.counts.values())

    return remove


def of_dataset(world: World, old: Brought) -> Removal:
    """The sweep of a dataset's delete."""
    job = world.delete(SHOP)

    def remove(table: ProfileTable) -> bool:
        rows = dataset_rows(table)
        found = rows.find(TENANT, job, [XID])
        rows.delete(TENANT, job, found)
        return any(found.counts.values())

    return remove


def of_person(world: World, old: Brought) -> Removal:
    """The sweep of a person's delete."""
    at_ms = world.tick()
    deletions = Deletions(world.table, DeletionStore(world.registry), Nothing(), lambda: at_ms, lambda _: None)
    cutoff = deletions.accept(TENANT, XID, GraphType.PRIVATE, "me").cutoff

    def remove(table: ProfileTable) -> bool:
        reclaimer = Reclaimer(table, configurations(table), Inline())
        page = table.keys_at_or_below(TENANT, XID, cutoff, after=None, limit=1000)
        reclaimer.delete(TENANT, XID, page.sorts, cutoff)
        reclaimer.settle(TENANT, XID)
        return bool(page.sorts)

    return remove


def configurations(table: ProfileTable) -> ConfigurationStore:
    return ConfigurationStore(aws.dynamodb(), aws.registry_table())


def dataset_rows(table: ProfileTable) -> DatasetRows:
    index = PersonIndex(aws.dynamodb(), aws.profile_table())
    return DatasetRows(configurations(table), index, table, Nothing(), Inline())  # type: ignore[arg-type]


def clear() -> None:
    for pk, sk in stored():
        boto3.client("dynamodb").delete_item(TableName="profiles", Key={"pk": {"S": pk}, "sk": {"S": sk}})


def put_back(items: dict[tuple[str, str], Any]) -> None:
    clear()
    for item in items.values():
        boto3.client("dynamodb").put_item(TableName="profiles", Item=item)


def interleaved(schedule: list[int], batch: Brought, remove: Removal, settings: Any) -> list[int]:
    """Let a writer of a batch and a removal take turns at the profile table; tells how many calls each made."""
    turns = Turns(schedule)
    client = boto3.client("dynamodb")
    writing, removing = (ProfileTable(turns.client(client, number), aws.profile_table()) for number in (0, 1))
    writer = ProfileWriter(settings, writing, Inline())
    turns.run(lambda: writer.apply(TENANT, SHOP, batch.placed()), lambda: remove(removing))
    return turns.calls


def every_schedule(writer: int, removal: int) -> list[list[int]]:
    """All ways in which the writer is interrupted once or twice, and the removal once meanwhile."""
    return [
        [first, half, second]
        for first in range(writer + 1)
        for half in range(1, removal + 1)
        for second in range(1, writer - first + 1)
    ]


@pytest.mark.parametrize(
    ("removal", "counted"),
    [(of_replay, True), (of_replay, False), (of_batch, False), (of_dataset, True), (of_person, False)],
)
def test_an_event_that_comes_meanwhile_is_found(world: World, removal: Any, counted: bool) -> None:
    old = world.bring(SHOP, (ONE, bought(world, "old", 5) if counted else uncounted(world, "old")))
    world.apply(old)
    remove = removal(world, old)
    new = world.bring(SHOP, (ONE, uncounted(world, "new")))
    before = stored()
    calls = interleaved([], new, remove, world.configurations)
    schedules = every_schedule(*calls)
    assert len(schedules) > 20
    for schedule in schedules:
        put_back(before)
        interleaved(schedule, new, remove, world.configurations)
        # Whatever an unfinished sweep is still to do.
        remove(world.table)
        assert world.seen(ONE) == ({}, ["new"], None), schedule
        assert sorted(sort[0] for _, sort in stored()) == ["E", "H", "S"], schedule


@pytest.mark.parametrize("removal", [of_batch, of_dataset])
def test_what_a_writer_brings_back_that_does_not_know_can_be_found(world: World, removal: Any) -> None:
    """Its event is deleted, but stored: the last look has seen it, or the index leads to it."""
    old = world.bring(SHOP, (ONE, uncounted(world, "old")))
    world.apply(old)
    settings = world.configurations.current(TENANT)
    remove = removal(world, old)
    before = stored()

    def remove_all(table: ProfileTable) -> None:
        while remove(table):
            pass

    schedules = every_schedule(*interleaved([], old, remove_all, Stale(settings)))
    assert len(schedules) > 20
    for schedule in schedules:
        put_back(before)
        interleaved(schedule, old, remove_all, Stale(settings))
        assert sorted(sort[0] for _, sort in stored()) in (["E", "H", "S"], ["H"]), schedule
        remove_all(world.table)
        assert [sort[0] for _, sort in stored()] == ["H"], schedule


def test_a_stream_that_counts_what_expired_is_alive_again(world: World) -> None:
    """With its last event it stays, for its sums, but nobody is there because of it."""
    day = 24 * 3_600_000
    world.apply(world.bring(SHOP, (ONE, bought(world, "past", 3 * day))))
    (past,) = [key for key in stored() if key[1].startswith("E#")]
    boto3.client("dynamodb").delete_item(TableName="profiles", Key={"pk": {"S": past[0]}, "sk": {"S": past[1]}})
    dataset = world.configurations.current(TENANT).datasets[SHOP]
    expiring = replace(dataset, expiry=Expiry(1))
    world.configurations.change(TENANT, lambda known: known.with_dataset(expiring))
    new_row = uncounted(world, "new")
    old = world.bring(SHOP, (ONE, uncounted(world, "old")))
    world.apply(old)
    remove = of_replay(world, old)
    new = world.bring(SHOP, (ONE, new_row))
    before = stored()
    schedules = every_schedule(*interleaved([], new, remove, world.configurations))
    for schedule in schedules:
        put_back(before)
        interleaved(schedule, new, remove, world.configurations)
        remove(world.table)
        assert world.seen(ONE) == ({}, ["new"], 3 * day), schedule
    put_back(before)
    remove(world.table)
    assert world.seen(ONE) is None


def test_a_stream_that_was_begun_anew_is_not_taken_for_the_one_before(world: World) -> None:
    """Not even where both begin with events that were accepted in the same millisecond."""
    old = world.bring(SHOP, (ONE, bought(world, "old", 5)))
    other = world.bring(SHOP, (ONE, uncounted(world, "other")))
    other.at_ms = old.at_ms
    world.apply(old)
    remove = of_replay(world, old)
    new = world.bring(SHOP, (ONE, bought(world, "new", 7)))
    before = stored()

    def remove_and_begin_anew(table: ProfileTable) -> None:
        remove(table)
        ProfileWriter(world.configurations, table, Inline()).apply(TENANT, SHOP, other.placed())

    writer, _ = interleaved([], new, remove_and_begin_anew, world.configurations)
    for calls in range(writer + 1):
        put_back(before)
        interleaved([calls], new, remove_and_begin_anew, world.configurations)
        assert world.seen(ONE) == ({}, ["new", "other"], 7), calls
