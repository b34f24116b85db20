"""What a schema comes to: all that it is composed of, as one tree of fields without references.

Callers write these documents, so every way of making one large, deep or endless is bounded here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tessera.domain.schema.errors import IncompatibleTypesError, SchemaError
from tessera.domain.schema.xdm import typed

# Fields that a row may have at most (contract: data-and-pql §5).
MAX_FIELDS = 10_000
MAX_DEPTH = 60
_MAX_NODES = 5 * MAX_FIELDS

CONSTRAINTS = (
    *("format", "pattern", "minLength", "maxLength", "enum", "const"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties"),
)
_ANNOTATIONS = ("title", "description", "default", "examples", "meta:enum", "meta:status", "meta:titleId")
# They change what a row must be, and nothing here says how such a value is converted: refused, rather than ignored.
_REFUSED = (
    *("anyOf", "oneOf", "not", "if", "then", "else", "patternProperties", "propertyNames", "contains"),
    *("dependencies", "dependentRequired", "dependentSchemas", "additionalItems", "prefixItems"),
    *("unevaluatedItems", "unevaluatedProperties", "$dynamicRef", "$recursiveRef"),
)
_FIELD_NAME = re.compile(r"[\w@:$-]{1,128}\Z")

Node = dict[str, Any]
Resolve = Callable[[str], Mapping[str, Any] | None]


def compose(resource: Mapping[str, Any], resolve: Resolve) -> Node:
    """Return a resource with its references resolved and its parts merged; ``resolve`` finds resources by ``$id``.

    Raises SchemaError.
    """
    return _Composition(resolve).root(resource)


def references(resource: Mapping[str, Any], resolve: Resolve) -> list[str]:
    """Return the ids of all resources that one is composed of, directly or not.

    Raises SchemaError.
    """
    composition = _Composition(resolve)
    composition.root(resource)
    return list(composition.referenced)


def merged(one: Node, other: Node, path: str = "", *, lenient: bool = False) -> Node:
    """Return the tree of what is in either of two trees.

    ``lenient`` is for a view of several schemas: where constraints differ it has none.
    Raises IncompatibleTypesError, and SchemaError for constraints that differ in a strict merge.
    """
    for key in ("type", "meta:xdmType"):
        if one[key] != other[key]:
            raise IncompatibleTypesError(path, (one[key], other[key]))
    result = dict(one)
    for key, value in other.items():
        before = result.get(key)
        if before is None:
            if not (lenient and key in CONSTRAINTS):
                result[key] = value
        elif key == "properties":
            result[key] = _merged_properties(before, value, path, lenient)
        elif key == "required":
            result[key] = [*before, *(name for name in value if name not in before)]
        elif key in {"items", "additionalProperties"} and isinstance(before, dict) and isinstance(value, dict):
            result[key] = merged(before, value, f"{path}/*", lenient=lenient)
        elif key not in _ANNOTATIONS and before != value:
            if not lenient:
                raise SchemaError(f"The path {path or '/'} is defined twice, with different {key}")
            result.pop(key)
    if lenient:
        result = {
            key: value for key, value in result.items() if key not in CONSTRAINTS or one.get(key) == other.get(key)
        }
    return result


def _merged_properties(one: Node, other: Node, path: str, lenient: bool) -> Node:
    result = dict(one)
    for name, field in other.items():
        known = result.get(name)
        result[name] = field if known is None else merged(known, field, f"{path}/{name}", lenient=lenient)
    return result


class _Composition:
    """One walk over a resource and what it refers to."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._nodes = 0
        self._fields = 0
        self.referenced: dict[str, None] = {}

    def root(self, resource: Mapping[str, Any]) -> Node:
        return self._node(resource, resource, (), 0, "")

    def _node(self, node: Any, root: Mapping[str, Any], trail: tuple[str, ...], depth: int, path: str) -> Node:
        if not isinstance(node, Mapping):
            raise SchemaError(f"{path or '/'}: a field must be described by a JSON object")
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > _MAX_NODES:
            raise SchemaError(f"The schema is too deep or too large at {path or '/'}: {MAX_DEPTH} levels are read")
        if "$ref" in node:
            return self._referred(node, root, trail, depth, path)
        if refused := [key for key in _REFUSED if key in node]:
            raise SchemaError(f"{path or '/'}: {refused[0]} is not supported")
        result: Node = {}
        for part in _list(node, "allOf", path):
            composed = self._node(part, root, trail, depth + 1, path)
            result = merged(result, composed, path) if result else composed
        own = self._own(node, root, trail, depth, path, bool(result))
        return merged(result, own, path) if result else own

    def _referred(
        self, node: Mapping[str, Any], root: Mapping[str, Any], trail: tuple[str, ...], depth: int, path: str
    ) -> Node:
        """Follow a reference; as in JSON Schema, only texts beside it count."""
        reference = node["$ref"]
        if not isinstance(reference, str):
            raise SchemaError(f"{path or '/'}: $ref must be a string")
        resource_id, _, pointer = reference.partition("#")
        target_root = self._resource(resource_id) if resource_id else root
        step = f"{target_root.get('$id', '')}#{pointer}"
        if step in trail:
            raise SchemaError(f"{path or '/'}: {reference} leads back to itself")
        target = self._node(_pointed(target_root, pointer, reference), target_root, (*trail, step), depth + 1, path)
        return {**target, **{key: node[key] for key in ("title", "description") if isinstance(node.get(key), str)}}

    def _resource(self, resource_id: str) -> Mapping[str, Any]:
        found = self._resolve(resource_id)
        if found is None:
            raise SchemaError(f"$ref {resource_id[:256]}: there is no such resource in this sandbox")
        self.referenced[resource_id] = None
        return found

    def _own(
        self,
        node: Mapping[str, Any],
        root: Mapping[str, Any],
        trail: tuple[str, ...],
        depth: int,
        path: str,
        rest: bool,
    ) -> Node:
        """Read what a node says itself; beside an ``allOf`` it is an object unless it says otherwise."""
        described = {"type": "object", **node} if rest else node
        result: Node = {key: node[key] for key in (*_ANNOTATIONS, *CONSTRAINTS) if key in node} | typed(described, path)
        if "properties" in node:
            if not isinstance(node["properties"], Mapping):
                raise SchemaError(f"{path or '/'}: properties must be a JSON object")
            result["properties"] = {
                name: self._field(name, field, root, trail, depth, path) for name, field in node["properties"].items()
            }
        if "items" in node:
            result["items"] = self._node(node["items"], root, trail, depth + 1, f"{path}/*")
        elif result["type"] == "array":
            raise SchemaError(f"{path or '/'}: an array needs items")
        additional = node.get("additionalProperties")
        if isinstance(additional, bool):
            result["additionalProperties"] = additional
        elif additional is not None:
            result["additionalProperties"] = self._node(additional, root, trail, depth + 1, f"{path}/*")
        if required := _list(node, "required", path):
            if not all(isinstance(name, str) for name in required):
                raise SchemaError(f"{path or '/'}: required must be an array of names")
            result["required"] = list(dict.fromkeys(required))
        return result

    def _field(
        self, name: str, field: Any, root: Mapping[str, Any], trail: tuple[str, ...], depth: int, path: str
    ) -> Node:
        if not _FIELD_NAME.match(name):
            raise SchemaError(f"{path or '/'}: a field's name has 1 to 128 letters, digits, '_' or '-': {name[:64]!r}")
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise SchemaError(f"A schema can have at most {MAX_FIELDS} fields")
        return self._node(field, root, trail, depth + 1, f"{path}/{name}")


def _pointed(root: Mapping[str, Any], pointer: str, reference: str) -> Any:
    found: Any = root
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, Mapping) else None
    if found is None:
        raise SchemaError(f"$ref {reference[:256]} leads nowhere")
    return found


def _list(node: Mapping[str, Any], key: str, path: str) -> list[Any]:
    value = node.get(key, [])
    if not isinstance(value, list):
        raise SchemaError(f"{path or '/'}: {key} must be an array")
    return value
