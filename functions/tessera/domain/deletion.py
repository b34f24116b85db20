"""The deletion of a person: what was asked for, what it reaches, and how far the sweep has come (design: Deletes)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple, Self

from tessera.domain.identity import Xid
from tessera.domain.place import Place

PERSON = "person"


class JobStatus(StrEnum):
    """How far a job is, in the words of the contract (profile-api §5.1)."""

    NEW = "NEW"
    IN_PROGRESS = "IN-PROGRESS"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


class Position(NamedTuple):
    """A place in a sweep: round, identity by number, and the sort key up to which it is dealt with."""

    round: int
    identity: int = 0
    sort: str = ""


_BEGINNING, _FIRST = Position(0), Position(1)


@dataclass(frozen=True, slots=True)
class PersonDeletion:
    """One deletion. ``cutoff`` is the place at or below which everything under ``xids`` is gone for every reader.

    ``whole`` is for everyone in the graph, also whom links that come late add to it.

    Times are milliseconds since 1970. ``counts`` tells what the sweep found, by kind. Everything up to ``swept`` is
    deleted, everything up to ``counted`` counted: an item is counted before it is deleted, so that a crash in between
    makes no difference to the figures. ``found`` is how much this round has found so far; ``proved_ms`` is when a round
    had found nothing, 0 until then.
    """

    id: str
    xids: tuple[Xid, ...]
    cutoff: Place
    caller: str
    at_ms: int
    updated_ms: int
    status: JobStatus = JobStatus.NEW
    attempt: int = 1
    counts: Mapping[str, int] = field(default_factory=dict)
    swept: Position = _FIRST
    counted: Position = _BEGINNING
    found: int = 0
    proved_ms: int = 0
    reason: str = ""
    whole: bool = False

    def started(self, now_ms: int) -> Self:
        """Return the job as one that is being worked on."""
        return self if self._settled else replace(self, status=JobStatus.IN_PROGRESS, reason="", updated_ms=now_ms)

    def swept_to(self, position: Position, now_ms: int) -> Self:
        """Return the job with everything up to a position deleted."""
        return replace(self, swept=max(self.swept, position), updated_ms=now_ms)

    def counting(self, found: Iterable[tuple[Position, str]], now_ms: int) -> Self:
        """Return the job with items counted by kind; those counted before, by whomever, are not counted again."""
        new = [(position, kind) for position, kind in found if position > self.counted]
        if not new:
            return self
        counts = Counter(self.counts)
        counts.update(kind for _, kind in new)
        last = max(position for position, _ in new)
        return replace(self, counts=dict(counts), counted=last, found=self.found + len(new), updated_ms=now_ms)

    def round_ended(self, number: int, now_ms: int) -> Self:
        """Return the job after a round: done if it found nothing, else at the beginning of the next one."""
        if self._settled or self.swept.round != number:
            return self
        if self.found:
            return replace(self, swept=Position(number + 1), found=0, updated_ms=now_ms)
        return replace(self, status=JobStatus.SUCCESS, reason="", proved_ms=now_ms, updated_ms=now_ms)

    def failed(self, reason: str, now_ms: int) -> Self:
        """Return the job as given up, unless it is done."""
        return self if self._settled else replace(self, status=JobStatus.FAILED, reason=reason, updated_ms=now_ms)

    def tried_again(self, attempt: int, now_ms: int) -> Self:
        """Return the job after ``attempt`` as a new one; another caller may have been here first."""
        if self._settled or self.attempt != attempt:
            return self
        return replace(self, status=JobStatus.NEW, attempt=attempt + 1, updated_ms=now_ms)

    @property
    def _settled(self) -> bool:
        return self.status is JobStatus.SUCCESS

    def to_document(self) -> dict[str, Any]:
        """Write the job as the JSON document that is stored."""
        return {
            "kind": PERSON,
            "id": self.id,
            "xids": list(self.xids),
            "cutoff": self.cutoff,
            "caller": self.caller,
            "at": self.at_ms,
            "updated": self.updated_ms,
            "status": self.status.value,
            "attempt": self.attempt,
            "counts": dict(self.counts),
            "sweptTo": list(self.swept),
            "countedTo": list(self.counted),
            "found": self.found,
            "provedAt": self.proved_ms,
            "reason": self.reason,
            "whole": self.whole,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a job from its stored document."""
        return cls(
            id=document["id"],
            xids=tuple(Xid(xid) for xid in document["xids"]),
            cutoff=Place(document["cutoff"]),
            caller=document["caller"],
            at_ms=document["at"],
            updated_ms=document["updated"],
            status=JobStatus(document["status"]),
            attempt=document["attempt"],
            counts=document["counts"],
            # Jobs of before there were rounds begin with the first, and have no proof.
            swept=Position(*document.get("sweptTo", _FIRST)),
            counted=Position(*document.get("countedTo", _BEGINNING)),
            found=document.get("found", 0),
            proved_ms=document.get("provedAt", 0),
            reason=document["reason"],
            whole=document.get("whole", False),
        )
