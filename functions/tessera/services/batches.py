"""The life of a batch until its machine takes over: create, upload, complete, give up (data-and-pql §4.2, §4.3)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from tessera.domain.batch import Batch, BatchStatus, FileFormat
from tessera.domain.configuration import Configuration, DatasetKind
from tessera.domain.errors import InvalidRequestError, NotFoundError
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import ulid
from tessera.storage.received import Upload

# An execution is stopped after a day; a batch not settled an hour later has nobody working on it.
ABANDONED_MS = 25 * 3600 * 1000
_HOUR_MS = 3600 * 1000


class Records(Protocol):
    """Where batches are kept."""

    def add(self, tenant: Tenant, batch: Batch) -> None:
        """Write a new one."""

    def get(self, tenant: Tenant, batch_id: str) -> Batch:
        """Read one or raise NotFoundError."""

    def each(self, tenant: Tenant, *, newest_first: bool = True) -> Iterator[Batch]:
        """Walk all in order of creation."""

    def change(self, tenant: Tenant, batch_id: str, mutate: Callable[[Batch], Batch]) -> Batch:
        """Change one atomically, or raise NotFoundError."""


class Configurations(Protocol):
    """Where the datasets of a sandbox are known."""

    def current(self, tenant: Tenant) -> Configuration:
        """Read the configuration in force."""


class Files(Protocol):
    """Where files are received."""

    def receive(self, tenant: Tenant, batch_id: str, dataset_id: str, path: str, body: bytes) -> None:
        """Store one, or raise InvalidRequestError for its path."""

    def receiving_url(self, tenant: Tenant, batch_id: str, dataset_id: str, path: str) -> str:
        """Make a URL that takes one, or raise InvalidRequestError for its path."""

    def uploads(self, tenant: Tenant, batch_id: str) -> list[Upload]:
        """List the files that come in parts."""


class Machine(Protocol):
    """What works on complete batches."""

    def start(self, name: str, document: Mapping[str, Any]) -> None:
        """Start an execution unless there was one of that name."""


@dataclass(frozen=True, slots=True)
class WantedBatch:
    """What a caller asks for when creating a batch."""

    dataset_id: str
    format: FileFormat = FileFormat.PARQUET
    multi_line: bool = False
    diagnostics: bool = False
    partial_percent: float | None = None
    external_id: str = ""
    tags: Mapping[str, list[str]] = field(default_factory=dict)
    replaces: tuple[str, ...] = ()
    replaces_external: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchFilter:
    """Which batches to list; what is empty or ``None`` does not restrict."""

    statuses: frozenset[str] = frozenset()
    dataset_id: str | None = None
    external_id: str | None = None
    batch_id: str | None = None
    created_user: str | None = None
    created_ms: int | None = None
    updated_ms: int | None = None
    created_after_ms: int | None = None
    created_before_ms: int | None = None

    def matches(self, batch: Batch) -> bool:
        """Tell whether a batch is asked for; ``after`` and ``before`` are exclusive."""
        return (
            (not self.statuses or batch.status in self.statuses)
            and self.dataset_id in {None, batch.dataset_id}
            and self.external_id in {None, batch.external_id}
            and self.batch_id in {None, batch.id}
            and self.created_user in {None, batch.created_by}
            and self.created_ms in {None, batch.created_ms}
            and self.updated_ms in {None, batch.updated_ms}
            and (self.created_after_ms is None or batch.created_ms > self.created_after_ms)
            and (self.created_before_ms is None or batch.created_ms < self.created_before_ms)
        )


class Batches:
    """The batches of sandboxes, as their callers see them."""

    def __init__(
        self,
        records: Records,
        configurations: Configurations,
        files: Files,
        machine: Machine,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._records = records
        self._configurations = configurations
        self._files = files
        self._machine = machine
        self._clock_ms = clock_ms

    def create(self, tenant: Tenant, wanted: WantedBatch, caller: str, batch_id: str = "") -> Batch:
        """Create an empty batch, under an id made up for it unless ``batch_id`` is given.

        Raises LostRaceError when there is a batch of this id, NotFoundError for a dataset of another sandbox,
        InvalidRequestError for one that takes no files.
        """
        dataset = self._configurations.current(tenant).datasets.get(wanted.dataset_id)
        if dataset is None:
            raise NotFoundError(f"Dataset {wanted.dataset_id[:64]} does not exist in this sandbox")
        if dataset.kind is DatasetKind.UNION:
            raise InvalidRequestError("A dataset of the union schema receives exports; data cannot be ingested into it")
        if dataset.upsert and (wanted.replaces or wanted.replaces_external):
            raise InvalidRequestError(
                "A batch of an upsert dataset cannot be replaced: its rows are merged with others"
            )
        if wanted.multi_line and wanted.format is not FileFormat.JSON:
            raise InvalidRequestError("isMultiLineJson is for the format json only")
        now = self._clock_ms()
        batch_id = batch_id or ulid(now, secrets.randbits(80))
        batch = Batch(
            batch_id,
            wanted.dataset_id,
            now,
            caller,
            format=wanted.format,
            multi_line=wanted.multi_line,
            diagnostics=wanted.diagnostics,
            partial_percent=wanted.partial_percent,
            external_id=wanted.external_id or batch_id,
            predecessors=self._predecessors(tenant, wanted),
            tags=wanted.tags,
            updated_ms=now,
            updated_by=caller,
        )
        self._records.add(tenant, batch)
        return batch

    def receive(self, tenant: Tenant, batch_id: str, dataset_id: str, path: str, body: bytes) -> None:
        """Store a file; the last content of a path counts. Only while the batch is loading.

        Raises NotFoundError, InvalidRequestError.
        """
        open_batch(self._records, tenant, batch_id, dataset_id)
        self._files.receive(tenant, batch_id, dataset_id, path, body)
        # A batch completed in between may have been planned without this file: then it must not be acknowledged.
        open_batch(self._records, tenant, batch_id, dataset_id)

    def receiving_url(self, tenant: Tenant, batch_id: str, dataset_id: str, path: str) -> str:
        """Make a URL to which a large file can be PUT directly.

        Raises NotFoundError, InvalidRequestError.
        """
        open_batch(self._records, tenant, batch_id, dataset_id)
        return self._files.receiving_url(tenant, batch_id, dataset_id, path)

    def complete(self, tenant: Tenant, batch_id: str, caller: str) -> None:
        """Close the batch for files and see to it that it is worked on; safe to repeat in every later state.

        Raises NotFoundError, and InvalidRequestError for a batch that was given up or has a file that is not complete.
        """
        self._check_files(tenant, batch_id)
        now = self._clock_ms()
        batch = self._records.change(tenant, batch_id, lambda known: known.completed(now, caller))
        if not batch.terminal and now - batch.updated_ms > ABANDONED_MS:
            attempt = batch.attempt
            batch = self._records.change(tenant, batch_id, lambda known: known.tried_again(attempt, now))
        if batch.status in {BatchStatus.LOADED, BatchStatus.RETRYING}:
            # The state is written first: a crash between the two is mended by the next COMPLETE.
            name = batch_id if batch.attempt == 1 else f"{batch_id}-{batch.attempt}"
            self._machine.start(name, {"org_id": tenant.org_id, "sandbox": tenant.sandbox, "batch_id": batch_id})

    def give_up(
        self,
        tenant: Tenant,
        batch_id: str,
        status: BatchStatus,
        caller: str,
        errors: tuple[Mapping[str, Any], ...] = (),
    ) -> None:
        """Abort or fail a batch that is still loading; ``errors`` say why.

        Raises NotFoundError, InvalidRequestError.
        """
        now = self._clock_ms()
        self._records.change(tenant, batch_id, lambda known: known.given_up(status, now, caller, errors))

    def revert(self, tenant: Tenant, batch_id: str, caller: str) -> None:
        """Take an active batch back: it is not consumable from now on, and its files are deleted soon; repeatable.

        Its rows stay in the profile store, which has a delete of its own (contract: data-and-pql §4.4). Raises
        NotFoundError, InvalidRequestError.
        """
        now = self._clock_ms()
        batch = self._records.change(tenant, batch_id, lambda known: known.withdrawn(now, caller))
        if batch.status is BatchStatus.INACTIVE:
            # One execution an hour at most: enough to try again after one that failed.
            document = {"org_id": tenant.org_id, "sandbox": tenant.sandbox, "batch_id": batch_id, "discard": True}
            self._machine.start(f"{batch_id}-discard-{now // _HOUR_MS}", document)

    def get(self, tenant: Tenant, batch_id: str) -> Batch:
        """Read a batch.

        Raises NotFoundError.
        """
        return self._records.get(tenant, batch_id)

    def of_dataset(self, tenant: Tenant, batch_id: str, dataset_id: str) -> Batch:
        """Read a batch that is for this dataset.

        Raises NotFoundError.
        """
        return batch_of(self._records, tenant, batch_id, dataset_id)

    def listed(
        self, tenant: Tenant, wanted: BatchFilter, *, start: int, limit: int, newest_first: bool = True
    ) -> Iterable[Batch]:
        """List batches, passing over the first ``start`` that match."""
        matching = filter(wanted.matches, self._records.each(tenant, newest_first=newest_first))
        return islice(matching, start, start + limit)

    def _predecessors(self, tenant: Tenant, wanted: WantedBatch) -> tuple[str, ...]:
        """Find the batches that are to be replaced: active ones of the same dataset."""
        found = [self._records.get(tenant, batch_id) for batch_id in wanted.replaces]
        if wanted.replaces_external:
            named = [batch for batch in self._records.each(tenant) if batch.external_id in wanted.replaces_external]
            missing = set(wanted.replaces_external) - {batch.external_id for batch in named}
            if missing:
                raise NotFoundError(f"There is no batch with the externalId {min(missing)[:64]} in this sandbox")
            found += [batch for batch in named if batch.status is BatchStatus.SUCCESS] or named
        for batch in found:
            if batch.dataset_id != wanted.dataset_id:
                raise InvalidRequestError(f"Batch {batch.id} is of another dataset: it cannot be replaced")
            if batch.status is not BatchStatus.SUCCESS:
                raise InvalidRequestError(f"Batch {batch.id} is {batch.status}: only an active batch can be replaced")
            if batch.streamed:
                raise InvalidRequestError(f"Batch {batch.id} gathers streamed messages: it cannot be replaced")
        return tuple(dict.fromkeys(batch.id for batch in found))

    def _check_files(self, tenant: Tenant, batch_id: str) -> None:
        """Refuse to complete a batch while parts were acknowledged that are in no file yet."""
        if self._records.get(tenant, batch_id).status is not BatchStatus.LOADING:
            return
        begun = sorted(upload.path for upload in self._files.uploads(tenant, batch_id) if upload.open)
        if begun:
            raise InvalidRequestError(
                f"The file {begun[0]} was begun in parts and is not complete: POST it with action=COMPLETE, or PUT it "
                "as a whole"
            )


class OneRecord(Protocol):
    """Where batches are kept."""

    def get(self, tenant: Tenant, batch_id: str) -> Batch:
        """Read one or raise NotFoundError."""


def batch_of(records: OneRecord, tenant: Tenant, batch_id: str, dataset_id: str) -> Batch:
    """Read a batch that is for this dataset.

    Raises NotFoundError.
    """
    batch = records.get(tenant, batch_id)
    if batch.dataset_id != dataset_id:
        raise NotFoundError(f"Batch {batch_id} is not for dataset {dataset_id[:64]}")
    return batch


def open_batch(records: OneRecord, tenant: Tenant, batch_id: str, dataset_id: str) -> None:
    """Make sure that a batch takes files.

    Raises NotFoundError for another dataset than its own, InvalidRequestError when it is complete or given up.
    """
    batch = batch_of(records, tenant, batch_id, dataset_id)
    if batch.status is not BatchStatus.LOADING:
        raise InvalidRequestError(f"Batch {batch_id} is {batch.status}: it takes no more files")
