"""Access tokens: RS256 JWTs of one issuer, checked against the issuer's published keys (contract: profile-api §1.3)."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import urllib.request
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt

from tessera.gateway import _problems as problems
from tessera.gateway._problems import ApiError

_KEYS_FRESH_S = 3600
# A token that names an unknown key may be forged: how often that makes us ask the issuer.
_KEYS_ASKED_AT_MOST_EVERY_S = 10
_FETCH_TIMEOUT_S = 3
_REMEMBERED_TOKENS = 1024
_LONGEST_TOKEN = 16_384


class KeysUnavailableError(ApiError):
    """The issuer's keys cannot be read, and none are known from before: nobody can be let in."""

    def __init__(self) -> None:
        super().__init__(503, "Tokens cannot be checked at the moment: try again", headers={"Retry-After": "1"})


class SigningKeys:
    """The issuer's public keys, kept for an hour; an unknown key id is looked for at once, but not in a flood."""

    def __init__(self, url: str, fetch: Callable[[str], bytes] | None = None) -> None:
        self._url = url
        self._fetch = fetch or _fetch
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at = float("-inf")
        self._asked_at = float("-inf")
        self._lock = threading.Lock()

    def get(self, key_id: str) -> jwt.PyJWK | None:
        """Return the key, or ``None`` if the issuer has none of that id.

        Raises KeysUnavailableError.
        """
        now = time.monotonic()
        with self._lock:
            unknown = key_id not in self._keys or now - self._read_at > _KEYS_FRESH_S
            if unknown and now - self._asked_at > _KEYS_ASKED_AT_MOST_EVERY_S:
                self._refresh(now)
            if not self._keys:
                raise KeysUnavailableError
            return self._keys.get(key_id)

    def _refresh(self, now: float) -> None:
        try:
            published = json.loads(self._fetch(self._url))["keys"]
            keys = {key["kid"]: jwt.PyJWK(key, "RS256") for key in published if key.get("kty") == "RSA"}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError):
            # Those known from before stay good, and with none the next request asks again.
            self._asked_at = now if self._keys else float("-inf")
            return
        self._keys, self._read_at, self._asked_at = keys, now, now


def _fetch(url: str) -> bytes:
    if not url.startswith(("https://", "http://")):
        raise ValueError("TOKEN_JWKS_URL is not an HTTP address")
    with urllib.request.urlopen(url, timeout=_FETCH_TIMEOUT_S) as answer:  # noqa: S310 - scheme checked above
        body: bytes = answer.read()
        return body


@dataclass(frozen=True, slots=True)
class Token:
    """What a verified token says: whose it is, until when (seconds since 1970), and what it was issued for."""

    client_id: str
    expires_s: float
    scopes: frozenset[str]


class TokenVerifier:
    """Verifies tokens; a verified one is remembered by its hash until it expires."""

    def __init__(self, keys: SigningKeys, issuer: str, scope: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._scope = scope
        self._verified: OrderedDict[bytes, Token] = OrderedDict()

    def verify(self, authorization: str | None) -> Token:
        """Check the ``Authorization`` header and return what its token says.

        Raises ApiError: 403010 without a token, 401013 for one that is not valid, 401 for one without the scope.
        """
        if authorization is None:
            raise problems.token_missing()
        scheme, _, text = authorization.partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text or len(text) > _LONGEST_TOKEN:
            raise problems.token_invalid()
        fingerprint = hashlib.sha256(text.encode()).digest()
        token = self._verified.get(fingerprint)
        if token is None:
            token = self._decode(text)
            self._verified[fingerprint] = token
            if len(self._verified) > _REMEMBERED_TOKENS:
                self._verified.popitem(last=False)
        elif token.expires_s <= time.time():
            self._verified.pop(fingerprint, None)
            raise problems.token_invalid()
        if self._scope not in token.scopes:
            raise problems.scope_missing(self._scope)
        return token

    def _decode(self, text: str) -> Token:
        try:
            header = jwt.get_unverified_header(text)
            key_id = header.get("kid")
            key = self._keys.get(key_id) if isinstance(key_id, str) and header.get("alg") == "RS256" else None
            if key is None:
                raise problems.token_invalid()
            # iat is not judged: a clock a second apart from the issuer's would refuse fresh tokens.
            claims: dict[str, Any] = jwt.decode(
                text,
                key,
                algorithms=["RS256"],
                issuer=self._issuer,
                options={"require": ["exp", "iss", "client_id"], "verify_aud": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, ValueError):
            raise problems.token_invalid() from None
        # Cognito says which kind of token it is; other issuers say nothing.
        if claims.get("token_use", "access") != "access" or not isinstance(claims["client_id"], str):
            raise problems.token_invalid()
        return Token(claims["client_id"], float(claims["exp"]), frozenset(str(claims.get("scope", "")).split()))
