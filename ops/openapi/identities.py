"""Identities, their graphs and links, and namespaces."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from api.identities import IDENTITY, NAMESPACES, NamedIdentity, NamedLink, NamespaceBody, WantedClusters
from ops.openapi.describing import OURS, XID, Answer, Area, Milliseconds, Operation, Parameter, Time
from ops.openapi.profiles import Identity
from tessera.services.links import LinkState


class Xid(TypedDict):
    """An identity as one opaque text."""

    xid: str


class CompositeIdentity(TypedDict):
    """An identity by namespace and value."""

    ns: str
    nsid: int | None
    id: str


class Member(CompositeIdentity):
    """An identity of a graph."""

    xid: str


class Cluster(TypedDict):
    """The graph of an identity; no members if nothing is stored of it."""

    xid: str
    compositeXid: NotRequired[CompositeIdentity]
    members: list[Member]


class Clusters(TypedDict):
    """The graph of each identity asked for."""

    version: str
    clusters: list[Cluster]


class Word(TypedDict):
    """Who says that two identities are linked, and since when: a dataset's row, or a client by hand."""

    assertedAt: Time
    datasetId: NotRequired[str]
    batchId: NotRequired[str]
    clientId: NotRequired[str]


class LinkOfIdentity(TypedDict):
    """A link of an identity; `reason` says why it is refused, `removedBy` and `removedAt` who took it away."""

    linkedEntityId: str
    identity: Identity
    state: LinkState
    assertedBy: list[Word]
    reason: NotRequired[str]
    removedBy: NotRequired[str]
    removedAt: NotRequired[Time]


class LinkAction(TypedDict):
    """What somebody did to an identity's links by hand."""

    action: Literal["added", "removed", "blocked", "unblocked"]
    identities: list[str]
    clientId: str
    at: Time


class LinksOfIdentity(TypedDict):
    """The links of an identity, and what was done to them by hand, oldest first."""

    entityId: Annotated[str, Field(description=XID)]
    links: list[LinkOfIdentity]
    history: list[LinkAction]


class Blocked(TypedDict):
    """Whether an identity is blocked."""

    entityId: str
    blocked: bool


class Namespace(TypedDict):
    """An identity namespace; of a `unique` one a person has one value."""

    id: int
    code: str
    name: str
    description: str
    idType: str
    status: Literal["ACTIVE"]
    custom: bool
    unique: Annotated[bool, OURS]
    createTime: Milliseconds
    updateTime: Milliseconds


_GRAPH_TYPE = Parameter("graph-type", "`none` for the identity alone; else its whole graph")
_NAMESPACE = Answer("The namespace", Namespace)
_LINKS = Answer("The links of the identity", LinksOfIdentity)
_WHO = (
    Parameter("entityId", "An identity's value; alone, an XID", required=True),
    Parameter("entityIdNS", "The code of the namespace of `entityId`"),
)
_OTHER = (
    Parameter("linkedEntityId", "The other identity's value; alone, an XID", required=True),
    Parameter("linkedEntityIdNS", "The code of the namespace of `linkedEntityId`"),
)


def _optional(parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    return tuple(Parameter(one.name, f"{one.text}; read when there is no body") for one in parameters)


_CLUSTERS = Operation(body=WantedClusters, answers={200: Answer("The graph of each identity", Clusters)})

AREA = Area(
    "Identities",
    "Which identities belong to one person, who says so, and how to take it back.",
    {"id": "The number of the namespace"},
    {
        f"GET {IDENTITY}/identity": Operation(
            answers={200: Answer("The XID, whether anything is stored of the identity or not", Xid)},
            query=(
                Parameter("id", "The value of the identity", required=True),
                Parameter("namespace", "The code of its namespace"),
                Parameter("nsid", "The number of its namespace, instead of the code", int),
            ),
        ),
        f"GET {IDENTITY}/cluster/members": Operation(
            answers={200: Answer("The graph of the identity", Cluster)},
            query=(
                Parameter("xid", "The identity as an XID; or"),
                Parameter("id", "its value, with"),
                Parameter("ns", "the code of its namespace, or"),
                Parameter("nsid", "the number of its namespace", int),
                _GRAPH_TYPE,
            ),
        ),
        f"POST {IDENTITY}/clusters/members": _CLUSTERS,
        f"POST {IDENTITY}/v2/graph": _CLUSTERS,
        f"GET {IDENTITY}/links": Operation(answers={200: _LINKS}, query=_WHO, ours=True),
        f"POST {IDENTITY}/links": Operation(
            body=NamedLink, body_required=False, answers={200: _LINKS}, query=_optional((*_WHO, *_OTHER)), ours=True
        ),
        f"DELETE {IDENTITY}/links": Operation(answers={200: _LINKS}, query=(*_WHO, *_OTHER), ours=True),
        f"POST {IDENTITY}/blocked": Operation(
            body=NamedIdentity, answers={200: Answer("It is blocked", Blocked)}, ours=True
        ),
        f"DELETE {IDENTITY}/blocked": Operation(
            answers={200: Answer("It is not blocked any more", Blocked)}, query=_WHO, ours=True
        ),
        f"GET {NAMESPACES}": Operation(answers={200: Answer("The namespaces", list[Namespace])}),
        f"POST {NAMESPACES}": Operation(body=NamespaceBody, answers={200: _NAMESPACE}),
        f"GET {NAMESPACES}/{{id}}": Operation(answers={200: _NAMESPACE}),
        f"PUT {NAMESPACES}/{{id}}": Operation(body=NamespaceBody, answers={200: _NAMESPACE}),
    },
)
