"""A version of a schema: all that rows are judged by, under a name made of its content, so that it never changes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from tessera.domain.configuration import SchemaSettings
from tessera.domain.schema.compiled import CompiledSchema, for_rows
from tessera.domain.schema.composition import Node, Resolve, compose
from tessera.domain.schema.errors import NoIdentityError, SchemaError
from tessera.domain.schema.evolution import expect_additive
from tessera.domain.schema.identity_field import IdentityField, expect_field
from tessera.domain.schema.resource import EVENT_CLASS, PROFILE_CLASS, class_of, in_union, kind_of

# One item of the registry holds it, however little of it can be compressed.
MAX_VERSION_BYTES = 350_000


class SchemaVersion(NamedTuple):
    """A version and what it was made of."""

    settings: SchemaSettings
    document: dict[str, Any]
    composed: Node
    its_class: str
    primary: IdentityField | None


def version_of(schema: Mapping[str, Any], resolve: Resolve, identities: Sequence[IdentityField]) -> SchemaVersion:
    """Make the version that a schema is at, with these identity fields.

    Raises SchemaError for a schema that cannot be used.
    """
    class_id, its_class = class_of(schema, resolve)
    composed = compose(schema, resolve)
    for field in identities:
        expect_field(field.path, composed)
    primary = [field for field in identities if field.primary]
    if len(primary) > 1:
        raise SchemaError("A schema has one primary identity at most")
    enabled = in_union(schema)
    if enabled and not primary and "identityMap" not in composed.get("properties", {}):
        raise NoIdentityError
    rules = for_rows(composed)
    document = {"schema": rules, "identities": [field.to_document() for field in identities]}
    raw = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    if len(raw) > MAX_VERSION_BYTES:
        raise SchemaError(f"The schema comes to {len(raw):,} bytes; at most {MAX_VERSION_BYTES:,} are kept")
    CompiledSchema(rules, identities)
    settings = SchemaSettings(
        schema["$id"],
        hashlib.blake2b(raw, digest_size=20).hexdigest(),
        kind_of(its_class),
        in_union=enabled,
        # Profiles are of persons: rows of other classes are not mixed into them.
        profiled=enabled and class_id in {PROFILE_CLASS, EVENT_CLASS},
    )
    return SchemaVersion(settings, document, composed, class_id, primary[0] if primary else None)


def expect_compatible(before: SchemaVersion, after: SchemaVersion) -> None:
    """Check that a schema in use changes only by additions; raises SchemaError."""
    if before.its_class != after.its_class or before.settings.kind is not after.settings.kind:
        raise SchemaError("The class of a schema that is in use cannot be changed")
    if before.settings.in_union and not after.settings.in_union:
        raise SchemaError("A schema that is enabled for Profile stays so: its tag union cannot be taken away")
    if before.primary is not None and before.primary != after.primary:
        raise SchemaError("The primary identity of a schema that is in use cannot be changed")
    expect_additive(before.composed, after.composed)


def compiled(document: Mapping[str, Any], *, partial: bool) -> CompiledSchema:
    """Make a stored version ready for rows; ``partial`` ones need not have the fields that are required."""
    identities = [IdentityField.from_document(field) for field in document["identities"]]
    return CompiledSchema(document["schema"], identities, partial=partial)
