"""Bodies of the erasure calls (ours)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from api.models.entities import NamespaceReference

MAX_IDENTITIES = 1000


class NamedPerson(BaseModel):
    """A person by one identity: namespace and value, or an XID alone."""

    entity_id: str = Field(alias="entityId", min_length=1)
    namespace: NamespaceReference | None = Field(default=None, alias="entityIdNS")


class WantedErasure(BaseModel):
    """Who is to be erased, and whether they are held: then nothing of them is taken until that is lifted.

    With ``lake`` their rows are taken out of the data lake too.
    """

    # What is not known is not passed over: an erasure that does less than was asked for must say so.
    model_config = ConfigDict(extra="forbid")

    identities: list[NamedPerson] = Field(min_length=1, max_length=MAX_IDENTITIES)
    hold: bool = False
    lake: StrictBool = False


class WantedSubject(NamedPerson):
    """Of whom everything is to be shown, and where the page begins."""

    start: str | None = None
