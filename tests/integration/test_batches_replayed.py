"""Replacing batches and taking them back (contract: data-and-pql §4.4, §7 scenario 37)."""

from __future__ import annotations

import time
from typing import Any

import boto3
import orjson
import pytest

from api import batches
from tessera.domain.computed.window import Unit, Window
from tessera.domain.errors import EntityNotFoundError
from tessera.domain.identity import Identity
from tessera.domain.times import iso_ms
from tessera.services.computed.compiled import compile_attribute
from tessera.services.ingestion import removing
from tessera.services.profile_reader import ProfileReader
from tessera.storage import aws
from tessera.storage.codec import unpack
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.profile_table import ProfileTable
from tests.integration import ingest_machine
from tests.integration.conftest import forget
from tests.integration.executors import Inline
from tests.integration.hostile import CrashError
from tests.integration.test_batches import (
    EVENTS,
    IMPORT,
    RECORDS,
    TENANT,
    Client,
    client,
    event,
    input_of,
    json_lines,
    person,
    stored,
)
from tests.integration.test_batches_crashes import mortal
from tests.integration.test_batches_in_parts import in_parts

__all__ = ["client"]


def bodies(kind: str) -> dict[str, Any]:
    """What is stored of records (R) or events (E): the bodies by whom they are of."""
    found = {}
    for key, item in stored().items():
        if f" {kind}#" in key:
            body = unpack(item["b"]["B"])
            body = body.get("body", body)
            found[body["identityMap"]["CRM"][0]["id"]] = body
    return found


def replaying(client: Client, old: str, rows: list[Any], dataset: str, **replay: Any) -> str:
    batch = client.created(dataset, replay=replay or {"predecessors": [old], "reason": "replace"})
    client.put(batch, "a.json", json_lines(rows), dataset)
    assert client.signal(batch).status == 200
    return batch


@pytest.mark.parametrize(
    ("dataset", "kind", "row"), [(RECORDS, "R", person), (EVENTS, "E", event)], ids=["records", "events"]
)
def test_a_replay_leaves_what_the_new_batch_has(client: Client, dataset: str, kind: str, row: Any) -> None:
    client.ingest({"a.json": json_lines([row(9, of="other")])}, dataset)
    old = client.ingest({"a.json": json_lines([row(1, of="old"), row(2, of="old"), row(3, same=1)])}, dataset)["id"]
    batch = replaying(client, old, [row(2, of="new"), row(3, same=1), row(4, of="new")], dataset)
    assert set(bodies(kind)) == {"c9", "c1", "c2", "c3"}
    assert client.status(old)["status"] == "success"
    assert client.status(batch)["replay"] == {"predecessors": [old], "reason": "replace"}
    assert ingest_machine.run(input_of(batch)) == "done"
    found = bodies(kind)
    assert {name: body.get("of") for name, body in found.items()} == {
        "c9": "other",
        "c2": "new",
        "c3": None,
        "c4": "new",
    }
    assert client.status(old)["status"] == "inactive"
    described = client.status(batch)
    assert described["status"] == "success"
    assert described["metrics"]["conflictRecordCount"] == 0
    # An event stream is there for exactly those who have events.
    if kind == "E":
        streams = {key.split(" ")[0] for key in stored() if " S#" in key}
        assert streams == {key.split(" ")[0] for key in stored() if " E#" in key}
    before = stored()
    assert ingest_machine.run(input_of(old)) == "done"
    assert stored() == before


@pytest.mark.parametrize("dataset", [RECORDS, EVENTS], ids=["records", "events"])
def test_a_replay_may_die_while_it_removes(client: Client, monkeypatch: pytest.MonkeyPatch, dataset: str) -> None:
    row: Any = event if dataset == EVENTS else person
    old = client.ingest({"a.json": json_lines([row(number) for number in range(4)])}, dataset)["id"]
    batch = replaying(client, old, [row(3), row(5)], dataset)
    remover = ingest_machine.ingest._remover()
    store, calls = remover._store, iter(range(1000))

    class Mortal:
        def __getattr__(self, name: str) -> Any:
            if name in {"remove_counted", "delete_of_batch"} and next(calls) % 2:
                raise CrashError
            return getattr(store, name)

    with monkeypatch.context() as patched:
        patched.setattr(remover, "_store", Mortal())
        patched.setattr(remover._events, "_store", Mortal())
        with pytest.raises(CrashError):
            ingest_machine.run(input_of(batch))
    assert client.status(old)["status"] == "success"
    assert ingest_machine.run(input_of(batch), times=2) == "done"
    assert set(bodies("E" if dataset == EVENTS else "R")) == {"c3", "c5"}


def test_a_failed_replay_leaves_the_old_batch(client: Client) -> None:
    old = client.ingest({"a.json": json_lines([person(1)])})["id"]
    before = stored()
    batch = replaying(client, old, [{}], RECORDS)
    assert ingest_machine.run(input_of(batch)) == "refused"
    assert client.status(old)["status"] == "success"
    assert stored() == before


