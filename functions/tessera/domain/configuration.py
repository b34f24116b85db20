"""What reads and writes need to know of a sandbox: immutable, versioned, cached for ever (design: Configuration)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Self

from tessera.domain.computed.attribute import ComputedAttribute
from tessera.domain.computed.rule import Rule
from tessera.domain.errors import InvalidRequestError
from tessera.domain.expiry import BEGINNING_MS, Expiry
from tessera.domain.graph import LinkRules
from tessera.domain.identity import (
    FIRST_CUSTOM_NAMESPACE_ID,
    STANDARD_NAMESPACES,
    UNLINKABLE_TYPES,
    Namespace,
)
from tessera.domain.merge_policy import MergePolicy
from tessera.domain.place import Place, later, survives
from tessera.domain.place_set import PlaceSet
from tessera.domain.upsert import Action


class DatasetKind(StrEnum):
    """What the rows of a dataset are."""

    RECORD = "record"
    EVENT = "event"
    UNION = "union"


@dataclass(frozen=True, slots=True)
class DatasetSettings:
    """What the profile store needs to know of a dataset.

    ``cutoff`` is the place of the dataset's last delete: nothing at or below it is read any more. ``deleted`` are the
    beginnings of places of batches whose events are being deleted, ``deleted_rows`` by batch the places of those that
    gather streamed rows: nor are those. ``off`` are the spans of places, after the first and up to the second, in which
    profiles were switched off; ``None`` is no end yet. ``schema`` is the id of its registered schema, empty for one of
    the built-in classes; ``partial_rows`` says that its rows need not have all the fields that this schema requires.
    ``expiry`` is set once the dataset has had a TTL.
    """

    id: str
    kind: DatasetKind
    profile_enabled: bool = False
    identity_enabled: bool = False
    upsert: bool = False
    cutoff: Place | None = None
    off: tuple[tuple[Place, Place | None], ...] = ()
    schema: str = ""
    partial_rows: bool = False
    expiry: Expiry | None = None
    deleted: tuple[str, ...] = ()
    deleted_rows: Mapping[str, PlaceSet] = field(default_factory=dict)

    def horizon_ms(self, at_ms: int) -> int:
        """Return the time up to which events have expired at an instant (contract: profile-api §10)."""
        return BEGINNING_MS if self.expiry is None else self.expiry.horizon_ms(at_ms)

    @property
    def action(self) -> Action:
        """What a record does to its fragment when it says nothing of it itself (contract: data-and-pql §4.6)."""
        return Action.MERGE if self.upsert else Action.CREATE

    def takes(self, place: Place) -> bool:
        """Tell whether a row accepted at a place goes into profiles (contract: data-and-pql §4.1)."""
        if not self.profile_enabled and not self.off:
            return False
        return not any(start < place and (end is None or place <= end) for start, end in self.off)

    def holds(self, place: Place) -> bool:
        """Tell whether no delete of the dataset or of a batch has reached a row at a place (law 7)."""
        return survives(place, self.cutoff) and not self.is_leaving(place)

    def is_leaving(self, place: Place) -> bool:
        """Tell whether a row at a place is of a batch that is being deleted."""
        return place.startswith(self.deleted) or any(place in rows for rows in self.deleted_rows.values())

    def cut_off(self, cutoff: Place | None) -> Self:
        """Return these settings with everything at or below a place deleted: no more need be said of rows there."""
        cutoff = later(self.cutoff, cutoff)
        left = {batch_id: rows for batch_id, rows in self.deleted_rows.items() if survives(rows.high, cutoff)}
        return self if cutoff == self.cutoff else replace(self, cutoff=cutoff, deleted_rows=left)

    def without_batch(self, prefix: str) -> Self:
        """Return these settings with the batch of some places being deleted."""
        return self if prefix in self.deleted else replace(self, deleted=(*self.deleted, prefix))

    def done_with_batch(self, prefix: str) -> Self:
        """Return these settings without a batch of which nothing is left."""
        kept = tuple(one for one in self.deleted if one != prefix)
        return self if len(kept) == len(self.deleted) else replace(self, deleted=kept)

    def without_rows(self, batch_id: str, rows: PlaceSet) -> Self:
        """Return these settings with the streamed rows of a batch being deleted, unless they are below the cutoff."""
        if batch_id in self.deleted_rows or not survives(rows.high, self.cutoff):
            return self
        return replace(self, deleted_rows={**self.deleted_rows, batch_id: rows})

    def done_with_rows(self, batch_id: str) -> Self:
        """Return these settings without a batch of streamed rows of which nothing is left."""
        kept = {one: rows for one, rows in self.deleted_rows.items() if one != batch_id}
        return self if len(kept) == len(self.deleted_rows) else replace(self, deleted_rows=kept)


@dataclass(frozen=True, slots=True)
class SchemaSettings:
    """What datasets and ingestion need to know of a registered schema.

    ``version`` names the content that rows are judged by, which never changes. ``in_union`` is whether the schema is
    enabled for Profile, ``profiled`` whether its rows then can be part of the profiles of persons.
    """

    id: str
    version: str
    kind: DatasetKind
    in_union: bool = False
    profiled: bool = False


@dataclass(frozen=True, slots=True)
class Configuration:
    """One version of a sandbox's configuration. Changing it makes the next version.

    ``attributes`` are the computed attributes that are published and not disabled, by name; ``last_attribute`` is the
    number of the last one ever published.
    """

    version: int
    sandbox_id: str
    sandbox_name: str
    sandbox_type: str
    datasets: Mapping[str, DatasetSettings] = field(default_factory=dict)
    policies: Mapping[str, MergePolicy] = field(default_factory=dict)
    custom_namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    attributes: Mapping[str, ComputedAttribute] = field(default_factory=dict)
    last_attribute: int = 0
    schemas: Mapping[str, SchemaSettings] = field(default_factory=dict)

    def namespace(self, code: str) -> Namespace | None:
        """Find a namespace by its code in any case."""
        lower = code.lower()
        return _STANDARD_BY_CODE.get(lower) or self.custom_namespaces.get(lower)

    @property
    def link_rules(self) -> LinkRules:
        """What the namespaces' types and settings say of links (contract: profile-api §7)."""
        known = [*STANDARD_NAMESPACES, *self.custom_namespaces.values()]
        return LinkRules(
            unique=frozenset(item.code.lower() for item in known if item.unique),
            unlinkable=frozenset(item.code.lower() for item in known if item.type in UNLINKABLE_TYPES),
        )

    def with_namespace(self, namespace: Namespace) -> Self:
        """Return this configuration with a custom namespace added or replaced.

        Raises InvalidRequestError when there is no room for what is said of it.
        """
        return self._grown(custom_namespaces={**self.custom_namespaces, namespace.code.lower(): namespace})

    def default_policy(self, schema_class: str) -> MergePolicy | None:
        """Return the default merge policy of a schema class, if there is one."""
        return next(
            (policy for policy in self.policies.values() if policy.default and policy.schema_class == schema_class),
            None,
        )

    def with_dataset(self, dataset: DatasetSettings) -> Self:
        """Return this configuration with a dataset added or replaced."""
        return replace(self, datasets={**self.datasets, dataset.id: dataset})

    def without_dataset(self, dataset_id: str) -> Self:
        """Return this configuration without a dataset: reads pass over everything it brought."""
        return replace(self, datasets={key: value for key, value in self.datasets.items() if key != dataset_id})

    def with_schema(self, schema: SchemaSettings) -> Self:
        """Return this configuration with a registered schema added or replaced."""
        return replace(self, schemas={**self.schemas, schema.id: schema})

    def without_schema(self, schema_id: str) -> Self:
        """Return this configuration without a registered schema, which no dataset may refer to any more."""
        return replace(self, schemas={key: value for key, value in self.schemas.items() if key != schema_id})

    def schema_of(self, dataset_id: str) -> SchemaSettings | None:
        """Find the registered schema of a dataset, if there is such a dataset and it has one."""
        dataset = self.datasets.get(dataset_id)
        return self.schemas.get(dataset.schema) if dataset is not None else None

    def with_policy(self, policy: MergePolicy) -> Self:
        """Return this configuration with a merge policy added or replaced."""
        return replace(self, policies={**self.policies, policy.id: policy})

    def with_attribute(self, name: str, expression: str, rule: Rule) -> Self:
        """Return this configuration with a computed attribute published, which is not ready yet.

        Raises InvalidRequestError when there is no room for its expression.
        """
        number = self.last_attribute + 1
        attribute = ComputedAttribute(number, name, expression, rule)
        return self._grown(attributes={**self.attributes, name: attribute}, last_attribute=number)

    def with_ready_attribute(self, name: str) -> Self:
        """Return this configuration with a published attribute being ready, if it is still there."""
        attribute = self.attributes.get(name)
        if attribute is None:
            return self
        return replace(self, attributes={**self.attributes, name: replace(attribute, ready=True)})

    def without_attribute(self, name: str) -> Self:
        """Return this configuration without a computed attribute: no read shows it any more."""
        return replace(self, attributes={key: value for key, value in self.attributes.items() if key != name})

    def with_namespaces(self, codes: list[str]) -> Self:
        """Return this configuration with custom namespaces added for the codes it does not know yet.

        Raises InvalidRequestError when a sandbox would have more than ``MAX_CUSTOM_NAMESPACES``.
        """
        custom = dict(self.custom_namespaces)
        for code in sorted(codes):
            if self.namespace(code) is None and code.lower() not in custom:
                custom[code.lower()] = Namespace(code, FIRST_CUSTOM_NAMESPACE_ID + len(custom), "CROSS_DEVICE")
        if len(custom) > MAX_CUSTOM_NAMESPACES:
            raise InvalidRequestError(
                f"a sandbox can have at most {MAX_CUSTOM_NAMESPACES} custom identity namespaces, not {len(custom)}"
            )
        return self if len(custom) == len(self.custom_namespaces) else replace(self, custom_namespaces=custom)

    def _grown(self, **changes: Any) -> Self:
        """Return this configuration with what a caller adds to it, if there is room for its texts."""
        after = replace(self, **changes)
        if self._text_bytes < after._text_bytes > MAX_TEXT_BYTES:
            raise InvalidRequestError(
                f"names and descriptions of identity namespaces and expressions of computed attributes may have "
                f"{MAX_TEXT_BYTES:,} bytes together in a sandbox: make some shorter, or disable computed attributes"
            )
        return after

    @property
    def _text_bytes(self) -> int:
        texts = [item.name + item.description for item in self.custom_namespaces.values()]
        texts += [item.expression for item in self.attributes.values()]
        return sum(len(text.encode()) for text in texts)


