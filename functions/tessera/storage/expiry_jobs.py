"""Where jobs about expiring events are kept: one registry document each, among the jobs of the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tessera.domain.errors import NotFoundError
from tessera.domain.expiry_job import ExpiryJob
from tessera.domain.tenant import Tenant
from tessera.storage.registry import Registry

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import TransactWriteItemTypeDef


class ExpiryJobStore:
    """Reads and changes them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def adding(self, tenant: Tenant, job: ExpiryJob) -> TransactWriteItemTypeDef:
        """Describe the writing of a job, to be part of a transaction."""
        return self._registry.putting(_partition(tenant), job.id, job.to_document())

    def get(self, tenant: Tenant, job_id: str) -> ExpiryJob:
        """Read a job.

        Raises NotFoundError.
        """
        document = self._registry.get(_partition(tenant), job_id)
        if document is None:
            raise _not_found(job_id)
        return ExpiryJob.from_document(document)

    def change(self, tenant: Tenant, job_id: str, mutate: Callable[[ExpiryJob], ExpiryJob]) -> ExpiryJob:
        """Change a job atomically and return it; ``mutate`` may run several times.

        Raises NotFoundError.
        """
        changed = self._registry.change(
            _partition(tenant), job_id, lambda document: mutate(ExpiryJob.from_document(document)).to_document()
        )
        if changed is None:
            raise _not_found(job_id)
        return ExpiryJob.from_document(changed)


def _partition(tenant: Tenant) -> str:
    return f"{tenant.key}#job"


def _not_found(job_id: str) -> NotFoundError:
    return NotFoundError(f"Job {job_id[:64]} does not exist in this sandbox")
