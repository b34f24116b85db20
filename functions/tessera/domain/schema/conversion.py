"""Conversion of a row's values to the types of its schema (contract: data-and-pql §4.3).

| value | becomes, where the schema wants it |
|---|---|
| string | a number, if that is all it says; a date-time in the one form that is stored |
| number | a string; an integer, if it is one |
| integer | a date or a date-time, as milliseconds since 1970 |

Booleans, arrays and objects become nothing else. What cannot be converted stays as it is, for validation to refuse.

A schema is made into functions once, for rows that need it need it in most of their values: whoever exports numbers as
text exports all of them so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from tessera.domain.schema.xdm import LONG
from tessera.domain.times import iso_ms, parse_ms

_INTEGER = re.compile(r"[+-]?\d{1,16}(?:\.0{1,16})?\Z", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d{1,300}(\.\d{1,300})?([eE][+-]?\d{1,3})?\Z", re.ASCII)
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:[zZ]|[+-]\d\d(?::?\d\d)?)?\Z", re.ASCII
)
_STORED_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z", re.ASCII)
_INFINITY = float("inf")

Convert = Callable[[Any], Any]


def converter(schema: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Make what converts the values of a row of this schema, in place."""
    properties, additional = schema.get("properties", {}), schema.get("additionalProperties")
    fields = {name: _of_field(field) if isinstance(field, dict) else None for name, field in properties.items()}
    others = _of_field(additional) if isinstance(additional, dict) else None

    def convert(row: dict[str, Any]) -> None:
        for name, value in row.items():
            of_field = fields.get(name, others)
            if of_field is not None:
                row[name] = of_field(value)

    return convert


def _of_field(field: dict[str, Any]) -> Convert | None:
    """Make what converts a value of a field; ``None`` where nothing becomes what the field wants."""
    match field["type"]:
        case "object":
            return _of_object(converter(field))
        case "array":
            of_item = _of_field(field["items"]) if "items" in field else None
            return None if of_item is None else _of_array(of_item)
        case "integer":
            return _integer
        case "number":
            return _number
        case "string":
            of_text: Convert = _OF_FORMAT.get(field.get("format", ""), _text)
            return of_text
    return None


def _of_object(convert: Callable[[dict[str, Any]], None]) -> Convert:
    def of_object(value: Any) -> Any:
        if isinstance(value, dict):
            convert(value)
        return value

    return of_object


def _of_array(of_item: Convert) -> Convert:
    def of_array(value: Any) -> Any:
        return [of_item(item) for item in value] if isinstance(value, list) else value

    return of_array


def _integer(value: Any) -> Any:
    if isinstance(value, str):
        return int(value.partition(".")[0]) if _INTEGER.match(value) else value
    if isinstance(value, float) and value.is_integer() and abs(value) <= LONG:
        return int(value)
    return value


def _number(value: Any) -> Any:
    if not isinstance(value, str) or (match := _NUMBER.match(value)) is None:
        return value
    number = float(value)
    if match.lastindex is None and abs(number) <= LONG:
        return int(value)
    return number if abs(number) < _INFINITY else value


def _text(value: Any) -> Any:
    if isinstance(value, str) or not _is_number(value):
        return value
    return orjson.dumps(value).decode()


def _date_time(value: Any) -> Any:
    if isinstance(value, str):
        if _STORED_DATE_TIME.match(value) or not _DATE_TIME.match(value):
            return value
        try:
            return iso_ms(parse_ms(value.upper()))
        except (ValueError, OverflowError):
            return value
    return _moment(value)


def _date(value: Any) -> Any:
    moment = _moment(value)
    return moment if moment is value else moment[:10]


def _moment(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return iso_ms(value)
        except OverflowError:
            return value
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_OF_FORMAT: dict[str, Convert] = {"date-time": _date_time, "date": _date}
