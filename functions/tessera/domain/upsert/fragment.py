"""A record fragment that operations change, in any order and any number of times (law 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tessera.domain.place import Place
from tessera.domain.upsert import stamps
from tessera.domain.upsert.operation import Action, Operation, Path
from tessera.domain.upsert.tree import BEGINNING, Branch, Node, after, newest, values, write

_IDENTITIES = "identityMap"


@dataclass(slots=True)
class UpdatedFragment:
    """What the operations on a fragment come to: as if they had been applied one by one in order of place.

    A delete leaves a fragment that does not exist, and remembers its place.
    """

    _root: Branch = field(default_factory=lambda: Branch(BEGINNING))

    @classmethod
    def created(cls, place: Place, body: Mapping[str, Any]) -> Self:
        """Return the fragment that a whole row makes."""
        return cls.read(place, place, body, None)

    @classmethod
    def read(cls, place: Place, floor: Place, body: Mapping[str, Any], stamped: stamps.Stamps | None) -> Self:
        """Put a fragment together again from what it says of itself; without stamps all of it is from one place."""
        fields = _by_identity(body)
        if stamped is None:
            return cls(stamps.all_at(place, fields, place))
        return cls(stamps.read(fields, place, floor, stamped))

    @property
    def place(self) -> Place:
        """Place of the last operation that counts."""
        return newest(self._root)

    @property
    def floor(self) -> Place:
        """Place of the last create or delete: no operation at or below it counts. Empty when there was none."""
        return self._root.floor

    @property
    def exists(self) -> bool:
        """Tell whether there is a fragment to be read."""
        return bool(self._root.children)

    @property
    def whole(self) -> bool:
        """Tell whether one operation alone has made the fragment what it is: a create, or a delete."""
        return self.place == self.floor

    def place_of(self, path: Path) -> Place:
        """Return the place of what was last written to a field that is there, or to anything below it."""
        node: Node = self._root
        for name in path:
            assert isinstance(node, Branch)
            node = node.children[name]
        return newest(node)

    def body(self) -> dict[str, Any]:
        """Return the fragment's fields as a row has them."""
        return _as_row(values(self._root))

    def stamps(self) -> stamps.Stamps | None:
        """Return the places of the fields, ``None`` when it is one place."""
        return None if self.whole else stamps.written(self._root, self.place)

    def forget(self, cutoff: Place) -> None:
        """Take away what a delete reached from outside: all that was written at or below a place."""
        if self._root.floor < cutoff:
            self._void(cutoff)

    def apply(self, operation: Operation) -> None:
        """Do an operation. Once it is done, doing it again changes nothing."""
        place = operation.place
        if place < self._root.floor:
            return
        if operation.action is Action.MERGE:
            write(self._root, _named(_by_identity(operation.body)), place, operation.appends)
            return
        self._void(place)
        if operation.action is Action.CREATE:
            write(self._root, _by_identity(operation.body), place, ())

    def _void(self, place: Place) -> None:
        left = after(self._root, place)
        self._root = left if isinstance(left, Branch) else Branch(place)


def _named(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out empty objects: they name no field, so a merge has nothing to write."""
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        if not isinstance(value, dict):
            kept[name] = value
        elif inner := _named(value):
            kept[name] = inner
    return kept


def _by_identity(body: Mapping[str, Any]) -> dict[str, Any]:
    """Write the identities of each namespace as an object by value: they are merged one by one, and only added."""
    fields = dict(body)
    if _IDENTITIES in fields:
        fields[_IDENTITIES] = {
            code: {item["id"]: item for item in items} for code, items in fields[_IDENTITIES].items()
        }
    return fields


def _as_row(fields: dict[str, Any]) -> dict[str, Any]:
    if _IDENTITIES in fields:
        fields[_IDENTITIES] = {
            code: [items[value] for value in sorted(items)] for code, items in fields[_IDENTITIES].items()
        }
    return fields
