"""Requests to the real handler of entities, with a signed token, and what they make it call."""

from __future__ import annotations

import importlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import orjson
from botocore import xform_name
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.canned import Call, sequential
from bench.people import NAMESPACE
from bench.store import ENVIRONMENT, NOW_MS, TENANT, Store, store
from bench.timing import Compared, compare, enough, output_to
from tessera.domain.configuration import Configuration
from tessera.gateway import _tokens
from tessera.storage.codec import unpack

PATH = "/data/core/ups/access/entities"
PROFILE = "_xdm.context.profile"
_CLIENT_ID = "4h7kq2v9s1m3x8c6b5n0benchr"
_LATENCY_S = 0.2
# No storage answers sooner. Were there no wait at all, the two threads of a look-up would fight for the interpreter at
# the very instant at which, before a network, both of them sleep.
ANSWER_S = 0.001
_RUNS = 3
Handler = Callable[[dict[str, Any], object], dict[str, Any]]


@dataclass(frozen=True)
class Exchange:
    """A request, and what the warm function calls, answers and logs for it."""

    request: dict[str, Any]
    calls: Sequence[Call]
    answer: Any
    answer_bytes: int
    logged_bytes: int


@dataclass(frozen=True)
class Session:
    """The handler, a store behind it and a token that lets requests in."""

    made: Store
    handler: Handler
    token: str

    def sandbox(self, name: str, configuration: Configuration) -> Session:
        """Make one of the sandboxes that were named at the start; it is the one that is asked."""
        made = self.made.sandbox(name, configuration)
        made.record_pointers()
        return replace(self, made=made)

    def get(self, value: str, more: Mapping[str, str] | None = None) -> Exchange:
        """Look a person up."""
        query = {"schema.name": PROFILE, "entityId": value, "entityIdNS": NAMESPACE, **(more or {})}
        return self._exchange(self._event("GET", query))

    def post(self, values: Sequence[str]) -> Exchange:
        """Look many up with one request."""
        identities = [{"entityId": value, "entityIdNS": {"code": NAMESPACE}} for value in values]
        return self._exchange(self._event("POST", {}, {"schema": {"name": PROFILE}, "identities": identities}))

    def answer(self, exchange: Exchange) -> dict[str, Any]:
        """Send a request again."""
        return self.handler(exchange.request, None)

    def rounds(self, exchange: Exchange) -> int:
        """Find the longest chain of calls that waited for each other, when every call takes long.

        On a busy machine calls that could overlap may fail to, never the other way: the shortest run is the true one.
        """
        runs = []
        for _ in range(_RUNS):
            with output_to(), self.made.wire.replaying(_LATENCY_S):
                self.answer(exchange)
                runs.append(sequential(self.made.wire.spans))
        return min(runs)

    def against_floor(self, exchange: Exchange) -> Compared:
        """Compare the handler's CPU with that of the same calls, the same decoding and encoding, and nothing else."""
        return self.compared(partial(self.answer, exchange), _floor(self.made.wire.client, exchange))

    def compared(self, ours: Callable[[], object], other: Callable[[], object], *, rounds: int = 9) -> Compared:
        """Compare the CPU of two ways to read the store."""
        with output_to(), self.made.wire.replaying(ANSWER_S):
            return compare(ours, other, times=enough(ours), rounds=rounds)

    def _event(self, method: str, query: dict[str, str], body: Any = None) -> dict[str, Any]:
        return _event(self.token, self.made.tenant.sandbox, method, query, body)

    def _exchange(self, request: dict[str, Any]) -> Exchange:
        wire = self.made.wire
        with output_to():
            self.handler(request, None)
        wire.taken()
        with tempfile.TemporaryDirectory() as directory:
            log = Path(directory) / "log"
            with output_to(log):
                proxy = self.handler(request, None)
            logged = log.stat().st_size
        if proxy["statusCode"] != 200:
            raise RuntimeError(f"{request['queryStringParameters']} is answered {proxy['body'][:500]}")
        return Exchange(request, wire.taken(), json.loads(proxy["body"]), len(proxy["body"].encode()), logged)


