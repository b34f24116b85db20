"""Batch ingestion, and batches in the catalogue (contract: data-and-pql §4.2, §4.3)."""

from __future__ import annotations

import os
from functools import cache
from typing import Annotated, Any

import orjson
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from tessera.domain.batch import Batch, BatchStatus, FileFormat
from tessera.domain.errors import InvalidRequestError
from tessera.gateway import OCTET_STREAM, Endpoint, Query, Request, Response
from tessera.services.batches import Batches, BatchFilter, WantedBatch
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.executions import Executions
from tessera.storage.lake import PRESIGNED_SECONDS, Lake
from tessera.storage.registry import Registry

endpoint = Endpoint("batches")

IMPORT = "/data/foundation/import/batches"
CATALOG = "/data/foundation/catalog"
FILES = IMPORT + "/{batch}/datasets/{dataset}/files/{path+}"

MAX_PAGE = 100
DEFAULT_PAGE = 20
_MAX_TAGS_BYTES = 10_000
_OTHER_NAMES = {"active": "success", "failure": "failed"}
_IN_PARTS = (
    "Files in parts are not supported yet: PUT the file as a whole, or ask for an address that takes it with "
    "POST …/files/{path}?action=PRESIGN"
)


@cache
def _batches() -> Batches:
    registry = Registry(aws.dynamodb(), aws.registry_table())
    return Batches(
        BatchStore(registry),
        ConfigurationStore(aws.dynamodb(), aws.registry_table()),
        Lake(aws.s3(), aws.lake_bucket()),
        Executions(aws.stepfunctions, lambda: os.environ["INGEST_STATE_MACHINE_ARN"]),
    )


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class InputFormat(BaseModel):
    """How the files are written; ``format`` in any case."""

    model_config = ConfigDict(populate_by_name=True)

    format: Annotated[str, BeforeValidator(_lower)] = "parquet"
    multi_line: bool = Field(default=False, alias="isMultiLineJson")


class NewBatch(BaseModel):
    """The body of a create; names as the documentation and as its client spell them."""

    dataset_id: str = Field(validation_alias=AliasChoices("datasetId", "dataSetId"), min_length=1, max_length=128)
    input_format: InputFormat = Field(default_factory=InputFormat, alias="inputFormat")
    external_id: str = Field(default="", alias="externalId", max_length=512)
    replay: dict[str, Any] | None = None
    tags: dict[str, list[str]] = Field(default_factory=dict)
    diagnostics: bool = Field(default=False, alias="enableErrorDiagnostics")
    partial_percent: float | None = Field(
        default=None,
        ge=0,
        le=100,
        allow_inf_nan=False,
        validation_alias=AliasChoices("partialIngestionPercent", "partialIngestionPercentage"),
    )

    def wanted(self) -> WantedBatch:
        """Read it in the service's terms.

        Raises InvalidRequestError for what the service does not take.
        """
        if self.replay:
            raise InvalidRequestError("Replaying batches is not supported yet")
        if self.input_format.format == "csv":
            raise InvalidRequestError("The format csv is not supported yet: send json or parquet")
        if self.input_format.format not in set(FileFormat):
            raise InvalidRequestError("inputFormat.format must be json or parquet")
        if len(orjson.dumps(self.tags)) > _MAX_TAGS_BYTES:
            raise InvalidRequestError(f"tags may have {_MAX_TAGS_BYTES} bytes")
        return WantedBatch(
            self.dataset_id,
            FileFormat(self.input_format.format),
            self.input_format.multi_line,
            self.diagnostics,
            self.partial_percent or None,
            self.external_id,
            self.tags,
        )


@endpoint.post(IMPORT, permission="ingest")
def create(request: Request) -> Response:
    """Create a batch."""
    batch = _batches().create(request.tenant, request.parse(NewBatch).wanted(), request.caller)
    return Response(_described(batch, request), 201)


@endpoint.patch(IMPORT, permission="ingest")
def replay(request: Request) -> Response:
    """Refuse the client's way to replay (§6, D-31), which no other call has."""
    raise InvalidRequestError("Replaying batches is not supported yet")


@endpoint.post(IMPORT + "/{batch}", permission="ingest")
def signal(request: Request) -> Response:
    """Complete a batch or give it up; ``action`` in any case."""
    batch_id = request.path_parameters["batch"]
    match (request.query.get("action") or "").upper():
        case "COMPLETE":
            _batches().complete(request.tenant, batch_id, request.caller)
        case "ABORT":
            _batches().give_up(request.tenant, batch_id, BatchStatus.ABORTED, request.caller)
        case "FAIL":
            _batches().give_up(request.tenant, batch_id, BatchStatus.FAILED, request.caller)
        case "REVERT":
            raise InvalidRequestError("Reverting batches is not supported yet")
        case _:
            raise InvalidRequestError("action must be COMPLETE, ABORT or FAIL")
    return Response({})