MAX_CUSTOM_NAMESPACES = 500
# A configuration is one item of 400 KB at most; what comes into it by use and by deletes needs room too.
MAX_TEXT_BYTES = 200_000
_STANDARD_BY_CODE = {namespace.code.lower(): namespace for namespace in STANDARD_NAMESPACES}


def to_document(configuration: Configuration) -> dict[str, Any]:
    """Write a configuration as the JSON document that is stored."""
    return {
        "version": configuration.version,
        "sandbox": [configuration.sandbox_id, configuration.sandbox_name, configuration.sandbox_type],
        "datasets": [
            [
                *(item.id, item.kind.value, item.profile_enabled, item.identity_enabled, item.upsert, item.cutoff),
                *(item.off, item.schema, item.partial_rows),
                None if item.expiry is None else list(astuple(item.expiry)),
                item.deleted,
            ]
            for item in configuration.datasets.values()
        ],
        # Which rows these are is in the lake: there may be a million of them.
        "deletedRows": [
            [item.id, batch_id] for item in configuration.datasets.values() for batch_id in item.deleted_rows
        ],
        "schemas": [list(astuple(item)) for item in configuration.schemas.values()],
        "policies": [policy.to_document() for policy in configuration.policies.values()],
        "namespaces": [list(astuple(item)) for item in configuration.custom_namespaces.values()],
        "attributes": [item.to_document() for item in configuration.attributes.values()],
        "lastAttribute": configuration.last_attribute,
    }


