"""The fields of an updated fragment, each with the place of what was last written to it.

Writes may come in any order; the tree is always as if they had come in order of place. For that, every node keeps a
place at or below which whatever is still to come is void there, since something later has overwritten it:

    place | write            | tree, whatever the order in which the three are processed
    ------|------------------|--------------------------------------------------------------
    3     | {a: {b: 1}}      |
    5     | {a: "x"}         | voids all below ``a`` that is older
    7     | {a: {c: 2}}      | a: floor 5, c: 2 at 7. The ``b`` of 3 can come when it likes: 3 is below 5

What is void stays void, as later writes only add to what voids it. So nothing of it has to be kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tessera.domain.place import Place
from tessera.domain.upsert.operation import Path

# Below every place.
BEGINNING = Place("")


@dataclass(slots=True)
class Leaf:
    """A value that is no object.

    ``stamp`` is the place of the value, or of what voided everything before what was appended since. ``appended``
    are the places of what was appended to an array after that, in order, and how many items each added.
    """

    stamp: Place
    value: Any
    appended: list[tuple[Place, int]] = field(default_factory=list)


@dataclass(slots=True)
class Branch:
    """An object. ``floor`` is the last place at which it was voided: made anew, or overwritten by what is no object."""

    floor: Place
    children: dict[str, Node] = field(default_factory=dict)


Node = Leaf | Branch


def newest(node: Node) -> Place:
    """Return the last place at which something was written that counts."""
    if isinstance(node, Leaf):
        return node.appended[-1][0] if node.appended else node.stamp
    return max(map(newest, node.children.values()), default=node.floor)


def values(branch: Branch) -> dict[str, Any]:
    """Return the values of an object, without the places."""
    return {
        name: values(child) if isinstance(child, Branch) else child.value for name, child in branch.children.items()
    }


def after(node: Node, floor: Place) -> Node | None:
    """Return what is left of a node when all at or below a place is void; nothing may be."""
    if isinstance(node, Leaf):
        return _leaf_after(node, floor)
    if node.floor > floor:
        return node
    left = {name: kept for name, child in node.children.items() if (kept := after(child, floor)) is not None}
    return Branch(floor, left) if left else None


def _leaf_after(leaf: Leaf, floor: Place) -> Leaf | None:
    if leaf.stamp > floor:
        return leaf
    kept = [item for item in leaf.appended if item[0] > floor]
    return Leaf(floor, _tail(leaf, kept), kept) if kept else None


def _tail(leaf: Leaf, kept: list[tuple[Place, int]]) -> list[Any]:
    """Return the items of the last ones of what was appended."""
    start = len(leaf.value) - sum(count for _, count in kept)
    items: list[Any] = leaf.value[start:]
    return items


def write(branch: Branch, fields: Mapping[str, Any], place: Place, appends: Collection[Path], path: Path = ()) -> None:
    """Write the fields of an object at a place, in depth."""
    if place < branch.floor:
        return
    for name, value in fields.items():
        here = (*path, name) if appends else ()
        present = branch.children.get(name)
        if isinstance(value, dict):
            node = _object_over(present, place, branch.floor)
            if isinstance(node, Branch):
                write(node, value, place, appends, here)
        elif appends and here in appends:
            node = _appended_to(present, value, place, branch.floor)
        else:
            node = _set_over(present, value, place)
        branch.children[name] = node


def _object_over(present: Node | None, place: Place, floor: Place) -> Node:
    """Return the node to which an object's fields are written, or the leaf that is there if a later one made it."""
    if present is None:
        return Branch(floor)
    if isinstance(present, Branch):
        return present
    return _leaf_after(present, place) or Branch(newest(present))


def _set_over(present: Node | None, value: Any, place: Place) -> Node:
    """Write a scalar, or an array as a whole."""
    if isinstance(present, Branch):
        return after(present, place) or Leaf(place, value)
    if present is None:
        return Leaf(place, value)
    if place < present.stamp:
        return present
    kept = [item for item in present.appended if item[0] > place]
    if not kept:
        return Leaf(place, value)
    # What was appended later to something that is no array has taken its place.
    before = value if isinstance(value, list) else []
    return Leaf(place, [*before, *_tail(present, kept)], kept)


def _appended_to(present: Node | None, items: list[Any], place: Place, floor: Place) -> Node:
    """Append items to an array; they are an array of their own where there is none."""
    if isinstance(present, Branch):
        return after(present, place) or Leaf(newest(present), items, [(place, len(items))])
    if present is None:
        return Leaf(floor, items, [(place, len(items))])
    if place <= present.stamp or any(known == place for known, _ in present.appended):
        return present
    later = [item for item in present.appended if item[0] > place]
    values = present.value if isinstance(present.value, list) else []
    at = len(values) - sum(count for _, count in later)
    earlier = present.appended[: len(present.appended) - len(later)]
    return Leaf(present.stamp, [*values[:at], *items, *values[at:]], [*earlier, (place, len(items)), *later])
