"""Finding the exports that still have rows of persons who are erased: files stay what they were when they were made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from tessera.domain.batch import Batch, BatchStatus
from tessera.domain.erasure import Erasure, HoldingExport
from tessera.domain.identity import Identity, Xid
from tessera.domain.tenant import Tenant
from tessera.services.erasure.ports import Erasures, Lists
from tessera.services.ingestion.parquet import column
from tessera.storage.received import FileChangedError, Read, StoredFile

# A function has ten minutes; what is begun after this many seconds is left to the next one.
WORKING_S = 6 * 60


class Batches(Protocol):
    """The records of batches."""

    def each(self, tenant: Tenant, *, newest_first: bool = True) -> Iterator[Batch]:
        """Walk them in order of creation."""


class Exports(Protocol):
    """The files of exports."""

    def manifest(self, tenant: Tenant, batch_id: str) -> Mapping[str, Any]:
        """Read the list of a batch's files."""

    def reader(self, tenant: Tenant, batch_id: str, file: StoredFile) -> Read:
        """Return what reads one version of a file."""


class ExportSearch:
    """Looks through the exports that datasets show. ``clock`` counts seconds."""

    def __init__(
        self,
        erasures: Erasures,
        lists: Lists,
        batches: Batches,
        exports: Exports,
        clock: Callable[[], float] = time.monotonic,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._erasures = erasures
        self._lists = lists
        self._batches = batches
        self._exports = exports
        self._clock = clock
        self._clock_ms = clock_ms

    def search(self, tenant: Tenant, job_id: str) -> bool:
        """Note which exports have rows of the persons, file by file, and end the job; tells whether all is looked at.

        Safe to repeat. Raises NotFoundError.
        """
        started = self._clock()
        erasure = self._erasures.get(tenant, job_id)
        wanted = {xid for part in range(erasure.parts) for xid in self._lists.reached(tenant, job_id, part)}
        for batch, name, size, version in self._files(tenant) if wanted else ():
            position = f"{batch.id}/{name}"
            if erasure.exports is not None and position <= erasure.exports:
                continue
            if self._clock() - started > WORKING_S:
                return False
            read = self._exports.reader(tenant, batch.id, StoredFile(name, size, "", version))
            certain = self._has(tenant, read, size, wanted)
            if certain is not False:
                export = HoldingExport(batch.dataset_id, batch.id, certain is True)
                self._erasures.note_export(tenant, job_id, export)
            erasure = self._note(tenant, job_id, position)
        self._erasures.change(tenant, job_id, lambda known: known.succeeded(self._clock_ms()))
        return True

    def _note(self, tenant: Tenant, job_id: str, position: str) -> Erasure:
        now_ms = self._clock_ms()
        return self._erasures.change(tenant, job_id, lambda known: known.looked_through(position, now_ms))

    def _files(self, tenant: Tenant) -> Iterator[tuple[Batch, str, int, str]]:
        for batch in self._batches.each(tenant, newest_first=False):
            if batch.export_job and batch.status is BatchStatus.SUCCESS:
                for file in sorted(self._exports.manifest(tenant, batch.id)["files"], key=lambda file: file["name"]):
                    if file["rows"]:
                        yield batch, file["name"], file["bytes"], file["version"]

    def _has(self, tenant: Tenant, read: Read, size: int, wanted: set[Xid]) -> bool | None:
        """Tell whether a file has a row of one of them, ``None`` if its rows do not say whose they are."""
        rows = 0
        try:
            for pairs in column(read, size, "identityMap"):
                rows += 1
                for code, items in pairs or ():
                    if any(Identity.of(code, item["id"]).xid(tenant) in wanted for item in items):
                        return True
        except FileChangedError:
            # An export has taken its place meanwhile.
            return False
        return False if rows else None
