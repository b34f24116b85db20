"""Pages of events as the API shows them, and the cursors between them (contract: profile-api §2.5, §2.7)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson

from tessera.domain.errors import InvalidRequestError
from tessera.domain.fields import Selection, select
from tessera.domain.identity import Xid
from tessera.domain.place import accepted_ms
from tessera.domain.profile import Event
from tessera.domain.tenant import digest, url_safe
from tessera.domain.times import iso_seconds
from tessera.gateway import MAX_ANSWER_BYTES, Query, share_of_answer
from tessera.services.profile_reader import Person
from tessera.services.timeline import Cursor, Page, Window
from tessera.storage.profile_items import timestamp_of

MAX_EVENTS = 1000
# What a page has around its events, the link to the next one included.
_FRAME_BYTES = 2_000

_CURSOR_KEY = re.compile(r"[0-9a-f]{13}[A-Za-z0-9_~!-]{0,24}\Z")
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


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events of a person are asked for and how they are shown."""

    window: Window
    limit: int
    fields: Selection | None
    policy_id: str | None
    expressions: Sequence[str] = ()

    @property
    def order(self) -> str:
        """The order as the API writes it."""
        return "timestamp" if self.window.forward else "-timestamp"

    def mark(self, xid: Xid) -> str:
        """Return what ties a cursor to its query: the person, the order and the filters."""
        window = (str(self.window.start_ms), str(self.window.end_ms))
        return url_safe(digest(6, b"tessera.cursor", xid, self.order, *window, self.policy_id or "", *self.expressions))


def read_cursor(query: EventQuery, xid: Xid, offsets: str | None, start: str | None) -> Cursor | None:
    """Read where a page begins: ``offsets`` is complete in itself and wins, ``start`` is the id of an event.

    Raises InvalidRequestError.
    """
    if not offsets:
        return Cursor(event_id=start) if start else None
    try:
        key, event_id, mark = orjson.loads(base64.urlsafe_b64decode(offsets + "=" * (-len(offsets) % 4)))
    except (ValueError, TypeError, binascii.Error):
        raise InvalidRequestError("offsets is not a cursor of this service") from None
    if not isinstance(key, str) or not _CURSOR_KEY.match(key) or not isinstance(event_id, str | None):
        raise InvalidRequestError("offsets is not a cursor of this service")
    if mark != query.mark(xid):
        raise InvalidRequestError("offsets is the cursor of another query: repeat the query it came with")
    return Cursor(key, event_id)


@dataclass(frozen=True, slots=True)
class ShownPage:
    """A page cut to what an answer carries.

    ``size`` is what its events take up of an answer. ``token`` begins the next page, ``""`` at the end.
    """

    query: EventQuery
    xid: Xid
    children: Sequence[orjson.Fragment]
    first: Event | None
    following: Event | None
    token: str
    size: int

    def document(self, following: object) -> dict[str, Any]:
        """Write the page with its link to the following one."""
        return {
            "_page": {
                "orderby": self.query.order,
                "start": self.first.body["_id"] if self.first else "",
                "count": len(self.children),
                "next": self.following.body["_id"] if self.following else "",
            },
            "children": self.children,
            "_links": {"next": following},
        }


def room_for_events(pages: int = 1) -> int:
    """Return what is left of an answer for the events of so many pages."""
    return MAX_ANSWER_BYTES - pages * _FRAME_BYTES


def shown(person: Person, page: Page, query: EventQuery, room: int) -> ShownPage:
    """Write a page's events, as many as there is room for in the answer."""
    children: list[orjson.Fragment] = []
    following, resume = page.next, page.resume
    size = 0
    for event in page.events:
        child = orjson.dumps(_child(person, event, query.fields))
        share = share_of_answer(child)
        if size + share > room:
            following, resume = event, Cursor(event.key)
            break
        size += share
        children.append(orjson.Fragment(child))
    token = "" if resume is None else _token(resume, query.mark(person.xid))
    first = page.events[0] if children else None
    return ShownPage(query, person.xid, children, first, following, token, size)


def nothing(query: EventQuery, xid: Xid) -> ShownPage:
    """Return the page of a person without events."""
    return ShownPage(query, xid, [], None, None, "", 0)


def link(page: ShownPage, query: Query) -> dict[str, str]:
    """Write the address of the next page, relative to ``/access``, with the cursor in both spellings."""
    if not page.token:
        return {"href": ""}
    cursor = [("start", page.following.body["_id"])] if page.following else []
    repeated = [(name, value) for name in _REPEATED if (value := query.get(name)) is not None]
    filters = [("property", value) for value in query.every("property")]
    asked = [*cursor, ("offsets", page.token), ("orderby", page.query.order), *repeated, *filters]
    return {"href": "/entities?" + urlencode(asked)}


def _token(cursor: Cursor, mark: str) -> str:
    raw = orjson.dumps([cursor.key, cursor.event_id, mark])
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _child(person: Person, event: Event, fields: Selection | None) -> dict[str, Any]:
    return {
        "relatedEntityId": person.xid,
        "entityId": event.body["_id"],
        "timestamp": timestamp_of(event.key),
        "entity": event.body if fields is None else select(event.body, fields),
        "lastModifiedAt": iso_seconds(accepted_ms(event.place)),
    }
