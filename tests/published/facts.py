"""The facts of a JSON schema in an OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

ANY = frozenset({"array", "boolean", "null", "number", "object", "string"})
Schema = Mapping[str, Any]


@dataclass
class Facts:
    """The fields of a schema by path: their types, their values where they are listed, and which must be there.

    ``either`` lists names of which one must be there; ``open`` are objects that may hold anything.
    """

    types: dict[str, frozenset[str]] = field(default_factory=dict)
    values: dict[str, frozenset[str]] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    either: list[frozenset[str]] = field(default_factory=list)
    open: set[str] = field(default_factory=set)
    ours: set[str] = field(default_factory=set)

    def find(self, path: str) -> str | None:
        """Find a field by the path of another document: a name may be any key of a map here."""
        *_, last = self._walk(path)
        return last[0] if last else None

    def is_open(self, path: str) -> bool:
        """Tell whether a field may be there because something above it may hold anything."""
        return any(at in self.open for step in self._walk(path) for at in step)

    def _may_miss(self, path: str) -> bool:
        """Tell whether there may be an object here that the field would be in."""
        return "object" in self.types.get(path.rpartition(".")[0], ())

    def _walk(self, path: str) -> Iterator[list[str]]:
        known = [""]
        yield known
        for name in path.split(".") if path else ():
            known = [below for at in known for below in (_below(at, name), _below(at, "*")) if below in self.types]
            yield known

    def merge(self, other: Facts, *, alternative: bool) -> None:
        """Add what is said of the same value; of an alternative, what the other does not require is not required."""
        shared = self.types.keys() & other.types.keys() if alternative else set()
        if alternative:
            required = {path for path in self.required if path in other.required or not other._may_miss(path)}
            self.required = required | {
                path for path in other.required if path in self.required or not self._may_miss(path)
            }
        for path, types in other.types.items():
            self.types[path] = self.types.get(path, frozenset()) | types
        for path in (self.values.keys() & shared) - other.values.keys():
            if "string" in other.types[path]:
                del self.values[path]
        for path in self.values.keys() & other.values.keys():
            self.values[path] |= other.values[path]
        self.values |= {
            path: found for path, found in other.values.items() if path not in shared and path not in self.values
        }
        if not alternative:
            self.required |= other.required
        self.either += other.either
        self.open |= other.open
        self.ours |= other.ours


def facts(schema: Schema, document: Schema) -> Facts:
    """Collect the facts of a schema."""
    return _facts(schema, document, "")


def resolved(thing: Schema, document: Schema) -> Schema:
    """Follow a reference, if it is one."""
    while "$ref" in thing:
        target: Any = document
        for step in thing["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        thing = target
    return thing


def _facts(schema: Schema, document: Schema, at: str) -> Facts:
    marked = bool(schema.get("x-tessera"))
    schema = resolved(schema, document)
    found = Facts()
    if marked:
        found.ours.add(at)
    alternatives = [item for item in schema.get("anyOf", ()) if set(item) != {"required"}]
    if alternatives:
        parts = [_facts(item, document, at) for item in alternatives if item.get("type") != "null"]
        first, *others = parts
        found.merge(first, alternative=False)
        for part in others:
            found.merge(part, alternative=True)
        if len(parts) < len(alternatives):
            found.types[at] = found.types[at] | {"null"}
        return found
    for part in schema.get("allOf", ()):
        found.merge(_facts(part, document, at), alternative=False)
    types = _types(schema)
    if types == ANY:
        found.open.add(at)
    found.types[at] = found.types.get(at, frozenset()) | types
    if "enum" in schema or "const" in schema:
        found.values[at] = frozenset(map(str, schema.get("enum", [schema.get("const")])))
    for name, item in schema.get("properties", {}).items():
        found.merge(_facts(item, document, _below(at, name)), alternative=False)
    found.required |= {_below(at, name) for name in schema.get("required", ())}
    names = [item["required"][0] for item in schema.get("anyOf", ()) if set(item) == {"required"}]
    if names:
        found.either.append(frozenset(_below(at, name) for name in names))
    more = schema.get("additionalProperties")
    if isinstance(more, Mapping) and more:
        found.merge(_facts(more, document, _below(at, "*")), alternative=False)
    elif more is not None and more is not False:
        found.open.add(at)
    if "items" in schema:
        found.merge(_facts(schema["items"], document, _below(at, "*")), alternative=False)
    return found


def _types(schema: Schema) -> frozenset[str]:
    if "type" in schema:
        types = schema["type"]
        named = [types] if isinstance(types, str) else types
        # A whole number is a number: the published documents do not keep them apart.
        return frozenset("number" if name == "integer" else name for name in named)
    if "properties" in schema or "allOf" in schema:
        return frozenset({"object"})
    if "const" in schema:
        return frozenset({"string"})
    return ANY


def _below(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name
