"""The job that brings the stored events of a dataset into line with its TTL (contract: profile-api §5.1, §10)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from tessera.domain.deletion import JobStatus

EXPIRY = "ttl"


@dataclass(frozen=True, slots=True)
class ExpiryJob:
    """One such job; times are milliseconds since 1970. ``counts`` tells what was found and done."""

    id: str
    dataset_id: str
    caller: str
    at_ms: int
    updated_ms: int
    status: JobStatus = JobStatus.NEW
    attempt: int = 1
    counts: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""

    @property
    def name(self) -> str:
        """Name of the execution that does it."""
        return self.id if self.attempt == 1 else f"{self.id}-{self.attempt}"

    def started(self, now_ms: int) -> Self:
        """Return the job as one that is being worked on, unless it is done."""
        if self.status is JobStatus.SUCCESS:
            return self
        return replace(self, status=JobStatus.IN_PROGRESS, reason="", updated_ms=now_ms)

    def succeeded(self, counts: Mapping[str, int], now_ms: int) -> Self:
        """Return the job as done; a repetition changes nothing."""
        if self.status is JobStatus.SUCCESS:
            return self
        return replace(self, status=JobStatus.SUCCESS, counts=counts, reason="", updated_ms=now_ms)

    def failed(self, reason: str, now_ms: int) -> Self:
        """Return the job as given up, unless it is done."""
        if self.status is JobStatus.SUCCESS:
            return self
        return replace(self, status=JobStatus.FAILED, reason=reason, updated_ms=now_ms)

    def tried_again(self, attempt: int, now_ms: int) -> Self:
        """Return the job after ``attempt``, which failed, as a new one; another caller may have been here first."""
        if self.status is not JobStatus.FAILED or self.attempt != attempt:
            return self
        return replace(self, status=JobStatus.NEW, attempt=attempt + 1, updated_ms=now_ms)

    def to_document(self) -> dict[str, Any]:
        """Write the job as the JSON document that is stored."""
        return {
            "kind": EXPIRY,
            "id": self.id,
            "dataset": self.dataset_id,
            "caller": self.caller,
            "at": self.at_ms,
            "updated": self.updated_ms,
            "status": self.status.value,
            "attempt": self.attempt,
            "counts": dict(self.counts),
            "reason": self.reason,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a job from its stored document."""
        return cls(
            id=document["id"],
            dataset_id=document["dataset"],
            caller=document["caller"],
            at_ms=document["at"],
            updated_ms=document["updated"],
            status=JobStatus(document["status"]),
            attempt=document["attempt"],
            counts=document["counts"],
            reason=document["reason"],
        )
