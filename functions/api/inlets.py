"""Streaming connections: ``/data/foundation/flowservice/connections`` (contract: data-and-pql §4.5)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

from api.connection_listing import Listing
from api.models.dataset import Patch
from api.models.inlets import Connection
from api.models.json_patch import apply
from tessera.domain.errors import InvalidRequestError
from tessera.gateway import JSON, JSON_PATCH, ApiError, Endpoint, Request, Response
from tessera.services.inlets import EtagMismatchError, Inlets
from tessera.storage import aws
from tessera.storage.rate_limits import RateLimiter
from tessera.storage.registry import Registry

_BASE = "/data/foundation/flowservice"
_COLLECTION = _BASE + "/connections"
_ONE = _COLLECTION + "/{id}"

_CALLERS_OWN = frozenset({"name", "description", "state", "auth"})
_FIXED = ("inletId", "inletUrl", "dataType")

endpoint = Endpoint("inlets")
handler = endpoint.handler


@cache
def inlets() -> Inlets:
    """Return the process's connections."""
    client, table = aws.dynamodb(), aws.registry_table()
    return Inlets(Registry(client, table), RateLimiter(client, table))


@endpoint.post(_COLLECTION, permission="configure")
def create(request: Request) -> Response:
    """Create a streaming connection; `inletUrl` of what GET shows is where to send messages to."""
    fields = request.parse(Connection).fields()
    made = inlets().create(request.tenant, request.sandbox.id, request.caller, fields)
    return Response(_reference(made), 201, {"Location": f"{_COLLECTION}/{made['id']}"})


# Who knows an open inlet may send to it: so only clients that may ingest are shown inlets.
@endpoint.get(_COLLECTION, permission="ingest")
def list_all(request: Request) -> Response:
    """List streaming connections; with `count=true` only how many there are."""
    listing = Listing.read(request.query)
    connections = (_shown(one) for one in inlets().each(request.tenant))
    if request.query.flag("count"):
        return Response({"count": len(listing.matching(connections))})
    page, following = listing.page(connections)
    # The path is relative to the service's base: clients put that before it.
    links = {} if following is None else {"next": {"href": f"/connections?{following}"}}
    return Response({"items": page, "_links": links})


@endpoint.get(_ONE, permission="ingest")
def get(request: Request) -> Response:
    """Read a streaming connection, which is the only one of the list that comes."""
    found = inlets().get(request.tenant, request.path_parameters["id"])
    return Response({"items": [_shown(found)]}, headers={"ETag": found["etag"]})


@endpoint.patch(_ONE, permission="configure", accepts=(JSON, JSON_PATCH))
def patch(request: Request) -> Response:
    """Change a streaming connection by a JSON Patch; the header `If-Match` holds the etag of what is changed."""
    operations = request.parse(Patch)
    wanted = request.headers.get("if-match")
    if wanted is None:
        raise ApiError(
            428,
            "Say in the header If-Match which etag the connection has, or * for any",
            title="Precondition required",
            code="TESSERA-ETAG-MISSING-428",
        )

    def edit(before: dict[str, Any]) -> dict[str, Any]:
        shown = _shown(before)
        edited = apply(operations, shown, frozenset(shown) - _CALLERS_OWN)
        fields = Connection.model_validate(edited).fields()
        kept, params = shown["auth"]["params"], edited["auth"]["params"]
        changed = [name for name in _FIXED if params.get(name, kept[name]) != kept[name]]
        if changed or "state" not in edited:
            raise InvalidRequestError(f"{', '.join(changed) or 'state'} cannot be changed this way")
        return fields

    etag = None if wanted == "*" else wanted.removeprefix("W/").strip('"')
    try:
        changed = inlets().change(request.tenant, request.path_parameters["id"], request.caller, edit, etag)
    except EtagMismatchError as error:
        raise ApiError(412, str(error), title="Precondition failed", code="TESSERA-VERSION-MISMATCH-412") from None
    return Response(_reference(changed))


@endpoint.delete(_ONE, permission="configure")
def delete(request: Request) -> Response:
    """Delete a streaming connection; its inlet takes nothing any more."""
    inlets().delete(request.tenant, request.path_parameters["id"])
    return Response(None, 204)


def _shown(connection: Mapping[str, Any]) -> dict[str, Any]:
    params = connection["auth"]["params"]
    url = f"{os.environ['API_BASE_URL']}/collection/{params['inletId']}"
    auth = {**connection["auth"], "params": {**params, "inletUrl": url}}
    return {**connection, "auth": auth, "version": connection["etag"]}


def _reference(connection: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": connection["id"], "etag": connection["etag"]}
