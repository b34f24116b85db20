"""Profiles and their events."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from api.entities import PATH
from api.models.entities import MAX_FIELDS, MAX_IDENTITIES, WantedEntities
from ops.openapi.describing import OURS, XID, Answer, Area, Milliseconds, Operation, Parameter, Time
from ops.openapi.problems import EntityProblem

Class = Literal[
    "_xdm.context.profile", "_xdm.context.experienceevent", "_xdm.context.account", "_xdm.context.opportunity"
]
Epoch = Annotated[int, Field(ge=-62_135_596_800_000, le=253_402_300_799_999)]


class PolicyUsed(TypedDict):
    """The merge policy that made a profile."""

    id: str


class NamespaceOfIdentity(TypedDict):
    """A namespace by its code."""

    code: str


class Identity(TypedDict):
    """An identity as it was ingested."""

    id: str
    namespace: NamespaceOfIdentity


class Candidate(TypedDict):
    """A value that one of a person's fragments offers for a field; only its value where no fragment gives it.

    `lastModifiedAt` is when the record last changed, where that is later than the value came.
    """

    value: Any
    datasetId: NotRequired[str]
    batchId: NotRequired[str]
    identity: NotRequired[Identity]
    ingestedAt: NotRequired[Time]
    lastModifiedAt: NotRequired[Time]
    customDate: NotRequired[Time]


class Explanation(TypedDict):
    """Why a field has its value: the rule that chose it among the candidates, of which the first won."""

    value: Any
    rule: Literal["timestampOrdered", "dataSetPrecedence", "identityGraph", "lastQualificationTime", "computed"]
    candidates: list[Candidate]


class AnyProfile(TypedDict):
    """A profile: `entity` is merged from what the datasets in `sources` hold of the identities in `identityGraph`."""

    entityId: Annotated[str, Field(description=XID)]
    mergePolicy: PolicyUsed
    sources: list[str]
    tags: Annotated[list[str], Field(description="The batches that the values came with")]
    identityGraph: list[str]
    entity: dict[str, Any]
    lastModifiedAt: Time


class Profile(AnyProfile):
    """The profile of the identity asked for; `explain`, by the dotted path of each leaf, if it is asked for."""

    explain: NotRequired[Annotated[dict[str, Explanation], OURS]]


class RequestedIdentity(TypedDict):
    """An identity as the request names it."""

    entityId: str
    entityIdNS: NotRequired[NamespaceOfIdentity]


class RequestedProfile(AnyProfile):
    """The profile of one of the identities asked for."""

    requestedIdentity: RequestedIdentity


class Placeholder(TypedDict):
    """What stands for an identity that nothing is stored of."""

    entityId: str
    sources: list[str]
    entity: Annotated[dict[str, Any], Field(max_length=0)]
    lastModifiedAt: Time
    requestedIdentity: RequestedIdentity


class Event(TypedDict):
    """An event; `entity` is the event as it was ingested, `relatedEntityId` the identity asked for."""

    relatedEntityId: str
    entityId: Annotated[str, Field(description="The `_id` of the event")]
    timestamp: Milliseconds
    entity: dict[str, Any]
    lastModifiedAt: Time


class EventPosition(TypedDict):
    """Where a page stands: the ids of its first event and of the next page's, empty if there is none."""

    orderby: Literal["timestamp", "-timestamp"]
    start: str
    count: int
    next: str


class Link(TypedDict):
    """Where to go on, empty at the end."""

    href: str


class NextEvents(TypedDict):
    """The next page: the address that the request goes to, and the body to send; none at the end."""

    href: str
    payload: NotRequired[dict[str, Any]]


class EventLinks(TypedDict):
    """Where a page leads on."""

    next: Link


class EventLinksOfMany(TypedDict):
    """Where a person's page leads on."""

    next: NextEvents


class EventPage(TypedDict):
    """A page of a person's events. It may end early; `_links` tells whether there are more."""

    _page: EventPosition
    children: list[Event]
    _links: EventLinks


class EventPageOfMany(TypedDict):
    """A page of one person's events, of several asked for."""

    _page: EventPosition
    children: list[Event]
    _links: EventLinksOfMany


class Failure(TypedDict):
    """An identity that could not be looked up, and why."""

    xid: str
    error: EntityProblem


_CLASS = Parameter(
    "schema.name", "What is asked for: the class of the profile, or that of events", Class, required=True
)
_WHO = (
    Parameter("entityId", "An identity's value; alone, an XID"),
    Parameter("entityIdNS", "The code of the namespace of `entityId`"),
)
_POLICY = Parameter("mergePolicyId", "The merge policy; without one the default policy of the class")

AREA = Area(
    "Profiles",
    "Profiles as their fragments give them at the moment of the call, and the events of persons.",
    {},
    {
        f"GET {PATH}": Operation(
            answers={
                200: Answer(
                    "A profile under its XID, or a page of events",
                    Annotated[dict[str, Profile], Field(min_length=1, max_length=1)] | EventPage,
                )
            },
            query=(
                _CLASS,
                *_WHO,
                Parameter("relatedSchema.name", "For events: whose they are", Literal["_xdm.context.profile"]),
                Parameter(
                    "relatedEntityId",
                    "For events: the identity of the person; alone, an XID. Without it, `entityId` is read",
                ),
                Parameter("relatedEntityIdNS", "The code of the namespace of `relatedEntityId`"),
                _POLICY,
                Parameter("fields", f"Dotted paths to show, with commas between them; at most {MAX_FIELDS}"),
                Parameter("explain", "For profiles: show where each value comes from", bool, ours=True),
                Parameter("startTime", "For events: from this time on, in milliseconds since 1970", Epoch),
                Parameter("endTime", "For events: before this time, in milliseconds since 1970", Epoch),
                Parameter(
                    "orderby",
                    "For events: oldest first, or newest first",
                    Literal["timestamp", "+timestamp", "-timestamp"],
                ),
                Parameter(
                    "limit", "For events: how many a page has; more than 1,000 is 1,000", Annotated[int, Field(ge=1)]
                ),
                Parameter(
                    "property",
                    "For events: a dotted path, one of `=`, `!=`, `<`, `<=`, `>`, `>=`, and a value; all must hold",
                    Annotated[list[str], Field(max_length=3)],
                ),
                Parameter("start", "For events: the id of the event that the page begins with"),
                Parameter(
                    "offsets", "For events: where the page begins, from the link of the page before; wins over `start`"
                ),
            ),
        ),
        f"POST {PATH}": Operation(
            body=WantedEntities,
            answers={
                200: Answer(
                    f"For each identity, of at most {MAX_IDENTITIES:,}, a profile or a page of events under its XID",
                    dict[str, RequestedProfile | Placeholder] | dict[str, EventPageOfMany],
                ),
                207: Answer("Some could not be looked up: why, and none of the others", list[Failure]),
            },
        ),
        f"DELETE {PATH}": Operation(
            answers={202: Answer("The person is not read any more; a job removes what is stored")},
            query=(
                Parameter("schema.name", "The class of the profile", Literal["_xdm.context.profile"], required=True),
                *_WHO,
                _POLICY,
            ),
        ),
    },
)
