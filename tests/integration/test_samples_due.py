"""Whoever brings something sees to it that somebody looks whether a sample is due (contract: profile-api §4.1)."""

from __future__ import annotations

import time

import orjson
import pytest

from api import preview_sample_status as preview
from jobs import stream
from tessera.domain.window import Closing, Window
from tests.integration import sample_machine, stream_queues
from tests.integration.test_batches import TENANT, UPSERT, Client, client, json_lines, person

__all__ = ["client"]

SPAN_MS = 840_000


def test_one_execution_looks_after_all_batches_of_a_span(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [time.time_ns() // 1_000_000 // SPAN_MS * SPAN_MS + 1000]
    monkeypatch.setattr(time, "time_ns", lambda: now[0] * 1_000_000)
    for number in range(3):
        client.ingest({"a.json": json_lines([person(number)])})
        now[0] += 60_000
    ((name, first),) = sample_machine.started().items()
    assert first == {
        "org_id": TENANT.org_id,
        "sandbox": TENANT.sandbox,
        "job_id": name,
        "cause": "batch",
        "wait_s": (SPAN_MS - 1000 + 30_000) // 1000,
    }
    now[0] += SPAN_MS
    client.ingest({"a.json": json_lines([person(9)])})
    assert len(sample_machine.started()) == 2


def test_the_sample_after_a_batch_counts_it_and_names_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    sample_machine.created_machine(monkeypatch)
    client.ingest({"a.json": json_lines([person(number) for number in range(3)])})
    last = client.ingest({"b.json": json_lines([person(3)])}, dataset=UPSERT)
    (name,) = sample_machine.started()
    assert sample_machine.run(name, "batch") == "done"
    status = client.call(preview.handler, "GET", preview.PATH).json()
    assert (status["totalRows"], status["lastBatchId"]) == ("4", f'"{last["id"]}"')
    finished = time.strftime("%Y-%m-%d %H:%M:%S.0", time.gmtime(last["completed"] / 1000))
    assert status["lastSuccessfulBatchTimestamp"] == f'"{finished}"'
    assert status["streamingDriven"] == '"false"'


def test_a_batch_that_is_refused_asks_for_nothing(client: Client) -> None:
    client.ingest({"a.json": json_lines([{"person": {}}])})
    assert sample_machine.started() == {}


def test_streaming_is_looked_at_once_an_hour(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    stream_queues.created_queues(monkeypatch)
    hour_ms = 3_600_000
    now = [time.time_ns() // 1_000_000 // hour_ms * hour_ms]
    monkeypatch.setattr(time, "time_ns", lambda: now[0] * 1_000_000)
    body = orjson.dumps(Closing(Window(TENANT, "nosuch", now[0]), 0).to_document()).decode()
    for _ in range(5):
        assert stream.close({"Records": [{"messageId": "1", "body": body}]}, None) == {"batchItemFailures": []}
        now[0] += 900_000
    waits = sorted(its["wait_s"] for its in sample_machine.started().values())
    assert waits == [3630, 3630]
    assert {its["cause"] for its in sample_machine.started().values()} == {"stream"}
