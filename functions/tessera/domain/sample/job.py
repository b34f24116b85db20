"""A run of the sample job, and what is kept of all of them in one place: the last that was begun and the last done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Self

from tessera.domain.identity import INDEX_SHARDS, Xid
from tessera.domain.merge_policy import MergePolicy
from tessera.domain.sample.size import Census

# A job of five million persons takes less. One that still should be running then was stopped by hand, and is given up.
LONGEST_MS = 3 * 3600 * 1000
WEEK_MS = 7 * 24 * 3600 * 1000


class Cause(StrEnum):
    """Why a sample is taken (contract: profile-api §4.1). All but the first look first whether one is due."""

    ASKED = "asked"
    BATCH = "batch"
    STREAM = "stream"
    WEEK = "week"


class SampleStatus(StrEnum):
    """How far a job is."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a job looks at: fixed in plan, so that all of its workers count alike.

    ``shards`` are how many of the index's shards make the sample, ``measured`` in how many of them each item is looked
    at. What is silent or expired is so at ``now_ms``.
    """

    policy: MergePolicy
    now_ms: int
    shares: int
    shards: int
    measured: int
    census: Census

    @property
    def per_sampled(self) -> float:
        """How many of all persons one of the sample stands for."""
        return INDEX_SHARDS / self.shards

    @property
    def per_measured(self) -> float:
        """How many of all persons one of those stands for whose items were looked at."""
        return INDEX_SHARDS / self.measured

    def to_document(self) -> dict[str, Any]:
        """Write it as the JSON document that is stored."""
        return {
            "policy": self.policy.to_document(),
            "now": self.now_ms,
            "shares": self.shares,
            "shards": self.shards,
            "measured": self.measured,
            "census": self.census.to_document(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read it from its stored document."""
        return cls(
            MergePolicy.from_document(document["policy"]),
            document["now"],
            document["shares"],
            document["shards"],
            document["measured"],
            Census.from_document(document["census"]),
        )


@dataclass(frozen=True, slots=True)
class SampleJob:
    """One job. Times are milliseconds since 1970; it has no ``scope`` before it is planned.

    ``missed`` tells that while it ran somebody wanted to know whether another one is due.
    """

    id: str
    cause: Cause
    submitted_ms: int
    status: SampleStatus = SampleStatus.RUNNING
    scope: Scope | None = None
    finished_ms: int = 0
    reason: str = ""
    missed: bool = False

    def is_running(self, now_ms: int) -> bool:
        """Tell whether somebody works on it, or will."""
        return self.status is SampleStatus.RUNNING and now_ms - self.submitted_ms < LONGEST_MS

    def planned(self, scope: Scope) -> Self:
        """Return the job with what it looks at; that stays what it is."""
        return self if self.scope is not None else replace(self, scope=scope)

    def missing(self) -> Self:
        """Return the job as one during which a check came."""
        return replace(self, missed=True)

    def ended(self, status: SampleStatus, now_ms: int, reason: str = "") -> Self:
        """Return the job as over, unless it is."""
        if self.status is not SampleStatus.RUNNING:
            return self
        return replace(self, status=status, finished_ms=now_ms, reason=reason)

    def to_document(self) -> dict[str, Any]:
        """Write the job as the JSON document that is stored."""
        return {
            "id": self.id,
            "cause": self.cause.value,
            "submitted": self.submitted_ms,
            "status": self.status.value,
            "scope": None if self.scope is None else self.scope.to_document(),
            "finished": self.finished_ms,
            "reason": self.reason,
            "missed": self.missed,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a job from its stored document."""
        return cls(
            document["id"],
            Cause(document["cause"]),
            document["submitted"],
            SampleStatus(document["status"]),
            None if document["scope"] is None else Scope.from_document(document["scope"]),
            document["finished"],
            document["reason"],
            document["missed"],
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far the worker of a share is: in which shard, behind which identity; ``tally`` names what it has counted."""

    shard: int = 0
    after: Xid | None = None
    done: bool = False
    tally: str = ""

    def to_document(self) -> dict[str, Any]:
        """Write it as the JSON document that is stored."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read it from its stored document."""
        return cls(**document)


@dataclass(frozen=True, slots=True)
class LastSample:
    """What is remembered of the last job that succeeded, to tell when the next one is due; ``day`` is its UTC day."""

    job_id: str
    day: str
    finished_ms: int
    census: Census
    linked_per_graph: float

    def to_document(self) -> dict[str, Any]:
        """Write it as the JSON document that is stored."""
        return {
            "job": self.job_id,
            "day": self.day,
            "finished": self.finished_ms,
            "census": self.census.to_document(),
            "linked": self.linked_per_graph,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read it from its stored document."""
        census = Census.from_document(document["census"])
        return cls(document["job"], document["day"], document["finished"], census, document["linked"])


@dataclass(frozen=True, slots=True)
class SampleState:
    """What is known of a sandbox's samples: the last job begun, and the last that succeeded."""

    job: SampleJob | None = None
    last: LastSample | None = None

    def running(self, now_ms: int) -> SampleJob | None:
        """Return the job that is being worked on, if there is one."""
        return self.job if self.job is not None and self.job.is_running(now_ms) else None

    def works_on(self, job_id: str) -> bool:
        """Tell whether a job is the one that was begun last, and not over."""
        return self.job is not None and self.job.id == job_id and self.job.status is SampleStatus.RUNNING

    def begun(self, job: SampleJob, now_ms: int) -> Self:
        """Return it with a job begun, unless one is running already: twice at once runs once."""
        return self if self.running(now_ms) is not None or self._was(job) else replace(self, job=job)

    def _was(self, job: SampleJob) -> bool:
        return self.job is not None and self.job.id == job.id

    def to_document(self) -> dict[str, Any]:
        """Write it as the JSON document that is stored."""
        return {
            "job": None if self.job is None else self.job.to_document(),
            "last": None if self.last is None else self.last.to_document(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read it from its stored document."""
        job, last = document["job"], document["last"]
        return cls(
            None if job is None else SampleJob.from_document(job),
            None if last is None else LastSample.from_document(last),
        )
