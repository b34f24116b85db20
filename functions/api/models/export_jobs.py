"""Bodies of the export jobs endpoint (contract: data-and-pql §3.2)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, field_validator, model_validator

from api.models.entities import MAX_FIELDS
from tessera.domain.export.job import Segment, Wanted, WantedEvents
from tessera.domain.times import parse_ms
from tessera.services.export.jobs import PolicyChoice

MAX_SEGMENTS = 500

Id = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Status = Literal["realized", "existing", "exited"]


def _paths(value: object) -> tuple[str, ...]:
    """Read dotted paths with commas between them; blank is none."""
    if not isinstance(value, str):
        raise ValueError("must be text: dotted paths with commas between them")
    paths = tuple(path for part in value.split(",") if (path := part.strip()))
    if len(paths) > MAX_FIELDS:
        raise ValueError(f"may name {MAX_FIELDS} paths, not {len(paths)}")
    return paths


def _time(value: object) -> int:
    """Read a time as RFC 3339 writes it, in milliseconds since 1970."""
    if not isinstance(value, str):
        raise ValueError("must be a date and time such as 2025-06-18T14:00:00Z")
    try:
        return parse_ms(value)
    except (ValueError, OverflowError):
        raise ValueError("must be a date and time such as 2025-06-18T14:00:00Z") from None


def _blank(value: object) -> object:
    return {} if value in (None, "") else value


Paths = Annotated[tuple[str, ...], BeforeValidator(_paths, json_schema_input_type=str)]
Time = Annotated[int, BeforeValidator(_time, json_schema_input_type=str)]


class SchemaOfExport(BaseModel):
    """The class of what is exported."""

    name: Literal["_xdm.context.profile"]


class Destination(BaseModel):
    """The dataset that receives the export; ``dataSetId`` is another spelling."""

    dataset_id: Id = Field(alias="datasetId")
    segment_per_batch: bool = Field(False, alias="segmentPerBatch")

    @model_validator(mode="before")
    @classmethod
    def _either_spelling(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "dataSetId" not in value:
            return value
        if value.get("datasetId", value["dataSetId"]) != value["dataSetId"]:
            raise ValueError("datasetId and dataSetId are two spellings of one key: they cannot differ")
        return {**value, "datasetId": value["dataSetId"]}


class PolicyReference(BaseModel):
    """A version of a merge policy; the last one of the default policy where nothing is said."""

    id: Annotated[str, StringConstraints(max_length=256)] = ""
    version: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None


class SegmentFilter(BaseModel):
    """An audience, and in which states its members are exported."""

    id: Id = Field(alias="segmentId")
    namespace: Id = Field("ups", alias="segmentNs")
    status: Annotated[list[Status], Field(min_length=1, max_length=3)] = ["realized", "existing"]


class QualificationTime(BaseModel):
    """When members qualified; both bounds are inclusive."""

    start: Time | None = Field(None, alias="startTime")
    end: Time | None = Field(None, alias="endTime")


class Filter(BaseModel):
    """Who is exported."""

    segments: Annotated[list[SegmentFilter], Field(max_length=MAX_SEGMENTS)] = []
    qualified: QualificationTime = Field(QualificationTime(), alias="segmentQualificationTime")
    ingested_after: Time | None = Field(None, alias="fromIngestTimestamp")
    empty: bool = Field(False, alias="emptyProfiles")

    @field_validator("segments")
    @classmethod
    def _each_once(cls, value: list[SegmentFilter]) -> list[SegmentFilter]:
        known = {(segment.namespace, segment.id) for segment in value}
        if len(known) < len(value):
            raise ValueError("a segment can be named once: give all of its statuses together")
        return value


class EventFilter(BaseModel):
    """Which events go along: those ingested after and before two times."""

    after: Time | None = Field(None, alias="fromIngestTimestamp")
    before: Time | None = Field(None, alias="toIngestTimestamp")


class EventList(BaseModel):
    """That events go along, and which of their fields."""

    fields_: Paths = Field((), alias="fields")
    filter: Annotated[EventFilter, BeforeValidator(_blank)] = EventFilter()


class AdditionalFields(BaseModel):
    """What goes along with profiles; without ``eventList`` no event does."""

    events: EventList | None = Field(None, alias="eventList")


class EvaluationInfo(BaseModel):
    """Whether audiences are to be evaluated as part of the export: they are not."""

    segmentation: Literal[False] = False

    @field_validator("segmentation", mode="before")
    @classmethod
    def _not_here(cls, value: object) -> object:
        if value is True:
            raise ValueError("must be false: an export takes segmentMembership as it is in the profiles")
        return value


class NewExportJob(BaseModel):
    """An export job as a caller describes it."""

    # Not called `schema`: that is a method of every model.
    schema_reference: SchemaOfExport = Field(alias="schema")
    destination: Destination
    fields_: Paths = Field((), alias="fields")
    policy: Annotated[PolicyReference, BeforeValidator(_blank)] = Field(PolicyReference(), alias="mergePolicy")
    filter: Annotated[Filter, BeforeValidator(_blank)] = Filter()
    additional: Annotated[AdditionalFields, BeforeValidator(_blank)] = Field(
        AdditionalFields(), alias="additionalFields"
    )
    evaluation: Annotated[EvaluationInfo, BeforeValidator(_blank)] = Field(EvaluationInfo(), alias="evaluationInfo")

    def wanted(self) -> Wanted:
        """Read it in the domain's terms."""
        events = self.additional.events
        return Wanted(
            self.destination.dataset_id,
            fields=self.fields_,
            segments=tuple(Segment(one.id, one.namespace, tuple(one.status)) for one in self.filter.segments),
            segment_per_batch=self.destination.segment_per_batch,
            qualified_from_ms=self.filter.qualified.start,
            qualified_to_ms=self.filter.qualified.end,
            ingested_after_ms=self.filter.ingested_after,
            empty=self.filter.empty,
            events=None if events is None else WantedEvents(events.fields_, events.filter.after, events.filter.before),
        )

    def policy_choice(self) -> PolicyChoice:
        """Return which merge policy was asked for."""
        return PolicyChoice(self.policy.id, self.policy.version)
