"""Every route of every function answers every defect of a request before its handler runs (profile-api §1.3)."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

import api
from api import datasets
from tessera.gateway import JSON, MAX_BODY_BYTES, Endpoint, InletEndpoint, Request, Route
from tests.integration.conftest import CLIENT_ID, OTHER_ORG, Caller, Issuer, client_document

Headers = Mapping[str, str | None]

_STRANGE_KEY = rsa.generate_private_key(65537, 2048)


def endpoints() -> list[Endpoint | InletEndpoint]:
    """The endpoints of all modules of functions/api."""
    modules = [importlib.import_module(f"api.{module.name}") for module in pkgutil.iter_modules(api.__path__)]
    return [module.endpoint for module in modules if hasattr(module, "endpoint")]


# Those of inlets have their own checks: test_inlet_admission.py.
ENDPOINTS = [endpoint for endpoint in endpoints() if isinstance(endpoint, Endpoint)]
ROUTES = [
    pytest.param(endpoint, route, id=f"{route.method} {route.pattern}")
    for endpoint in ENDPOINTS
    for route in endpoint.routes
]


def test_there_is_no_other_kind_of_endpoint() -> None:
    assert all(type(endpoint) in {Endpoint, InletEndpoint} for endpoint in endpoints())


def path_of(route: Route[Request]) -> str:
    return re.sub(r"\{\w+\+?\}", "6b04b6930b603753398598e5", route.pattern)


@dataclass(frozen=True)
class Defect:
    name: str
    headers: Callable[[Issuer], Headers]
    status: int
    body: dict[str, Any]


def bearer(text: str) -> Headers:
    return {"Authorization": f"Bearer {text}"}


def token(**claims: object) -> Callable[[Issuer], Headers]:
    return lambda issuer: bearer(issuer.token(**claims))  # type: ignore[arg-type]


def forged(issuer: Issuer) -> Headers:
    return bearer(Issuer(_STRANGE_KEY).token())


def tampered(issuer: Issuer) -> Headers:
    header, _, signature = issuer.token().split(".")
    return bearer(".".join([header, issuer.token(scope="tessera/access more").split(".")[1], signature]))


def symmetric(issuer: Issuer) -> Headers:
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    return bearer(jwt.encode(claims, "0" * 64, algorithm="HS256", headers={"kid": issuer.key_id}))


def unsigned(issuer: Issuer) -> Headers:
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    return bearer(jwt.encode(claims, None, algorithm="none", headers={"kid": issuer.key_id}))  # type: ignore[arg-type]


KEY_MISSING = (403, {"error_code": "403000", "message": "Api Key is required"})
KEY_INVALID = (403, {"error_code": "403003", "message": "Api Key is invalid"})
TOKEN_MISSING = (403, {"error_code": "403010", "message": "Oauth token is missing."})
TOKEN_INVALID = (401, {"error_code": "401013", "message": "Oauth token is not valid"})
SCOPE_MISSING = (
    401,
    {"title": "Unauthorized", "status": 401, "detail": "The token lacks the scope 'tessera/access'"},
)
HEADER_MISSING = (400, {"error_code": "400003", "message": "Missing header"})
NOT_ENTITLED = (403, {"error_code": "403025", "message": "Profile is not valid"})
ORGANISATION_MALFORMED = (403, {"error_code": "403027", "message": "User region is missing"})
CONTENT_TYPE_MISSING = (
    400,
    {
        "type": "/placeholder/type/uri",
        "status": 400,
        "title": "BadRequestError",
        "detail": "A valid content-type must be specified",
    },
)
CONTENT_TYPE_UNSUPPORTED = (
    415,
    {
        "status": 415,
        "title": "HTTP 415 Unsupported Media Type",
        "type": "http://ns.adobe.com/adobecloud/problem/unsupported-media-type",
    },
)

DEFECTS = [
    Defect("no key", lambda _: {"x-api-key": None}, *KEY_MISSING),
    Defect("empty key", lambda _: {"x-api-key": " "}, *KEY_MISSING),
    Defect("unknown key", lambda _: {"x-api-key": "nobody"}, *KEY_INVALID),
    Defect("unknown key, no token", lambda _: {"x-api-key": "nobody", "Authorization": None}, *KEY_INVALID),
    Defect("key that cannot be one", lambda _: {"x-api-key": "a#b\n"}, *KEY_INVALID),
    Defect("key of another client", lambda _: {"x-api-key": "secondclient"}, *KEY_INVALID),
    Defect("no token", lambda _: {"Authorization": None}, *TOKEN_MISSING),
    Defect("empty Authorization", lambda _: {"Authorization": ""}, *TOKEN_MISSING),
    Defect("bearer of nothing", lambda _: {"Authorization": "Bearer"}, *TOKEN_INVALID),
    Defect("another scheme", lambda issuer: {"Authorization": f"Basic {issuer.token()}"}, *TOKEN_INVALID),
    Defect("no JWT", lambda _: bearer("abc.def.ghi"), *TOKEN_INVALID),
    Defect("enormous token", lambda _: bearer("a" * 100_000), *TOKEN_INVALID),
    Defect("expired", token(exp=int(time.time()) - 1), *TOKEN_INVALID),
    Defect("never expires", token(exp=None), *TOKEN_INVALID),
    Defect("foreign issuer", token(iss="https://example.org/"), *TOKEN_INVALID),
    Defect("not an access token", token(token_use="id"), *TOKEN_INVALID),
    Defect("unknown signing key", token(key_id="key-2"), *TOKEN_INVALID),
    Defect("forged", forged, *TOKEN_INVALID),
    Defect("tampered with", tampered, *TOKEN_INVALID),
    Defect("signed with a shared secret", symmetric, *TOKEN_INVALID),
    Defect("not signed", unsigned, *TOKEN_INVALID),
    Defect("no scope", token(scope=None), *SCOPE_MISSING),
    Defect("another scope", token(scope="openid tessera/accessory"), *SCOPE_MISSING),
    Defect("no organisation", lambda _: {"x-gw-ims-org-id": None}, *HEADER_MISSING),
    Defect("malformed organisation", lambda _: {"x-gw-ims-org-id": "TESSERA"}, *ORGANISATION_MALFORMED),
    Defect("two organisations", lambda _: {"x-gw-ims-org-id": f"A@AdobeOrg, {OTHER_ORG}"}, *ORGANISATION_MALFORMED),
    Defect("foreign organisation", lambda _: {"x-gw-ims-org-id": OTHER_ORG}, *NOT_ENTITLED),
    Defect("organisation that is none", lambda _: {"x-gw-ims-org-id": "NOBODY@AdobeOrg"}, *NOT_ENTITLED),
]


@pytest.mark.parametrize(("endpoint", "route"), ROUTES)
def test_each_route_refuses_each_defect_to_the_letter(endpoint: Endpoint, route: Route[Request], call: Caller) -> None:
    call.registry.put("client#secondclient", "client", client_document())
    for defect in DEFECTS:
        answer = call(endpoint.handler, route.method, path_of(route), headers=defect.headers(call.issuer))
        assert (answer.status, answer.json()) == (defect.status, defect.body), defect.name


@pytest.mark.parametrize(("endpoint", "route"), ROUTES)
def test_each_route_refuses_a_caller_without_its_permission(
    endpoint: Endpoint, route: Route[Request], call: Caller
) -> None:
    others = [name for name in ("read", "ingest", "configure", "erase") if name != route.permission]
    call.registry.put(f"client#{CLIENT_ID}", "client", client_document(permissions=others))
    answer = call(endpoint.handler, route.method, path_of(route))
    assert answer.status == 403
    assert answer.json()["errors"]["403"][0]["code"] == "UPAPI-113752-403"
    assert answer.json()["type"] == "https://ns.adobe.com/aep/errors/UPAPI-113752-403"


@pytest.mark.parametrize(("endpoint", "route"), ROUTES)
def test_each_route_refuses_a_sandbox_that_is_none(endpoint: Endpoint, route: Route[Request], call: Caller) -> None:
    for headers in (
        {"x-sandbox-name": "nowhere"},
        {"x-sandbox-name": "prod, dev"},
        {"x-sandbox-name": None, "x-sandbox-id": "dev"},
    ):
        answer = call(endpoint.handler, route.method, path_of(route), headers=headers)
        assert answer.status == 404
        assert answer.json()["status"] == 404
        assert "Sandbox" in answer.json()["detail"]


@pytest.mark.parametrize(("endpoint", "route"), ROUTES)
def test_only_reads_may_leave_the_sandbox_out(endpoint: Endpoint, route: Route[Request], call: Caller) -> None:
    answer = call(endpoint.handler, route.method, path_of(route), headers={"x-sandbox-name": None})
    refused = (answer.status, answer.text and answer.json()) == HEADER_MISSING
    assert refused is not (route.reads or route.method in {"GET", "HEAD"})


@pytest.mark.parametrize(("endpoint", "route"), ROUTES)
def test_each_route_with_a_body_refuses_content_it_does_not_read(
    endpoint: Endpoint, route: Route[Request], call: Caller
) -> None:
    if route.method not in {"POST", "PUT", "PATCH"}:
        pytest.skip("has no body")
    for content_type, refusal in (
        (None, CONTENT_TYPE_MISSING),
        ("", CONTENT_TYPE_MISSING),
        ("text/html", CONTENT_TYPE_UNSUPPORTED),
        ("nonsense", CONTENT_TYPE_UNSUPPORTED),
    ):
        answer = call(
            endpoint.handler, route.method, path_of(route), body=b"{}", headers={"Content-Type": content_type}
        )
        assert (answer.status, answer.json()) == refusal, content_type


@pytest.mark.parametrize(("endpoint", "route"), ROUTES)
def test_each_route_with_a_body_refuses_one_that_is_too_large(
    endpoint: Endpoint, route: Route[Request], call: Caller
) -> None:
    if route.method not in {"POST", "PUT", "PATCH"}:
        pytest.skip("has no body")
    answer = call(
        endpoint.handler,
        route.method,
        path_of(route),
        body=b" " * (MAX_BODY_BYTES + 1),
        headers={"Content-Type": route.accepts[0]},
    )
    assert answer.status == 413
    assert answer.json()["detail"]


@pytest.mark.parametrize(("endpoint", "route"), ROUTES)
def test_each_route_refuses_a_method_it_does_not_have(endpoint: Endpoint, route: Route[Request], call: Caller) -> None:
    answer = call(endpoint.handler, "PROPFIND", path_of(route))
    assert answer.status == 405
    assert route.method in answer.headers["allow"]
    assert answer.json()["status"] == 405


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_a_path_that_is_none_is_answered_with_json(endpoint: Endpoint, call: Caller) -> None:
    answer = call(endpoint.handler, "GET", "/data/nothing")
    assert answer.status == 404
    assert answer.json()["title"] == "Not found"
    assert call(endpoint.handler, "GET", "/data/nothing", headers={"Authorization": None}).status == 403


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_there_are_routes(endpoint: Endpoint) -> None:
    assert endpoint.routes
    assert all(JSON in route.accepts or route.method in {"PUT", "PATCH"} for route in endpoint.routes)


def test_the_first_defect_in_the_order_of_the_contract_answers(call: Caller) -> None:
    """All defects at once; each that is mended uncovers the next."""
    sent: dict[str, str | None] = dict.fromkeys(("x-api-key", "Authorization", "x-gw-ims-org-id", "x-sandbox-name"))
    sent["Content-Type"] = None
    good = call.headers()
    seen = []
    for name, value in [
        ("x-api-key", "nobody"),
        ("x-api-key", good["x-api-key"]),
        ("Authorization", "Bearer nonsense"),
        ("Authorization", good["Authorization"]),
        ("x-gw-ims-org-id", "nonsense"),
        ("x-gw-ims-org-id", OTHER_ORG),
        ("x-gw-ims-org-id", good["x-gw-ims-org-id"]),
        ("x-sandbox-name", "nowhere"),
        ("x-sandbox-name", "dev"),
        ("Content-Type", "text/html"),
        ("Content-Type", JSON),
        ("", None),
    ]:
        answer = call(datasets.handler, "POST", "/data/foundation/catalog/dataSets", body=b"{", headers=sent)
        seen.append(answer.json().get("error_code") or answer.status)
        sent[name] = value
    assert seen == [
        "403000",
        "403003",
        "403010",
        "401013",
        "400003",
        "403027",
        "403025",
        "400003",
        404,
        400,
        415,
        400,
    ]
