"""System jobs."""

from __future__ import annotations

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from api.models.system_jobs import NewDeleteJob
from api.system_job_listing import DEFAULT_LIMIT, MAX_LIMIT, SORTABLE
from api.system_jobs import PATH
from ops.openapi.describing import OURS, Answer, Area, Operation, Parameter
from ops.openapi.erasures import ErasureReceipt

_ONE = PATH + "/{id}"


class SandboxOfJob(TypedDict):
    """The sandbox that a job is in."""

    sandboxName: str
    sandboxId: str


class TargetOfJob(TypedDict):
    """What a job is about."""

    datasetId: NotRequired[str]
    batchId: NotRequired[str]
    hold: NotRequired[Annotated[bool, OURS]]
    lake: NotRequired[Annotated[bool, OURS]]


class SystemJob(TypedDict):
    """A job, with the keys of both dialects; `metrics` is a string that holds JSON, once somebody works on the job."""

    id: str
    requestId: str
    imsOrgId: str
    sandbox: SandboxOfJob
    jobType: str
    requestType: str
    dataSetId: NotRequired[str]
    batchId: NotRequired[str]
    properties: TargetOfJob
    status: str
    metrics: NotRequired[str]
    createEpoch: int
    updateEpoch: int
    createdAt: str
    updatedAt: str
    reason: NotRequired[Annotated[str, OURS]]


class PositionOfJobs(TypedDict):
    """Where a page stands; `next` is the number of the page behind it, empty on the last one."""

    count: int
    pageSize: int
    totalCount: int
    start: str
    next: str


class SystemJobPage(TypedDict):
    """A page of the jobs."""

    _page: PositionOfJobs
    children: list[SystemJob]


class Swept(TypedDict):
    """What was deleted of one store, by kind."""

    store: str
    deleted: dict[str, int]


class LastLook(TypedDict):
    """The look after the delete, which found nothing: when, and at how much."""

    at: str
    identitiesLookedAt: int
    itemsLookedAt: NotRequired[int]
    found: int
    rounds: int


class Remaining(TypedDict):
    """What is still there by design, where, and until when."""

    what: str
    where: str
    until: str


class TargetOfReceipt(TypedDict):
    """What was deleted: of a person, how many identities."""

    datasetId: NotRequired[str]
    batchId: NotRequired[str]
    identities: NotRequired[int]


class DeleteReceipt(TypedDict):
    """What a delete that is done has to show."""

    jobId: str
    target: TargetOfReceipt
    acceptedAt: str
    reached: str
    finishedAt: str
    swept: list[Swept]
    rescan: LastLook
    remains: list[Remaining]
    limits: list[str]


_JOB = Answer("The job", SystemJob)

AREA = Area(
    "System jobs",
    "Deletes of what a dataset or a batch brought into profiles, and what else works on the store.",
    {"id": "The id of the job"},
    {
        f"POST {PATH}": Operation(body=NewDeleteJob, answers={200: _JOB}, fails=(422,)),
        f"GET {PATH}": Operation(
            answers={200: Answer("A page of the jobs, the newest first", SystemJobPage)},
            query=(
                Parameter(
                    "limit",
                    f"How many a page has; {DEFAULT_LIMIT} by default",
                    Annotated[int, Field(ge=1, le=MAX_LIMIT)],
                ),
                Parameter("start", "The number of the page, from 0", Annotated[int, Field(ge=0)]),
                Parameter("page", "Another name of `start`, which wins", Annotated[int, Field(ge=0)]),
                Parameter("sort", f"Sorts within the page: {', '.join(SORTABLE)}, with `:asc` or `:desc` behind it"),
            ),
        ),
        f"GET {_ONE}": Operation(answers={200: _JOB}),
        f"GET {_ONE}/receipt": Operation(
            answers={200: Answer("The receipt of a delete, or of an erasure", DeleteReceipt | ErasureReceipt)},
            ours=True,
        ),
        f"DELETE {_ONE}": Operation(answers={200: Answer("The job is cancelled and out of the list")}),
    },
)
