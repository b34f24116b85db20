"""Bodies of the computed attributes endpoint (contract: data-and-pql §1.2, §1.3)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator

from api.models.merge_policies import AskedIdentity
from tessera.domain.computed.definition import Edit, Status, Wanted
from tessera.domain.computed.window import MAX_COUNT, Unit, Window

MAX_PREVIEWED = 20
# An expression is part of the configuration, which every function that reads or writes a profile holds in memory.
MAX_EXPRESSION = 10_000
# What the service alone says of an attribute; ``progress`` and ``failure`` are ours.
SERVICE_FIELDS = frozenset(
    {
        *("id", "type", "imsOrgId", "sandbox", "path", "positionPath", "mergeFunction", "schema", "returnSchema"),
        *("definedOn", "lastEvaluationTs", "createEpoch", "updateEpoch", "createdBy", "progress", "failure"),
    }
)

# The field of a profile: letters and digits.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]+$", max_length=128)]
DisplayName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Description = Annotated[str, StringConstraints(max_length=4000)]
WindowUnit = Literal[Unit.HOURS, Unit.DAYS, Unit.WEEKS, Unit.MONTHS]
Flag = Annotated[bool, Field(strict=True)]


class Expression(BaseModel):
    """What is computed, in PQL over the events of a profile."""

    type: Literal["PQL"]
    format: Literal["pql/text"]
    value: Annotated[str, StringConstraints(min_length=1, max_length=MAX_EXPRESSION)]


class Duration(BaseModel):
    """How far back it looks: up to 24 hours, 7 days, 4 weeks or 6 months of the calendar."""

    count: Annotated[int, Field(ge=1, strict=True)]
    unit: WindowUnit

    @model_validator(mode="after")
    def _expect_allowed(self) -> Self:
        longest = MAX_COUNT[self.unit]
        if self.count > longest:
            raise ValueError(f"count must be between 1 and {longest} for {self.unit}")
        return self

    def window(self) -> Window:
        """Read it in the domain's terms."""
        return Window(self.count, self.unit)


class _Body(BaseModel):
    """Refuses what only the service writes; what nobody knows is passed over."""

    @model_validator(mode="before")
    @classmethod
    def _expect_a_caller_s(cls, body: object) -> object:
        if isinstance(body, dict) and (owned := sorted(SERVICE_FIELDS & body.keys())):
            raise ValueError(f"only the service sets {', '.join(owned)}: leave that out")
        return body


class Attribute(_Body):
    """A computed attribute as a caller describes it."""

    name: Name
    display_name: DisplayName = Field(alias="displayName")
    description: Description
    expression: Expression
    duration: Duration
    keep_current: Flag | None = Field(None, alias="keepCurrent")
    status: Literal[Status.DRAFT, Status.NEW]

    def wanted(self) -> Wanted:
        """Read it in the domain's terms."""
        return Wanted(
            name=self.name,
            display_name=self.display_name,
            description=self.description,
            expression=self.expression.value,
            window=self.duration.window(),
            keep_current=bool(self.keep_current),
            publish=self.status is Status.NEW,
        )


class Changes(_Body):
    """What is to be otherwise: some fields of a draft, or the status, or both to publish it."""

    name: Name | None = None
    display_name: DisplayName | None = Field(None, alias="displayName")
    description: Description | None = None
    expression: Expression | None = None
    duration: Duration | None = None
    keep_current: Flag | None = Field(None, alias="keepCurrent")
    status: Literal[Status.DRAFT, Status.NEW, Status.DISABLED] | None = None

    @model_validator(mode="after")
    def _expect_something(self) -> Self:
        if all(value is None for _, value in self):
            names = [field.alias or name for name, field in type(self).model_fields.items()]
            raise ValueError(f"nothing to change: give some of {', '.join(names)}")
        return self

    def edit(self) -> Edit:
        """Read them in the domain's terms."""
        return Edit(
            name=self.name,
            display_name=self.display_name,
            description=self.description,
            expression=None if self.expression is None else self.expression.value,
            window=None if self.duration is None else self.duration.window(),
            keep_current=self.keep_current,
            status=self.status,
        )


class Preview(BaseModel):
    """On whom an attribute is to be tried."""

    identities: Annotated[list[AskedIdentity], Field(min_length=1, max_length=MAX_PREVIEWED)]
