"""Definitions of computed attributes: what a caller says of one, and what may become of it when.

Contract: data-and-pql §1.2, §1.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, NamedTuple, Self

from tessera.domain.computed.rule import Function
from tessera.domain.computed.window import Unit, Window
from tessera.domain.errors import InvalidRequestError


class Status(StrEnum):
    """How far an attribute is; all but ``DRAFT`` and ``DISABLED`` are published."""

    DRAFT = "DRAFT"
    NEW = "NEW"
    INITIALIZING = "INITIALIZING"
    PROCESSING = "PROCESSING"
    PROCESSED = "PROCESSED"
    FAILED = "FAILED"
    DISABLED = "DISABLED"


# How far a backfill has come by each status; it never goes back. One that failed can be done after all.
_STEPS = {
    status: step
    for step, status in enumerate((Status.NEW, Status.INITIALIZING, Status.PROCESSING, Status.FAILED, Status.PROCESSED))
}


class Progress(NamedTuple):
    """How many identities a backfill has dealt with, and of how many."""

    identities: int
    of: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller says of an attribute when creating it."""

    name: str
    display_name: str
    description: str
    expression: str
    window: Window
    keep_current: bool = False
    publish: bool = False


@dataclass(frozen=True, slots=True)
class Edit:
    """What a caller wants to be otherwise; ``None`` is as it was."""

    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    expression: str | None = None
    window: Window | None = None
    keep_current: bool | None = None
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """A computed attribute as its callers know it; times are milliseconds since 1970.

    ``number`` is what the configuration gave it when it was published. ``evaluated_ms`` is until when its values were
    exact, ``None`` before they were at all. ``failure`` says why its backfill failed.
    """

    id: str
    name: str
    display_name: str
    description: str
    expression: str
    window: Window
    function: Function
    result_type: str
    keep_current: bool
    status: Status
    created_ms: int
    created_by: str
    updated_ms: int
    number: int | None = None
    evaluated_ms: int | None = None
    progress: Progress | None = None
    failure: str = ""

    @property
    def published(self) -> bool:
        """Whether the configuration holds the attribute."""
        return self.status in _STEPS

    def edited(self, edit: Edit, now_ms: int) -> Self:
        """Return the definition as a caller wants it.

        Only a draft's content may change, and it may be published with the same call. What is said of a published
        one and is so already is no change: a caller who missed the answer asks again. Raises InvalidRequestError.
        """
        if self.status is Status.DISABLED:
            raise InvalidRequestError("A disabled computed attribute stays as it is: create another, with another name")
        content = {one.name: getattr(edit, one.name) for one in fields(edit) if one.name != "status"}
        after = replace(self, **{name: value for name, value in content.items() if value is not None})
        if self.status is Status.DRAFT:
            if edit.status not in {None, Status.DRAFT, Status.NEW}:
                raise InvalidRequestError("A draft can be set to NEW, which publishes it, and to nothing else")
            return replace(after, status=edit.status or self.status, updated_ms=now_ms)
        if after != self:
            raise InvalidRequestError(
                f"This computed attribute is {self.status}: only a DRAFT can be edited. Disable it and create another"
            )
        if edit.status is Status.DISABLED:
            evaluated_ms = now_ms if self.status is Status.PROCESSED else self.evaluated_ms
            return replace(self, status=Status.DISABLED, evaluated_ms=evaluated_ms, updated_ms=now_ms)
        if edit.status is Status.NEW and self.status is Status.NEW:
            return self
        raise InvalidRequestError(f"A computed attribute that is {self.status} can only be set to DISABLED")

    def advanced(self, status: Status, now_ms: int, progress: Progress | None = None, failure: str = "") -> Self:
        """Return the definition with its backfill at ``status``; one that is further, or disabled, stays as it is."""
        if not self.published or _STEPS[status] < _STEPS[self.status]:
            return self
        after = replace(self, status=status, progress=progress or self.progress, failure=failure)
        if status is Status.PROCESSED and self.evaluated_ms is None:
            after = replace(after, evaluated_ms=now_ms)
        return self if after == self else replace(after, updated_ms=now_ms)

    def to_document(self) -> dict[str, Any]:
        """Write the definition as the JSON document that is stored."""
        return {
            "id": self.id,
            "name": self.name,
            "displayName": self.display_name,
            "description": self.description,
            "expression": self.expression,
            "window": [self.window.count, self.window.unit.value],
            "function": self.function.value,
            "resultType": self.result_type,
            "keepCurrent": self.keep_current,
            "status": self.status.value,
            "created": self.created_ms,
            "createdBy": self.created_by,
            "updated": self.updated_ms,
            "number": self.number,
            "evaluated": self.evaluated_ms,
            "progress": None if self.progress is None else list(self.progress),
            "failure": self.failure,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a definition from its stored document."""
        count, unit = document["window"]
        return cls(
            id=document["id"],
            name=document["name"],
            display_name=document["displayName"],
            description=document["description"],
            expression=document["expression"],
            window=Window(count, Unit(unit)),
            function=Function(document["function"]),
            result_type=document["resultType"],
            keep_current=document["keepCurrent"],
            status=Status(document["status"]),
            created_ms=document["created"],
            created_by=document["createdBy"],
            updated_ms=document["updated"],
            number=document["number"],
            evaluated_ms=document["evaluated"],
            progress=Progress(*document["progress"]) if document["progress"] else None,
            failure=document["failure"],
        )
