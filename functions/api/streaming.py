"""Streaming ingestion: messages sent to an inlet, one or several at a time (contract: data-and-pql §4.5)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from tessera.domain.errors import InvalidRequestError
from tessera.domain.inlet import Inlet
from tessera.domain.message import Message, MessageError
from tessera.domain.place import batch_id_of
from tessera.domain.rows import RowError
from tessera.gateway import ApiError, InletEndpoint, InletRequest, Response
from tessera.services.inlets import Inlets
from tessera.services.streaming.receiving import Receiver
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.queues import MessageQueue
from tessera.storage.rate_limits import RateLimiter
from tessera.storage.registry import Registry
from tessera.storage.stream_lake import StreamLake

if TYPE_CHECKING:
    from tessera.services.streaming.processing import Processor

endpoint = InletEndpoint("streaming")

ONE = "/collection/{inlet}"
SEVERAL = "/collection/batch/{inlet}"
PROBLEM = "http://ns.adobe.com/adobecloud/problem/data-collection-service/inlet"
TITLE = "Invalid XDM Message Format"
_RETRY_AFTER_S = "1"


@endpoint.post(ONE)
def collect(request: InletRequest) -> Response:
    """Take a message in; with ``syncValidation`` it is validated and written before the answer."""
    synchronous = request.query.flag("syncValidation")
    if synchronous:
        _inlets().admit_synchronous(request.inlet)
    received = _receiver().request()
    try:
        message = _receiver().one(request.inlet.tenant, received, request.json())
        if synchronous:
            _processor().process_now(message)
        elif _receiver().queue([message]):
            raise _unavailable()
    except MessageError as error:
        return Response({**_refused(request.inlet, str(error)), "detail": error.detail}, 400)
    except RowError as error:
        return Response(_refused(request.inlet, "Message is invalid", _violations(error)), 400)
    return Response(
        {
            "inletId": request.inlet.id,
            "xactionId": batch_id_of(message.place),
            "receivedTimeMs": received.received_ms,
            "syncValidation": {"status": "pass"} if synchronous else {"skipped": True},
        }
    )


@endpoint.post(SEVERAL)
def collect_several(request: InletRequest) -> Response:
    """Take several messages in, each by itself; 207 also when all are refused."""
    if request.query.flag("syncValidation"):
        raise ApiError(501, "syncValidation is not available here: send such messages to /collection/{inlet}")
    body = request.json()
    sent = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(sent, list):
        raise InvalidRequestError('the body must be {"messages": [...]}')
    received = _receiver().request()
    looked_at = _receiver().several(request.inlet.tenant, received, sent)
    lost = _receiver().queue([one for one in looked_at if isinstance(one, Message)])

    def answer(one: Message | MessageError) -> dict[str, Any]:
        if isinstance(one, MessageError):
            return {"statusCode": 400, "message": _about(request.inlet, str(one)), "detail": one.detail}
        if one.place in lost:
            return {"statusCode": 503, "message": "The message was not taken: send it again"}
        return {"xactionId": batch_id_of(one.place)}

    return Response(
        {
            "inletId": request.inlet.id,
            "batchId": received.transaction_id,
            "receivedTimeMs": received.received_ms,
            "responses": [answer(one) for one in looked_at],
        },
        207,
    )


def _unavailable() -> ApiError:
    return ApiError(503, "The message was not taken: send it again", headers={"Retry-After": _RETRY_AFTER_S})


def _about(inlet: Inlet, what: str) -> str:
    return f"inletId: [{inlet.id}] imsOrgId: [{inlet.tenant.org_id}] {what}"


def _refused(inlet: Inlet, what: str, violations: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    report: dict[str, Any] = {"message": _about(inlet, what)}
    if violations:
        report["cause"] = {"_streamingValidation": list(violations)}
    return {"type": PROBLEM, "status": 400, "title": TITLE, "report": report}


def _violations(error: RowError) -> list[dict[str, Any]]:
    """Say which rules a row breaks; what is no rule of its schema has our code for a keyword."""
    broken = error.violations or ((error.code, str(error), "#", "#"),)
    return [
        {
            "schemaLocation": location,
            "pointerToViolation": pointer,
            "causingExceptions": [],
            "keyword": keyword,
            "message": message,
        }
        for keyword, message, pointer, location in broken
    ]


@cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(aws.CONNECTIONS)


@cache
def _inlets() -> Inlets:
    client, table = aws.dynamodb(), aws.registry_table()
    return Inlets(Registry(client, table), RateLimiter(client, table))


@cache
def _stage() -> StreamLake:
    return StreamLake(aws.s3(), aws.lake_bucket(), _executor())


@cache
def _receiver() -> Receiver:
    queue = MessageQueue(aws.sqs(), aws.stream_queue(), _stage(), _executor())
    return Receiver(ConfigurationStore(aws.dynamodb(), aws.registry_table()), queue)


@cache
def _processor() -> Processor:
    # Here, because most messages are processed elsewhere.
    from tessera.services.profile_writer import ProfileWriter  # noqa: PLC0415
    from tessera.services.schema_versions import SchemaVersions  # noqa: PLC0415
    from tessera.services.streaming.processing import Processor  # noqa: PLC0415
    from tessera.services.streaming.windows import Windows  # noqa: PLC0415
    from tessera.storage.graph_metrics import GraphMetrics  # noqa: PLC0415
    from tessera.storage.profile_table import ProfileTable  # noqa: PLC0415
    from tessera.storage.queues import ClosingQueue  # noqa: PLC0415
    from tessera.storage.windows import WindowStore  # noqa: PLC0415

    client, table = aws.dynamodb(), aws.registry_table()
    configurations, profiles = ConfigurationStore(client, table), ProfileTable(client, aws.profile_table())
    watch = GraphMetrics(Logger(service="streaming")).watch
    return Processor(
        configurations,
        SchemaVersions(Registry(client, table)),
        ProfileWriter(configurations, profiles, _executor(), watch),
        _stage(),
        Windows(WindowStore(client, table), ClosingQueue(aws.sqs(), aws.window_queue()), aws.window_ms()),
    )


handler = endpoint.handler
