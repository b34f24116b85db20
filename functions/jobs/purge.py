"""The tasks of the purge machine: begin, plan, sweep, look, discard, settle, fail.

All but ``sweep`` and ``look`` take ``{"org_id", "sandbox", "job_id"}``, from ``plan`` on with the number of the
``round``; these two take ``{"job": {those}, "share": {an item of the manifest}}`` and answer it with ``done``: the
machine calls again until that is true.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache

from aws_lambda_powertools import Logger

from jobs.failure import reason_of
from jobs.task import Answer, Event, task_maker
from tessera.domain.purge import Purge
from tessera.domain.tenant import Tenant
from tessera.services.event_removal import EventRemover
from tessera.services.linking import Linker
from tessera.services.purging.batch_rows import BatchRows, Places, StagedListing, places_of_prefix
from tessera.services.purging.course import Course
from tessera.services.purging.discarding import Discarder
from tessera.services.purging.reached import DatasetRows
from tessera.services.purging.shares import Share
from tessera.services.purging.sweeping import Rows, Sweeper
from tessera.services.streaming.gathered import Gathered
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.journal import Journal
from tessera.storage.lake import Lake
from tessera.storage.person_index import PersonIndex
from tessera.storage.profile_table import ProfileTable
from tessera.storage.purge_lake import PurgeLake
from tessera.storage.purges import PurgeStore
from tessera.storage.registry import Registry
from tessera.storage.stream_lake import StreamLake
from tessera.storage.streamed_rows import StreamedRows

_logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME", "purge"))
_task = task_maker(_logger, lambda event: {"share": event.get("share", {}).get("name")})


@cache
def _registry() -> Registry:
    return Registry(aws.dynamodb(), aws.registry_table())


@cache
def _configurations() -> ConfigurationStore:
    return ConfigurationStore(aws.dynamodb(), aws.registry_table())


@cache
def _lake() -> Lake:
    return Lake(aws.s3(), aws.lake_bucket())


@cache
def _notes() -> PurgeLake:
    return PurgeLake(aws.s3(), aws.lake_bucket())


@cache
def _streamed_rows() -> StreamedRows:
    return StreamedRows(aws.s3(), aws.lake_bucket())


@cache
def _index() -> PersonIndex:
    return PersonIndex(aws.dynamodb(), aws.profile_table())


@cache
def _course() -> Course:
    return Course(
        PurgeStore(_registry()),
        _configurations(),
        BatchStore(_registry()),
        Journal(aws.s3(), aws.lake_bucket()),
        _index(),
        _lake(),
        _streamed_rows(),
        _notes(),
        ThreadPoolExecutor(aws.CONNECTIONS),
    )


@cache
def _sweeper() -> Sweeper:
    executor = ThreadPoolExecutor(aws.CONNECTIONS)
    table = ProfileTable(aws.dynamodb(), aws.profile_table())
    of_datasets = DatasetRows(_configurations(), _index(), table, Linker(table, executor), executor)
    remover = EventRemover(_configurations(), table)
    of_batches = BatchRows(StagedListing(_lake()), places_of_prefix, table, remover, executor)
    gathered = Gathered(_streamed_rows(), StreamLake(aws.s3(), aws.lake_bucket(), executor))

    @lru_cache(maxsize=1)
    def places_of_stream(tenant: Tenant, dataset_id: str, batch_id: str) -> Places:
        places = gathered.places(tenant, dataset_id, batch_id)
        return Places(places.low, places.high, places.__contains__)

    of_streams = BatchRows(
        of_datasets,
        lambda tenant, job: places_of_stream(tenant, job.dataset_id, job.batch_id),
        table,
        remover,
        executor,
    )

    def rows_of(job: Purge) -> Rows:
        if job.streamed:
            return of_streams
        return of_batches if job.batch_id else of_datasets

    return Sweeper(PurgeStore(_registry()), _notes(), rows_of)


@_task
def begin(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Note that the work begins; ``active`` tells whether there is any."""
    return {**event, "active": _course().begin(tenant, job_id)}


@_task
def plan(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Divide what there is into shares, ``shares`` of them."""
    return {
        "org_id": tenant.org_id,
        "sandbox": tenant.sandbox,
        "job_id": job_id,
        "manifest_bucket": _notes().bucket,
        "manifest_key": _notes().shares_key(tenant, job_id),
        "shares": _course().plan(tenant, job_id),
        "round": 1,
    }


@_task
def sweep(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Delete what there is in a share for some minutes; ``done`` tells whether that was all."""
    return {**event, "done": _sweeper().sweep(tenant, job_id, Share.from_document(event["share"]))}


@_task
def look(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Look at a share again for some minutes; ``done`` tells whether that was all."""
    share = Share.from_document(event["share"])
    return {**event, "done": _sweeper().look_again(tenant, job_id, share, event["job"]["round"])}


@_task
def discard(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Delete from the lake for some minutes, if that was asked for; ``done`` tells whether that was all."""
    discarder = Discarder(PurgeStore(_registry()), BatchStore(_registry()), _lake(), _streamed_rows(), _notes())
    return {**event, "done": discarder.discard(tenant, job_id)}


@_task
def settle(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Settle the job if the last look found nothing, as ``clean`` tells; else there is another round."""
    clean = _course().settle(tenant, job_id, event["round"])
    return {**event, "clean": clean, "round": event["round"] + (not clean)}


@_task
def fail(tenant: Tenant, job_id: str, event: Event) -> Answer:
    """Note that the machine gave up; ``error`` is what Step Functions caught."""
    _course().fail(tenant, job_id, reason_of(event.get("error", {})))
    return {}
