"""Schemas: what rows of datasets are judged by."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from api.models.dataset import Patch
from api.models.schemas import Descriptor, Resource
from api.schema_listing import DEFAULT_LIMIT, MAX_LIMIT
from ops.openapi.describing import Answer, Area, Milliseconds, Operation, Parameter

_BASE = "/data/foundation/schemaregistry"
_COLLECTION = _BASE + "/{container}/{kind}"
_ONE = _COLLECTION + "/{id+}"
_DESCRIPTORS = _BASE + "/tenant/descriptors"
_DESCRIPTOR = _DESCRIPTORS + "/{id}"
_UNIONS = _BASE + "/tenant/unions"
_UNION = _UNIONS + "/{id+}"

# Names with a colon or another sign are not those of attributes.
SchemaResource = TypedDict(
    "SchemaResource",
    {
        "$id": str,
        "meta:altId": str,
        "meta:resourceType": str,
        "meta:class": str,
        "meta:extends": list[str],
        "meta:immutableTags": list[str],
        "version": str,
        "title": str,
        "description": str,
        "type": str,
        "allOf": list[dict[str, Any]],
        "properties": dict[str, Any],
    },
    total=False,
)
SchemaResource.__doc__ = "A schema, class, field group or data type; what else its creator said of it is there too."
SchemaResource.__pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[attr-defined]

SchemaDescriptor = TypedDict(
    "SchemaDescriptor",
    {
        "@id": str,
        "@type": str,
        "xdm:sourceSchema": str,
        "xdm:sourceProperty": str,
        "xdm:namespace": str | int,
        "xdm:isPrimary": bool,
        "created": Milliseconds,
        "updated": Milliseconds,
    },
    total=False,
)
SchemaDescriptor.__doc__ = "What is said of a field of a schema; what else its creator said is there too."
SchemaDescriptor.__pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[attr-defined]


class SchemaPage(TypedDict):
    """How far a list goes; `next` is where the following page starts."""

    orderby: str
    next: str | None
    count: int


class SchemaLink(TypedDict):
    """Where to go from here."""

    href: str


class SchemaLinks(TypedDict):
    """The following page, and what every sandbox has."""

    next: SchemaLink | None
    global_schemas: SchemaLink


class SchemaList(TypedDict):
    """A page of resources."""

    results: list[SchemaResource]
    _page: SchemaPage
    _links: SchemaLinks


class DescriptorPage(TypedDict):
    """All descriptors are on one page."""

    next: None
    count: int


class DescriptorList(TypedDict):
    """Descriptors, or their ids or paths."""

    results: list[SchemaDescriptor | str]
    _page: DescriptorPage


class RegistryStats(TypedDict):
    """What an organisation's own fields are named by, and what its sandbox has."""

    imsOrg: str
    tenantId: str
    counts: dict[str, int]
    recentlyCreatedResources: list[dict[str, Any]]
    recentlyUpdatedResources: list[dict[str, Any]]
    classUsage: dict[str, list[dict[str, Any]]]


_ACCEPT = {
    "Accept": (
        "`application/vnd.adobe.xed+json; version=1`, after `xed` also `-id`, `-full`, `-flat`, `-notext` or `-desc`"
    )
}
_PROPERTY = Parameter(
    "property",
    "A property that must be there; with `==`, `!=`, `<`, `<=`, `>` or `>=` and a value, with that value",
    list[str],
)
_RESOURCE = Answer("The resource", SchemaResource)

AREA = Area(
    "Schemas",
    "What rows are judged by: schemas, which are made of a class and field groups, and which fields are identities.",
    {
        "container": "`tenant` for the sandbox's own, `global` for what every sandbox has",
        "kind": "`schemas`, `classes`, `fieldgroups` (or `mixins`), `datatypes`, or `behaviors` to read",
        "id": "Its id: of resources the `$id`, encoded, or the `meta:altId`",
    },
    {
        f"GET {_BASE}/stats": Operation(answers={200: Answer("The sandbox's resources in figures", RegistryStats)}),
        f"GET {_COLLECTION}": Operation(
            answers={200: Answer("A page of resources", SchemaList)},
            headers=_ACCEPT,
            query=(
                _PROPERTY,
                Parameter("orderby", "A property, with `-` before it from the end; the title by default"),
                Parameter("start", "The `next` of a page, or a value that the property of the order must pass"),
                Parameter(
                    "limit",
                    f"How many at most; {DEFAULT_LIMIT} by default",
                    Annotated[int, Field(ge=0, le=MAX_LIMIT)],
                ),
            ),
        ),
        f"POST {_COLLECTION}": Operation(body=Resource, answers={201: _RESOURCE}, fails=(405,)),
        f"GET {_ONE}": Operation(answers={200: _RESOURCE}, headers=_ACCEPT),
        f"PUT {_ONE}": Operation(body=Resource, answers={200: _RESOURCE}, fails=(405,)),
        f"PATCH {_ONE}": Operation(body=Patch, answers={200: _RESOURCE}, fails=(405,)),
        f"DELETE {_ONE}": Operation(answers={204: Answer("It is gone")}, fails=(405,)),
        f"POST {_DESCRIPTORS}": Operation(body=Descriptor, answers={201: Answer("The descriptor", SchemaDescriptor)}),
        f"GET {_DESCRIPTORS}": Operation(
            answers={
                200: Answer("Descriptors by type, or all in one list", DescriptorList | dict[str, list[Any]]),
            },
            headers={"Accept": "`application/vnd.adobe.xdm-v2+json` for one list; with `-id` or `-link` only names"},
            query=(_PROPERTY,),
        ),
        f"GET {_DESCRIPTOR}": Operation(answers={200: Answer("The descriptor", SchemaDescriptor)}),
        f"PUT {_DESCRIPTOR}": Operation(body=Descriptor, answers={201: Answer("Its id", SchemaDescriptor)}),
        f"DELETE {_DESCRIPTOR}": Operation(answers={204: Answer("It is gone")}),
        f"GET {_UNIONS}": Operation(answers={200: Answer("All unions", SchemaList)}, headers=_ACCEPT),
        f"GET {_UNION}": Operation(answers={200: Answer("The union", SchemaResource)}, headers=_ACCEPT),
    },
)
