"""The tasks of the export machine: plan, gather, settle, write, finish, fail.

``plan``, ``settle``, ``finish`` and ``fail`` take ``{"org_id", "sandbox", "job_id"}``; ``gather`` takes ``{"job":
{those}, "share": {an item of the plan}}`` and answers it with ``done``: the machine calls again until that is true;
``write`` takes ``{"job": {those}, "file": {an item of the files}}``.
"""

from __future__ import annotations

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger

from jobs.failure import reason_of
from jobs.task import Answer, Event, task_maker
from tessera.domain.export.share import Share
from tessera.domain.tenant import Tenant
from tessera.services.export.settling import Settler
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.export_lake import ExportLake
from tessera.storage.exports import ExportStore
from tessera.storage.registry import Registry

if TYPE_CHECKING:
    from tessera.services.export.gathering import Gatherer
    from tessera.services.export.planning import Planner
    from tessera.services.export.writing import Writer

# Rows are held by the thousand, and every collection walks them. What is released needs no collector.
gc.set_threshold(50_000, 20, 100)

# Each waits for one person's events, which others read.
WALKERS = 16

_logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME", "export"))
_task = task_maker(_logger, lambda event: {"share": event.get("share"), "file": event.get("file", {}).get("file")})


@cache
def _jobs() -> ExportStore:
    return ExportStore(Registry(aws.dynamodb(), aws.registry_table()))


@cache
def _configurations() -> ConfigurationStore:
    return ConfigurationStore(aws.dynamodb(), aws.registry_table())


@cache
def _lake() -> ExportLake:
    return ExportLake(aws.s3(), aws.lake_bucket())


@cache
def _settler() -> Settler:
    return Settler(_jobs(), _configurations(), _lake())


# Here, so that no task loads what only another one needs.


@cache
def _planner() -> Planner:
    from tessera.services.export.planning import Planner  # noqa: PLC0415
    from tessera.storage.person_index import PersonIndex  # noqa: PLC0415

    index = PersonIndex(aws.dynamodb(), aws.profile_table())
    return Planner(_jobs(), _configurations(), index, _lake(), ThreadPoolExecutor(aws.CONNECTIONS))


@cache
def _gatherer() -> Gatherer:
    from tessera.services.export.gathering import Gatherer  # noqa: PLC0415
    from tessera.storage.person_index import PersonIndex  # noqa: PLC0415
    from tessera.storage.profile_table import ProfileTable  # noqa: PLC0415

    return Gatherer(
        _jobs(),
        _configurations(),
        PersonIndex(aws.dynamodb(), aws.profile_table()),
        ProfileTable(aws.dynamodb(), aws.profile_table()),
        _lake(),
        ThreadPoolExecutor(aws.CONNECTIONS),
        ThreadPoolExecutor(WALKERS),
    )


@cache
def _writer() -> Writer:
    from tessera.services.export.writing import Writer  # noqa: PLC0415

    return Writer(_jobs(), _lake())


@_task
def plan(tenant: Tenant, job_id: int, event: Event) -> Answer:
    """Divide everybody into shares, ``shares`` of them."""
    return {
        "org_id": tenant.org_id,
        "sandbox": tenant.sandbox,
        "job_id": job_id,
        "manifest_bucket": _lake().bucket,
        "shares_key": _lake().plan_key(tenant, job_id),
        "shares": _planner().plan(tenant, job_id),
    }


@_task
def gather(tenant: Tenant, job_id: int, event: Event) -> Answer:
    """Gather rows of a share for some minutes; ``done`` tells whether these were the last."""
    return {**event, "done": _gatherer().gather(tenant, job_id, Share(**event["share"]))}


@_task
def settle(tenant: Tenant, job_id: int, event: Event) -> Answer:
    """Decide what the columns are and what becomes a file, ``files`` of them."""
    return {
        **event,
        "files": _settler().settle_columns(tenant, job_id),
        "files_key": _lake().files_key(tenant, job_id),
    }


@_task
def write(tenant: Tenant, job_id: int, event: Event) -> Answer:
    """Write a file."""
    _writer().write(tenant, job_id, event["file"])
    return {}


@_task
def finish(tenant: Tenant, job_id: int, event: Event) -> Answer:
    """Make it all visible."""
    _settler().finish(tenant, job_id)
    return {}


@_task
def fail(tenant: Tenant, job_id: int, event: Event) -> Answer:
    """Note that the machine gave up; ``error`` is what Step Functions caught."""
    _settler().fail(tenant, job_id, reason_of(event.get("error", {})))
    return {}
