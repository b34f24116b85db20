"""Batches: bringing rows in, and reading what became of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from api.batches import (
    CATALOG,
    DEFAULT_PAGE,
    FILES,
    IMPORT,
    MAX_PAGE,
    MAX_PREVIEWED_ROWS,
    PREVIEW,
    PREVIEWED_ROWS,
    NewBatch,
)
from api.data_access import BATCH, FILE, JSON_LINES, MAX_ROWS
from ops.openapi.describing import Answer, Area, Milliseconds, Operation, Parameter
from ops.openapi.profiles import Link
from tessera.domain.batch import BatchStatus, FileFormat
from tessera.gateway import OCTET_STREAM


class RelatedObject(TypedDict):
    """What a batch belongs to."""

    type: Literal["dataSet"]
    id: str


class FormatOfBatch(TypedDict):
    """How the files of a batch are written."""

    format: FileFormat
    isMultiLineJson: NotRequired[bool]


class BatchError(TypedDict):
    """Something that went wrong with a batch, and with how many rows."""

    code: str
    description: str
    recordCount: NotRequired[int]


class Batch(TypedDict, total=False):
    """A batch, or the properties of it that are asked for; what is not known yet is not there."""

    id: str
    imsOrg: str
    sandboxId: str
    created: Milliseconds
    createdClient: str
    createdUser: str
    updated: Milliseconds
    updatedUser: str
    started: Milliseconds
    completed: Milliseconds
    externalId: str
    status: BatchStatus
    version: str
    relatedObjects: list[RelatedObject]
    tags: dict[str, list[str]]
    inputFormat: FormatOfBatch
    replay: ReplayOfBatch
    errors: list[BatchError]
    metrics: dict[str, int]
    recordCount: int
    failedRecordCount: int


class ReplayOfBatch(TypedDict):
    """Which batches this one replaces."""

    predecessors: list[str]
    reason: Literal["replace"]


class Nothing(TypedDict):
    """An empty object."""


class UploadAddress(TypedDict):
    """Where a file can be sent to without passing through this API, how, and for how long."""

    url: str
    method: Literal["PUT"]
    headers: dict[str, str]
    expiresInSeconds: int


class ReceivedFile(TypedDict):
    """A file, or the part of it that was sent, and its size in bytes."""

    name: str
    sizeInBytes: int


class Column(TypedDict):
    """A column of a preview: its number and the path of the field that it shows."""

    cid: str
    name: str


class FormatParams(TypedDict):
    """How the files were read for a preview."""

    format: FileFormat
    delimiter: NotRequired[str]
    quote: NotRequired[str]
    escape: NotRequired[str]
    charset: NotRequired[str]
    header: NotRequired[bool]


class PreviewedTable(TypedDict):
    """The first rows of files as a table; a row has the values that it has, as text, under the numbers of columns."""

    columns: list[Column]
    rows: list[dict[str, str]]


class PreviewResponse(TypedDict):
    """A preview and how it was made."""

    formatParams: FormatParams
    preview: PreviewedTable


class FileLinks(TypedDict):
    """Where an entry can be read."""

    self: Link


class FileEntry(TypedDict):
    """A file or a directory; `length` in bytes."""

    name: str
    length: int
    _links: FileLinks


class ListPosition(TypedDict):
    """How many a page may have and has."""

    limit: int
    count: int


class ListLinks(TypedDict):
    """Where a page leads on."""

    next: Link


class FilePage(TypedDict):
    """A page of a directory."""

    data: list[FileEntry]
    _page: ListPosition
    _links: ListLinks


class BatchFile(TypedDict):
    """A file of an active batch."""

    dataSetFileId: str
    dataSetViewId: str
    version: str
    created: str
    updated: str
    isValid: bool
    _links: FileLinks


class BatchFilePage(TypedDict):
    """A page of the files of a batch."""

    data: list[BatchFile]
    _page: ListPosition
    _links: ListLinks


class FileNames(TypedDict):
    """What a file is called and how large it is."""

    data: list[FileEntry]
    _page: ListPosition


class RowPage(TypedDict):
    """A page of the rows of a file."""

    data: list[dict[str, Any]]
    _page: ListPosition
    _links: ListLinks


_BY_ID = Answer("The batch by its id", Annotated[dict[str, Batch], Field(min_length=1, max_length=1)])
_DONE = Answer("It is done", Nothing)
_READ = Answer("A page of the directory, or of the file's rows", FilePage | RowPage, also=(JSON_LINES,))
_PAGE = (
    Parameter("start", "How many to pass over", Annotated[int, Field(ge=0)]),
    Parameter("limit", f"How many at most: {MAX_PAGE} files or {MAX_ROWS:,} rows", Annotated[int, Field(ge=1)]),
)
_NAME = Parameter("path", "Its name: to read it instead of its name")
_ACTION = "What to do; in any case"
_PATH = {
    "batch": "The id of the batch",
    "dataset": "The id of its dataset",
    "file": "The id of a file of a batch",
    "path": "The name of the file, which may have slashes in it",
}

AREA = Area(
    "Batches",
    "Files whose rows are judged and accepted together.",
    _PATH,
    {
        f"POST {IMPORT}": Operation(body=NewBatch, answers={201: Answer("The batch", Batch)}),
        f"PATCH {IMPORT}": Operation(body=NewBatch, answers={201: Answer("The batch", Batch)}),
        f"POST {IMPORT}/{{batch}}": Operation(
            answers={200: _DONE},
            query=(Parameter("action", _ACTION, Literal["COMPLETE", "ABORT", "FAIL", "REVERT"], required=True),),
        ),
        f"PUT {FILES}": Operation(answers={200: _DONE}, body=bytes, body_required=False),
        f"POST {FILES}": Operation(
            answers={
                200: Answer("The file, or with `PRESIGN` the address", ReceivedFile | UploadAddress),
                201: Answer("The file was begun", Nothing),
            },
            query=(Parameter("action", _ACTION, Literal["INITIALIZE", "COMPLETE", "PRESIGN"], required=True),),
        ),
        f"PATCH {FILES}": Operation(
            answers={200: Answer("The part", ReceivedFile, headers={"Range": "Which bytes of the file it is"})},
            headers={"Content-Range": "Which bytes of the file the body is: `bytes first-last`"},
            body=bytes,
        ),
        f"HEAD {FILES}": Operation(
            answers={200: Answer("The file is coming in parts", headers={"Range": "Which bytes were received"})}
        ),
        f"GET {PREVIEW}": Operation(
            answers={200: Answer("The first rows", PreviewResponse)},
            query=(
                Parameter(
                    "format",
                    "How the files are written: json, parquet or csv in any case; as the batch says by default",
                ),
                Parameter("isMultiLineJson", "Whether a row of JSON may take several lines", bool),
                Parameter(
                    "nrow",
                    f"How many rows; {PREVIEWED_ROWS} by default, more than {MAX_PREVIEWED_ROWS:,} is that many",
                    Annotated[int, Field(ge=0)],
                ),
                Parameter("delimiter", "For CSV: a comma, and no other"),
                Parameter("quote", "For CSV: a double quote, and no other"),
                Parameter("charset", "UTF-8, and no other"),
                Parameter("header", "For CSV: whether there is one, and there must be", bool),
            ),
        ),
        f"GET {CATALOG}/batches": Operation(
            answers={200: Answer("Batches by their ids", dict[str, Batch])},
            query=(
                Parameter(
                    "limit",
                    f"How many at most; {DEFAULT_PAGE} by default, more than {MAX_PAGE} is {MAX_PAGE}",
                    Annotated[int, Field(ge=1)],
                ),
                Parameter("start", "How many to pass over", Annotated[int, Field(ge=0, le=1_000_000)]),
                Parameter("orderBy", "What begins with `asc` is oldest first, anything else newest first"),
                Parameter("properties", "Which properties to show, with commas between them; all by default"),
                Parameter("status", "Only those in one of these states, with commas between them"),
                Parameter("dataSet", "Only those of this dataset"),
                Parameter("offset", "Another name of `start`", Annotated[int, Field(ge=0, le=1_000_000)]),
                Parameter("createdUser", "Only those created by this client"),
                Parameter("created", "Only those created at this time", Milliseconds),
                Parameter("updated", "Only those last changed at this time", Milliseconds),
                Parameter("externalId", "Only those that were created with this id of the caller's"),
                Parameter("batch", "Only the one with this id"),
                Parameter(
                    "createdAfter", "Only those created after this time, in milliseconds since 1970", Milliseconds
                ),
                Parameter("createdBefore", "Only those created before this time", Milliseconds),
            ),
        ),
        f"GET {CATALOG}/batches/{{batch}}": Operation(answers={200: _BY_ID}),
        f"GET {CATALOG}/batch/{{batch}}": Operation(answers={200: _BY_ID}),
        f"GET {BATCH}/meta": Operation(
            answers={200: _READ},
            query=(
                Parameter(
                    "path",
                    "`input_files` or `row_errors`, or a file in them, or `row_errors_sample.json`; without it, these",
                ),
                *_PAGE,
            ),
        ),
        f"GET {BATCH}/files": Operation(answers={200: Answer("A page of its files", BatchFilePage)}, query=_PAGE),
        f"GET {FILE}": Operation(
            answers={
                200: Answer("Its name and size, or its bytes", FileNames, also=(OCTET_STREAM,)),
                206: Answer("The bytes asked for", headers={"Content-Range": "Which they are"}),
            },
            query=(_NAME,),
            fails=(416,),
        ),
        f"HEAD {FILE}": Operation(
            answers={200: Answer("The file is there", headers={"Content-Length": "Its size in bytes"})}, query=(_NAME,)
        ),
        f"GET {BATCH}/failed": Operation(
            answers={200: _READ},
            query=(Parameter("path", "A file of rejected rows; without it, their list"), *_PAGE),
        ),
    },
)
