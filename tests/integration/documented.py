"""Holds calls to the OpenAPI document: what they send, what their handler reads and what comes back."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft202012Validator, FormatChecker

from ops.openapi.document import document
from tests.integration.conftest import Answer, Caller


def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


_FORMATS = FormatChecker()
_FORMATS.checks("date-time", raises=ValueError)(_is_time)


@cache
def described() -> dict[str, Any]:
    """The document as it is."""
    return document()


@cache
def closed() -> dict[str, Any]:
    """The document with every field that an object may have in it: one more is wrong."""
    strict = copy.deepcopy(described())
    for schema in _schemas(strict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return strict


def _schemas(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if value.get("type") == "object":
            yield value
        for item in value.values():
            yield from _schemas(item)
    elif isinstance(value, list):
        for item in value:
            yield from _schemas(item)


@dataclass
class Documented:
    """Calls as ``call`` does, and holds each call to the document; ``seen`` are the operations and statuses met."""

    call: Caller
    # The query parameters that the handler has asked for since the call began.
    read: set[str] = field(default_factory=set)
    seen: set[tuple[str, int]] = field(default_factory=set)

    def __call__(
        self,
        handler: Any,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: object = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> Answer:
        self.read.clear()
        answer = self.call(handler, method, path, query=query, body=body, headers=headers)
        template, operation = _operation(method, path)
        self.seen.add((f"{method} {template}", answer.status))
        parameters = [resolved(one) for one in operation["parameters"]]
        names = {one["name"].lower() for one in parameters if one["in"] == "query"}
        assert self.read <= names, f"{method} {template} reads {self.read - names}"
        if answer.status < 400:
            self._holds_the_request(operation, parameters, query or {}, body)
        holds_the_answer(operation, answer)
        return answer

    def _holds_the_request(
        self, operation: dict[str, Any], parameters: list[Any], query: Mapping[str, Any], body: object
    ) -> None:
        sent = {name.lower() for name in query}
        known = {one["name"].lower(): one for one in parameters if one["in"] == "query"}
        assert sent <= known.keys()
        assert {name for name, one in known.items() if one.get("required")} <= sent
        if body is None or isinstance(body, bytes):
            assert isinstance(body, bytes) or not operation.get("requestBody", {}).get("required")
            return
        for content in operation["requestBody"]["content"].values():
            if not list(_validator(content["schema"], described()).iter_errors(body)):
                return
        raise AssertionError(f"no body that {operation['operationId']} reads: {body}")


def holds_the_answer(operation: Mapping[str, Any], answer: Answer) -> None:
    """Expect an answer to be one that an operation has in the document."""
    assert str(answer.status) in operation["responses"], f"{operation['operationId']}: {answer.status}"
    # References lead into the closed document.
    response = resolved(operation["responses"][str(answer.status)])
    promised = {name.lower() for name in response.get("headers", {})}
    assert promised <= answer.headers.keys()
    content = response.get("content")
    if content is None:
        assert answer.text == ""
        return
    media = answer.headers["content-type"]
    assert media in content
    if media == "application/json":
        _validator(content[media]["schema"], closed()).validate(answer.json())


def _validator(schema: dict[str, Any], document_: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": document_["components"]}, format_checker=_FORMATS)


def resolved(thing: Mapping[str, Any]) -> dict[str, Any]:
    """Follow a reference within the document."""
    if "$ref" not in thing:
        return dict(thing)
    found: Any = closed()
    for step in thing["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


def _operation(method: str, path: str) -> tuple[str, dict[str, Any]]:
    template = template_of(method, path)
    return template, closed()["paths"][template][method.lower()]


def template_of(method: str, path: str) -> str:
    """Find the path of the document that a call is to; one without parameters goes before one with."""
    for template in sorted(closed()["paths"], key=lambda one: one.count("{")):
        pattern = re.sub(r"\\\{path\\\}", ".+", re.escape(template))
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", pattern)
        if re.fullmatch(pattern, unquote(path).rstrip("/")) and method.lower() in closed()["paths"][template]:
            return template
    raise AssertionError(f"the document has no {method} {path}")
