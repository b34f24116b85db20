"""The registry of schemas: ``/data/foundation/schemaregistry`` (contract: data-and-pql §4.1; its own public guides)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache, wraps
from typing import Any

from api.models.dataset import Patch
from api.models.json_patch import apply
from api.models.schemas import Descriptor
from api.models.schemas import Resource as ResourceBody
from api.schema_listing import Listing, conditions
from api.schema_views import View, summary
from tessera.domain.computed.attribute import schema_namespace
from tessera.domain.schema.errors import ResourceNotFoundError, SchemaError
from tessera.domain.schema.library import LIBRARY
from tessera.domain.schema.resource import SERVER_OWNED, UNION_SUFFIX, Kind
from tessera.gateway import JSON, JSON_PATCH, ApiError, Endpoint, Request, Response
from tessera.services.descriptors import Descriptors
from tessera.services.schema_store import Resource, SchemaStore
from tessera.services.schemas import MAX_RESOURCES, SchemaRegistry
from tessera.services.unions import Unions
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.registry import Registry

_BASE = "/data/foundation/schemaregistry"
_COLLECTION = _BASE + "/{container}/{kind}"
_ONE = _COLLECTION + "/{id+}"
_DESCRIPTORS = _BASE + "/tenant/descriptors"
_DESCRIPTOR = _DESCRIPTORS + "/{id}"
_UNIONS = _BASE + "/tenant/unions"
_UNION = _UNIONS + "/{id+}"

_KINDS = {kind.value: kind for kind in Kind} | {"fieldgroups": Kind.FIELD_GROUP}
_RECENT = 10

endpoint = Endpoint("schemas")
handler = endpoint.handler


@cache
def _store() -> SchemaStore:
    client, table = aws.dynamodb(), aws.registry_table()
    return SchemaStore(ConfigurationStore(client, table), Registry(client, table))


@cache
def registry() -> SchemaRegistry:
    """Return the process's registry."""
    return SchemaRegistry(_store())


@cache
def _descriptors() -> Descriptors:
    return Descriptors(_store())


@cache
def _unions() -> Unions:
    return Unions(_store())


class RegistryError(ApiError):
    """An error with what readers of the registry's own errors look for besides."""

    def body(self, request_id: str, *, for_entities: bool = False) -> object:
        """Write the service's envelope, with the type and the report of the registry."""
        body = super().body(request_id)
        assert isinstance(body, dict)
        return {
            **body,
            "type": f"http://ns.adobe.com/aep/errors/{self.code}",
            "detail": self.message,
            "report": {
                "registryRequestId": request_id,
                "timestamp": f"{datetime.now(UTC):%m-%d-%Y %H:%M:%S}",
                "detailed-message": self.message,
                "sub-errors": [],
            },
        }


