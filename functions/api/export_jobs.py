"""Export jobs: ``/data/core/ups/export/jobs`` (contract: data-and-pql §3)."""

from __future__ import annotations

from functools import cache
from os import environ
from typing import Any

import orjson

from api.export_job_listing import Listing
from api.models.export_jobs import NewExportJob
from tessera.domain.errors import InvalidRequestError, NotFoundError
from tessera.domain.export.job import ExportJob, ExportStatus
from tessera.domain.merge_policy import PROFILE_CLASS
from tessera.gateway import Endpoint, Request, Response
from tessera.services.export.jobs import Exports
from tessera.services.merge_policies import MergePolicies
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.executions import Executions
from tessera.storage.exports import ExportStore
from tessera.storage.registry import Registry

PATH = "/data/core/ups/export/jobs"

_ONE = PATH + "/{id}"
_PROFILE_INSTANCE = "ups"
_ECHOED = ("fields", "filter", "additionalFields")
_LONGEST_ID = 16
# A job keeps what was asked for, and shows it.
_MAX_ASKED_BYTES = 100_000

endpoint = Endpoint("export_jobs")
handler = endpoint.handler


@cache
def _exports() -> Exports:
    registry = Registry(aws.dynamodb(), aws.registry_table())
    configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())
    return Exports(
        ExportStore(registry),
        configurations,
        MergePolicies(configurations, registry),
        Executions(aws.stepfunctions, lambda: environ["EXPORT_STATE_MACHINE_ARN"]),
    )


@endpoint.post(PATH, permission="read")
def create(request: Request) -> Response:
    """Start an export; 200, and the batch that it will bring has its id already."""
    body = request.json()
    new = NewExportJob.model_validate(body)
    asked = {name: body[name] for name in _ECHOED if name in body}
    if len(orjson.dumps(asked)) > _MAX_ASKED_BYTES:
        raise InvalidRequestError(f"{', '.join(_ECHOED)} may have {_MAX_ASKED_BYTES:,} bytes together")
    job = _exports().create(
        request.tenant,
        new.wanted(),
        new.policy_choice(),
        caller=request.caller,
        request_id=request.request_id,
        asked=asked,
    )
    return Response(_described(job, request), headers={"X-Location": f"{PATH}/{job.id}"})


@endpoint.get(PATH, permission="read")
def list_all(request: Request) -> Response:
    """List export jobs, the newest first, page by page (contract: data-and-pql §3.5)."""
    listing = Listing.read(request.query)
    found = _exports().listed(request.tenant, listing.status, newest_first=listing.newest_first, after=listing.after)
    page = listing.page(found)
    return Response(
        {
            "records": [_described(job, request) for job in page.jobs],
            "page": {
                "sortField": listing.sort_field,
                "sort": listing.direction,
                "pageOffset": page.offset,
                "pageSize": len(page.jobs),
            },
            "link": {"next": page.href},
        }
    )


@endpoint.get(_ONE, permission="read")
def get(request: Request) -> Response:
    """Read one job, with how far it is while it runs."""
    job = _exports().get(request.tenant, _id(request))
    described = _described(job, request)
    if job.status is ExportStatus.PROCESSING:
        progress = _exports().progress(request.tenant, job)
        described["progress"] = {
            "sharesDone": progress.shares_done,
            "shares": progress.shares,
            "profilesExported": progress.profiles,
        }
    return Response(described)


@endpoint.delete(_ONE, permission="read")
def cancel(request: Request) -> Response:
    """Cancel a job; one that is over stays as it is, and that is no error."""
    _exports().cancel(request.tenant, _id(request), request.caller)
    return Response({"status": True, "message": "Export job has been marked for cancelling"})


def _id(request: Request) -> int:
    text = request.path_parameters["id"]
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_ID):
        raise NotFoundError(f"Export job {text[:64]} does not exist in this sandbox: ids are numbers")
    return int(text)


def _described(job: ExportJob, request: Request) -> dict[str, Any]:
    wanted = job.wanted
    execution = "" if job.status is ExportStatus.NEW else str(job.id)
    return {
        "id": job.id,
        "jobType": "BATCH",
        "profileInstanceId": _PROFILE_INSTANCE,
        "imsOrgId": request.tenant.org_id,
        "schema": {"name": PROFILE_CLASS},
        "status": job.status,
        "requestId": job.request_id,
        **job.asked,
        "mergePolicy": {"id": job.policy.id, "version": job.policy.version},
        "destination": {
            "datasetId": wanted.dataset_id,
            "dataSetId": wanted.dataset_id,
            "segmentPerBatch": wanted.segment_per_batch,
            **_batches(job),
        },
        "computeGatewayJobId": {"exportJob": execution},
        "metrics": _metrics(job),
        "errors": list(job.errors),
        "creationTime": job.created_ms,
        "updateTime": job.updated_ms,
    }


def _batches(job: ExportJob) -> dict[str, Any]:
    if not job.wanted.segment_per_batch:
        return {"batchId": job.batches[0]}
    return {
        "batches": [
            {"segmentId": one.id, "segmentNs": one.namespace, "status": list(one.statuses), "batchId": batch_id}
            for one, batch_id in zip(job.wanted.segments, job.batches, strict=True)
        ]
    }


def _metrics(job: ExportJob) -> dict[str, Any]:
    spans = {
        "totalTime": (job.created_ms, job.finished_ms),
        "profileExportTime": (job.started_ms, job.gathered_ms),
        "aCPDatasetWriteTime": (job.gathered_ms, job.finished_ms),
    }
    metrics: dict[str, Any] = {name: _span(*span) for name, span in spans.items() if span[0]}
    if job.counts:
        metrics |= {
            "totalExportedProfileCounter": job.counts["profiles"],
            "exportedProfileByNamespaceCounter": job.counts["namespaces"],
            "exportedEventCounter": job.counts["events"],
            "overLimitProfileCounter": job.counts["over_limit"],
            "collapsedIdentityCounter": job.counts["collapsed"],
        }
    return metrics


def _span(start_ms: int, end_ms: int) -> dict[str, int]:
    if not end_ms:
        return {"startTimeInMs": start_ms}
    return {"startTimeInMs": start_ms, "endTimeInMs": end_ms, "totalTimeInMs": end_ms - start_ms}
