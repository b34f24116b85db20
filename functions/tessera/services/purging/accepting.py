"""Accepting the deletion of a dataset's or a batch's data: from then on no read shows it (contract: profile-api §5.3).

    time  | POST                                     | a row of the dataset accepted meanwhile
    ------|------------------------------------------|------------------------------------------------------
    t     | reads the pointer, chooses t + grace     |
    t + 1 |                                          | accepted: its place is below the cutoff
    t + 2 |                                          | its writer reads a configuration without the cutoff
    t + 3 | writes configuration, job and target     |
    t + 4 |                                          | written below the cutoff: gone, as if it had come before
    grace | answers only now                         |

Whatever has a place above the cutoff was accepted when the configuration had it. A writer reads the configuration after
the rows that it writes were accepted, so it knows: see ``services.deletion`` for the same of persons. The places of a
batch are its own, and its deletion needs no such care: those of an ingested one begin alike, those of one that gathers
streamed rows are kept beside it (docs/decisions/0165).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tessera.domain.batch import Batch, BatchStatus
from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.deletion import JobStatus
from tessera.domain.errors import InvalidRequestError, NotFoundError, UnprocessableError
from tessera.domain.place import END_OF_TIME, GRACE_MS, accepted_ms, batch_prefix, cutoff_place
from tessera.domain.place_set import PlaceSet
from tessera.domain.purge import Purge
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import ulid
from tessera.services.deletion import ABANDONED_MS, Machine
from tessera.services.purging.kept import messages_until_s

# Each lies in the configuration until its events are gone.
MAX_BATCHES_AT_ONCE = 100
# Of the streamed rows of all batches of a sandbox that are being deleted: sixteen bytes each in the memory of readers.
MAX_ROWS_AT_ONCE = 1_000_000
_WITHOUT_ROWS = frozenset({BatchStatus.FAILED, BatchStatus.ABORTED})


class NothingToDeleteError(InvalidRequestError):
    """No such dataset has anything in profiles."""


class UnknownBatchError(InvalidRequestError):
    """The dataset has no such batch, or one that never brought anything."""


class NotEventsError(UnprocessableError):
    """Batches of records cannot be deleted: they overwrite each other, so there is nothing to undo."""


class AlreadyAskedError(UnprocessableError):
    """A job for the same target is open."""

    def __init__(self, job: Purge) -> None:
        super().__init__(f"job {job.id} is at it")
        self.job = job


class Configurations(Protocol):
    """Where configurations are kept: ``storage.configuration.ConfigurationStore``."""

    def change(
        self, tenant: Tenant, mutate: Callable[[Configuration], Configuration], also: Callable[[], Sequence[Any]]
    ) -> Configuration:
        """Make the next version atomically with the writes of ``also``, both called anew after a lost race."""


class Jobs(Protocol):
    """Where these deletions are kept: ``storage.purges.PurgeStore``."""

    def adding(self, tenant: Tenant, job: Purge) -> Sequence[Any]:
        """Describe the writing of one, to be part of a transaction."""

    def get(self, tenant: Tenant, job_id: str) -> Purge:
        """Read one or raise NotFoundError."""

    def last_of(self, tenant: Tenant, target: str) -> Purge | None:
        """Read the last one of a target."""

    def change(self, tenant: Tenant, job_id: str, mutate: Callable[[Purge], Purge]) -> Purge:
        """Change one atomically or raise NotFoundError."""


class Batches(Protocol):
    """The records of batches."""

    def get(self, tenant: Tenant, batch_id: str) -> Batch:
        """Read one or raise NotFoundError."""


class StreamedRows(Protocol):
    """Which streamed rows batches have: ``services.streaming.gathered.Gathered``."""

    def kept(self, tenant: Tenant, dataset_id: str, batch_id: str) -> PlaceSet | None:
        """Return the places of a batch's rows, ``None`` when they were not kept beside it."""

    def is_staged(self, tenant: Tenant, dataset_id: str, batch_id: str) -> bool:
        """Tell whether what was staged still says which rows a batch has."""


class DeletedRows(Protocol):
    """Where deleted batches of streamed rows are noted: ``storage.deleted_rows.DeletedRows``."""

    def noting(self, tenant: Tenant, dataset_id: str, batch_id: str, places: PlaceSet, until_s: int) -> Sequence[Any]:
        """Describe the noting of one, to be part of a transaction; it is forgotten after ``until_s`` since 1970."""


class Journal(Protocol):
    """Where accepted deletes are noted for a restore: ``storage.journal.Journal``."""

    def note(self, tenant: Tenant, job_id: str, entry: Mapping[str, Any]) -> None:
        """Note one; safe to repeat."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller asks for: of a batch if ``batch_id`` is given, else of a dataset."""

    dataset_id: str = ""
    batch_id: str = ""
    remove_links: bool = False
    lake: bool = False


