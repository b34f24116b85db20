"""The tasks of the erase machine: accept, sweep, plan, look, settle, search, fail.

All but ``look`` take ``{"org_id", "sandbox", "job_id"}``; ``accept``, ``sweep`` and ``search`` answer it with ``done``:
the machine calls again until that is true. ``look`` takes ``{"job": {those}, "share": {an item of the manifest}}`` and
answers it with ``done`` likewise. ``sweep`` says too whether the lake is to be read; ``plan``, how, for ``settle``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from jobs.failure import reason_of
from jobs.task import Answer, Event, task_maker
from tessera.domain.tenant import Tenant
from tessera.services.erasure.accepting import Acceptance
from tessera.services.erasure.cutting import Cutter
from tessera.services.erasure.lake.course import LakeCourse
from tessera.services.erasure.lake.looking import Looker, ReadLake
from tessera.services.erasure.sweeping import ErasureSweep
from tessera.services.reclaiming import Reclaimer
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.erasure_lake import ErasureLake
from tessera.storage.erasures import ErasureStore, HoldRegister
from tessera.storage.export_lake import ExportLake
from tessera.storage.journal import Journal
from tessera.storage.lake import Lake
from tessera.storage.look_lake import LookLake
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry
from tessera.storage.row_objects import RowObjects

_logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME", "erase"))
_task = task_maker(_logger, lambda event: {"share": event.get("share", {}).get("name")})


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


@cache
def _course() -> LakeCourse:
    return LakeCourse(
        ErasureStore(_registry()),
        _lists(),
        _table(),
        BatchStore(_registry()),
        RowObjects(aws.s3(), aws.lake_bucket()),
        LookLake(aws.s3(), aws.lake_bucket()),
    )


@cache
def _looker() -> Looker:
    return Looker(
        ReadLake(
            BatchStore(_registry()),
            ConfigurationStore(aws.dynamodb(), aws.registry_table()),
            _registry(),
            Lake(aws.s3(), aws.lake_bucket()),
            RowObjects(aws.s3(), aws.lake_bucket()),
            LookLake(aws.s3(), aws.lake_bucket()),
        )
    )


def accept(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Cut off who is named in a share of the list."""
    return _step("accept", event, lambda tenant, job_id: bool(_acceptance().accept(tenant, job_id).accepted_ms))


def sweep(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Delete a share of what the erasure reaches, or look whether anything is left; ``lake`` is what was asked for."""
    answer = _step("sweep", event, lambda tenant, job_id: _sweep().sweep(tenant, job_id))
    return {**answer, "lake": ErasureStore(_registry()).get(_tenant(event), event["job_id"]).lake}


@_task
def plan(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Divide the lake into shares for the next reading, unless files are ``busy`` that have to be waited for."""
    planned = _course().plan(tenant, job_id)
    return {
        "org_id": tenant.org_id,
        "sandbox": tenant.sandbox,
        "job_id": job_id,
        "number": planned.number,
        "shares": planned.shares,
        "busy": planned.busy,
        "manifest_bucket": aws.lake_bucket(),
        "manifest_key": LookLake(aws.s3(), aws.lake_bucket()).manifest_key(tenant, job_id, planned.number),
    }


@_task
def look(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Read a share of the lake, and take the rows of the persons out of it."""
    share = event["share"]
    return {**event, "done": _looker().look(tenant, job_id, share["number"], share["name"])}


@_task
def settle(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Tell whether a reading has found nothing."""
    return {**event, "clean": _course().settle(tenant, job_id, event["number"])}


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
