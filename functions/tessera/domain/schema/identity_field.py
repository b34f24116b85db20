"""Which fields of a schema are identities, as its descriptors say (contract: profile-api §7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from tessera.domain.identity import Identity
from tessera.domain.schema.errors import SchemaError

IDENTITY = "xdm:descriptorIdentity"


@dataclass(frozen=True, slots=True)
class IdentityField:
    """A field that is an identity of a namespace; of a schema one at most is ``primary``."""

    path: tuple[str, ...]
    namespace: str
    primary: bool

    @classmethod
    def of(cls, descriptor: Mapping[str, Any], namespace: str) -> Self:
        """Read an identity descriptor whose namespace has this code."""
        path = tuple(descriptor["xdm:sourceProperty"].strip("/").split("/"))
        return cls(path, namespace, bool(descriptor.get("xdm:isPrimary", False)))

    def to_document(self) -> list[Any]:
        """Write it as it is stored with a version of its schema."""
        return [list(self.path), self.namespace, self.primary]

    @classmethod
    def from_document(cls, document: list[Any]) -> Self:
        """Read it from there."""
        path, namespace, primary = document
        return cls(tuple(path), namespace, primary)

    def value(self, row: Mapping[str, Any]) -> Any:
        """Find the field's value in a row, or ``None``."""
        found: Any = row
        for step in self.path:
            found = found.get(step) if isinstance(found, dict) else None
        return found


def expect_field(path: Iterable[str], composed: Mapping[str, Any]) -> None:
    """Check that a path leads to a string of a composed schema, not within an array or map; raises SchemaError."""
    node: Any = composed
    steps = tuple(path)
    for step in steps:
        node = node.get("properties", {}).get(step)
        if node is None:
            raise SchemaError(f"xdm:sourceProperty /{'/'.join(steps)} is no field of the schema")
    if node["meta:xdmType"] != "string":
        raise SchemaError(f"xdm:sourceProperty /{'/'.join(steps)} must be a string to be an identity")


def materialised(identity_map: Any, found: Iterable[tuple[str, str, bool]]) -> Any:
    """Return an identityMap with identities added that fields hold: code, value and whether it is the primary one.

    A primary identity of the schema takes the place of any that the row itself marks. A map that is none is left for
    whoever judges it.
    """
    if identity_map is not None and not _is_map(identity_map):
        return identity_map
    whole = {code: [dict(item) for item in items] for code, items in (identity_map or {}).items()}
    for code, value, primary in found:
        if primary:
            for item in (item for items in whole.values() for item in items):
                item.pop("primary", None)
        item = _entry(whole, code, value)
        if primary:
            item["primary"] = True
    return whole or identity_map


def _is_map(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(items, list) and all(isinstance(item, dict) for item in items) for items in value.values()
    )


def _entry(whole: dict[str, list[dict[str, Any]]], code: str, value: str) -> dict[str, Any]:
    spelled = next((known for known in whole if known.lower() == code.lower()), code)
    items = whole.setdefault(spelled, [])
    wanted = Identity.of(code, value)
    for item in items:
        if Identity.of(code, str(item.get("id"))) == wanted:
            return item
    items.append({"id": value})
    return items[-1]
