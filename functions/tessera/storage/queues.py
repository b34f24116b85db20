"""The queues of streaming: messages that wait to be processed, and windows that wait to be closed.

A message in the queue is base64 of one ``codec`` body: ``{"message": ...}``, or ``{"key": ...}`` of the object of the
lake that holds one too large for the queue.
"""

from __future__ import annotations

import random
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from tessera.domain.message import Message
from tessera.domain.place import Place
from tessera.domain.tenant import Tenant
from tessera.domain.window import Closing
from tessera.storage.codec import pack, unpack

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

MAX_DELAY_S = 900
# Of one message, and of all that are sent in one call.
_MAX_BYTES = 256 * 1024
_MAX_ENTRIES = 10
_ATTEMPTS = 4
_LONGEST_PAUSE_S = 0.2


class LargeMessages(Protocol):
    """Where messages are that no queue takes: ``storage.stream_lake.StreamLake``."""

    def put_message(self, tenant: Tenant, place: Place, body: bytes) -> str:
        """Store one; answer its key."""

    def message(self, key: str) -> bytes:
        """Read one."""


class MessageQueue:
    """The queue of messages."""

    def __init__(self, client: SQSClient, url: str, large: LargeMessages, executor: Executor) -> None:
        self._client = client
        self._url = url
        self._large = large
        self._executor = executor

    def send(self, messages: Sequence[Message]) -> set[Place]:
        """Put messages in line; answer the places of those that the queue did not take."""
        bodies = list(self._executor.map(self._written, messages))
        places = [message.place for message in messages]
        shares = list(_shares(list(zip(places, bodies, strict=True))))
        return set().union(*self._executor.map(self._send, shares))

    def read(self, body: str) -> Message:
        """Read a message from the body it has in the queue. Raises ValueError for what is none."""
        document = unpack(b64decode(body, validate=True))
        if "key" in document:
            document = unpack(self._large.message(document["key"]))
        return Message.from_document(document["message"])

    def _written(self, message: Message) -> str:
        packed = pack({"message": message.to_document()})
        if len(packed) * 4 // 3 + 4 > _MAX_BYTES:
            packed = pack({"key": self._large.put_message(message.tenant, message.place, packed)})
        return b64encode(packed).decode("ascii")

    def _send(self, share: Sequence[tuple[Place, str]]) -> set[Place]:
        left = {str(number): item for number, item in enumerate(share)}
        for attempt in range(_ATTEMPTS):
            entries: list[SendMessageBatchRequestEntryTypeDef] = [
                {"Id": number, "MessageBody": body} for number, (_, body) in left.items()
            ]
            answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
            left = {failure["Id"]: left[failure["Id"]] for failure in answer.get("Failed", ())}
            if not left:
                break
            if attempt + 1 < _ATTEMPTS:
                time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 - jitter
        return {place for place, _ in left.values()}


class ClosingQueue:
    """The queue of windows that wait to be closed."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, closing: Closing, delay_s: int) -> None:
        """Ask for a window to be closed after a time; a long one is waited for in several steps."""
        self._client.send_message(
            QueueUrl=self._url,
            MessageBody=orjson.dumps(closing.to_document()).decode(),
            DelaySeconds=max(0, min(MAX_DELAY_S, delay_s)),
        )


def _shares(items: Sequence[tuple[Place, str]]) -> Iterator[list[tuple[Place, str]]]:
    """Divide what is to be sent among calls."""
    share: list[tuple[Place, str]] = []
    size = 0
    for item in items:
        if share and (len(share) == _MAX_ENTRIES or size + len(item[1]) > _MAX_BYTES):
            yield share
            share, size = [], 0
        share.append(item)
        size += len(item[1])
    if share:
        yield share


def closing_of(body: str) -> Closing:
    """Read what a window's message in the queue asks for. Raises ValueError."""
    document: dict[str, Any] = orjson.loads(body)
    return Closing.from_document(document)
