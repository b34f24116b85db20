"""Replaying the journal of deletes into tables that were restored to an instant before them.

What was deleted since is there again, and the cutoffs that hid it are not. Replayed, they hide it before anybody reads;
asking for the deletes once more sweeps it up. Safe to repeat: a cutoff only ever moves on, and what was done to a head
is done again in the order of its places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple, Protocol

from tessera.domain.batch import Batch
from tessera.domain.configuration import Configuration, DatasetSettings
from tessera.domain.deletion import PERSON
from tessera.domain.erasure import ERASURE
from tessera.domain.errors import NotFoundError
from tessera.domain.graph import Head
from tessera.domain.identity import NAMELESS, Xid
from tessera.domain.place import END_OF_TIME, Place, later
from tessera.domain.place_set import PlaceSet
from tessera.domain.purge import BATCH, DATASET
from tessera.domain.tenant import Tenant
from tessera.services.erasure.accepting import HELD
from tessera.services.erasure.holds import LIFT, LIFTED
from tessera.storage.registry import LostRaceError

# A delete was accepted a moment after it was asked for, and clocks are apart.
EARLIER_MS = 60_000

UNKNOWN = "unknown"
_HEADS_AT_ONCE = 25


class Entries(Protocol):
    """The journal: ``storage.journal.Journal``."""

    def entries(self) -> Iterator[tuple[Tenant, dict[str, Any]]]:
        """Read all entries."""


class Configurations(Protocol):
    """The restored configurations."""

    def current(self, tenant: Tenant) -> Configuration:
        """Read the one in force."""

    def change(self, tenant: Tenant, mutate: Callable[[Configuration], Configuration]) -> Configuration:
        """Make the next version."""


class Rows(Protocol):
    """Which rows batches have that gather streamed ones: ``storage.streamed_rows.StreamedRows``."""

    def get(self, tenant: Tenant, dataset_id: str, batch_id: str) -> PlaceSet | None:
        """Read the places of a batch's rows, ``None`` when they were not kept."""

    def keep(self, tenant: Tenant, dataset_id: str, batch_id: str, places: PlaceSet) -> None:
        """Have them kept, also if they were let go. Safe to repeat."""


class Batches(Protocol):
    """The restored records of batches."""

    def change(self, tenant: Tenant, batch_id: str, mutate: Callable[[Batch], Batch]) -> Batch:
        """Change one atomically, or raise NotFoundError."""


class Register(Protocol):
    """The restored register of holds."""

    def note(self, tenant: Tenant, xids: Iterable[Xid], action: str, at_ms: int, caller: str, job_id: str = "") -> None:
        """Note who held somebody, or lifted that; safe to repeat."""


class Heads(Protocol):
    """The restored heads."""

    def heads(self, tenant: Tenant, xids: Iterable[Xid]) -> dict[Xid, Head]:
        """Read those that exist."""

    def replace_heads(self, tenant: Tenant, changed: Iterable[Head], unchanged: Iterable[Head]) -> None:
        """Write heads in one transaction or raise LostRaceError."""


class _Step(NamedTuple):
    """What was done to an identity, at a place; ``action`` if it was held or that was lifted.

    ``noted`` is what the register says of that: when, who, and for which job. ``whole`` is for everyone in the graph.
    """

    place: Place
    action: str = ""
    noted: tuple[int, str, str] = (0, "", "")
    whole: bool = True

    def of(self, head: Head) -> Head:
        """Return the head after it; one that has it already is not changed."""
        if self.action == LIFTED:
            return head.lifting(self.place) if head.held and head.holds[-1].since < self.place else head
        head = head.erasing(self.place) if self.whole else replace(head, cutoff=later(head.cutoff, self.place))
        covered = any(hold.since <= self.place <= (hold.until or END_OF_TIME) for hold in head.holds)
        return head.holding(self.place) if self.action == HELD and not covered else head


