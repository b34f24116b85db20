"""Counting persons (contract: profile-api §4.3). Tallies of shares are added up, in any order, to that of all.

Everything counted is a number under a figure and a name; so adding tallies up is adding numbers up, and two tallies of
the same persons are equal however these were divided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from tessera.domain.graph import MAX_GRAPH_READ
from tessera.domain.times import DAY_MS

SILENT_DAYS = (7, 30, 60, 90, 120)
EXPIRY_DAYS = (7, 14, 30, 60, 90, 120, 365)
ALL = ""


class Figure(StrEnum):
    """What is counted, and by what names."""

    # Of every person of the sample.
    PERSONS = "persons"
    DATASETS = "persons by dataset"
    NAMESPACES = "persons by namespace"
    DATASET_SETS = "persons by the very datasets"
    NAMESPACE_SETS = "persons by the very namespaces"
    PIECES = "fragments by namespace"
    DATASET_PIECES = "fragments by dataset"
    UNSTITCHED = "persons of one fragment by days of silence and namespace"
    GRAPHS = "graphs by size"
    OVER_LIMIT = "graphs over the limit"
    COLLAPSED = "identities of collapsed graphs"
    # Of those whose items were looked at one by one.
    MEASURED = "measured persons"
    EVENTS = "events by dataset"
    REMAINING = "events by days of expiration and dataset"
    UNSTITCHED_EVENTS = "events of persons of one fragment by days of silence and namespace"
    ITEMS = "items by kind and dataset"
    BYTES = "bytes by kind and dataset"


@dataclass(frozen=True, slots=True)
class Piece:
    """A fragment that is alive: a record, or all events of one identity in one dataset.

    ``namespace`` is that of the identity under which it is, ``last_active_day`` the last UTC day on which a row of it
    was accepted, in days since 1970.
    """

    dataset_id: str
    namespace: str
    last_active_day: int


@dataclass(frozen=True, slots=True)
class SampledPerson:
    """What counts of a person: the namespaces of all identities of the graph, in lower case, and the fragments."""

    namespaces: frozenset[str]
    pieces: tuple[Piece, ...]

    @property
    def unstitched(self) -> bool:
        """Whether the person is known by one fragment alone."""
        return len(self.pieces) == 1


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item as it is stored; ``dataset_id`` is empty for what belongs to none."""

    kind: str
    dataset_id: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found by looking at a person's items: all that are stored, and the events that are alive.

    ``events`` are datasets and times, in milliseconds since 1970.
    """

    items: Iterable[StoredItem]
    events: Iterable[tuple[str, int]]


@dataclass(slots=True)
class Tally:
    """Numbers under figures and names."""

    counts: dict[Figure, Counter[str]] = field(default_factory=dict)

    def add(self, figure: Figure, name: str = ALL, count: int = 1) -> None:
        """Count something."""
        self.counts.setdefault(figure, Counter())[name] += count

    def of(self, figure: Figure) -> Mapping[str, int]:
        """Return the numbers under a figure."""
        return self.counts.get(figure, Counter())

    def total(self, figure: Figure) -> int:
        """Add up the numbers under a figure."""
        return sum(self.of(figure).values())

    def merge(self, other: Tally) -> None:
        """Add what another tally has."""
        for figure, counts in other.counts.items():
            self.counts.setdefault(figure, Counter()).update(counts)

    def add_person(self, person: SampledPerson, today: int) -> None:
        """Count a person who has a fragment, ``today`` being days since 1970; nobody else is a profile."""
        if not person.pieces:
            return
        datasets = {piece.dataset_id for piece in person.pieces}
        self.add(Figure.PERSONS)
        self.add(Figure.DATASET_SETS, ",".join(sorted(datasets)))
        self.add(Figure.NAMESPACE_SETS, ",".join(sorted(person.namespaces)))
        for dataset_id in datasets:
            self.add(Figure.DATASETS, dataset_id)
        for namespace in person.namespaces:
            self.add(Figure.NAMESPACES, namespace)
        for piece in person.pieces:
            self.add(Figure.PIECES, piece.namespace)
            self.add(Figure.DATASET_PIECES, piece.dataset_id)
        for name in silences(person, today):
            self.add(Figure.UNSTITCHED, name)

    def add_measured(self, person: SampledPerson, measured: Measured, now_ms: int) -> None:
        """Count the items of a person who was counted with ``add_person``."""
        if not person.pieces:
            return
        self.add(Figure.MEASURED)
        for item in measured.items:
            self.add(Figure.ITEMS, named(item.kind, item.dataset_id))
            self.add(Figure.BYTES, named(item.kind, item.dataset_id), item.bytes)
        events = 0
        for dataset_id, time_ms in measured.events:
            events += 1
            self.add(Figure.EVENTS, dataset_id)
            for days in EXPIRY_DAYS:
                if time_ms + days * DAY_MS > now_ms:
                    self.add(Figure.REMAINING, named(days, dataset_id))
        for name in silences(person, now_ms // DAY_MS):
            self.add(Figure.UNSTITCHED_EVENTS, name, events)

    def add_graph(self, size: int) -> None:
        """Count a graph of so many identities."""
        self.add(Figure.GRAPHS, bucket_of(size))
        if size > MAX_GRAPH_READ:
            self.add(Figure.OVER_LIMIT)

    def to_document(self) -> dict[str, Any]:
        """Write it as the JSON document that is stored."""
        return {figure.name: dict(counts) for figure, counts in self.counts.items()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read it from its stored document."""
        return cls({Figure[name]: Counter(counts) for name, counts in document.items()})


def silences(person: SampledPerson, today: int) -> list[str]:
    """Name the windows in which a person of one fragment was silent; a longer one is within every shorter one."""
    if not person.unstitched:
        return []
    (piece,) = person.pieces
    return [named(days, piece.namespace) for days in SILENT_DAYS if today - piece.last_active_day >= days]


def named(first: str | int, second: str) -> str:
    """Join two names into one; the first has no blank."""
    return f"{first} {second}"


def parts_of(name: str) -> tuple[str, str]:
    """Take a name of two apart."""
    first, _, second = name.partition(" ")
    return first, second


# The least size of each class of graphs.
_BUCKETS = (1, 2, 3, 4, 5, 6, 11, 21, MAX_GRAPH_READ + 1)


def bucket_of(size: int) -> str:
    """Name the class of graphs of a size."""
    at = max(number for number, least in enumerate(_BUCKETS) if least <= size)
    if at + 1 == len(_BUCKETS):
        return f"{_BUCKETS[at]}+"
    last = _BUCKETS[at + 1] - 1
    return str(size) if last == _BUCKETS[at] else f"{_BUCKETS[at]}-{last}"


GRAPH_SIZES = tuple(bucket_of(least) for least in _BUCKETS)
