"""The tasks of the expiry machine: plan, stamp, finish, fail.

All but ``stamp`` take ``{"org_id", "sandbox", "job_id"}``; ``stamp`` takes ``{"job": {those}, "share": {an item of the
manifest}}`` and answers it with ``done``: the machine calls again until that is true.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from aws_lambda_powertools import Logger

from jobs.failure import reason_of
from jobs.task import Answer, Event, task_maker
from tessera.domain.tenant import Tenant
from tessera.services.expiring import Course, Stamper
from tessera.services.stream_shares import Share
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.expiry_jobs import ExpiryJobStore
from tessera.storage.lake import Lake
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry
from tessera.storage.stored_events import StoredEvents
from tessera.storage.stream_index import StreamIndex

_logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME", "expire"))
_task = task_maker(_logger, lambda event: {"share": event.get("share")})


@cache
def _lake() -> Lake:
    return Lake(aws.s3(), aws.lake_bucket())


@cache
def _index() -> StreamIndex:
    return StreamIndex(aws.dynamodb(), aws.profile_table())


@cache
def _course() -> Course:
    jobs = ExpiryJobStore(Registry(aws.dynamodb(), aws.registry_table()))
    return Course(jobs, _index(), _lake(), ThreadPoolExecutor(aws.CONNECTIONS))


@cache
def _stamper() -> Stamper:
    return Stamper(
        ConfigurationStore(aws.dynamodb(), aws.registry_table()),
        _index(),
        ProfileTable(aws.dynamodb(), aws.profile_table()),
        StoredEvents(aws.dynamodb(), aws.profile_table()),
        _lake(),
        ThreadPoolExecutor(aws.CONNECTIONS),
    )


@_task
def plan(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Divide the streams of the dataset into shares, ``shares`` of them."""
    return {
        "org_id": tenant.org_id,
        "sandbox": tenant.sandbox,
        "job_id": job_id,
        "manifest_bucket": _lake().bucket,
        "manifest_key": _lake().shares_key(tenant, job_id),
        "shares": _course().plan(tenant, job_id),
    }


@_task
def stamp(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Go through streams of a share for some minutes; ``done`` tells whether these were the last."""
    return {**event, "done": _stamper().stamp(tenant, job_id, Share.from_document(event["share"]))}


@_task
def finish(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Note that all is done."""
    _course().finish(tenant, job_id)
    return {}


@_task
def fail(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Note that the machine gave up; ``error`` is what Step Functions caught."""
    _course().fail(tenant, job_id, reason_of(event.get("error", {})))
    return {}