def rows_named_in(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List the batches of streamed rows that are being deleted by a stored document, each behind its dataset."""
    return [(dataset_id, batch_id) for dataset_id, batch_id in document.get("deletedRows", ())]


def from_document(
    document: Mapping[str, Any], rows: Mapping[tuple[str, str], PlaceSet] = MappingProxyType({})
) -> Configuration:
    """Read a configuration from its stored document; ``rows`` has those of all batches that ``rows_named_in`` lists."""
    sandbox_id, sandbox_name, sandbox_type = document["sandbox"]
    attributes = [ComputedAttribute.from_document(item) for item in document.get("attributes", ())]
    deleted_rows: dict[str, dict[str, PlaceSet]] = defaultdict(dict)
    for dataset_id, batch_id in rows_named_in(document):
        deleted_rows[dataset_id][batch_id] = rows[dataset_id, batch_id]
    return Configuration(
        version=document["version"],
        sandbox_id=sandbox_id,
        sandbox_name=sandbox_name,
        sandbox_type=sandbox_type,
        datasets={item[0]: _dataset_of(*item, deleted_rows=deleted_rows[item[0]]) for item in document["datasets"]},
        policies={item["id"]: MergePolicy.from_document(item) for item in document["policies"]},
        custom_namespaces={item[0].lower(): Namespace(*item) for item in document["namespaces"]},
        attributes={item.name: item for item in attributes},
        last_attribute=document.get("lastAttribute", 0),
        schemas={
            item[0]: SchemaSettings(item[0], item[1], DatasetKind(item[2]), *item[3:])
            for item in document.get("schemas", ())
        },
    )


def _dataset_of(
    dataset_id: str,
    kind: str,
    profile: bool,
    identity: bool,
    upsert: bool,
    cutoff: Place | None,
    off: Sequence[tuple[Place, Place | None]] = (),
    schema: str = "",
    partial_rows: bool = False,
    expiry: Sequence[Any] | None = None,
    deleted: Sequence[str] = (),
    *,
    deleted_rows: Mapping[str, PlaceSet],
) -> DatasetSettings:
    spans = tuple((start, end) for start, end in off)
    lives = None if expiry is None else Expiry(*expiry)
    return DatasetSettings(
        *(dataset_id, DatasetKind(kind), profile, identity, upsert, cutoff, spans, schema, partial_rows, lives),
        *(tuple(deleted), deleted_rows),
    )
