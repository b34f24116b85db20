"""The contract's scenarios of computed attributes, told for values that are exact at the read (data-and-pql §7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from api import profile_documents
from tessera.domain.computed.window import Unit, Window
from tessera.domain.fields import selection
from tessera.domain.times import parse_ms
from tessera.services.computed.compiled import compile_attribute
from tessera.services.profile_reader import ProfileReader
from tessera.storage import aws, stream_items
from tessera.storage import profile_items as items
from tessera.storage.codec import pack, unpack
from tests.integration.executors import Inline
from tests.integration.test_computed_values import APP, IDENTITIES, SHOP, World, worlds  # noqa: F401

WEEKLY = Window(2, Unit.WEEKS)


@pytest.fixture
def world(worlds: Iterator[World]) -> World:  # noqa: F811
    return next(worlds)


def publish(world: World, name: str, expression: str, window: Window) -> None:
    rule = compile_attribute(expression, window).rule
    world.configurations.change(world.tenant, lambda known: known.with_attribute(name, expression, rule))
    world.fill()


def send(world: World, dataset_id: str, *timestamps: str) -> None:
    for timestamp in timestamps:
        world.accept(dataset_id, IDENTITIES[0], {"_id": timestamp, "timestamp": timestamp})
    world.process(world.accepted)
    world.accepted.clear()


def sell(world: World, timestamp: str, price: float) -> None:
    world.accept(SHOP, IDENTITIES[0], {"_id": "e", "timestamp": timestamp, "price": price})
    world.process(world.accepted)
    world.accepted.clear()


def expire(world: World) -> None:
    """Do what DynamoDB does with expired items, to all events."""
    xid = IDENTITIES[0].xid(world.tenant)
    for event in world.table.events_of_stream(world.tenant, xid, SHOP, 0):
        key = items.key(world.tenant, xid, items.event_sort(event.key))
        aws.dynamodb().delete_item(TableName=aws.profile_table(), Key=key)
    assert not list(world.table.events_of_stream(world.tenant, xid, SHOP, 0))


def value(world: World, name: str, now: str) -> Any:
    reader = ProfileReader(world.configurations, world.table, Inline())
    xid = IDENTITIES[0].xid(world.tenant)
    person = reader.person(world.tenant, xid, namespace=None, policy_id=None, now_ms=parse_ms(now))
    return person.entity().get("_acme", {}).get("ComputedAttributes", {}).get(name)


def test_9_two_weeks_are_those_before_sunday(world: World) -> None:
    world.now_ms = parse_ms("2023-10-10T00:00:00Z")
    publish(world, "seen", "xEvent.count()", WEEKLY)
    send(world, SHOP, "2023-10-01T00:00:00Z", "2023-09-30T23:59:00Z", "2023-10-15T00:00:00Z", "2023-10-08T00:00:00Z")
    assert value(world, "seen", "2023-10-15T00:00:00Z") == 2
    assert value(world, "seen", "2023-10-22T00:00:00Z") == 2
    send(world, SHOP, "2023-10-21T23:59:59Z", "2023-10-22T00:00:00Z")
    assert value(world, "seen", "2023-10-22T00:00:00Z") == 3


def test_11_the_window_grows_through_the_week_and_snaps_back_on_sunday(world: World) -> None:
    world.now_ms = parse_ms("2026-03-02T00:00:00Z")
    publish(world, "seen", "xEvent.count()", WEEKLY)
    send(world, SHOP, "2026-03-01T12:00:00Z", "2026-03-08T12:00:00Z")
    assert value(world, "seen", "2026-03-21T23:59:59Z") == 2
    assert value(world, "seen", "2026-03-22T00:00:00Z") == 1


def test_12_what_expires_goes_on_counting_until_it_leaves_the_window(world: World) -> None:
    world.now_ms = parse_ms("2026-01-10T00:00:00Z")
    publish(world, "seen", "xEvent.count()", Window(3, Unit.MONTHS))
    send(world, SHOP, "2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z")
    expire(world)
    world.now_ms = parse_ms("2026-03-10T00:00:00Z")
    publish(world, "late", "xEvent.count()", Window(3, Unit.MONTHS))
    send(world, SHOP, "2026-03-01T00:00:00Z")
    assert value(world, "seen", "2026-04-30T00:00:00Z") == 3
    assert value(world, "late", "2026-04-30T00:00:00Z") == 1
    assert value(world, "seen", "2026-05-01T00:00:00Z") == 1


def test_what_expired_goes_on_counting_when_another_body_replaces_one_that_is_counted(world: World) -> None:
    world.now_ms = parse_ms("2026-01-10T00:00:00Z")
    publish(world, "spent", "xEvent.sum(price)", Window(3, Unit.MONTHS))
    publish(world, "last", "xEvent.topN(timestamp, 9).map(price)", Window(3, Unit.MONTHS))
    sell(world, "2026-01-05T00:00:00Z", 1)
    expire(world)
    world.now_ms = parse_ms("2026-03-10T00:00:00Z")
    sell(world, "2026-03-02T00:00:00Z", 100)
    # Accepted earlier, and processed later.
    world.accept(SHOP, IDENTITIES[0], {"_id": "e", "timestamp": "2026-03-01T00:00:00Z", "price": 10})
    earlier = world.accepted.pop()
    sell(world, "2026-03-01T00:00:00Z", 50)
    assert value(world, "spent", "2026-03-10T00:00:00Z") == 151
    world.process([earlier])
    assert value(world, "spent", "2026-03-10T00:00:00Z") == 111
    assert value(world, "last", "2026-03-10T00:00:00Z") == [100, 10, 1]


class Counting:
    """A client that notes what is written in transactions: how many items each."""

    def __init__(self) -> None:
        self.transactions: list[int] = []

    def __getattr__(self, name: str) -> Any:
        call = getattr(aws.dynamodb(), name)
        if name != "transact_write_items":
            return call

        def counted(**request: Any) -> Any:
            self.transactions.append(len(request["TransactItems"]))
            return call(**request)

        return counted


@pytest.mark.parametrize("attributes", [1, 25])
def test_all_attributes_that_count_an_event_share_the_write(world: World, attributes: int) -> None:
    for number in range(attributes):
        publish(world, f"count{number}", f"xEvent[{number} < price].count()", WEEKLY)
    sell(world, "2026-02-27T11:00:00Z", 100)
    counting = Counting()
    world.use(counting)
    sell(world, "2026-02-27T12:00:00Z", 100)
    world.use(aws.dynamodb())
    # The event and the stream.
    assert counting.transactions == [2]
    assert {value(world, f"count{number}", "2026-02-28T00:00:00Z") for number in range(attributes)} == {2}


def test_a_state_of_the_version_before_is_read_and_written_anew(world: World) -> None:
    world.now_ms = parse_ms("2026-03-10T00:00:00Z")
    publish(world, "spent", "xEvent.sum(price)", Window(3, Unit.MONTHS))
    sell(world, "2026-01-05T00:00:00Z", 0.1)
    sell(world, "2026-03-05T00:00:00Z", 10)
    key = items.key(world.tenant, IDENTITIES[0].xid(world.tenant), stream_items.stream_sort(SHOP))

    def stored() -> Any:
        return aws.dynamodb().get_item(TableName=aws.profile_table(), Key=key)["Item"]

    written = stored()
    january, march = ((2026 - 1970) * 12 + month for month in (0, 2))
    assert unpack(written["b"]["B"]) == {"s": {"1": [january, "0.1", None, 10]}}
    before = {**written, "v": {"N": "1"}, "b": {"B": pack({"s": {"1": {str(january): "0.1", str(march): 10}}})}}
    aws.dynamodb().put_item(TableName=aws.profile_table(), Item=before)
    assert value(world, "spent", "2026-03-10T00:00:00Z") == 10.1
    sell(world, "2026-03-06T00:00:00Z", 100)
    assert value(world, "spent", "2026-03-10T00:00:00Z") == 110.1
    assert unpack(stored()["b"]["B"]) == {"s": {"1": [january, "0.1", None, 110]}}


def test_15_an_event_in_a_dataset_that_is_not_for_profiles_does_not_count(world: World) -> None:
    world.configurations.change(
        world.tenant, lambda known: known.with_dataset(replace(known.datasets[APP], profile_enabled=False))
    )
    publish(world, "seen", "xEvent.count()", WEEKLY)
    send(world, SHOP, "2026-02-27T12:00:00Z")
    send(world, APP, "2026-02-27T13:00:00Z")
    assert value(world, "seen", "2026-02-28T00:00:00Z") == 1


def test_16_a_value_has_what_came_a_moment_ago(world: World) -> None:
    publish(world, "seen", "xEvent.count()", WEEKLY)
    for number in range(1, 4):
        send(world, SHOP, f"2026-02-27T1{number}:00:00Z")
        assert value(world, "seen", "2026-02-28T00:00:00Z") == number


def test_a_computed_value_is_selected_and_explained_like_any_other(world: World) -> None:
    publish(world, "seen", "xEvent.count()", WEEKLY)
    send(world, SHOP, "2026-02-27T11:00:00Z")
    reader = ProfileReader(world.configurations, world.table, Inline())
    xid = IDENTITIES[0].xid(world.tenant)
    person = reader.person(world.tenant, xid, namespace=None, policy_id=None, now_ms=world.now_ms)
    whole = profile_documents.profile(person, None, explained=True)
    assert whole["entity"]["_acme"] == {"ComputedAttributes": {"seen": 1}}
    assert whole["explain"]["_acme.ComputedAttributes.seen"] == {
        "value": 1,
        "rule": "computed",
        "candidates": [{"value": 1}],
    }
    chosen = profile_documents.profile(person, selection(["_acme.ComputedAttributes.seen"]), explained=True)
    assert chosen["entity"] == {"_acme": {"ComputedAttributes": {"seen": 1}}}
    assert list(chosen["explain"]) == ["_acme.ComputedAttributes.seen"]
    others = profile_documents.profile(person, selection(["identityMap"]))
    assert set(others["entity"]) == {"identityMap"}
