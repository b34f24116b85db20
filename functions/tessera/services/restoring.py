"""Replaying the journal of deletes into tables that were restored to an instant before them.

What was deleted since is there again, and the cutoffs that hid it are not. Replayed, they hide it before anybody reads;
asking for the deletes once more sweeps it up. Safe to repeat: a cutoff only ever moves on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from tessera.domain.batch import Batch
from tessera.domain.configuration import Configuration
from tessera.domain.deletion import PERSON
from tessera.domain.errors import NotFoundError
from tessera.domain.graph import Head
from tessera.domain.identity import Xid
from tessera.domain.place import Place, later
from tessera.domain.purge import BATCH, DATASET
from tessera.domain.tenant import Tenant
from tessera.storage.registry import LostRaceError

# A delete was accepted a moment after it was asked for, and clocks are apart.
EARLIER_MS = 60_000

UNKNOWN = "unknown"


class Entries(Protocol):
    """The journal: ``storage.journal.Journal``."""

    def entries(self) -> Iterator[tuple[Tenant, dict[str, Any]]]:
        """Read all entries."""


class Configurations(Protocol):
    """The restored configurations."""

    def change(self, tenant: Tenant, mutate: Callable[[Configuration], Configuration]) -> Configuration:
        """Make the next version."""


class Batches(Protocol):
    """The restored records of batches."""

    def change(self, tenant: Tenant, batch_id: str, mutate: Callable[[Batch], Batch]) -> Batch:
        """Change one atomically, or raise NotFoundError."""


class Heads(Protocol):
    """The restored heads."""

    def heads(self, tenant: Tenant, xids: Iterable[Xid]) -> dict[Xid, Head]:
        """Read those that exist."""

    def replace_heads(self, tenant: Tenant, changed: Iterable[Head], unchanged: Iterable[Head]) -> None:
        """Write heads in one transaction or raise LostRaceError."""


class Restoring:
    """Replays the journal."""

    def __init__(self, journal: Entries, configurations: Configurations, batches: Batches, heads: Heads) -> None:
        self._journal = journal
        self._configurations = configurations
        self._batches = batches
        self._heads = heads

    def replay(self, restored_to_ms: int) -> dict[str, int]:
        """Replay what was deleted after the instant that the tables were restored to; answer how many, by kind.

        Deletes of a kind that cannot be replayed are counted as ``unknown``: ask for them again before anybody reads.
        """
        counts: Counter[str] = Counter()
        for tenant, entry in self._journal.entries():
            if entry["at"] >= restored_to_ms - EARLIER_MS:
                counts[self._replay(tenant, entry)] += 1
        return dict(counts)

    def _replay(self, tenant: Tenant, entry: Mapping[str, Any]) -> str:
        kind = str(entry["kind"])
        if kind == DATASET:
            self._cut_off(tenant, entry["dataset"], Place(entry["cutoff"]))
        elif kind == BATCH and entry["prefix"]:
            self._hide(tenant, entry["dataset"], entry["batch"], entry["prefix"])
        elif kind == PERSON:
            self._erase(tenant, [Xid(xid) for xid in entry["xids"]], Place(entry["cutoff"]))
        else:
            return UNKNOWN
        return kind

    def _cut_off(self, tenant: Tenant, dataset_id: str, cutoff: Place) -> None:
        def mutate(configuration: Configuration) -> Configuration:
            dataset = configuration.datasets.get(dataset_id)
            if dataset is None or later(dataset.cutoff, cutoff) == dataset.cutoff:
                return configuration
            return configuration.with_dataset(replace(dataset, cutoff=cutoff))

        self._configurations.change(tenant, mutate)

    def _hide(self, tenant: Tenant, dataset_id: str, batch_id: str, prefix: str) -> None:
        def mutate(configuration: Configuration) -> Configuration:
            dataset = configuration.datasets.get(dataset_id)
            after = dataset.without_batch(prefix) if dataset is not None else None
            return configuration if after is None or after is dataset else configuration.with_dataset(after)

        self._configurations.change(tenant, mutate)
        try:
            self._batches.change(tenant, batch_id, lambda known: known.unprofiled())
        except NotFoundError:
            # It came after the instant: nothing of it is there.
            return

    def _erase(self, tenant: Tenant, xids: Sequence[Xid], cutoff: Place) -> None:
        while True:
            heads = self._heads.heads(tenant, xids).values()
            changed = [replace(head, cutoff=cutoff) for head in heads if later(head.cutoff, cutoff) != head.cutoff]
            if not changed:
                return
            try:
                self._heads.replace_heads(tenant, changed, [])
            except LostRaceError:
                continue
            return
