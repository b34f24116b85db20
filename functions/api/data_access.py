"""Reading a batch's files and diagnostics (contract: data-and-pql §3.6, §4.3).

Every answer but the bytes of a file is a JSON object: the contract's client asks again for ever when a GET answers
anything else. Who wants the JSON lines of a diagnostics file says so with ``Accept: application/x-ndjson``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from urllib.parse import quote, urlencode

import orjson

from tessera.domain.errors import NotFoundError, UnprocessableError
from tessera.gateway import OCTET_STREAM, ApiError, Endpoint, Request, Response
from tessera.services.data_access import DataAccess, Entry, file_id
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.export_lake import ExportLake
from tessera.storage.lake import Lake
from tessera.storage.received import Read, StoredFile
from tessera.storage.registry import Registry

endpoint = Endpoint("data_access")

BATCH = "/data/foundation/export/batches/{batch}"
FILE = "/data/foundation/export/files/{file}"
JSON_LINES = "application/x-ndjson"

MAX_PAGE = 100
MAX_ROWS = 1000
# Half of what an answer may have: quotes count twice on their way.
_MAX_PAGE_BYTES = 2_500_000
# What an answer carries of a file: as text each quote may take two bytes on its way, in base64 three bytes take four.
MAX_FILE_BYTES = 3_000_000
_RANGE = re.compile(r"bytes=(\d{0,14})-(\d{0,14})\Z")


@cache
def _access() -> DataAccess:
    batches = BatchStore(Registry(aws.dynamodb(), aws.registry_table()))
    exports = ExportLake(aws.s3(), aws.lake_bucket())
    return DataAccess(batches, Lake(aws.s3(), aws.lake_bucket()), exports)


@endpoint.get(BATCH + "/meta", permission="read")
def meta(request: Request) -> Response:
    """List a directory of a batch's metadata, or read a file of it."""
    batch_id = request.path_parameters["batch"]
    path = (request.query.get("path") or "").strip("/")
    entries = _access().entries(request.tenant, batch_id, path)
    if entries is None:
        return _rows(request, _access().lines(request.tenant, batch_id, path))
    return _listing(request, entries)


@endpoint.get(BATCH + "/failed", permission="read")
def failed(request: Request) -> Response:
    """List the files of a batch's rejected rows, or read one with what each row violates."""
    batch_id = request.path_parameters["batch"]
    path = request.query.get("path")
    if path:
        return _rows(request, _access().failed_rows(request.tenant, batch_id, path))
    return _listing(request, _access().failed(request.tenant, batch_id))


@endpoint.get(BATCH + "/files", permission="read")
def files(request: Request) -> Response:
    """List the files of an active batch."""
    batch, found = _access().files(request.tenant, request.path_parameters["batch"])
    start = request.query.integer("start", 0)
    limit = request.query.integer("limit", MAX_PAGE, minimum=1, maximum=MAX_PAGE, clamp=True)
    numbers = range(start, min(start + limit, len(found)))
    data = [
        {
            "dataSetFileId": file_id(batch.id, number),
            "dataSetViewId": batch.dataset_id,
            "version": "1.0.0",
            "created": str(batch.completed_ms),
            "updated": str(batch.finished_ms),
            "isValid": True,
            "_links": {"self": {"href": FILE.replace("{file}", file_id(batch.id, number))}},
        }
        for number in numbers
    ]
    following = start + len(data)
    return Response(
        {
            "data": data,
            "_page": {"limit": limit, "count": len(data)},
            "_links": _next(request, following if following < len(found) else None, limit),
        }
    )


