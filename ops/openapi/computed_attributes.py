"""Computed attributes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from api.computed_attribute_listing import DEFAULT_LIMIT, DEFAULT_ORDER, MAX_LIMIT, ORDERS
from api.models.computed_attributes import Attribute, Changes, Preview, WindowUnit
from ops.openapi.describing import OURS, XID, Answer, Area, Milliseconds, Operation, Parameter
from ops.openapi.profiles import Link
from tessera.domain.computed.definition import Status

_COLLECTION = "/data/core/ca/attributes"
_ONE = _COLLECTION + "/{id}"
_DIRECTIONS = tuple(sign + name for name in ORDERS for sign in ("", "-"))


class SandboxOfAttribute(TypedDict):
    """The sandbox that an attribute belongs to; both spellings of the flag say the same."""

    sandboxId: str
    sandboxName: str
    type: str
    default: bool
    isDefault: bool


class ExpressionOfAttribute(TypedDict):
    """What is computed."""

    type: Literal["PQL"]
    format: Literal["pql/text"]
    value: str


class MergeFunction(TypedDict):
    """How the values of several identities become one."""

    value: Literal["SUM", "MIN", "MAX", "MOST_RECENT", "LIST"]


class DurationOfAttribute(TypedDict):
    """How far an attribute looks back, in units of the calendar."""

    count: int
    unit: WindowUnit


class ClassOfAttribute(TypedDict):
    """The class of the profiles that have the attribute."""

    name: str


ReturnSchema = TypedDict("ReturnSchema", {"meta:xdmType": NotRequired[str]})


# One of its fields is called `$ref`, which many readers of a schema would take for a reference.
Union = dict[str, str]


class BackfillProgress(TypedDict):
    """How many identities the backfill has dealt with, and of how many."""

    identities: int
    of: int


class ComputedAttribute(TypedDict):
    """A computed attribute; `lastEvaluationTs` is until when its values are exact, in UTC, empty before they are."""

    id: str
    type: Literal["ComputedAttribute"]
    name: str
    displayName: str
    description: str
    imsOrgId: str
    sandbox: SandboxOfAttribute
    path: str
    positionPath: list[str]
    keepCurrent: bool
    expression: ExpressionOfAttribute
    mergeFunction: MergeFunction
    status: Status
    duration: DurationOfAttribute
    schema: ClassOfAttribute
    lastEvaluationTs: str
    returnSchema: ReturnSchema
    definedOn: list[Union]
    createEpoch: Milliseconds
    updateEpoch: Milliseconds
    createdBy: str
    progress: NotRequired[Annotated[BackfillProgress, OURS]]
    failure: NotRequired[Annotated[str, OURS]]


class AttributePosition(TypedDict):
    """Where a page stands; `count` is how many it has, `pageSize` is `limit` by its other name."""

    offset: int
    limit: int
    count: int
    totalCount: int
    pageSize: int


class AttributeLinks(TypedDict):
    """Where a page leads; there is no `next` on the last one."""

    self: Link
    prev: Link
    last: Link
    next: NotRequired[Link]


class AttributePage(TypedDict):
    """A page of the computed attributes; `children` are the same again."""

    computedAttributes: list[ComputedAttribute]
    children: list[ComputedAttribute]
    _page: AttributePosition
    _links: AttributeLinks


class PreviewedValues(TypedDict):
    """The values by XID."""

    values: dict[Annotated[str, Field(description=XID)], Any]


_ATTRIBUTE = Answer("The computed attribute", ComputedAttribute)

AREA = Area(
    "Computed attributes",
    "Fields of a profile that are computed from its events, exact at every read.",
    {"id": "The id of the computed attribute"},
    {
        f"GET {_COLLECTION}": Operation(
            answers={200: Answer("A page of the computed attributes", AttributePage)},
            query=(
                Parameter(
                    "limit",
                    f"How many a page has; {DEFAULT_LIMIT} by default",
                    Annotated[int, Field(ge=1, le=MAX_LIMIT)],
                ),
                Parameter("offset", "How many to pass over", Annotated[int, Field(ge=0)]),
                Parameter("sortBy", f"By what, descending after -; {DEFAULT_ORDER} by default", Literal[_DIRECTIONS]),
                Parameter(
                    "property",
                    "A filter: `name`, `mergeFunction.value` or `status` with `=v`, `!=v`, `=contains(a,b)` or "
                    "`=!contains(a,b)`; `createEpoch` or `updateEpoch` with `>=n` or `<=n`. All that are given hold",
                    list[str],
                ),
                Parameter("status", "Only those with this status, in any case"),
            ),
        ),
        f"POST {_COLLECTION}": Operation(body=Attribute, answers={200: _ATTRIBUTE}),
        f"PATCH {_COLLECTION}": Operation(answers={}, body=dict[str, Any], body_required=False),
        f"GET {_ONE}": Operation(answers={200: _ATTRIBUTE}),
        f"PATCH {_ONE}": Operation(body=Changes, answers={200: _ATTRIBUTE}),
        f"DELETE {_ONE}": Operation(answers={202: _ATTRIBUTE}),
        f"POST {_ONE}/preview": Operation(
            body=Preview, answers={200: Answer("The values", PreviewedValues)}, ours=True
        ),
    },
)
