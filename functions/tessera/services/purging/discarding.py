"""Deleting what a dataset or a batch has in the lake, where that was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

from tessera.domain.batch import Batch
from tessera.domain.errors import NotFoundError
from tessera.domain.place import accepted_ms
from tessera.domain.purge import OBJECTS, Purge
from tessera.domain.tenant import Tenant
from tessera.services.purging.accepting import Jobs
from tessera.services.purging.shares import START, Checkpoint, Notes, Position, added

MAX_SECONDS = 300.0
DISCARD, LAKE_SHARE = "discard", "lake"


class Batches(Protocol):
    """The records of batches."""

    def get(self, tenant: Tenant, batch_id: str) -> Batch:
        """Read one or raise NotFoundError."""

    def each(self, tenant: Tenant, *, newest_first: bool = True) -> Iterator[Batch]:
        """Walk all in order of their ids."""


class Objects(Protocol):
    """The lake: ``storage.lake.Lake``."""

    def discard(self, tenant: Tenant, batch_id: str, *, rows: bool = False) -> int:
        """Delete a batch's files, and with ``rows`` also its accepted rows; tell how many versions of objects."""


class Rows(Protocol):
    """Which rows batches have that gather streamed ones: ``storage.streamed_rows.StreamedRows``."""

    def let_go(self, tenant: Tenant, dataset_id: str, batch_id: str) -> None:
        """Have the places of a batch's rows deleted after some time. Safe to repeat."""


class Discarder:
    """Deletes the files and rows of batches; ``clock`` gives seconds."""

    def __init__(
        self,
        jobs: Jobs,
        batches: Batches,
        objects: Objects,
        rows: Rows,
        notes: Notes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs = jobs
        self._batches = batches
        self._objects = objects
        self._rows = rows
        self._notes = notes
        self._clock = clock

    def discard(self, tenant: Tenant, job_id: str) -> bool:
        """Delete for some minutes; tell whether that was all, or nothing was asked for, or the job is gone."""
        try:
            job = self._jobs.get(tenant, job_id)
        except NotFoundError:
            return True
        if not job.lake:
            return True
        deadline = self._clock() + MAX_SECONDS
        (document,) = self._notes.checkpoints(tenant, job_id, DISCARD, [LAKE_SHARE])
        at = Checkpoint.from_document(document)
        if at.done:
            return True
        behind = (at.position or START).after
        for batch in self._asked_for(tenant, job):
            if batch.id <= behind:
                continue
            if self._clock() > deadline:
                return False
            objects = self._objects.discard(tenant, batch.id, rows=True)
            if batch.streamed and not job.batch_id:
                # The cutoff reaches them all; of the delete of a batch they are needed until it is done.
                self._rows.let_go(tenant, batch.dataset_id, batch.id)
            counts = added([at.counts, {OBJECTS: objects}])
            at = replace(at, position=Position(after=batch.id), counts=counts)
            self._notes.write_checkpoint(tenant, job_id, DISCARD, LAKE_SHARE, at.to_document())
        at = replace(at, position=None)
        self._notes.write_checkpoint(tenant, job_id, DISCARD, LAKE_SHARE, at.to_document())
        return True

    def _asked_for(self, tenant: Tenant, job: Purge) -> Iterator[Batch]:
        """Walk the batches whose objects go: the one, or those of the dataset that were complete before the delete."""
        if job.batch_id:
            yield self._batches.get(tenant, job.batch_id)
            return
        for batch in self._batches.each(tenant, newest_first=False):
            if batch.dataset_id == job.dataset_id and 0 < batch.completed_ms <= accepted_ms(job.cutoff):
                yield batch
