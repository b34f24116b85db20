"""What became of rows that were applied."""

from __future__ import annotations

from dataclasses import dataclass, field

from tessera.domain.identity import Xid
from tessera.domain.place import Place
from tessera.domain.rows import RowError


@dataclass(slots=True)
class WriteReport:
    """What became of rows; ``conflicts`` are the places of events that came with a second, different body.

    ``refused`` are the places of rows that cannot be written, each with the reason: updates that would make a record
    larger than it can be, and rows of persons who are held. ``aside`` are the identities of whom an event was kept as a
    copy, for it is there already.
    """

    written: int = 0
    unchanged: int = 0
    conflicts: list[Place] = field(default_factory=list)
    refused: dict[Place, RowError] = field(default_factory=dict)
    aside: set[Xid] = field(default_factory=set)

    def add(self, other: WriteReport) -> None:
        """Add what became of other rows."""
        self.written += other.written
        self.unchanged += other.unchanged
        self.conflicts += other.conflicts
        self.refused |= other.refused
        self.aside |= other.aside
