"""The receipt of a person's deletion, as those of datasets and batches are written (``services.purging.receipt``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tessera.domain.deletion import PersonDeletion
from tessera.domain.place import accepted_ms
from tessera.domain.times import DAY_MS, iso_ms
from tessera.services.purging.kept import MESSAGE_DAYS, RECOVERY_DAYS

_LIMITS = (
    "Which batches brought something of the person is not noted, and exports are not looked through: an erasure does "
    "both.",
    "A link accepted before the delete and processed after its sweep can join others to the person: no read shows what "
    "they had before either, and the next delete of the person reclaims it.",
)


def person_receipt(job: PersonDeletion, exported: Sequence[str]) -> dict[str, Any]:
    """Write the receipt of a job that is done; ``exported`` are batches of exports that have files of before it."""
    return {
        "jobId": job.id,
        "target": {"identities": len(job.xids)},
        "acceptedAt": iso_ms(job.at_ms),
        "reached": f"everything of these identities that was accepted up to {iso_ms(accepted_ms(job.cutoff))}",
        "finishedAt": iso_ms(job.proved_ms),
        "swept": [
            {
                "store": "profile table",
                "deleted": {
                    "records": job.counts.get("records", 0),
                    "events": job.counts.get("events", 0),
                    "eventCopies": job.counts.get("copies", 0),
                    "streamsDeleted": job.counts.get("streams", 0),
                },
            }
        ],
        "rescan": {
            "at": iso_ms(job.proved_ms),
            "identitiesLookedAt": len(job.xids),
            "found": job.found,
            "rounds": job.swept.round,
        },
        "remains": [{"what": what, "where": where, "until": until} for what, where, until in _remains(job, exported)],
        "limits": list(_LIMITS),
    }


def _remains(job: PersonDeletion, exported: Sequence[str]) -> list[tuple[str, str, str]]:
    def days_on(days: int) -> str:
        return iso_ms(job.proved_ms + days * DAY_MS)

    return [
        (
            "what was deleted, in backups: a restore replays the journal of deletes before it serves",
            "point-in-time recovery of the profile table",
            days_on(RECOVERY_DAYS),
        ),
        *(
            (
                "profiles as they were exported before; not searched, so the person may or may not be among them",
                f"exports/ in the data lake, of batch {batch}",
                "two more exports into its dataset have replaced it",
            )
            for batch in exported
        ),
        (
            "hashes of the identities that this job was about",
            "this job in the registry, and its entry in journal/ in the data lake",
            "kept for good",
        ),
        (
            "identities, by namespace and value, the links between them, and the cutoff that keeps replays away",
            "heads in the profile table",
            "kept for good",
        ),
        (
            "messages that were accepted before and wait to be processed: they come to nothing",
            "the queue of streamed messages and its dead letters",
            days_on(MESSAGE_DAYS),
        ),
        (
            "files as received, rows as they were judged, and rejected rows for 30 days",
            "raw/, staged/, rejected/ and stream/ in the data lake, of every batch that had the person",
            "the batches are reverted, or their data is deleted with `lake`",
        ),
    ]
