"""``/data/core/ups/access/entities``: profiles and their events (contract: profile-api §2)."""

from __future__ import annotations

import base64
import binascii
import re
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any
from urllib.parse import urlencode

import orjson

from tessera.domain.errors import InvalidRequestError, UndecodableXidError
from tessera.domain.fields import Selection, select, selection
from tessera.domain.identity import Identity, Xid, is_namespace_code, is_xid
from tessera.domain.merge_policy import EVENT_CLASS, PROFILE_CLASS
from tessera.domain.place import accepted_ms
from tessera.domain.profile import Event
from tessera.domain.times import iso_seconds
from tessera.gateway import Endpoint, Query, Request, Response
from tessera.services.profile_reader import Person, ProfileReader
from tessera.services.timeline import Cursor, Page, Timeline, Window
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.profile_items import timestamp_of
from tessera.storage.profile_table import ProfileTable

MAX_EVENTS = 1000
_MAX_PAGE_BYTES = 5_000_000
_PARALLEL_READS = 50
_BUSINESS_CLASSES = {"_xdm.context.account": "b2b_account", "_xdm.context.opportunity": "b2b_opportunity"}
_CURSOR_KEY = re.compile(r"[0-9a-f]{13}[A-Za-z0-9_~!-]{0,24}\Z")

endpoint = Endpoint("entities")
handler = endpoint.handler


@cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_PARALLEL_READS, thread_name_prefix="read")


@cache
def _table() -> ProfileTable:
    return ProfileTable(aws.dynamodb(), aws.profile_table())


@cache
def _configurations() -> ConfigurationStore:
    return ConfigurationStore(aws.dynamodb(), aws.registry_table())


@endpoint.get("/data/core/ups/access/entities", permission="read")
def look_up(request: Request) -> Response:
    """Answer a profile, or a page of its events, by identity."""
    schema = request.query.get("schema.name")
    if schema == PROFILE_CLASS:
        return _profile(request)
    if schema == EVENT_CLASS:
        return _events(request)
    if schema in _BUSINESS_CLASSES:
        raise InvalidRequestError(f"look-ups of {schema} are not available yet")
    if not schema:
        raise InvalidRequestError(f"schema.name is required: {PROFILE_CLASS} or {EVENT_CLASS}")
    raise InvalidRequestError(f"schema.name must be {PROFILE_CLASS} or {EVENT_CLASS}")


def _profile(request: Request) -> Response:
    query = request.query
    if "property" in query:
        raise InvalidRequestError("property filters events: it needs schema.name=" + EVENT_CLASS)
    person = _person(request, query.get("entityId"), query.get("entityIdNS"), "entityId")
    paths = query.listed("fields")
    return Response({person.xid: profile_document(person, selection(paths) if paths else None)})


def profile_document(person: Person, fields: Selection | None) -> dict[str, Any]:
    """Write a profile as the API shows it (contract: profile-api §2.3)."""
    entity = person.entity()
    if fields is not None:
        if "identities" in fields:
            entity["identities"] = _identities(person)
        entity = select(entity, fields)
    return {
        "entityId": person.xid,
        "mergePolicy": {"id": person.policy.id},
        "sources": person.sources,
        "tags": person.tags,
        "identityGraph": person.graph,
        "entity": entity,
        "lastModifiedAt": iso_seconds(person.last_modified_ms),
    }


def _identities(person: Person) -> list[dict[str, Any]]:
    """List the graph's identities in the older style, the one asked for as primary."""
    return [
        {
            "id": member.head.identity.value,
            "namespace": {"code": member.head.identity.namespace},
            **({"primary": True} if xid == person.xid else {}),
        }
        for xid, member in person.members.items()
    ]


def _events(request: Request) -> Response:
    query = request.query
    related = query.get("relatedSchema.name")
    if related != PROFILE_CLASS:
        raise InvalidRequestError(f"relatedSchema.name is required for events and must be {PROFILE_CLASS}")
    if query.get("relatedEntityId"):
        person = _person(request, query.get("relatedEntityId"), query.get("relatedEntityIdNS"), "relatedEntityId")
    else:
        person = _person(request, query.get("entityId"), query.get("entityIdNS"), "relatedEntityId")
    if "property" in query:
        raise InvalidRequestError("property filters are not available yet: filter the events in the client")
    window = Window(_time(query, "startTime"), _time(query, "endTime"), _is_forward(query.get("orderby")))
    limit = query.integer("limit", MAX_EVENTS, minimum=1, maximum=MAX_EVENTS, clamp=True)
    page = Timeline(_table(), _executor()).page(
        request.tenant, person, window, limit, _cursor(query), time.time_ns() // 1_000_000
    )
    paths = query.listed("fields")
    return Response(_event_page(person, page, window, query, selection(paths) if paths else None))


