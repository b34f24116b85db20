"""The tasks of the erase machine: accept, sweep, search, fail. All take ``{"org_id", "sandbox", "job_id"}``.

``accept``, ``sweep`` and ``search`` answer it with ``done``: the machine calls again until that is true.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from jobs.failure import reason_of
from tessera.domain.tenant import Tenant
from tessera.services.erasure.accepting import Acceptance
from tessera.services.erasure.cutting import Cutter
from tessera.services.erasure.sweeping import ErasureSweep
from tessera.services.reclaiming import Reclaimer
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.erasure_lake import ErasureLake
from tessera.storage.erasures import ErasureStore, HoldRegister
from tessera.storage.export_lake import ExportLake
from tessera.storage.journal import Journal
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry

_logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME", "erase"))


@cache
def _registry() -> Registry:
    return Registry(aws.dynamodb(), aws.registry_table())


@cache
def _table() -> ProfileTable:
    return ProfileTable(aws.dynamodb(), aws.profile_table())


@cache
def _lists() -> ErasureLake:
    return ErasureLake(aws.s3(), aws.lake_bucket())


@cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(aws.CONNECTIONS)


@cache
def _acceptance() -> Acceptance:
    register, journal = HoldRegister(_registry()), Journal(aws.s3(), aws.lake_bucket())
    return Acceptance(_table(), ErasureStore(_registry()), _lists(), register, journal, _executor(), Cutter(_table()))


@cache
def _sweep() -> ErasureSweep:
    configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())
    reclaimer = Reclaimer(_table(), configurations, _executor())
    return ErasureSweep(_table(), ErasureStore(_registry()), _lists(), reclaimer, aws.window_ms())


def accept(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Cut off who is named in a share of the list."""
    return _step("accept", event, lambda tenant, job_id: bool(_acceptance().accept(tenant, job_id).accepted_ms))


def sweep(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Delete a share of what the erasure reaches, or look whether anything is left."""
    return _step("sweep", event, lambda tenant, job_id: _sweep().sweep(tenant, job_id))


def search(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Look for the persons in a share of the exports, and end the job."""
    # Only this task reads Parquet.
    from tessera.services.erasure.exported import ExportSearch  # noqa: PLC0415

    searching = ExportSearch(
        ErasureStore(_registry()), _lists(), BatchStore(_registry()), ExportLake(aws.s3(), aws.lake_bucket())
    )
    return _step("search", event, searching.search)


def fail(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Note that the machine gave up; ``error`` is what Step Functions caught."""
    _acceptance().fail(_tenant(event), event["job_id"], reason_of(event.get("error", {})))
    _logger.info("failure noted", job=event["job_id"])
    return {}


def _step(name: str, event: Mapping[str, Any], work: Callable[[Tenant, str], bool]) -> dict[str, Any]:
    try:
        done = work(_tenant(event), event["job_id"])
    except Exception as error:
        _logger.error("failed", task=name, job=event["job_id"], error=type(error).__name__)
        raise
    _logger.info("worked", task=name, job=event["job_id"], done=done)
    return {"org_id": event["org_id"], "sandbox": event["sandbox"], "job_id": event["job_id"], "done": done}


def _tenant(event: Mapping[str, Any]) -> Tenant:
    return Tenant(event["org_id"], event["sandbox"])
