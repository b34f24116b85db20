"""What every API function does with a request before it is checked and after it is answered."""

from __future__ import annotations

import gc
import os
import re
import time
import traceback
from abc import ABC, abstractmethod
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Generic
from uuid import uuid4

from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError

from tessera.domain.tenant import Tenant
from tessera.gateway import _problems as problems
from tessera.gateway._messages import Response
from tessera.gateway._problems import ApiError, BodyTooLargeError
from tessera.gateway._routes import R, Route, Routes

_ENTITIES = "/data/core/ups/access/entities"
# An answer is made of many objects that die with it, and none that refer to each other in circles: looking for such
# circles at every 700th object took up to a third of a look-up of large fragments.
gc.set_threshold(50_000, 20, 100)
_USABLE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")


class ApiFunction(ABC, Generic[R]):
    """One API function: its routes, and how a request becomes an answer.

    Which requests get to a handler is the subclass's to say. One line is logged per request; no value that a caller
    sent is in it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._routes: Routes[R] = Routes()
        # Where a line was logged from says nothing: every request is logged from the same place.
        self._logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME", name), location=None)
        self._cold = True

    @property
    def routes(self) -> tuple[Route[R], ...]:
        """Every route of this function."""
        return tuple(self._routes)

    @abstractmethod
    def _answer(self, exchange: Exchange) -> Response:
        """Check a request and let its handler answer it."""

    def handler(self, event: dict[str, Any], context: object) -> dict[str, Any]:
        """Answer one event of API Gateway (Lambda proxy integration, payload version 1.0)."""
        started = time.perf_counter_ns()
        headers = _headers(event)
        request_id = _request_id(event, headers)
        exchange = Exchange(event, headers, request_id)
        try:
            proxy = self._answer(exchange).to_proxy(request_id)
        except Exception as error:
            problem = problems.translate(error)
            if problem is None:
                self._logger.error("unexpected", request_id=request_id, **_fault(error))
                problem = ApiError(500, "Something went wrong on our side")
            body = problem.body(request_id, for_entities=exchange.path.startswith(_ENTITIES))
            proxy = Response(body, problem.status, problem.headers).to_proxy(request_id)
        self._log(exchange, proxy["statusCode"], started, context)
        return proxy

    __call__ = handler

    def _log(self, exchange: Exchange, status: int, started: int, context: object) -> None:
        self._logger.info(
            "request",
            request_id=exchange.request_id,
            invocation_id=getattr(context, "aws_request_id", None),
            method=exchange.method,
            route=exchange.route,
            tenant=exchange.tenant.key if exchange.tenant else None,
            status=status,
            duration_ms=(time.perf_counter_ns() - started) / 1_000_000,
            cold_start=self._cold,
        )
        self._cold = False


class Exchange:
    """What is known of a request while it is checked, for the answer and the log."""

    __slots__ = ("event", "headers", "method", "path", "request_id", "route", "tenant")

    def __init__(self, event: Mapping[str, Any], headers: Mapping[str, str], request_id: str) -> None:
        self.event = event
        self.headers = headers
        self.request_id = request_id
        self.method: str = event.get("httpMethod") or ""
        self.path: str = event.get("path") or "/"
        self.route: str | None = None
        self.tenant: Tenant | None = None


def _headers(event: Mapping[str, Any]) -> dict[str, str]:
    """Fold header names to lower case. Empty values are as good as absent.

    Different values of one header are joined, as HTTP reads them: so no check sees a value that another did not.
    Half of a character, which no answer could repeat, becomes a question mark.
    """
    given = event.get("multiValueHeaders") or {name: [value] for name, value in (event.get("headers") or {}).items()}
    folded: dict[str, str] = {}
    for name, values in given.items():
        lower = name.lower()
        for value in values:
            text = value.encode(errors="replace").decode().strip()
            known = folded.get(lower)
            if text and text != known:
                folded[lower] = text if known is None else f"{known}, {text}"
    return folded


def _request_id(event: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    for candidate in (headers.get("x-request-id"), (event.get("requestContext") or {}).get("requestId")):
        if candidate and _USABLE_REQUEST_ID.match(candidate):
            return str(candidate)
    return uuid4().hex


def body_of(exchange: Exchange, route: Route[Any]) -> bytes:
    """Take the body of a POST, PUT or PATCH, its content type and its size checked."""
    given = exchange.event.get("body")
    if not given or route.method not in {"POST", "PUT", "PATCH"}:
        return b""
    content_type = exchange.headers.get("content-type")
    if content_type is None:
        raise problems.content_type_missing()
    if content_type.partition(";")[0].strip().lower() not in route.accepts:
        raise problems.content_type_unsupported()
    body = b64decode(given) if exchange.event.get("isBase64Encoded") else given.encode("utf-8", "surrogatepass")
    if len(body) > route.max_bytes:
        raise BodyTooLargeError(len(body), route.max_bytes, route.too_large)
    return body


def _fault(error: Exception) -> dict[str, Any]:
    """Describe our own fault by where it happened: messages of exceptions may quote personal data."""
    frames = traceback.extract_tb(error.__traceback__)
    fault: dict[str, Any] = {
        "error": type(error).__name__,
        "where": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]],
    }
    if isinstance(error, ClientError):
        fault["aws"] = f"{error.operation_name}: {error.response['Error']['Code']}"
    return fault
