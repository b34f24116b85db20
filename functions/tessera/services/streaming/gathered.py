"""Which streamed rows a batch has gathered (docs/decisions/0165).

The batch's files hold the rows without their places: these are kept beside them. Of a batch that is older than that,
what was staged of the window tells them, for as long as the lake keeps it: thirty days.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from tessera.domain.place import Place
from tessera.domain.place_set import PlaceSet
from tessera.domain.staged import StagedKind, StagedRow
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import parts_of
from tessera.domain.window import Window

# More often than that no window is closed within the time that its rows are kept.
_MAX_ROUNDS = 3000


class Rows(Protocol):
    """Where the places of batches' rows are kept: ``storage.streamed_rows.StreamedRows``."""

    def get(self, tenant: Tenant, dataset_id: str, batch_id: str) -> PlaceSet | None:
        """Read those of a batch, ``None`` when they were not kept."""


class Stage(Protocol):
    """Where rows wait for their batch: ``storage.stream_lake.StreamLake``."""

    def rows(self, window: Window, names: Sequence[str]) -> Iterator[StagedRow]:
        """Read staged rows, in the order of the names."""

    def contents(self, window: Window, round_: int) -> list[str] | None:
        """Read what a round gathers, ``None`` when that is not there."""


class Gathered:
    """Tells the places of the rows of batches that windows made."""

    def __init__(self, rows: Rows, stage: Stage) -> None:
        self._rows = rows
        self._stage = stage

    def kept(self, tenant: Tenant, dataset_id: str, batch_id: str) -> PlaceSet | None:
        """Return the places of a batch's rows, ``None`` when they were not kept beside it."""
        return self._rows.get(tenant, dataset_id, batch_id)

    def is_staged(self, tenant: Tenant, dataset_id: str, batch_id: str) -> bool:
        """Tell whether what was staged still says which rows a batch has."""
        window = _window(tenant, dataset_id, batch_id)
        round_ = _round_of(window, batch_id)
        return round_ is not None and self._stage.contents(window, round_) is not None

    def places(self, tenant: Tenant, dataset_id: str, batch_id: str) -> PlaceSet:
        """Return the places of a batch's rows, as far as they are known."""
        kept = self.kept(tenant, dataset_id, batch_id)
        return PlaceSet.of(self._staged(tenant, dataset_id, batch_id)) if kept is None else kept

    def _staged(self, tenant: Tenant, dataset_id: str, batch_id: str) -> set[Place]:
        """Read the places of a batch's rows: those of its round that no earlier round of the window had."""
        window = _window(tenant, dataset_id, batch_id)
        last = _round_of(window, batch_id)
        if last is None:
            return set()
        places: set[Place] = set()
        before: set[Place] = set()
        for round_ in range(last + 1):
            names = [
                name
                for name in self._stage.contents(window, round_) or ()
                if name.startswith(f"{StagedKind.ACCEPTED}/") or round_ < last
            ]
            (places if round_ == last else before).update(row.place for row in self._stage.rows(window, names))
        return places - before


def _window(tenant: Tenant, dataset_id: str, batch_id: str) -> Window:
    start_ms, _ = parts_of(batch_id)
    return Window(tenant, dataset_id, start_ms)


def _round_of(window: Window, batch_id: str) -> int | None:
    rounds = range(_MAX_ROUNDS)
    return next((one for one in rounds if window.batch_id(one, StagedKind.ACCEPTED) == batch_id), None)
