"""Samples and their reports: ``/data/core/ups/previewsamplestatus`` (contract: profile-api §4)."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date
from functools import cache
from os import environ

from tessera.domain.errors import InvalidRequestError
from tessera.domain.sample.job import SampleJob
from tessera.domain.sample.reports import moment
from tessera.gateway import Endpoint, Request, Response
from tessera.services.sample.jobs import Samples
from tessera.storage import aws
from tessera.storage.executions import Executions
from tessera.storage.registry import Registry
from tessera.storage.sample_lake import SampleLake
from tessera.storage.samples import SampleStore

PATH = "/data/core/ups/previewsamplestatus"

_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})\Z", re.ASCII)

endpoint = Endpoint("preview_sample_status")
handler = endpoint.handler


@cache
def _samples() -> Samples:
    return Samples(
        SampleStore(Registry(aws.dynamodb(), aws.registry_table())),
        SampleLake(aws.s3(), aws.lake_bucket()),
        Executions(aws.stepfunctions, lambda: environ["SAMPLE_STATE_MACHINE_ARN"]),
    )


@endpoint.get(PATH, permission="read")
def status(request: Request) -> Response:
    """Read what the last sample found, and whether another one is being taken."""
    return Response(_samples().status(request.tenant))


@endpoint.post(PATH, permission="configure")
def ask(request: Request) -> Response:
    """Ask for a sample now (ours); while one is being taken, that one is the answer."""
    return Response(_described(_samples().ask(request.tenant)), status=202)


@endpoint.get(PATH + "/report/dataset", permission="read")
def dataset(request: Request) -> Response:
    """Count the profiles that have something from each dataset."""
    return _report(request, "dataset")


@endpoint.get(PATH + "/report/namespace", permission="read")
def namespace(request: Request) -> Response:
    """Count the profiles that have an identity of each namespace."""
    return _report(request, "namespace")


@endpoint.get(PATH + "/report/dataset/overlap", permission="read")
def dataset_overlap(request: Request) -> Response:
    """Count the profiles of each combination of datasets; each profile is in exactly one."""
    return _report(request, "dataset/overlap")


@endpoint.get(PATH + "/report/namespace/overlap", permission="read")
def namespace_overlap(request: Request) -> Response:
    """Count the profiles of each combination of namespaces; each profile is in exactly one."""
    return _report(request, "namespace/overlap")


@endpoint.get(PATH + "/report/unstitchedProfiles", permission="read")
def unstitched_profiles(request: Request) -> Response:
    """Count the profiles of a single fragment that have been silent for some days."""
    return _report(request, "unstitchedProfiles")


@endpoint.get(PATH + "/report/dataset_stats", permission="read")
def dataset_stats(request: Request) -> Response:
    """Count profiles, fragments and records of each dataset, and what would be left of its events if they expired."""
    return _report(request, "dataset_stats")


@endpoint.get(PATH + "/report/store", permission="read")
def store(request: Request) -> Response:
    """Show graphs by size, items and bytes by dataset, and what keeping them costs in a month (ours)."""
    return _report(request, "store")


def _report(request: Request, name: str) -> Response:
    return Response(_samples().report(request.tenant, name, _day(request)))


def _day(request: Request) -> str | None:
    """Read the UTC day that is asked for; months and days may have one digit (contract: profile-api §4.3)."""
    text = (request.query.get("date") or "").strip()
    if not text:
        return None
    match = _DATE.match(text)
    if match is not None:
        with suppress(ValueError):
            return date(*map(int, match.groups())).isoformat()
    raise InvalidRequestError("date must be a day, as in 2026-03-04")


def _described(job: SampleJob) -> dict[str, object]:
    return {
        "id": job.id,
        "sampleJobRunning": {"status": True, "submissionTimestamp": moment(job.submitted_ms)},
    }
