"""``/data/core/identity`` and ``/data/core/idnamespace``: identities, their graphs and links (profile-api §7)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from pydantic import AliasChoices, BaseModel, Field, field_validator

from tessera.domain.errors import InvalidRequestError, UndecodableXidError
from tessera.domain.graph import Head, client_of
from tessera.domain.identity import (
    FIRST_CUSTOM_NAMESPACE_ID,
    Identity,
    Namespace,
    Xid,
    is_namespace_code,
    is_xid,
)
from tessera.domain.place import Place, accepted_ms, batch_id_of
from tessera.domain.tenant import Tenant
from tessera.domain.times import iso_ms
from tessera.gateway import ApiError, Endpoint, Request, Response
from tessera.services.linking import Linker
from tessera.services.links import Link, Links
from tessera.services.namespaces import Namespaces, WantedNamespace
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.graph_metrics import GraphMetrics
from tessera.storage.link_history import LinkHistory
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry

MAX_IDENTITIES = 1000
_LONGEST_NUMBER = 19

IDENTITY = "/data/core/identity"
NAMESPACES = "/data/core/idnamespace/identities"

endpoint = Endpoint("identities")
handler = endpoint.handler


@cache
def _configurations() -> ConfigurationStore:
    return ConfigurationStore(aws.dynamodb(), aws.registry_table())


@cache
def _links() -> Links:
    table = ProfileTable(aws.dynamodb(), aws.profile_table())
    linker = Linker(table, ThreadPoolExecutor(1), GraphMetrics(Logger(service=endpoint.name)).watch)
    return Links(_configurations(), table, linker, LinkHistory(Registry(aws.dynamodb(), aws.registry_table())))


@cache
def _namespaces() -> Namespaces:
    return Namespaces(_configurations())


class CompositeXid(BaseModel):
    """An identity as a namespace, by number or code, and a value."""

    id: str = Field(min_length=1)
    nsid: int | None = None
    ns: str | None = None


class WantedClusters(BaseModel):
    """Whose graphs are asked for, in the spellings of both calls."""

    xids: list[str] = Field(default_factory=list)
    composite: list[CompositeXid] = Field(
        default_factory=list, validation_alias=AliasChoices("compositeXids", "composite_xid")
    )
    graph_type: str = Field(default="pdg", validation_alias=AliasChoices("graph-type", "graph_type"))

    @field_validator("composite", mode="before", json_schema_input_type=list[CompositeXid] | CompositeXid)
    @classmethod
    def _listed(cls, value: object) -> object:
        return [value] if isinstance(value, dict) else value


class NamespaceCode(BaseModel):
    """A namespace by its code."""

    code: str


class NamedIdentity(BaseModel):
    """An identity in a body: a namespace as an object or a string, or none for an XID."""

    entity_id: str = Field(alias="entityId", min_length=1)
    namespace: NamespaceCode | str | None = Field(default=None, alias="entityIdNS")


class NamedLink(NamedIdentity):
    """A link in a body."""

    linked_id: str = Field(alias="linkedEntityId", min_length=1)
    linked_namespace: NamespaceCode | str | None = Field(default=None, alias="linkedEntityIdNS")


class NamespaceBody(BaseModel):
    """A namespace as it is created; ``unique`` is ours: of such a namespace a person has one value."""

    code: str
    name: str = Field(max_length=256)
    type: str = Field(alias="idType")
    description: str = Field(default="", max_length=2000)
    unique: bool = False

    @field_validator("description", mode="before")
    @classmethod
    def _empty(cls, value: object) -> object:
        return "" if value is None else value

    def wanted(self) -> WantedNamespace:
        """Read it in the service's terms."""
        return WantedNamespace(self.code, self.name, self.type.upper(), self.description, self.unique)


@endpoint.get(IDENTITY + "/identity", permission="read")
def xid_of(request: Request) -> Response:
    """Answer the XID of an identity, ingested or not."""
    namespace, number = request.query.get("namespace"), request.query.get("nsid")
    value = request.query.get("id")
    if not namespace and not number:
        raise _invalid_input("Missing required query parameter - namespace")
    if not value:
        raise _invalid_input("Missing required query parameter - id")
    code = _code(request.tenant, namespace or None, number)
    return Response({"xid": Identity.of(code, value).xid(request.tenant)})


@endpoint.get(IDENTITY + "/cluster/members", permission="read")
def members(request: Request) -> Response:
    """Answer the identities linked with one."""
    query = request.query
    xid = query.get("xid")
    if not xid:
        if not query.get("id"):
            raise _invalid_input("Missing required query parameter - id")
        code = _code(request.tenant, query.get("ns") or None, query.get("nsid"))
        xid = Identity.of(code, query.get("id") or "").xid(request.tenant)
    return Response(_clusters(request, [_checked(xid)], query.get("graph-type") or "pdg")[0])


