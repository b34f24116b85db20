"""System jobs: ``/data/core/ups/system/jobs`` (contract: profile-api §5)."""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson
from pydantic import ValidationError

from api.models.system_jobs import NewDeleteJob
from api.purges import purges
from api.system_job_listing import Listing
from tessera.domain.deletion import PERSON
from tessera.domain.erasure import ERASURE
from tessera.domain.expiry_job import EXPIRY
from tessera.domain.purge import BATCH, DATASET
from tessera.domain.system_job import SystemJob
from tessera.domain.times import iso_ms
from tessera.gateway import ApiError, Endpoint, Request, Response
from tessera.services.purging.accepting import (
    AlreadyAskedError,
    NotEventsError,
    NothingToDeleteError,
    UnknownBatchError,
    Wanted,
)
from tessera.services.purging.receipt import Receipts
from tessera.services.system_jobs import SystemJobs
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.exports import ExportStore
from tessera.storage.jobs import DeletionStore
from tessera.storage.purge_lake import PurgeLake
from tessera.storage.purges import PurgeStore
from tessera.storage.registry import Registry
from tessera.storage.system_jobs import SystemJobList

PATH = "/data/core/ups/system/jobs"

_ONE = PATH + "/{id}"
_DELETE = "DELETE"
# What is not known here is shown under its own name.
_REQUEST_TYPES = {
    DATASET: "TRUNCATE_DATASET",
    BATCH: "DELETE_EE_BATCH",
    PERSON: "DELETE_ENTITY",
    ERASURE: "ERASE_PERSONS",
    EXPIRY: "BACKFILL_TTL",
}
_DELETING = frozenset({DATASET, BATCH, PERSON, ERASURE})

endpoint = Endpoint("system_jobs")
handler = endpoint.handler


@cache
def _registry() -> Registry:
    return Registry(aws.dynamodb(), aws.registry_table())


@cache
def _jobs() -> SystemJobs:
    registry = _registry()
    notes = PurgeLake(aws.s3(), aws.lake_bucket())
    configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())
    receipts = Receipts(configurations, ExportStore(registry))
    persons = DeletionStore(registry)
    return SystemJobs(SystemJobList(registry), PurgeStore(registry), persons, purges(), notes, receipts)


@endpoint.post(PATH, permission="erase")
def create(request: Request) -> Response:
    """Delete what a dataset or a batch brought: no read shows it from the answer on."""
    wanted = _wanted(request)
    try:
        job = purges().accept(request.tenant, wanted, request.caller)
    except NothingToDeleteError as error:
        raise _invalid(str(error)) from None
    except UnknownBatchError as error:
        raise ApiError(400, f"Batch not found for profile dataset '{error}'", code="400") from None
    except NotEventsError as error:
        raise ApiError(
            422,
            f"Batch can only be specified for EE type '{error}'",
            title="Invalid system job payload.",
            code="UPAPI-036002-422",
        ) from None
    except AlreadyAskedError as error:
        raise ApiError(
            422, "Delete request (Profile System Job) Definition already exists", detail=f"See {PATH}/{error.job.id}"
        ) from None
    return Response(_described(SystemJob.from_document(job.to_document()), request))


@endpoint.get(PATH, permission="read")
def list_all(request: Request) -> Response:
    """List jobs of every kind, the newest first, page by page."""
    listing = Listing.read(request.query)
    jobs, total = _jobs().page(request.tenant, listing.start, listing.limit)
    return Response(listing.answer([_described(job, request) for job in jobs], total))


@endpoint.get(_ONE, permission="read")
def get(request: Request) -> Response:
    """Read one job."""
    return Response(_described(_jobs().get(request.tenant, request.path_parameters["id"]), request))


@endpoint.get(_ONE + "/receipt", permission="read")
def receipt(request: Request) -> Response:
    """Tell what a delete that is done has deleted, what was looked at last, and what remains."""
    tenant, job_id = request.tenant, request.path_parameters["id"]
    if _jobs().kind(tenant, job_id) == ERASURE:
        return Response(_erasure_receipt(request, job_id))
    return Response(_jobs().receipt(tenant, job_id))


@endpoint.delete(_ONE, permission="erase")
def cancel(request: Request) -> Response:
    """Take a job out of the list, and stop it if it runs; what it deletes does not come back."""
    _jobs().cancel(request.tenant, request.path_parameters["id"])
    return Response(None)


def _erasure_receipt(request: Request, job_id: str) -> dict[str, Any]:
    # What writes it is the erasures' own, and no other call needs it.
    from api import erasure_documents  # noqa: PLC0415
    from tessera.services.erasure.receipt import receipt_of  # noqa: PLC0415
    from tessera.storage.erasures import ErasureStore  # noqa: PLC0415

    return erasure_documents.receipt(receipt_of(ErasureStore(_registry()), request.tenant, job_id), request)


def _wanted(request: Request) -> Wanted:
    body = request.json()
    try:
        return NewDeleteJob.model_validate(body).wanted()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _invalid(f"{where}: {first['msg']}" if where else first["msg"]) from None


def _invalid(reason: str) -> ApiError:
    return ApiError(400, "Invalid delete request (Profile System Job)", detail=reason)


def _described(job: SystemJob, request: Request) -> dict[str, Any]:
    kind = _REQUEST_TYPES.get(job.kind, job.kind.upper())
    target = {name: value for name, value in (("datasetId", job.dataset_id), ("batchId", job.batch_id)) if value}
    described: dict[str, Any] = {
        "id": job.id,
        "requestId": job.id,
        "imsOrgId": request.tenant.org_id,
        "sandbox": {"sandboxName": request.tenant.sandbox, "sandboxId": request.sandbox.id},
        "jobType": _DELETE if job.kind in _DELETING else kind,
        "requestType": kind,
        "properties": target if job.hold is None else {"hold": job.hold, "lake": job.lake},
        "status": job.status,
        "createEpoch": job.at_ms // 1000,
        "updateEpoch": job.updated_ms // 1000,
        "createdAt": _micros(job.at_ms),
        "updatedAt": _micros(job.updated_ms),
    }
    if job.dataset_id:
        described["dataSetId"] = job.dataset_id
    if job.batch_id:
        described["batchId"] = job.batch_id
    if not job.is_new:
        # A string that holds JSON: so the contract has it (§5.1).
        metrics = {"recordsProcessed": sum(job.counts.values()), "timeTakenInSec": (job.updated_ms - job.at_ms) // 1000}
        described["metrics"] = orjson.dumps(metrics).decode()
    if job.reason:
        described["reason"] = job.reason
    return described


def _micros(ms: int) -> str:
    return iso_ms(ms).removesuffix("Z") + "000Z"
