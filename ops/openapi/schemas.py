"""JSON schemas of the types that the API reads and answers, as components of one OpenAPI document."""

from __future__ import annotations

import re
from typing import Any

from pydantic import AliasChoices, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import ModelSchema

_PREFIX = "#/components/schemas/"
# Where the code says where a rule comes from; its readers are not the document's.
_SOURCE = re.compile(r"\s*\((?:[^()]*§[^()]*|ours)\)")


class Schemas:
    """Collects the types of a document: each gets a schema that is empty until all are known."""

    def __init__(self) -> None:
        self._wanted: list[tuple[Any, JsonSchemaValue]] = []

    def of(self, kind: Any) -> JsonSchemaValue:
        """Return the schema of a type, filled in by ``finish``."""
        schema: JsonSchemaValue = {}
        self._wanted.append((kind, schema))
        return schema

    def finish(self) -> dict[str, JsonSchemaValue]:
        """Fill in all schemas; return those they share, by name."""
        adapters = [(index, "validation", TypeAdapter(kind)) for index, (kind, _) in enumerate(self._wanted)]
        made, shared = TypeAdapter.json_schemas(
            adapters,  # type: ignore[arg-type]
            ref_template=_PREFIX + "{model}",
            union_format="primitive_type_array",
            schema_generator=_Generator,
        )
        definitions = shared.get("$defs", {})
        names = {name: _short(name) for name in definitions}
        if len(set(names.values())) < len(names):
            raise ValueError(f"Two schemas would have the same name: {sorted(names)}")
        for index, (_, schema) in enumerate(self._wanted):
            schema.update(_tidied(made[index, "validation"], names))
        return {
            short: _tidied(definitions[name], names) for short, name in sorted((names[name], name) for name in names)
        }


class _Generator(GenerateJsonSchema):
    """Writes every spelling of a field that is read under several names, and no titles."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        described = super().model_schema(schema)
        properties, required = described.get("properties", {}), described.get("required", [])
        for field in schema["cls"].model_fields.values():
            if not isinstance(field.validation_alias, AliasChoices):
                continue
            first, *others = [str(alias) for alias in field.validation_alias.choices]
            properties.update(dict.fromkeys(others, properties[first]))
            if first in required:
                required.remove(first)
                described["anyOf"] = [{"required": [name]} for name in (first, *others)]
        if not required:
            described.pop("required", None)
        return described


def plain(docstring: str) -> str:
    """Write a docstring as text for readers of the document."""
    unwrapped = re.sub(r"(?<!\n)\n(?!\n)", " ", _SOURCE.sub("", docstring))
    return re.sub(r" +", " ", unwrapped).replace("``", "`").strip()


def _tidied(schema: Any, names: dict[str, str]) -> Any:
    if isinstance(schema, list):
        return [_tidied(item, names) for item in schema]
    if not isinstance(schema, dict):
        return schema
    tidy: dict[str, Any] = {}
    for key, value in schema.items():
        if (key == "title" and isinstance(value, str)) or (key == "default" and value is None):
            continue
        if key == "$ref":
            tidy[key] = _PREFIX + names[value.removeprefix(_PREFIX)]
        elif key == "description" and isinstance(value, str):
            tidy[key] = plain(value)
        else:
            tidy[key] = _tidied(value, names)
    return tidy


def _short(name: str) -> str:
    """Write ``api__models__dataset__Patch`` as ``DatasetPatch``: modules tell apart what is called the same."""
    *modules, last = name.split("__")
    return "".join(part.capitalize() for part in modules[-1].split("_")) + last if modules else last