@endpoint.post(IDENTITY + "/clusters/members", permission="read", reads=True)
def members_of_many(request: Request) -> Response:
    """Answer the identities linked with each of many."""
    return _graphs(request)


@endpoint.post(IDENTITY + "/v2/graph", permission="read", reads=True)
def graph(request: Request) -> Response:
    """Answer the identities linked with each of many: the later spelling of the same."""
    return _graphs(request)


def _graphs(request: Request) -> Response:
    wanted = request.parse(WantedClusters)
    if not 1 <= len(wanted.xids) + len(wanted.composite) <= MAX_IDENTITIES:
        raise InvalidRequestError(f"name 1 to {MAX_IDENTITIES} identities")
    named = [
        Identity.of(_code(request.tenant, item.ns, None if item.nsid is None else str(item.nsid)), item.id)
        for item in wanted.composite
    ]
    xids = [*map(_checked, wanted.xids), *(identity.xid(request.tenant) for identity in named)]
    return Response({"version": "1.0", "clusters": _clusters(request, xids, wanted.graph_type)})


def _clusters(request: Request, xids: list[Xid], graph_type: str) -> list[dict[str, Any]]:
    alone = graph_type.strip().lower() == "none"
    graphs = _links().graphs(request.tenant, xids)
    configuration = _configurations().current(request.tenant)

    def shown(head: Head) -> dict[str, Any]:
        namespace = configuration.namespace(head.identity.namespace)
        return {
            "xid": head.xid,
            "ns": namespace.code if namespace else head.identity.namespace,
            "nsid": namespace.id if namespace else None,
            "id": head.identity.value,
        }

    clusters = []
    for xid in xids:
        heads = graphs.get(xid, [])
        asked = next((shown(head) for head in heads if head.xid == xid), None)
        composite = {"compositeXid": {key: asked[key] for key in ("ns", "nsid", "id")}} if asked else {}
        listed = [shown(head) for head in heads if head.xid == xid or not alone]
        clusters.append({"xid": xid, **composite, "members": listed})
    return clusters


@endpoint.get(IDENTITY + "/links", permission="read")
def links(request: Request) -> Response:
    """List an identity's links, who asserted each, and who changed which (ours)."""
    return Response(_links_document(request.tenant, _asked(request, "entityId", "entityIdNS")))


@endpoint.delete(IDENTITY + "/links", permission="configure")
def remove_link(request: Request) -> Response:
    """Take a link away: unmerge (ours)."""
    xid = _asked(request, "entityId", "entityIdNS")
    other = _asked(request, "linkedEntityId", "linkedEntityIdNS")
    _links().remove(request.tenant, xid, other, request.caller)
    return Response(_links_document(request.tenant, xid))


@endpoint.post(IDENTITY + "/links", permission="configure")
def add_link(request: Request) -> Response:
    """Link two identities by hand, or lift the removal of their link (ours); names in the body or the query."""
    tenant = request.tenant
    if request.raw_body:
        wanted = request.parse(NamedLink)
        one = _identity(tenant, wanted.entity_id, _named(wanted.namespace))
        other = _identity(tenant, wanted.linked_id, _named(wanted.linked_namespace))
    else:
        query = request.query
        one = _identity(tenant, query.get("entityId") or "", query.get("entityIdNS"))
        other = _identity(tenant, query.get("linkedEntityId") or "", query.get("linkedEntityIdNS"))
    _links().add(tenant, one, other, request.caller)
    return Response(_links_document(tenant, one.xid(tenant)))


@endpoint.post(IDENTITY + "/blocked", permission="configure")
def block(request: Request) -> Response:
    """Let an identity link nobody (ours)."""
    wanted = request.parse(NamedIdentity)
    identity = _identity(request.tenant, wanted.entity_id, _named(wanted.namespace))
    _links().block(request.tenant, identity, request.caller)
    return Response({"entityId": identity.xid(request.tenant), "blocked": True})


@endpoint.delete(IDENTITY + "/blocked", permission="configure")
def unblock(request: Request) -> Response:
    """Let a blocked identity link again (ours)."""
    identity = _identity(request.tenant, request.query.get("entityId") or "", request.query.get("entityIdNS"))
    _links().unblock(request.tenant, identity, request.caller)
    return Response({"entityId": identity.xid(request.tenant), "blocked": False})


