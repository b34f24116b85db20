"""Computed attributes: ``/data/core/ca/attributes`` (contract: data-and-pql §1)."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from api.computed_attribute_listing import Listing, merge_function
from api.models import computed_attributes as models
from tessera.domain.computed.attribute import GROUP, schema_namespace
from tessera.domain.computed.definition import Definition, Status
from tessera.domain.computed.rule import Function
from tessera.domain.errors import InvalidRequestError
from tessera.domain.merge_policy import PROFILE_CLASS
from tessera.domain.times import iso_ms
from tessera.gateway import Endpoint, Request, Response
from tessera.services.computed.catalogue import AttributeCatalogue
from tessera.services.computed.compiled import compile_attribute
from tessera.services.computed.preview import Preview
from tessera.services.profile_reader import ProfileReader
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.executions import Executions
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry

_COLLECTION = "/data/core/ca/attributes"
_ONE = _COLLECTION + "/{id}"
_PARALLEL_READS = 50
_UNION = "https://ns.adobe.com/xdm/context/profile__union"
# Minima and maxima are of the type of what they are taken from.
_TYPES = {
    Function.SUM: "number",
    Function.COUNT: "integer",
    Function.MOST_RECENT: "object",
    Function.LIST: "array",
}

endpoint = Endpoint("computed_attributes")
handler = endpoint.handler


@cache
def _configurations() -> ConfigurationStore:
    return ConfigurationStore(aws.dynamodb(), aws.registry_table())


@cache
def catalogue() -> AttributeCatalogue:
    """Return the process's catalogue."""
    return AttributeCatalogue(
        _configurations(),
        Registry(aws.dynamodb(), aws.registry_table()),
        compile_attribute,
        Executions(aws.stepfunctions, lambda: os.environ["BACKFILL_MACHINE"]),
    )


@cache
def _preview() -> Preview:
    executor = ThreadPoolExecutor(_PARALLEL_READS, thread_name_prefix="read")
    table = ProfileTable(aws.dynamodb(), aws.profile_table())
    return Preview(ProfileReader(_configurations(), table, executor), table, executor)


@endpoint.get(_COLLECTION, permission="read")
def list_all(request: Request) -> Response:
    """List computed attributes: filtered, ordered, a page of them."""
    listing = Listing.read(request.query)
    page = listing.page(catalogue().each(request.tenant))
    shown = [_described(one, request) for one in page.attributes]
    return Response(
        {
            "_links": {name: {"href": href} for name, href in page.links.items()},
            # The guides and Adobe's client know them by the first name, the published description by the second.
            "computedAttributes": shown,
            "children": shown,
            "_page": {
                "offset": listing.offset,
                "limit": listing.limit,
                "count": len(shown),
                "totalCount": page.total,
                "pageSize": listing.limit,
            },
        }
    )


@endpoint.post(_COLLECTION, permission="configure")
def create(request: Request) -> Response:
    """Create a computed attribute; a draft, or one that is published at once and then backfilled."""
    wanted = request.parse(models.Attribute).wanted()
    return Response(_described(catalogue().create(request.tenant, request.caller, wanted), request))


@endpoint.patch(_COLLECTION, permission="configure")
def patch_without_id(request: Request) -> Response:
    """Refuse a change that does not say of what, as the call of Adobe's client is (§6, D-12)."""
    raise InvalidRequestError(f"Say in the path which computed attribute is to be changed: PATCH {_ONE}")


@endpoint.get(_ONE, permission="read")
def get(request: Request) -> Response:
    """Read one computed attribute."""
    return Response(_described(catalogue().get(request.tenant, request.path_parameters["id"]), request))


@endpoint.patch(_ONE, permission="configure")
def patch(request: Request) -> Response:
    """Edit a draft, publish it, or disable a published computed attribute; all that is asked for, or nothing."""
    edit = request.parse(models.Changes).edit()
    return Response(_described(catalogue().change(request.tenant, request.path_parameters["id"], edit), request))


@endpoint.delete(_ONE, permission="configure")
def delete(request: Request) -> Response:
    """Delete a draft; the answer is what it was (contract: data-and-pql §1.1)."""
    return Response(_described(catalogue().delete(request.tenant, request.path_parameters["id"]), request), 202)


@endpoint.post(_ONE + "/preview", permission="read", reads=True)
def preview(request: Request) -> Response:
    """Compute an attribute for some profiles, published or not; who has no value is left out, nothing is written."""
    asked = request.parse(models.Preview).identities
    definition = catalogue().get(request.tenant, request.path_parameters["id"])
    if definition.status is Status.DISABLED:
        raise InvalidRequestError("This computed attribute is DISABLED: it has no values any more")
    xids = list(dict.fromkeys(identity.xid(request.tenant) for identity in asked))
    values = _preview().values(
        request.tenant, definition.expression, definition.window, xids, now_ms=time.time_ns() // 1_000_000
    )
    return Response({"values": values})


def _described(definition: Definition, request: Request) -> dict[str, Any]:
    """Write a definition as the API shows it (contract: data-and-pql §1.2); epochs in milliseconds."""
    position = [schema_namespace(request.tenant.org_id).removeprefix("_"), GROUP]
    shown: dict[str, Any] = {
        "id": definition.id,
        "type": "ComputedAttribute",
        "name": definition.name,
        "displayName": definition.display_name,
        "description": definition.description,
        "imsOrgId": request.tenant.org_id,
        "sandbox": {
            "sandboxId": request.sandbox.id,
            "sandboxName": request.sandbox.name,
            "type": request.sandbox.type,
            "default": request.sandbox.default,
            "isDefault": request.sandbox.default,
        },
        "path": "/".join(position),
        "positionPath": position,
        "keepCurrent": definition.keep_current,
        "expression": {"type": "PQL", "format": "pql/text", "value": definition.expression},
        "mergeFunction": {"value": merge_function(definition.function)},
        "status": definition.status.value,
        "duration": {"count": definition.window.count, "unit": definition.window.unit.value},
        "schema": {"name": PROFILE_CLASS},
        "lastEvaluationTs": _evaluated(definition),
        "returnSchema": _return_schema(definition),
        "definedOn": [{"meta:resourceType": "unions", "meta:containerId": "tenant", "$ref": _UNION}],
        "createEpoch": definition.created_ms,
        "updateEpoch": definition.updated_ms,
        "createdBy": definition.created_by,
    }
    if definition.progress is not None:
        shown["progress"] = {"identities": definition.progress.identities, "of": definition.progress.of}
    if definition.failure:
        shown["failure"] = definition.failure
    return shown


def _evaluated(definition: Definition) -> str:
    """Write until when values are exact, in UTC without a zone: until now, for one in force is exact at every read."""
    if definition.status is Status.PROCESSED:
        return iso_ms(time.time_ns() // 1_000_000).removesuffix("Z")
    return "" if definition.evaluated_ms is None else iso_ms(definition.evaluated_ms).removesuffix("Z")


def _return_schema(definition: Definition) -> dict[str, str]:
    """Write the type of the values in XDM's terms, where times are strings; blank if only the events decide it."""
    known = _TYPES.get(definition.function, definition.result_type)
    return {} if known == "unknown" else {"meta:xdmType": "string" if known == "timestamp" else known}
