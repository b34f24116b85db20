"""How a schema that rows were accepted by may change: what was accepted stays so, but new fields may be required."""

from __future__ import annotations

from typing import Any

from tessera.domain.schema.composition import CONSTRAINTS
from tessera.domain.schema.errors import SchemaError

Node = dict[str, Any]

# A smaller number accepts more, or a larger one does.
_LOWER_BOUNDS = ("minLength", "minimum", "exclusiveMinimum", "minItems", "minProperties")
_UPPER_BOUNDS = ("maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties")


def expect_additive(before: Node, after: Node, path: str = "") -> None:
    """Compare two composed schemas; raises SchemaError for a change that is not only an addition."""
    where = path or "/"
    for key in ("type", "meta:xdmType"):
        if before[key] != after[key]:
            raise _breaking(where, f"changes its type from {before[key]} to {after[key]}")
    for key in CONSTRAINTS:
        if not _accepts_as_much(key, before.get(key), after.get(key)):
            raise _breaking(where, f"restricts its values by another {key}")
    for name, field in before.get("properties", {}).items():
        if name not in after.get("properties", {}):
            raise _breaking(f"{path}/{name}", "is removed")
        expect_additive(field, after["properties"][name], f"{path}/{name}")
    for key in ("items", "additionalProperties"):
        one, other = before.get(key, True), after.get(key, True)
        if isinstance(one, dict) and isinstance(other, dict):
            expect_additive(one, other, f"{path}/*")
        elif other not in (one, True):
            raise _breaking(where, f"restricts its values by another {key}")


def _accepts_as_much(key: str, before: Any, after: Any) -> bool:
    if after is None or after == before:
        return True
    if before is None:
        return False
    if key == "enum" and isinstance(before, list) and isinstance(after, list):
        return all(value in after for value in before)
    if isinstance(before, bool) or isinstance(after, bool):
        return False
    if key in _LOWER_BOUNDS:
        return bool(after <= before)
    return bool(after >= before) if key in _UPPER_BOUNDS else False


def _breaking(where: str, what: str) -> SchemaError:
    return SchemaError(
        f"{where} {what}: a schema that a dataset uses or that is enabled for Profile can only be added to"
    )
