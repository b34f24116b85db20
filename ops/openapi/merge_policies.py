"""Merge policies."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from api.merge_policy_listing import DEFAULT_LIMIT, MAX_LIMIT
from api.models.merge_policies import BulkGet, DryRun, Patch, Policy
from ops.openapi.describing import Answer, Area, Operation, Parameter
from ops.openapi.profiles import Link
from tessera.domain.merge_policy import AttributeMerge, GraphType

_COLLECTION = "/data/core/ups/config/mergePolicies"
_ONE = _COLLECTION + "/{id}"


class SandboxOfPolicy(TypedDict):
    """The sandbox that a policy belongs to."""

    sandboxId: str
    sandboxName: str
    type: str
    default: bool


class ClassOfPolicy(TypedDict):
    """The class of the profiles that a policy merges."""

    name: str


class GraphOfPolicy(TypedDict):
    """Whose fragments a policy merges: those of the whole identity graph, or of one identity alone."""

    type: GraphType


class MergeOfPolicy(TypedDict):
    """What ranks the fragments; `order` only for `dataSetPrecedence`."""

    type: AttributeMerge
    order: NotRequired[list[str]]


class MergePolicy(TypedDict):
    """A merge policy; `updateEpoch` is in seconds since 1970."""

    id: str
    name: str
    imsOrgId: str
    sandbox: SandboxOfPolicy
    schema: ClassOfPolicy
    version: Annotated[int, Field(ge=1)]
    identityGraph: GraphOfPolicy
    attributeMerge: MergeOfPolicy
    isActiveOnEdge: bool
    default: bool
    updateEpoch: int


class PolicyPosition(TypedDict):
    """Where a page stands; `next` is the `start` of the next one, empty at the end."""

    totalCount: int
    pageSize: int
    count: int
    next: str


class PolicyLinks(TypedDict):
    """Where a page leads on."""

    next: Link


class PolicyPage(TypedDict):
    """A page of the merge policies."""

    _page: PolicyPosition
    children: list[MergePolicy]
    _links: PolicyLinks


class PoliciesById(TypedDict):
    """Merge policies by their ids."""

    results: dict[str, MergePolicy]


class Change(TypedDict):
    """A leaf that would change; `null` is no value."""

    path: str
    before: Any
    after: Any


class ChangedProfile(TypedDict):
    """A person, by XID, and what would change of them."""

    entityId: str
    changes: list[Change]


class DryRunReport(TypedDict):
    """How many persons were compared, how many would change and how, and how often each path would."""

    compared: int
    changed: int
    profiles: list[ChangedProfile]
    fields: dict[str, int]


_POLICY = Answer("The policy", MergePolicy)

AREA = Area(
    "Merge policies",
    "Which fragments make a profile, and whose value wins.",
    {"id": "The id of the policy"},
    {
        f"GET {_COLLECTION}": Operation(
            answers={200: Answer("A page of the policies", PolicyPage)},
            query=(
                Parameter(
                    "limit",
                    f"How many a page has; {DEFAULT_LIMIT} by default, more than {MAX_LIMIT} is {MAX_LIMIT}",
                    Annotated[int, Field(ge=1)],
                ),
                Parameter("start", "Where the page begins: `_page.next` of the page before"),
                Parameter("orderBy", "By name, either way", Literal["", "name", "+name", "-name"]),
                Parameter("schema.name", "Only those of this class"),
                Parameter("default", "Only those that are, or are not, the default of their class", bool),
                Parameter("isActiveOnEdge", "Only those that are, or are not, active on the edge", bool),
                Parameter("identityGraph.type", "Only those with this graph", GraphType | Literal["auto"]),
                Parameter("attributeMerge.type", "Only those that rank fragments this way", AttributeMerge),
                Parameter("version", "The policies as they were in this version of each", Annotated[int, Field(ge=1)]),
            ),
        ),
        f"POST {_COLLECTION}": Operation(body=Policy, answers={200: _POLICY}),
        f"POST {_COLLECTION}/bulk-get": Operation(
            body=BulkGet, answers={207: Answer("The policies that there are", PoliciesById)}
        ),
        f"GET {_ONE}": Operation(answers={200: _POLICY}),
        f"PUT {_ONE}": Operation(body=Policy, answers={200: _POLICY}),
        f"PATCH {_ONE}": Operation(body=Patch, answers={200: _POLICY}),
        f"DELETE {_ONE}": Operation(answers={200: Answer("The policy is deleted")}),
        f"POST {_COLLECTION}/dryRun": Operation(
            body=DryRun, answers={200: Answer("What would change", DryRunReport)}, ours=True
        ),
    },
)
