"""The erasure of persons: who was named, when it was accepted, and how far the sweep is (design: Deletes are cutoffs).

The lines of a list are dealt with in parts. Once all parts are accepted, rounds of sweeping follow: the first deletes
what was there, and the last is the one that finds nothing more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple, Self

from tessera.domain.deletion import JobStatus
from tessera.domain.place import Place, accepted_ms, batch_id_of, is_streamed

ERASURE = "erasure"
LINES_PER_PART = 1000


class Outcome(StrEnum):
    """What became of a line.

    Everyone in the person's graph is erased; the graph has collapsed, so the identity alone is; nothing is known of the
    identity; the line names nobody.
    """

    ERASED = "erased"
    ALONE = "alone"
    NOT_FOUND = "notFound"
    INVALID = "invalid"


class At(NamedTuple):
    """A position in the sweep: round, part, identity by number, and the sort key up to which it is dealt with."""

    round: int
    part: int = 0
    identity: int = 0
    sort: str = ""


_BEGINNING, _FIRST = At(0), At(1)


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erasure. Times are milliseconds since 1970.

    ``identities`` counts lines by outcome, ``reached`` the identities of all persons. ``accepted_ms`` is from when on
    no read shows anything of them, 0 until then. ``counts`` tells what the sweep found, by kind; ``found`` is how much
    this round has found so far. Everything up to ``swept`` is deleted, everything up to ``counted`` counted.
    ``exports`` is the export file up to which it was looked for them, ``None`` until that is begun. With ``lake`` the
    rows of the persons are taken out of the lake: ``looks`` readings of it are over, the one at ``looked_ms`` none.
    """

    id: str
    caller: str
    at_ms: int
    updated_ms: int
    hold: bool
    parts: int
    status: JobStatus = JobStatus.NEW
    accepted_parts: int = 0
    accepted_ms: int = 0
    identities: Mapping[str, int] = field(default_factory=dict)
    reached: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    swept: At = _FIRST
    counted: At = _BEGINNING
    found: int = 0
    swept_ms: int = 0
    exports: str | None = None
    finished_ms: int = 0
    reason: str = ""
    lake: bool = False
    looks: int = 0
    looked_ms: int = 0

    def accepting(self, part: int, outcomes: Iterable[Outcome], reached: int, now_ms: int) -> Self:
        """Return the erasure with a part accepted, unless it was already."""
        if part != self.accepted_parts:
            return self
        counts = Counter(self.identities)
        counts.update(outcome.value for outcome in outcomes)
        return replace(
            self,
            identities=dict(counts),
            reached=self.reached + reached,
            accepted_parts=part + 1,
            updated_ms=now_ms,
        )

    def accepted(self, now_ms: int) -> Self:
        """Return the erasure as one that no read shows anything of any more."""
        if self.accepted_ms or self.accepted_parts < self.parts:
            return self
        return replace(self, accepted_ms=now_ms, status=JobStatus.IN_PROGRESS, reason="", updated_ms=now_ms)

    def counting(self, found: Iterable[tuple[At, str]], now_ms: int) -> Self:
        """Return the erasure with items counted by kind; those counted before, by whomever, are not counted again."""
        new = [(at, kind) for at, kind in found if at > self.counted]
        if not new:
            return self
        counts = Counter(self.counts)
        counts.update(kind for _, kind in new)
        last = max(at for at, _ in new)
        return replace(self, counts=dict(counts), counted=last, found=self.found + len(new), updated_ms=now_ms)

    def swept_to(self, at: At, now_ms: int) -> Self:
        """Return the erasure with everything up to a position deleted."""
        return replace(self, swept=max(self.swept, at), status=JobStatus.IN_PROGRESS, updated_ms=now_ms)

    def round_ended(self, number: int, now_ms: int) -> Self:
        """Return the erasure after a round: proved if it found nothing, else at the beginning of the next one."""
        if self.swept_ms or self.swept.round != number:
            return self
        if self.found:
            return replace(self, swept=At(number + 1), found=0, updated_ms=now_ms)
        return replace(self, swept_ms=now_ms, updated_ms=now_ms)

    def looked(self, number: int, found: int, now_ms: int) -> Self:
        """Return the erasure after a reading of the lake: proved if it found nothing, else there is another."""
        if self.looked_ms or self.looks >= number:
            return self
        return replace(self, looks=number, looked_ms=0 if found else now_ms, updated_ms=now_ms)

    def looked_through(self, exports: str, now_ms: int) -> Self:
        """Return the erasure with export files looked through up to one."""
        return replace(self, exports=max(self.exports or "", exports), updated_ms=now_ms)

    def succeeded(self, now_ms: int) -> Self:
        """Return the erasure as done."""
        return self if self._settled else replace(self, status=JobStatus.SUCCESS, finished_ms=now_ms, updated_ms=now_ms)

    def failed(self, reason: str, now_ms: int) -> Self:
        """Return the erasure as given up, unless it is done."""
        return self if self._settled else replace(self, status=JobStatus.FAILED, reason=reason, updated_ms=now_ms)

    @property
    def _settled(self) -> bool:
        return self.status is JobStatus.SUCCESS

    def to_document(self) -> dict[str, Any]:
        """Write the erasure as the JSON document that is stored."""
        return {
            "kind": ERASURE,
            "id": self.id,
            "caller": self.caller,
            "at": self.at_ms,
            "updated": self.updated_ms,
            "hold": self.hold,
            "parts": self.parts,
            "status": self.status.value,
            "acceptedParts": self.accepted_parts,
            "accepted": self.accepted_ms,
            "identities": dict(self.identities),
            "reached": self.reached,
            "counts": dict(self.counts),
            "swept": list(self.swept),
            "counted": list(self.counted),
            "found": self.found,
            "sweptAt": self.swept_ms,
            "exports": self.exports,
            "finished": self.finished_ms,
            "reason": self.reason,
            "lake": self.lake,
            "looks": self.looks,
            "lookedAt": self.looked_ms,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read an erasure from its stored document."""
        return cls(
            id=document["id"],
            caller=document["caller"],
            at_ms=document["at"],
            updated_ms=document["updated"],
            hold=document["hold"],
            parts=document["parts"],
            status=JobStatus(document["status"]),
            accepted_parts=document["acceptedParts"],
            accepted_ms=document["accepted"],
            identities=document["identities"],
            reached=document["reached"],
            counts=document["counts"],
            swept=At(*document["swept"]),
            counted=At(*document["counted"]),
            found=document["found"],
            swept_ms=document["sweptAt"],
            exports=document["exports"],
            finished_ms=document["finished"],
            reason=document["reason"],
            lake=document.get("lake", False),
            looks=document.get("looks", 0),
            looked_ms=document.get("lookedAt", 0),
        )


@dataclass(frozen=True, slots=True)
class Source:
    """What in the lake brought something of a person: a batch, or the messages of a window of a dataset."""

    dataset_id: str
    batch_id: str = ""
    window_ms: int = 0

    @classmethod
    def of(cls, dataset_id: str, place: Place, window_length_ms: int) -> Self:
        """Tell what brought the row at a place."""
        if is_streamed(place):
            return cls(dataset_id, window_ms=accepted_ms(place) // window_length_ms * window_length_ms)
        return cls(dataset_id, batch_id_of(place))


@dataclass(frozen=True, slots=True)
class Unread:
    """Something in the lake of which it is not known whether it has rows of a person, and why.

    ``file`` names it as the batch's callers do. Of one that was read, ``rows`` of it could not be.
    """

    why: str
    file: str
    dataset_id: str = ""
    batch_id: str = ""
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Look:
    """What a reading of the lake found.

    ``taken`` has for each dataset how many rows were taken out of how many objects, ``former`` is how many former
    versions of objects were deleted for rows that they had, ``again`` how many objects others were writing at the
    time. ``objects`` and ``bytes`` are what was read; of all that could not be, ``unread`` has the first ones.
    """

    number: int
    taken: Mapping[str, tuple[int, int]]
    former: int = 0
    again: int = 0
    objects: int = 0
    bytes: int = 0
    unread: tuple[Unread, ...] = ()
    unread_count: int = 0

    @property
    def found(self) -> int:
        """How much there was to do: after nothing, nothing is left."""
        return sum(rows for rows, _ in self.taken.values()) + self.former + self.again

    def to_document(self) -> dict[str, Any]:
        """Write it as the JSON document that is stored."""
        return {**asdict(self), "unread": [asdict(one) for one in self.unread]}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read it from there."""
        taken = {dataset: (rows, objects) for dataset, (rows, objects) in document["taken"].items()}
        return cls(**{**document, "taken": taken, "unread": tuple(Unread(**one) for one in document["unread"])})


@dataclass(frozen=True, slots=True)
class HoldingExport:
    """An export that has rows of a person; not ``certain`` when its rows do not say whose they are."""

    dataset_id: str
    batch_id: str
    certain: bool
