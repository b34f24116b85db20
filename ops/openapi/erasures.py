"""Erasing persons, holding them, and showing what is stored of one."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from api.erasures import CSV, JSON_LINES, MAX_HOLDS, PATH, SUBJECT
from api.models.erasures import WantedErasure, WantedSubject
from ops.openapi.describing import OURS, XID, Answer, Area, Operation, Parameter, Time
from tessera.domain.deletion import JobStatus
from tessera.domain.erasure import Outcome
from tessera.gateway import JSON

_ONE = PATH + "/{id}"
_HOLDS = PATH + "/holds"
_IDENTITY = (
    Parameter("entityId", "The value of an identity, or an XID"),
    Parameter("entityIdNS", "The code of the namespace of `entityId`, which is an XID without"),
)


class SandboxOfErasure(TypedDict):
    """The sandbox that a job is in."""

    sandboxName: str
    sandboxId: str


class WhatIsErased(TypedDict):
    """Whether the persons are held until that is lifted, and whether their rows are taken out of the data lake."""

    hold: bool
    lake: bool


class ErasedIdentities(TypedDict):
    """Lines of the list by what became of them, and the identities of all persons, once for each part of the list."""

    erased: int
    alone: int
    notFound: int
    invalid: int
    reached: int


class ErasureLine(TypedDict):
    """A line of the list that did not go as asked."""

    line: int
    outcome: Outcome
    reason: NotRequired[str]


class ErasureJob(TypedDict):
    """An erasure; `acceptedAt` is from when no read shows the persons any more."""

    id: str
    requestId: str
    imsOrgId: str
    sandbox: SandboxOfErasure
    jobType: Literal["DELETE"]
    requestType: Literal["ERASE_PERSONS"]
    properties: WhatIsErased
    status: JobStatus
    createEpoch: int
    updateEpoch: int
    createdAt: Time
    updatedAt: Time
    metrics: NotRequired[str]
    identities: Annotated[ErasedIdentities, OURS]
    acceptedAt: NotRequired[Annotated[Time, OURS]]
    reason: NotRequired[Annotated[str, OURS]]


class NewErasureJob(ErasureJob):
    """An erasure that was just asked for; of a short list with the lines that did not go as asked."""

    lines: NotRequired[Annotated[list[ErasureLine], OURS]]


class NextPage(TypedDict):
    """The `start` of the next page, if there is one."""

    next: NotRequired[str]


class CountedPage(NextPage):
    """How many there are on a page, and the `start` of the next one if there is one."""

    count: int


class ErasureLines(TypedDict):
    """A page of the lines that did not go as asked."""

    lines: list[ErasureLine]
    _page: NextPage


class SweptItems(TypedDict):
    """How many items of the profile table were deleted; `eventCopies` are copies of events that were not shown."""

    records: int
    events: int
    eventCopies: int


class SweptState(TypedDict):
    """How many streams with the state of computed attributes were deleted."""

    streams: int


class Swept(TypedDict):
    """What was swept, by store."""

    profileTable: SweptItems
    computedState: SweptState


class Proof(TypedDict):
    """The last round, which found nothing."""

    identities: int
    found: int
    at: Time


class RowsTakenOut(TypedDict):
    """How many rows were taken out of how many objects of a dataset: files as received, rows as judged or rejected."""

    datasetId: str
    rows: int
    objects: int


class NotLookedInto(TypedDict):
    """Something of which it is not known whether the persons are in it; with `rows`, only these could not be read."""

    why: str
    datasetId: NotRequired[str]
    batchId: NotRequired[str]
    file: NotRequired[str]
    rows: NotRequired[int]


class ProofOfLake(TypedDict):
    """The last reading of the lake, which found nothing."""

    readings: int
    objects: int
    bytes: int
    found: int
    at: Time


class LakeOfReceipt(TypedDict):
    """What was taken out of the lake; `notLookedInto` has the first 1,000 of all that could not be read."""

    datasets: list[RowsTakenOut]
    formerVersions: int
    notLookedInto: NotRequired[list[NotLookedInto]]
    notLookedIntoCount: NotRequired[int]
    proof: NotRequired[ProofOfLake]


class SourceInLake(TypedDict):
    """A batch, or the messages that were streamed from a time on, in which the persons are."""

    datasetId: str
    batchId: NotRequired[str]
    streamedFrom: NotRequired[Time]


class ExportWithPersons(TypedDict):
    """An export that has rows of the persons, or may have where its rows do not say whose they are."""

    datasetId: str
    batchId: str
    certain: bool


class Remains(TypedDict):
    """What remains by design in a store, and until when; without an end, until it is taken away."""

    store: Literal["profileTable", "backups", "queues", "lake", "exports"]
    what: str
    until: Time | None
    count: NotRequired[int]
    sources: NotRequired[list[SourceInLake]]
    exports: NotRequired[list[ExportWithPersons]]


class ErasureReceipt(TypedDict):
    """What was done and what remains; final once the status is `SUCCESS`."""

    id: str
    status: JobStatus
    requestedBy: str
    requestedAt: Time
    hold: bool
    identities: ErasedIdentities
    swept: Swept
    remains: list[Remains]
    lake: NotRequired[LakeOfReceipt]
    acceptedAt: NotRequired[Time]
    proof: NotRequired[Proof]
    finishedAt: NotRequired[Time]


class NamespaceOfPerson(TypedDict):
    """A namespace by its code."""

    code: str


class IdentityOfPerson(TypedDict):
    """An identity in plain."""

    id: str
    namespace: NamespaceOfPerson


class HoldEntry(TypedDict):
    """Who held an identity or lifted that, and when."""

    action: Literal["held", "lifted"]
    at: Time
    clientId: str
    jobId: NotRequired[str]


class HeldIdentity(TypedDict):
    """An identity that is or was held."""

    entityId: Annotated[str, Field(description=XID)]
    identity: NotRequired[IdentityOfPerson]
    held: bool
    history: list[HoldEntry]


class HeldIdentities(TypedDict):
    """A page of the identities that are held."""

    children: list[HeldIdentity]
    _page: CountedPage


class LinkOfPerson(TypedDict):
    """A link: who said so, and when."""

    linkedEntityId: str
    assertedAt: Time
    datasetId: NotRequired[str]
    batchId: NotRequired[str]
    clientId: NotRequired[str]


class RemovedLinkOfPerson(TypedDict):
    """A link that was taken away by hand."""

    linkedEntityId: str
    removedBy: str
    removedAt: Time


class StoredIdentity(TypedDict):
    """An identity of a person with its links."""

    entityId: str
    identity: NotRequired[IdentityOfPerson]
    held: bool
    blocked: bool
    deletedUntil: NotRequired[Time]
    links: list[LinkOfPerson]
    removedLinks: list[RemovedLinkOfPerson]


class StoredPiece(TypedDict):
    """A record, an event, a copy of one, or the computed state of a stream; `deleted` is one that waits for its sweep.

    A copy is what another batch or message brought of an event that is there already: it is not shown.
    """

    entityId: str
    datasetId: str
    deleted: bool
    kind: Literal["record", "event", "eventCopy", "computedState"]
    batchId: NotRequired[str]
    ingestedAt: NotRequired[Time]
    storedUntil: NotRequired[Time]
    lastActiveDay: NotRequired[str]
    body: dict[str, Any]


class ExportToLookThrough(TypedDict):
    """An export in which the person can be."""

    datasetId: str
    batchId: str


class StoredPerson(TypedDict):
    """Everything that is stored of a person: on the first page who it is and what a look-up makes of it."""

    entityId: NotRequired[str]
    collapsed: NotRequired[bool]
    identities: NotRequired[list[StoredIdentity]]
    profile: NotRequired[dict[str, Any]]
    exportsToLookThrough: NotRequired[list[ExportToLookThrough]]
    notLookedThrough: NotRequired[str]
    pieces: list[StoredPiece]
    _page: CountedPage


AREA = Area(
    "Erasure",
    "Erasing persons with proof, holding them, and showing everything that is stored of one.",
    {"id": "The id of the erasure"},
    {
        f"POST {PATH}": Operation(
            ours=True,
            body={JSON: WantedErasure, CSV: str, JSON_LINES: str},
            query=(
                Parameter("hold", "For a file: whether the persons are held", bool),
                Parameter("lake", "For a file: whether their rows are taken out of the data lake too", bool),
            ),
            answers={
                200: Answer("No read shows the persons any more", NewErasureJob),
                202: Answer("The list is taken in and worked through", NewErasureJob),
            },
        ),
        f"GET {_ONE}": Operation(ours=True, answers={200: Answer("The erasure", ErasureJob)}),
        f"GET {_ONE}/lines": Operation(
            ours=True,
            query=(Parameter("start", "The `next` of the page before", int),),
            answers={200: Answer("A page of the lines that did not go as asked", ErasureLines)},
        ),
        f"GET {_ONE}/receipt": Operation(ours=True, answers={200: Answer("The receipt", ErasureReceipt)}),
        f"GET {_HOLDS}": Operation(
            ours=True,
            query=(
                *_IDENTITY,
                Parameter("start", "The `next` of the page before"),
                Parameter("limit", "How many are looked at", Annotated[int, Field(ge=1, le=MAX_HOLDS)]),
            ),
            answers={200: Answer("A page of who is held, or the identity asked for", HeldIdentities | HeldIdentity)},
        ),
        f"DELETE {_HOLDS}": Operation(
            ours=True, query=_IDENTITY, answers={200: Answer("The hold is lifted", HeldIdentity)}
        ),
        f"POST {SUBJECT}": Operation(
            ours=True,
            body=WantedSubject,
            answers={200: Answer("What is stored of the person", StoredPerson)},
        ),
    },
)
