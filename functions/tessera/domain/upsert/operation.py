"""What can be done to a record fragment (contract: data-and-pql §4.6)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tessera.domain.place import Place

# The names of the fields that lead to a value.
Path = tuple[str, ...]


class Action(StrEnum):
    """What becomes of the fragment: replaced as a whole, changed in the fields that are named, or gone."""

    CREATE = "create"
    MERGE = "merge"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Operation:
    """One row's effect on its fragment, at its place in history.

    ``body`` has no nulls. ``appends`` are the paths of arrays that a merge adds at the end of the stored ones; all
    other arrays replace what is stored.
    """

    place: Place
    action: Action
    body: Mapping[str, Any]
    appends: Collection[Path] = ()
