"""Erasures, holds and receipts as the API shows them: jobs as in contract profile-api §5.1, the rest is ours."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from tessera.domain.deletion import JobStatus
from tessera.domain.erasure import Erasure, Look, Outcome, Source, Unread
from tessera.domain.identity import Identity
from tessera.domain.times import DAY_MS, iso_ms
from tessera.gateway import Request
from tessera.services.erasure.holds import Hold, HoldPage
from tessera.services.erasure.receipt import Receipt
from tessera.services.purging.kept import LAKE_DAYS, MESSAGE_DAYS, RECOVERY_DAYS

REQUEST_TYPE = "ERASE_PERSONS"

_HEADS = (
    "The heads of the identities, each with its value, its links and the cutoff: by the cutoff, whatever was accepted "
    "before and comes again from a queue or a file stays away, and by the links it is known whom that is about."
)
_RECOVERY = (
    "Point-in-time recovery can bring the tables back as they were; a restore replays the journal of deletes before it "
    "serves, so they are hidden, and held, again."
)
_QUEUES = "Messages that wait or have failed: whatever of them was accepted before the erasure is not written."
_LAKE = (
    "Files as received and rows as judged of these batches, and rejected rows with their reasons for 30 days. Named "
    "are the batches of what was swept: those that wrote a record last, brought an event or said a link first. Not "
    "named are those of which nothing was left to sweep: whose records others replaced, whose events or links were "
    "there already, had expired or were deleted before, and those of datasets that do not go into profiles. They are "
    "among those that `GET /data/foundation/catalog/batches?dataSet={id}` lists. Reverting a batch deletes its files."
)
_LAKE_READ = (
    "Rows that were accepted later, of files or messages that came, or were completed, after the erasure; a hold keeps "
    "them out of the profile store, not out of the lake. Messages accepted before and processed after the last reading "
    "are staged for 30 days. What could not be looked into is under lake.notLookedInto."
)
_FORMER = (
    "Objects of the sandbox that were written over or deleted are kept as former versions for a while. Those that had "
    "rows of the persons are deleted for good; what cannot be read of them may be of anybody."
)
_WORK = "What export jobs gathered on their way, and files of exports that others replaced."
_EXPORTS = "Files of exports are as they were when they were made: export again, and they are replaced."
_LATE = (
    "Links accepted before the erasure and processed after its sweep can join others to the person: no read shows what "
    "they had before either, and the next erasure of the person reclaims it."
)


def job(erasure: Erasure, request: Request) -> dict[str, Any]:
    """Write an erasure as a system job, with what is ours beside it."""
    outcomes = {outcome.value: erasure.identities.get(outcome.value, 0) for outcome in Outcome}
    document: dict[str, Any] = {
        "id": erasure.id,
        "requestId": erasure.id,
        "imsOrgId": request.tenant.org_id,
        "sandbox": {"sandboxName": request.sandbox.name, "sandboxId": request.sandbox.id},
        "jobType": "DELETE",
        "requestType": REQUEST_TYPE,
        "properties": {"hold": erasure.hold, "lake": erasure.lake},
        "status": erasure.status,
        "createEpoch": erasure.at_ms // 1000,
        "updateEpoch": erasure.updated_ms // 1000,
        "createdAt": _iso(erasure.at_ms),
        "updatedAt": _iso(erasure.updated_ms),
        "identities": {**outcomes, "reached": erasure.reached},
    }
    if erasure.status is not JobStatus.NEW:
        figures = {
            "recordsProcessed": sum(erasure.counts.values()),
            "timeTakenInSec": (erasure.updated_ms - erasure.at_ms) // 1000,
        }
        document["metrics"] = orjson.dumps(figures).decode()
    if erasure.accepted_ms:
        document["acceptedAt"] = _iso(erasure.accepted_ms)
    if erasure.reason:
        document["reason"] = erasure.reason
    return document


def receipt(found: Receipt, request: Request) -> dict[str, Any]:
    """Write the receipt of an erasure: final once the status is ``SUCCESS``."""
    erasure = found.erasure
    swept_until = erasure.swept_ms or erasure.updated_ms
    document = {
        "id": erasure.id,
        "status": erasure.status,
        "requestedBy": erasure.caller,
        "requestedAt": _iso(erasure.at_ms),
        "hold": erasure.hold,
        "identities": job(erasure, request)["identities"],
        "swept": {
            "profileTable": {
                **{kind: erasure.counts.get(kind, 0) for kind in ("records", "events")},
                "eventCopies": erasure.counts.get("copies", 0),
            },
            "computedState": {"streams": erasure.counts.get("streams", 0)},
        },
        "remains": [
            {"store": "profileTable", "what": _HEADS, "count": erasure.reached, "until": None},
            {"store": "profileTable", "what": _LATE, "until": None},
            {"store": "backups", "what": _RECOVERY, "until": _iso(swept_until + RECOVERY_DAYS * DAY_MS)},
            {"store": "queues", "what": _QUEUES, "until": _iso(erasure.at_ms + MESSAGE_DAYS * DAY_MS)},
            *_in_lake(found),
            {"store": "lake", "what": _WORK, "until": _iso(erasure.at_ms + 2 * LAKE_DAYS * DAY_MS)},
            {
                "store": "exports",
                "what": _EXPORTS,
                "until": None,
                "exports": [
                    {"datasetId": one.dataset_id, "batchId": one.batch_id, "certain": one.certain}
                    for one in found.exports
                ],
            },
        ],
    }
    if erasure.lake:
        document["lake"] = _taken_out(erasure, found.looks)
    if erasure.accepted_ms:
        document["acceptedAt"] = _iso(erasure.accepted_ms)
    if erasure.swept_ms:
        document["proof"] = {"identities": erasure.reached, "found": 0, "at": _iso(erasure.swept_ms)}
    if erasure.finished_ms:
        document["finishedAt"] = _iso(erasure.finished_ms)
    return document


def _in_lake(found: Receipt) -> list[dict[str, Any]]:
    """Say what of the persons remains in files and rows of the lake."""
    if not found.erasure.looked_ms:
        return [{"store": "lake", "what": _LAKE, "until": None, "sources": [_source(one) for one in found.sources]}]
    until = _iso(found.erasure.looked_ms + LAKE_DAYS * DAY_MS)
    return [{"store": "lake", "what": _LAKE_READ, "until": None}, {"store": "lake", "what": _FORMER, "until": until}]


def _taken_out(erasure: Erasure, looks: list[Look]) -> dict[str, Any]:
    """Write how many rows were taken out of which datasets' objects, and what the last reading looked at."""
    rows: Counter[str] = Counter()
    objects: Counter[str] = Counter()
    for look in looks:
        rows.update({dataset_id: taken for dataset_id, (taken, _) in look.taken.items()})
        objects.update({dataset_id: count for dataset_id, (_, count) in look.taken.items()})
    document: dict[str, Any] = {
        "datasets": [
            {"datasetId": dataset_id, "rows": rows[dataset_id], "objects": objects[dataset_id]}
            for dataset_id in sorted(rows)
        ],
        "formerVersions": sum(look.former for look in looks),
    }
    if looks:
        document["notLookedInto"] = [_unread(one) for one in looks[-1].unread]
        document["notLookedIntoCount"] = looks[-1].unread_count
    if erasure.looked_ms:
        last = looks[-1]
        document["proof"] = {
            "readings": last.number,
            "objects": last.objects,
            "bytes": last.bytes,
            "found": last.found,
            "at": _iso(erasure.looked_ms),
        }
    return document