@contextmanager
def session(*more: str) -> Iterator[Session]:
    """Start with an empty store; ``more`` names sandboxes that are to be made."""
    entities: Any = importlib.import_module("api.entities")
    with store() as made:
        private = rsa.generate_private_key(65537, 2048)
        fetch, _tokens._fetch = _tokens._fetch, lambda url: _published(private)
        now_ms, entities._now_ms = entities._now_ms, lambda: NOW_MS
        try:
            _register(made, [made.tenant.sandbox, *more])
            made.record_pointers()
            yield Session(made, entities.handler, _token(private))
        finally:
            _tokens._fetch = fetch
            entities._now_ms = now_ms
            _forget()


def _floor(client: Any, exchange: Exchange) -> Callable[[], object]:
    calls = [(getattr(client, xform_name(call.operation)), call.arguments) for call in exchange.calls]

    def floor() -> bytes:
        for operation, arguments in calls:
            for item in operation(**arguments).get("Items", ()):
                if "b" in item:
                    unpack(item["b"]["B"])
        return orjson.dumps(exchange.answer)

    return floor


def _register(made: Store, names: Sequence[str]) -> None:
    sandboxes = {
        name: {"id": f"7a1{number:x}", "type": "production", "default": number == 0}
        for number, name in enumerate(names)
    }
    made.registry.put(f"org#{TENANT.org_id}", "org", {"sandboxes": sandboxes})
    client = {"organisations": [TENANT.org_id], "permissions": ["read"], "name": "bench"}
    made.registry.put(f"client#{_CLIENT_ID}", "client", client)


def _published(private: rsa.RSAPrivateKey) -> bytes:
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key()))
    return orjson.dumps({"keys": [{**public, "kid": "bench", "alg": "RS256", "use": "sig"}]})


def _token(private: rsa.RSAPrivateKey) -> str:
    now = int(time.time())
    claims = {
        "sub": _CLIENT_ID,
        "token_use": "access",
        "scope": "tessera/access",
        "auth_time": now,
        "iss": ENVIRONMENT["TOKEN_ISSUER"],
        "exp": now + 3600,
        "iat": now,
        "version": 2,
        "jti": "0b9f2d1e-6a7c-4e57-9d1c-2f4b8c3a5e60",
        "client_id": _CLIENT_ID,
    }
    return jwt.encode(claims, private, algorithm="RS256", headers={"kid": "bench"})


def _event(token: str, sandbox: str, method: str, query: dict[str, str], body: Any) -> dict[str, Any]:
    """Make the event that API Gateway sends for a request."""
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "gzip, deflate",
        "Authorization": f"Bearer {token}",
        "Host": "abcdef1234.execute-api.us-east-1.amazonaws.com",
        "User-Agent": "python-requests/2.32.5",
        "X-Amzn-Trace-Id": "Root=1-67100000-0123456789abcdef01234567",
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Port": "443",
        "X-Forwarded-Proto": "https",
        "x-api-key": _CLIENT_ID,
        "x-gw-ims-org-id": TENANT.org_id,
        "x-sandbox-name": sandbox,
        **({} if body is None else {"Content-Type": "application/json"}),
    }
    return {
        "resource": PATH,
        "path": PATH,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [text] for name, text in headers.items()},
        "queryStringParameters": query or None,
        "multiValueQueryStringParameters": {name: [text] for name, text in query.items()} or None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "resourceId": "abc123",
            "resourcePath": PATH,
            "httpMethod": method,
            "extendedRequestId": "JKJaXmPLvHcESHA=",
            "requestTime": "16/Oct/2024:12:00:00 +0000",
            "path": f"/v1{PATH}",
            "accountId": "123456789012",
            "protocol": "HTTP/1.1",
            "stage": "v1",
            "requestTimeEpoch": 1729080000000,
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "identity": {"sourceIp": "192.0.2.1", "userAgent": "python-requests/2.32.5"},
            "apiId": "abcdef1234",
        },
        "body": None if body is None else orjson.dumps(body).decode(),
        "isBase64Encoded": False,
    }


def _forget() -> None:
    """Drop the clients that the handler keeps: they are wired to tables that are gone."""
    entities = importlib.import_module("api.entities")
    admission = importlib.import_module("tessera.gateway._admission")
    for kept in (entities._table, entities._reader, admission.admission):
        kept.cache_clear()
