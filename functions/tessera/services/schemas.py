"""The resources of the registry of schemas: schemas, classes, field groups and data types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from secrets import token_hex
from typing import Any

import orjson

from tessera.domain.computed.attribute import schema_namespace
from tessera.domain.configuration import Configuration
from tessera.domain.schema.compiled import expect_usable
from tessera.domain.schema.composition import Node, compose, references
from tessera.domain.schema.errors import ResourceNotFoundError, SchemaError, TitleTakenError
from tessera.domain.schema.resource import (
    SERVER_OWNED,
    Kind,
    alt_id,
    class_of,
    id_of,
    kind_of,
    referred,
    tenant_resource_id,
)
from tessera.domain.tenant import Tenant
from tessera.services.schema_store import Resource, SchemaStore, State, in_use

MAX_RESOURCES = 1000
MAX_RESOURCE_BYTES = 200_000
MAX_TITLE_LENGTH = 256
# One transaction carries as many documents, besides the configuration.
_MOST_DELETED = 80


class SchemaRegistry:
    """Creates, reads, changes and deletes resources."""

    def __init__(self, store: SchemaStore) -> None:
        self._store = store

    def get(self, tenant: Tenant, kind: Kind, text: str) -> Resource:
        """Read a resource of the sandbox or a built-in one by its id in either form.

        Raises ResourceNotFoundError.
        """
        resource_id = id_of(text)
        found = self._store.find(tenant, resource_id)
        if found is None or found["meta:resourceType"] != kind:
            raise ResourceNotFoundError(kind, text)
        return found

    def each(self, tenant: Tenant, kind: Kind) -> Iterator[Resource]:
        """Walk the sandbox's own resources of a kind."""
        return self._store.each(tenant, kind)

    def composed(self, tenant: Tenant, resource: Resource) -> Node:
        """Return what a resource is composed of as one tree."""
        return compose(resource, lambda resource_id: self._store.find(tenant, resource_id))

    def create(self, tenant: Tenant, sandbox: tuple[str, str], caller: str, kind: Kind, body: Resource) -> Resource:
        """Create a resource from what a caller says of it; ``sandbox`` is its id and type.

        Raises SchemaError.
        """
        now = self._store.clock()
        namespace = schema_namespace(tenant.org_id)
        resource_id = tenant_resource_id(namespace, kind, token_hex(24))
        fixed = {
            "$id": resource_id,
            "meta:altId": alt_id(resource_id),
            "meta:resourceType": kind.value,
            "version": "1.0",
            "imsOrg": tenant.org_id,
            "meta:containerId": "tenant",
            "meta:sandboxId": sandbox[0],
            "meta:sandboxType": sandbox[1],
            "meta:tenantNamespace": namespace,
            "meta:abstract": kind is not Kind.SCHEMA,
            "meta:extensible": kind is not Kind.SCHEMA,
            "meta:xdmType": "object",
            "meta:registryMetadata": {
                "repo:createdDate": now,
                "repo:lastModifiedDate": now,
                "xdm:createdClientId": caller,
                "xdm:lastModifiedClientId": caller,
                "xdm:createdUserId": caller,
                "xdm:lastModifiedUserId": caller,
            },
        }

        def add(state: State, _: Configuration) -> tuple[State, set[str]]:
            if len(state.own) >= MAX_RESOURCES:
                raise SchemaError(f"A sandbox can have at most {MAX_RESOURCES} resources of schemas")
            return _with_resource(state, kind, {**_callers_own(body), **fixed}), {resource_id}

        return self._store.commit(tenant, add).own[resource_id]

    def change(
        self, tenant: Tenant, caller: str, kind: Kind, text: str, edit: Callable[[dict[str, Any]], Resource]
    ) -> Resource:
        """Change a resource with ``edit``, which gets it as it is and may run several times.

        Raises ResourceNotFoundError, and SchemaError for a change that breaks what is in use.
        """
        resource_id = id_of(text)

        def changed(state: State, _: Configuration) -> tuple[State, set[str]]:
            before = _existing(state, kind, text)
            after = {**_callers_own(edit(dict(before))), **{key: before[key] for key in SERVER_OWNED if key in before}}
            major, minor = before["version"].split(".")
            after["version"] = f"{major}.{int(minor) + 1}"
            after["meta:registryMetadata"] = {
                **before["meta:registryMetadata"],
                "repo:lastModifiedDate": self._store.clock(),
                "xdm:lastModifiedClientId": caller,
                "xdm:lastModifiedUserId": caller,
            }
            return _with_resource(state, kind, after), {resource_id}

        return self._store.commit(tenant, changed).own[resource_id]

    def delete(self, tenant: Tenant, kind: Kind, text: str) -> None:
        """Delete a resource that nothing refers to, a schema with its descriptors.

        Raises ResourceNotFoundError and SchemaError.
        """
        resource_id = id_of(text)

        def without(state: State, configuration: Configuration) -> tuple[State, set[str]]:
            before = _existing(state, kind, text)
            users = [one["$id"] for one in state.own.values() if resource_id in references(one, state.resources.get)]
            if users:
                raise SchemaError(f"{resource_id} cannot be deleted: {users[0]} refers to it")
            if kind is Kind.SCHEMA and in_use(configuration, before):
                raise SchemaError("A schema that a dataset uses or that is enabled for Profile cannot be deleted")
            own = {key: one for key, one in state.own.items() if key != resource_id}
            kept = {key: one for key, one in state.descriptors.items() if one["xdm:sourceSchema"] != resource_id}
            if len(state.descriptors) - len(kept) > _MOST_DELETED:
                raise SchemaError(f"Delete the schema's descriptors first: there are more than {_MOST_DELETED}")
            return State(own, kept), {resource_id}

        self._store.commit(tenant, without)


