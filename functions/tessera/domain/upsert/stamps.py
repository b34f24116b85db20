"""The places of a fragment's fields, written small.

Fields are not named again: there is one entry for each object and each value, in the order in which a walk through
the body comes to them that takes the names of an object sorted. An entry is the number of a place, or for an array
that was appended to, a list: a number and then, for each time, number and count of items. The entry of an object
without a floor of its own is ``SAME``. Where all values are from one place, its number stands for all entries.

Places 0 and 1 are those of the last operation and of the last create or delete, which the fragment has anyway; from
2 on they are listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tessera.domain.place import Place
from tessera.domain.upsert.tree import Branch, Leaf, Node

SAME = -1

Entry = int | list[int]


class Stamps(NamedTuple):
    """Places from number 2 on, and the entries, or the one that all values have."""

    places: list[Place]
    entries: list[Entry] | int


def written(root: Branch, last: Place) -> Stamps:
    """Write the stamps of a fragment, other than a whole one, whose last operation was at ``last``."""
    numbers = {last: 0, root.floor: 1}
    entries = list(_below(root, numbers))
    places = list(numbers)[2:]
    # An object with a floor has something later in it, so then there are two numbers at least.
    different = {entry for entry in entries if isinstance(entry, int)} - {SAME}
    if len(different) == 1 and not any(isinstance(entry, list) for entry in entries):
        return Stamps(places, different.pop())
    return Stamps(places, entries)


def read(fields: Mapping[str, Any], last: Place, floor: Place, stamps: Stamps) -> Branch:
    """Put a fragment's tree together from its fields and their stamps."""
    places = [last, floor, *stamps.places]
    if isinstance(stamps.entries, int):
        return all_at(places[stamps.entries], fields, floor)
    return _read(fields, floor, places, iter(stamps.entries))


def all_at(place: Place, fields: Mapping[str, Any], floor: Place) -> Branch:
    """Make the tree of a fragment of which every value is from one place."""
    return Branch(
        floor,
        {
            name: all_at(place, value, floor) if isinstance(value, dict) else Leaf(place, value)
            for name, value in fields.items()
        },
    )


def _below(branch: Branch, numbers: dict[Place, int]) -> Iterator[Entry]:
    for name in sorted(branch.children):
        child = branch.children[name]
        if isinstance(child, Leaf):
            yield _entry(child, numbers)
        else:
            yield SAME if child.floor == branch.floor else _number(child.floor, numbers)
            yield from _below(child, numbers)


def _entry(leaf: Leaf, numbers: dict[Place, int]) -> Entry:
    stamp = _number(leaf.stamp, numbers)
    if not leaf.appended:
        return stamp
    return [stamp, *(part for place, count in leaf.appended for part in (_number(place, numbers), count))]


def _number(place: Place, numbers: dict[Place, int]) -> int:
    return numbers.setdefault(place, len(numbers))


def _read(fields: Mapping[str, Any], floor: Place, places: Sequence[Place], entries: Iterator[Entry]) -> Branch:
    children: dict[str, Node] = {}
    for name in sorted(fields):
        value, entry = fields[name], next(entries)
        if isinstance(entry, list):
            stamp, *appended = entry
            pairs = zip(appended[::2], appended[1::2], strict=True)
            children[name] = Leaf(places[stamp], value, [(places[number], count) for number, count in pairs])
        elif isinstance(value, dict):
            children[name] = _read(value, floor if entry == SAME else places[entry], places, entries)
        else:
            children[name] = Leaf(places[entry], value)
    return Branch(floor, children)
