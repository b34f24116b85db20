"""Streaming: messages that come in one by one."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from api.streaming import ONE, SEVERAL
from ops.openapi.describing import Answer, Area, Milliseconds, Operation, Parameter


class SchemaReference(TypedDict):
    """A schema; what is said of its content type makes no difference."""

    id: str
    contentType: NotRequired[str]


class MessageSource(TypedDict):
    """Where a message comes from."""

    name: str


class MessageOperations(TypedDict, total=False):
    """What the row does to the stored record, and whether the identities it names are linked."""

    data: Literal["create", "merge", "delete"]
    identity: Literal["create"]
    identityDatasetId: str


class MessageHeader(TypedDict):
    """What a message is for. An organisation that is not named is the inlet's."""

    schemaRef: SchemaReference
    datasetId: str
    imsOrgId: NotRequired[str]
    flowId: NotRequired[str]
    createdAt: NotRequired[Any]
    source: NotRequired[MessageSource]
    operations: NotRequired[MessageOperations]


class MessageMeta(TypedDict):
    """The schema once more."""

    schemaRef: SchemaReference


class MessageBody(TypedDict):
    """The row."""

    xdmMeta: MessageMeta
    xdmEntity: dict[str, Any]


class StreamedMessage(TypedDict):
    """A message: a row, and what it is for."""

    header: MessageHeader
    body: MessageBody


class StreamedMessages(TypedDict):
    """Several messages."""

    messages: list[StreamedMessage]


class SyncValidation(TypedDict, total=False):
    """Whether the row was validated and written before the answer."""

    status: Literal["pass"]
    skipped: Literal[True]


class Received(TypedDict):
    """A message was received; `xactionId` is in `tags` of the profile."""

    inletId: str
    xactionId: str
    receivedTimeMs: Milliseconds
    syncValidation: SyncValidation


class ReceivedMessage(TypedDict, total=False):
    """What became of one message: `xactionId`, or `statusCode` and why it was refused."""

    xactionId: str
    statusCode: int
    message: str
    detail: str


class ReceivedMessages(TypedDict):
    """What became of each message, in the order in which they were sent."""

    inletId: str
    batchId: str
    receivedTimeMs: Milliseconds
    responses: list[ReceivedMessage]


_INLET = "The inlet's id, as its connection has it"

AREA = Area(
    "Streaming",
    "Rows sent one by one, or some at a time.",
    {"inlet": _INLET},
    {
        f"POST {ONE}": Operation(
            answers={200: Answer("The message was received", Received)},
            query=(
                Parameter(
                    "syncValidation",
                    "`true` to have the row validated and written before the answer, 60 times a minute at most",
                    bool,
                ),
            ),
            body=StreamedMessage,
            fails=(503,),
        ),
        f"POST {SEVERAL}": Operation(
            answers={207: Answer("What became of each message", ReceivedMessages)},
            query=(Parameter("syncValidation", "Not available here: `true` is refused", bool),),
            body=StreamedMessages,
            fails=(501,),
        ),
    },
)
