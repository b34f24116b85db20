"""Canned storage: a real boto3 client whose answers come from memory instead of from the network.

Requests are validated, serialised and signed, and answers checked and parsed, by botocore as ever; only the HTTP
exchange in between is left out. The bytes answered are those that a service gave to the very same request before.
"""

from __future__ import annotations

import re
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from moto.core.models import botocore_stubber

_TRANSACTION = "TransactWriteItems"
# botocore makes one up for each transaction.
_REQUEST_TOKEN = re.compile(rb'"ClientRequestToken": "[^"]*"')


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the service: what was asked and what was answered."""

    operation: str
    arguments: dict[str, Any]
    answer: dict[str, Any]


def sequential(spans: Sequence[tuple[float, float]]) -> int:
    """Return the length of the longest chain of calls, each sent after the one before it was answered."""
    depths: list[tuple[float, int]] = []
    for sent, answered in sorted(spans):
        depths.append((answered, 1 + max((depth for until, depth in depths if until <= sent), default=0)))
    return max((depth for _, depth in depths), default=0)


class NotRecordedError(Exception):
    """A request was made while measuring that was never recorded."""


@dataclass(frozen=True, slots=True)
class _Raw:
    body: bytes

    def stream(self) -> Iterator[bytes]:
        yield self.body


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Any
    body: bytes


class Wire:
    """Stands between a DynamoDB client and the network.

    While recording, requests go on to whoever answers behind it, and every call is noted in ``calls``. While
    replaying, answers come from memory and a request that was not recorded is an error.
    """

    def __init__(self, client: Any) -> None:
        self.calls: list[Call] = []
        self.spans: list[tuple[float, float]] = []
        self.client = client
        self._latency_s = 0.0
        self._answers: dict[tuple[str, bytes], _Answer] = {}
        self._replaying = False
        self._sent = threading.local()
        self._noting = False
        client.meta.events.register_first("before-send.dynamodb", self._before_send)
        self.note(True)

    def note(self, noting: bool) -> None:
        """Begin or stop noting calls."""
        if noting == self._noting:
            return
        self._noting = noting
        events = self.client.meta.events
        change = events.register if noting else events.unregister
        change("provide-client-params.dynamodb", self._before_call)
        change("after-call.dynamodb", self._after_call)

    def taken(self) -> list[Call]:
        """Return the calls noted since the last time, and forget them."""
        calls, self.calls = self.calls, []
        return calls

    @contextmanager
    def replaying(self, latency_s: float = 0.0) -> Iterator[None]:
        """Answer from memory; with a latency, note in ``spans`` when each call was sent and answered."""
        self._replaying, self._latency_s = True, latency_s
        self.spans = []
        self.note(False)
        # botocore asks everyone before it sends, also when it has an answer already.
        botocore_stubber.enabled = False
        try:
            yield
        finally:
            botocore_stubber.enabled = True
            self._replaying = False
            self.note(True)

    def forget(self) -> None:
        """Forget the answers recorded: a request answered before may be answered otherwise from now on."""
        self._answers.clear()

    def _before_send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        target = request.headers["X-Amz-Target"]
        body = request.body
        operation = target.decode() if isinstance(target, bytes) else target
        body = body if isinstance(body, bytes) else b""
        key = (operation, _REQUEST_TOKEN.sub(b"", body) if operation.endswith(_TRANSACTION) else body)
        if not self._replaying:
            self._sent.key = key
            return None
        answer = self._answers.get(key)
        if answer is None:
            raise NotRecordedError(f"{key[0]} {key[1][:300]!r}")
        if self._latency_s:
            sent = time.monotonic()
            time.sleep(self._latency_s)
            self.spans.append((sent, time.monotonic()))
        return AWSResponse(request.url, answer.status, answer.headers, _Raw(answer.body))

    def _before_call(self, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["bench"] = params

    def _after_call(self, http_response: Any, parsed: Any, model: Any, context: dict[str, Any], **_: Any) -> None:
        self.calls.append(Call(model.name, context["bench"], parsed))
        if self._replaying:
            return
        body = http_response.content
        # As DynamoDB sends it: botocore checks it.
        headers = HeadersDict(
            {
                "content-type": "application/x-amz-json-1.0",
                "x-amzn-requestid": "BENCH",
                "x-amz-crc32": str(zlib.crc32(body)),
            }
        )
        self._answers.setdefault(self._sent.key, _Answer(http_response.status_code, headers, body))
