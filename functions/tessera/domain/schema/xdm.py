"""Field types: those of XDM, and JSON Schema's for them (contract: data-and-pql §4.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tessera.domain.schema.errors import SchemaError

# What JavaScript holds exactly, as the registry defines a long.
LONG = 2**53
_RANGES = {"byte": 2**7, "short": 2**15, "int": 2**31, "long": LONG}
_JSON_TYPES = {
    "string": "string",
    "date": "string",
    "date-time": "string",
    "boolean": "boolean",
    **dict.fromkeys(_RANGES, "integer"),
    "double": "number",
    "number": "number",
    "integer": "integer",
    "object": "object",
    "map": "object",
    "array": "array",
}
_TIMES = ("date", "date-time")

Field = Mapping[str, Any]


def typed(field: Field, path: str) -> dict[str, Any]:
    """Return the type of a field in full: ``type``, ``meta:xdmType``, and ``format`` of times.

    A field that says one of the first two has said both. Raises SchemaError.
    """
    said, xdm = field.get("type"), field.get("meta:xdmType")
    kind = said if said is not None else _implied(field, xdm)
    if not isinstance(kind, str) or kind not in set(_JSON_TYPES.values()):
        raise SchemaError(f"{path or '/'}: a field needs a type: one of {', '.join(sorted(set(_JSON_TYPES.values())))}")
    wanted = _JSON_TYPES.get(xdm) if isinstance(xdm, str) else None
    if wanted is not None and wanted != kind:
        raise SchemaError(f"{path or '/'}: meta:xdmType {xdm} is of the type {wanted}, not {kind}")
    full = {"type": kind, "meta:xdmType": xdm if wanted is not None else _xdm_type(kind, field)}
    if full["meta:xdmType"] in _TIMES:
        full["format"] = full["meta:xdmType"]
    return full


def bounds(field: Field) -> tuple[int, int]:
    """Say between which numbers an integer of the field's XDM type lies, both included."""
    limit = _RANGES.get(field["meta:xdmType"], LONG)
    return (-limit, limit) if limit == LONG else (-limit, limit - 1)


def _implied(field: Field, xdm: object) -> str | None:
    if isinstance(xdm, str) and xdm in _JSON_TYPES:
        return _JSON_TYPES[xdm]
    if "properties" in field or "additionalProperties" in field or "allOf" in field:
        return "object"
    return "array" if "items" in field else None


def _xdm_type(kind: str, field: Field) -> str:
    if kind == "string" and field.get("format") in _TIMES:
        return str(field["format"])
    if kind == "object" and isinstance(field.get("additionalProperties"), Mapping) and not field.get("properties"):
        return "map"
    if kind == "integer":
        low, high = field.get("minimum"), field.get("maximum")
        if isinstance(low, int | float) and isinstance(high, int | float):
            return next((name for name, limit in _RANGES.items() if -limit <= low and high <= limit), "long")
        return "long"
    return "double" if kind == "number" else kind