def _person(request: Request, entity_id: str | None, namespace: str | None, parameter: str) -> Person:
    return ProfileReader(_configurations(), _table(), _executor()).person(
        request.tenant,
        _xid(request, entity_id, namespace, parameter),
        namespace=namespace or None,
        policy_id=request.query.get("mergePolicyId") or None,
        now_ms=time.time_ns() // 1_000_000,
    )


def _xid(request: Request, entity_id: str | None, namespace: str | None, parameter: str) -> Xid:
    """Work out which identity is meant (contract: profile-api §2.2)."""
    if not entity_id:
        detail = f"if {parameter}NS is used, {parameter} cannot be empty" if namespace else f"{parameter} is required"
        raise InvalidRequestError(detail)
    if not namespace:
        if not is_xid(entity_id):
            raise UndecodableXidError(entity_id, "pdg")
        return Xid(entity_id)
    if not is_namespace_code(namespace):
        raise InvalidRequestError(f"{parameter}NS is not the code of a namespace")
    return Identity.of(namespace, entity_id).xid(request.tenant)


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


def _cursor(query: Query) -> Cursor | None:
    """Read where the page begins: ``offsets`` is complete in itself, ``start`` is an event's id (profile-api §2.5)."""
    offsets = query.get("offsets")
    if offsets:
        try:
            key, event_id = orjson.loads(base64.urlsafe_b64decode(offsets + "=" * (-len(offsets) % 4)))
        except (ValueError, TypeError, binascii.Error):
            raise InvalidRequestError("offsets is not a cursor of this service") from None
        if not isinstance(key, str) or not _CURSOR_KEY.match(key) or not isinstance(event_id, str | None):
            raise InvalidRequestError("offsets is not a cursor of this service")
        return Cursor(key, event_id)
    start = query.get("start")
    return Cursor(event_id=start) if start else None


def _event_page(person: Person, page: Page, window: Window, query: Query, fields: Selection | None) -> dict[str, Any]:
    """Write a page of events (contract: profile-api §2.5), cut short before it grows too large to be answered."""
    children: list[orjson.Fragment] = []
    following, resume = page.next, page.resume
    size = 0
    for event in page.events:
        child = orjson.dumps(_child(person, event, fields))
        size += len(child)
        if size > _MAX_PAGE_BYTES:
            following, resume = event, Cursor(event.key)
            break
        children.append(orjson.Fragment(child))
    order = "timestamp" if window.forward else "-timestamp"
    return {
        "_page": {
            "orderby": order,
            "start": page.events[0].body["_id"] if page.events else "",
            "count": len(children),
            "next": following.body["_id"] if following else "",
        },
        "children": children,
        "_links": {"next": {"href": _next_href(query, order, following, resume)}},
    }


def _child(person: Person, event: Event, fields: Selection | None) -> dict[str, Any]:
    return {
        "relatedEntityId": person.xid,
        "entityId": event.body["_id"],
        "timestamp": timestamp_of(event.key),
        "entity": event.body if fields is None else select(event.body, fields),
        "lastModifiedAt": iso_seconds(accepted_ms(event.place)),
    }


def _next_href(query: Query, order: str, following: Event | None, resume: Cursor | None) -> str:
    """Write the address of the next page, relative to ``/access``, with the cursor in both spellings."""
    if resume is None:
        return ""
    token = base64.urlsafe_b64encode(orjson.dumps([resume.key, resume.event_id])).rstrip(b"=").decode()
    cursor = {"start": following.body["_id"]} if following else {}
    repeated = {name: value for name in _REPEATED if (value := query.get(name)) is not None}
    return "/entities?" + urlencode({**cursor, "offsets": token, "orderby": order, **repeated})


_REPEATED = (
    "schema.name",
    "entityId",
    "entityIdNS",
    "relatedSchema.name",
    "relatedEntityId",
    "relatedEntityIdNS",
    "mergePolicyId",
    "fields",
    "startTime",
    "endTime",
    "limit",
)
