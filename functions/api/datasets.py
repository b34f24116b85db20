"""Datasets: ``/data/foundation/catalog/dataSets`` (contract: data-and-pql §4.1)."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

from api.dataset_listing import Listing, selected
from api.models.dataset import Changes, Dataset, Patch
from api.models.json_patch import apply, merge
from api.purges import purges
from tessera.domain.dataset import SERVER_OWNED
from tessera.gateway import JSON, JSON_PATCH, ApiError, Endpoint, Request, Response
from tessera.services.datasets import DatasetCatalogue, VersionMismatchError
from tessera.services.expirations import Expirations
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.executions import Executions
from tessera.storage.expiry_jobs import ExpiryJobStore
from tessera.storage.registry import Registry

_COLLECTION = "/data/foundation/catalog/dataSets"
_ONE = _COLLECTION + "/{id}"

endpoint = Endpoint("datasets")
handler = endpoint.handler


@cache
def catalogue() -> DatasetCatalogue:
    """Return the process's catalogue."""
    client, table = aws.dynamodb(), aws.registry_table()
    registry = Registry(client, table)
    machine = Executions(aws.stepfunctions, lambda: os.environ["EXPIRY_MACHINE"])
    expirations = Expirations(ExpiryJobStore(registry), machine)
    return DatasetCatalogue(ConfigurationStore(client, table), registry, expirations, purges())


@endpoint.post(_COLLECTION, permission="configure")
def create(request: Request) -> Response:
    """Create a dataset."""
    fields = request.parse(Dataset).fields()
    dataset_id = catalogue().create(request.tenant, request.sandbox.id, request.caller, fields)
    return Response(_reference(dataset_id), 201, {"Location": f"{_COLLECTION}/{dataset_id}"})


@endpoint.get(_COLLECTION, permission="read")
def list_all(request: Request) -> Response:
    """List datasets: filtered, ordered, a page of them."""
    listing = Listing.read(request.query)
    return Response(dict(listing.page(catalogue().each(request.tenant))))


@endpoint.get(_ONE, permission="read")
def get(request: Request) -> Response:
    """Read one dataset, keyed by its id."""
    dataset_id = request.path_parameters["id"]
    description = catalogue().get(request.tenant, dataset_id)
    wanted = request.query.listed("properties")
    return Response({dataset_id: selected(description, wanted)}, headers={"ETag": f'"{description["version"]}"'})


@endpoint.patch(_ONE, permission="configure", accepts=(JSON, JSON_PATCH))
def patch(request: Request) -> Response:
    """Change some fields, or apply a JSON Patch: an array is one, whatever the content type says."""
    if isinstance(request.json(), list):
        operations = request.parse(Patch)
        return _change(request, lambda current: apply(operations, current, SERVER_OWNED))
    if request.headers["content-type"].lower().startswith(JSON_PATCH):
        raise ApiError(400, "A JSON Patch is an array of operations")
    changes = request.parse(Changes).root
    return _change(request, lambda current: current | changes)


@endpoint.put(_ONE, permission="configure")
def put(request: Request) -> Response:
    """Replace everything a caller may set; a schema left out stays."""
    fields = request.parse(Changes).root
    return _change(request, lambda current: {"schemaRef": current["schemaRef"], **fields})


@endpoint.patch("/data/foundation/catalog/v2/dataSets/{id}", permission="configure")
def merge_patch(request: Request) -> Response:
    """Merge at every level; objects on the way that are not there yet are made."""
    changes = request.parse(Changes).root
    return _change(request, lambda current: merge(current, changes))


@endpoint.delete(_ONE, permission="erase")
def delete(request: Request) -> Response:
    """Delete a dataset, and by a job of the system what it brought."""
    dataset_id = request.path_parameters["id"]
    try:
        catalogue().delete(request.tenant, dataset_id, request.caller, _wanted_version(request))
    except VersionMismatchError as error:
        raise _precondition_failed(error) from None
    return Response(_reference(dataset_id))


def _change(request: Request, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> Response:
    dataset_id = request.path_parameters["id"]

    def edit_and_validate(current: dict[str, Any]) -> dict[str, Any]:
        edited = {name: value for name, value in edit(current).items() if name not in SERVER_OWNED}
        # An explicit null takes a field away; the fields that a dataset must have then are found missing.
        return Dataset.model_validate({name: value for name, value in edited.items() if value is not None}).fields()

    try:
        catalogue().change(request.tenant, dataset_id, request.caller, edit_and_validate, _wanted_version(request))
    except VersionMismatchError as error:
        raise _precondition_failed(error) from None
    return Response(_reference(dataset_id))


def _reference(dataset_id: str) -> list[str]:
    return [f"@/dataSets/{dataset_id}"]


def _wanted_version(request: Request) -> str | None:
    """Read ``If-Match``: a version, in quotes or not; ``*`` is any."""
    wanted = request.headers.get("if-match", "*").removeprefix("W/").strip('"')
    return None if wanted == "*" else wanted


def _precondition_failed(error: VersionMismatchError) -> ApiError:
    return ApiError(412, str(error), title="Precondition failed", code="TESSERA-VERSION-MISMATCH-412")
