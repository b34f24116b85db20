"""Where deletions of persons are kept: one registry document each, among the jobs of the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tessera.domain.deletion import PERSON, PersonDeletion
from tessera.domain.errors import NotFoundError
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import ulid
from tessera.storage.registry import Registry

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import TransactWriteItemTypeDef


class DeletionStore:
    """Reads and changes the deletions of a sandbox."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def adding(self, tenant: Tenant, job: PersonDeletion) -> TransactWriteItemTypeDef:
        """Describe the writing of a job, to be part of a transaction."""
        return self._registry.putting(partition(tenant), job.id, job.to_document())

    def get(self, tenant: Tenant, job_id: str) -> PersonDeletion:
        """Read a job.

        Raises NotFoundError.
        """
        document = self._registry.get(partition(tenant), job_id)
        if document is None:
            raise _not_found(job_id)
        return PersonDeletion.from_document(document)

    def since(self, tenant: Tenant, at_ms: int) -> Iterator[PersonDeletion]:
        """Walk the deletions asked for at a time, in milliseconds since 1970, or later, oldest first."""
        for _, document in self._registry.each(partition(tenant), after=ulid(at_ms, 0)):
            if document["kind"] == PERSON:
                yield PersonDeletion.from_document(document)

    def change(self, tenant: Tenant, job_id: str, mutate: Callable[[PersonDeletion], PersonDeletion]) -> PersonDeletion:
        """Change a job atomically and return it; ``mutate`` may run several times.

        Raises NotFoundError.
        """
        changed = self._registry.change(
            partition(tenant),
            job_id,
            lambda document: mutate(PersonDeletion.from_document(document)).to_document(),
        )
        if changed is None:
            raise _not_found(job_id)
        return PersonDeletion.from_document(changed)


def partition(tenant: Tenant) -> str:
    """Partition of the registry that holds the jobs of a sandbox."""
    return f"{tenant.key}#job"


def _not_found(job_id: str) -> NotFoundError:
    return NotFoundError(f"Job {job_id[:64]} does not exist in this sandbox")
