"""What is stored of a person as the API shows it: an overview on the first page, and the pieces on all (ours)."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterator
from typing import Any

import orjson

from api import erasure_documents, profile_documents
from tessera.domain.errors import InvalidRequestError, TesseraError
from tessera.domain.graph import Head, client_of
from tessera.domain.place import accepted_ms, batch_id_of
from tessera.domain.profile import Event, EventCopy, RecordFragment
from tessera.domain.times import DAY_MS, iso_ms, iso_seconds
from tessera.services.profile_reader import ProfileReader
from tessera.services.subject_access import Piece, Position, Subject

# Together they stay under what an answer may have.
MAX_PIECES_BYTES = 2_500_000
MAX_MERGED_BYTES = 2_000_000

_NOT_LOOKED_THROUGH = (
    "Files as received, judged and rejected rows of batches, and messages in queues: see the batches and datasets that "
    "the pieces name."
)


def read_cursor(text: str | None, subject: Subject) -> Position | None:
    """Read where a page begins.

    Raises InvalidRequestError.
    """
    if not text:
        return None
    try:
        xid, sort = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError, binascii.Error):
        raise InvalidRequestError("start is not a cursor of this service") from None
    if xid not in subject.heads or not isinstance(sort, str):
        raise InvalidRequestError("start is not a cursor of this person")
    return Position(xid, sort)


def page(subject: Subject, pieces: Iterator[Piece]) -> dict[str, Any]:
    """Write pieces until there is no room, and the cursor of those behind them; at least one is there if any is."""
    shown: list[orjson.Fragment] = []
    room = MAX_PIECES_BYTES
    last: Position | None = None
    for piece in pieces:
        written = orjson.dumps(_piece(subject, piece))
        room -= len(written)
        if room < 0 and last is not None:
            return {"pieces": shown, "_page": {"count": len(shown), "next": _cursor(last)}}
        shown.append(orjson.Fragment(written))
        last = piece.at
    return {"pieces": shown, "_page": {"count": len(shown)}}


def overview(subject: Subject, exports: list[tuple[str, str]], reader: ProfileReader) -> dict[str, Any]:
    """Write who the person is, what a look-up makes of them, and where else they can be."""
    asked = next(iter(subject.heads))
    return {
        "entityId": asked,
        "collapsed": subject.heads[asked].collapsed,
        "identities": [_identity(head) for head in subject.heads.values()],
        "profile": _profile(subject, reader),
        "exportsToLookThrough": [{"datasetId": dataset_id, "batchId": batch_id} for dataset_id, batch_id in exports],
        "notLookedThrough": _NOT_LOOKED_THROUGH,
    }


def _profile(subject: Subject, reader: ProfileReader) -> dict[str, Any]:
    """Write what a look-up under the default merge policy shows, with computed attributes; or why it shows nothing."""
    now_ms = time.time_ns() // 1_000_000
    try:
        person = reader.person(subject.tenant, next(iter(subject.heads)), namespace=None, policy_id=None, now_ms=now_ms)
    except TesseraError as error:
        return {"reason": str(error)}
    document = profile_documents.profile(person, None)
    if len(orjson.dumps(document)) > MAX_MERGED_BYTES:
        return {"reason": "There is no room for it here: look it up, with fields"}
    return document


def _identity(head: Head) -> dict[str, Any]:
    return {
        "entityId": head.xid,
        **erasure_documents.named(head.identity),
        "held": head.held,
        "blocked": head.blocked,
        **({"deletedUntil": iso_ms(accepted_ms(head.cutoff))} if head.cutoff else {}),
        "links": [
            {"linkedEntityId": other, **_said(source), "batchId": batch_id_of(place), "assertedAt": _accepted(place)}
            if client_of(source) is None
            else {"linkedEntityId": other, **_said(source), "assertedAt": _accepted(place)}
            for (other, source), place in sorted(head.assertions.items())
        ],
        "removedLinks": [
            {"linkedEntityId": other, "removedBy": removal.client_id, "removedAt": iso_ms(removal.at_ms)}
            for other, removal in sorted(head.removed.items())
        ],
    }


def _said(source: str) -> dict[str, str]:
    client_id = client_of(source)
    return {"clientId": client_id} if client_id else {"datasetId": source}


def _accepted(place: Any) -> str:
    return iso_ms(accepted_ms(place))


def _piece(subject: Subject, piece: Piece) -> dict[str, Any]:
    item = piece.item
    document: dict[str, Any] = {"entityId": piece.at.xid, "datasetId": item.dataset_id, "deleted": piece.deleted}
    if isinstance(item, RecordFragment | Event):
        document |= {"kind": _kind(item), "batchId": batch_id_of(item.place), "ingestedAt": _accepted(item.place)}
        if isinstance(item, Event) and item.stored_until_s is not None:
            document["storedUntil"] = iso_seconds(item.stored_until_s * 1000)
        return {**document, "body": item.body}
    state = item.state
    return {
        **document,
        "kind": "computedState",
        "lastActiveDay": iso_seconds(item.last_active_day * DAY_MS)[:10],
        "body": {"partials": state.partials, "latest": state.latest, "waiting": len(state.waiting)},
    }


def _kind(item: RecordFragment | Event) -> str:
    if isinstance(item, EventCopy):
        return "eventCopy"
    return "event" if isinstance(item, Event) else "record"


def _cursor(position: Position) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([position.xid, position.sort])).rstrip(b"=").decode()
