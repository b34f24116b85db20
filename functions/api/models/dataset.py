"""Bodies of the datasets endpoint (contract: data-and-pql §4.1)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel, StringConstraints

Tag = Annotated[str, StringConstraints(max_length=1024)]


class SchemaReference(BaseModel):
    """The schema that the rows of a dataset follow."""

    model_config = ConfigDict(extra="allow")

    id: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    # `contentType` carries a version of the media type, in any spelling that was ever seen.
    content_type: Annotated[str, StringConstraints(max_length=256)] | None = Field(None, alias="contentType")


class Dataset(BaseModel):
    """A dataset as a caller describes it; what else the caller says of it is kept as it is."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, StringConstraints(min_length=1, max_length=256, strip_whitespace=True)]
    description: Annotated[str, StringConstraints(max_length=4096)] | None = None
    tags: dict[Annotated[str, StringConstraints(min_length=1, max_length=256)], list[Tag]] = {}
    enable_error_diagnostics: bool | None = Field(None, alias="enableErrorDiagnostics")
    observable_schema: dict[str, Any] | None = Field(None, alias="observableSchema")
    file_description: dict[str, Any] | None = Field(None, alias="fileDescription")
    schema_uri: str | None = Field(None, alias="schema")
    # Without one, the catalogue says which there are.
    schema_ref: SchemaReference | None = Field(None, alias="schemaRef")
    data_source_id: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = Field(None, alias="dataSourceId")

    def fields(self) -> dict[str, Any]:
        """Return the fields as they are written on the wire, those without a value left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Changes(RootModel[dict[str, JsonValue]]):
    """Some fields of a dataset, with their new values; ``null`` takes a field away."""


class PatchOperation(BaseModel):
    """One operation of a JSON Patch (RFC 6902)."""

    model_config = ConfigDict(extra="ignore")

    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    path: Annotated[str, StringConstraints(pattern=r"^/", max_length=1024)]
    source: Annotated[str, StringConstraints(pattern=r"^/", max_length=1024)] | None = Field(None, alias="from")
    value: JsonValue = None

    def touches(self) -> set[str]:
        """Return the fields of the document that the operation would change."""
        if self.op == "test":
            return set()
        changed = {self.path} | ({self.source} if self.op == "move" and self.source else set())
        return {path.split("/")[1].replace("~1", "/").replace("~0", "~") for path in changed}


class Patch(RootModel[Annotated[list[PatchOperation], Field(min_length=1, max_length=100)]]):
    """A JSON Patch: all of its operations are done, or none."""
