"""What a row must be to be accepted, and what it says (contract: profile-api §7, §8; data-and-pql §4.3, §4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tessera.domain.configuration import DatasetKind
from tessera.domain.identity import Identity
from tessera.domain.place import Place


class RowError(ValueError):
    """A row cannot be accepted; ``code`` names the reason, the message says it in words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Row:
    """An accepted row: its body without nulls, whose it is, whom it links, and when it happened.

    ``namespaces`` are the namespace codes as the row spells them. ``event_id`` and ``timestamp_ms`` are set for
    events, ``custom_date_ms`` for records that carry ``extSourceSystemAudit.lastUpdatedDate``.
    """

    body: dict[str, Any]
    primary: Identity
    linked: tuple[Identity, ...]
    namespaces: frozenset[str]
    event_id: str = ""
    timestamp_ms: int = 0
    custom_date_ms: int | None = None


@dataclass(frozen=True, slots=True)
class PlacedRow:
    """An accepted row and its place in history."""

    place: Place
    row: Row


def accept(row: object, kind: DatasetKind, size: int) -> Row:
    """Judge one row of a dataset of this kind; ``size`` is its length in bytes as uncompressed JSON.

    Raises RowError.
    """
    raise NotImplementedError
