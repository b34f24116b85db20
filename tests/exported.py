"""Rows of exports as look-ups show them."""

from __future__ import annotations

from typing import Any

# Maps come back from Parquet as lists of pairs, by these names and how deep.
_MAPS = {"identityMap": 1, "segmentMembership": 2}


def as_json(value: Any) -> Any:
    """Turn what was read from Parquet into JSON: maps into objects; what has no value is not there."""
    if isinstance(value, dict):
        return {
            name: _map(inner, _MAPS[name]) if name in _MAPS else as_json(inner)
            for name, inner in value.items()
            if inner is not None
        }
    return [as_json(item) for item in value] if isinstance(value, list) else value


def _map(pairs: Any, depth: int) -> Any:
    return {key: _map(inner, depth - 1) if depth > 1 else as_json(inner) for key, inner in pairs}


def without_nulls(value: Any) -> Any:
    """Take out of JSON what has no value."""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value