@endpoint.get(FILE, permission="read")
def read_file(request: Request) -> Response:
    """Say what a file is called and how large it is, or with ``path`` read it, in whole or a ``Range`` of it."""
    file, read = _found(request)
    if request.query.get("path") is None:
        link = _href(request, path=file.name)
        data = [{"name": file.name, "length": file.size, "_links": {"self": {"href": link}}}]
        return Response({"data": data, "_page": {"limit": MAX_PAGE, "count": 1}})
    wanted = _wanted_range(request.headers.get("range"), file.size)
    if wanted is None:
        if file.size > MAX_FILE_BYTES:
            advice = f"it has {file.size:,} bytes; read it by Range, {MAX_FILE_BYTES:,} bytes at a time"
            raise UnprocessableError(f"The file is too large for one answer: {advice}")
        return Response(read(0, file.size), headers=_ACCEPTS_RANGES, content_type=OCTET_STREAM)
    start, end = wanted
    if start >= end:
        raise ApiError(416, "Nothing of the file is in this Range", headers={"Content-Range": f"bytes */{file.size}"})
    # Less than was asked for is allowed: Content-Range says what came.
    end = min(end, start + MAX_FILE_BYTES)
    told = {"Content-Range": f"bytes {start}-{end - 1}/{file.size}"}
    return Response(read(start, end), 206, {**_ACCEPTS_RANGES, **told}, OCTET_STREAM)


@endpoint.head(FILE, permission="read")
def file_headers(request: Request) -> Response:
    """Tell the size of a file; ``X-Content-Length`` too, since a gateway may write ``Content-Length`` itself."""
    file, _ = _found(request)
    size = str(file.size)
    return Response(None, 200, {**_ACCEPTS_RANGES, "Content-Length": size, "X-Content-Length": size}, OCTET_STREAM)


_ACCEPTS_RANGES = {"Accept-Ranges": "bytes"}


def _found(request: Request) -> tuple[StoredFile, Read]:
    file, read = _access().file(request.tenant, request.path_parameters["file"])
    path = request.query.get("path")
    if path is not None and path != file.name:
        raise NotFoundError(f"This file is not called {path[:64]}")
    return file, read


def _wanted_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Read a ``Range`` of one interval as start and end (exclusive); what is none of that is passed over (RFC 9110)."""
    match = _RANGE.match((header or "").strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size
    start = int(match[1])
    if not match[2]:
        return start, size
    return (start, min(int(match[2]) + 1, size)) if int(match[2]) >= start else None


def _listing(request: Request, entries: Sequence[Entry]) -> Response:
    start = request.query.integer("start", 0)
    limit = request.query.integer("limit", MAX_PAGE, minimum=1, maximum=MAX_PAGE, clamp=True)
    page = entries[start : start + limit]
    data = [
        {
            "name": entry.name,
            "length": entry.length,
            "_links": {"self": {"href": _href(request, path=entry.name)}},
        }
        for entry in page
    ]
    following = start + len(page)
    return Response(
        {
            "data": data,
            "_page": {"limit": limit, "count": len(data)},
            "_links": _next(request, following if following < len(entries) else None, limit),
        }
    )


def _rows(request: Request, lines: Iterator[bytes]) -> Response:
    start = request.query.integer("start", 0)
    limit = request.query.integer("limit", MAX_ROWS, minimum=1, maximum=MAX_ROWS, clamp=True)
    rest = islice(lines, start, None)
    page: list[bytes] = []
    size = 0
    following: int | None = None
    for line in rest:
        size += len(line)
        if len(page) == limit or (page and size > _MAX_PAGE_BYTES):
            following = start + len(page)
            break
        page.append(line)
    links = _next(request, following, limit)
    if JSON_LINES in request.headers.get("accept", ""):
        href = links["next"]["href"]
        headers = {"Link": f'<{href}>; rel="next"'} if href else {}
        return Response(b"\n".join([*page, b""]), headers=headers, content_type=JSON_LINES)
    return Response(
        {
            "data": [orjson.Fragment(line) for line in page],
            "_page": {"limit": limit, "count": len(page)},
            "_links": links,
        }
    )


def _next(request: Request, following: int | None, limit: int) -> dict[str, dict[str, str]]:
    """Link to the next page; an empty one on the last, never null (contract: data-and-pql §3.5)."""
    if following is None:
        return {"next": {"href": ""}}
    path = request.query.get("path")
    wanted = {"path": path} if path else {}
    return {"next": {"href": _href(request, **wanted, start=str(following), limit=str(limit))}}


def _href(request: Request, **parameters: str) -> str:
    route = request.route
    for name, value in request.path_parameters.items():
        route = route.replace(f"{{{name}}}", quote(value, safe=""))
    return f"{route}?{urlencode(parameters)}"


handler = endpoint.handler
