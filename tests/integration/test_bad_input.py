"""Whatever is sent to a route of the document, it is answered as the document says (laws 6 and 9)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.core.botocore_stubber import BotocoreStubber

from tessera.domain.identity import Identity
from tessera.domain.tenant import Tenant
from tests.integration.bad_requests import BadRequest, Known, bad_requests
from tests.integration.conftest import ORG, Answer, Caller
from tests.integration.documented import closed, holds_the_answer
from tests.integration.furnished import HANDLERS, furnished, startable_machines

# A new route of the document is among them by itself. What deletes comes last.
OPERATIONS = sorted(
    (
        (method.upper(), template, operation)
        for template, operations in closed()["paths"].items()
        for method, operation in operations.items()
    ),
    key=lambda one: (one[0] == "DELETE", one[1], one[0]),
)
EXAMPLES = 6
READING = ("BatchGet", "Describe", "Get", "Head", "List", "Query", "Scan")
NOT_IMPLEMENTED = 501


def everything() -> dict[Any, Any]:
    """All that is stored; how many messages with syncValidation came in a minute is no trace of what they said."""
    dynamodb, s3 = boto3.client("dynamodb"), boto3.client("s3")
    items = {
        (table, item["pk"]["S"], item["sk"]["S"]): item
        for table in ("profiles", "registry")
        for page in dynamodb.get_paginator("scan").paginate(TableName=table)
        for item in page["Items"]
        if "#rate#" not in item["pk"]["S"]
    }
    objects = {
        item["Key"]: item["ETag"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket="lake")
        for item in page.get("Contents", ())
    }
    return {**items, **objects}


def noted_writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list in which every call to AWS is noted that may change something."""
    noted: list[str] = []
    answer = BotocoreStubber.__call__

    def noting(stubber: BotocoreStubber, event_name: str, **more: Any) -> Any:
        operation = event_name.rpartition(".")[2]
        if not operation.startswith(READING):
            noted.append(operation)
        return answer(stubber, event_name, **more)

    monkeypatch.setattr(BotocoreStubber, "__call__", noting)
    return noted


def sent(call: Caller, request: BadRequest, template: str) -> Answer:
    """Send a request as a client of sandbox ``dev``."""
    handler = HANDLERS[request.method, template]
    options: Any = {"query": request.query, "body": request.body, "headers": request.headers}
    return call(handler, request.method, request.path, **options)


def told(text: str, names: Mapping[str, str] = {}) -> str:
    """What an answer says, of other things and at no time."""
    for name, other in names.items():
        text = text.replace(name, other)
    return re.sub(r'"timestamp":"[^"]*"', "", text)


def of_each_route(known: Known, check: Callable[[BadRequest, str, Mapping[str, Any]], None]) -> None:
    """Check requests of every route."""
    for method, template, operation in OPERATIONS:
        _of_route(template, operation, bad_requests(method, template, operation, known), check)


def _of_route(
    template: str,
    operation: Mapping[str, Any],
    requests: st.SearchStrategy[BadRequest],
    check: Callable[[BadRequest, str, Mapping[str, Any]], None],
) -> None:
    @settings(max_examples=EXAMPLES)
    @given(requests)
    def checked(request: BadRequest) -> None:
        check(request, template, operation)

    checked()


def test_it_is_answered_and_a_refusal_changes_nothing(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    startable_machines(monkeypatch)
    known = furnished(call, "dev")
    before, writes = everything(), noted_writes(monkeypatch)

    def check(request: BadRequest, template: str, operation: Mapping[str, Any]) -> None:
        nonlocal before
        writes.clear()
        answer = sent(call, request, template)
        assert answer.status < 500 or answer.status == NOT_IMPLEMENTED
        holds_the_answer(operation, answer)
        # What nobody wrote to need not be looked at.
        after = everything() if writes else before
        assert after == before or (answer.status < 400 and request.method not in {"GET", "HEAD"})
        before = after

    of_each_route(known, check)


def test_what_another_sandbox_has_is_as_good_as_nothing(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for it is answered as if it were nowhere, and it stays as it is."""
    startable_machines(monkeypatch)
    prod = Tenant(ORG, "prod")
    known = furnished(call, prod.sandbox)
    nowhere = {name: name[::-1] for name in known.ids}
    nowhere[Identity.of("CRM", "c1").xid(prod)] = Identity.of("CRM", "nobody").xid(prod)
    somewhere = {other: name for name, other in nowhere.items()}

    def of_prod() -> dict[Any, Any]:
        return {key: value for key, value in everything().items() if prod.key in str(key)}

    before, writes = of_prod(), noted_writes(monkeypatch)

    def check(request: BadRequest, template: str, _: Mapping[str, Any]) -> None:
        writes.clear()
        about_nothing = sent(call, request.about(nowhere), template)
        answer = sent(call, request, template)
        # A message is of the sandbox that its inlet says; what was done in ``dev`` may not go twice.
        if not template.startswith("/collection/") and (about_nothing.status >= 400 or request.method == "GET"):
            assert (answer.status, told(answer.text)) == (about_nothing.status, told(about_nothing.text, somewhere))
            assert not writes or of_prod() == before

    of_each_route(known, check)