class Purges:
    """Accepts deletions. ``clock_ms`` is milliseconds since 1970, ``pause`` waits for seconds.

    ``notice`` is told what went wrong once a deletion was accepted: the caller is answered that it is.
    """

    def __init__(
        self,
        configurations: Configurations,
        jobs: Jobs,
        batches: Batches,
        streamed: StreamedRows,
        deleted_rows: DeletedRows,
        journal: Journal,
        machine: Machine,
        notice: Callable[[Exception], None] = lambda error: None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._configurations = configurations
        self._jobs = jobs
        self._batches = batches
        self._streamed = streamed
        self._deleted_rows = deleted_rows
        self._journal = journal
        self._machine = machine
        self._notice = notice
        self._clock_ms = clock_ms
        self._pause = pause

    def accept(self, tenant: Tenant, wanted: Wanted, caller: str) -> Purge:
        """Delete what is stored now; when it returns, no read sees it (contract: profile-api §5.3).

        Raises NothingToDeleteError, UnknownBatchError, NotEventsError, AlreadyAskedError, and UnprocessableError when
        too much is being deleted, or when it is not known any more which streamed rows a batch has.
        """
        batch = self._batch(tenant, wanted) if wanted.batch_id else None
        rows = self._rows(tenant, batch) if batch is not None and batch.streamed else None
        dataset_id = wanted.dataset_id if batch is None else batch.dataset_id
        job_id, now_ms = self._new_id()

        def reached(configuration: Configuration) -> tuple[Purge, Configuration]:
            dataset = _expected(configuration, dataset_id, batch, rows)
            job = Purge(
                job_id,
                dataset_id,
                dataset.kind,
                cutoff_place(self._clock_ms() + GRACE_MS),
                caller,
                now_ms,
                now_ms,
                batch_id="" if batch is None else batch.id,
                prefix="" if batch is None or batch.streamed else batch_prefix(batch.completed_ms, batch.id),
                rows=0 if rows is None else len(rows),
                remove_links=wanted.remove_links,
                lake=wanted.lake,
            )
            self._expect_none_open(tenant, job)
            return job, configuration.with_dataset(_reached(dataset, job, rows))

        noting: Sequence[Any] = ()
        if batch is not None and rows is not None:
            noting = self._deleted_rows.noting(tenant, dataset_id, batch.id, rows, messages_until_s(now_ms))
        try:
            job = self._store(tenant, job_id, reached, noting)
        except AlreadyAskedError as error:
            self.resume(tenant, error.job)
            raise
        self.begin(tenant, job)
        return job

    def of_gone(self, dataset: DatasetSettings, caller: str) -> Purge:
        """Describe the deletion of the data of a dataset that is being taken out of the configuration.

        No row of it is let in any more, so it reaches all there is.
        """
        job_id, now_ms = self._new_id()
        return Purge(job_id, dataset.id, dataset.kind, END_OF_TIME, caller, now_ms, now_ms)

    def adding(self, tenant: Tenant, job: Purge) -> Sequence[Any]:
        """Describe the writing of a job, to be part of the transaction that accepts it."""
        return self._jobs.adding(tenant, job)

    def resume(self, tenant: Tenant, job: Purge) -> None:
        """See to it that an open job is worked on: who accepted it may have died before that."""
        now_ms = self._clock_ms()
        if job.status is JobStatus.IN_PROGRESS and now_ms - job.updated_ms > ABANDONED_MS:
            attempt = job.attempt
            job = self._jobs.change(tenant, job.id, lambda known: known.tried_again(attempt, now_ms))
        if job.status is JobStatus.NEW:
            self.begin(tenant, job)

    def begin(self, tenant: Tenant, job: Purge) -> None:
        """Note an accepted deletion in the journal and start the machine. What fails here is done by the next call."""
        name = job.id if job.attempt == 1 else f"{job.id}-{job.attempt}"
        try:
            self._journal.note(tenant, job.id, entry_of(job))
            self._machine.start(name, {"org_id": tenant.org_id, "sandbox": tenant.sandbox, "job_id": job.id})
        except Exception as error:
            self._notice(error)

    def _store(
        self,
        tenant: Tenant,
        job_id: str,
        reached: Callable[[Configuration], tuple[Purge, Configuration]],
        noting: Sequence[Any],
    ) -> Purge:
        """Write configuration, job and note, again with a later cutoff when that took longer than the grace."""
        written: list[Purge] = []

        def mutate(configuration: Configuration) -> Configuration:
            job, after = reached(configuration)
            written[:] = [job]
            return after

        while True:
            try:
                self._configurations.change(tenant, mutate, lambda: [*self._jobs.adding(tenant, written[0]), *noting])
            except Exception:
                # An answer may be lost on its way: what was stored was accepted.
                if not written or not self._is_stored(tenant, job_id, written[0]):
                    raise
            (job,) = written
            if job.batch_id:
                return job
            left_ms = accepted_ms(job.cutoff) - self._clock_ms()
            if left_ms >= 0:
                self._pause((left_ms + 1) / 1000)
                return job

    def _is_stored(self, tenant: Tenant, job_id: str, job: Purge) -> bool:
        stored = self._jobs.last_of(tenant, job.target)
        return stored is not None and stored.id == job_id and stored.cutoff == job.cutoff

    def _expect_none_open(self, tenant: Tenant, job: Purge) -> None:
        known = self._jobs.last_of(tenant, job.target)
        if known is not None and known.open and known.id != job.id:
            raise AlreadyAskedError(known)

    def _batch(self, tenant: Tenant, wanted: Wanted) -> Batch:
        """Find a batch whose rows may be in profiles. Raises UnknownBatchError."""
        try:
            batch = self._batches.get(tenant, wanted.batch_id)
        except NotFoundError:
            raise UnknownBatchError(wanted.dataset_id) from None
        ingested = batch.completed_ms and batch.status not in _WITHOUT_ROWS and not batch.export_job
        if wanted.dataset_id not in {"", batch.dataset_id} or not ingested:
            raise UnknownBatchError(wanted.dataset_id or batch.dataset_id)
        return batch

    def _rows(self, tenant: Tenant, batch: Batch) -> PlaceSet | None:
        """Read which streamed rows a batch has, ``None`` for one that is older than the keeping of them.

        Raises UnprocessableError when nothing says it any more.
        """
        rows = self._streamed.kept(tenant, batch.dataset_id, batch.id)
        if rows is None and not self._streamed.is_staged(tenant, batch.dataset_id, batch.id):
            raise UnprocessableError(
                f"Batch {batch.id} gathers streamed rows, and which ones was known for thirty days: delete persons, or "
                "the dataset"
            )
        return rows

    def _new_id(self) -> tuple[str, int]:
        now_ms = self._clock_ms()
        return ulid(now_ms, secrets.randbits(80)), now_ms


def entry_of(job: Purge) -> dict[str, Any]:
    """Write what a restore has to know of a deletion."""
    return {
        "kind": job.kind,
        "dataset": job.dataset_id,
        "batch": job.batch_id,
        "cutoff": job.cutoff,
        "prefix": job.prefix,
        "at": job.at_ms,
    }


def _expected(
    configuration: Configuration, dataset_id: str, batch: Batch | None, rows: PlaceSet | None
) -> DatasetSettings:
    """Return the settings of a dataset that something can be deleted of.

    Raises NothingToDeleteError, NotEventsError, UnprocessableError.
    """
    dataset = configuration.datasets.get(dataset_id)
    if dataset is None or dataset.kind is DatasetKind.UNION or not (dataset.profile_enabled or dataset.off):
        raise NothingToDeleteError(f"there is no dataset '{dataset_id[:64]}' here whose data goes into profiles")
    if batch is None:
        return dataset
    if dataset.kind is not DatasetKind.EVENT:
        raise NotEventsError(dataset_id)
    if len(dataset.deleted) + len(dataset.deleted_rows) >= MAX_BATCHES_AT_ONCE:
        raise UnprocessableError(
            f"{MAX_BATCHES_AT_ONCE} batches of this dataset are being deleted: wait until some jobs are done"
        )
    if rows is not None and batch.id not in dataset.deleted_rows:
        open_rows = (one for each in configuration.datasets.values() for one in each.deleted_rows.values())
        at_once = len(rows) + sum(map(len, open_rows))
        if at_once > MAX_ROWS_AT_ONCE:
            raise UnprocessableError(
                f"{at_once - len(rows)} streamed rows are being deleted, and with the {len(rows)} of this batch they "
                f"would be more than {MAX_ROWS_AT_ONCE}: wait until some jobs are done"
            )
    return dataset


def _reached(dataset: DatasetSettings, job: Purge, rows: PlaceSet | None) -> DatasetSettings:
    """Return the settings with which no read shows what the job deletes."""
    if not job.batch_id:
        return dataset.cut_off(job.cutoff)
    if rows is not None:
        return dataset.without_rows(job.batch_id, rows)
    return dataset.without_batch(job.prefix) if job.prefix else dataset
