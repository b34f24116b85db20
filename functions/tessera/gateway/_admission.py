"""Who is calling and for which sandbox: the checks before any handler runs (contract: profile-api §1.3)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from tessera.domain.inlet import Inlet
from tessera.gateway import _problems as problems
from tessera.gateway._callers import Directory
from tessera.gateway._messages import Sandbox
from tessera.gateway._problems import ApiError, VerbatimError
from tessera.gateway._tokens import SigningKeys, TokenVerifier
from tessera.storage import aws
from tessera.storage.configuration import UnknownSandboxError
from tessera.storage.registry import Registry

DEFAULT_SCOPE = "tessera/access"
_FALLBACK_SANDBOX = "prod"
_USABLE_KEY = re.compile(r"[\w.@:+=-]{1,128}\Z", re.ASCII)
_ORGANISATION = re.compile(r"[A-Za-z0-9_-]{1,64}@AdobeOrg\Z")


@dataclass(frozen=True, slots=True)
class Caller:
    """A client whose token is good, the organisation it acts for, and what it may do."""

    client_id: str
    org_id: str
    permissions: frozenset[str]


class Admission:
    """Decides who gets in. Header names are in lower case."""

    def __init__(self, tokens: TokenVerifier, directory: Directory) -> None:
        self._tokens = tokens
        self._directory = directory

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """Check key, token, organisation and entitlement, in this order.

        Raises ApiError.
        """
        client_id = self._client_id(headers)
        org_id = headers.get("x-gw-ims-org-id")
        if org_id is None:
            raise problems.header_missing()
        if not _ORGANISATION.match(org_id):
            raise problems.organisation_malformed()
        for doubted in (False, True):
            client = self._directory.client(client_id, doubted=doubted)
            if client is not None and org_id in client["organisations"]:
                return Caller(client_id, org_id, frozenset(client["permissions"]))
        raise problems.api_key_invalid() if client is None else problems.not_entitled()

    def sender(self, inlet: Inlet, headers: Mapping[str, str]) -> str:
        """Check the token of who sends to an inlet; return the client id (contract: data-and-pql §4.5).

        It must be of a client that may ingest for the inlet's organisation. Raises ApiError: 401 without a token, 403.
        """
        authorization = headers.get("authorization")
        if authorization is None:
            raise problems.sender_unknown(inlet.id)
        try:
            client_id = self._tokens.verify(authorization).client_id
        except VerbatimError:
            raise problems.sender_refused(inlet.id, "Ims service token is not valid") from None
        for doubted in (False, True):
            client = self._directory.client(client_id, doubted=doubted)
            if client and inlet.tenant.org_id in client["organisations"] and "ingest" in client["permissions"]:
                return client_id
        raise problems.sender_refused(inlet.id, "The client of the token may not ingest for this organisation")

    def permit(self, caller: Caller, permission: str) -> None:
        """Refuse a caller without ``permission``.

        Raises ApiError.
        """
        if permission in caller.permissions:
            return
        client = self._directory.client(caller.client_id, doubted=True)
        if client is None or permission not in client["permissions"]:
            raise problems.permission_denied(permission)

    def sandbox(self, org_id: str, headers: Mapping[str, str], *, may_default: bool) -> Sandbox:
        """Find the sandbox that the headers name, by name or id; ``may_default`` lets them name none.

        Raises ApiError and UnknownSandboxError.
        """
        name, sandbox_id = headers.get("x-sandbox-name"), headers.get("x-sandbox-id")
        if name is None and sandbox_id is None:
            if not may_default:
                raise problems.header_missing()
            name = _FALLBACK_SANDBOX
        for doubted in (False, True):
            organisation = self._directory.organisation(org_id, doubted=doubted)
            if organisation is None:
                continue
            for known, its in organisation["sandboxes"].items():
                if name in {known, None} and sandbox_id in {its["id"], None}:
                    return Sandbox(its["id"], known, its["type"], its["default"])
        if organisation is None:
            raise problems.not_provisioned()
        raise UnknownSandboxError(str(name or sandbox_id)[:64])

    def _client_id(self, headers: Mapping[str, str]) -> str:
        """Return the caller's key, once its token is found to be good and its own.

        The key comes first in the contract's order, but is read from storage only for a good token or a few bad ones.
        """
        key = headers.get("x-api-key")
        if key is None:
            raise problems.api_key_missing()
        if not _USABLE_KEY.match(key):
            raise problems.api_key_invalid()
        try:
            token = self._tokens.verify(headers.get("authorization"))
        except ApiError:
            if self._directory.is_stranger(key):
                raise problems.api_key_invalid() from None
            raise
        if token.client_id != key:
            raise problems.api_key_invalid()
        if self._directory.client(key) is None:
            raise problems.api_key_invalid()
        return key


@cache
def admission() -> Admission:
    """Return the process's admission, made from the function's environment at the first request."""
    tokens = TokenVerifier(
        SigningKeys(os.environ["TOKEN_JWKS_URL"]),
        os.environ["TOKEN_ISSUER"],
        os.environ.get("TOKEN_SCOPE", DEFAULT_SCOPE),
    )
    return Admission(tokens, Directory(Registry(aws.dynamodb(), aws.registry_table())))