def _in_dialect(answer: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """Answer what is wrong with schemas as the registry does."""

    @wraps(answer)
    def answering(request: Request) -> Response:
        try:
            return answer(request)
        except ResourceNotFoundError as error:
            raise RegistryError(404, str(error), title=error.title, code=error.code) from None
        except SchemaError as error:
            raise RegistryError(400, str(error), title=error.title or None, code=error.code or None) from None

    return answering


@endpoint.get(_BASE + "/stats", permission="read")
def stats(request: Request) -> Response:
    """Say what an organisation's own fields are named by, and what a sandbox has."""
    own = {kind: list(registry().each(request.tenant, kind)) for kind in Kind if kind is not Kind.BEHAVIOUR}
    everything = [one for resources in own.values() for one in resources]
    usage: dict[str, list[dict[str, Any]]] = {}
    for schema in own[Kind.SCHEMA]:
        usage.setdefault(schema["meta:class"], []).append(
            {key: schema[key] for key in ("$id", "title", "description") if key in schema}
        )
    return Response(
        {
            "imsOrg": request.tenant.org_id,
            "tenantId": schema_namespace(request.tenant.org_id).removeprefix("_"),
            "counts": {kind.value: len(resources) for kind, resources in own.items()}
            | {"unions": sum(1 for _ in _unions().each(request.tenant))},
            "recentlyCreatedResources": _latest(everything, "repo:createdDate", "meta:created"),
            "recentlyUpdatedResources": _latest(everything, "repo:lastModifiedDate", "meta:updated"),
            "classUsage": usage,
        }
    )


@endpoint.post(_DESCRIPTORS, permission="configure")
@_in_dialect
def create_descriptor(request: Request) -> Response:
    """Say something of a field; an identity descriptor makes it an identity of a namespace."""
    fields = request.parse(Descriptor).fields()
    sandbox = (request.sandbox.id, request.sandbox.type)
    return Response(dict(_descriptors().create(request.tenant, sandbox, request.caller, fields)), 201)


@endpoint.get(_DESCRIPTORS, permission="read")
def list_descriptors(request: Request) -> Response:
    """List what is said of fields; by type, or with `xdm-v2` in `Accept` as one list, which has no second page."""
    wanted = conditions(request.query)
    view = View.read(request.headers.get("accept", ""))
    found: dict[str, list[Any]] = {}
    everything = []
    for descriptor in _descriptors().each(request.tenant):
        if all(condition(descriptor) for condition in wanted):
            shown = _shown_descriptor(descriptor, view)
            found.setdefault(descriptor["@type"], []).append(shown)
            everything.append(shown)
    if "v2" not in view.options:
        return Response(found)
    return Response({"results": everything, "_page": {"next": None, "count": len(everything)}})


@endpoint.get(_DESCRIPTOR, permission="read")
@_in_dialect
def get_descriptor(request: Request) -> Response:
    """Read what is said of a field."""
    return Response(dict(_descriptors().get(request.tenant, request.path_parameters["id"])))


@endpoint.put(_DESCRIPTOR, permission="configure")
@_in_dialect
def put_descriptor(request: Request) -> Response:
    """Say something else of a field; 201 with the id."""
    fields = request.parse(Descriptor).fields()
    changed = _descriptors().replace(request.tenant, request.caller, request.path_parameters["id"], fields)
    return Response({"@id": changed["@id"]}, 201)


@endpoint.delete(_DESCRIPTOR, permission="configure")
@_in_dialect
def delete_descriptor(request: Request) -> Response:
    """Take back what is said of a field; the primary identity of a schema in use stays."""
    _descriptors().delete(request.tenant, request.path_parameters["id"])
    return Response(None, 204)


@endpoint.get(_UNIONS, permission="read")
@_in_dialect
def list_unions(request: Request) -> Response:
    """List the unions of classes with schemas that are enabled for Profile."""
    view = View.read(request.headers.get("accept", ""))
    found = [
        summary(one) if view.brief else view.shown(one, lambda fields=fields: fields, list)  # type: ignore[misc]
        for one, fields in _unions().each(request.tenant)
    ]
    return _results(found, None, "title", Kind.CLASS)


@endpoint.get(_UNION, permission="read")
@_in_dialect
def get_union(request: Request) -> Response:
    """Read the union of a class; its fields with `xed-full` in `Accept`."""
    return _one_union(request)


@endpoint.get(_COLLECTION, permission="read")
@_in_dialect
def list_all(request: Request) -> Response:
    """List resources of a kind; in the container `global` those that every sandbox has."""
    kind, own = _kind(request)
    # A client asks for the second page of data types as if it were the first, for ever.
    listing = Listing.read(request.query, MAX_RESOURCES) if kind is Kind.DATA_TYPE else Listing.read(request.query)
    resources: Iterable[Resource] = registry().each(request.tenant, kind) if own else _built_in(kind)
    page, following = listing.page(resources)
    view = View.read(request.headers.get("accept", ""))
    order = ("-" if listing.descending else "") + listing.order
    return _results(
        [summary(one) if view.brief else _shown(request, one, view) for one in page], following, order, kind
    )


@endpoint.post(_COLLECTION, permission="configure")
@_in_dialect
def create(request: Request) -> Response:
    """Create a resource of a kind in the container `tenant`."""
    kind = _writable(request)
    body = request.parse(ResourceBody).root
    sandbox = (request.sandbox.id, request.sandbox.type)
    return Response(dict(registry().create(request.tenant, sandbox, request.caller, kind, body)), 201)


@endpoint.get(_ONE, permission="read")
@_in_dialect
def get(request: Request) -> Response:
    """Read a resource by its `$id`, encoded, or its `meta:altId`."""
    kind, own = _kind(request)
    text = request.path_parameters["id"]
    if kind is Kind.SCHEMA and text.endswith(UNION_SUFFIX):
        return _one_union(request)
    found = registry().get(request.tenant, kind, text)
    # Clients ask their own container for what every sandbox has, too.
    if not own and found["$id"] not in LIBRARY:
        raise ResourceNotFoundError(kind, text)
    return Response(_shown(request, found, View.read(request.headers.get("accept", ""))))


@endpoint.put(_ONE, permission="configure")
@_in_dialect
def put(request: Request) -> Response:
    """Replace what a caller may say of a resource; one in use can only be added to."""
    kind = _writable(request)
    body = request.parse(ResourceBody).root
    changed = registry().change(request.tenant, request.caller, kind, request.path_parameters["id"], lambda _: body)
    return Response(dict(changed))


@endpoint.patch(_ONE, permission="configure", accepts=(JSON, JSON_PATCH))
@_in_dialect
def patch(request: Request) -> Response:
    """Change a resource by a JSON Patch; one in use can only be added to."""
    kind = _writable(request)
    operations = request.parse(Patch)

    def edit(before: dict[str, Any]) -> dict[str, Any]:
        # What follows from the rest may be named, as in the registry's own examples, and is made anew.
        return apply(operations, before, SERVER_OWNED - {"meta:extends", "meta:class"})

    return Response(dict(registry().change(request.tenant, request.caller, kind, request.path_parameters["id"], edit)))


@endpoint.delete(_ONE, permission="configure")
@_in_dialect
def delete(request: Request) -> Response:
    """Delete a resource that nothing refers to and that is not in use."""
    registry().delete(request.tenant, _writable(request), request.path_parameters["id"])
    return Response(None, 204)


def _one_union(request: Request) -> Response:
    found, fields = _unions().get(request.tenant, request.path_parameters["id"])
    return Response(View.read(request.headers.get("accept", "")).shown(found, lambda: fields, list))


def _kind(request: Request) -> tuple[Kind, bool]:
    """Read the container and the kind of a path; tell whether it is the sandbox's own."""
    container, name = request.path_parameters["container"], request.path_parameters["kind"]
    kind = _KINDS.get(name)
    if kind is None or container not in {"tenant", "global"}:
        raise ApiError(404, "There is nothing at this path")
    return kind, container == "tenant"


def _writable(request: Request) -> Kind:
    kind, own = _kind(request)
    if not own or kind is Kind.BEHAVIOUR:
        raise ApiError(405, "What every sandbox has cannot be changed", headers={"Allow": "GET"})
    return kind


def _built_in(kind: Kind) -> list[Resource]:
    return [one for one in LIBRARY.values() if one["meta:resourceType"] == kind]


def _shown(request: Request, resource: Resource, view: View) -> dict[str, Any]:
    def descriptors() -> list[Resource]:
        return [one for one in _descriptors().each(request.tenant) if one["xdm:sourceSchema"] == resource["$id"]]

    return view.shown(resource, lambda: registry().composed(request.tenant, resource), descriptors)


def _shown_descriptor(descriptor: Resource, view: View) -> Any:
    if view.brief:
        return descriptor["@id"]
    return f"/tenant/descriptors/{descriptor['@id']}" if "link" in view.options else dict(descriptor)


def _results(found: list[dict[str, Any]], following: str | None, order: str, kind: Kind) -> Response:
    name = "fieldgroups" if kind is Kind.FIELD_GROUP else kind.value
    return Response(
        {
            "results": found,
            "_page": {"orderby": order, "next": following, "count": len(found)},
            "_links": {
                "next": None
                if following is None
                else {"href": f"{_BASE}/tenant/{name}?start={following}&orderby={order}"},
                "global_schemas": {"href": f"{_BASE}/global/{name}"},
            },
        }
    )


def _latest(resources: Iterable[Resource], date: str, name: str) -> list[Mapping[str, Any]]:
    latest = sorted(resources, key=lambda one: one["meta:registryMetadata"][date], reverse=True)[:_RECENT]
    return [
        {
            **{key: one[key] for key in ("$id", "title", "description", "meta:resourceType", "version") if key in one},
            name: one["meta:registryMetadata"][date],
        }
        for one in latest
    ]
