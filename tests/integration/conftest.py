"""What integration tests stand on: the tables, the lake, a caller with a signed token, and a way to call a function.

Tables and lake are moto's, with the keys that the stacks give them. Everything is new for each test.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import boto3
import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber

from tessera.domain.configuration import Configuration
from tessera.domain.merge_policy import MergePolicy
from tessera.domain.tenant import Tenant
from tessera.gateway import _tokens
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.registry import Registry

ORG = "TESSERA@AdobeOrg"
OTHER_ORG = "ELSEWHERE@AdobeOrg"
CLIENT_ID = "testclient0000000000000001"
ISSUER = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Test"
SANDBOXES = {
    "prod": {"id": "11111111-0000-4000-8000-000000000001", "type": "production", "default": True},
    "dev": {"id": "11111111-0000-4000-8000-000000000002", "type": "development", "default": False},
}
ENVIRONMENT = {
    "PROFILE_TABLE": "profiles",
    "REGISTRY_TABLE": "registry",
    "LAKE_BUCKET": "lake",
    "TOKEN_ISSUER": ISSUER,
    "TOKEN_JWKS_URL": "http://127.0.0.1:9/jwks.json",
    "API_BASE_URL": "https://api.example.com/v1",
    "POWERTOOLS_SERVICE_NAME": "tests",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of a function, and no memory of the test before."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "TOKEN_SCOPE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    forget()
    yield
    forget()


def forget() -> None:
    """Make every module a cold one: drop what our functions keep per process (clients, caches, verified tokens)."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in {"api", "jobs", "tessera"}:
            for kept in list(vars(module).values()):
                if callable(getattr(kept, "cache_clear", None)):
                    kept.cache_clear()


_KEYS: Any = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]


