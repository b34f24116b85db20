"""Bodies of the inlets endpoint (contract: data-and-pql §4.5)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

Name = Annotated[str, StringConstraints(min_length=1, max_length=256, strip_whitespace=True)]


class ConnectionSpec(BaseModel):
    """What kind of source it is: messages over HTTP, and no other."""

    id: Literal["bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb"]
    version: str = "1.0"


class InletParameters(BaseModel):
    """What a caller says of the inlet; left out, the names are the connection's, and senders must have a token."""

    source_id: Name | None = Field(None, alias="sourceId")
    name: Name | None = None
    data_type: Literal["xdm"] = Field("xdm", alias="dataType")
    authentication_required: bool = Field(True, alias="authenticationRequired")


class Authentication(BaseModel):
    """How messages come in."""

    spec_name: Literal["Streaming Connection"] = Field("Streaming Connection", alias="specName")
    params: InletParameters


class Connection(BaseModel):
    """A streaming connection as a caller describes it; what else the caller says of it is passed over."""

    name: Name
    description: Annotated[str, StringConstraints(max_length=4096)] | None = None
    connection_spec: ConnectionSpec = Field(alias="connectionSpec")
    state: Literal["enabled", "disabled"] = "enabled"
    auth: Authentication

    def fields(self) -> dict[str, Any]:
        """Return the fields that the service takes."""
        said = self.auth.params
        return {
            "name": self.name,
            "description": self.description,
            "state": self.state,
            "params": {
                "sourceId": said.source_id or self.name,
                "name": said.name or self.name,
                "authenticationRequired": said.authentication_required,
            },
        }
