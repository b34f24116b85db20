"""``/data/core/ups/system/jobs/erasures``, and ``subjectAccess`` beside it: erasing and showing persons (ours)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from os import environ
from typing import TypedDict

from api import erasure_documents, subject_documents
from api.models.erasures import WantedErasure, WantedSubject
from tessera.domain.erasure import Erasure, Outcome
from tessera.domain.erasure_list import Entry, csv_lines, entry, json_lines
from tessera.domain.errors import InvalidRequestError
from tessera.domain.identity import Xid, is_xid
from tessera.domain.tenant import Tenant
from tessera.gateway import JSON, Endpoint, Request, Response
from tessera.services.erasure.accepting import Acceptance
from tessera.services.erasure.cutting import Cutter
from tessera.services.erasure.holds import Holds
from tessera.services.erasure.receipt import receipt_of
from tessera.services.profile_reader import ProfileReader
from tessera.services.subject_access import SubjectAccess
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.erasure_lake import ErasureLake
from tessera.storage.erasures import ErasureStore, HoldRegister
from tessera.storage.executions import Executions
from tessera.storage.journal import Journal
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry

JOBS = "/data/core/ups/system/jobs"
PATH = JOBS + "/erasures"
SUBJECT = JOBS + "/subjectAccess"
CSV, JSON_LINES = "text/csv", "application/x-ndjson"
MAX_HOLDS = 1000

_ONE = PATH + "/{id}"
_HOLDS = PATH + "/holds"
_PERSONS_AT_ONCE = 32
_SEND_LESS = "Send the list in several calls: each is an erasure of its own."

endpoint = Endpoint("erasures")
handler = endpoint.handler


@cache
def _registry() -> Registry:
    return Registry(aws.dynamodb(), aws.registry_table())


@cache
def _configurations() -> ConfigurationStore:
    return ConfigurationStore(aws.dynamodb(), aws.registry_table())


@cache
def _table() -> ProfileTable:
    return ProfileTable(aws.dynamodb(), aws.profile_table())


@cache
def _lake() -> ErasureLake:
    return ErasureLake(aws.s3(), aws.lake_bucket())


@cache
def _journal() -> Journal:
    return Journal(aws.s3(), aws.lake_bucket())


@cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_PERSONS_AT_ONCE)


@cache
def _erasures() -> ErasureStore:
    return ErasureStore(_registry())


@cache
def _acceptance() -> Acceptance:
    register = HoldRegister(_registry())
    return Acceptance(_table(), _erasures(), _lake(), register, _journal(), _executor(), Cutter(_table()))


@cache
def _holds() -> Holds:
    return Holds(_table(), HoldRegister(_registry()), _journal(), Cutter(_table()))


@cache
def _subjects() -> SubjectAccess:
    return SubjectAccess(_configurations(), _table(), BatchStore(_registry()))


@cache
def _reader() -> ProfileReader:
    return ProfileReader(_configurations(), _table(), _executor())


@endpoint.post(PATH, permission="erase", accepts=(JSON, CSV, JSON_LINES), too_large=_SEND_LESS)
def erase(request: Request) -> Response:
    """Erase persons; 200 when no read shows them any more, 202 when a long list is taken in and worked through."""
    configuration = _configurations().current(request.tenant)
    entries, options = _named(request, lambda code: configuration.namespace(code) is not None)
    if not entries:
        raise InvalidRequestError("the list names nobody: it has no line")
    machine = Executions(aws.stepfunctions, lambda: environ["ERASE_STATE_MACHINE_ARN"])
    erasure = _acceptance().begin(request.tenant, entries, machine, caller=request.caller, **options)
    document = erasure_documents.job(erasure, request)
    if erasure.parts == 1:
        document["lines"] = _lines(request.tenant, erasure, 0)
    return Response(document, 200 if erasure.accepted_ms else 202)


@endpoint.get(_HOLDS, permission="erase")
def list_holds(request: Request) -> Response:
    """List who is held, page by page; with an identity, tell whether that one is and who did it."""
    query = request.query
    if query.get("entityId"):
        return Response(erasure_documents.hold(_holds().of(request.tenant, _asked(request))))
    start = query.get("start") or None
    if start is not None and not is_xid(start):
        raise InvalidRequestError("start is the cursor of a page of holds")
    page = _holds().page(request.tenant, start, query.integer("limit", 100, minimum=1, maximum=MAX_HOLDS, clamp=True))
    return Response(erasure_documents.hold_page(page))


@endpoint.delete(_HOLDS, permission="erase")
def lift_hold(request: Request) -> Response:
    """Lift the hold of a person; rows that are accepted from then on are taken again."""
    return Response(erasure_documents.hold(_holds().lift(request.tenant, _asked(request), request.caller)))


@endpoint.get(_ONE, permission="erase")
def get(request: Request) -> Response:
    """Read an erasure; `acceptedAt` is there from when no read shows the persons any more."""
    return Response(erasure_documents.job(_erasures().get(request.tenant, request.path_parameters["id"]), request))


@endpoint.get(_ONE + "/lines", permission="erase")
def lines(request: Request) -> Response:
    """Read which lines of the list did not go as asked, each with its number and the reason, page by page."""
    erasure = _erasures().get(request.tenant, request.path_parameters["id"])
    part = request.query.integer("start", 0, minimum=0, maximum=erasure.parts - 1)
    following = {"next": str(part + 1)} if part + 1 < erasure.parts else {}
    return Response({"lines": _lines(request.tenant, erasure, part), "_page": following})


@endpoint.get(_ONE + "/receipt", permission="erase")
def receipt(request: Request) -> Response:
    """Read the receipt; what was swept, the round that found nothing, and what remains by design and until when."""
    found = receipt_of(_erasures(), request.tenant, request.path_parameters["id"])
    return Response(erasure_documents.receipt(found, request))


@endpoint.post(SUBJECT, permission="erase", reads=True)
def subject_access(request: Request) -> Response:
    """Answer everything that is stored of a person with its sources, page by page; nothing is changed."""
    wanted = request.parse(WantedSubject)
    xid = _xid(request.tenant, wanted.entity_id, wanted.namespace.code if wanted.namespace else None)
    subject = _subjects().subject(request.tenant, xid)
    start = subject_documents.read_cursor(wanted.start, subject)
    page = subject_documents.page(subject, _subjects().pieces(subject, start))
    if start is not None:
        return Response(page)
    exports = _subjects().exports(request.tenant)
    return Response({**subject_documents.overview(subject, exports, _reader()), **page})


class _Options(TypedDict):
    hold: bool
    lake: bool


def _named(request: Request, known: Callable[[str], bool]) -> tuple[list[Entry], _Options]:
    """Read who is named, and what is asked for: in a JSON body, or in a file with options in the query."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in {CSV, JSON_LINES}:
        lines = csv_lines if kind == CSV else json_lines
        query = request.query
        return list(lines(request.raw_body, known)), {"hold": query.flag("hold"), "lake": query.flag("lake")}
    wanted = request.parse(WantedErasure)
    entries = [
        entry(number, one.entity_id, one.namespace.code if one.namespace else None, known)
        for number, one in enumerate(wanted.identities, start=1)
    ]
    return entries, {"hold": wanted.hold, "lake": wanted.lake}


def _lines(tenant: Tenant, erasure: Erasure, part: int) -> list[dict[str, object]]:
    return [
        {"line": line, "outcome": outcome, **({"reason": why} if why else {})}
        for line, outcome, why in _lake().lines(tenant, erasure.id, part)
        if outcome is not Outcome.ERASED
    ]


def _asked(request: Request) -> Xid:
    query = request.query
    return _xid(request.tenant, query.get("entityId"), query.get("entityIdNS") or None)


def _xid(tenant: Tenant, value: str | None, code: str | None) -> Xid:
    """Find out whom an identity names. Raises InvalidRequestError."""
    configuration = _configurations().current(tenant)
    named = entry(1, value, code, lambda wanted: configuration.namespace(wanted) is not None)
    xid = named.names(tenant)
    if xid is None:
        raise InvalidRequestError(f"entityId and entityIdNS name nobody: {named.reason}")
    return xid
