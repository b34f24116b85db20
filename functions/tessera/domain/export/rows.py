"""Rows of an export as lines: JSON in which maps are lists of entries, as columnar formats have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tessera.domain.export.job import EVENTS_COLUMN
from tessera.domain.export.shape import Column, as_text

Convert = Callable[[Any], Any]


def with_entries(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its maps written as lists of entries; the row itself stays as it is."""
    result = dict(row)
    if "identityMap" in row:
        result["identityMap"] = _entries(row["identityMap"])
    if "segmentMembership" in row:
        result["segmentMembership"] = [
            {"key": namespace, "value": _entries(segments)} for namespace, segments in row["segmentMembership"].items()
        ]
    if EVENTS_COLUMN in row:
        result[EVENTS_COLUMN] = [
            {**event, "identityMap": _entries(event["identityMap"])} if "identityMap" in event else event
            for event in row[EVENTS_COLUMN]
        ]
    return result


def _entries(value: Any) -> Any:
    return [{"key": key, "value": inner} for key, inner in value.items()] if isinstance(value, dict) else value


def to_columns(columns: Mapping[str, Column]) -> Convert | None:
    """Make what fits a row of lists of entries into its columns, ``None`` when every row fits as it is.

    Only values at a path where types met need a change: they become text.
    """
    return _fields_to(columns)


def _to(column: Column) -> Convert | None:
    if column.mixed:
        return as_text
    if column.fields is not None:
        return _fields_to(column.fields)
    if column.items is None:
        return None
    inner = _to(column.items)
    if inner is None:
        return None
    if column.kind == "map":
        return lambda value: value and [{"key": entry["key"], "value": inner(entry["value"])} for entry in value]
    return lambda value: value and [inner(item) for item in value]


def _fields_to(columns: Mapping[str, Column]) -> Convert | None:
    changes = {name: change for name, column in columns.items() if (change := _to(column)) is not None}
    if not changes:
        return None
    return lambda value: (
        value and {name: changes[name](inner) if name in changes else inner for name, inner in value.items()}
    )
