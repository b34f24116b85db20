"""Inlets: where messages are sent to."""

from __future__ import annotations

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from api.connection_listing import DEFAULT_LIMIT, DEFAULT_ORDER, MAX_LIMIT
from api.models.dataset import Patch
from api.models.inlets import Connection
from ops.openapi.describing import Answer, Area, Milliseconds, Operation, Parameter

_COLLECTION = "/data/foundation/flowservice/connections"
_ONE = _COLLECTION + "/{id}"


class StreamingSpec(TypedDict):
    """What kind of source it is."""

    id: str
    version: str


class StreamingParameters(TypedDict):
    """The inlet: messages are sent to `inletUrl`, with a token if `authenticationRequired`."""

    sourceId: str
    name: str
    dataType: str
    authenticationRequired: bool
    inletId: str
    inletUrl: str


class StreamingAuthentication(TypedDict):
    """How messages come in."""

    specName: str
    params: StreamingParameters


class StreamingConnection(TypedDict):
    """A streaming connection. `version` is its `etag`."""

    id: str
    name: str
    description: NotRequired[str]
    state: str
    connectionSpec: StreamingSpec
    auth: StreamingAuthentication
    imsOrgId: str
    sandboxId: str
    sandboxName: str
    createdAt: Milliseconds
    createdBy: str
    createdClient: str
    updatedAt: Milliseconds
    updatedBy: str
    updatedClient: str
    version: str
    etag: str


class ConnectionReference(TypedDict):
    """A connection's id, and its etag from now on."""

    id: str
    etag: str


class ConnectionLink(TypedDict):
    """A path below `/data/foundation/flowservice`."""

    href: str


class ConnectionLinks(TypedDict):
    """The next page, if there is one."""

    next: NotRequired[ConnectionLink]


class ConnectionPage(TypedDict):
    """A page of connections."""

    items: list[StreamingConnection]
    _links: ConnectionLinks


class ConnectionCount(TypedDict):
    """How many there are."""

    count: int


class OneConnection(TypedDict):
    """A list of one."""

    items: list[StreamingConnection]


AREA = Area(
    "Inlets",
    "Streaming connections: each has an inlet, which is where messages of a sandbox are sent to.",
    {"id": "The connection's id"},
    {
        f"POST {_COLLECTION}": Operation(
            body=Connection,
            answers={201: Answer("It is made", ConnectionReference, {"Location": "Where it is read"})},
        ),
        f"GET {_COLLECTION}": Operation(
            answers={200: Answer("A page of connections, or how many there are", ConnectionPage | ConnectionCount)},
            query=(
                Parameter(
                    "property",
                    "A filter, such as `state==enabled`: a path, one of `== != < > <= >=` and a value, or several "
                    "with commas between them of which one must be it; all filters must hold",
                    list[str],
                ),
                Parameter("orderby", f"A path, with `-` before it from the end; `{DEFAULT_ORDER}` by default"),
                Parameter(
                    "limit",
                    f"How many at most; {DEFAULT_LIMIT} by default",
                    Annotated[int, Field(ge=1, le=MAX_LIMIT)],
                ),
                Parameter("continuationToken", "Where the next page begins, from the `next` of a page"),
                Parameter("count", "Whether only to count", bool),
            ),
        ),
        f"GET {_ONE}": Operation(answers={200: Answer("The connection", OneConnection, {"ETag": "Its etag"})}),
        f"PATCH {_ONE}": Operation(
            body=Patch,
            answers={200: Answer("It is changed", ConnectionReference)},
            headers={"If-Match": "The etag that is to be changed, or `*`"},
            fails=(412, 428),
        ),
        f"DELETE {_ONE}": Operation(answers={204: Answer("It is gone")}),
    },
)
