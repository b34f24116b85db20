"""Samples and their reports."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from api.preview_sample_status import PATH
from ops.openapi.describing import Answer, Area, Operation, Parameter

_Text = Annotated[str, Field(json_schema_extra={"examples": ['"2931"']})]
_Moment = Annotated[str, Field(json_schema_extra={"examples": ["2026-03-04 09:00:00.0"]})]
_Made = Annotated[str, Field(json_schema_extra={"examples": ["2026-03-04T09:00:05.120"]})]


class SampleRun(TypedDict):
    """Whether a sample is being taken, and when the last one was asked for."""

    status: bool
    submissionTimestamp: _Moment


class SampleStatus(TypedDict):
    """What the last sample found; some numbers are text, and some texts are within quotes."""

    numRowsToRead: str
    sampleJobRunning: SampleRun
    docCount: _Text
    cosmosDocCount: _Text
    totalFragmentCount: int
    lastSuccessfulBatchTimestamp: str
    streamingDriven: str
    totalRows: str
    lastBatchId: str
    status: Literal["TASK_FINISHED"]
    samplingRatio: float
    mergeStrategy: str
    lastSampledTimestamp: _Moment


class AskedSample(TypedDict):
    """The sample that is being taken."""

    id: str
    sampleJobRunning: SampleRun


class DatasetCount(TypedDict):
    """How many profiles have something from a dataset."""

    sampleCount: int
    samplePercentage: float
    fullIDsCount: int
    fullIDsPercentage: float
    name: str
    description: str
    value: str
    streamingIngestionEnabled: str
    createdUser: str
    reportTimestamp: _Made


class DatasetReport(TypedDict):
    """How many profiles have something from each dataset."""

    data: list[DatasetCount]
    reportTimestamp: _Made


class NamespaceCount(TypedDict):
    """How many profiles have an identity of a namespace."""

    sampleCount: int
    samplePercentage: float
    reportTimestamp: _Made
    fullIDsFragmentCount: int
    fullIDsCount: int
    fullIDsPercentage: float
    code: str
    value: str


class NamespaceReport(TypedDict):
    """How many profiles have an identity of each namespace."""

    data: list[NamespaceCount]
    reportTimestamp: _Made


class OverlapReport(TypedDict):
    """How many profiles have exactly a combination, by its sorted parts with commas between them."""

    data: dict[str, int]
    reportTimestamp: _Made


class SilentCount(TypedDict):
    """Profiles, and the events that they have."""

    countOfProfiles: int
    eventsAssociated: int


class SilentProfiles(SilentCount):
    """Profiles of a single fragment that were silent, all of them and by the namespace that they are known by."""

    nsDistribution: dict[str, SilentCount]


class Unstitched(TypedDict):
    """Profiles of a single fragment by how long they have been silent, beside all there are."""

    totalNumberOfProfiles: int
    totalNumberOfEvents: int
    unstitchedProfiles: dict[str, SilentProfiles]


class UnstitchedReport(TypedDict):
    """Profiles of a single fragment."""

    data: Unstitched
    reportTimestamp: _Made


DatasetFigures = TypedDict(
    "DatasetFigures",
    {
        "7days": int,
        "14days": int,
        "30days": int,
        "60days": int,
        "90days": int,
        "120days": int,
        "365days": int,
        "datasetId": str,
        "datasetType": Literal["Profiles", "ExperienceEvents"],
        "percentEvents": float,
        "percentProfiles": float,
        "profileFragments": int,
        "records": int,
        "totalProfiles": int,
    },
)


class DatasetStatsReport(TypedDict):
    """Profiles, fragments and records of each dataset, and what would be left of its events if they expired."""

    data: list[DatasetFigures]
    reportTimestamp: _Made


class Graphs(TypedDict):
    """Graphs by how many identities they have; those over the limit of look-ups; identities of collapsed ones."""

    sizes: dict[str, int]
    overLimit: int
    collapsedIdentities: int


class Stored(TypedDict):
    """Items and their bytes."""

    items: int
    bytes: int


class StoredDataset(Stored):
    """What is stored of a dataset."""

    value: str
    name: str
    datasetType: Literal["Profiles", "ExperienceEvents"]
    profiles: int
    records: int
    streams: int
    events: int
    copies: int


class MonthlyCost(TypedDict):
    """What keeping it costs in a month, and what is estimated of it or left out."""

    currency: str
    total: float
    tableStorage: float
    indexStorage: float
    pointInTimeRecovery: float
    pricesOf: str
    estimates: list[str]


class StoreInsight(TypedDict):
    """What is in a store."""

    profiles: int
    graphs: Graphs
    items: dict[str, Stored]
    datasets: list[StoredDataset]
    monthlyCost: MonthlyCost
    sampledShards: int
    measuredShards: int


class StoreReport(TypedDict):
    """What is in a store, how large it is, and what keeping it costs."""

    data: StoreInsight
    reportTimestamp: _Made


_DAY = Parameter("date", "The last report of this UTC day, as in `2026-03-04`; the last of all by default")
_REPORTS = {
    "dataset": DatasetReport,
    "namespace": NamespaceReport,
    "dataset/overlap": OverlapReport,
    "namespace/overlap": OverlapReport,
    "unstitchedProfiles": UnstitchedReport,
    "dataset_stats": DatasetStatsReport,
    "store": StoreReport,
}

AREA = Area(
    "Samples",
    "How many profiles there are, from which datasets and namespaces, and what keeping them costs.",
    {},
    {
        f"GET {PATH}": Operation(answers={200: Answer("What the last sample found", SampleStatus)}, fails=(404,)),
        f"POST {PATH}": Operation(
            body=dict[str, str],
            body_required=False,
            answers={202: Answer("A sample is being taken", AskedSample)},
            ours=True,
        ),
        **{
            f"GET {PATH}/report/{name}": Operation(
                query=(_DAY,), answers={200: Answer("The report", shape)}, fails=(400, 404), ours=name == "store"
            )
            for name, shape in _REPORTS.items()
        },
    },
)
