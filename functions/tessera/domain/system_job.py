"""Jobs as one list shows them, whatever they do (contract: profile-api §5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tessera.domain.deletion import JobStatus


@dataclass(frozen=True, slots=True)
class SystemJob:
    """What jobs of all kinds say of themselves. Times are milliseconds since 1970.

    ``counts`` tells what was dealt with, by kind of item. ``hold`` and ``lake`` are for erasures of persons:
    whether they are held, and whether their rows are taken out of the lake.
    """

    id: str
    kind: str
    status: str
    at_ms: int
    updated_ms: int
    dataset_id: str = ""
    batch_id: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""
    hold: bool | None = None
    lake: bool = False

    @property
    def is_new(self) -> bool:
        """Whether nobody has begun to work on it."""
        return self.status == JobStatus.NEW

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read the document of a job of any kind."""
        return cls(
            id=document["id"],
            kind=document["kind"],
            status=document["status"],
            at_ms=document["at"],
            updated_ms=document["updated"],
            dataset_id=document.get("dataset", ""),
            batch_id=document.get("batch", ""),
            counts={name: count for name, count in document.get("counts", {}).items() if isinstance(count, int)},
            reason=document.get("reason", ""),
            hold=document.get("hold"),
            lake=document.get("lake", False),
        )
