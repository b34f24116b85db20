"""The functions of the language: what they take, and what they give (contract: data-and-pql §2.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Type: TypeAlias = Literal["number", "integer", "string", "boolean", "array", "object", "timestamp", "unknown"]
# What a parameter asks for: a type, "any", "truth" (what can be a condition); "each" and "condition" are evaluated per
# element.
Asked: TypeAlias = Literal[
    "number", "integer", "string", "truth", "array", "object", "timestamp", "any", "each", "condition"
]


@dataclass(frozen=True, slots=True)
class Signature:
    """A function: what it asks of its receiver (None: it has none) and of its arguments, and what it gives."""

    receiver: Asked | None
    parameters: tuple[Asked, ...]
    required: int
    result: Type


def _function(receiver: Asked | None, *parameters: Asked, gives: Type, optional: int = 0) -> Signature:
    return Signature(receiver, parameters, len(parameters) - optional, gives)


_string_predicate = _function("string", "string", "truth", gives="boolean", optional=1)
_set_predicate = _function("array", "array", gives="boolean")
_clock = _function(None, gives="integer")
_part_of_time = _function("timestamp", gives="integer")
_aggregate = _function("array", "each", gives="number", optional=1)
_extreme = _function("array", "each", gives="unknown", optional=1)
_ranked = _function("array", "each", "integer", gives="array")

SIGNATURES: dict[str, Signature] = {
    "if": _function(None, "truth", "any", "any", gives="unknown"),
    "date": _function(None, "integer", "integer", "integer", gives="timestamp"),
    "currentMonth": _clock,
    "currentYear": _clock,
    "currentDayOfMonth": _clock,
    "inSegment": _function(None, "string", gives="boolean"),
    "mapEntry": _function(None, "any", "any", gives="object"),
    "intersects": _set_predicate,
    "intersection": _function("array", "array", gives="array"),
    "subsetOf": _set_predicate,
    "supersetOf": _set_predicate,
    "includes": _function("array", "any", gives="boolean"),
    "distinct": _function("array", gives="array"),
    "groupBy": _function("array", "each", gives="array"),
    "filter": _function("array", "condition", gives="array"),
    "map": _function("array", "each", gives="unknown"),
    "exists": _function("array", "condition", gives="boolean"),
    "topN": _ranked,
    "bottomN": _ranked,
    "head": _function("array", gives="unknown"),
    "count": _function("array", "each", gives="integer", optional=1),
    "sum": _aggregate,
    "average": _aggregate,
    "min": _extreme,
    "max": _extreme,
    "get": _function("object", "string", gives="unknown"),
    "keys": _function("object", gives="array"),
    "values": _function("object", gives="array"),
    "isNull": _function("any", gives="boolean"),
    "isNotNull": _function("any", gives="boolean"),
    "startsWith": _string_predicate,
    "doesNotStartWith": _string_predicate,
    "endsWith": _string_predicate,
    "doesNotEndWith": _string_predicate,
    "contains": _string_predicate,
    "doesNotContain": _string_predicate,
    "equals": _string_predicate,
    "notEqualTo": _string_predicate,
    "matches": _function("string", "string", gives="boolean"),
    "regexGroup": _function("string", "string", "integer", gives="string", optional=1),
    "getMonth": _part_of_time,
    "getYear": _part_of_time,
    "getDayOfMonth": _part_of_time,
}
PER_ELEMENT = ("each", "condition")