def _existing(state: State, kind: Kind, text: str) -> Resource:
    found = state.own.get(id_of(text))
    if found is None or found["meta:resourceType"] != kind:
        raise ResourceNotFoundError(kind, text)
    return found


def _with_resource(state: State, kind: Kind, resource: Resource) -> State:
    """Return the state with a resource added or replaced, which must be usable by itself."""
    for other in state.own.values():
        if other["title"] == resource["title"] and other["$id"] != resource["$id"]:
            raise TitleTakenError(other["$id"])
    extends = list(dict.fromkeys(referred(resource)))
    derived: dict[str, Any] = {}
    if kind is Kind.SCHEMA:
        class_id, its_class = class_of(resource, state.resources.get)
        extends = list(dict.fromkeys([*extends, *referred(its_class)]))
        derived["meta:class"] = class_id
    elif kind is Kind.CLASS:
        kind_of(resource)
    whole = {**resource, **derived, "meta:extends": extends}
    after = State({**state.own, resource["$id"]: whole}, state.descriptors)
    if kind is not Kind.SCHEMA:
        expect_usable(compose(whole, after.resources.get))
    return after


def _callers_own(body: Resource) -> dict[str, Any]:
    """Keep what a caller may say of a resource.

    Raises SchemaError for a resource without a title, or of more than is kept.
    """
    own = {key: value for key, value in body.items() if key not in SERVER_OWNED and value is not None}
    title, description = own.get("title"), own.get("description", "")
    if not isinstance(title, str) or not 0 < len(title.strip()) <= MAX_TITLE_LENGTH:
        raise SchemaError(f"title must be a text of 1 to {MAX_TITLE_LENGTH} characters")
    if not isinstance(description, str):
        raise SchemaError("description must be a text")
    if own.setdefault("type", "object") != "object":
        raise SchemaError("type must be object")
    size = len(orjson.dumps(own))
    if size > MAX_RESOURCE_BYTES:
        raise SchemaError(f"The resource has {size:,} bytes; at most {MAX_RESOURCE_BYTES:,} are kept")
    return own
