"""Where batches are kept: one registry document each, changed by one conditional write at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tessera.domain.batch import Batch
from tessera.domain.errors import NotFoundError
from tessera.domain.tenant import Tenant
from tessera.storage.registry import Registry


class _UnchangedError(Exception):
    """Leaves a change without writing."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class BatchStore:
    """Reads and changes the batches of a sandbox."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def add(self, tenant: Tenant, batch: Batch) -> None:
        """Write a new batch."""
        self._registry.put(partition(tenant), batch.id, batch.to_document(), only_new=True)

    def get(self, tenant: Tenant, batch_id: str) -> Batch:
        """Read a batch.

        Raises NotFoundError.
        """
        document = self._registry.get(partition(tenant), batch_id)
        if document is None:
            raise _not_found(batch_id)
        return Batch.from_document(document)

    def each(self, tenant: Tenant, *, newest_first: bool = True) -> Iterator[Batch]:
        """Walk all batches in order of creation, by which their ids sort."""
        for _, document in self._registry.each(partition(tenant), newest_first=newest_first):
            yield Batch.from_document(document)

    def change(self, tenant: Tenant, batch_id: str, mutate: Callable[[Batch], Batch]) -> Batch:
        """Change a batch atomically and return it; one that ``mutate`` returns as it was is not written.

        ``mutate`` may run several times; what it raises is passed on. Raises NotFoundError.
        """

        def apply(document: dict[str, object]) -> dict[str, object]:
            before = Batch.from_document(document)
            after = mutate(before)
            if after is before:
                raise _UnchangedError(before)
            return after.to_document()

        try:
            changed = self._registry.change(partition(tenant), batch_id, apply)
        except _UnchangedError as unchanged:
            return unchanged.batch
        if changed is None:
            raise _not_found(batch_id)
        return Batch.from_document(changed)


def partition(tenant: Tenant) -> str:
    """Partition of the registry that holds the batches of a sandbox."""
    return f"{tenant.key}#batch"


def _not_found(batch_id: str) -> NotFoundError:
    return NotFoundError(f"Batch {batch_id[:64]} does not exist in this sandbox")
