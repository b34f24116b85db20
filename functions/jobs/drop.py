"""Takes files that arrive in the drop folder; called by the topic to which the lake tells of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote_plus

import orjson
from aws_lambda_powertools import Logger

from tessera.services.batches import Batches
from tessera.services.dropping import Drop
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.drop_folder import DropFolder
from tessera.storage.executions import Executions
from tessera.storage.lake import Lake
from tessera.storage.registry import Registry

_logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME", "drop"))


@cache
def _drop() -> Drop:
    records = BatchStore(Registry(aws.dynamodb(), aws.registry_table()))
    lake = Lake(aws.s3(), aws.lake_bucket())
    batches = Batches(
        records,
        ConfigurationStore(aws.dynamodb(), aws.registry_table()),
        lake,
        Executions(aws.stepfunctions, lambda: os.environ["INGEST_STATE_MACHINE_ARN"]),
    )
    return Drop(DropFolder(aws.s3(), aws.lake_bucket()), records, batches, lake.key_of)


def take(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Make a batch of each object that the event tells of; one that fails is told again by whoever called."""
    for key, version in _objects(event):
        try:
            batch_id = _drop().take(key, version)
        except Exception as error:
            # Without the key: file names may say whose data it is.
            _logger.error("failed", version=version, error=type(error).__name__)
            raise
        _logger.info("taken" if batch_id else "nothing taken", batch=batch_id, version=version)
    return {}


def _objects(event: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for message in event["Records"]:
        # The test message of a topic that was just connected has no records.
        for record in orjson.loads(message["Sns"]["Message"]).get("Records", ()):
            told = record["s3"]["object"]
            yield unquote_plus(told["key"]), told["versionId"]
