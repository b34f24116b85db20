"""``/data/core/ups/access/entities``: profiles and their events (contract: profile-api §2)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import orjson

from api import entity_deletion, event_pages, profile_documents
from api.event_pages import MAX_EVENTS, EventQuery, ShownPage, room_for_events
from api.models.entities import MAX_FIELDS, WantedEntities, WantedIdentity
from tessera.domain import event_filter
from tessera.domain.errors import (
    EntityNotFoundError,
    InvalidRequestError,
    TesseraError,
    UndecodableXidError,
    UnprocessableError,
)
from tessera.domain.fields import Selection, selection
from tessera.domain.identity import Identity, Xid, is_namespace_code, is_xid
from tessera.domain.merge_policy import EVENT_CLASS, PROFILE_CLASS
from tessera.domain.tenant import Tenant
from tessera.gateway import (
    MAX_ANSWER_BYTES,
    Endpoint,
    Query,
    Request,
    Response,
    entity_problem,
    share_of_answer,
)
from tessera.services.profile_reader import Person, ProfileReader
from tessera.services.timeline import Cursor, Timeline, Window
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.profile_table import ProfileTable

PATH = "/data/core/ups/access/entities"

_PARALLEL_READS = 50
# Classes that are not persons (contract: profile-api §2.9).
_BUSINESS_CLASSES = ("_xdm.context.account", "_xdm.context.opportunity")
_CLASSES = (PROFILE_CLASS, EVENT_CLASS, *_BUSINESS_CLASSES)

endpoint = Endpoint("entities")
handler = endpoint.handler


@cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_PARALLEL_READS, thread_name_prefix="read")


@cache
def _table() -> ProfileTable:
    return ProfileTable(aws.dynamodb(), aws.profile_table())


@cache
def _reader() -> ProfileReader:
    return ProfileReader(ConfigurationStore(aws.dynamodb(), aws.registry_table()), _table(), _executor())


@cache
def _timeline() -> Timeline:
    return Timeline(_table(), _executor())


@endpoint.get(PATH, permission="read")
def look_up(request: Request) -> Response:
    """Answer a profile, or a page of its events, by identity."""
    match _class(request.query.get("schema.name")):
        case "_xdm.context.profile":
            return _profile(request)
        case "_xdm.context.experienceevent":
            return _events(request)
        case _:
            # Nothing is stored of business objects yet: whatever is asked for is not there.
            raise EntityNotFoundError


@endpoint.post(PATH, permission="read", reads=True)
def look_up_many(request: Request) -> Response:
    """Answer the profiles, or a page of the events, of many identities."""
    wanted = request.parse(WantedEntities)
    schema_class = _class(wanted.schema_class.name)
    if schema_class == EVENT_CLASS:
        return _events_of_many(request.tenant, wanted)
    return _profiles(request, wanted, known=schema_class == PROFILE_CLASS)


@endpoint.delete(PATH, permission="erase")
def delete(request: Request) -> Response:
    """Delete a person: gone from every read at once, swept by a job (contract: profile-api §2.8)."""
    query = request.query
    entity_deletion.expect_deletable(query.get("schema.name"))
    namespace = query.get("entityIdNS") or None
    return entity_deletion.delete(
        _reader(),
        request.tenant,
        _xid(request.tenant, query.get("entityId"), namespace, "entityId"),
        policy_id=query.get("mergePolicyId") or None,
        namespace=namespace,
        caller=request.caller,
    )


def _profile(request: Request) -> Response:
    query = request.query
    if "property" in query:
        raise InvalidRequestError(f"property filters events: it needs schema.name={EVENT_CLASS}")
    fields = _selection(query.listed("fields"))
    person = _person(request, query.get("entityId"), query.get("entityIdNS"), "entityId")
    return Response({person.xid: profile_documents.profile(person, fields, explained=query.flag("explain"))})


def _profiles(request: Request, wanted: WantedEntities, *, known: bool) -> Response:
    """Answer one entry for each identity; only what went wrong, if anything did (contract: profile-api §2.6)."""
    fields = _selection(wanted.fields)
    asked, failures = _named(request.tenant, wanted)
    found: Mapping[Xid, Person | TesseraError] = dict.fromkeys(asked, EntityNotFoundError())
    if known:
        namespaces = {xid: one.namespace.code if one.namespace else None for xid, one in asked.items()}
        policy_id = wanted.policy_id or None
        found = _reader().persons(request.tenant, namespaces, policy_id=policy_id, now_ms=_now_ms())
    entries: dict[str, orjson.Fragment] = {}
    room = MAX_ANSWER_BYTES
    for xid, document in profile_documents.profiles(found, fields):
        entry = orjson.dumps({**document, "requestedIdentity": _requested(asked[xid])})
        room -= share_of_answer(entry)
        if room < 0:
            failures.append(
                (xid, UnprocessableError("There was no room for it in the answer: ask for fewer identities"))
            )
        else:
            entries[xid] = orjson.Fragment(entry)
    failures += [
        (xid, error)
        for xid, error in found.items()
        if isinstance(error, TesseraError) and not isinstance(error, EntityNotFoundError)
    ]
    if failures:
        return Response(
            [{"xid": xid, "error": entity_problem(error, request.request_id)} for xid, error in failures], 207
        )
    return Response({xid: entries[xid] for xid in asked})


def _events(request: Request) -> Response:
    query = request.query
    _expect_profile(query.get("relatedSchema.name"))
    prefix = "relatedEntityId" if query.get("relatedEntityId") else "entityId"
    asked = EventQuery(
        Window(
            _time(query, "startTime"),
            _time(query, "endTime"),
            _is_forward(query.get("orderby")),
            event_filter.parse(query.every("property")),
        ),
        query.integer("limit", MAX_EVENTS, minimum=1, maximum=MAX_EVENTS, clamp=True),
        _selection(query.listed("fields")),
        query.get("mergePolicyId") or None,
        query.every("property"),
    )
    person = _person(request, query.get(prefix), query.get(prefix + "NS"), "relatedEntityId")
    cursor = event_pages.read_cursor(asked, person.xid, query.get("offsets"), query.get("start"))
    read = _timeline().page(request.tenant, person, asked.window, asked.limit, cursor, _now_ms())
    page = event_pages.shown(person, read, asked, room_for_events())
    return Response(page.document(event_pages.link(page, query)))


def _events_of_many(tenant: Tenant, wanted: WantedEntities) -> Response:
    """Answer a page for each person; each goes on by itself, with a body to send (contract: profile-api §2.7)."""
    _expect_profile(wanted.related_schema.name if wanted.related_schema else None)
    window = Window(wanted.time_filter.start_ms, wanted.time_filter.end_ms, _is_forward(wanted.order))
    limit = min(wanted.limit or MAX_EVENTS, MAX_EVENTS)
    query = EventQuery(window, limit, _selection(wanted.fields), wanted.policy_id or None)
    asked, failures = _named(tenant, wanted)
    if failures:
        raise failures[0][1]
    namespaces = {xid: one.namespace.code if one.namespace else None for xid, one in asked.items()}
    now_ms = _now_ms()
    found = _reader().persons(tenant, namespaces, policy_id=query.policy_id, now_ms=now_ms)
    begun: list[tuple[Person, Cursor | None]] = []
    for xid, identity in asked.items():
        person = found[xid]
        if isinstance(person, Person):
            begun.append((person, event_pages.read_cursor(query, xid, identity.offsets, identity.start)))
        elif not isinstance(person, EntityNotFoundError):
            raise person
    read = _timeline().pages(tenant, begun, window, limit, now_ms)
    pages: dict[str, Any] = {}
    room = room_for_events(len(asked))
    for xid in asked:
        person = found[xid]
        if isinstance(person, Person):
            page = event_pages.shown(person, next(read), query, room)
        else:
            page = event_pages.nothing(query, xid)
        room -= page.size
        pages[xid] = page.document(_payload(page, wanted))
    return Response(pages)


def _payload(page: ShownPage, wanted: WantedEntities) -> dict[str, Any]:
    """Write the body that asks for a person's next page."""
    if not page.token:
        return {"href": ""}
    identity = {"relatedEntityId": page.xid, "offsets": page.token}
    if page.following:
        identity["start"] = page.following.body["_id"]
    window = {"startTime": wanted.time_filter.start_ms, "endTime": wanted.time_filter.end_ms}
    payload: dict[str, Any] = {
        "schema": {"name": EVENT_CLASS},
        "relatedSchema": {"name": PROFILE_CLASS},
        "identities": [identity],
        "limit": page.query.limit,
        "orderby": page.query.order,
    }
    optional = {
        "timeFilter": {name: value for name, value in window.items() if value is not None},
        "fields": wanted.fields,
        "mergePolicyId": wanted.policy_id,
    }
    return {"href": "/entities", "payload": payload | {name: value for name, value in optional.items() if value}}


