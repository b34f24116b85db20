"""Bodies of the entities endpoint (contract: profile-api §2.6, §2.7)."""

from __future__ import annotations

from pydantic import AliasChoices, BaseModel, Field

MAX_IDENTITIES = 1000
MAX_FIELDS = 500


class SchemaReference(BaseModel):
    """A schema class."""

    name: str


class NamespaceReference(BaseModel):
    """A namespace by its code."""

    code: str


class WantedIdentity(BaseModel):
    """An identity by value and namespace, or by its XID alone; for events ``start`` or ``offsets`` begin the page."""

    entity_id: str = Field(validation_alias=AliasChoices("relatedEntityId", "entityId"), min_length=1)
    namespace: NamespaceReference | None = Field(
        default=None,
        validation_alias=AliasChoices("relatedEntityIdNS", "entityIdNS", "relatedEntityIdNs", "entityIdNs"),
    )
    start: str | None = None
    offsets: str | None = None


class TimeFilter(BaseModel):
    """A window in epoch milliseconds, its end excluded."""

    start_ms: int | None = Field(default=None, alias="startTime", ge=-62_135_596_800_000, le=253_402_300_799_999)
    end_ms: int | None = Field(default=None, alias="endTime", ge=-62_135_596_800_000, le=253_402_300_799_999)


class WantedEntities(BaseModel):
    """Whose profiles or events are asked for. What is about events does nothing to profiles (contract: §11 no. 25)."""

    schema_class: SchemaReference = Field(alias="schema")
    related_schema: SchemaReference | None = Field(default=None, alias="relatedSchema")
    policy_id: str | None = Field(default=None, alias="mergePolicyId")
    fields: list[str] = Field(default_factory=list, max_length=MAX_FIELDS)
    identities: list[WantedIdentity] = Field(min_length=1, max_length=MAX_IDENTITIES)
    time_filter: TimeFilter = Field(default_factory=TimeFilter, alias="timeFilter")
    limit: int | None = Field(default=None, ge=1)
    order: str | None = Field(default=None, validation_alias=AliasChoices("orderby", "orderBy"))
