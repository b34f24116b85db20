"""The guard tells of large graphs, of nothing else, and never of whom."""

from __future__ import annotations

import json
from unittest.mock import Mock

import pytest

from tessera.domain.graph import MAX_GRAPH_READ, MAX_GRAPH_WRITTEN
from tessera.storage.graph_metrics import NEAR, GraphMetrics


@pytest.mark.parametrize(
    ("size", "message", "metrics"),
    [
        (NEAR - 1, None, {}),
        (NEAR, "graph near the limit", {"GraphSize", "GraphsNearLimit"}),
        (MAX_GRAPH_READ, "graph near the limit", {"GraphSize", "GraphsNearLimit"}),
        (MAX_GRAPH_READ + 1, "graph over the limit", {"GraphSize", "GraphsOverLimit"}),
        (MAX_GRAPH_WRITTEN, "graph over the limit", {"GraphSize", "GraphsOverLimit"}),
        (MAX_GRAPH_WRITTEN + 1, "graph collapsed", {"GraphSize", "GraphsOverLimit"}),
    ],
)
def test_guard(size: int, message: str | None, metrics: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    logger = Mock()
    GraphMetrics(logger).watch(size)
    told = [] if message is None else [((message,), {"size": size, "limit": MAX_GRAPH_READ})]
    assert [(call.args, call.kwargs) for call in logger.warning.call_args_list] == told
    emitted = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(emitted) == bool(metrics)
    for line in emitted:
        (described,) = line["_aws"]["CloudWatchMetrics"]
        assert {metric["Name"] for metric in described["Metrics"]} == metrics
        assert (described["Namespace"], described["Dimensions"], line["service"]) == (
            "Tessera",
            [["service"]],
            "graphs",
        )
        assert line["GraphSize"] == [size]
