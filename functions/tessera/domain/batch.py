"""A batch: files that are judged and accepted together, and the states it passes through.

    loading -> loaded -> staging -> staged -> success
       |          retrying -^ |        |
       v                      v        v
    aborted, failed         failed   stalled -> retrying

``success`` becomes ``inactive`` when the batch is reverted or replaced, and after a revert ``deleted``. These,
``aborted`` and ``failed`` are terminal: no late or repeated step of the ingestion leads out of them (contract:
data-and-pql §4.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

from tessera.domain.errors import InvalidRequestError
from tessera.domain.expiry import BEGINNING_MS


class BatchStatus(StrEnum):
    """Where a batch stands."""

    LOADING = "loading"
    LOADED = "loaded"
    STAGING = "staging"
    STAGED = "staged"
    RETRYING = "retrying"
    STALLED = "stalled"
    SUCCESS = "success"
    FAILED = "failed"
    ABORTED = "aborted"
    INACTIVE = "inactive"
    DELETED = "deleted"


_WITHDRAWN = frozenset({BatchStatus.INACTIVE, BatchStatus.DELETED})
TERMINAL = frozenset({BatchStatus.SUCCESS, BatchStatus.FAILED, BatchStatus.ABORTED}) | _WITHDRAWN


class FileFormat(StrEnum):
    """How the files of a batch are written."""

    JSON = "json"
    PARQUET = "parquet"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch. Times are milliseconds since 1970, 0 until they are known.

    ``completed_ms`` is when COMPLETE was accepted: part of the place of every row, so it is given once and never
    changes. ``schema`` is the version of the dataset's schema that all its rows are judged by, given when it is first
    planned; ``partial_rows`` says that they need not have what it requires, and events up to ``horizon_ms`` had expired
    when it was complete. ``judged`` says that the rows were accepted
    and may have begun to be applied. ``attempt`` counts the executions that were asked for. ``predecessors``
    are the batches that it replaces. A ``streamed`` one gathers rows that came as messages, each at a place of its own.
    ``export_job`` is the job that brought a batch of exported profiles, 0 for rows that were ingested.
    ``kept_out`` says that its events were deleted from profiles, and are never to be applied again.
    """

    id: str
    dataset_id: str
    created_ms: int
    created_by: str
    format: FileFormat = FileFormat.PARQUET
    multi_line: bool = False
    diagnostics: bool = False
    partial_percent: float | None = None
    external_id: str = ""
    tags: Mapping[str, list[str]] = field(default_factory=dict)
    status: BatchStatus = BatchStatus.LOADING
    updated_ms: int = 0
    updated_by: str = ""
    completed_ms: int = 0
    started_ms: int = 0
    finished_ms: int = 0
    attempt: int = 0
    judged: bool = False
    schema: str = ""
    partial_rows: bool = False
    horizon_ms: int = BEGINNING_MS
    predecessors: tuple[str, ...] = ()
    streamed: bool = False
    errors: tuple[Mapping[str, Any], ...] = ()
    metrics: Mapping[str, int] = field(default_factory=dict)
    export_job: int = 0
    kept_out: bool = False

    @property
    def terminal(self) -> bool:
        """Whether nothing can happen to this batch any more."""
        return self.status in TERMINAL

    @property
    def applies(self) -> bool:
        """Whether its accepted rows belong into the profile store."""
        return self.judged and not self.kept_out and self.status not in _WITHDRAWN

    def to_document(self) -> dict[str, Any]:
        """Write the batch as the JSON document that is stored."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a batch from its stored document."""
        known = {item.name for item in fields(cls)}
        values = {key: value for key, value in document.items() if key in known}
        values["status"] = BatchStatus(values["status"])
        values["format"] = FileFormat(values["format"])
        values["errors"] = tuple(values["errors"])
        values["predecessors"] = tuple(values.get("predecessors", ()))
        return cls(**values)

    def completed(self, now_ms: int, by: str) -> Self:
        """Close the batch for files and ask for its execution; a stalled one is tried again.

        In every other state but aborted and failed before it was complete this changes nothing: COMPLETE may be
        repeated. Raises InvalidRequestError.
        """
        now = replace(self, updated_ms=now_ms, updated_by=by)
        if self.status is BatchStatus.LOADING:
            return replace(now, status=BatchStatus.LOADED, completed_ms=now_ms, attempt=1)
        if self.status is BatchStatus.STALLED:
            return replace(now, status=BatchStatus.RETRYING, attempt=self.attempt + 1)
        if self.completed_ms:
            return self
        raise InvalidRequestError(f"Batch {self.id} is {self.status}: it cannot be completed")

    def tried_again(self, attempt: int, now_ms: int) -> Self:
        """Ask for the execution after ``attempt``, which ended without settling the batch."""
        if self.terminal or self.attempt != attempt:
            return self
        return replace(self, status=BatchStatus.RETRYING, attempt=attempt + 1, updated_ms=now_ms)

    def given_up(self, status: BatchStatus, now_ms: int, by: str, errors: tuple[Mapping[str, Any], ...] = ()) -> Self:
        """Abort or fail the batch while it is loading (contract: data-and-pql §4.3, abort rule); repeatable.

        ``errors`` say why, where that is known. Raises InvalidRequestError once it is complete.
        """
        if self.status is status and not self.completed_ms:
            return self
        if self.status is not BatchStatus.LOADING:
            raise InvalidRequestError(
                f"Batch {self.id} is {self.status}: only a batch that is still loading can be {status}"
            )
        return replace(self, status=status, updated_ms=now_ms, updated_by=by, finished_ms=now_ms, errors=errors)

    def started(
        self, now_ms: int, schema: str = "", partial_rows: bool = False, horizon_ms: int = BEGINNING_MS
    ) -> Self:
        """Note that its files are being read; an execution that comes late or twice changes nothing.

        ``schema`` is the version that its dataset's schema is at; that and the others stay what they were given first.
        """
        if self.status not in {BatchStatus.LOADED, BatchStatus.RETRYING}:
            return self
        now = replace(self, status=BatchStatus.STAGING, updated_ms=now_ms, errors=())
        if self.started_ms:
            return now
        return replace(now, started_ms=now_ms, schema=schema, partial_rows=partial_rows, horizon_ms=horizon_ms)

    def accepted(self, metrics: Mapping[str, int], errors: tuple[Mapping[str, Any], ...], now_ms: int) -> Self:
        """Accept its good rows: from here on they may be applied."""
        if self.terminal:
            return self
        return replace(self, status=BatchStatus.STAGED, judged=True, metrics=metrics, errors=errors, updated_ms=now_ms)

    def refused(self, metrics: Mapping[str, int], errors: tuple[Mapping[str, Any], ...], now_ms: int) -> Self:
        """Refuse all of it, unless it was accepted before."""
        if self.terminal or self.judged:
            return self
        return replace(
            self,
            status=BatchStatus.FAILED,
            metrics=metrics,
            errors=errors,
            updated_ms=now_ms,
            finished_ms=now_ms,
        )

    def succeeded(self, metrics: Mapping[str, int], now_ms: int) -> Self:
        """Note that every accepted row is applied."""
        if self.terminal or not self.judged:
            return self
        return replace(
            self,
            status=BatchStatus.SUCCESS,
            metrics={**self.metrics, **metrics},
            updated_ms=now_ms,
            finished_ms=now_ms,
            # Reasons of an attempt that stalled are history; those of rejected rows stay.
            errors=tuple(error for error in self.errors if error.get("code") != STALLED_CODE),
        )

    def withdrawn(self, now_ms: int, by: str) -> Self:
        """Take an active batch back; repeatable.

        Raises InvalidRequestError for one that is not active.
        """
        if self.status in _WITHDRAWN:
            return self
        if self.status is not BatchStatus.SUCCESS:
            raise InvalidRequestError(f"Batch {self.id} is {self.status}: only an active batch can be reverted")
        return replace(self, status=BatchStatus.INACTIVE, updated_ms=now_ms, updated_by=by)

    def unprofiled(self) -> Self:
        """Note that its events are deleted from profiles (contract: profile-api §5.3); the batch itself stays."""
        return self if self.kept_out else replace(self, kept_out=True)

    def discarded(self, now_ms: int) -> Self:
        """Note that its files are gone; nothing unless it was taken back."""
        if self.status is not BatchStatus.INACTIVE:
            return self
        return replace(self, status=BatchStatus.DELETED, updated_ms=now_ms)

    def replaced(self, now_ms: int) -> Self:
        """Note that another batch took its place; nothing unless it is active."""
        if self.status is not BatchStatus.SUCCESS:
            return self
        return replace(self, status=BatchStatus.INACTIVE, updated_ms=now_ms)

    def broken(self, reason: str, now_ms: int) -> Self:
        """Note that the machine gave up: failed if no row was applied yet, else stalled, to be tried again."""
        if self.terminal or not self.completed_ms:
            return self
        if not self.judged:
            return self.refused(self.metrics, (*self.errors, {"code": FAULT_CODE, "description": reason}), now_ms)
        kept = tuple(error for error in self.errors if error.get("code") != STALLED_CODE)
        return replace(
            self,
            status=BatchStatus.STALLED,
            updated_ms=now_ms,
            errors=(*kept, {"code": STALLED_CODE, "description": reason}),
        )


# Ours: the contract names codes for bad data only.
FAULT_CODE = "TESSERA-INGEST-500"
STALLED_CODE = "TESSERA-INGEST-503"
