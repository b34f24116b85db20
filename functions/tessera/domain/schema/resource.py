"""The resources of the registry: schemas, and the classes, field groups and data types that they are composed of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from tessera.domain.configuration import DatasetKind
from tessera.domain.schema.composition import Resolve
from tessera.domain.schema.errors import SchemaError

UNION_TAG = "union"
UNION_SUFFIX = "__union"
RECORD = "https://ns.adobe.com/xdm/data/record"
TIME_SERIES = "https://ns.adobe.com/xdm/data/time-series"
PROFILE_CLASS = "https://ns.adobe.com/xdm/context/profile"
EVENT_CLASS = "https://ns.adobe.com/xdm/context/experienceevent"

_NAMESPACE = "https://ns.adobe.com/"
_BEHAVIOURS: Mapping[str, DatasetKind] = {RECORD: DatasetKind.RECORD, TIME_SERIES: DatasetKind.EVENT}


class Kind(StrEnum):
    """What a resource is, by the name that its id has."""

    SCHEMA = "schemas"
    CLASS = "classes"
    FIELD_GROUP = "mixins"
    DATA_TYPE = "datatypes"
    BEHAVIOUR = "behaviors"


# Set by the service alone; a caller may send them back as they were read, and nothing comes of it.
SERVER_OWNED = frozenset(
    {
        *("$id", "meta:altId", "meta:resourceType", "version", "imsOrg", "meta:extends", "meta:class"),
        *("meta:registryMetadata", "meta:containerId", "meta:sandboxId", "meta:sandboxType", "meta:tenantNamespace"),
        *("meta:descriptors", "meta:xdmType", "meta:abstract", "meta:extensible"),
    }
)


def alt_id(resource_id: str) -> str:
    """Write an id with dots, as ``_xdm.context.profile``."""
    return "_" + resource_id.removeprefix(_NAMESPACE).replace("/", ".")


def id_of(text: str) -> str:
    """Read an id or its form with dots; what is neither comes back as it is."""
    if text.startswith("http"):
        # What decodes paths on the way may have made one slash of two.
        return re.sub(r"\Ahttps?:/+", "https://", text)
    return _NAMESPACE + text[1:].replace(".", "/") if text.startswith("_") else text


def tenant_resource_id(namespace: str, kind: Kind, key: str) -> str:
    """Make the id of an organisation's own resource; ``namespace`` is the name of its fields, as ``_acme``."""
    return f"{_NAMESPACE}{namespace.removeprefix('_')}/{kind}/{key}"


def class_of(schema: Mapping[str, Any], resolve: Resolve) -> tuple[str, Mapping[str, Any]]:
    """Find the one class that a schema is composed of: its id and the class.

    Raises SchemaError.
    """
    found = [(part, known) for part in referred(schema) if (known := resolve(part)) and _is(known, Kind.CLASS)]
    if len({part for part, _ in found}) != 1:
        raise SchemaError(f"allOf must refer to one class, and it refers to {len(found)}")
    return found[0]


def kind_of(its_class: Mapping[str, Any]) -> DatasetKind:
    """Say what rows of a class are, by the behaviour that it refers to.

    Raises SchemaError.
    """
    found = {_BEHAVIOURS[part] for part in referred(its_class) if part in _BEHAVIOURS}
    if len(found) != 1:
        raise SchemaError(f"allOf of a class must refer to {RECORD} or {TIME_SERIES}")
    return found.pop()


def in_union(schema: Mapping[str, Any]) -> bool:
    """Tell whether a schema is enabled for Profile.

    Raises SchemaError for tags that are none.
    """
    tags = schema.get("meta:immutableTags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise SchemaError("meta:immutableTags must be an array of strings")
    return UNION_TAG in tags


def referred(resource: Mapping[str, Any]) -> Iterator[str]:
    """Walk the ids of the other resources that a resource refers to in its ``allOf``."""
    parts = resource.get("allOf")
    for part in parts if isinstance(parts, list) else ():
        reference = part.get("$ref") if isinstance(part, Mapping) else None
        if isinstance(reference, str) and not reference.startswith("#"):
            yield reference


def _is(resource: Mapping[str, Any], kind: Kind) -> bool:
    return bool(resource.get("meta:resourceType") == kind)
