"""Every route that messages come in to answers every defect before its handler runs (contract: data-and-pql §4.5)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tessera.domain.errors import RateLimitError
from tessera.domain.tenant import Tenant
from tessera.gateway import JSON, MAX_MESSAGE_BYTES, InletEndpoint, InletRequest, Response, Route, _callers, _tokens
from tessera.storage import aws
from tests.integration.conftest import (
    CLIENT_ID,
    OTHER_ORG,
    Answer,
    Caller,
    answered,
    client_document,
    proxy_event,
)
from tests.integration.inlets import TENANT, inlets, make_connection, make_inlet
from tests.integration.test_header_errors import CONTENT_TYPE_MISSING, CONTENT_TYPE_UNSUPPORTED, DEFECTS, endpoints

SEEN: list[InletRequest] = []
probe = InletEndpoint("probe")


@probe.post("/collection/probe/{inlet}")
def keep(request: InletRequest) -> Response:
    """Keep what gets here."""
    SEEN.append(request)
    return Response({"flag": request.query.flag("syncValidation"), "body": request.json()})


ROUTES = [
    pytest.param(endpoint, route, id=f"{route.method} {route.pattern}")
    for endpoint in (probe, *endpoints())
    if isinstance(endpoint, InletEndpoint)
    for route in endpoint.routes
]


@pytest.fixture(autouse=True)
def nothing_seen(call: Caller) -> Iterator[None]:
    SEEN.clear()
    yield


def send(
    inlet: str,
    headers: Mapping[str, str | None] | None = None,
    *,
    endpoint: InletEndpoint = probe,
    route: Route[InletRequest] = probe.routes[0],
    method: str = "POST",
    body: bytes = b"{}",
    query: Mapping[str, str] | None = None,
) -> Answer:
    """Send as a device does: with no header but those given and the type of the body."""
    sent = {"Content-Type": JSON, **(headers or {})}
    path = route.pattern.replace("{inlet}", inlet)
    good = {name: text for name, text in sent.items() if text is not None}
    return answered(endpoint.handler(proxy_event(method, path, query=query, body=body, headers=good), None))


def refusal(status: int, inlet: str, reason: str) -> tuple[int, dict[str, Any]]:
    return status, {
        "type": "https://ns.adobe.com/adobecloud/problem/data-collection-service-authorization",
        "status": str(status),
        "title": "Authorization",
        "report": {"message": f"[{inlet}] {reason}"},
    }


@pytest.mark.parametrize(("endpoint", "route"), ROUTES)
class TestEachRoute:
    def test_refuses_an_inlet_that_is_none(
        self, endpoint: InletEndpoint, route: Route[InletRequest], call: Caller
    ) -> None:
        good = make_inlet()
        connection = make_connection()
        disabled, deleted = make_inlet(state="disabled"), str(connection["auth"]["params"]["inletId"])
        inlets().delete(TENANT, connection["id"])
        elsewhere = make_inlet(tenant=Tenant(OTHER_ORG, "dev"))
        for inlet in (
            "0" * 64,
            "x",
            good[:-1] + ("0" if good[-1] != "0" else "1"),
            good[:-1],
            good + "0",
            good.upper(),
            f"%20{good}",
            # The secret of one tenant's inlet with the name of another's.
            elsewhere[:24] + good[24:],
            connection["id"],
            disabled,
            deleted,
        ):
            for headers in (None, call.headers()):
                answer = send(inlet, headers, endpoint=endpoint, route=route)
                assert (answer.status, answer.json()["title"]) == (404, "Not found"), inlet
                assert "inletUrl" in answer.json()["detail"]
        assert SEEN == []

    def test_refuses_each_defect_of_a_token(
        self, endpoint: InletEndpoint, route: Route[InletRequest], call: Caller
    ) -> None:
        inlet = make_inlet(authenticated=True)
        tried = 0
        for defect in DEFECTS:
            headers = defect.headers(call.issuer)
            if set(headers) != {"Authorization"}:
                continue
            tried += 1
            answer = send(inlet, headers, endpoint=endpoint, route=route)
            if headers["Authorization"]:
                assert (answer.status, answer.json()) == refusal(403, inlet, "Ims service token is not valid")
            else:
                assert (answer.status, answer.json()) == refusal(401, inlet, "Ims service token is empty")
        assert tried > 12
        # What an ordinary call needs besides does not stand in for a token.
        answer = send(inlet, call.headers() | {"Authorization": ""}, endpoint=endpoint, route=route)
        assert answer.status == 401
        assert SEEN == []

    def test_refuses_a_client_that_may_not_ingest_there(
        self, endpoint: InletEndpoint, route: Route[InletRequest], call: Caller
    ) -> None:
        call.registry.put("client#reader", "client", client_document(permissions=("read", "configure", "erase")))
        call.registry.put("client#foreign", "client", client_document([OTHER_ORG]))
        reason = "The client of the token may not ingest for this organisation"
        inlet = make_inlet(authenticated=True)
        foreign = make_inlet(tenant=Tenant(OTHER_ORG, "dev"), authenticated=True)
        for client, door in (("reader", inlet), ("foreign", inlet), ("nobody", inlet), (CLIENT_ID, foreign)):
            headers = call.headers() | {"Authorization": f"Bearer {call.issuer.token(client)}"}
            answer = send(door, headers, endpoint=endpoint, route=route)
            assert (answer.status, answer.json()) == refusal(403, door, reason), client
        assert SEEN == []

    def test_refuses_content_it_does_not_read_and_too_much_of_it(
        self, endpoint: InletEndpoint, route: Route[InletRequest], call: Caller
    ) -> None:
        inlet = make_inlet()
        for content_type, wanted in (
            (None, CONTENT_TYPE_MISSING),
            ("", CONTENT_TYPE_MISSING),
            ("text/html", CONTENT_TYPE_UNSUPPORTED),
        ):
            answer = send(inlet, {"Content-Type": content_type}, endpoint=endpoint, route=route)
            assert (answer.status, answer.json()) == wanted
        answer = send(inlet, endpoint=endpoint, route=route, body=b" " * (MAX_MESSAGE_BYTES + 1))
        assert answer.status == 413
        assert "1,048,576" in answer.json()["detail"]
        assert SEEN == []

    def test_refuses_a_method_it_does_not_have(
        self, endpoint: InletEndpoint, route: Route[InletRequest], call: Caller
    ) -> None:
        answer = send(make_inlet(), call.headers(), endpoint=endpoint, route=route, method="GET")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


class TestOpenInlet:
    def test_nothing_but_the_inlet_is_asked_for_and_it_says_whose_the_message_is(self, call: Caller) -> None:
        connection = make_connection()
        inlet = connection["auth"]["params"]["inletId"]
        answer = send(inlet, body=b'{"a": 1}', query={"syncValidation": "true"})
        assert (answer.status, answer.json()) == (200, {"flag": True, "body": {"a": 1}})
        (request,) = SEEN
        assert (request.inlet.id, request.inlet.tenant, request.caller) == (inlet, TENANT, None)
        assert (request.inlet.connection_id, request.inlet.source_id) == (connection["id"], "till-7")
        assert request.request_id == answer.headers["x-request-id"]

    def test_headers_that_name_another_organisation_or_sandbox_change_nothing(self, call: Caller) -> None:
        headers = {"x-gw-ims-org-id": OTHER_ORG, "x-sandbox-name": "prod", "Authorization": "Bearer nonsense"}
        assert send(make_inlet(), headers).status == 200
        assert SEEN[0].inlet.tenant == TENANT
        assert SEEN[0].caller is None

    def test_it_is_found_in_one_read_each_time(self, call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
        inlet = make_inlet()
        client = aws.dynamodb()
        made = client._make_api_call  # type: ignore[attr-defined]
        calls: list[tuple[str, Any]] = []

        def counted(name: str, given: Any) -> Any:
            calls.append((name, given.get("ConsistentRead")))
            return made(name, given)

        monkeypatch.setattr(client, "_make_api_call", counted)
        for _ in range(2):
            assert send(inlet).status == 200
        assert calls == [("GetItem", True)] * 2

    def test_the_log_has_no_inlet_in_it(
        self, call: Caller, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A service of its own: a logger keeps the output that it was made with.
        monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "logged-inlets")
        fresh = InletEndpoint("probe")
        fresh.post("/collection/probe/{inlet}")(keep)
        inlet = make_inlet()
        send(inlet, endpoint=fresh)
        send(make_inlet(authenticated=True), endpoint=fresh)
        out = capsys.readouterr().out
        lines = [json.loads(line) for line in out.splitlines()]
        assert [(line["route"], line["tenant"], line["status"]) for line in lines] == [
            ("/collection/probe/{inlet}", TENANT.key, 200),
            ("/collection/probe/{inlet}", TENANT.key, 401),
        ]
        assert inlet[24:] not in out


class TestAuthenticatedInlet:
    def test_a_client_that_may_ingest_is_let_in_with_its_token_alone(self, call: Caller) -> None:
        call.registry.put("client#till", "client", client_document(permissions=["ingest"]))
        answer = send(make_inlet(authenticated=True), {"authorization": f"bearer {call.issuer.token('till')}"})
        assert answer.status == 200
        assert SEEN[0].caller == "till"

    def test_a_client_that_was_just_registered_is_let_in(self, call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
        passed = [1000.0]
        monkeypatch.setattr(_callers.time, "monotonic", lambda: passed[0])
        inlet = make_inlet(authenticated=True)
        headers = {"Authorization": f"Bearer {call.issuer.token('newcomer')}"}
        assert send(inlet, headers).status == 403
        call.registry.put("client#newcomer", "client", client_document(permissions=["ingest"]))
        passed[0] += 1
        assert send(inlet, headers).status == 200

    def test_without_the_issuer_s_keys_nobody_is_let_in(self, call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_tokens, "_fetch", lambda _url: b"{}")
        answer = send(make_inlet(authenticated=True), {"Authorization": f"Bearer {call.issuer.token()}"})
        assert answer.status == 503
        assert SEEN == []


def test_too_many_requests_are_told_when_to_come_back(call: Caller) -> None:
    busy = InletEndpoint("probe")

    @busy.post("/collection/probe/{inlet}")
    def refuse(_request: InletRequest) -> Response:
        raise RateLimitError("Enough", retry_after_s=43)

    answer = send(make_inlet(), endpoint=busy)
    assert (answer.status, answer.headers["retry-after"]) == (429, "43")
    assert answer.json()["errors"]["429"] == [{"code": "TESSERA-TOO-MANY-REQUESTS-429", "message": "Enough"}]


def test_a_path_that_is_none_is_answered_with_json(call: Caller) -> None:
    answer = answered(probe.handler(proxy_event("GET", "/collection"), None))
    assert (answer.status, answer.json()["title"]) == (404, "Not found")


def test_a_route_must_name_its_inlet() -> None:
    for pattern in ("/collection", "/collection/{id}", "/collection/{inlet+}", "/collection/x{inlet}"):
        with pytest.raises(ValueError, match="names no inlet"):
            InletEndpoint("probe").post(pattern)
