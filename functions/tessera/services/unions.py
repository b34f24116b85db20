"""Unions of the schemas that are enabled for Profile, with the computed attributes of the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tessera.domain.computed.attribute import GROUP, schema_namespace
from tessera.domain.computed.definition import Definition
from tessera.domain.computed.rule import Function
from tessera.domain.configuration import Configuration
from tessera.domain.schema.composition import Node
from tessera.domain.schema.errors import ResourceNotFoundError
from tessera.domain.schema.resource import PROFILE_CLASS, UNION_SUFFIX, Kind, alt_id, id_of, in_union
from tessera.domain.schema.union import union
from tessera.domain.tenant import Tenant
from tessera.services.schema_store import Resource, SchemaStore, State

_TYPES: dict[str, Node] = {
    "number": {"type": "number", "meta:xdmType": "double"},
    "integer": {"type": "integer", "meta:xdmType": "long"},
    "boolean": {"type": "boolean", "meta:xdmType": "boolean"},
    "timestamp": {"type": "string", "format": "date-time", "meta:xdmType": "date-time"},
}
_TEXT: Node = {"type": "string", "meta:xdmType": "string"}


class Unions:
    """Makes unions: nobody writes them."""

    def __init__(self, store: SchemaStore) -> None:
        self._store = store

    def each(self, tenant: Tenant) -> Iterator[tuple[Resource, Node]]:
        """Walk the unions that there are: of classes with a schema that is enabled, or with computed attributes."""
        state, configuration = self._store.state(tenant), self._store.configurations.current(tenant)
        classes = {one["meta:class"] for one in state.own.values() if "meta:class" in one and in_union(one)}
        if configuration.attributes:
            classes.add(PROFILE_CLASS)
        for class_id in sorted(classes):
            yield self._of_class(tenant, class_id, state, configuration)

    def get(self, tenant: Tenant, text: str) -> tuple[Resource, Node]:
        """Read the union of a class and its fields; without schemas it has those of the class.

        Raises ResourceNotFoundError.
        """
        union_id = id_of(text)
        class_id = union_id.removesuffix(UNION_SUFFIX)
        state = self._store.state(tenant)
        found = state.resources.get(class_id)
        if class_id == union_id or found is None or found["meta:resourceType"] != Kind.CLASS:
            raise ResourceNotFoundError("unions", text)
        return self._of_class(tenant, class_id, state, self._store.configurations.current(tenant))

    def _of_class(
        self, tenant: Tenant, class_id: str, state: State, configuration: Configuration
    ) -> tuple[Resource, Node]:
        members, fields = union(class_id, state.resources)
        if class_id == PROFILE_CLASS and configuration.attributes:
            fields = self._with_attributes(tenant, fields, configuration)
        extends = dict.fromkeys([class_id, *state.resources[class_id].get("meta:extends", ())])
        for member in members:
            extends |= dict.fromkeys(member["meta:extends"])
        parts = [one for one in extends if state.resources.get(one, {}).get("meta:resourceType") != Kind.BEHAVIOUR]
        union_id = class_id + UNION_SUFFIX
        return {
            "$id": union_id,
            "meta:altId": alt_id(union_id),
            "meta:resourceType": "unions",
            "version": "1.0",
            "title": f"Union of {state.resources[class_id]['title']}",
            "description": f"All fields of the schemas of {class_id} that are enabled for Profile",
            "type": "object",
            "allOf": [{"$ref": one} for one in parts],
            "meta:extends": list(extends),
            "meta:class": class_id,
            "meta:containerId": "tenant",
            "meta:registryMetadata": {},
        }, fields

    def _with_attributes(self, tenant: Tenant, fields: Node, configuration: Configuration) -> Node:
        """Add the published attributes, which have their place whatever a schema says of it (contract: §1.7)."""
        definitions = map(Definition.from_document, self._documents(tenant))
        values = {
            one.name: _value(one) for one in definitions if one.name in configuration.attributes and one.published
        }
        namespace = schema_namespace(tenant.org_id)
        own = fields["properties"].get(namespace) or _object({})
        own = {**own, "properties": {**own.get("properties", {}), GROUP: _object(values)}}
        return {**fields, "properties": {**fields["properties"], namespace: own}}

    def _documents(self, tenant: Tenant) -> Iterator[dict[str, Any]]:
        for _, document in self._store.documents.each(f"{tenant.key}#attribute"):
            yield document


def _value(definition: Definition) -> Node:
    plain = _TYPES.get(definition.result_type, _TEXT)
    match definition.function:
        case Function.LIST:
            return {"type": "array", "meta:xdmType": "array", "items": plain, "title": definition.display_name}
        case Function.MOST_RECENT:
            return {**_object({"timestamp": _TYPES["timestamp"], "value": plain}), "title": definition.display_name}
    return {**plain, "title": definition.display_name, "description": definition.description}


def _object(properties: dict[str, Node]) -> Node:
    return {"type": "object", "meta:xdmType": "object", "properties": properties}