def test_the_spellings_of_callers(client: Client) -> None:
    ids = [client.ingest({"a.json": json_lines([person(n)])}, externalId=f"mine-{n}")["id"] for n in range(3)]
    for spelled in (ids[0], f"${ids[0]}", f"${{{ids[0]}}}"):
        answer = client.create({"datasetId": RECORDS, "replay": {"predecessors": [spelled], "reason": "replace"}})
        assert answer.json()["replay"]["predecessors"] == [ids[0]]
    answer = client.create({"datasetId": RECORDS, "replay": {"predecessorsByExternalId": ["mine-1", "mine-2"]}})
    assert sorted(answer.json()["replay"]["predecessors"]) == sorted(ids[1:])
    body = {"datasetId": RECORDS, "inputFormat": {"format": "json"}, "replay": {"predecessors": [f"${ids[0]}"]}}
    answer = client.call(batches.handler, "PATCH", IMPORT, body=body)
    assert answer.status == 201
    assert answer.json()["replay"]["predecessors"] == [ids[0]]


def test_what_cannot_be_replaced(client: Client) -> None:
    loading = client.created()
    other = client.ingest({"a.json": json_lines([event(1)])}, EVENTS)["id"]
    for replay, status in (
        ({"predecessors": ["nobody"]}, 404),
        ({"predecessorsByExternalId": ["nobody"]}, 404),
        ({"predecessors": [loading]}, 400),
        ({"predecessors": [other]}, 400),
        ({"predecessors": [other], "reason": "fun"}, 400),
        ({"predecessors": "x"}, 400),
    ):
        assert client.create({"datasetId": RECORDS, "replay": replay}).status == status
    assert client.call(batches.handler, "PATCH", IMPORT, body={"datasetId": RECORDS}).status == 400


def test_a_removal_goes_on_where_time_ran_out(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removing, "_ROWS_AT_ONCE", 1)
    old = client.ingest({"a.json": json_lines([person(number) for number in range(4)])})["id"]
    batch = replaying(client, old, [person(5)], RECORDS)
    planned = ingest_machine.ingest.plan(input_of(batch), None)
    assert planned["removals"] == 1
    ticks = iter(range(0, 10**6, 300))
    remover = ingest_machine.ingest._remover()
    monkeypatch.setattr(remover, "_clock", lambda: next(ticks))
    [chunk] = ingest_machine.chunks(planned)
    ingest_machine.ingest.validate({"batch": input_of(batch), "chunk": chunk}, None)
    ingest_machine.ingest.decide(planned, None)
    share: Any = {"batch": input_of(batch), "chunk": {"batch": old, "chunk": "000000"}}
    calls = 0
    while True:
        share = orjson.loads(orjson.dumps(ingest_machine.ingest.remove(share, None)))
        calls += 1
        if "more" not in share:
            break
    assert calls > 2
    assert bodies("R") == {}


def test_a_reverted_batch_is_inactive_then_deleted_and_the_profile_store_keeps_its_rows(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = client.ingest({"a.json": json_lines([person(1)])})["id"]
    batch = client.created(partialIngestionPercent=50)
    in_parts(client, batch, json_lines([person(1), {}]), [5, 9], path="a/b.json")
    client.signal(batch)
    ingest_machine.ingest.discard(input_of(batch), None)
    assert ingest_machine.run(input_of(batch)) == "done"
    ingest_machine.ingest.discard(input_of(batch), None)
    assert (client.status(batch)["status"], len(client.rejected(batch))) == ("success", 1)
    before = stored()
    now_ns = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now_ns)
    for _ in range(2):
        assert client.signal(batch, "REVERT").status == 200
        assert client.status(batch)["status"] == "inactive"
    assert stored() == before
    asked = [item for item in ingest_machine.asked_for() if "-discard-" in item["name"]]
    assert [item | {"name": ""} for item in asked] == [{**input_of(batch), "discard": True, "name": ""}]
    assert client.signal(client.created(), "revert").status == 400

    objects = objects_of(kept)
    for _ in range(2):
        ingest_machine.ingest.discard(input_of(batch), None)
        assert client.status(batch)["status"] == "deleted"
    assert {key.partition("/")[0] for key in objects_of(batch)} == {"jobs", "staged"}
    assert (stored(), objects_of(kept)) == (before, objects)
    listed = client.call(batches.handler, "GET", "/data/foundation/catalog/batches", query={"status": "deleted"})
    assert list(listed.json()) == [batch]
    assert client.read(batch, "files").json()["data"] == []
    assert client.rejected(batch) == []
    assert client.read(batch, "meta", path="input_files").json()["data"] == []
    # What may be repeated stays so, and starts nothing.
    started = len(ingest_machine.asked_for())
    for action in ("REVERT", "COMPLETE"):
        assert client.signal(batch, action).status == 200
    assert client.status(batch)["status"] == "deleted"
    assert len(ingest_machine.asked_for()) == started
    assert client.signal(batch, "ABORT").status == 400
    assert client.create({"datasetId": RECORDS, "replay": {"predecessors": [batch]}}).status == 400


