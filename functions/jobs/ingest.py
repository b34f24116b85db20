"""The tasks of the ingest machine: plan, validate, decide, apply, remove, finish, fail; and discard.

``plan``, ``decide``, ``finish``, ``fail`` and ``discard`` take ``{"org_id", "sandbox", "batch_id"}``; ``validate``,
``apply`` and ``remove`` take ``{"batch": {those}, "chunk": {an item of the manifest}}``.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger

from jobs.failure import reason_of
from jobs.task import Answer, Event, task_maker
from tessera.domain.tenant import Tenant
from tessera.services.ingestion.applying import Applier
from tessera.services.ingestion.chunks import Chunk
from tessera.services.ingestion.deciding import Decider
from tessera.services.ingestion.discarding import Discarder
from tessera.services.ingestion.planning import Planner
from tessera.services.ingestion.validation import Validator
from tessera.services.schema_versions import SchemaVersions
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.lake import Lake
from tessera.storage.registry import Registry

if TYPE_CHECKING:
    from tessera.services.ingestion.removing import Remover
    from tessera.services.sample.checks import SampleChecks

_logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME", "ingest"))
_task = task_maker(
    _logger, lambda event: {"chunk": event.get("chunk", {}).get("chunk")}, subject="batch", within="batch"
)


@cache
def _batches() -> BatchStore:
    return BatchStore(Registry(aws.dynamodb(), aws.registry_table()))


@cache
def _configurations() -> ConfigurationStore:
    return ConfigurationStore(aws.dynamodb(), aws.registry_table())


@cache
def _schemas() -> SchemaVersions:
    return SchemaVersions(Registry(aws.dynamodb(), aws.registry_table()))


@cache
def _lake() -> Lake:
    return Lake(aws.s3(), aws.lake_bucket())


@cache
def _applier() -> Applier:
    # Here, so that the other tasks do not load what only this one needs.
    from tessera.services.profile_writer import ProfileWriter  # noqa: PLC0415
    from tessera.storage.graph_metrics import GraphMetrics  # noqa: PLC0415
    from tessera.storage.profile_table import ProfileTable  # noqa: PLC0415

    table = ProfileTable(aws.dynamodb(), aws.profile_table())
    watch = GraphMetrics(_logger).watch
    writer = ProfileWriter(_configurations(), table, ThreadPoolExecutor(aws.CONNECTIONS), watch)
    return Applier(_batches(), _lake(), writer)


@cache
def _remover() -> Remover:
    # Here, so that the other tasks do not load what only this one needs.
    from tessera.services.ingestion.removing import Remover  # noqa: PLC0415
    from tessera.storage.profile_table import ProfileTable  # noqa: PLC0415

    table = ProfileTable(aws.dynamodb(), aws.profile_table())
    return Remover(_batches(), _configurations(), _lake(), table, ThreadPoolExecutor(aws.CONNECTIONS))


@cache
def _checks() -> SampleChecks:
    # Here, so that the other tasks do not load what only this one needs.
    from tessera.services.sample.checks import SampleChecks  # noqa: PLC0415
    from tessera.storage.executions import Executions  # noqa: PLC0415

    return SampleChecks(Executions(aws.stepfunctions, lambda: os.environ["SAMPLE_STATE_MACHINE_ARN"]))


def _decider() -> Decider:
    return Decider(_batches(), _configurations(), _lake())


@_task
def plan(tenant: Tenant, batch_id: str, event: Event) -> Answer:
    """Split the batch's files into chunks."""
    lake = _lake()
    planner = Planner(_batches(), _configurations(), lake)
    chunks = planner.plan(tenant, batch_id)
    return {
        "org_id": tenant.org_id,
        "sandbox": tenant.sandbox,
        "batch_id": batch_id,
        "manifest_bucket": lake.bucket,
        "manifest_key": lake.manifest_key(tenant, batch_id),
        "chunks": chunks,
        "removals_key": lake.removals_key(tenant, batch_id),
        "removals": planner.plan_removals(tenant, batch_id) if chunks else 0,
    }


@_task
def validate(tenant: Tenant, batch_id: str, event: Event) -> Answer:
    """Judge the rows of one chunk."""
    validator = Validator(_batches(), _configurations(), _lake(), _schemas())
    validator.validate(tenant, batch_id, Chunk.from_document(event["chunk"]))
    return {}


@_task
def decide(tenant: Tenant, batch_id: str, event: Event) -> Answer:
    """Accept or refuse the batch; ``verdict`` is ``apply`` or ``failed``."""
    return {**event, "verdict": "apply" if _decider().decide(tenant, batch_id) else "failed"}


@_task
def apply(tenant: Tenant, batch_id: str, event: Event) -> Answer:
    """Write the accepted rows of one chunk to the profile store; with ``more`` it is to be called again."""
    done = _applier().apply(tenant, batch_id, Chunk.from_document(event["chunk"]))
    return {} if done else {**event, "more": True}


@_task
def remove(tenant: Tenant, batch_id: str, event: Event) -> Answer:
    """Remove what one chunk of a replaced batch held alone; with ``more`` it is to be called again."""
    share = event["chunk"]
    done = _remover().remove(tenant, batch_id, share["batch"], share["chunk"])
    return {} if done else {**event, "more": True}


@_task
def finish(tenant: Tenant, batch_id: str, event: Event) -> Answer:
    """Settle the batch, and see to it that somebody looks whether it is time for a sample."""
    _decider().finish(tenant, batch_id)
    _checks().after_batch(tenant)
    return {}


@_task
def discard(tenant: Tenant, batch_id: str, event: Event) -> Answer:
    """Delete the files of a batch that was taken back."""
    Discarder(_batches(), _lake()).discard(tenant, batch_id)
    return {}


@_task
def fail(tenant: Tenant, batch_id: str, event: Event) -> Answer:
    """Note that the machine gave up; ``error`` is what Step Functions caught."""
    _decider().fail(tenant, batch_id, reason_of(event.get("error", {})))
    return {}
