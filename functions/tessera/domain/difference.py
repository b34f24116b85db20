"""What differs between two entities, leaf by leaf."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tessera.domain.fields import dotted

_Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One leaf that differs. ``None`` is "no value": entities hold no nulls (contract: profile-api §2.4)."""

    path: str
    before: Any
    after: Any


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """List the leaves that differ, in order of their dotted paths; arrays and empty objects are leaves."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    paths = [path for path in old.keys() | new.keys() if not _same(old.get(path), new.get(path))]
    return [Change(dotted(path), old.get(path), new.get(path)) for path in sorted(paths)]


def _leaves(value: Mapping[str, Any], at: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    for name, item in value.items():
        path = (*at, name)
        if isinstance(item, Mapping) and item:
            yield from _leaves(item, path)
        else:
            yield path, item


def _same(one: Any, other: Any) -> bool:
    """Tell whether two leaves read the same: to Python, ``1``, ``1.0`` and ``True`` are equal; to a reader not."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_same(item, other[name]) for name, item in one.items())
    return bool(one == other)
