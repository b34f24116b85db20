"""The state of a sandbox's schemas, and how it changes.

Resources and descriptors are documents. What ingestion needs of a schema is its *version*: composed of all resources it
refers to, named by its content and never changed. A change makes the versions of all schemas that it is part of, stores
them, and then, in one transaction with what has changed, lets the configuration name them. So datasets and schemas
change one after the other, and whoever has read a configuration can read every version that it names.
"""

from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tessera.domain.computed.attribute import schema_namespace
from tessera.domain.configuration import Configuration, SchemaSettings
from tessera.domain.dataset import settings_of
from tessera.domain.identity import STANDARD_NAMESPACES, is_namespace_code
from tessera.domain.schema.composition import references
from tessera.domain.schema.errors import SchemaError
from tessera.domain.schema.identity_field import IDENTITY, IdentityField
from tessera.domain.schema.library import LIBRARY
from tessera.domain.schema.resource import Kind, in_union
from tessera.domain.schema.union import union
from tessera.domain.schema.version import SchemaVersion, expect_compatible, version_of
from tessera.domain.tenant import Tenant
from tessera.services.datasets import description_of
from tessera.services.schema_versions import version_partition

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

Resource = Mapping[str, Any]
Resources = Mapping[str, Resource]


class Configurations(Protocol):
    """Where configurations are kept: ``storage.configuration.ConfigurationStore``."""

    def current(self, tenant: Tenant) -> Configuration:
        """Read the one in force."""

    def change(
        self,
        tenant: Tenant,
        mutate: Callable[[Configuration], Configuration],
        also: Callable[[], Sequence[TransactWriteItemTypeDef]],
    ) -> Configuration:
        """Make the next version atomically with the writes of ``also``, both called anew after a lost race."""