def objects_of(batch: str) -> list[str]:
    """Every version of what the lake has of a batch, delete markers too."""
    found = boto3.client("s3").list_object_versions(Bucket="lake")
    keys = [item["Key"] for item in [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]]
    return sorted(key for key in keys if f"/{batch}/" in key)


def test_files_are_deleted_however_often_that_dies(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = client.ingest({name: json_lines([person(1), {}]) for name in "ab"}, partialIngestionPercent=50)["id"]
    client.signal(batch, "REVERT")
    died = 0
    for left in range(20):
        with monkeypatch.context() as patched:
            mortal(patched, left)
            try:
                ingest_machine.ingest.discard(input_of(batch), None)
            except CrashError:
                died += 1
        forget()
        if client.status(batch)["status"] == "deleted":
            break
    assert died > 3
    assert {key.partition("/")[0] for key in objects_of(batch)} == {"jobs", "staged"}


def spent(value: str) -> Any:
    """The sum of a person's prices, as a read shows it."""
    store = ConfigurationStore(aws.dynamodb(), aws.registry_table())
    reader = ProfileReader(store, ProfileTable(aws.dynamodb(), aws.profile_table()), Inline())
    now_ms = time.time_ns() // 1_000_000
    try:
        person_ = reader.person(
            TENANT, Identity("crm", value).xid(TENANT), namespace=None, policy_id=None, now_ms=now_ms
        )
    except EntityNotFoundError:
        return None
    namespace, group = person_.computed_at
    return person_.entity().get(namespace, {}).get(group, {}).get("spent", 0)


@pytest.mark.parametrize("seed", range(3))
def test_computed_attributes_count_what_is_left(client: Client, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    store = ConfigurationStore(aws.dynamodb(), aws.registry_table())
    expression = "xEvent.sum(price)"
    rule = compile_attribute(expression, Window(1, Unit.MONTHS)).rule
    store.change(TENANT, lambda known: known.with_attribute("spent", expression, rule))
    store.change(TENANT, lambda known: known.with_ready_attribute("spent"))
    when = iso_ms(time.time_ns() // 1_000_000 - 60_000)

    def sale(number: int, who: str, price: int) -> dict[str, Any]:
        return event(number, identityMap={"CRM": [{"id": who}]}, timestamp=when, price=price)

    client.ingest({"a.json": json_lines([sale(1, "a", 1)])}, EVENTS)
    rows = [sale(2, "a", 10), sale(3, "a", 100), sale(4, "b", 5), *(sale(100 + n, "c", 1) for n in range(60))]
    old = client.ingest({"a.json": json_lines(rows)}, EVENTS)["id"]
    assert [spent(who) for who in "abc"] == [111, 5, 60]
    batch = replaying(client, old, [sale(3, "a", 200), sale(5, "a", 1000), sale(100, "c", 1)], EVENTS)
    # Deaths on the way, and everything more than once, make no difference.
    remover = ingest_machine.ingest._remover()
    remove, calls = remover._store.remove_counted, iter(range(1000))

    def mortal(*args: Any) -> None:
        if next(calls) == seed:
            raise CrashError
        remove(*args)

    with monkeypatch.context() as patched:
        patched.setattr(remover._store, "remove_counted", mortal)
        with pytest.raises(CrashError):
            ingest_machine.run(input_of(batch))
    assert ingest_machine.run(input_of(batch), times=2) == "done"
    assert [spent(who) for who in "abc"] == [1201, None, 1]


def test_what_expired_goes_on_counting_when_a_batch_is_replaced(client: Client) -> None:
    store = ConfigurationStore(aws.dynamodb(), aws.registry_table())
    rule = compile_attribute("xEvent.sum(price)", Window(6, Unit.MONTHS)).rule
    store.change(TENANT, lambda known: known.with_attribute("spent", "xEvent.sum(price)", rule))
    store.change(TENANT, lambda known: known.with_ready_attribute("spent"))

    def sale(number: int, who: str, days_ago: int, price: int) -> dict[str, Any]:
        when = iso_ms(time.time_ns() // 1_000_000 - days_ago * 86_400_000)
        return event(number, identityMap={"CRM": [{"id": who}]}, timestamp=when, price=price)

    client.ingest({"a.json": json_lines([sale(1, "a", 70, 1), sale(2, "b", 70, 2)])}, EVENTS)
    # What DynamoDB does with expired items.
    for key, item in stored().items():
        if " E#" in key:
            aws.dynamodb().delete_item(TableName=aws.profile_table(), Key={"pk": item["pk"], "sk": item["sk"]})
    old = client.ingest({"a.json": json_lines([sale(3, "a", 1, 10), sale(4, "b", 1, 20)])}, EVENTS)["id"]
    assert [spent(who) for who in "ab"] == [11, 22]
    batch = replaying(client, old, [sale(5, "a", 1, 100)], EVENTS)
    assert ingest_machine.run(input_of(batch)) == "done"
    assert [spent(who) for who in "ab"] == [101, 2]
