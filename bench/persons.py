"""Persons to look up: how many identities, datasets, attributes and events they have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.people import EVENTS, MANY_RECORDS, OTHER_RECORDS, RECORDS, event, record, wide_record
from bench.store import Store

HISTORY = 5000
_SIZES = (1, 2, 5, 50)
_RECORD_BYTES = 1000
_EVENT_BYTES = 300


@dataclass(frozen=True)
class Person:
    """A person that was written: the values of the identities, the first being the one to ask for."""

    what: str
    values: Sequence[str]


@dataclass(frozen=True)
class Shape:
    """What a person has: each identity a record of so many attributes in each dataset, all events among them."""

    members: int
    datasets: int
    attributes: int
    events: int = 0

    def __str__(self) -> str:
        """Name it."""
        events = f" + {self.events:,} events" if self.events else ""
        return f"{counted(self.members)} x {self.datasets} datasets x {self.attributes:,} attributes{events}"


# Of the 24 combinations of 1, 5 or 50 members, 3 or 20 datasets, 50 or 1,000 attributes, 0 or 5,000 events: all pairs
# of two of these, the least and the most of everything.
WIDE = (
    Shape(1, 3, 50),
    Shape(1, 3, 1000, HISTORY),
    Shape(1, 20, 1000, HISTORY),
    Shape(5, 3, 1000),
    Shape(5, 20, 50, HISTORY),
    Shape(50, 3, 50),
    Shape(50, 20, 50),
    Shape(50, 20, 1000, HISTORY),
)


def counted(members: int) -> str:
    """Write how many members."""
    return f"{members} member{'s' * (members > 1)}"


def usual(made: Store, history: int) -> Iterator[Person]:
    """Write the persons of every run; each identity has two records of 1 KB."""
    for members in _SIZES:
        yield Person(counted(members), of_members(made, members)[0])
    if history:
        made.write(RECORDS, [record("history", _RECORD_BYTES)])
        _write_events(made, ["history"], history)
        yield Person(f"1 member, {history:,} events", ["history"])


def of_members(made: Store, members: int, count: int = 1) -> list[list[str]]:
    """Write persons of some identities, linked in a chain, each with two records of 1 KB; answers their identities."""
    persons = [[f"{members}-{number}-{member:02d}" for member in range(members)] for number in range(count)]
    linked = [pair for values in persons for pair in _chained(values)]
    made.write(RECORDS, [record(value, _RECORD_BYTES, links) for value, links in linked])
    made.write(OTHER_RECORDS, [record(value, _RECORD_BYTES, version=1) for value, _ in linked])
    return persons


def of_shapes(made: Store, shapes: Sequence[Shape]) -> Iterator[Person]:
    """Write persons of given shapes."""
    for shape in shapes:
        values = [f"{shape}-{number:02d}" for number in range(shape.members)]
        for number, dataset_id in enumerate(MANY_RECORDS[: shape.datasets]):
            made.write(
                dataset_id,
                [
                    wide_record(value, number, shape.attributes, () if number else links)
                    for value, links in _chained(values)
                ],
            )
        _write_events(made, values, shape.events)
        yield Person(str(shape), values)


def _chained(values: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    """Pair each value with those that its row links it with: the next."""
    return [(value, values[number : number + 1]) for number, value in enumerate(values, 1)]


def _write_events(made: Store, values: Sequence[str], count: int) -> None:
    rows = [event(values[number % len(values)], number, _EVENT_BYTES) for number in range(count)]
    made.write(EVENTS, rows[: len(values)])
    made.keep(EVENTS, rows[len(values) :])
