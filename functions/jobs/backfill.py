"""The tasks of the backfill machine: begin, plan, fill, finish, fail.

All but ``fill`` take ``{"org_id", "sandbox", "attribute_id"}``; ``fill`` takes ``{"job": {those}, "share": {an item of
the manifest}}`` and answers it with ``done``: the machine calls again until that is true.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from aws_lambda_powertools import Logger

from jobs.failure import reason_of
from jobs.task import Answer, Event, task_maker
from tessera.domain.tenant import Tenant
from tessera.services.computed.backfill import Backfill, Filler
from tessera.services.computed.catalogue import AttributeCatalogue
from tessera.services.computed.compiled import compile_attribute
from tessera.services.stream_shares import Share
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.executions import Executions
from tessera.storage.lake import Lake
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry
from tessera.storage.stream_index import StreamIndex

_logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME", "backfill"))
_task = task_maker(_logger, lambda event: {"share": event.get("share")}, subject="attribute")


@cache
def _configurations() -> ConfigurationStore:
    return ConfigurationStore(aws.dynamodb(), aws.registry_table())


@cache
def _catalogue() -> AttributeCatalogue:
    return AttributeCatalogue(
        _configurations(),
        Registry(aws.dynamodb(), aws.registry_table()),
        compile_attribute,
        # The machine notes how far it is; starting it is the caller's.
        Executions(aws.stepfunctions, lambda: os.environ["BACKFILL_MACHINE"]),
    )


@cache
def _index() -> StreamIndex:
    return StreamIndex(aws.dynamodb(), aws.profile_table())


@cache
def _lake() -> Lake:
    return Lake(aws.s3(), aws.lake_bucket())


@cache
def _backfill() -> Backfill:
    return Backfill(_catalogue(), _configurations(), _index(), _lake(), ThreadPoolExecutor(aws.CONNECTIONS))


@cache
def _filler() -> Filler:
    store = ProfileTable(aws.dynamodb(), aws.profile_table())
    return Filler(_catalogue(), _configurations(), _index(), store, _lake(), ThreadPoolExecutor(aws.CONNECTIONS))


@_task
def begin(tenant: Tenant, attribute_id: str, event: Event) -> Answer:
    """Note that the work begins; ``active`` tells whether there is any."""
    return {**event, "active": _backfill().begin(tenant, attribute_id)}


@_task
def plan(tenant: Tenant, attribute_id: str, event: Event) -> Answer:
    """Divide the streams into shares, ``shares`` of them."""
    return {
        "org_id": tenant.org_id,
        "sandbox": tenant.sandbox,
        "attribute_id": attribute_id,
        "manifest_bucket": _lake().bucket,
        "manifest_key": _lake().shares_key(tenant, attribute_id),
        "shares": _backfill().plan(tenant, attribute_id),
    }


@_task
def fill(tenant: Tenant, attribute_id: str, event: Event) -> Answer:
    """Complete streams of a share for some minutes; ``done`` tells whether these were the last."""
    return {**event, "done": _filler().fill(tenant, attribute_id, Share.from_document(event["share"]))}


@_task
def finish(tenant: Tenant, attribute_id: str, event: Event) -> Answer:
    """Make the attribute readable."""
    _backfill().finish(tenant, attribute_id)
    return {}


@_task
def fail(tenant: Tenant, attribute_id: str, event: Event) -> Answer:
    """Note that the machine gave up; ``error`` is what Step Functions caught."""
    _backfill().fail(tenant, attribute_id, reason_of(event.get("error", {})))
    return {}
