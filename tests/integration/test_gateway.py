"""What the shared entry point does for every function: callers, memory, errors, logs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pydantic import BaseModel

from tessera.domain import errors
from tessera.domain.tenant import Tenant
from tessera.gateway import Endpoint, Request, Response, ResponseTooLargeError, _callers, _tokens
from tessera.gateway._admission import admission
from tessera.storage.configuration import UnknownSandboxError
from tessera.storage.registry import LostRaceError, Registry
from tests.integration.conftest import CLIENT_ID, ORG, SANDBOXES, Caller, answered, client_document

ENTITIES = "/data/core/ups/access/entities"
THINGS = "/data/things"


class Thing(BaseModel):
    size: int
    names: list[str] = []


class Probe:
    """An endpoint whose handler does what a test tells it to."""

    def __init__(self) -> None:
        self.endpoint = Endpoint("probe")
        self.seen: list[Request] = []
        self.raises: Exception | None = None
        self.endpoint.get(ENTITIES, permission="read")(self.handle)
        self.endpoint.get(THINGS, permission="read")(self.handle)
        self.endpoint.post(THINGS, permission="configure")(self.parse)
        self.endpoint.post(THINGS + "/search", permission="read", reads=True)(self.handle)
        self.endpoint.get(THINGS + "/{id}/files/{path+}", permission="read")(self.handle)

    def handle(self, request: Request) -> Response:
        self.seen.append(request)
        if self.raises:
            raise self.raises
        return Response({"ok": True})

    def parse(self, request: Request) -> Response:
        self.seen.append(request)
        return Response({"size": request.parse(Thing).size})


@pytest.fixture
def probe(environment: None) -> Probe:
    return Probe()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The seconds that have gone by for the memory of callers and keys."""
    passed = [1000.0]
    monkeypatch.setattr(_callers.time, "monotonic", lambda: passed[0])
    yield passed


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    reads: list[str] = []
    get = Registry.get

    def counted(self: Registry, partition: str, sort: str) -> dict[str, Any] | None:
        reads.append(partition)
        return get(self, partition, sort)

    monkeypatch.setattr(Registry, "get", counted)
    return reads


