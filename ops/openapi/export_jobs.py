"""Export jobs."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from api.export_job_listing import DEFAULT_LIMIT, MAX_LIMIT
from api.export_jobs import PATH
from api.models.export_jobs import NewExportJob
from ops.openapi.describing import OURS, Answer, Area, Milliseconds, Operation, Parameter
from tessera.domain.export.job import ExportStatus

_ONE = PATH + "/{id}"


class ClassOfExport(TypedDict):
    """The class of what is exported."""

    name: str


class PolicyOfExport(TypedDict):
    """The version of the merge policy that all profiles are merged under."""

    id: str
    version: int


class BatchOfSegment(TypedDict):
    """The batch that holds the members of a segment."""

    segmentId: str
    segmentNs: str
    status: list[str]
    batchId: str


class DestinationOfExport(TypedDict):
    """Where the export goes: one batch, or one per segment; both spellings of the dataset's key say the same."""

    datasetId: str
    dataSetId: str
    segmentPerBatch: bool
    batchId: NotRequired[str]
    batches: NotRequired[list[BatchOfSegment]]


class GatewayJob(TypedDict):
    """The execution that does the work, empty before it has begun."""

    exportJob: str


class Span(TypedDict):
    """When something began, and when it was over if it is."""

    startTimeInMs: Milliseconds
    endTimeInMs: NotRequired[Milliseconds]
    totalTimeInMs: NotRequired[Milliseconds]


class ExportMetrics(TypedDict):
    """How long it took, and what was exported and left out."""

    totalTime: Span
    profileExportTime: NotRequired[Span]
    aCPDatasetWriteTime: NotRequired[Span]
    totalExportedProfileCounter: NotRequired[int]
    exportedProfileByNamespaceCounter: NotRequired[dict[str, int]]
    exportedEventCounter: NotRequired[Annotated[int, OURS]]
    overLimitProfileCounter: NotRequired[Annotated[int, OURS]]
    collapsedIdentityCounter: NotRequired[Annotated[int, OURS]]


class ExportError(TypedDict):
    """Why a job failed."""

    code: str
    msg: str
    callStack: str


class ExportProgress(TypedDict):
    """How many shares of the store are done, and how many profiles are exported so far."""

    sharesDone: int
    shares: int
    profilesExported: int


class ExportJob(TypedDict):
    """An export job; `fields`, `filter` and `additionalFields` are there if they were sent."""

    id: Annotated[int, Field(json_schema_extra={"format": "int64"})]
    jobType: Literal["BATCH"]
    profileInstanceId: str
    imsOrgId: str
    schema: ClassOfExport
    status: ExportStatus
    requestId: str
    fields: NotRequired[str]
    filter: NotRequired[dict[str, Any]]
    additionalFields: NotRequired[dict[str, Any]]
    mergePolicy: PolicyOfExport
    destination: DestinationOfExport
    computeGatewayJobId: GatewayJob
    metrics: ExportMetrics
    errors: list[ExportError]
    creationTime: Milliseconds
    updateTime: Milliseconds
    progress: NotRequired[Annotated[ExportProgress, OURS]]


class ExportPosition(TypedDict):
    """Where a page stands; `pageOffset` is the cursor of the next one, `pageSize` how many this one has."""

    sortField: str
    sort: Literal["asc", "desc"]
    pageOffset: str
    pageSize: int


class ExportLink(TypedDict):
    """The address of the next page, empty on the last one."""

    next: str


class ExportJobPage(TypedDict):
    """A page of the export jobs."""

    records: list[ExportJob]
    page: ExportPosition
    link: ExportLink


class Cancelling(TypedDict):
    """That the job is given up, or was over already."""

    status: bool
    message: str


_JOB = Answer("The export job", ExportJob)

AREA = Area(
    "Export jobs",
    "Merged profiles, all of them or those of audiences, as files of a dataset.",
    {"id": "The id of the export job, a number"},
    {
        f"POST {PATH}": Operation(
            body=NewExportJob,
            answers={200: Answer("The export job", ExportJob, headers={"X-Location": "Where the job is found"})},
        ),
        f"GET {PATH}": Operation(
            answers={200: Answer("A page of the export jobs", ExportJobPage)},
            query=(
                Parameter(
                    "limit",
                    f"How many a page has; {DEFAULT_LIMIT} by default",
                    Annotated[int, Field(ge=1, le=MAX_LIMIT)],
                ),
                Parameter("offset", "The `pageOffset` of the page before, or how many jobs to pass over"),
                Parameter("start", "Another name of `offset`"),
                Parameter("status", "Only those in this state", ExportStatus),
                Parameter(
                    "sort",
                    "`createdTime` or `updateTime`, with `:asc` or `:desc` behind it; by `updateTime`, each page is "
                    "sorted by itself",
                ),
            ),
        ),
        f"GET {_ONE}": Operation(answers={200: _JOB}),
        f"DELETE {_ONE}": Operation(answers={200: Answer("The job is given up", Cancelling)}),
    },
)
