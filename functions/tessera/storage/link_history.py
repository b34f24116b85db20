"""Who changed which link: in the registry, under each identity concerned. Identities are XIDs, callers client ids."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from typing import Any

from tessera.domain.identity import Xid
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import ulid
from tessera.storage.registry import Registry


class LinkHistory:
    """Keeps the changes of links made by hand."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def add(self, tenant: Tenant, xids: Collection[Xid], entry: Mapping[str, Any]) -> None:
        """Note a change; ``at`` in ``entry`` is milliseconds since 1970."""
        sort = ulid(entry["at"], secrets.randbits(80))
        self._registry.write([self._registry.putting(_partition(tenant, xid), sort, entry) for xid in xids])

    def of(self, tenant: Tenant, xid: Xid) -> list[dict[str, Any]]:
        """Read the changes of an identity's links, oldest first."""
        return [entry for _, entry in self._registry.each(_partition(tenant, xid))]


def _partition(tenant: Tenant, xid: Xid) -> str:
    return f"{tenant.key}#links#{xid}"
