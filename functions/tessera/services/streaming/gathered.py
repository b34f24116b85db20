"""Which streamed rows a batch has gathered (docs/decisions/0099).

The batch's files hold the rows without their places. What was staged of the window holds them, for as long as the lake
keeps that: thirty days.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from tessera.domain.place import Place
from tessera.domain.staged import StagedKind, StagedRow
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import parts_of
from tessera.domain.window import Window

# More often than that no window is closed within the time that its rows are kept.
_MAX_ROUNDS = 3000


class Stage(Protocol):
    """Where rows wait for their batch: ``storage.stream_lake.StreamLake``."""

    def rows(self, window: Window, names: Sequence[str]) -> Iterator[StagedRow]:
        """Read staged rows, in the order of the names."""

    def contents(self, window: Window, round_: int) -> list[str] | None:
        """Read what a round gathers, ``None`` when that is not there."""


class Gathered:
    """Tells the places of the rows of batches that windows made."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def is_known(self, tenant: Tenant, dataset_id: str, batch_id: str) -> bool:
        """Tell whether it is still kept which rows a batch has."""
        window = _window(tenant, dataset_id, batch_id)
        round_ = _round_of(window, batch_id)
        return round_ is not None and self._stage.contents(window, round_) is not None

    def places(self, tenant: Tenant, dataset_id: str, batch_id: str) -> frozenset[Place]:
        """Return the places of a batch's rows: those of its round that no earlier round of the window had."""
        window = _window(tenant, dataset_id, batch_id)
        last = _round_of(window, batch_id)
        if last is None:
            return frozenset()
        places: set[Place] = set()
        before: set[Place] = set()
        for round_ in range(last + 1):
            names = [
                name
                for name in self._stage.contents(window, round_) or ()
                if name.startswith(f"{StagedKind.ACCEPTED}/") or round_ < last
            ]
            (places if round_ == last else before).update(row.place for row in self._stage.rows(window, names))
        return frozenset(places - before)


def _window(tenant: Tenant, dataset_id: str, batch_id: str) -> Window:
    start_ms, _ = parts_of(batch_id)
    return Window(tenant, dataset_id, start_ms)


def _round_of(window: Window, batch_id: str) -> int | None:
    rounds = range(_MAX_ROUNDS)
    return next((one for one in rounds if window.batch_id(one, StagedKind.ACCEPTED) == batch_id), None)
