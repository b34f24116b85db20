"""A version of a schema made ready for rows.

Nearly all rows are right as they come, and for these one call of the validator is all. Only when that says no are the
row's values converted and what is then still wrong looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from tessera.domain.rows import BAD_VALUE, MISSING, WRONG_TYPE, RowError, Violation
from tessera.domain.schema.composition import CONSTRAINTS
from tessera.domain.schema.conversion import converter
from tessera.domain.schema.errors import SchemaError
from tessera.domain.schema.identity_field import IdentityField
from tessera.domain.schema.xdm import bounds

if TYPE_CHECKING:
    import jsonschema_rs

# What is told of one row (contract: data-and-pql §4.5).
MAX_VIOLATIONS = 5
_MAX_PATTERN_BYTES = 1_000_000

# Formats that draft 4 does not know.
_NEWER_FORMATS = ("uuid", "uri-reference", "iri", "duration", "json-pointer")
_CODES = {"required": MISSING, "type": WRONG_TYPE}


class CompiledSchema:
    """Judges the rows of datasets of a schema; ``partial`` rows need not have the fields that are required."""

    def __init__(
        self, schema: Mapping[str, Any], identities: Sequence[IdentityField], *, partial: bool = False
    ) -> None:
        """Take a schema as ``for_rows`` makes it; raises SchemaError for one that no validator reads."""
        judging = without_required(schema) if partial else dict(schema)
        self._identities = tuple(identities)
        self._validator = _validator(judging)
        self._convert = converter(judging)

    def conform(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the row, its values converted in place where that makes it right.

        Raises RowError with what is wrong, the first few violations of it.
        """
        if not self._validator.is_valid(row):
            self._convert(row)
            if not self._validator.is_valid(row):
                raise self._refusal(row)
        return row

    def identities(self, row: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
        """Return the identities that fields of the row hold: code, value, and whether it is the primary one.

        Raises RowError when the primary one is missing (contract: data-and-pql §4.5, records).
        """
        found = []
        for field in self._identities:
            value = field.value(row)
            if isinstance(value, str) and value:
                found.append((field.namespace, value, field.primary))
            elif field.primary:
                pointer = "/" + "/".join(field.path)
                message = f"the primary identity {pointer} is missing or null"
                raise RowError(MISSING, message, [Violation("required", message, pointer, "#/required")])
        return found

    def _refusal(self, row: Mapping[str, Any]) -> RowError:
        violations = [_violation(error) for error in islice(self._validator.iter_errors(row), MAX_VIOLATIONS)]
        keywords = {violation.keyword for violation in violations}
        code = next((code for keyword, code in _CODES.items() if keyword in keywords), BAD_VALUE)
        return RowError(code, "; ".join(violation.message for violation in violations), violations)


def _validator(schema: dict[str, Any]) -> jsonschema_rs.Draft4Validator:
    # Here, because it takes long to load, and whoever only reads schemas needs none.
    import jsonschema_rs  # noqa: PLC0415

    newer = jsonschema_rs.Draft202012Validator
    try:
        return jsonschema_rs.Draft4Validator(
            schema,
            validate_formats=True,
            formats={name: newer({"format": name}, validate_formats=True).is_valid for name in _NEWER_FORMATS},
            # Nothing that a caller writes is fetched, and patterns take time linear in the text.
            offline=True,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=_MAX_PATTERN_BYTES),
            mask="the value",
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise SchemaError(f"The schema cannot be used: {str(error).partition(chr(10))[0][:256]}") from None


def for_rows(composed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a composed schema rows are judged by, in the draft of JSON Schema whose integers are no floats.

    The identityMap is left out: whoever reads the identities judges it.
    """
    schema = _node(composed)
    schema.get("properties", {}).pop("identityMap", None)
    return schema


def expect_usable(composed: Mapping[str, Any]) -> None:
    """Check that rows could be judged by a composed resource; raises SchemaError."""
    CompiledSchema(for_rows(composed), ())


def without_required(schema: Any) -> Any:
    """Return a schema for rows in which nothing is required."""
    kept = {key: value for key, value in schema.items() if key != "required"}
    if "properties" in kept:
        kept["properties"] = {name: without_required(field) for name, field in kept["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = without_required(kept[key])
    return kept


def _node(node: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"type": node["type"]} | {key: node[key] for key in CONSTRAINTS if key in node}
    if "const" in made:
        made["enum"] = [made.pop("const")]
    if node["type"] == "integer":
        _bound(made, *bounds(node))
    _exclusive(made, "minimum", "exclusiveMinimum", lambda exclusive, plain: exclusive >= plain)
    _exclusive(made, "maximum", "exclusiveMaximum", lambda exclusive, plain: exclusive <= plain)
    if node.get("required"):
        made["required"] = node["required"]
    if "properties" in node:
        made["properties"] = {name: _node(field) for name, field in node["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in node:
            made[key] = _node(node[key]) if isinstance(node[key], dict) else node[key]
    return made


def _bound(made: dict[str, Any], low: int, high: int) -> None:
    """Hold an integer within its type, unless the schema is stricter."""
    for key, limit, stricter in (("minimum", low, max), ("maximum", high, min)):
        given = made.get(key, limit)
        if _is_number(given):
            made[key] = stricter(given, limit)


def _exclusive(made: dict[str, Any], plain: str, exclusive: str, stricter: Callable[[Any, Any], bool]) -> None:
    """Say an exclusive limit as draft 4 does: the limit, and that it is exclusive."""
    value = made.get(exclusive)
    if not _is_number(value):
        return
    if _is_number(made.get(plain)) and not stricter(value, made[plain]):
        del made[exclusive]
    else:
        made |= {plain: value, exclusive: True}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _violation(error: jsonschema_rs.ValidationError) -> Violation:
    keyword = error.kind.name
    path = [str(step) for step in error.instance_path]
    if keyword == "required":
        path.append(str(error.kind.as_dict()["property"]))
        message = f"the required field /{'/'.join(path)} is missing or null"
    else:
        message = f"/{'/'.join(path)}: {error.message}"
    return Violation(keyword, message, "/" + "/".join(path), "#/" + "/".join(map(str, error.schema_path)))
