"""What types the values of exported rows have, and the columns that hold them all.

Workers observe the shapes of the rows that they export; shapes unite, and the union becomes the schema. So a column
is there because something exported has it, and its type because everything exported fits. Where values at one path
have types that no column can hold together, the column is text, and what is no text stands in it as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import orjson

from tessera.domain.export.job import EVENTS_COLUMN

# Up to here floating point numbers tell whole numbers apart.
_EXACT_INTEGERS = 1 << 53
_LONGEST_INTEGER = 1 << 63
# An object of more names is a map in disguise: as a struct it would be a file of columns that hold one value each.
_MOST_NAMES = 10_000

TEXT, BOOLEAN, INTEGER, LONG, HUGE, DOUBLE, OBJECT, ARRAY = (1 << bit for bit in range(8))
_NAMES = {
    TEXT: "string", BOOLEAN: "boolean", INTEGER: "bigint", LONG: "bigint", HUGE: "decimal", DOUBLE: "double",
    OBJECT: "struct", ARRAY: "array",
}  # fmt: skip
_SIMPLE = {str: TEXT, bool: BOOLEAN, float: DOUBLE, type(None): 0}
# The first whose kinds are all that were seen: none at all is text without a value.
_SCALARS = (
    ("string", TEXT),
    ("boolean", BOOLEAN),
    ("bigint", INTEGER | LONG),
    ("double", INTEGER | DOUBLE),
)
# Objects that are maps, and how deep: their names are data. So XDM defines them.
_MAPS = {"identityMap": 1, "segmentMembership": 2}


class Shape:
    """The kinds of values seen at a place, with what is below it. ``items`` is of arrays, ``names`` of objects."""

    __slots__ = ("items", "kinds", "names")

    def __init__(self) -> None:
        self.kinds = 0
        self.names: dict[str, Shape] = {}
        self.items: Shape | None = None

    def observe(self, value: Any) -> None:
        """Add a JSON value."""
        kind = type(value)
        if kind is dict:
            self.kinds |= OBJECT
            names = self.names
            for name, inner in value.items():
                shape = names.get(name)
                if shape is None:
                    shape = names[name] = Shape()
                # A call for each value would be half of the work.
                simple = _SIMPLE.get(type(inner))
                if simple is not None:
                    shape.kinds |= simple
                elif type(inner) is int and -_EXACT_INTEGERS <= inner <= _EXACT_INTEGERS:
                    shape.kinds |= INTEGER
                else:
                    shape.observe(inner)
        elif kind is list:
            self.kinds |= ARRAY
            if self.items is None:
                self.items = Shape()
            for item in value:
                self.items.observe(item)
        elif kind is int:
            self.kinds |= _kind_of_integer(value)
        else:
            self.kinds |= _SIMPLE[kind]

    def unite(self, other: Shape) -> None:
        """Add everything that another shape has seen."""
        self.kinds |= other.kinds
        for name, shape in other.names.items():
            self.names.setdefault(name, Shape()).unite(shape)
        if other.items is not None:
            if self.items is None:
                self.items = Shape()
            self.items.unite(other.items)

    def to_document(self) -> list[Any]:
        """Write the shape as JSON."""
        names = {name: shape.to_document() for name, shape in self.names.items()}
        return [self.kinds, names, None if self.items is None else self.items.to_document()]

    @classmethod
    def from_document(cls, document: list[Any]) -> Self:
        """Read a shape from JSON."""
        shape = cls()
        shape.kinds, names, items = document
        shape.names = {name: cls.from_document(inner) for name, inner in names.items()}
        shape.items = None if items is None else cls.from_document(items)
        return shape


def _kind_of_integer(value: int) -> int:
    if -_EXACT_INTEGERS <= value <= _EXACT_INTEGERS:
        return INTEGER
    return LONG if -_LONGEST_INTEGER <= value < _LONGEST_INTEGER else HUGE


@dataclass(frozen=True, slots=True)
class Column:
    """The type of a column or of what is in it.

    ``kind`` is ``string``, ``bigint``, ``double``, ``boolean``, ``struct`` with its ``fields``, ``array`` or ``map``
    of ``items``. ``mixed`` names the types of the values that are kept as text, if they are not all text.
    """

    kind: str
    fields: Mapping[str, Column] | None = None
    items: Column | None = None
    mixed: tuple[str, ...] = ()

    def conflicts(self, path: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Walk the paths whose values are kept as text, each with the types that met there."""
        if self.mixed:
            yield ".".join(path), self.mixed
        for name, column in (self.fields or {}).items():
            yield from column.conflicts((*path, name))
        if self.items is not None:
            yield from self.items.conflicts((*path, "[]"))

    def hive_type(self) -> str:
        """Write the type as Athena and Hive do."""
        if self.fields is not None:
            inner = ",".join(f"{name}:{column.hive_type()}" for name, column in self.fields.items())
            return f"struct<{inner}>"
        if self.items is not None:
            inner = self.items.hive_type()
            return f"map<string,{inner}>" if self.kind == "map" else f"array<{inner}>"
        return self.kind

    def to_document(self) -> list[Any]:
        """Write the column as JSON."""
        inner = None if self.fields is None else {name: one.to_document() for name, one in self.fields.items()}
        return [self.kind, inner, None if self.items is None else self.items.to_document(), list(self.mixed)]

    @classmethod
    def from_document(cls, document: list[Any]) -> Self:
        """Read a column from JSON."""
        kind, inner, items, mixed = document
        return cls(
            kind,
            None if inner is None else {name: cls.from_document(one) for name, one in inner.items()},
            None if items is None else cls.from_document(items),
            tuple(mixed),
        )


def columns_of(shape: Shape) -> dict[str, Column]:
    """Return the columns for rows of this shape, in order of their names."""
    found = _fields(shape, _MAPS)
    if EVENTS_COLUMN in found and found[EVENTS_COLUMN].kind == "array":
        items = shape.names[EVENTS_COLUMN].items
        if items is not None and items.kinds == OBJECT and items.names:
            event = Column("struct", _fields(items, _MAPS))
            found[EVENTS_COLUMN] = Column("array", items=event)
    return found


def _fields(shape: Shape, maps: Mapping[str, int]) -> dict[str, Column]:
    return {name: _column(inner, maps.get(name, 0)) for name, inner in sorted(shape.names.items())}


def _column(shape: Shape, map_levels: int = 0) -> Column:
    """Return what holds all values of a shape; the ``map_levels`` uppermost levels are maps if they are objects."""
    kinds = shape.kinds
    if kinds == OBJECT and map_levels:
        values = Shape()
        for inner in shape.names.values():
            values.unite(inner)
        return Column("map", items=_column(values, map_levels - 1))
    if kinds == OBJECT and 0 < len(shape.names) <= _MOST_NAMES:
        return Column("struct", _fields(shape, {}))
    if kinds == ARRAY:
        return Column("array", items=_column(shape.items or Shape()))
    for kind, fitting in _SCALARS:
        if kinds | fitting == fitting:
            return Column(kind)
    mixed = dict.fromkeys(name for bit, name in _NAMES.items() if kinds & bit)
    return Column("string", mixed=tuple(mixed))


def as_text(value: Any) -> Any:
    """Write a value as it stands in a column of text: text as it is, anything else as JSON, null as null."""
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()
