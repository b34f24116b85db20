"""Whether a message's row is accepted (contract: data-and-pql §4.5, §4.6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import orjson

from tessera.domain.configuration import Configuration
from tessera.domain.message import Message
from tessera.domain.rows import MISSING, UNREADABLE, Row, RowError, RowSchema, expect_unexpired
from tessera.domain.tenant import Tenant
from tessera.domain.upsert import Action
from tessera.domain.upsert.message import accept_message
from tessera.domain.verdict import DATASET_GONE
from tessera.services.ingestion.sources import MAX_FIELDS, fields


class Schemas(Protocol):
    """The versions of schemas: ``services.schema_versions.SchemaVersions``."""

    def compiled(self, tenant: Tenant, version: str, *, partial: bool) -> RowSchema | None:
        """Return a version by its name, ``None`` for the empty one."""


def judged(message: Message, configuration: Configuration, schemas: Schemas) -> Row:
    """Return the row of a message. Raises RowError."""
    dataset = configuration.datasets.get(message.dataset_id)
    if dataset is None:
        raise RowError(DATASET_GONE, "The dataset was deleted.")
    source = message.header.get("source")
    if source is not None and not (isinstance(source, dict) and isinstance(source.get("name"), str) and source["name"]):
        raise RowError(MISSING, "Payload header is missing Source Name")
    entity = message.body.get("xdmEntity")
    if not isinstance(entity, dict):
        raise RowError(MISSING, "Payload body is missing xdmEntity")
    if fields(entity) > MAX_FIELDS:
        raise RowError(UNREADABLE, f"the row has more than {MAX_FIELDS} fields")
    operations = message.header.get("operations")
    changes = isinstance(operations, dict) and operations.get("data", Action.CREATE) != Action.CREATE
    row = accept_message(
        entity,
        operations,
        replace(dataset, upsert=message.upsert),
        configuration,
        len(orjson.dumps(entity)),
        # What changes or deletes a record need not have all that a record has.
        schemas.compiled(message.tenant, message.schema, partial=message.partial_rows or changes),
    )
    expect_unexpired(row, message.horizon_ms)
    return row
