"""How far the worker of a share of a reading is, and what it has found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from tessera.domain.erasure import Unread
from tessera.services.erasure.lake.texts import Cuts

# The share whose worker is who plans.
PLAN = "plan"


@dataclass(slots=True)
class Inside:
    """How far a worker is within a version of a file.

    Once all of it is ``scanned``, it is written anew: part by part to an ``upload``, up to an offset.
    """

    version: str
    cuts: Cuts = field(default_factory=Cuts)
    scanned: bool = False
    upload: str = ""
    etags: list[str] = field(default_factory=list)
    written: int = 0
    size: int = 0


@dataclass(slots=True)
class Checkpoint:
    """Everything before object number ``item`` is dealt with.

    ``pending`` rows of that one may be taken out already: it is noted before it is done, so that what is done is
    counted once. The rest as in ``domain.erasure.Look``.
    """

    item: int = 0
    pending: int = 0
    inside: Inside | None = None
    done: bool = False
    taken: dict[str, list[int]] = field(default_factory=dict)
    former: int = 0
    again: int = 0
    objects: int = 0
    bytes: int = 0
    unread: list[Unread] = field(default_factory=list)

    def take(self, dataset_id: str, rows: int) -> None:
        """Count rows that were taken out of one object."""
        of_dataset = self.taken.setdefault(dataset_id, [0, 0])
        of_dataset[0] += rows
        of_dataset[1] += 1

    def to_document(self) -> dict[str, Any]:
        """Write it as the JSON document that is stored."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> Self:
        """Read it; ``None`` is nothing done yet."""
        if document is None:
            return cls()
        values = {key: value for key, value in document.items() if key != "v"}
        if (inside := values["inside"]) is not None:
            values["inside"] = Inside(**{**inside, "cuts": Cuts(**inside["cuts"])})
        values["unread"] = [Unread(**one) for one in values["unread"]]
        return cls(**values)
