"""The jobs of a sandbox of every kind, as one list."""

from __future__ import annotations

from itertools import islice

from tessera.domain.system_job import SystemJob
from tessera.domain.tenant import Tenant
from tessera.storage.jobs import not_found, partition
from tessera.storage.registry import Registry


class SystemJobList:
    """Reads jobs of every kind, and takes them out of the list."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def page(self, tenant: Tenant, start: int, limit: int) -> list[SystemJob]:
        """List ``limit`` jobs, the newest first, passing over the first ``start``."""
        found = self._registry.each(partition(tenant), newest_first=True)
        return [SystemJob.from_document(document) for _, document in islice(found, start, start + limit)]

    def count(self, tenant: Tenant) -> int:
        """Count the jobs."""
        return self._registry.count(partition(tenant))

    def get(self, tenant: Tenant, job_id: str) -> SystemJob:
        """Read a job.

        Raises NotFoundError.
        """
        document = self._registry.get(partition(tenant), job_id)
        if document is None:
            raise not_found(job_id)
        return SystemJob.from_document(document)

    def remove(self, tenant: Tenant, job_id: str) -> None:
        """Take a job out of the list: whoever works on it finds it gone, and stops."""
        self._registry.delete(partition(tenant), job_id)
