"""The receipts of deletions: what was deleted where, the last look, and what remains by design and until when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tessera.domain.configuration import Configuration, DatasetKind
from tessera.domain.deletion import PersonDeletion
from tessera.domain.export.job import Exported
from tessera.domain.place import END_OF_TIME, accepted_ms
from tessera.domain.purge import (
    COPIES,
    EVENTS,
    LINKS,
    OBJECTS,
    REBUILT,
    RECORDS,
    REDUCED,
    SETTLED,
    STREAMS,
    Purge,
    Rescan,
)
from tessera.domain.tenant import Tenant
from tessera.domain.times import DAY_MS, iso_ms
from tessera.domain.ulid import parts_of
from tessera.services.purging.kept import LAKE_DAYS, MESSAGE_DAYS, PLACES_DAYS, RECOVERY_DAYS
from tessera.services.purging.person_receipt import person_receipt


class Configurations(Protocol):
    """Where the datasets of a sandbox are known."""

    def current(self, tenant: Tenant) -> Configuration:
        """Read the configuration in force."""


class Exports(Protocol):
    """What exports brought into datasets: ``storage.exports.ExportStore``."""

    def exported(self, tenant: Tenant, dataset_id: str) -> Exported:
        """Read which batches they are."""


class Receipts:
    """Writes receipts."""

    def __init__(self, configurations: Configurations, exports: Exports) -> None:
        self._configurations = configurations
        self._exports = exports

    def of(self, tenant: Tenant, job: Purge, rescan: Rescan) -> dict[str, Any]:
        """Write the receipt of a job that is done; the exports it names are those that hold files now."""
        return _receipt(job, rescan, self._held(tenant, job.at_ms))

    def of_person(self, tenant: Tenant, job: PersonDeletion) -> dict[str, Any]:
        """Write the receipt of a person's deletion that is done; its exports are named without looking into them."""
        return person_receipt(job, self._held(tenant, job.at_ms))

    def _held(self, tenant: Tenant, at_ms: int) -> list[str]:
        """List the batches of exports that were asked for before the delete and have files still."""
        datasets = self._configurations.current(tenant).datasets.values()
        exported = [self._exports.exported(tenant, one.id) for one in datasets if one.kind is DatasetKind.UNION]
        batches = [batch for one in exported for batch in (*one.batches, *one.replaced)]
        return sorted(batch for batch in batches if parts_of(batch)[0] <= at_ms)


def _receipt(job: Purge, rescan: Rescan, exported: Sequence[str]) -> dict[str, Any]:
    counts = job.counts
    table = {
        "records": counts.get(RECORDS, 0),
        "recordsReducedToLaterFields": counts.get(REDUCED, 0),
        "events": counts.get(EVENTS, 0),
        "eventCopies": counts.get(COPIES, 0),
        "streamsDeleted": counts.get(STREAMS, 0),
        "streamsRebuilt": counts.get(REBUILT, 0),
        "streamsSettled": counts.get(SETTLED, 0),
    }
    swept: list[dict[str, Any]] = [{"store": "profile table", "deleted": table}]
    if job.remove_links:
        swept.append({"store": "identity graph", "deleted": {"links": counts.get(LINKS, 0)}})
    if job.lake:
        swept.append({"store": "data lake", "deleted": {"objectVersions": counts.get(OBJECTS, 0)}})
    target = {"datasetId": job.dataset_id, "batchId": job.batch_id}
    return {
        "jobId": job.id,
        "target": {name: value for name, value in target.items() if value},
        "acceptedAt": iso_ms(job.at_ms),
        "reached": _reached(job),
        "finishedAt": iso_ms(rescan.at_ms),
        "swept": swept,
        "rescan": {
            "at": iso_ms(rescan.at_ms),
            "identitiesLookedAt": rescan.identities,
            "itemsLookedAt": rescan.items,
            "found": rescan.found,
            "rounds": rescan.rounds,
        },
        "remains": [
            {"what": what, "where": where, "until": until} for what, where, until in _remains(job, rescan, exported)
        ],
        "limits": _limits(job),
    }


def _reached(job: Purge) -> str:
    if job.batch_id:
        return f"every event that batch {job.batch_id} brought"
    if job.cutoff == END_OF_TIME:
        return "everything of the dataset, which is deleted itself"
    return f"everything of the dataset that was accepted up to {iso_ms(accepted_ms(job.cutoff))}"


def _remains(job: Purge, rescan: Rescan, exported: Sequence[str]) -> list[tuple[str, str, str]]:
    def days_on(days: int) -> str:
        return iso_ms(rescan.at_ms + days * DAY_MS)

    remains = [
        (
            "what was deleted, in backups: a restore replays the journal of deletes before it serves",
            "point-in-time recovery of the profile table",
            days_on(RECOVERY_DAYS),
        ),
        *(
            (
                "profiles as they were exported before",
                f"exports/ in the data lake, of batch {batch}",
                "two more exports into its dataset have replaced it",
            )
            for batch in exported
        ),
        (
            "hashes of the identities that this job was about",
            f"jobs/…/purge/{job.id}/ in the data lake",
            days_on(LAKE_DAYS),
        ),
        ("this job, and its entry in the journal", "the registry, and journal/ in the data lake", "kept for good"),
        (
            "identities, by namespace and value" + ("" if job.remove_links else ", and the links between them"),
            "heads in the profile table: the identity graph is not part of this delete",
            "they are deleted by hand",
        ),
        (
            "messages that were accepted before and wait to be processed: they come to nothing",
            "the queue of streamed messages and its dead letters",
            days_on(MESSAGE_DAYS),
        ),
    ]
    if job.lake:
        remains += [
            (
                "rows of streamed messages, before and after they are gathered into batches",
                "stream/ in the data lake, and batches completed after the delete",
                days_on(LAKE_DAYS),
            )
        ]
        if job.rows or not job.batch_id:
            remains.append(
                (
                    "hashes of the places of streamed rows: a restore and messages that come again are judged by them",
                    "places/ in the data lake",
                    days_on(PLACES_DAYS),
                )
            )
    else:
        target = f"batch {job.batch_id}" if job.batch_id else f"the batches of dataset {job.dataset_id}"
        remains += [
            (
                "files as received, rows as they were judged, and rejected rows for 30 days",
                f"raw/, staged/, rejected/, stream/ and places/ in the data lake, of {target}",
                "they are deleted with `lake`, or the batch is reverted",
            )
        ]
    if not job.batch_id:
        remains.append(
            (
                "where a record was deleted by an update, without any of its fields",
                "stubs in the profile table",
                "kept for good",
            )
        )
    return remains


def _limits(job: Purge) -> list[str]:
    if not job.batch_id:
        return []
    streamed = [
        "The batch is older than the keeping of places: its rows were shown until this job came to them. A message of "
        "theirs that is delivered once more, as a dead letter is when it is put back in line, brings its event back: "
        "delete the batch again."
    ]
    return [
        *(streamed if job.streamed and not job.rows else ()),
        "Events of the batch that had expired before go on counting in computed attributes: they cannot be taken back.",
    ]