def _unread(one: Unread) -> dict[str, Any]:
    named = {"datasetId": one.dataset_id, "batchId": one.batch_id, "file": one.file, "rows": one.rows}
    return {"why": one.why, **{name: value for name, value in named.items() if value}}


def hold(found: Hold) -> dict[str, Any]:
    """Write an identity that is or was held, and who did what about that."""
    return {
        "entityId": found.head.xid,
        **named(found.head.identity),
        "held": found.head.held,
        "history": [{**entry, "at": iso_ms(entry["at"])} for entry in found.history],
    }


def named(identity: Identity) -> dict[str, Any]:
    """Write what an identity is, if that is known: a restore may have made its head again from the XID alone."""
    if not identity.named:
        return {}
    return {"identity": {"id": identity.value, "namespace": {"code": identity.namespace}}}


def hold_page(page: HoldPage) -> dict[str, Any]:
    """Write a page of who is held."""
    return {
        "children": [hold(one) for one in page.holds],
        "_page": {"count": len(page.holds), **({"next": page.next} if page.next else {})},
    }


def _source(source: Source) -> dict[str, Any]:
    if source.batch_id:
        return {"datasetId": source.dataset_id, "batchId": source.batch_id}
    return {"datasetId": source.dataset_id, "streamedFrom": iso_ms(source.window_ms)}


def _iso(milliseconds: int) -> str:
    return iso_ms(milliseconds).replace("Z", "000Z")
