"""Events that had expired when they were received, by batch and by stream: refused with the reason, none lost."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import boto3
import pytest

from api import data_access
from tessera.domain.computed.values import computed_values
from tessera.domain.computed.window import Unit, Window
from tessera.domain.expiry import Expiry
from tessera.domain.identity import Identity
from tessera.domain.times import DAY_MS, iso_ms
from tessera.services.computed.compiled import compile_attribute
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.profile_table import ProfileTable
from tests.integration import ingest_machine, stream_queues, test_batches, test_streaming
from tests.integration.stream_queues import close_windows, pump
from tests.integration.test_batches import EVENTS, TENANT, client, input_of, json_lines
from tests.integration.test_batches_replayed import replaying
from tests.integration.test_streaming import client as sender

__all__ = ["client", "sender"]

EXPIRED = "INGEST-1540-400"


def set_ttl(dataset_id: str, expiry: Expiry | None) -> None:
    ConfigurationStore(aws.dynamodb(), aws.registry_table()).change(
        TENANT, lambda known: known.with_dataset(replace(known.datasets[dataset_id], expiry=expiry))
    )


def aged(number: int, days: float, **more: Any) -> dict[str, Any]:
    timestamp = iso_ms(int(time.time() * 1000 - days * DAY_MS))
    return {"_id": f"e{number}", "timestamp": timestamp, "identityMap": {"CRM": [{"id": "c1"}]}, **more}


def rejected(told: list[dict[str, Any]]) -> list[str]:
    assert all(row["_errors"][0]["code"] == EXPIRED for row in told)
    assert all("had expired when it was received" in row["_errors"][0]["message"] for row in told)
    return sorted(row["_id"] for row in told)


@pytest.mark.parametrize("alive", [2, 0])
def test_a_batch_keeps_what_is_alive_and_tells_of_the_others(client: test_batches.Client, alive: int) -> None:
    """There is nothing wrong with an old event: a batch does not fail for it."""
    set_ttl(EVENTS, Expiry(30))
    rows = [aged(number, days) for number, days in enumerate((31, 400, 30.01, 29, 0)[: 3 + alive])]
    batch = client.ingest({"a.json": json_lines(rows)}, EVENTS, enableErrorDiagnostics=True)
    assert batch["status"] == "success"
    counts = [batch["metrics"][f"{name}RecordCount"] for name in ("input", "output", "failed")]
    assert counts == [3 + alive, alive, 3]
    assert next(one for one in batch["errors"] if one["code"] == EXPIRED)["recordCount"] == 3
    assert sum(" E#" in key for key in test_batches.stored()) == alive
    path = f"/data/foundation/export/batches/{batch['id']}/meta"
    told = client.call(data_access.handler, "GET", path, query={"path": "row_errors/validation_errors_0.json"}).json()
    assert rejected(told["data"]) == ["e0", "e1", "e2"]


def test_a_batch_is_judged_by_when_it_was_complete(
    client: test_batches.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late its machine runs: what expired meanwhile was accepted, and is written."""
    set_ttl(EVENTS, Expiry(30))
    batch = client.created(EVENTS)
    client.put(batch, "a.json", json_lines([aged(1, 29.9)]), EVENTS)
    client.signal(batch)
    later = time.time_ns() + DAY_MS * 500_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    assert ingest_machine.run(input_of(batch)) == "done"
    assert client.status(batch)["status"] == "success"
    assert sum(" E#" in key for key in test_batches.stored()) == 1


def test_messages_are_refused_with_the_reason(sender: test_streaming.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    events = test_streaming.EVENTS
    set_ttl(events, Expiry(30))
    answer = sender.send(test_streaming.message(aged(1, 31), events), sync=True)
    assert answer.status == 400
    assert "had expired when it was received" in answer.text
    assert test_streaming.stored() == {}
    assert sender.send(test_streaming.message(aged(2, 31), events)).status == 200
    assert sender.send(test_streaming.message(aged(3, 29), events)).status == 200
    assert sender.send(test_streaming.message(aged(4, 29), events), sync=True).status == 200
    pump()
    assert sorted(one["_id"] for one in sender.events()) == ["e3", "e4"]
    close_windows(monkeypatch)
    good, bad = sorted(sender.batches(), key=lambda batch: batch["status"], reverse=True)
    assert (good["status"], bad["status"]) == ("success", "failed")
    assert rejected(sender.rejected(bad["id"])) == ["e2"]


def test_a_message_is_judged_by_when_it_was_received(sender: test_streaming.Client) -> None:
    """Law 2: a TTL that is set while it waits in the queue hides it, and does not refuse it."""
    events = test_streaming.EVENTS
    assert sender.send(test_streaming.message(aged(1, 31), events)).status == 200
    assert sender.send(test_streaming.message(aged(2, 1), events)).status == 200
    set_ttl(events, Expiry(30, tracked_ms=1))
    assert "[]" not in str(stream_queues.waiting("stream"))
    pump()
    assert [one["_id"] for one in sender.events()] == ["e2"]
    set_ttl(events, Expiry(30))


def test_a_batch_that_is_replaced_leaves_what_had_expired_of_it(client: test_batches.Client) -> None:
    """Sums keep the share of events that expired before their batch was taken back, also when no event is left."""
    rule = compile_attribute("xEvent.sum(price)", Window(6, Unit.MONTHS)).rule
    configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())
    configurations.change(
        TENANT, lambda known: known.with_attribute("spent", "xEvent.sum(price)", rule).with_ready_attribute("spent")
    )
    old = client.ingest(
        {"a.json": json_lines([aged(1, 75, price=100), aged(2, 2, price=10), aged(3, 1, price=1)])}, EVENTS
    )["id"]
    set_ttl(EVENTS, Expiry(30))

    def spent() -> Any:
        found = ProfileTable(aws.dynamodb(), aws.profile_table()).identity(TENANT, Identity("crm", "c1").xid(TENANT))
        assert found is not None
        configuration = configurations.current(TENANT)
        policy = next(iter(configuration.policies.values()))
        return computed_values([found], policy, configuration, int(time.time() * 1000)).get("spent")

    assert spent() == 111
    # What DynamoDB does with an event that has been expired for long.
    oldest = min(key for key in test_batches.stored() if " E#" in key)
    pk, sk = oldest.split(" ")
    boto3.client("dynamodb").delete_item(TableName=aws.profile_table(), Key={"pk": {"S": pk}, "sk": {"S": sk}})
    batch = replaying(client, old, [aged(3, 1, price=2)], EVENTS)
    assert ingest_machine.run(input_of(batch)) == "done"
    assert spent() == 102
    batch = replaying(client, batch, [{**aged(9, 1, price=7), "identityMap": {"CRM": [{"id": "c2"}]}}], EVENTS)
    assert ingest_machine.run(input_of(batch)) == "done"
    assert spent() == 100
    assert not [key for key in test_batches.stored() if " E#" in key and key.startswith(pk)]
