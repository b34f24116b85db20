"""The tasks of the delete machine: sweep, fail. Both take ``{"org_id", "sandbox", "job_id"}``."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from aws_lambda_powertools import Logger

from jobs.failure import reason_of
from jobs.task import Answer, Event, task_maker
from tessera.domain.tenant import Tenant
from tessera.services.sweep import Sweep
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.jobs import DeletionStore
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry

_logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME", "delete"))
_task = task_maker(_logger, lambda event: {})


@cache
def _sweep() -> Sweep:
    return Sweep(
        ProfileTable(aws.dynamodb(), aws.profile_table()),
        DeletionStore(Registry(aws.dynamodb(), aws.registry_table())),
        ConfigurationStore(aws.dynamodb(), aws.registry_table()),
        ThreadPoolExecutor(aws.CONNECTIONS),
    )


@_task
def sweep(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Delete a share of what the job reaches; ``done`` tells whether it was the last."""
    return {**event, "done": _sweep().sweep(tenant, job_id)}


@_task
def fail(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Note that the machine gave up; ``error`` is what Step Functions caught."""
    _sweep().fail(tenant, job_id, reason_of(event.get("error", {})))
    return {}
