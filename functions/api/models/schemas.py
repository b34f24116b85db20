"""Bodies of the schemas endpoint."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel


class Resource(RootModel[dict[str, JsonValue]]):
    """A schema, class, field group or data type in the notation of XDM; what the service sets itself is passed over."""


class Descriptor(BaseModel):
    """What is said of a field of a schema; which fields it needs depends on its type."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    type: str = Field(alias="@type")
    source_schema: str = Field(alias="xdm:sourceSchema")

    def fields(self) -> dict[str, JsonValue]:
        """Return the fields as they are written on the wire."""
        return self.model_dump(mode="json", by_alias=True)