@endpoint.get(NAMESPACES, permission="read")
def list_namespaces(request: Request) -> Response:
    """List the identity namespaces; an array, as its callers read it."""
    return Response([_namespace_document(item) for item in _namespaces().all(request.tenant)])


@endpoint.post(NAMESPACES, permission="configure")
def create_namespace(request: Request) -> Response:
    """Create an identity namespace."""
    return Response(_namespace_document(_namespaces().create(request.tenant, request.parse(NamespaceBody).wanted())))


@endpoint.get(NAMESPACES + "/{id}", permission="read")
def look_up_namespace(request: Request) -> Response:
    """Look a namespace up by its number."""
    return Response(_namespace_document(_namespaces().get(request.tenant, _number(request.path_parameters["id"]))))


@endpoint.put(NAMESPACES + "/{id}", permission="configure")
def describe_namespace(request: Request) -> Response:
    """Change a namespace's name and description."""
    number = _number(request.path_parameters["id"])
    wanted = request.parse(NamespaceBody).wanted()
    return Response(_namespace_document(_namespaces().describe(request.tenant, number, wanted)))


def _links_document(tenant: Tenant, xid: Xid) -> dict[str, Any]:
    found = _links().of(tenant, xid)
    history = [{**entry, "at": iso_ms(entry["at"])} for entry in _links().history(tenant, xid)]
    return {"entityId": xid, "links": [_link_document(link) for link in found], "history": history}


def _link_document(link: Link) -> dict[str, Any]:
    identity = link.other.identity
    shown: dict[str, Any] = {
        "linkedEntityId": link.other.xid,
        "identity": {"id": identity.value, "namespace": {"code": identity.namespace}},
        "state": link.state.value,
        "assertedBy": [_source_document(source, place) for source, place in sorted(link.sources.items())],
    }
    if link.reason:
        shown["reason"] = link.reason
    if link.removal:
        shown |= {"removedBy": link.removal.client_id, "removedAt": iso_ms(link.removal.at_ms)}
    return shown


def _source_document(source: str, place: Place) -> dict[str, str]:
    client_id = client_of(source)
    at = {"assertedAt": iso_ms(accepted_ms(place))}
    return {"clientId": client_id, **at} if client_id else {"datasetId": source, "batchId": batch_id_of(place), **at}


def _namespace_document(namespace: Namespace) -> dict[str, Any]:
    return {
        "id": namespace.id,
        "code": namespace.code,
        "name": namespace.name or namespace.code,
        "description": namespace.description,
        "idType": namespace.type,
        "status": "ACTIVE",
        "custom": namespace.id >= FIRST_CUSTOM_NAMESPACE_ID,
        "unique": namespace.unique,
        "createTime": namespace.created_s * 1000,
        "updateTime": namespace.updated_s * 1000,
    }


def _asked(request: Request, parameter: str, namespace_parameter: str) -> Xid:
    value, namespace = request.query.get(parameter), request.query.get(namespace_parameter)
    if not value:
        raise InvalidRequestError(f"{parameter} is required")
    if not namespace:
        return _checked(value)
    return Identity.of(_code(request.tenant, namespace, None), value).xid(request.tenant)


def _identity(tenant: Tenant, value: str, namespace: str | None) -> Identity:
    """Find the identity meant: by namespace and value, or one that is stored by its XID."""
    if not value:
        raise InvalidRequestError("entityId is required, and linkedEntityId for a link")
    if namespace:
        return Identity.of(_code(tenant, namespace, None), value)
    return _links().identity(tenant, _checked(value))


def _checked(xid: str) -> Xid:
    if not is_xid(xid):
        raise UndecodableXidError(xid[:64], "pdg")
    return Xid(xid)


def _code(tenant: Tenant, code: str | None, number: str | None) -> str:
    """Return the code of a namespace given by code or number; it must be known (contract: profile-api §7)."""
    if code:
        known = _configurations().current(tenant).namespace(code) if is_namespace_code(code) else None
        if known is None:
            raise _invalid_input(f"The namespace {code[:64]} is not known in this sandbox")
        return known.code
    if not number:
        raise _invalid_input("Missing required query parameter - namespace")
    return _namespaces().get(tenant, _number(number)).code


def _named(namespace: NamespaceCode | str | None) -> str | None:
    return namespace.code if isinstance(namespace, NamespaceCode) else namespace


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < _LONGEST_NUMBER):
        raise InvalidRequestError("the number of an identity namespace is a whole number")
    return int(text)


def _invalid_input(detail: str) -> ApiError:
    return ApiError(400, detail, title="InvalidInput")
