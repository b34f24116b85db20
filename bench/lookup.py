"""L1, L2, L3: what a look-up takes, through the real handler with a signed token."""

from __future__ import annotations

import importlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import orjson
from botocore import xform_name
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.canned import Call, Wire, sequential
from bench.people import EVENTS, NAMESPACE, OTHER_RECORDS, RECORDS, event, record
from bench.store import ENVIRONMENT, TENANT, Store, store
from bench.table import Line, limited
from bench.timing import Compared, compare, output_to
from bench.units import READ_UNIT, item_size, read_units, units
from tessera.domain.identity import Identity
from tessera.gateway import _tokens
from tessera.storage.codec import unpack
from tessera.storage.profile_items import partition

SIZES = (1, 2, 5, 50)
HISTORY = 10_000
_RECORD_BYTES = 1000
_CLIENT_ID = "4h7kq2v9s1m3x8c6b5n0benchr"
_LATENCY_S = 0.2
_RUNS = 3
Handler = Callable[[dict[str, Any], object], dict[str, Any]]


@dataclass(frozen=True)
class Subject:
    """A person to look up: the request, and what a warm look-up of them calls and answers."""

    what: str
    members: int
    request: dict[str, Any]
    calls: Sequence[Call]
    answer: Any
    logged_bytes: int


@dataclass(frozen=True)
class LookUps:
    """The persons, the handler that finds them, and the wire it reads through."""

    wire: Wire
    handler: Handler
    subjects: Sequence[Subject]
    stored_units: dict[str, int]

    def find(self, subject: Subject) -> dict[str, Any]:
        """Look a person up."""
        return self.handler(subject.request, None)


@dataclass(frozen=True)
class Cost:
    """What one look-up takes, for the prices."""

    cpu_ms: float
    read_units: int
    round_trips: int
    answer_bytes: int
    logged_bytes: int


@contextmanager
def look_ups(history: int = HISTORY) -> Iterator[LookUps]:
    """Fill a store with persons and record what looking them up reads."""
    with store() as made:
        private = rsa.generate_private_key(65537, 2048)
        fetch, _tokens._fetch = _tokens._fetch, lambda url: _published(private)
        try:
            _register(made)
            entities = importlib.import_module("api.entities")
            token = _token(private)
            subjects, stored_units = [], {}
            with output_to():
                for what, value, members in _fill(made, history):
                    subjects.append(_subject(made, entities.handler, what, members, _request(value, token)))
                    stored_units[what] = _stored_units(made, members, value)
                made.record_pointers()
            yield LookUps(made.wire, entities.handler, subjects, stored_units)
        finally:
            _tokens._fetch = fetch
            _forget()


def _fill(made: Store, history: int) -> Iterator[tuple[str, str, int]]:
    """Write the persons; two records of about 1 KB for each member, who are linked in a chain."""
    for members in SIZES:
        values = [f"{members:02d}-{number:02d}" for number in range(members)]
        linked = zip(values, [*([value] for value in values[1:]), []], strict=True)
        made.write(RECORDS, [record(value, _RECORD_BYTES, links) for value, links in linked])
        made.write(OTHER_RECORDS, [record(value, _RECORD_BYTES, version=1) for value in values])
        yield f"{members} member{'s' * (members > 1)}", values[0], members
    if history:
        made.write(RECORDS, [record("history", _RECORD_BYTES)])
        made.write(EVENTS, [event("history", number, 300) for number in range(history)])
        yield f"1 member, {history:,} events", "history", 1


def _subject(made: Store, handler: Handler, what: str, members: int, request: dict[str, Any]) -> Subject:
    handler(request, None)
    made.wire.taken()
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        with output_to(log):
            proxy = handler(request, None)
        logged = log.stat().st_size
    answer = json.loads(proxy["body"])
    if proxy["statusCode"] != 200 or [len(person["identityGraph"]) for person in answer.values()] != [members]:
        raise RuntimeError(f"looking up {what} answered {proxy['body'][:500]}")
    return Subject(what, members, request, made.wire.taken(), answer, logged)


def _stored_units(made: Store, members: int, value: str) -> int:
    """Work out the budget of L3 from what is stored under every member, its events left out."""
    table = ENVIRONMENT["PROFILE_TABLE"]
    prefix = value[:3]
    values = [value] if members == 1 else [f"{prefix}{number:02d}" for number in range(members)]
    total = 1
    for each in values:
        key = partition(TENANT, Identity.of(NAMESPACE, each).xid(TENANT))
        pages = made.wire.client.get_paginator("query").paginate(
            TableName=table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": key}},
        )
        kept = (item for page in pages for item in page["Items"] if not item["sk"]["S"].startswith("E"))
        total += units(sum(map(item_size, kept)), READ_UNIT)
    made.wire.taken()
    return total


