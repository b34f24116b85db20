"""How a resource of the registry is shown, as the ``Accept`` header asks.

``application/vnd.adobe.xed-full-notext+json; version=1`` asks for what a resource comes to, without texts. A header
that asks for nothing of the kind gets the resource as it was made: no caller is refused for it (contract: profile-api
§1.2).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tessera.domain.schema.composition import Node
from tessera.domain.schema.errors import ResourceNotFoundError

_MEDIA = re.compile(r"vnd\.adobe\.(?:xed|xdm)((?:-[a-z0-9]+)*)\+json", re.IGNORECASE)
_VERSION = re.compile(r"version\s*=\s*\"?(\d{1,4})(?:\.\d{1,4})?", re.IGNORECASE)
_SUMMARY = ("$id", "meta:altId", "version", "title")
_TEXTS = ("title", "description")
# What the composed tree says itself.
_COMPOSED_OF = frozenset({"allOf", "definitions", "properties", "required", "type", "items", "additionalProperties"})

Resource = Mapping[str, Any]


@dataclass(frozen=True)
class View:
    """What a caller wants to see. ``major`` is the version asked for, if one is."""

    options: frozenset[str]
    major: int | None

    @classmethod
    def read(cls, accept: str) -> Self:
        """Read an ``Accept`` header."""
        media, version = _MEDIA.search(accept), _VERSION.search(accept)
        options = media.group(1).lower().split("-")[1:] if media else []
        return cls(frozenset(options), int(version.group(1)) if version else None)

    @property
    def brief(self) -> bool:
        """Whether only ids are wanted."""
        return "id" in self.options

    def shown(
        self, resource: Resource, composed: Callable[[], Node], descriptors: Callable[[], Sequence[Resource]]
    ) -> dict[str, Any]:
        """Return the resource as it is wanted; what it is composed of and described by is looked up only for that.

        Raises ResourceNotFoundError for another major version than there is.
        """
        if self.major not in (None, int(resource["version"].partition(".")[0])):
            raise ResourceNotFoundError(resource["meta:resourceType"], f"{resource['$id']} with version {self.major}")
        result = dict(resource)
        if self.options & {"full", "flat"}:
            tree = composed()
            result = {key: value for key, value in resource.items() if key not in _COMPOSED_OF}
            result |= {key: value for key, value in tree.items() if key not in _TEXTS}
            if "flat" in self.options:
                result["properties"] = dict(_flat(tree, ""))
        if "notext" in self.options:
            result = _without_texts(result)
        if "desc" in self.options:
            result["meta:descriptors"] = list(descriptors())
        return result


def summary(resource: Resource) -> dict[str, Any]:
    """Return what names a resource."""
    return {key: resource[key] for key in _SUMMARY}


def _flat(node: Node, path: str) -> list[tuple[str, Node]]:
    """Return the fields that hold no others by their paths."""
    found: list[tuple[str, Node]] = []
    for name, field in node.get("properties", {}).items():
        here = f"{path}/{name}" if path else name
        inner = field
        while inner.get("type") == "array":
            here, inner = f"{here}[*]", inner["items"]
        found += _flat(inner, here) if inner.get("properties") else [(here, inner)]
    return found


def _without_texts(node: Any) -> Any:
    """Take titles and descriptions away, but not fields that are called so."""
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if not (key in _TEXTS and isinstance(value, str))}
    for key in ("properties", "definitions"):
        if isinstance(kept.get(key), dict):
            kept[key] = {name: _without_texts(field) for name, field in kept[key].items()}
    for key in ("items", "additionalProperties"):
        if key in kept:
            kept[key] = _without_texts(kept[key])
    if isinstance(kept.get("allOf"), list):
        kept["allOf"] = [_without_texts(part) for part in kept["allOf"]]
    return kept
