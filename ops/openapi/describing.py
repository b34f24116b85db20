"""The words in which an area of the API describes its routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

# What Adobe's API does not have: on an operation, a parameter or a field.
MARK = "x-tessera"
OURS = Field(json_schema_extra={MARK: True})

Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Milliseconds = Annotated[int, WithJsonSchema({"type": "integer", "format": "int64"})]
XID = "An identity as one opaque text"


@dataclass(frozen=True)
class Parameter:
    """A query parameter. A list is one that may be repeated; names are read in any case."""

    name: str
    text: str
    type: Any = str
    required: bool = False
    ours: bool = False


@dataclass(frozen=True)
class Answer:
    """What comes back: a body of ``type``, or none."""

    text: str
    type: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    # Other media types in which the same comes to who asks for them.
    also: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What is to be said of a route that its code does not say.

    ``body`` is the type of the body, or one type for each media type; ``fails`` are errors that others do not have.
    """

    answers: Mapping[int, Answer]
    query: tuple[Parameter, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    body_required: bool = True
    fails: tuple[int, ...] = ()
    ours: bool = False


@dataclass(frozen=True)
class Area:
    """A part of the API: its operations by method and path, and what the parameters in its paths mean."""

    name: str
    text: str
    path: Mapping[str, str]
    operations: Mapping[str, Operation]
