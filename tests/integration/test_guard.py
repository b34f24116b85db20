"""The guard: ingestion tells when a graph grows large (design: Links)."""

from __future__ import annotations

import json

import pytest

from jobs import ingest
from tessera.domain.identity import Identity
from tessera.storage.graph_metrics import NEAR
from tests.integration.executors import Inline
from tests.integration.test_person_delete import CRM, CRM_ID, T, World, at, row


def test_ingestion_watches_graphs_grow(
    cloud: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ingest, "ThreadPoolExecutor", lambda _: Inline())
    world = World(rows=[])
    writer = ingest._applier()._writer

    def grow(first: int, last: int) -> list[dict[str, object]]:
        others = [Identity("email", f"{number}@ex.org") for number in range(first, last)]
        for start in range(0, len(others), 15):
            _, placed = row(CRM, at(T + first + start), CRM_ID, *others[start : start + 15])
            writer.apply(world.tenant, CRM, [placed])
        return [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]

    assert grow(0, NEAR - 2) == []
    (near,) = grow(NEAR - 2, NEAR - 1)
    assert (near["GraphSize"], near["GraphsNearLimit"]) == ([NEAR], [1])
    assert grow(0, 1) == []
    *growing, collapsed = grow(NEAR, 102)
    assert [(line["GraphSize"], line["GraphsOverLimit"]) for line in growing] == [
        ([size], [1]) for size in (55, 70, 85, 100)
    ]
    assert (collapsed["GraphSize"], collapsed["GraphsOverLimit"]) == ([101], [1])
    assert "ex.org" not in json.dumps([near, *growing, collapsed])