class Restoring:
    """Replays the journal."""

    def __init__(
        self,
        journal: Entries,
        configurations: Configurations,
        batches: Batches,
        rows: Rows,
        heads: Heads,
        register: Register,
    ) -> None:
        self._journal = journal
        self._configurations = configurations
        self._batches = batches
        self._rows = rows
        self._heads = heads
        self._register = register

    def replay(self, restored_to_ms: int) -> dict[str, int]:
        """Replay what was deleted after the instant that the tables were restored to; answer how many, by kind.

        Deletes of a kind that cannot be replayed are counted as ``unknown``: ask for them again before anybody reads.
        """
        counts: Counter[str] = Counter()
        steps: dict[Tenant, dict[Xid, list[_Step]]] = {}
        tenants: set[Tenant] = set()
        for tenant, entry in self._journal.entries():
            tenants.add(tenant)
            if entry["at"] >= restored_to_ms - EARLIER_MS:
                of_persons = list(_steps(entry))
                counts[str(entry["kind"]) if of_persons else self._replay(tenant, entry)] += 1
                for xid, step in of_persons:
                    steps.setdefault(tenant, {}).setdefault(xid, []).append(step)
        for tenant, of_heads in steps.items():
            for start in range(0, len(of_heads), _HEADS_AT_ONCE):
                self._redo(tenant, dict(islice(of_heads.items(), start, start + _HEADS_AT_ONCE)))
        for tenant in tenants:
            self._keep_rows(tenant)
        return dict(counts)

    def _replay(self, tenant: Tenant, entry: Mapping[str, Any]) -> str:
        kind = str(entry["kind"])
        if kind == DATASET:
            self._cut_off(tenant, entry["dataset"], Place(entry["cutoff"]))
        elif kind == BATCH and entry["prefix"]:
            self._hide(tenant, entry, lambda dataset: dataset.without_batch(entry["prefix"]))
        elif kind == BATCH and (rows := self._rows.get(tenant, entry["dataset"], entry["batch"])) is not None:
            self._hide(tenant, entry, lambda dataset: dataset.without_rows(entry["batch"], rows))
        else:
            return UNKNOWN
        return kind

    def _cut_off(self, tenant: Tenant, dataset_id: str, cutoff: Place) -> None:
        self._set(tenant, dataset_id, lambda dataset: dataset.cut_off(cutoff))

    def _hide(
        self, tenant: Tenant, entry: Mapping[str, Any], without: Callable[[DatasetSettings], DatasetSettings]
    ) -> None:
        self._set(tenant, entry["dataset"], without)
        try:
            self._batches.change(tenant, entry["batch"], lambda known: known.unprofiled())
        except NotFoundError:
            # It came after the instant: nothing of it is there, but for what was streamed before it was gathered.
            return

    def _keep_rows(self, tenant: Tenant) -> None:
        """See to it that what a configuration names is there: its delete may have been done after the instant."""
        try:
            datasets = self._configurations.current(tenant).datasets.values()
        except NotFoundError:
            # The sandbox is not there any more.
            return
        for dataset in datasets:
            for batch_id, rows in dataset.deleted_rows.items():
                self._rows.keep(tenant, dataset.id, batch_id, rows)

    def _set(self, tenant: Tenant, dataset_id: str, change: Callable[[DatasetSettings], DatasetSettings]) -> None:
        """Change the settings of a dataset, if it was there at the instant."""

        def mutate(configuration: Configuration) -> Configuration:
            dataset = configuration.datasets.get(dataset_id)
            after = change(dataset) if dataset is not None else None
            return configuration if after is None or after is dataset else configuration.with_dataset(after)

        self._configurations.change(tenant, mutate)

    def _redo(self, tenant: Tenant, steps: Mapping[Xid, list[_Step]]) -> None:
        """Do again what was done to some heads; one that is not there is made again, as far as it is known."""
        for xid, of_head in steps.items():
            for step in sorted(of_head):
                if step.action:
                    asked_ms, caller, job_id = step.noted
                    self._register.note(tenant, [xid], step.action, asked_ms, caller, job_id)
        while True:
            stored = self._heads.heads(tenant, steps)
            before = {xid: stored.get(xid) or Head(xid, NAMELESS) for xid in steps}
            after = {xid: _after(before[xid], of_head) for xid, of_head in steps.items()}
            changed = [head for xid, head in after.items() if head != before[xid]]
            if not changed:
                return
            try:
                self._heads.replace_heads(tenant, changed, [])
            except LostRaceError:
                continue
            return


def _steps(entry: Mapping[str, Any]) -> Iterator[tuple[Xid, _Step]]:
    """List what an entry says was done to which identities; nothing if it is not about persons."""
    if entry["kind"] == PERSON:
        # Entries of before did not say whether it was meant for a whole graph.
        whole = entry.get("whole", False)
        for xid in entry["xids"]:
            yield Xid(xid), _Step(Place(entry["cutoff"]), whole=whole)
    elif entry["kind"] == ERASURE:
        noted = (entry["asked"], entry["caller"], entry["job"])
        for xid, place in entry["cutoffs"].items():
            yield Xid(xid), _Step(Place(place), HELD if entry["hold"] else "", noted)
    elif entry["kind"] == LIFT:
        for xid, place in entry["lifted"].items():
            yield Xid(xid), _Step(Place(place), LIFTED, (entry["asked"], entry["caller"], ""))


def _after(head: Head, steps: Iterable[_Step]) -> Head:
    for step in sorted(steps):
        head = step.of(head)
    return head
