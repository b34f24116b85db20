"""Reading a batch's diagnostics (contract: data-and-pql §4.3; paging §3.6).

Every answer is a JSON object: the contract's client asks again for ever when a GET answers anything else. Who wants
the JSON lines themselves says so with ``Accept: application/x-ndjson``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from urllib.parse import quote, urlencode

import orjson

from tessera.gateway import Endpoint, Request, Response
from tessera.services.data_access import DataAccess, Entry
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.lake import Lake
from tessera.storage.registry import Registry

endpoint = Endpoint("data_access")

BATCH = "/data/foundation/export/batches/{batch}"
JSON_LINES = "application/x-ndjson"

MAX_PAGE = 100
MAX_ROWS = 1000
# Half of what an answer may have: quotes count twice on their way.
_MAX_PAGE_BYTES = 2_500_000


@cache
def _access() -> DataAccess:
    return DataAccess(BatchStore(Registry(aws.dynamodb(), aws.registry_table())), Lake(aws.s3(), aws.lake_bucket()))


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
    route = request.route.replace("{batch}", quote(request.path_parameters["batch"], safe=""))
    return f"{route}?{urlencode(parameters)}"


handler = endpoint.handler
