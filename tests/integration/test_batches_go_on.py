"""Applying in several calls, and what is counted when it is done more than once (laws 2 and 3)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tessera.services.ingestion import applying
from tests.integration import ingest_machine
from tests.integration.hostile import CrashError
from tests.integration.test_batches import EVENTS, Client, client, event, input_of, json_lines, person, stored

__all__ = ["client"]


def staged(client: Client, rows: list[Any], **options: Any) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    """A batch whose rows are about to be applied, what was planned, and its chunks."""
    batch = client.created(**options)
    client.put(batch, "a.json", json_lines(rows), **options)
    client.signal(batch)
    planned = ingest_machine.ingest.plan(input_of(batch), None)
    chunks = ingest_machine.chunks(planned)
    for chunk in chunks:
        ingest_machine.ingest.validate({"batch": input_of(batch), "chunk": chunk}, None)
    ingest_machine.ingest.decide(planned, None)
    return batch, planned, chunks


def test_a_large_chunk_takes_several_calls_and_each_row_is_applied_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "_ROWS_AT_ONCE", 2)
    batch, planned, [chunk] = staged(client, [person(number) for number in range(11)])
    applier = ingest_machine.ingest._applier()
    ticks = iter(range(0, 10**6, 150))
    monkeypatch.setattr(applier, "_clock", lambda: next(ticks))
    written: list[int] = []
    apply = applier._writer.apply
    monkeypatch.setattr(applier._writer, "apply", lambda *args: (written.append(len(args[2])), apply(*args))[1])
    share: Any = {"batch": input_of(batch), "chunk": chunk}
    calls = 0
    while True:
        with pytest.raises(RuntimeError):
            ingest_machine.ingest.finish(planned, None)
        share = orjson.loads(orjson.dumps(ingest_machine.ingest.apply(share, None)))
        calls += 1
        if share == {}:
            break
    assert calls > 2
    assert sum(written) == 11
    assert ingest_machine.ingest.apply({"batch": input_of(batch), "chunk": chunk}, None) == {}
    assert sum(written) == 11
    ingest_machine.ingest.finish(planned, None)
    assert client.status(batch)["status"] == "success"
    assert sum(" R#" in key for key in stored()) == 11


def test_the_number_of_conflicts_does_not_fall_when_applying_is_tried_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "_ROWS_AT_ONCE", 1)
    # The second row is accepted later and applied first, as if by another worker.
    batch, planned, [chunk] = staged(client, [event(1, a=1), event(2), event(1, a=2)], dataset=EVENTS)
    applier = ingest_machine.ingest._applier()
    apply, calls = applier._writer.apply, iter(range(100))

    def dying(tenant: Any, dataset: str, rows: Any, *more: Any) -> Any:
        if next(calls) == 2:
            apply(tenant, dataset, rows, *more)
            raise CrashError
        return apply(tenant, dataset, rows, *more)

    with monkeypatch.context() as patched:
        patched.setattr(applier._writer, "apply", dying)
        with pytest.raises(CrashError):
            ingest_machine.ingest.apply({"batch": input_of(batch), "chunk": chunk}, None)
    for _ in range(2):
        ingest_machine.ingest.apply({"batch": input_of(batch), "chunk": chunk}, None)
    ingest_machine.ingest.finish(planned, None)
    assert client.status(batch)["metrics"]["conflictRecordCount"] == 1
    [row] = client.rejected(batch)
    assert row["a"] == 2