class TestRequest:
    def test_the_handler_gets_who_where_and_what(self, call: Caller, probe: Probe) -> None:
        answer = call(
            probe.endpoint.handler,
            "GET",
            THINGS + "/a%40b/files/x/..%2Fy.json",
            query={"limit": ["1", "2"], "blank": ""},
            headers={"X-Request-Id": "mine-1", "X-Extra": "1"},
        )
        assert answer.status == 200
        (request,) = probe.seen
        assert request.tenant == Tenant(ORG, "dev")
        assert (request.sandbox.id, request.sandbox.type) == (SANDBOXES["dev"]["id"], "development")
        assert request.caller == CLIENT_ID
        assert request.path_parameters == {"id": "a@b", "path": "x/../y.json"}
        assert request.query.every("limit") == ["1", "2"]
        assert request.query.get("blank") == ""
        assert request.headers["x-extra"] == "1"
        assert request.request_id == answer.headers["x-request-id"] == "mine-1"
        assert request.raw_body == b""

    @pytest.mark.parametrize("given", ["", "a b", "x" * 129, "a\r\nSet-Cookie: b", "ä"])
    def test_a_request_id_that_is_not_usable_is_replaced(self, call: Caller, probe: Probe, given: str) -> None:
        answer = call(probe.endpoint.handler, "GET", THINGS, headers={"x-request-id": given})
        assert answer.headers["x-request-id"] == "11112222-3333-4444-5555-666677778888"

    def test_header_names_and_the_scheme_come_in_any_case(self, call: Caller, probe: Probe) -> None:
        good = call.headers()
        headers = {name.upper(): value for name, value in good.items()}
        headers["AUTHORIZATION"] = good["Authorization"].replace("Bearer ", "bearer  ")
        assert call(probe.endpoint.handler, "GET", THINGS, headers=headers).status == 200

    def test_one_header_given_twice_is_fine_if_both_say_the_same(self, call: Caller, probe: Probe) -> None:
        event = call.event("GET", THINGS)
        event["multiValueHeaders"]["x-sandbox-name"] = ["dev", "dev", ""]
        assert answered(probe.endpoint.handler(event, None)).status == 200
        event["multiValueHeaders"]["x-sandbox-name"] = ["dev", "prod"]
        assert answered(probe.endpoint.handler(event, None)).status == 404

    def test_an_event_without_multi_value_headers_is_read_too(self, call: Caller, probe: Probe) -> None:
        event = call.event("GET", THINGS)
        del event["multiValueHeaders"], event["multiValueQueryStringParameters"], event["requestContext"]
        answer = answered(probe.endpoint.handler(event, None))
        assert answer.status == 200
        assert len(answer.headers["x-request-id"]) == 32

    def test_a_sandbox_can_be_named_by_its_id(self, call: Caller, probe: Probe) -> None:
        by_id = {"x-sandbox-name": None, "x-sandbox-id": str(SANDBOXES["prod"]["id"])}
        assert call(probe.endpoint.handler, "GET", THINGS, headers=by_id).status == 200
        assert probe.seen[0].sandbox.name == "prod"
        both = {"x-sandbox-name": "dev", "x-sandbox-id": str(SANDBOXES["prod"]["id"])}
        assert call(probe.endpoint.handler, "GET", THINGS, headers=both).status == 404

    def test_reads_without_a_sandbox_are_in_prod(self, call: Caller, probe: Probe) -> None:
        nowhere = {"x-sandbox-name": None}
        assert call(probe.endpoint.handler, "GET", THINGS, headers=nowhere).status == 200
        assert call(probe.endpoint.handler, "POST", THINGS + "/search", body={}, headers=nowhere).status == 200
        assert [request.sandbox.name for request in probe.seen] == ["prod", "prod"]
        assert call(probe.endpoint.handler, "POST", THINGS, body={}, headers=nowhere).json()["error_code"] == "400003"

    def test_bodies_come_in_base64_or_not(self, call: Caller, probe: Probe) -> None:
        event = call.event("POST", THINGS, body={"size": 3})
        assert answered(probe.endpoint.handler(event, None)).json() == {"size": 3}
        event["body"], event["isBase64Encoded"] = "eyJzaXplIjogNH0=", True
        assert answered(probe.endpoint.handler(event, None)).json() == {"size": 4}

    def test_a_content_type_on_a_call_without_a_body_means_nothing(self, call: Caller, probe: Probe) -> None:
        assert call(probe.endpoint.handler, "GET", THINGS, headers={"Content-Type": "text/html"}).status == 200
        assert call(probe.endpoint.handler, "GET", THINGS, body=b"{", headers={"Content-Type": None}).status == 200


