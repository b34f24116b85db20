"""Rows of streamed messages on their way into the lake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tessera.domain.place import Place


class StagedKind(StrEnum):
    """What became of rows: ``CONFLICTS`` are accepted ones whose event was known with another body."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    CONFLICTS = "conflicts"


@dataclass(frozen=True, slots=True)
class StagedRow:
    """A row at its place: as it was accepted, or with the reason why not; ``code`` names that reason."""

    place: Place
    document: Mapping[str, Any]
    code: str = ""
