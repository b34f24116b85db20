"""The tasks of the sample machine: plan, count, finish, fail.

All but ``count`` take ``{"org_id", "sandbox", "job_id", "cause"}``; ``count`` takes ``{"job": {those}, "share": {an
item of the plan}}`` and answers it with ``done``: the machine calls again until that is true.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from aws_lambda_powertools import Logger

from jobs.failure import reason_of
from jobs.task import Answer, Event, task_maker
from tessera.domain.export.share import Share
from tessera.domain.sample.job import Cause
from tessera.domain.tenant import Tenant
from tessera.services.sample.checks import SampleChecks
from tessera.services.sample.counting import Sampler
from tessera.services.sample.planning import Planner
from tessera.services.sample.settling import Settler
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.executions import Executions
from tessera.storage.holdings import Holdings
from tessera.storage.person_index import PersonIndex
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry
from tessera.storage.sample_lake import SampleLake
from tessera.storage.samples import SampleStore

_logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME", "sample"))
_task = task_maker(_logger, lambda event: {"share": event.get("share")})


@cache
def _registry() -> Registry:
    return Registry(aws.dynamodb(), aws.registry_table())


@cache
def _states() -> SampleStore:
    return SampleStore(_registry())


@cache
def _configurations() -> ConfigurationStore:
    return ConfigurationStore(aws.dynamodb(), aws.registry_table())


@cache
def _lake() -> SampleLake:
    return SampleLake(aws.s3(), aws.lake_bucket())


@cache
def _planner() -> Planner:
    index = PersonIndex(aws.dynamodb(), aws.profile_table())
    threshold = float(os.environ.get("SAMPLE_THRESHOLD_PERCENT", "3"))
    return Planner(_states(), _configurations(), index, _lake(), ThreadPoolExecutor(aws.CONNECTIONS), threshold)


@cache
def _sampler() -> Sampler:
    client, table = aws.dynamodb(), aws.profile_table()
    return Sampler(
        _states(),
        _configurations(),
        PersonIndex(client, table),
        ProfileTable(client, table),
        Holdings(client, table),
        _lake(),
        ThreadPoolExecutor(aws.CONNECTIONS),
    )


@cache
def _settler() -> Settler:
    return Settler(
        _states(),
        _configurations(),
        _registry(),
        BatchStore(_registry()),
        _lake(),
        SampleChecks(Executions(aws.stepfunctions, lambda: os.environ["SAMPLE_STATE_MACHINE_ARN"])),
    )


@_task
def plan(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Divide everybody into shares, ``shares`` of them; none when no sample is due."""
    return {
        "org_id": tenant.org_id,
        "sandbox": tenant.sandbox,
        "job_id": job_id,
        "manifest_bucket": _lake().bucket,
        "shares_key": _lake().plan_key(tenant, job_id),
        "shares": _planner().plan(tenant, job_id, Cause(event["cause"])),
    }


@_task
def count(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Count persons of a share for some minutes; ``done`` tells whether these were the last."""
    return {**event, "done": _sampler().count(tenant, job_id, Share(**event["share"]))}


@_task
def finish(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Make the reports."""
    _settler().finish(tenant, job_id)
    return {}


@_task
def fail(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Note that the machine gave up; ``error`` is what Step Functions caught."""
    _settler().fail(tenant, job_id, reason_of(event.get("error", {})))
    return {}
