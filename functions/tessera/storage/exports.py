"""Where export jobs are kept, how far their workers are, and what datasets hold of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from tessera.domain.batch import Batch
from tessera.domain.errors import NotFoundError
from tessera.domain.export.job import Exported, ExportJob
from tessera.domain.export.share import Checkpoint
from tessera.domain.tenant import Tenant
from tessera.storage.batches import partition as batches_of
from tessera.storage.registry import Registry

# As long as the lake keeps what jobs leave in it.
_KEPT_S = 30 * 24 * 3600
_ID_DIGITS = 16


class ExportStore:
    """Reads and changes the export jobs of a sandbox."""

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.time) -> None:
        self._registry = registry
        self._clock = clock

    def add(self, tenant: Tenant, job: ExportJob) -> None:
        """Write a new job. Raises LostRaceError when its id is taken."""
        self._registry.put(_jobs(tenant), _sort(job.id), job.to_document(), only_new=True)

    def get(self, tenant: Tenant, job_id: int) -> ExportJob:
        """Read a job.

        Raises NotFoundError.
        """
        document = self._registry.get(_jobs(tenant), _sort(job_id))
        if document is None:
            raise _not_found(job_id)
        return ExportJob.from_document(document)

    def each(self, tenant: Tenant, *, newest_first: bool = True, after: int | None = None) -> Iterator[ExportJob]:
        """Walk the jobs in order of creation, by which their ids sort, starting behind the id ``after``."""
        sort = None if after is None else _sort(after)
        for _, document in self._registry.each(_jobs(tenant), newest_first=newest_first, after=sort):
            yield ExportJob.from_document(document)

    def change(self, tenant: Tenant, job_id: int, mutate: Callable[[ExportJob], ExportJob]) -> ExportJob:
        """Change a job atomically and return it; ``mutate`` may run several times.

        Raises NotFoundError.
        """
        changed = self._registry.change(
            _jobs(tenant), _sort(job_id), lambda document: mutate(ExportJob.from_document(document)).to_document()
        )
        if changed is None:
            raise _not_found(job_id)
        return ExportJob.from_document(changed)

    # How far workers are

    def checkpoint(self, tenant: Tenant, job_id: int, share: str) -> Checkpoint:
        """Read how far the worker of a share is; one that has not begun is at the beginning."""
        document = self._registry.get(_shares(tenant, job_id), share)
        return Checkpoint() if document is None else Checkpoint.from_document(document)

    def checkpoints(self, tenant: Tenant, job_id: int) -> dict[str, Checkpoint]:
        """Read how far the workers of a job are that have begun."""
        return {
            share: Checkpoint.from_document(document)
            for share, document in self._registry.each(_shares(tenant, job_id))
        }

    def advance(self, tenant: Tenant, job_id: int, share: str, before: Checkpoint, after: Checkpoint) -> None:
        """Note how far a worker is. Raises LostRaceError when another worker of the same share was faster."""
        self._registry.advance(
            _shares(tenant, job_id),
            share,
            None if before == Checkpoint() else before.to_document(),
            after.to_document(),
            expires_s=int(self._clock()) + _KEPT_S,
        )

    # The end

    def settle(self, tenant: Tenant, job_id: int, brought: Sequence[Batch], now_ms: int) -> ExportJob:
        """Make a job succeed: all at once its batches are active, and those of the export before are not any more.

        A job that is over stays as it is, and so does everything else. Raises NotFoundError.
        """
        job = self.get(tenant, job_id)
        while not job.terminal:
            before = self.exported(tenant, job.wanted.dataset_id)
            keys = [
                (_jobs(tenant), _sort(job_id)),
                _exported(tenant, job.wanted.dataset_id),
                *((batches_of(tenant), batch_id) for batch_id in before.batches),
                *((batches_of(tenant), batch.id) for batch in brought),
            ]
            self._registry.change_all(keys, partial(_settled, before, brought, now_ms))
            job = self.get(tenant, job_id)
        return job

    def exported(self, tenant: Tenant, dataset_id: str) -> Exported:
        """Read what exports brought into a dataset."""
        document = self._registry.get(*_exported(tenant, dataset_id))
        return Exported() if document is None else Exported.from_document(document)


def _settled(
    before: Exported, brought: Sequence[Batch], now_ms: int, found: Sequence[dict[str, Any] | None]
) -> list[dict[str, Any] | None]:
    """Say what the job, the dataset's note, the old batches and the new ones become; nothing when it is too late."""
    known, exported, *batches = found
    job = ExportJob.from_document(known or {})
    if job.terminal or (Exported() if exported is None else Exported.from_document(exported)) != before:
        return [None] * len(found)
    old = batches[: len(before.batches)]
    return [
        job.succeeded(now_ms).to_document(),
        Exported(tuple(batch.id for batch in brought), before.batches).to_document(),
        *(None if one is None else _replaced(one, now_ms) for one in old),
        *(batch.to_document() for batch in brought),
    ]


def _replaced(document: dict[str, Any], now_ms: int) -> dict[str, Any] | None:
    before = Batch.from_document(document)
    after = before.replaced(now_ms)
    return None if after is before else after.to_document()


def _jobs(tenant: Tenant) -> str:
    return f"{tenant.key}#export"


def _exported(tenant: Tenant, dataset_id: str) -> tuple[str, str]:
    return f"{tenant.key}#exported", dataset_id


def _shares(tenant: Tenant, job_id: int) -> str:
    return f"{tenant.key}#export-share#{job_id}"


def _sort(job_id: int) -> str:
    return f"{job_id:0{_ID_DIGITS}d}"


def _not_found(job_id: int) -> NotFoundError:
    return NotFoundError(f"Export job {job_id} does not exist in this sandbox")