def _person(request: Request, entity_id: str | None, namespace: str | None, parameter: str) -> Person:
    return _reader().person(
        request.tenant,
        _xid(request.tenant, entity_id, namespace, parameter),
        namespace=namespace or None,
        policy_id=request.query.get("mergePolicyId") or None,
        now_ms=_now_ms(),
    )


def _named(tenant: Tenant, wanted: WantedEntities) -> tuple[dict[Xid, WantedIdentity], list[tuple[str, TesseraError]]]:
    """Work out who is asked for, each once, and which of them cannot be anybody."""
    asked: dict[Xid, WantedIdentity] = {}
    failures: list[tuple[str, TesseraError]] = []
    for one in wanted.identities:
        try:
            asked.setdefault(
                _xid(tenant, one.entity_id, one.namespace.code if one.namespace else None, "entityId"), one
            )
        except TesseraError as error:
            failures.append((one.entity_id[:64], error))
    return asked, failures


def _xid(tenant: Tenant, entity_id: str | None, namespace: str | None, parameter: str) -> Xid:
    """Work out which identity is meant (contract: profile-api §2.2)."""
    if not entity_id:
        detail = f"if {parameter}NS is used, {parameter} cannot be empty" if namespace else f"{parameter} is required"
        raise InvalidRequestError(detail)
    if not namespace:
        if not is_xid(entity_id):
            raise UndecodableXidError(entity_id[:64], "pdg")
        return Xid(entity_id)
    if not is_namespace_code(namespace):
        raise InvalidRequestError(f"{parameter}NS is not the code of a namespace")
    return Identity.of(namespace, entity_id).xid(tenant)


