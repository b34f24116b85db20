"""Datasets."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from api.dataset_listing import DEFAULT_LIMIT, MAX_LIMIT
from api.models.dataset import Changes, Dataset, Patch
from ops.openapi.describing import Answer, Area, Milliseconds, Operation, Parameter
from tessera.gateway import JSON, JSON_PATCH

_COLLECTION = "/data/foundation/catalog/dataSets"
_ONE = _COLLECTION + "/{id}"


class SchemaOfDataset(TypedDict, total=False):
    """The schema that the rows of a dataset follow."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    id: str
    contentType: str


class DatasetDescription(TypedDict, total=False):
    """A dataset, or the properties of it that are asked for; what else its creator said of it is there too."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    name: str
    description: str
    tags: dict[str, list[str]]
    schemaRef: SchemaOfDataset
    schema: str
    enableErrorDiagnostics: bool
    observableSchema: dict[str, Any]
    fileDescription: dict[str, Any]
    dataSourceId: int
    imsOrg: str
    sandboxId: str
    version: str
    created: Milliseconds
    updated: Milliseconds
    createdClient: str
    createdUser: str
    updatedUser: str
    viewId: str
    files: str


_BY_ID = dict[str, DatasetDescription]
_REFERENCE = Annotated[list[str], Field(min_length=1, max_length=1)]
_PROPERTIES = Parameter("properties", "Which properties to show, with commas between them; all by default")
_IF_MATCH = {"If-Match": "The version that the dataset must be at, as its `ETag` says; `*` is any"}
_CHANGED = {200: Answer("`@/dataSets/` and the id", _REFERENCE)}
_EQUAL: dict[str, Any] = {
    "created": Milliseconds,
    "createdClient": str,
    "createdUser": str,
    "description": str,
    "enableErrorDiagnostics": bool,
    "name": str,
    "updated": Milliseconds,
    "updatedUser": str,
    "version": str,
}

AREA = Area(
    "Datasets",
    "What rows are brought in as, and whether they reach the profiles.",
    {"id": "The id of the dataset"},
    {
        f"POST {_COLLECTION}": Operation(
            body=Dataset,
            answers={
                201: Answer("`@/dataSets/` and the id", _REFERENCE, {"Location": "Where the dataset can be read"}),
            },
        ),
        f"GET {_COLLECTION}": Operation(
            answers={200: Answer("Datasets by their ids", _BY_ID)},
            query=(
                Parameter(
                    "limit",
                    f"How many at most; {DEFAULT_LIMIT} by default",
                    Annotated[int, Field(ge=1, le=MAX_LIMIT)],
                ),
                Parameter("start", "How many to pass over", Annotated[int, Field(ge=0, le=1_000_000)]),
                Parameter("orderBy", "`asc:` or `desc:` and properties with commas between them"),
                _PROPERTIES,
                Parameter(
                    "property", "A path that must have a value; with `=`, `!=` or `~` and a value or pattern", list[str]
                ),
                Parameter("tags", "A tag that must be there; with `:` and a value, with that value", list[str]),
                *(Parameter(name, f"Only those with this `{name}`", kind) for name, kind in _EQUAL.items()),
            ),
        ),
        f"GET {_ONE}": Operation(
            answers={200: Answer("The dataset by its id", _BY_ID, {"ETag": "Its version"})}, query=(_PROPERTIES,)
        ),
        f"PUT {_ONE}": Operation(body=Changes, answers=_CHANGED, headers=_IF_MATCH, fails=(412,)),
        f"PATCH {_ONE}": Operation(
            body={JSON: Changes | Patch, JSON_PATCH: Patch}, answers=_CHANGED, headers=_IF_MATCH, fails=(412,)
        ),
        "PATCH /data/foundation/catalog/v2/dataSets/{id}": Operation(
            body=Changes, answers=_CHANGED, headers=_IF_MATCH, fails=(412,)
        ),
        f"DELETE {_ONE}": Operation(answers=_CHANGED, headers=_IF_MATCH, fails=(412,)),
    },
)
