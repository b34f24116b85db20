"""An export job: what was asked for, and the states it passes through (contract: data-and-pql §3.3, §3.4).

    NEW -> PROCESSING -> SUCCEEDED
      |        |
      v        v
         FAILED

``SUCCEEDED`` and ``FAILED`` are terminal: no late or repeated step of the machine leads out of them. A job that is
cancelled has failed, with an error that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

from tessera.domain.merge_policy import MergePolicy

EVENTS_COLUMN = "eventList"
# What the contract calls an aborted job, and an error in the job.
CANCELLED_CODE = "unknown"
FAULT_CODE = "0100000003"


class ExportStatus(StrEnum):
    """How far a job is."""

    NEW = "NEW"
    PROCESSING = "PROCESSING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Segment:
    """An audience whose members are exported, if they are in it with one of ``statuses``."""

    id: str
    namespace: str = "ups"
    statuses: tuple[str, ...] = ("realized", "existing")


@dataclass(frozen=True, slots=True)
class WantedEvents:
    """Which events go along: those ingested after and before two times, and which of their fields; ``()`` is all."""

    fields: tuple[str, ...] = ()
    after_ms: int | None = None
    before_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is exported, and where to. Times are milliseconds since 1970, ``None`` is no bound.

    ``fields`` are dotted paths, ``()`` is everything. Without ``segments`` everybody is exported. ``ingested_after``
    leaves out whose profile was not updated since; ``empty`` lets in who has no record, only events.
    """

    dataset_id: str
    fields: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()
    segment_per_batch: bool = False
    qualified_from_ms: int | None = None
    qualified_to_ms: int | None = None
    ingested_after_ms: int | None = None
    empty: bool = False
    events: WantedEvents | None = None

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read it from its stored document."""
        segments = (Segment(one["id"], one["namespace"], tuple(one["statuses"])) for one in document["segments"])
        events = document["events"]
        values = {
            **document,
            "fields": tuple(document["fields"]),
            "segments": tuple(segments),
            "events": None if events is None else WantedEvents(**{**events, "fields": tuple(events["fields"])}),
        }
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Exported:
    """What exports brought into a dataset: the active batches, and those that they replaced."""

    batches: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Write it as the JSON document that is stored."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read it from its stored document."""
        return cls(tuple(document["batches"]), tuple(document["replaced"]))


@dataclass(frozen=True, slots=True)
class ExportJob:
    """One export. Times are milliseconds since 1970, 0 until they are known.

    ``policy`` is the version of the merge policy that all profiles are merged under. ``asked`` is what the caller sent
    and sees again. ``batches`` are the ids of the batches that the dataset receives: one, or one per segment.
    ``gathered_ms`` is when all profiles were read, ``counts`` what was exported and what was left out.
    """

    id: int
    created_ms: int
    created_by: str
    request_id: str
    wanted: Wanted
    policy: MergePolicy
    batches: tuple[str, ...]
    asked: Mapping[str, Any] = field(default_factory=dict)
    status: ExportStatus = ExportStatus.NEW
    updated_ms: int = 0
    started_ms: int = 0
    gathered_ms: int = 0
    finished_ms: int = 0
    shares: int = 0
    files: int = 0
    counts: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[Mapping[str, str], ...] = ()

    @property
    def terminal(self) -> bool:
        """Whether nothing can happen to this job any more."""
        return self.status in {ExportStatus.SUCCEEDED, ExportStatus.FAILED}

    def planned(self, shares: int, now_ms: int) -> Self:
        """Note that its profiles are being read."""
        if self.terminal:
            return self
        started_ms = self.started_ms or now_ms
        return replace(self, status=ExportStatus.PROCESSING, started_ms=started_ms, shares=shares, updated_ms=now_ms)

    def gathered(self, files: int, counts: Mapping[str, Any], now_ms: int) -> Self:
        """Note that all profiles are read, and how many files they will be."""
        if self.terminal:
            return self
        gathered_ms = self.gathered_ms or now_ms
        return replace(self, gathered_ms=gathered_ms, files=files, counts=counts, updated_ms=now_ms)

    def succeeded(self, now_ms: int) -> Self:
        """Note that everything is written and visible."""
        if self.terminal:
            return self
        return replace(self, status=ExportStatus.SUCCEEDED, finished_ms=now_ms, updated_ms=now_ms)

    def failed(self, reason: str, now_ms: int) -> Self:
        """Note that the machine gave up."""
        return self._ended({"code": FAULT_CODE, "msg": reason, "callStack": ""}, now_ms)

    def cancelled(self, by: str, now_ms: int) -> Self:
        """Give the job up because somebody asked for it; nothing if it is over already."""
        error = {"code": CANCELLED_CODE, "msg": f"The export job was cancelled by {by}", "callStack": ""}
        return self._ended(error, now_ms)

    def _ended(self, error: Mapping[str, str], now_ms: int) -> Self:
        if self.terminal:
            return self
        return replace(self, status=ExportStatus.FAILED, errors=(error,), finished_ms=now_ms, updated_ms=now_ms)

    def to_document(self) -> dict[str, Any]:
        """Write the job as the JSON document that is stored."""
        return {**asdict(self), "policy": self.policy.to_document()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a job from its stored document."""
        known = {item.name for item in fields(cls)}
        values = {key: value for key, value in document.items() if key in known}
        values |= {
            "wanted": Wanted.from_document(document["wanted"]),
            "policy": MergePolicy.from_document(document["policy"]),
            "batches": tuple(document["batches"]),
            "status": ExportStatus(document["status"]),
            "errors": tuple(document["errors"]),
        }
        return cls(**values)
