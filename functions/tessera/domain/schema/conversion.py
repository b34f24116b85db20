"""Conversion of a row's values to the types of its schema (contract: data-and-pql §4.3).

| value | becomes, where the schema wants it |
|---|---|
| string | a number, if that is all it says; a date-time in the one form that is stored |
| number | a string; an integer, if it is one |
| integer | a date or a date-time, as milliseconds since 1970 |

Booleans, arrays and objects become nothing else. What cannot be converted stays as it is, for validation to refuse.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from tessera.domain.schema.xdm import LONG
from tessera.domain.times import iso_ms, parse_ms

_INTEGER = re.compile(r"[+-]?\d{1,16}(?:\.0{1,16})?\Z", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d{1,300}(\.\d{1,300})?([eE][+-]?\d{1,3})?\Z", re.ASCII)
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:[zZ]|[+-]\d\d(?::?\d\d)?)?\Z", re.ASCII
)
_INFINITY = float("inf")


def convert(row: dict[str, Any], schema: dict[str, Any]) -> None:
    """Convert the values of a row in place."""
    properties, additional = schema.get("properties", {}), schema.get("additionalProperties")
    for name, value in row.items():
        field = properties.get(name, additional)
        if isinstance(field, dict):
            row[name] = _converted(value, field)


def _converted(value: Any, field: dict[str, Any]) -> Any:
    kind = field["type"]
    if isinstance(value, dict):
        if kind == "object":
            convert(value, field)
        return value
    if isinstance(value, list):
        return [_converted(item, field["items"]) for item in value] if kind == "array" else value
    if isinstance(value, str):
        return _of_text(value, field)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _of_number(value, field)
    return value


def _of_text(value: str, field: dict[str, Any]) -> Any:
    match field["type"]:
        case "integer" if _INTEGER.match(value):
            return int(value.partition(".")[0])
        case "number" if match := _NUMBER.match(value):
            number = float(value)
            if match.lastindex is None and abs(number) <= LONG:
                return int(value)
            return number if abs(number) < _INFINITY else value
        case "string" if field.get("format") == "date-time" and _DATE_TIME.match(value):
            try:
                return iso_ms(parse_ms(value.upper()))
            except (ValueError, OverflowError):
                return value
    return value


def _of_number(value: float, field: dict[str, Any]) -> Any:
    match field["type"]:
        case "integer" if isinstance(value, float) and value.is_integer() and abs(value) <= LONG:
            return int(value)
        case "string":
            form = field.get("format")
            if form not in {"date", "date-time"}:
                return orjson.dumps(value).decode()
            if isinstance(value, int):
                try:
                    moment = iso_ms(value)
                except OverflowError:
                    return value
                return moment if form == "date-time" else moment[:10]
    return value
