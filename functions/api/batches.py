"""Batch ingestion, and batches in the catalogue (contract: data-and-pql §4.2, §4.3)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Literal

import orjson
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from tessera.domain.batch import Batch, BatchStatus, FileFormat
from tessera.domain.errors import InvalidRequestError
from tessera.domain.intervals import Interval
from tessera.gateway import OCTET_STREAM, Endpoint, Query, Request, Response
from tessera.services.batches import Batches, BatchFilter, WantedBatch
from tessera.services.ingestion.previewing import preview
from tessera.services.uploads import Uploads
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.executions import Executions
from tessera.storage.lake import Lake
from tessera.storage.received import PRESIGNED_SECONDS
from tessera.storage.registry import Registry

endpoint = Endpoint("batches")

IMPORT = "/data/foundation/import/batches"
CATALOG = "/data/foundation/catalog"
FILES = IMPORT + "/{batch}/datasets/{dataset}/files/{path+}"
PREVIEW = IMPORT + "/{batch}/datasets/{dataset}/preview"

MAX_PAGE = 100
DEFAULT_PAGE = 20
PREVIEWED_ROWS = 20
MAX_PREVIEWED_ROWS = 1000
# How CSV is read here; a preview that is asked for in another way would show what ingestion does not see.
_CSV_FORM = {"delimiter": ",", "quote": '"', "charset": "UTF-8"}
_MAX_TAGS_BYTES = 10_000
_MAX_RANGES = 100
_OTHER_NAMES = {"active": "success", "failure": "failed", "processing": "staging"}
# States that the contract names and no batch here is ever in.
_NEVER = frozenset({"queued", "abandoned", "archived", "retained"})
_IN_PARTS = "action must be INITIALIZE or COMPLETE for a file in parts, or PRESIGN"
_LARGER = (
    "Send a larger file in parts: POST …/files/{path}?action=INITIALIZE, PATCH each part with its Content-Range, "
    "POST …?action=COMPLETE. Or send it straight to storage, to the address that POST …?action=PRESIGN gives."
)


@cache
def _records() -> BatchStore:
    return BatchStore(Registry(aws.dynamodb(), aws.registry_table()))


@cache
def _lake() -> Lake:
    return Lake(aws.s3(), aws.lake_bucket())


@cache
def _uploads() -> Uploads:
    return Uploads(_records(), _lake())


@cache
def _batches() -> Batches:
    return Batches(
        _records(),
        ConfigurationStore(aws.dynamodb(), aws.registry_table()),
        _lake(),
        Executions(aws.stepfunctions, lambda: os.environ["INGEST_STATE_MACHINE_ARN"]),
    )


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class InputFormat(BaseModel):
    """How the files are written; ``format`` in any case."""

    model_config = ConfigDict(populate_by_name=True)

    format: Annotated[str, BeforeValidator(_lower)] = "parquet"
    multi_line: bool = Field(default=False, alias="isMultiLineJson")


def _plain(value: object) -> object:
    """Strip the ``$`` and ``${}`` that some callers put around ids (§6, D-31)."""
    if not isinstance(value, str):
        return value
    bare = value.strip().removeprefix("$")
    return bare[1:-1] if bare.startswith("{") and bare.endswith("}") else bare


BatchName = Annotated[str, BeforeValidator(_plain), Field(min_length=1, max_length=512)]


class Replay(BaseModel):
    """Which batches a new one replaces, by their ids or by those that their creator gave them."""

    predecessors: list[BatchName] = Field(default_factory=list, max_length=100)
    predecessors_by_external_id: list[BatchName] = Field(
        default_factory=list, max_length=100, alias="predecessorsByExternalId"
    )
    reason: Literal["replace"] = "replace"


class NewBatch(BaseModel):
    """The body of a create; names as the documentation and as its client spell them."""

    dataset_id: str = Field(validation_alias=AliasChoices("datasetId", "dataSetId"), min_length=1, max_length=128)
    input_format: InputFormat = Field(default_factory=InputFormat, alias="inputFormat")
    external_id: str = Field(default="", alias="externalId", max_length=512)
    replay: Replay | None = None
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
        if self.input_format.format not in set(FileFormat):
            raise InvalidRequestError("inputFormat.format must be json, parquet or csv")
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
            tuple(self.replay.predecessors) if self.replay else (),
            tuple(self.replay.predecessors_by_external_id) if self.replay else (),
        )


@endpoint.post(IMPORT, permission="ingest")
def create(request: Request) -> Response:
    """Create a batch."""
    batch = _batches().create(request.tenant, request.parse(NewBatch).wanted(), request.caller)
    return Response(_described(batch, request), 201)


@endpoint.patch(IMPORT, permission="ingest")
def replay(request: Request) -> Response:
    """Create a batch that replaces others: how Adobe's client asks for it (§6, D-31)."""
    wanted = request.parse(NewBatch).wanted()
    if not (wanted.replaces or wanted.replaces_external):
        raise InvalidRequestError("replay must name the batches to replace; to create another batch, POST")
    return Response(_described(_batches().create(request.tenant, wanted, request.caller), request), 201)


@endpoint.post(IMPORT + "/{batch}", permission="ingest")
def signal(request: Request) -> Response:
    """Complete a batch, give it up or take it back; ``action`` in any case."""
    batch_id = request.path_parameters["batch"]
    match (request.query.get("action") or "").upper():
        case "COMPLETE":
            _batches().complete(request.tenant, batch_id, request.caller)
        case "ABORT":
            _batches().give_up(request.tenant, batch_id, BatchStatus.ABORTED, request.caller)
        case "FAIL":
            _batches().give_up(request.tenant, batch_id, BatchStatus.FAILED, request.caller)
        case "REVERT":
            _batches().revert(request.tenant, batch_id, request.caller)
        case _:
            raise InvalidRequestError("action must be COMPLETE, ABORT, FAIL or REVERT")
    return Response({})


