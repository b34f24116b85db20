"""Where deletions of datasets and batches are kept: among the jobs of the sandbox, and by their targets.

A target's document names the last job that was asked for it. Both are written with the configuration in one
transaction, so whoever finds no open job of a target and then accepts one is the only one to do so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tessera.domain.errors import NotFoundError
from tessera.domain.purge import Purge
from tessera.domain.tenant import Tenant
from tessera.storage.jobs import not_found, partition
from tessera.storage.registry import Registry

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import TransactWriteItemTypeDef


class PurgeStore:
    """Reads and changes the deletions of a sandbox's datasets and batches."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def adding(self, tenant: Tenant, job: Purge) -> list[TransactWriteItemTypeDef]:
        """Describe the writing of a job and of its target's document, to be part of a transaction."""
        return [
            self._registry.putting(partition(tenant), job.id, job.to_document()),
            self._registry.putting(_targets(tenant), job.target, {"job": job.id}),
        ]

    def get(self, tenant: Tenant, job_id: str) -> Purge:
        """Read a job.

        Raises NotFoundError.
        """
        document = self._registry.get(partition(tenant), job_id)
        if document is None:
            raise not_found(job_id)
        return Purge.from_document(document)

    def last_of(self, tenant: Tenant, target: str) -> Purge | None:
        """Read the last job of a target, ``None`` if there is none or it was taken out of the list."""
        document = self._registry.get(_targets(tenant), target)
        if document is None:
            return None
        try:
            return self.get(tenant, document["job"])
        except NotFoundError:
            return None

    def change(self, tenant: Tenant, job_id: str, mutate: Callable[[Purge], Purge]) -> Purge:
        """Change a job atomically and return it; ``mutate`` may run several times.

        Raises NotFoundError.
        """
        changed = self._registry.change(
            partition(tenant), job_id, lambda document: mutate(Purge.from_document(document)).to_document()
        )
        if changed is None:
            raise not_found(job_id)
        return Purge.from_document(changed)


def _targets(tenant: Tenant) -> str:
    return f"{tenant.key}#job-target"
