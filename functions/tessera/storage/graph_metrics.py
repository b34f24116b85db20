"""The guard against profiles that collapse: large graphs are logged and counted, in CloudWatch's embedded format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tessera.domain.graph import MAX_GRAPH_READ, MAX_GRAPH_WRITTEN

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

NAMESPACE = "Tessera"
# One name for all functions: an alarm watches one metric, and each further one is charged.
SERVICE = "graphs"
GRAPH_SIZE, NEAR_LIMIT, OVER_LIMIT = "GraphSize", "GraphsNearLimit", "GraphsOverLimit"
NEAR = 40


class GraphMetrics:
    """Watches graphs grow. Small ones cost nothing; of large ones only the size is told, never whose they are."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def watch(self, size: int) -> None:
        """Take the size of a graph that grew, ``MAX_GRAPH_WRITTEN + 1`` for one that collapsed."""
        if size < NEAR:
            return
        # Loaded by the few functions, and on the few days, that need it.
        from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit  # noqa: PLC0415

        metrics = EphemeralMetrics(namespace=NAMESPACE, service=SERVICE)
        metrics.add_metric(GRAPH_SIZE, MetricUnit.Count, size)
        if size > MAX_GRAPH_READ:
            metrics.add_metric(OVER_LIMIT, MetricUnit.Count, 1)
            message = "graph collapsed" if size > MAX_GRAPH_WRITTEN else "graph over the limit"
        else:
            metrics.add_metric(NEAR_LIMIT, MetricUnit.Count, 1)
            message = "graph near the limit"
        metrics.flush_metrics()
        self._logger.warning(message, size=size, limit=MAX_GRAPH_READ)
