"""Organisations, their sandboxes and their clients, as the registry keeps them (design: The API and its callers).

Every step can be repeated: whoever is interrupted runs the same command again and ends where one run would have.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import NAMESPACE_URL, uuid5

from tessera.domain.configuration import Configuration
from tessera.domain.errors import ConflictError, InvalidRequestError, NotFoundError
from tessera.domain.merge_policy import MergePolicy
from tessera.domain.tenant import Tenant
from tessera.storage.registry import LostRaceError

PERMISSIONS = ("read", "ingest", "configure", "erase")
SANDBOX_TYPES = ("production", "development")
DEFAULT_SANDBOXES = {"prod": "production", "dev": "development"}

_ORGANISATION = re.compile(r"[A-Za-z0-9_-]{1,64}@AdobeOrg\Z")
_SANDBOX = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")


class Configurations(Protocol):
    """Where configurations are kept: ``storage.configuration.ConfigurationStore``."""

    def create(self, tenant: Tenant, configuration: Configuration) -> bool:
        """Write a sandbox's first configuration, unless it has one."""


class Documents(Protocol):
    """Where organisations and clients are kept: ``storage.registry.Registry``."""

    def get(self, partition: str, sort: str) -> dict[str, Any] | None:
        """Read one document."""

    def put(self, partition: str, sort: str, document: Mapping[str, Any], *, only_new: bool = False) -> None:
        """Write one document."""

    def change(
        self, partition: str, sort: str, mutate: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any] | None:
        """Change one document atomically."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One sandbox of an organisation."""

    id: str
    name: str
    type: str
    default: bool


class Organisations:
    """Registers organisations, sandboxes and clients; ``clock`` gives seconds since 1970."""

    def __init__(
        self, configurations: Configurations, documents: Documents, clock: Callable[[], float] = time.time
    ) -> None:
        self._configurations = configurations
        self._documents = documents
        self._clock = clock

    def ensure(self, org_id: str) -> None:
        """Register an organisation with its first sandboxes, whatever of it is there already.

        Raises InvalidRequestError.
        """
        if not _ORGANISATION.match(org_id):
            raise InvalidRequestError(f"'{org_id}' is not an organisation id such as ACME@AdobeOrg")
        with suppress(LostRaceError):  # It is there already.
            self._documents.put(_organisation(org_id), "org", {"sandboxes": {}}, only_new=True)
        for name, kind in DEFAULT_SANDBOXES.items():
            self.add_sandbox(org_id, name, kind)

    def add_sandbox(self, org_id: str, name: str, kind: str = "development") -> Sandbox:
        """Give an organisation a sandbox with a default merge policy, unless it has it.

        Raises InvalidRequestError, NotFoundError for an unknown organisation, and ConflictError for a sandbox that
        is there with another type.
        """
        if not _SANDBOX.match(name):
            raise InvalidRequestError(f"'{name}' is not a sandbox name: lower-case letters, digits and hyphens")
        if kind not in SANDBOX_TYPES:
            raise InvalidRequestError(f"a sandbox is of type {' or '.join(SANDBOX_TYPES)}, not '{kind}'")
        # The id follows from the name, so a run that was interrupted between the two writes is completed by the next.
        sandbox = Sandbox(str(uuid5(NAMESPACE_URL, f"tessera:{org_id}/{name}")), name, kind, name == "prod")
        if self._documents.get(_organisation(org_id), "org") is None:
            raise NotFoundError(f"Organisation '{org_id}' is not registered: register a client for it first")
        self._configurations.create(Tenant(org_id, name), self._seed(sandbox))

        def add(organisation: dict[str, Any]) -> dict[str, Any]:
            its = {"id": sandbox.id, "type": kind, "default": sandbox.default}
            known = organisation["sandboxes"].setdefault(name, its)
            if known != its:
                raise ConflictError(f"Sandbox '{name}' exists with type {known['type']}")
            return organisation

        self._documents.change(_organisation(org_id), "org", add)
        return sandbox

    def register_client(self, org_id: str, client_id: str, name: str, permissions: Iterable[str]) -> None:
        """Let a client act for an organisation with these permissions, and with no others.

        Raises InvalidRequestError.
        """
        granted = list(dict.fromkeys(permissions))
        unknown = sorted(set(granted) - set(PERMISSIONS))
        if unknown or not granted:
            raise InvalidRequestError(f"permissions are some of {', '.join(PERMISSIONS)}, not {', '.join(unknown)}")
        self._documents.put(
            f"client#{client_id}", "client", {"organisations": [org_id], "permissions": granted, "name": name}
        )

    def has_client(self, client_id: str) -> bool:
        """Tell whether a client is registered."""
        return self._documents.get(f"client#{client_id}", "client") is not None

    def _seed(self, sandbox: Sandbox) -> Configuration:
        policy = MergePolicy(
            id=str(uuid5(NAMESPACE_URL, f"{sandbox.id}/Default Timebased")),
            name="Default Timebased",
            default=True,
            updated_s=int(self._clock()),
        )
        return Configuration(1, sandbox.id, sandbox.name, sandbox.type).with_policy(policy)


def _organisation(org_id: str) -> str:
    return f"org#{org_id}"