class Documents(Protocol):
    """Where resources are kept: ``storage.registry.Registry``."""

    def get(self, partition: str, sort: str) -> dict[str, Any] | None:
        """Read one document."""

    def each(
        self, partition: str, *, newest_first: bool = False, after: str | None = None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Walk a partition in order."""

    def put(self, partition: str, sort: str, document: Mapping[str, Any]) -> None:
        """Write a document."""

    def putting(
        self, partition: str, sort: str, document: Mapping[str, Any], *, only_new: bool = False
    ) -> TransactWriteItemTypeDef:
        """Describe the writing of a document."""

    def deleting(self, partition: str, sort: str) -> TransactWriteItemTypeDef:
        """Describe the deletion of a document."""


class State(NamedTuple):
    """All resources of a sandbox by their ids, and its descriptors by theirs."""

    own: dict[str, Resource]
    descriptors: dict[str, Resource]

    @property
    def resources(self) -> Resources:
        """Its own resources and the built-in ones."""
        return ChainMap(self.own, LIBRARY)  # type: ignore[arg-type]

    def of_schema(self, schema_id: str) -> list[Resource]:
        """Return the descriptors of a schema."""
        return [one for one in self.descriptors.values() if one["xdm:sourceSchema"] == schema_id]


# What becomes of the state, and the ids of the resources that are not as they were.
Edit = Callable[[State, Configuration], tuple[State, set[str]]]


class SchemaStore:
    """Reads and changes the state; ``clock`` gives milliseconds since 1970."""

    def __init__(
        self,
        configurations: Configurations,
        documents: Documents,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.configurations = configurations
        self.documents = documents
        self.clock = clock

    def find(self, tenant: Tenant, resource_id: str) -> Resource | None:
        """Read the resource of an id, or ``None``."""
        if resource_id in LIBRARY:
            return LIBRARY[resource_id]
        sort = _sort(tenant, resource_id)
        return self.documents.get(_partition(tenant), sort) if sort else None

    def each(self, tenant: Tenant, kind: Kind) -> Iterator[Resource]:
        """Walk the sandbox's own resources of a kind."""
        for sort, resource in self.documents.each(_partition(tenant), after=f"{kind}/"):
            if not sort.startswith(f"{kind}/"):
                return
            yield resource

    def state(self, tenant: Tenant) -> State:
        """Read the whole state."""
        return State(
            {resource["$id"]: resource for _, resource in self.documents.each(_partition(tenant))},
            dict(self.documents.each(descriptor_partition(tenant))),
        )

    def commit(self, tenant: Tenant, edit: Edit) -> State:
        """Make a change of the state and all that follows from it, atomically."""
        states: list[State] = []

        def mutate(configuration: Configuration) -> Configuration:
            # Read after the pointer that the transaction is conditional on: a change in between fails it.
            before = self.state(tenant)
            after, touched = edit(before, configuration)
            states[:] = before, after
            return self._in_force(tenant, configuration, before, after, touched)

        self.configurations.change(tenant, mutate, lambda: self._writes(tenant, *states))
        return states[1]

    def _in_force(
        self, tenant: Tenant, configuration: Configuration, before: State, after: State, touched: set[str]
    ) -> Configuration:
        unions: set[str] = set()
        for schema_id, schema in after.own.items():
            if not _is_schema(schema):
                continue
            if schema_id not in touched and touched.isdisjoint(references(schema, after.resources.get)):
                continue
            version = _version(schema, after, configuration)
            known = before.own.get(schema_id)
            if known is not None and in_use(configuration, known):
                expect_compatible(_version(known, before, configuration), version)
            # Named by its content, so it may be written before the transaction, or for nothing.
            self.documents.put(version_partition(tenant), version.settings.version, version.document)
            configuration = self._with_schema(tenant, configuration, version.settings)
            if version.settings.in_union:
                unions.add(version.its_class)
        for class_id in unions:
            union(class_id, after.resources)
        for schema_id in touched & configuration.schemas.keys():
            if schema_id not in after.own:
                configuration = configuration.without_schema(schema_id)
        return configuration

    def _with_schema(self, tenant: Tenant, configuration: Configuration, schema: SchemaSettings) -> Configuration:
        """Put a schema in force, and with it what it changes for its datasets."""
        before = configuration.schemas.get(schema.id)
        configuration = configuration.with_schema(schema)
        if before is not None and before.profiled != schema.profiled:
            for dataset in [one for one in configuration.datasets.values() if one.schema == schema.id]:
                description = description_of(self.documents, tenant, dataset.id)
                settings = settings_of(dataset.id, description, dataset, self.clock(), configuration.schemas)
                configuration = configuration.with_dataset(settings)
        return configuration

    def _writes(self, tenant: Tenant, before: State, after: State) -> list[TransactWriteItemTypeDef]:
        writes = []
        for partition, old, new, sort in (
            (_partition(tenant), before.own, after.own, lambda key: _sort(tenant, key)),
            (descriptor_partition(tenant), before.descriptors, after.descriptors, lambda key: key),
        ):
            writes += [
                self.documents.putting(partition, sort(key), document, only_new=key not in old)
                for key, document in new.items()
                if old.get(key) != document
            ]
            writes += [self.documents.deleting(partition, sort(key)) for key in old if key not in new]
        return writes


def namespace_code(descriptor: Resource, configuration: Configuration) -> str:
    """Return the code of the namespace that an identity descriptor names by code or by id.

    Raises SchemaError.
    """
    named = descriptor.get("xdm:namespace")
    if descriptor.get("xdm:property", "xdm:code") == "xdm:id":
        known = (*STANDARD_NAMESPACES, *configuration.custom_namespaces.values())
        found = next((one.code for one in known if str(one.id) == str(named)), None)
        if found is None:
            raise SchemaError("xdm:namespace is the id of no namespace of the sandbox")
        return found
    if not isinstance(named, str) or not is_namespace_code(named):
        raise SchemaError("xdm:namespace must be the code of a namespace: 1 to 64 letters, digits, '.', '_' or '-'")
    return named


def descriptor_partition(tenant: Tenant) -> str:
    """Name the partition of the descriptors."""
    return f"{tenant.key}#descriptor"


def _partition(tenant: Tenant) -> str:
    return f"{tenant.key}#schema"


def in_use(configuration: Configuration, schema: Resource) -> bool:
    """Tell whether a dataset uses a schema, or it is enabled for Profile: from then on it can only be added to."""
    used = any(dataset.schema == schema["$id"] for dataset in configuration.datasets.values())
    return used or in_union(schema)


def _sort(tenant: Tenant, resource_id: str) -> str:
    """Return the sort key of an own resource, empty for an id that is none."""
    prefix = "https://ns.adobe.com/" + schema_namespace(tenant.org_id).removeprefix("_") + "/"
    key = resource_id.removeprefix(prefix)
    return key if key != resource_id and len(key) <= 256 else ""


def _is_schema(resource: Resource) -> bool:
    return bool(resource["meta:resourceType"] == Kind.SCHEMA)


def _version(schema: Resource, state: State, configuration: Configuration) -> SchemaVersion:
    identities = [
        IdentityField.of(one, namespace_code(one, configuration))
        for one in state.of_schema(schema["$id"])
        if one["@type"] == IDENTITY
    ]
    return version_of(schema, state.resources.get, identities)
