"""The deletion of all that a dataset or a batch brought, and how far it is (contract: profile-api §5).

A dataset's is a cutoff in the configuration, a batch's the beginning of its places there. Reads ignore what they reach
from the moment that the deletion is accepted; a machine sweeps it up later (design: Deletes are cutoffs).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from tessera.domain.configuration import DatasetKind
from tessera.domain.deletion import JobStatus
from tessera.domain.place import Place

DATASET, BATCH = "dataset", "batch"

# What is counted.
RECORDS, REDUCED, EVENTS, LINKS, OBJECTS = "records", "recordsReduced", "events", "links", "lakeObjects"
# What was kept of events that were shown from a lower place.
COPIES = "copies"
# Streams that go, those that go on and are built anew, and, of a batch, both.
STREAMS, REBUILT, SETTLED = "streams", "streamsRebuilt", "streamsSettled"

_OPEN = frozenset({JobStatus.NEW, JobStatus.IN_PROGRESS})


@dataclass(frozen=True, slots=True)
class Rescan:
    """The last look at everything: when, in milliseconds since 1970, and what was there.

    ``identities`` had something of what was deleted, or have something in the dataset; ``items`` is how many items of
    theirs were looked at, ``found`` how many of them were still reached. ``rounds`` counts the looks.
    """

    at_ms: int
    identities: int
    items: int
    found: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Purge:
    """One deletion of a dataset's data, or with ``batch_id`` of a batch's.

    ``cutoff`` is the place at or below which everything of the dataset is gone; of a batch, it is everything whose
    place begins with ``prefix``, which is empty for a batch that gathers streamed rows: those have places of their own.
    ``rows`` is how many such rows no read shows since it was accepted; 0 of a batch whose places were not kept.
    ``remove_links`` takes links away that only this dataset asserted, ``lake`` the objects that it has in the lake.
    ``counts`` tells what was deleted, by kind. Times are milliseconds since 1970.
    """

    id: str
    dataset_id: str
    dataset_kind: DatasetKind
    cutoff: Place
    caller: str
    at_ms: int
    updated_ms: int
    batch_id: str = ""
    prefix: str = ""
    rows: int = 0
    remove_links: bool = False
    lake: bool = False
    status: JobStatus = JobStatus.NEW
    attempt: int = 1
    counts: Mapping[str, int] = field(default_factory=dict)
    rescan: Rescan | None = None
    reason: str = ""

    @property
    def kind(self) -> str:
        """Whether it is of a dataset or of a batch."""
        return BATCH if self.batch_id else DATASET

    @property
    def target(self) -> str:
        """Name what is deleted: of one target, one deletion is open at a time."""
        return f"{self.kind}#{self.batch_id or self.dataset_id}"

    @property
    def open(self) -> bool:
        """Whether it is asked for or being worked on."""
        return self.status in _OPEN

    @property
    def streamed(self) -> bool:
        """Whether it is of a batch that gathers streamed rows, each at a place of its own."""
        return bool(self.batch_id) and not self.prefix

    def started(self, now_ms: int) -> Self:
        """Return the job as one that is being worked on."""
        if self.status is JobStatus.SUCCESS:
            return self
        return replace(self, status=JobStatus.IN_PROGRESS, reason="", updated_ms=now_ms)

    def succeeded(self, counts: Mapping[str, int], rescan: Rescan, now_ms: int) -> Self:
        """Return the job as done, unless it is: then it keeps what it says."""
        if self.status is JobStatus.SUCCESS:
            return self
        done = {name: count for name, count in counts.items() if count}
        return replace(self, status=JobStatus.SUCCESS, reason="", counts=done, rescan=rescan, updated_ms=now_ms)

    def failed(self, reason: str, now_ms: int) -> Self:
        """Return the job as given up, unless it is done."""
        if self.status is JobStatus.SUCCESS:
            return self
        return replace(self, status=JobStatus.FAILED, reason=reason, updated_ms=now_ms)

    def tried_again(self, attempt: int, now_ms: int) -> Self:
        """Return the job after ``attempt`` as a new one; another caller may have been here first."""
        if self.status is JobStatus.SUCCESS or self.attempt != attempt:
            return self
        return replace(self, status=JobStatus.NEW, attempt=attempt + 1, updated_ms=now_ms)

    def to_document(self) -> dict[str, Any]:
        """Write the job as the JSON document that is stored, with the keys that all kinds of jobs have."""
        return {
            "kind": self.kind,
            "id": self.id,
            "dataset": self.dataset_id,
            "datasetKind": self.dataset_kind.value,
            "cutoff": self.cutoff,
            "caller": self.caller,
            "at": self.at_ms,
            "updated": self.updated_ms,
            "batch": self.batch_id,
            "prefix": self.prefix,
            "rows": self.rows,
            "removeLinks": self.remove_links,
            "lake": self.lake,
            "status": self.status.value,
            "attempt": self.attempt,
            "counts": dict(self.counts),
            "rescan": None if self.rescan is None else asdict(self.rescan),
            "reason": self.reason,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a job from its stored document."""
        rescan = document["rescan"]
        return cls(
            id=document["id"],
            dataset_id=document["dataset"],
            dataset_kind=DatasetKind(document["datasetKind"]),
            cutoff=Place(document["cutoff"]),
            caller=document["caller"],
            at_ms=document["at"],
            updated_ms=document["updated"],
            batch_id=document["batch"],
            prefix=document["prefix"],
            rows=document.get("rows", 0),
            remove_links=document["removeLinks"],
            lake=document["lake"],
            status=JobStatus(document["status"]),
            attempt=document["attempt"],
            counts=document["counts"],
            rescan=None if rescan is None else Rescan(**rescan),
            reason=document["reason"],
        )
