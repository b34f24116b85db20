"""The namespaces of identities in a sandbox (contract: profile-api §7)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from tessera.domain.configuration import Configuration
from tessera.domain.errors import ConflictError, InvalidRequestError, NotFoundError
from tessera.domain.identity import STANDARD_NAMESPACES, UNLINKABLE_TYPES, Namespace, is_namespace_code
from tessera.domain.tenant import Tenant

TYPES = ("COOKIE", "CROSS_DEVICE", "DEVICE", "EMAIL", "MOBILE", "NON_PEOPLE", "PARTNER", "PHONE")


class Configurations(Protocol):
    """Where configurations are read and changed."""

    def current(self, tenant: Tenant) -> Configuration:
        """Read the one in force."""

    def change(self, tenant: Tenant, mutate: Callable[[Configuration], Configuration]) -> Configuration:
        """Make the next one."""


@dataclass(frozen=True, slots=True)
class WantedNamespace:
    """What a caller asks for when creating a namespace."""

    code: str
    name: str
    type: str
    description: str = ""
    unique: bool = False


class Namespaces:
    """Lists and creates namespaces. What decides about links, type and uniqueness, is settled at creation."""

    def __init__(
        self, configurations: Configurations, clock_s: Callable[[], int] = lambda: time.time_ns() // 1_000_000_000
    ) -> None:
        self._configurations = configurations
        self._clock_s = clock_s

    def all(self, tenant: Tenant) -> list[Namespace]:
        """List the standard ones, then the sandbox's own in order of creation."""
        return [*STANDARD_NAMESPACES, *self._configurations.current(tenant).custom_namespaces.values()]

    def get(self, tenant: Tenant, namespace_id: int) -> Namespace:
        """Find one by its number.

        Raises NotFoundError.
        """
        found = next((item for item in self.all(tenant) if item.id == namespace_id), None)
        if found is None:
            raise NotFoundError(f"There is no identity namespace {namespace_id} in this sandbox")
        return found

    def create(self, tenant: Tenant, wanted: WantedNamespace) -> Namespace:
        """Create one. A code that data brought in before it was registered can still be given a name and a type.

        Raises InvalidRequestError and ConflictError.
        """
        if not is_namespace_code(wanted.code):
            raise InvalidRequestError("code must be 1 to 64 letters, digits, '.', '_' or '-'")
        if wanted.type not in TYPES:
            raise InvalidRequestError(f"idType must be one of {', '.join(TYPES)}")
        if wanted.unique and wanted.type in UNLINKABLE_TYPES:
            raise InvalidRequestError(
                f"identities of type {wanted.type} do not link persons: unique means nothing there"
            )

        def with_it(now: Configuration) -> Configuration:
            known = now.namespace(wanted.code)
            if known is not None and not _can_be_adopted(known, wanted):
                raise ConflictError(f"The identity namespace {known.code} exists already")
            base = now.with_namespaces([wanted.code])
            bare = base.custom_namespaces[wanted.code.lower()]
            return base.with_namespace(_described(bare, wanted, self._clock_s()))

        return self._configurations.change(tenant, with_it).custom_namespaces[wanted.code.lower()]

    def describe(self, tenant: Tenant, namespace_id: int, wanted: WantedNamespace) -> Namespace:
        """Change the name and description of a custom one; code and type stay (contract: profile-api §7).

        Raises NotFoundError and InvalidRequestError.
        """

        def with_it(now: Configuration) -> Configuration:
            known = next((item for item in now.custom_namespaces.values() if item.id == namespace_id), None)
            if known is None:
                raise NotFoundError(f"There is no custom identity namespace {namespace_id} in this sandbox")
            if (wanted.code, wanted.type, wanted.unique) != (known.code, known.type, known.unique):
                raise InvalidRequestError("code, idType and unique of an identity namespace cannot be changed")
            return now.with_namespace(_described(known, wanted, self._clock_s()))

        return self._configurations.change(tenant, with_it).custom_namespaces[wanted.code.lower()]


def _can_be_adopted(known: Namespace, wanted: WantedNamespace) -> bool:
    """Tell whether a namespace came into being by use, and registering it changes nothing about links."""
    standard = known in STANDARD_NAMESPACES
    return not standard and known.created_s == 0 and not wanted.unique and wanted.type not in UNLINKABLE_TYPES


def _described(known: Namespace, wanted: WantedNamespace, now_s: int) -> Namespace:
    return replace(
        known,
        type=wanted.type,
        unique=wanted.unique,
        name=wanted.name,
        description=wanted.description,
        created_s=known.created_s or now_s,
        updated_s=now_s,
    )
