"""What accepts the deletion of datasets' and batches' data, for the endpoints that do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from os import environ

from aws_lambda_powertools import Logger

from tessera.services.purging.accepting import Purges
from tessera.services.streaming.gathered import Gathered
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.deleted_rows import DeletedRows
from tessera.storage.executions import Executions
from tessera.storage.journal import Journal
from tessera.storage.purges import PurgeStore
from tessera.storage.registry import Registry
from tessera.storage.stream_lake import StreamLake
from tessera.storage.streamed_rows import StreamedRows

_logger = Logger(service=environ.get("POWERTOOLS_SERVICE_NAME", "purges"))


@cache
def purges() -> Purges:
    """Return the process's one."""
    registry = Registry(aws.dynamodb(), aws.registry_table())
    return Purges(
        ConfigurationStore(aws.dynamodb(), aws.registry_table()),
        PurgeStore(registry),
        BatchStore(registry),
        # One object is read at a time, so nothing runs side by side.
        Gathered(
            StreamedRows(aws.s3(), aws.lake_bucket()),
            StreamLake(aws.s3(), aws.lake_bucket(), ThreadPoolExecutor(1)),
        ),
        DeletedRows(registry),
        Journal(aws.s3(), aws.lake_bucket()),
        Executions(aws.stepfunctions, lambda: environ["PURGE_STATE_MACHINE_ARN"]),
        notice=lambda error: _logger.error("put off", error=type(error).__name__),
    )
