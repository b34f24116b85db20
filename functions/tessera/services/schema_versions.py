"""Versions of schemas, ready for rows: read and compiled once per process, for they never change."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Protocol

from tessera.domain.rows import RowSchema
from tessera.domain.tenant import Tenant

_CACHED = 64


class Documents(Protocol):
    """Where versions are kept: ``storage.registry.Registry``."""

    def get(self, partition: str, sort: str) -> dict[str, Any] | None:
        """Read one document."""


class SchemaVersions:
    """Finds versions."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._cache: OrderedDict[tuple[str, str, bool], RowSchema] = OrderedDict()

    def compiled(self, tenant: Tenant, version: str, *, partial: bool) -> RowSchema | None:
        """Return a version by its name, ``None`` for the empty one; ``partial`` rows may lack required fields."""
        if not version:
            return None
        key = (tenant.key, version, partial)
        found = self._cache.get(key)
        if found is None:
            found = self._cache[key] = self._compiled(tenant, version, partial)
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        return found

    def _compiled(self, tenant: Tenant, version: str, partial: bool) -> RowSchema:
        # Here, because only rows of registered schemas need the validator.
        from tessera.domain.schema.version import compiled  # noqa: PLC0415

        document = self._documents.get(version_partition(tenant), version)
        if document is None:
            raise RuntimeError(f"schema version {version} is missing")
        return compiled(document, partial=partial)


def version_partition(tenant: Tenant) -> str:
    """Name the partition of the versions of schemas."""
    return f"{tenant.key}#schema-version"