def round_trips(found: LookUps) -> list[Line]:
    """L1: the longest chain of calls that waited for each other, when every call takes long.

    On a busy machine calls that could overlap may fail to, never the other way: the shortest run is the true one.
    """
    lines = []
    for subject in found.subjects:
        runs = []
        for _ in range(_RUNS):
            with output_to(), found.wire.replaying(_LATENCY_S):
                found.find(subject)
                runs.append(sequential(found.wire.spans))
        what = f"{subject.what}: {len(subject.calls)} calls"
        lines.append(limited("L1", what, min(runs), min(subject.members, 2), floor="1", digits=0))
    return lines


def cpu(found: LookUps, *, rounds: int = 9) -> dict[str, Compared]:
    """L2: CPU of the handler and of the same calls, the same decoding and the same encoding with nothing else."""
    compared = {}
    with output_to(), found.wire.replaying():
        for subject in found.subjects:
            floor = _floor(found.wire.client, subject)
            times = max(4, 60 // subject.members)
            compared[subject.what] = compare(partial(found.find, subject), floor, times=times, rounds=rounds)
    return compared


def _floor(client: Any, subject: Subject) -> Callable[[], object]:
    calls = [(getattr(client, xform_name(call.operation)), call.arguments) for call in subject.calls]

    def floor() -> bytes:
        for operation, arguments in calls:
            for item in operation(**arguments).get("Items", ()):
                if "b" in item:
                    unpack(item["b"]["B"])
        return orjson.dumps(subject.answer)

    return floor


def cpu_lines(found: LookUps, compared: dict[str, Compared]) -> list[Line]:
    """L2 as lines."""
    return [
        limited(
            "L2",
            f"{subject.what}: {compared[subject.what].ours_ms:.2f} ms of CPU",
            compared[subject.what].ratio,
            1.5,
            floor=f"{compared[subject.what].floor_ms:.2f} ms",
        )
        for subject in found.subjects
    ]


def read_lines(found: LookUps) -> list[Line]:
    """L3: read units of the items really read."""
    return [
        limited(
            "L3",
            subject.what,
            sum(map(read_units, subject.calls)),
            found.stored_units[subject.what],
            floor=str(found.stored_units[subject.what]),
            digits=0,
        )
        for subject in found.subjects
    ]


def costs(found: LookUps, compared: dict[str, Compared]) -> dict[int, Cost]:
    """Return what look-ups take, by the number of members."""
    return {
        subject.members: Cost(
            compared[subject.what].ours_ms,
            sum(map(read_units, subject.calls)),
            min(subject.members, 2),
            len(orjson.dumps(subject.answer)),
            subject.logged_bytes,
        )
        for subject in reversed(found.subjects)
    }


def _register(made: Store) -> None:
    sandboxes = {TENANT.sandbox: {"id": "7a1f", "type": "production", "default": True}}
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


def _request(value: str, token: str) -> dict[str, Any]:
    """Make the event that API Gateway sends for a look-up."""
    path = "/data/core/ups/access/entities"
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
        "x-sandbox-name": TENANT.sandbox,
    }
    query = {"schema.name": "_xdm.context.profile", "entityId": value, "entityIdNS": NAMESPACE}
    return {
        "resource": path,
        "path": path,
        "httpMethod": "GET",
        "headers": headers,
        "multiValueHeaders": {name: [text] for name, text in headers.items()},
        "queryStringParameters": query,
        "multiValueQueryStringParameters": {name: [text] for name, text in query.items()},
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "resourceId": "abc123",
            "resourcePath": path,
            "httpMethod": "GET",
            "extendedRequestId": "JKJaXmPLvHcESHA=",
            "requestTime": "16/Oct/2024:12:00:00 +0000",
            "path": f"/v1{path}",
            "accountId": "123456789012",
            "protocol": "HTTP/1.1",
            "stage": "v1",
            "requestTimeEpoch": 1729080000000,
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "identity": {"sourceIp": "192.0.2.1", "userAgent": "python-requests/2.32.5"},
            "apiId": "abcdef1234",
        },
        "body": None,
        "isBase64Encoded": False,
    }


def _forget() -> None:
    """Drop the clients that the handler keeps: they are wired to tables that are gone."""
    entities = importlib.import_module("api.entities")
    admission = importlib.import_module("tessera.gateway._admission")
    for kept in (entities._table, entities._configurations, admission.admission):
        kept.cache_clear()