@endpoint.put(FILES, permission="ingest", accepts=(OCTET_STREAM,))
def upload(request: Request) -> Response:
    """Store a file; 200 for a first one too, since a client reads 201 without a body as an error (§4.2)."""
    at = request.path_parameters
    _batches().receive(request.tenant, at["batch"], at["dataset"], at["path"], request.raw_body)
    return Response({})


@endpoint.post(FILES, permission="ingest")
def large_file(request: Request) -> Response:
    """Give an address to which a large file can be sent directly: a call of ours."""
    action = (request.query.get("action") or "").upper()
    if action in {"INITIALIZE", "COMPLETE"}:
        raise InvalidRequestError(_IN_PARTS)
    if action != "PRESIGN":
        raise InvalidRequestError("action must be PRESIGN")
    at = request.path_parameters
    url = _batches().receiving_url(request.tenant, at["batch"], at["dataset"], at["path"])
    return Response({"url": url, "method": "PUT", "headers": {}, "expiresInSeconds": PRESIGNED_SECONDS})


@endpoint.patch(FILES, permission="ingest", accepts=(OCTET_STREAM,))
def part(request: Request) -> Response:
    """Refuse a part of a file."""
    raise InvalidRequestError(_IN_PARTS)


@endpoint.get(CATALOG + "/batches", permission="read")
def list_batches(request: Request) -> Response:
    """List batches, newest first unless ``orderBy`` says otherwise, keyed by their ids."""
    query = request.query
    wanted = BatchFilter(
        statuses=_statuses(query),
        dataset_id=query.get("dataSet"),
        external_id=query.get("externalId"),
        batch_id=query.get("batch"),
        created_after_ms=query.integer("createdAfter", 0) if "createdAfter" in query else None,
        created_before_ms=query.integer("createdBefore", 0) if "createdBefore" in query else None,
    )
    found = _batches().listed(
        request.tenant,
        wanted,
        start=query.integer("start", 0, maximum=1_000_000),
        limit=query.integer("limit", DEFAULT_PAGE, minimum=1, maximum=MAX_PAGE, clamp=True),
        newest_first=not (query.get("orderBy") or "").lower().startswith("asc"),
    )
    kept = set(query.listed("properties"))
    return Response({batch.id: _selected(_described(batch, request), kept) for batch in found})


@endpoint.get(CATALOG + "/batches/{batch}", permission="read")
def look_up(request: Request) -> Response:
    """Look a batch up."""
    batch = _batches().get(request.tenant, request.path_parameters["batch"])
    return Response({batch.id: _described(batch, request)})


@endpoint.get(CATALOG + "/batch/{batch}", permission="read")
def look_up_alias(request: Request) -> Response:
    """Look a batch up, by the other spelling of the path (§6, D-35)."""
    return look_up(request)


def _statuses(query: Query) -> frozenset[BatchStatus]:
    names = [_OTHER_NAMES.get(name.lower(), name.lower()) for name in query.listed("status")]
    known = frozenset(BatchStatus(name) for name in names if name in set(BatchStatus))
    if names and not known:
        raise InvalidRequestError(f"status must be one of {', '.join(BatchStatus)}")
    return known


def _selected(described: dict[str, Any], kept: set[str]) -> dict[str, Any]:
    return {key: value for key, value in described.items() if key in kept} if kept else described


def _described(batch: Batch, request: Request) -> dict[str, Any]:
    """Write a batch as the catalogue shows it; times in milliseconds since 1970, unknown ones absent."""
    tags = dict(batch.tags)
    if batch.diagnostics:
        tags["acp_enableErrorDiagnostics"] = ["true"]
    if batch.partial_percent is not None:
        tags["acp_partialIngestionPercent"] = [f"{batch.partial_percent:g}"]
    input_format: dict[str, Any] = {"format": batch.format.value}
    if batch.format is FileFormat.JSON:
        input_format["isMultiLineJson"] = batch.multi_line
    described: dict[str, Any] = {
        "id": batch.id,
        "imsOrg": request.tenant.org_id,
        "sandboxId": request.sandbox.id,
        "created": batch.created_ms,
        "createdClient": batch.created_by,
        "createdUser": batch.created_by,
        "updated": batch.updated_ms,
        "updatedUser": batch.updated_by,
        "externalId": batch.external_id,
        "status": batch.status.value,
        "version": "1.0.0",
        "relatedObjects": [{"type": "dataSet", "id": batch.dataset_id}],
        "tags": tags,
        "inputFormat": input_format,
        "errors": list(batch.errors),
        "metrics": dict(batch.metrics),
    }
    times = {"started": batch.started_ms, "completed": batch.finished_ms}
    described |= {name: value for name, value in times.items() if value}
    if batch.metrics:
        described["recordCount"] = batch.metrics["inputRecordCount"]
        described["failedRecordCount"] = batch.metrics["failedRecordCount"]
    return described


handler = endpoint.handler
