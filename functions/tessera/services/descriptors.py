"""Descriptors: what is said of the fields of schemas. Those of identities have an effect, the others are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from secrets import token_hex
from typing import Any

import orjson

from tessera.domain.configuration import Configuration
from tessera.domain.schema.errors import ResourceNotFoundError, SchemaError
from tessera.domain.schema.identity_field import IDENTITY
from tessera.domain.schema.resource import Kind
from tessera.domain.tenant import Tenant
from tessera.services.schema_store import Resource, SchemaStore, State, descriptor_partition, namespace_code

MAX_DESCRIPTORS = 4000
MAX_DESCRIPTOR_BYTES = 10_000

TYPES = frozenset(
    {
        *(IDENTITY, "xdm:alternateDisplayInfo", "xdm:descriptorOneToOne", "xdm:descriptorReferenceIdentity"),
        *("xdm:descriptorDeprecated", "xdm:descriptorTimeSeriesGranularity", "xdm:descriptorRelationship"),
        *("xdm:descriptorTimestamp", "xdm:descriptorVersion", "xdm:descriptorPrimaryKey", "xdm:descriptorLabel"),
    }
)
SERVER_OWNED = frozenset(
    {
        *("@id", "created", "updated", "createdClient", "createdUser", "updatedUser", "imsOrg"),
        *("meta:containerId", "meta:sandboxId", "meta:sandboxType"),
    }
)
_WITHOUT_PROPERTY = frozenset({"xdm:descriptorTimeSeriesGranularity"})


class Descriptors:
    """Creates, reads, replaces and deletes descriptors."""

    def __init__(self, store: SchemaStore) -> None:
        self._store = store

    def get(self, tenant: Tenant, descriptor_id: str) -> Resource:
        """Read a descriptor.

        Raises ResourceNotFoundError.
        """
        known = len(descriptor_id) <= 64 and descriptor_id
        found = self._store.documents.get(descriptor_partition(tenant), descriptor_id) if known else None
        if found is None:
            raise ResourceNotFoundError("descriptors", descriptor_id)
        return found

    def each(self, tenant: Tenant) -> Iterator[Resource]:
        """Walk the sandbox's descriptors."""
        for _, descriptor in self._store.documents.each(descriptor_partition(tenant)):
            yield descriptor

    def create(self, tenant: Tenant, sandbox: tuple[str, str], caller: str, body: Resource) -> Resource:
        """Create a descriptor from what a caller says of it; ``sandbox`` is its id and type.

        Raises SchemaError.
        """
        now = self._store.clock()
        descriptor_id = token_hex(20)
        fixed = {
            "@id": descriptor_id,
            "imsOrg": tenant.org_id,
            "created": now,
            "updated": now,
            "createdClient": caller,
            "createdUser": caller,
            "updatedUser": caller,
            "meta:containerId": "tenant",
            "meta:sandboxId": sandbox[0],
            "meta:sandboxType": sandbox[1],
        }

        def add(state: State, configuration: Configuration) -> tuple[State, set[str]]:
            if len(state.descriptors) >= MAX_DESCRIPTORS:
                raise SchemaError(f"A sandbox can have at most {MAX_DESCRIPTORS} descriptors")
            return _with(state, {**_checked(body, state, configuration), **fixed})

        return self._store.commit(tenant, add).descriptors[descriptor_id]

    def replace(self, tenant: Tenant, caller: str, descriptor_id: str, body: Resource) -> Resource:
        """Replace what a caller says of a descriptor; its type and its schema stay.

        Raises ResourceNotFoundError and SchemaError.
        """

        def replaced(state: State, configuration: Configuration) -> tuple[State, set[str]]:
            before = _existing(state, descriptor_id)
            after = _checked(body, state, configuration)
            for key in ("@type", "xdm:sourceSchema"):
                if after[key] != before[key]:
                    raise SchemaError(f"{key} of a descriptor cannot be changed: create another")
            kept = {key: before[key] for key in SERVER_OWNED if key in before}
            return _with(state, {**after, **kept, "updated": self._store.clock(), "updatedUser": caller})

        return self._store.commit(tenant, replaced).descriptors[descriptor_id]

    def delete(self, tenant: Tenant, descriptor_id: str) -> None:
        """Delete a descriptor.

        Raises ResourceNotFoundError, and SchemaError for the primary identity of a schema in use.
        """

        def without(state: State, _: Configuration) -> tuple[State, set[str]]:
            before = _existing(state, descriptor_id)
            kept = {key: one for key, one in state.descriptors.items() if key != descriptor_id}
            return State(state.own, kept), {before["xdm:sourceSchema"]}

        self._store.commit(tenant, without)


def _existing(state: State, descriptor_id: str) -> Resource:
    found = state.descriptors.get(descriptor_id)
    if found is None:
        raise ResourceNotFoundError("descriptors", descriptor_id)
    return found


def _with(state: State, descriptor: Resource) -> tuple[State, set[str]]:
    """Return the state with a descriptor added or replaced: no two identities of a schema are of the same field."""
    place = _place(descriptor)
    for other in state.of_schema(descriptor["xdm:sourceSchema"]):
        if other["@id"] != descriptor["@id"] and descriptor["@type"] == IDENTITY and _place(other) == place:
            raise SchemaError(f"{descriptor['xdm:sourceProperty']} has an identity descriptor already: {other['@id']}")
    after = State(state.own, {**state.descriptors, descriptor["@id"]: descriptor})
    return after, {descriptor["xdm:sourceSchema"]}


def _place(descriptor: Resource) -> tuple[str, str]:
    return descriptor["@type"], descriptor.get("xdm:sourceProperty", "")


def _checked(body: Resource, state: State, configuration: Configuration) -> dict[str, Any]:
    own = {key: value for key, value in body.items() if key not in SERVER_OWNED and value is not None}
    kind = own.get("@type")
    if not isinstance(kind, str) or kind not in TYPES:
        raise SchemaError(f"@type must be one of {', '.join(sorted(TYPES))}")
    schema = state.own.get(str(own.get("xdm:sourceSchema")))
    if schema is None or schema["meta:resourceType"] != Kind.SCHEMA:
        raise SchemaError("xdm:sourceSchema must be the $id of a schema of the sandbox")
    path = own.get("xdm:sourceProperty")
    if kind not in _WITHOUT_PROPERTY and not (isinstance(path, str) and path.startswith("/") and path.strip("/")):
        raise SchemaError("xdm:sourceProperty must be a path to a field, with '/' at its beginning")
    if kind == IDENTITY:
        _check_identity(own, configuration)
    if len(orjson.dumps(own)) > MAX_DESCRIPTOR_BYTES:
        raise SchemaError(f"A descriptor can have at most {MAX_DESCRIPTOR_BYTES:,} bytes")
    return own


def _check_identity(own: Mapping[str, Any], configuration: Configuration) -> None:
    if not isinstance(own.get("xdm:isPrimary", False), bool):
        raise SchemaError("xdm:isPrimary must be true or false")
    if own.get("xdm:property", "xdm:code") not in ("xdm:code", "xdm:id"):
        raise SchemaError("xdm:property must be xdm:code or xdm:id")
    namespace_code(own, configuration)