def create_profile_table(client: Any) -> None:
    """Create the profile table with the keys and the index that the stacks give it."""
    client.create_table(
        TableName=ENVIRONMENT["PROFILE_TABLE"],
        KeySchema=_KEYS,
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "ik")],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "index",
                "KeySchema": [
                    {"AttributeName": "ik", "KeyType": "HASH"},
                    {"AttributeName": "pk", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )


def empty_profile_table() -> None:
    """Take everything out of the profile table: a query of the simulated one takes longer the more is in it."""
    client = aws.dynamodb()
    client.delete_table(TableName=ENVIRONMENT["PROFILE_TABLE"])
    create_profile_table(client)


_ONE_AT_A_TIME = threading.RLock()
_answer = BotocoreStubber.__call__


def _answer_alone(stubber: BotocoreStubber, *args: Any, **kwargs: Any) -> Any:
    """Answer one call at a time.

    A cancelled transaction of moto's puts back the tables as they were before it, and with them what other threads
    wrote meanwhile. Threads still take turns between their calls, as they do before a real table.
    """
    with _ONE_AT_A_TIME:
        return _answer(stubber, *args, **kwargs)


@pytest.fixture
def cloud(environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The profile table with its index, the registry and the lake, all empty."""
    monkeypatch.setattr(BotocoreStubber, "__call__", _answer_alone)
    with mock_aws():
        client = boto3.client("dynamodb")
        create_profile_table(client)
        client.create_table(
            TableName=ENVIRONMENT["REGISTRY_TABLE"],
            KeySchema=_KEYS,
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        lake = boto3.client("s3")
        lake.create_bucket(
            Bucket=ENVIRONMENT["LAKE_BUCKET"], CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        lake.put_bucket_versioning(Bucket=ENVIRONMENT["LAKE_BUCKET"], VersioningConfiguration={"Status": "Enabled"})
        yield


@pytest.fixture
def registry(cloud: None) -> Registry:
    """The registry, with ``ORG`` and ``OTHER_ORG``, both with sandboxes, and a client that may act for ``ORG``."""
    registry = Registry(aws.dynamodb(), aws.registry_table())
    for org_id in (ORG, OTHER_ORG):
        registry.put(f"org#{org_id}", "org", {"sandboxes": SANDBOXES})
        for name, its in SANDBOXES.items():
            policy = MergePolicy(id=f"00000000-0000-4000-8000-{name:0>12}", name="Default Timebased", default=True)
            configuration = Configuration(1, its["id"], name, its["type"]).with_policy(policy)
            ConfigurationStore(aws.dynamodb(), aws.registry_table()).create(Tenant(org_id, name), configuration)
    registry.put(f"client#{CLIENT_ID}", "client", client_document())
    return registry


def client_document(
    organisations: Sequence[str] = (ORG,), permissions: Sequence[str] = ("read", "ingest", "configure", "erase")
) -> dict[str, Any]:
    """What the registry holds of a client."""
    return {"organisations": list(organisations), "permissions": list(permissions), "name": "tests"}


@dataclass
class Issuer:
    """Signs tokens with a real RSA key, publishes the key, and counts how often it was asked for it."""

    private: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    key_id: str = "key-1"
    asked: int = 0

    def jwks(self, _url: str) -> bytes:
        """The published keys, as the key URL answers."""
        self.asked += 1
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.private.public_key()))
        return orjson.dumps({"keys": [{**public, "kid": self.key_id, "alg": "RS256", "use": "sig"}]})

    def token(self, client_id: str = CLIENT_ID, *, key_id: str | None = None, **claims: object) -> str:
        """A token as Cognito makes it; ``claims`` change it, and ``None`` leaves a claim out."""
        now = int(time.time())
        payload: dict[str, object] = {
            "sub": client_id,
            "token_use": "access",
            "scope": "tessera/access",
            "iss": ISSUER,
            "exp": now + 3600,
            "iat": now,
            "client_id": client_id,
            **claims,
        }
        payload = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(payload, self.private, algorithm="RS256", headers={"kid": key_id or self.key_id})


_RSA_KEY = rsa.generate_private_key(65537, 2048)


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Issuer:
    """The issuer whose keys the functions trust."""
    issuer = Issuer(_RSA_KEY)
    monkeypatch.setattr(_tokens, "_fetch", issuer.jwks)
    return issuer


@dataclass(frozen=True)
class Answer:
    """What a function answered."""

    status: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        """The body, parsed."""
        return orjson.loads(self.text)


@dataclass(frozen=True)
class Caller:
    """Calls handlers the way API Gateway does, as a client with a good token in sandbox ``dev``."""

    registry: Registry
    issuer: Issuer

    def __call__(
        self,
        handler: Any,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | Sequence[str]] | None = None,
        body: object = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> Answer:
        """Call ``handler``. A ``body`` that is not bytes is sent as JSON; a header given as ``None`` is left out."""
        event = self.event(method, path, query=query, body=body, headers=headers)
        return answered(handler(event, None))

    def headers(self) -> dict[str, str]:
        """The headers of a good request."""
        return {
            "Authorization": f"Bearer {self.issuer.token()}",
            "x-api-key": CLIENT_ID,
            "x-gw-ims-org-id": ORG,
            "x-sandbox-name": "dev",
        }

    def event(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | Sequence[str]] | None = None,
        body: object = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> dict[str, Any]:
        """Make the event that API Gateway sends for a request."""
        sent: dict[str, str | None] = dict(self.headers())
        if body is not None and not isinstance(body, bytes):
            body = orjson.dumps(body)
        if body is not None:
            sent["Content-Type"] = "application/json"
        for name, value in (headers or {}).items():
            for known in [known for known in sent if known.lower() == name.lower()]:
                del sent[known]
            sent[name] = value
        return proxy_event(
            method,
            path,
            query=query,
            body=body,
            headers={name: value for name, value in sent.items() if value is not None},
        )


def proxy_event(
    method: str,
    path: str,
    *,
    query: Mapping[str, str | Sequence[str]] | None = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Make an event of the Lambda proxy integration; a body that is not text is sent in base64."""
    values = {name: [value] if isinstance(value, str) else list(value) for name, value in (query or {}).items()}
    try:
        text, encoded = (None if body is None else body.decode()), False
    except UnicodeDecodeError:
        text, encoded = base64.b64encode(body or b"").decode(), True
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": dict(headers or {}),
        "multiValueHeaders": {name: [value] for name, value in (headers or {}).items()},
        "queryStringParameters": {name: given[-1] for name, given in values.items()} or None,
        "multiValueQueryStringParameters": values or None,
        "pathParameters": {"proxy": path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "requestId": "11112222-3333-4444-5555-666677778888",
            "stage": "v1",
            "httpMethod": method,
            "path": f"/v1{path}",
            "identity": {"sourceIp": "127.0.0.1"},
        },
        "body": text,
        "isBase64Encoded": encoded,
    }


def answered(proxy: Mapping[str, Any]) -> Answer:
    """Read what a handler returned, and hold it to what every answer must be."""
    assert set(proxy) == {"statusCode", "headers", "body", "isBase64Encoded"}
    headers = {name.lower(): value for name, value in proxy["headers"].items()}
    assert headers["x-request-id"]
    if headers["content-type"] == "application/json" and proxy["body"]:
        orjson.loads(proxy["body"])
    text = base64.b64decode(proxy["body"]).decode("latin-1") if proxy["isBase64Encoded"] else proxy["body"]
    return Answer(proxy["statusCode"], headers, text)


@pytest.fixture
def call(registry: Registry, issuer: Issuer) -> Caller:
    """Call a handler: ``call(datasets.handler, "GET", "/data/foundation/catalog/dataSets")``."""
    return Caller(registry, issuer)