def _requested(identity: WantedIdentity) -> dict[str, Any]:
    namespace = {"entityIdNS": {"code": identity.namespace.code}} if identity.namespace else {}
    return {"entityId": identity.entity_id, **namespace}


def _class(name: str | None) -> str:
    if not name:
        raise InvalidRequestError(f"schema.name is required: {PROFILE_CLASS} or {EVENT_CLASS}")
    if name not in _CLASSES:
        raise InvalidRequestError(f"schema.name must be one of {', '.join(_CLASSES)}")
    return name


def _expect_profile(related: str | None) -> None:
    if related != PROFILE_CLASS:
        raise InvalidRequestError(f"relatedSchema.name is required for events and must be {PROFILE_CLASS}")


def _selection(paths: list[str]) -> Selection | None:
    if len(paths) > MAX_FIELDS:
        raise InvalidRequestError(f"fields may name {MAX_FIELDS} paths, not {len(paths)}")
    return selection(paths) if paths else None


def _time(query: Query, name: str) -> int | None:
    """Read a time in epoch milliseconds; years 1 to 9999 are enough for anybody."""
    if not query.get(name):
        return None
    return query.integer(name, 0, minimum=-62_135_596_800_000, maximum=253_402_300_799_999)


def _is_forward(order: str | None) -> bool:
    """Read ``orderby``; an unescaped plus sign arrives as a space (contract: profile-api §1.5)."""
    match (order or "").strip():
        case "" | "timestamp" | "+timestamp":
            return True
        case "-timestamp":
            return False
    raise InvalidRequestError("orderby must be timestamp, +timestamp or -timestamp")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