class TestMemory:
    def test_a_second_request_reads_nothing(self, call: Caller, probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
        reads = count_reads(monkeypatch)
        for _ in range(3):
            assert call(probe.endpoint.handler, "GET", THINGS).status == 200
        assert sorted(reads) == [f"client#{CLIENT_ID}", f"org#{ORG}"]
        assert call.issuer.asked == 1

    def test_what_was_just_registered_works_at_once(self, call: Caller, probe: Probe, clock: list[float]) -> None:
        new = {"x-sandbox-name": "new"}
        assert call(probe.endpoint.handler, "GET", THINGS).status == 200
        clock[0] += 5
        call.registry.put(f"org#{ORG}", "org", {"sandboxes": SANDBOXES | {"new": SANDBOXES["dev"]}})
        call.registry.put(f"client#{CLIENT_ID}", "client", client_document([ORG, "NEW@AdobeOrg"]))
        call.registry.put("org#NEW@AdobeOrg", "org", {"sandboxes": SANDBOXES})
        assert call(probe.endpoint.handler, "GET", THINGS, headers=new).status == 200
        assert call(probe.endpoint.handler, "GET", THINGS, headers={"x-gw-ims-org-id": "NEW@AdobeOrg"}).status == 200

    def test_what_was_taken_away_is_gone_within_a_minute(self, call: Caller, probe: Probe, clock: list[float]) -> None:
        assert call(probe.endpoint.handler, "GET", THINGS).status == 200
        call.registry.put(f"client#{CLIENT_ID}", "client", client_document([]))
        clock[0] += 60
        assert call(probe.endpoint.handler, "GET", THINGS).json()["error_code"] == "403025"

    def test_a_flood_of_refusals_is_no_flood_of_readings(
        self, call: Caller, probe: Probe, clock: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert call(probe.endpoint.handler, "GET", THINGS).status == 200
        clock[0] += 5
        reads = count_reads(monkeypatch)
        for headers in (
            {"x-sandbox-name": "nowhere"},
            {"x-gw-ims-org-id": "FOREIGN@AdobeOrg"},
            {"x-api-key": "nobody", "Authorization": None},
        ):
            for _ in range(20):
                assert call(probe.endpoint.handler, "GET", THINGS, headers=headers).status >= 400
        assert len(reads) == 3

    def test_a_flood_of_strange_keys_is_no_flood_of_readings(
        self, call: Caller, probe: Probe, clock: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reads = count_reads(monkeypatch)
        codes = [
            call(
                probe.endpoint.handler, "GET", THINGS, headers={"x-api-key": f"k{number}", "Authorization": "Bearer x"}
            ).json()["error_code"]
            for number in range(50)
        ]
        assert codes == ["403003"] * 5 + ["401013"] * 45
        assert len(reads) == 5
        assert call(probe.endpoint.handler, "GET", THINGS).status == 200

    def test_a_flood_of_unknown_signing_keys_asks_the_issuer_once(self, call: Caller, probe: Probe) -> None:
        for number in range(20):
            headers = {"Authorization": f"Bearer {call.issuer.token(key_id=f'key-{number + 2}')}"}
            assert call(probe.endpoint.handler, "GET", THINGS, headers=headers).status == 401
        assert call.issuer.asked == 1

    def test_a_remembered_token_ends_when_it_expires(
        self, call: Caller, probe: Probe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        headers = {"Authorization": f"Bearer {call.issuer.token(exp=int(time.time()) + 100)}"}
        assert call(probe.endpoint.handler, "GET", THINGS, headers=headers).status == 200
        now = time.time()
        monkeypatch.setattr(_tokens.time, "time", lambda: now + 101)
        assert call(probe.endpoint.handler, "GET", THINGS, headers=headers).status == 401

    def test_remembered_tokens_are_bounded(self, call: Caller, probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_tokens, "_REMEMBERED_TOKENS", 3)
        for number in range(6):
            headers = {"Authorization": f"Bearer {call.issuer.token(jti=str(number))}"}
            assert call(probe.endpoint.handler, "GET", THINGS, headers=headers).status == 200
        assert len(admission()._tokens._verified) == 3

    def test_a_rotated_key_is_found(self, call: Caller, probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
        assert call(probe.endpoint.handler, "GET", THINGS).status == 200
        now = time.monotonic()
        monkeypatch.setattr(_tokens.time, "monotonic", lambda: now + 11)
        call.issuer.key_id = "key-2"
        assert call(probe.endpoint.handler, "GET", THINGS).status == 200

    def test_keys_from_before_serve_while_the_issuer_is_away(
        self, call: Caller, probe: Probe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(_url: str) -> bytes:
            raise OSError("no route")

        assert call(probe.endpoint.handler, "GET", THINGS).status == 200
        keys = admission()._tokens._keys
        monkeypatch.setattr(keys, "_fetch", away)
        now = time.monotonic()
        monkeypatch.setattr(_tokens.time, "monotonic", lambda: now + 3601)
        headers = {"Authorization": f"Bearer {call.issuer.token(jti='another')}"}
        assert call(probe.endpoint.handler, "GET", THINGS, headers=headers).status == 200

    @pytest.mark.parametrize(
        "published", [b"", b"[]", b"{}", b'{"keys": [{"kty": "RSA", "kid": "x"}]}', b'{"keys": 3}']
    )
    def test_without_any_key_nobody_is_let_in(
        self, call: Caller, probe: Probe, monkeypatch: pytest.MonkeyPatch, published: bytes
    ) -> None:
        monkeypatch.setattr(_tokens, "_fetch", lambda _url: published)
        answer = call(probe.endpoint.handler, "GET", THINGS)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")

    def test_an_organisation_that_is_not_here(self, call: Caller, probe: Probe) -> None:
        call.registry.put(f"client#{CLIENT_ID}", "client", client_document([ORG, "GONE@AdobeOrg"]))
        answer = call(probe.endpoint.handler, "GET", THINGS, headers={"x-gw-ims-org-id": "GONE@AdobeOrg"})
        assert answer.status == 403
        assert answer.json() == {"message": "UPS-ACC-1000004: IMS Org is not provisioned.", "statusCode": "403"}


def aws_error(code: str, **more: Any) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "x"}, **more}, "Query")


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "status", "code", "title"),
        [
            (errors.InvalidRequestError("no"), 400, "TESSERA-INVALID-REQUEST-400", "Bad request"),
            (errors.EntityNotFoundError(), 404, "UPLIB-201001-404", "Entity not found"),
            (errors.MergePolicyNotFoundError(), 404, "UPLIB-101221-404", "Merge policy not found"),
            (errors.NotFoundError("no"), 404, "TESSERA-NOT-FOUND-404", "Not found"),
            (UnknownSandboxError("x"), 404, "TESSERA-NOT-FOUND-404", "Not found"),
            (errors.UndecodableXidError("x", "pdg"), 422, "UPS-MRG-1000001-422", "Identities cannot be retrieved"),
            (
                errors.TooManyRelatedIdentitiesError(61, 50),
                422,
                "UPS-ACCSDK-1000005-422",
                "Too many related identities",
            ),
            (errors.UnprocessableError("no"), 422, "TESSERA-UNPROCESSABLE-422", "Unprocessable request"),
            (errors.ConflictError("no"), 409, "TESSERA-CONFLICT-409", "Conflict"),
            (LostRaceError(), 409, "TESSERA-CONFLICT-409", "Conflict"),
            (ResponseTooLargeError(), 422, "TESSERA-ANSWER-TOO-LARGE-422", "The answer is too large"),
            (RuntimeError("alice@example.org"), 500, "TESSERA-INTERNAL-500", "Internal error"),
            (aws_error("ValidationException"), 500, "TESSERA-INTERNAL-500", "Internal error"),
        ],
    )
    def test_each_error_has_its_envelope(
        self, call: Caller, probe: Probe, error: Exception, status: int, code: str, title: str
    ) -> None:
        probe.raises = error
        answer = call(probe.endpoint.handler, "GET", THINGS)
        body = answer.json()
        assert answer.status == status
        message = body["errors"][str(status)][0]["message"]
        assert body == {
            "requestId": answer.headers["x-request-id"],
            "errors": {str(status): [{"code": code, "message": message}]},
            "type": f"https://ns.adobe.com/aep/errors/{code}",
            "title": title,
            "status": status,
            **({} if message == title else {"detail": message}),
        }
        assert "alice" not in answer.text
        entities = call(probe.endpoint.handler, "GET", ENTITIES).json()
        assert entities == body | {"message": message, "cause": "", "statusCode": str(status)}

    def test_the_example_of_the_contract(self, call: Caller, probe: Probe) -> None:
        probe.raises = errors.EntityNotFoundError()
        answer = call(probe.endpoint.handler, "GET", ENTITIES, headers={"x-request-id": "q7ZkW0v1TtB8sYp4"})
        assert answer.json() == {
            "requestId": "q7ZkW0v1TtB8sYp4",
            "errors": {"404": [{"code": "UPLIB-201001-404", "message": "Entity not found"}]},
            "type": "https://ns.adobe.com/aep/errors/UPLIB-201001-404",
            "title": "Entity not found",
            "status": 404,
            "message": "Entity not found",
            "cause": "",
            "statusCode": "404",
        }

    @pytest.mark.parametrize(
        "error",
        [
            aws_error("ProvisionedThroughputExceededException"),
            aws_error("ThrottlingException"),
            aws_error("TransactionCanceledException", CancellationReasons=[{"Code": "ThrottlingError"}]),
        ],
    )
    def test_throttling_asks_for_patience(self, call: Caller, probe: Probe, error: Exception) -> None:
        probe.raises = error
        answer = call(probe.endpoint.handler, "GET", THINGS)
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert answer.json()["status"] == 429
        entities = call(probe.endpoint.handler, "GET", ENTITIES)
        assert (entities.status, entities.headers["retry-after"]) == (429, "1")
        assert entities.json()[0]["statusCode"] == "429"
        assert entities.json()[0]["retryAfterMs"] == "500"

    def test_a_model_that_is_not_met_says_where_without_repeating_values(self, call: Caller, probe: Probe) -> None:
        answer = call(probe.endpoint.handler, "POST", THINGS, body={"size": "alice", "names": [1, 2, 3, 4, 5, 6]})
        assert answer.status == 400
        assert answer.json()["detail"].startswith("size: Input should be a valid integer")
        assert "names.0: " in answer.json()["detail"]
        assert "and 2 more" in answer.json()["detail"]
        assert "alice" not in answer.text

    def test_an_error_has_room_in_an_answer_whatever_it_quotes(self, call: Caller, probe: Probe) -> None:
        probe.raises = errors.InvalidRequestError("x" * 4_000_000)
        answer = call(probe.endpoint.handler, "GET", THINGS)
        assert answer.status == 400
        assert answer.json()["detail"].startswith("xxx")
        assert len(answer.text) < 10_000

    @pytest.mark.parametrize(
        "name", ["Authorization", "x-api-key", "x-gw-ims-org-id", "x-request-id", "x-sandbox-name"]
    )
    def test_half_of_a_character_in_a_header_is_refused(self, call: Caller, probe: Probe, name: str) -> None:
        answer = call(probe.endpoint.handler, "GET", THINGS, headers={name: "Bearer \ud800"})
        assert answer.status in ({200} if name == "x-request-id" else {401, 403, 404})

    def test_malformed_json_has_the_words_of_the_contract(self, call: Caller, probe: Probe) -> None:
        answer = call(probe.endpoint.handler, "POST", THINGS, body=b"{")
        assert answer.status == 400
        assert answer.json()["errors"]["400"] == [
            {
                "code": "UPLIB-101206-500",
                "message": "There is a problem extracting the user JSON, field(s) missing or invalid. "
                "Correct and try again.",
            }
        ]
        assert answer.json()["detail"].startswith("Line 1")


class TestLog:
    def lines(self, captured: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in captured.splitlines()]

    def test_one_line_per_request_and_nothing_personal_in_it(
        self, call: Caller, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A service of its own: a logger keeps the output that it was made with.
        monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "logged")
        probe = Probe()
        path = THINGS + "/alice%40example.org/files/alice.json"
        call(probe.endpoint.handler, "GET", path, query={"entityId": "alice@example.org"})
        probe.raises = RuntimeError("alice@example.org")
        call(probe.endpoint.handler, "GET", path, query={"entityId": "alice@example.org"})
        call(probe.endpoint.handler, "GET", "/alice", headers={"x-api-key": "alice"})
        output = capsys.readouterr().out
        assert "alice" not in output
        first, fault, second, third = self.lines(output)
        assert first["route"] == THINGS + "/{id}/files/{path+}"
        assert (first["method"], first["status"], first["cold_start"]) == ("GET", 200, True)
        assert first["tenant"] == Tenant(ORG, "dev").key
        assert 0 < first["duration_ms"] < 60_000
        assert first["request_id"]
        assert (fault["level"], fault["error"], fault["request_id"]) == ("ERROR", "RuntimeError", second["request_id"])
        assert any("test_gateway.py" in frame for frame in fault["where"])
        assert (second["status"], second["cold_start"]) == (500, False)
        assert third["status"] == 403
        assert not {"route", "tenant"} & set(third)