@endpoint.put(FILES, permission="ingest", accepts=(OCTET_STREAM,), too_large=_LARGER)
def upload(request: Request) -> Response:
    """Store a file; 200 for a first one too, since a client reads 201 without a body as an error (§4.2)."""
    _batches().receive(request.tenant, *_file(request), request.raw_body)
    return Response({})


@endpoint.post(FILES, permission="ingest")
def large_file(request: Request) -> Response:
    """Begin or complete a file in parts, or give an address to which it can be sent directly: a call of ours."""
    path = request.path_parameters["path"]
    match (request.query.get("action") or "").upper():
        case "INITIALIZE":
            _uploads().initialize(request.tenant, *_file(request))
            return Response({}, 201)
        case "COMPLETE":
            size = _uploads().complete(request.tenant, *_file(request))
            return Response({"name": path, "sizeInBytes": size})
        case "PRESIGN":
            url = _batches().receiving_url(request.tenant, *_file(request))
            return Response({"url": url, "method": "PUT", "headers": {}, "expiresInSeconds": PRESIGNED_SECONDS})
        case _:
            raise InvalidRequestError(_IN_PARTS)


@endpoint.patch(FILES, permission="ingest", accepts=(OCTET_STREAM,), too_large="Send smaller parts.")
def part(request: Request) -> Response:
    """Store a part of a file that was begun; ``sizeInBytes`` is the part's."""
    header = request.headers.get("content-range", "")
    interval = _uploads().receive_part(request.tenant, *_file(request), header, request.raw_body)
    return Response(
        {"name": request.path_parameters["path"], "sizeInBytes": interval.size}, headers={"Range": _ranges([interval])}
    )


@endpoint.head(FILES, permission="read")
def file_status(request: Request) -> Response:
    """Tell which bytes of a file in parts were received; without any there is no ``Range``."""
    received = _uploads().received(request.tenant, *_file(request))
    return Response(None, headers={"Range": _ranges(received)} if received else {})


@endpoint.get(PREVIEW, permission="read")
def previewed(request: Request) -> Response:
    """Show the first rows of a batch's files as a table, before they are judged."""
    query, at = request.query, request.path_parameters
    batch = _batches().of_dataset(request.tenant, at["batch"], at["dataset"])
    form = (query.get("format") or batch.format).lower()
    if form not in set(FileFormat):
        raise InvalidRequestError("format must be json, parquet or csv")
    for name, wanted in _CSV_FORM.items():
        if (query.get(name) or wanted).lower() != wanted.lower():
            raise InvalidRequestError(f"{name} must be {wanted}: files are read in no other way")
    if not query.flag("header", True):
        raise InvalidRequestError("header must be true: the first line of CSV names its columns")
    multi_line = query.flag("isMultiLineJson", batch.multi_line) and form == FileFormat.JSON
    count = query.integer("nrow", 0, maximum=MAX_PREVIEWED_ROWS, clamp=True) or PREVIEWED_ROWS
    found = preview(_lake(), request.tenant, batch.id, batch.dataset_id, FileFormat(form), multi_line, count)
    told = {**_CSV_FORM, "escape": '"', "header": True} if form == FileFormat.CSV else {}
    return Response(
        {
            "formatParams": {"format": form, **told},
            "preview": {
                "columns": [{"cid": str(cid), "name": name} for cid, name in enumerate(found.columns)],
                "rows": [{str(cid): text for cid, text in row.items()} for row in found.rows],
            },
        }
    )


@endpoint.get(CATALOG + "/batches", permission="read")
def list_batches(request: Request) -> Response:
    """List batches, newest first unless ``orderBy`` says otherwise, keyed by their ids."""
    query = request.query
    wanted = BatchFilter(
        statuses=_statuses(query),
        dataset_id=query.get("dataSet"),
        external_id=query.get("externalId"),
        batch_id=query.get("batch"),
        created_user=query.get("createdUser"),
        created_ms=query.integer("created", 0) if "created" in query else None,
        updated_ms=query.integer("updated", 0) if "updated" in query else None,
        created_after_ms=query.integer("createdAfter", 0) if "createdAfter" in query else None,
        created_before_ms=query.integer("createdBefore", 0) if "createdBefore" in query else None,
    )
    found = _batches().listed(
        request.tenant,
        wanted,
        start=query.integer("start" if "start" in query else "offset", 0, maximum=1_000_000),
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


def _file(request: Request) -> tuple[str, str, str]:
    at = request.path_parameters
    return at["batch"], at["dataset"], at["path"]


def _ranges(intervals: Sequence[Interval]) -> str:
    return f"bytes={','.join(f'{interval.first}-{interval.last}' for interval in intervals[:_MAX_RANGES])}"


def _statuses(query: Query) -> frozenset[str]:
    names = [_OTHER_NAMES.get(name.lower(), name.lower()) for name in query.listed("status")]
    unknown = [name for name in names if name not in {*BatchStatus, *_NEVER}]
    if unknown:
        raise InvalidRequestError(f"status must be one of {', '.join(BatchStatus)}")
    return frozenset(names)


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
    if batch.predecessors:
        described["replay"] = {"predecessors": list(batch.predecessors), "reason": "replace"}
    if batch.metrics:
        described["recordCount"] = batch.metrics["inputRecordCount"]
        described["failedRecordCount"] = batch.metrics["failedRecordCount"]
    return described


handler = endpoint.handler
