"""What is done with streamed messages: process, close. Both are called with messages of a queue.

They answer which of these failed; these come again, and after some attempts end in the dead-letter queue.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from tessera.domain.message import Message
from tessera.domain.place import Place
from tessera.storage import aws
from tessera.storage.queues import ClosingQueue, MessageQueue, closing_of
from tessera.storage.registry import Registry
from tessera.storage.stream_lake import StreamLake
from tessera.storage.streamed_rows import StreamedRows
from tessera.storage.windows import WindowStore

if TYPE_CHECKING:
    from tessera.services.sample.checks import SampleChecks
    from tessera.services.streaming.closing import Closer
    from tessera.services.streaming.processing import Processor

Event = Mapping[str, Any]
Answer = dict[str, Any]

_logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME", "stream"))


def process(event: Event, context: object) -> Answer:
    """Process messages."""
    records: dict[Place, list[str]] = defaultdict(list)
    messages: list[Message] = []
    failed: list[str] = []
    for record in event["Records"]:
        try:
            message = _messages().read(record["body"])
        except Exception as error:
            _notice(error)
            failed.append(record["messageId"])
            continue
        messages.append(message)
        records[message.place].append(record["messageId"])
    failed += [record for place in _processor().process(messages) for record in records[place]]
    return _answer("processed", event["Records"], failed)


def close(event: Event, context: object) -> Answer:
    """Close windows, and see to it that somebody looks whether it is time for a sample."""
    failed: list[str] = []
    for record in event["Records"]:
        try:
            closing = closing_of(record["body"])
            _closer().close(closing)
            _checks().while_streaming(closing.window.tenant)
        except Exception as error:
            _notice(error)
            failed.append(record["messageId"])
    return _answer("closed", event["Records"], failed)


def _answer(done: str, records: Sequence[object], failed: Sequence[str]) -> Answer:
    _logger.info(done, messages=len(records), failed=len(failed))
    return {"batchItemFailures": [{"itemIdentifier": record} for record in failed]}


def _notice(error: Exception) -> None:
    # The text of an error may hold what a caller sent.
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    code = where.tb_frame.f_code if where is not None else None
    _logger.error("failed", error=type(error).__name__, where=f"{code.co_filename}:{code.co_name}" if code else None)


@cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(aws.CONNECTIONS)


@cache
def _stage() -> StreamLake:
    return StreamLake(aws.s3(), aws.lake_bucket(), _executor())


@cache
def _streamed_rows() -> StreamedRows:
    return StreamedRows(aws.s3(), aws.lake_bucket())


@cache
def _messages() -> MessageQueue:
    # For reading only: what is in the queue was sent by the API.
    return MessageQueue(aws.sqs(), "", _stage(), _executor())


@cache
def _closings() -> ClosingQueue:
    return ClosingQueue(aws.sqs(), aws.window_queue())


@cache
def _processor() -> Processor:
    # Here, so that the other task does not load what only this one needs.
    from tessera.services.profile_writer import ProfileWriter  # noqa: PLC0415
    from tessera.services.schema_versions import SchemaVersions  # noqa: PLC0415
    from tessera.services.streaming.processing import Processor  # noqa: PLC0415
    from tessera.services.streaming.redelivered import Redelivered  # noqa: PLC0415
    from tessera.services.streaming.windows import Windows  # noqa: PLC0415
    from tessera.storage.configuration import ConfigurationStore  # noqa: PLC0415
    from tessera.storage.deleted_rows import DeletedRows  # noqa: PLC0415
    from tessera.storage.graph_metrics import GraphMetrics  # noqa: PLC0415
    from tessera.storage.profile_table import ProfileTable  # noqa: PLC0415

    client, table = aws.dynamodb(), aws.registry_table()
    configurations, profiles = ConfigurationStore(client, table), ProfileTable(client, aws.profile_table())
    return Processor(
        configurations,
        SchemaVersions(Registry(client, table)),
        ProfileWriter(configurations, profiles, _executor(), GraphMetrics(_logger).watch),
        _stage(),
        Windows(WindowStore(client, table), _closings(), aws.window_ms()),
        _notice,
        Redelivered(DeletedRows(Registry(client, table)), _streamed_rows(), aws.window_ms()).deleted,
        lambda messages: _logger.info("left deleted", messages=messages),
    )


@cache
def _checks() -> SampleChecks:
    # Here, so that the other task does not load what only this one needs.
    from tessera.services.sample.checks import SampleChecks  # noqa: PLC0415
    from tessera.storage.executions import Executions  # noqa: PLC0415

    return SampleChecks(Executions(aws.stepfunctions, lambda: os.environ["SAMPLE_STATE_MACHINE_ARN"]))


@cache
def _closer() -> Closer:
    # Here, so that the other task does not load what only this one needs.
    from tessera.services.streaming.closing import Closer  # noqa: PLC0415
    from tessera.storage.batches import BatchStore  # noqa: PLC0415
    from tessera.storage.lake import Lake  # noqa: PLC0415

    client, table = aws.dynamodb(), aws.registry_table()
    return Closer(
        WindowStore(client, table),
        _closings(),
        _stage(),
        Lake(aws.s3(), aws.lake_bucket()),
        _streamed_rows(),
        BatchStore(Registry(client, table)),
    )
