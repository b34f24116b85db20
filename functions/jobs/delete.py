"""The tasks of the delete machine: sweep, fail. Both take ``{"org_id", "sandbox", "job_id"}``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from jobs.failure import reason_of
from tessera.domain.tenant import Tenant
from tessera.services.sweep import Sweep
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.jobs import DeletionStore
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry

_logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME", "delete"))


@cache
def _sweep() -> Sweep:
    return Sweep(
        ProfileTable(aws.dynamodb(), aws.profile_table()),
        DeletionStore(Registry(aws.dynamodb(), aws.registry_table())),
        ConfigurationStore(aws.dynamodb(), aws.registry_table()),
        ThreadPoolExecutor(aws.CONNECTIONS),
    )


def sweep(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Delete a share of what the job reaches; ``done`` tells whether it was the last."""
    try:
        done = _sweep().sweep(_tenant(event), event["job_id"])
    except Exception as error:
        _logger.error("failed", job=event["job_id"], error=type(error).__name__)
        raise
    _logger.info("swept", job=event["job_id"], done=done)
    return {**event, "done": done}


def fail(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Note that the machine gave up; ``error`` is what Step Functions caught."""
    _sweep().fail(_tenant(event), event["job_id"], reason_of(event.get("error", {})))
    _logger.info("failure noted", job=event["job_id"])
    return {}


def _tenant(event: Mapping[str, Any]) -> Tenant:
    return Tenant(event["org_id"], event["sandbox"])
