"""The readings of the lake: what there is to be read, and whether a reading has found nothing.

Each reads everything anew. Rows that it finds it takes out, so there is another one after it, and the last one has
found none: that is the proof, as it is with the profile store (docs/decisions/0153).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tessera.domain.batch import Batch, BatchStatus
from tessera.domain.erasure import Erasure, Look, Unread
from tessera.domain.identity import Xid
from tessera.domain.place import Place, accepted_ms
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import parts_of
from tessera.services.batches import ABANDONED_MS
from tessera.services.erasure.lake.checkpoint import PLAN, Checkpoint
from tessera.services.erasure.lake.ports import Batches, Erasures, Heads, Lists, Notes, Objects
from tessera.storage.row_objects import Address, RowKind, RowObject, address

# A share is something that a worker is through with in a minute or so, unless one object is larger.
SHARE_BYTES = 256_000_000
SHARE_OBJECTS = 500
MAX_LOOKS = 8
MAX_WAIT_MS = 20 * 3600 * 1000
# Of objects that could not be looked into so many are named; all are counted.
MAX_UNREAD = 1000

LOADING = "the batch is not complete: what it brings counts from when it is"
UNKNOWN = "of its batch nothing is known any more"
DROPPED = "it is in the drop folder, and in no batch"


@dataclass(frozen=True, slots=True)
class Planned:
    """A reading: its number and shares. ``busy`` when there are batches whose files are still being read."""

    number: int
    shares: int = 0
    busy: bool = False


class LakeCourse:
    """Plans readings and settles them; ``clock_ms`` gives milliseconds since 1970."""

    def __init__(
        self,
        erasures: Erasures,
        lists: Lists,
        heads: Heads,
        batches: Batches,
        objects: Objects,
        notes: Notes,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._erasures = erasures
        self._lists = lists
        self._heads = heads
        self._batches = batches
        self._objects = objects
        self._notes = notes
        self._clock_ms = clock_ms

    def plan(self, tenant: Tenant, job_id: str) -> Planned:
        """Divide what is to be read among workers. Safe to repeat.

        Files that are being ingested cannot be written anew: what becomes of them is waited for, for as long as that
        may take. Raises NotFoundError, and RuntimeError when that is over.
        """
        erasure = self._erasures.get(tenant, job_id)
        number = erasure.looks + 1
        wanted = self._wanted(tenant, erasure)
        batches = {batch.id: batch for batch in self._batches.each(tenant, newest_first=False)}
        going = _Going(tenant, max(wanted.values(), default=-1), batches, self._clock_ms())
        self._notes.write_wanted(tenant, job_id, number, wanted)
        shares: list[str] = []
        for objects in _shares(going.of(self._objects.walk(tenant))) if wanted else ():
            shares.append(f"{len(shares):06d}")
            self._notes.write_objects(tenant, job_id, number, shares[-1], objects)
        if going.busy:
            if self._clock_ms() - erasure.swept_ms > MAX_WAIT_MS:
                raise RuntimeError(f"batch {min(going.busy)} was accepted before the erasure and is not ingested yet")
            return Planned(number, busy=True)
        unread = [*going.unread.values(), *(Unread(DROPPED, key) for key in self._objects.waiting(tenant))]
        self._notes.write_checkpoint(tenant, job_id, number, PLAN, Checkpoint(done=True, unread=unread).to_document())
        self._notes.write_manifest(tenant, job_id, number, shares)
        return Planned(number, len(shares))

    def settle(self, tenant: Tenant, job_id: str, number: int) -> bool:
        """Note what a reading found, and tell whether that was nothing. Safe to repeat.

        Raises NotFoundError, and RuntimeError when there were so many readings that there is no end to be seen.
        """
        self._erasures.note_look(tenant, job_id, self._look(tenant, job_id, number))
        look = next(one for one in self._erasures.looks(tenant, job_id) if one.number == number)
        now_ms = self._clock_ms()
        self._erasures.change(tenant, job_id, lambda known: known.looked(number, look.found, now_ms))
        if look.found and number >= MAX_LOOKS:
            raise RuntimeError(f"reading {number} of the lake still found rows of the persons")
        return not look.found

    def _wanted(self, tenant: Tenant, erasure: Erasure) -> dict[Xid, int]:
        """Tell of everyone who is erased up to when their rows go: what is above the cutoff of a head came later."""
        until_ms: dict[Xid, int] = {}
        for part in range(erasure.parts):
            until_ms |= dict.fromkeys(self._lists.unseen(tenant, erasure.id, part), erasure.accepted_ms)
            heads = self._heads.heads(tenant, self._lists.reached(tenant, erasure.id, part))
            until_ms |= {xid: accepted_ms(head.cutoff) for xid, head in heads.items() if head.cutoff is not None}
        return until_ms

    def _look(self, tenant: Tenant, job_id: str, number: int) -> Look:
        shares = [PLAN, *self._notes.shares(tenant, job_id, number)]
        rows: Counter[str] = Counter()
        objects: Counter[str] = Counter()
        figures: Counter[str] = Counter()
        unread: list[Unread] = []
        for share, document in zip(shares, self._notes.checkpoints(tenant, job_id, number, shares), strict=True):
            one = Checkpoint.from_document(document)
            if not one.done:
                raise RuntimeError(f"share {share} of reading {number} is not done")
            rows.update({dataset: taken for dataset, (taken, _) in one.taken.items()})
            objects.update({dataset: count for dataset, (_, count) in one.taken.items()})
            figures.update(former=one.former, again=one.again, objects=one.objects, bytes=one.bytes)
            figures["unread_count"] += len(one.unread)
            unread += one.unread[: MAX_UNREAD - len(unread)]
        taken = {dataset: (rows[dataset], objects[dataset]) for dataset in sorted(rows)}
        return Look(number, taken, unread=tuple(unread), **figures)


class _Going:
    """Tells which objects are to be read. What cannot be is ``unread``; batches that are waited for are ``busy``."""

    def __init__(self, tenant: Tenant, latest_ms: int, batches: dict[str, Batch], now_ms: int) -> None:
        self.busy: set[str] = set()
        self.unread: dict[str, Unread] = {}
        self._tenant = tenant
        self._latest_ms = latest_ms
        self._batches = batches
        self._now_ms = now_ms

    def of(self, objects: Iterator[RowObject]) -> Iterator[RowObject]:
        """Walk those that are to be read."""
        return (one for one in objects if (at := address(self._tenant, one.key)) is not None and self._goes(at))

    def _goes(self, at: Address) -> bool:
        if at.kind is RowKind.STREAMED:
            return at.start_ms <= self._latest_ms
        if at.kind is RowKind.MESSAGE:
            return accepted_ms(Place(at.name)) <= self._latest_ms
        batch = self._batches.get(at.batch_id)
        if batch is None:
            # Made of streamed rows at this moment, and recorded in the next.
            if self._now_ms - parts_of(at.batch_id)[0] < ABANDONED_MS:
                self.busy.add(at.batch_id)
            else:
                self.unread[at.batch_id] = Unread(UNKNOWN, "", at.dataset_id, at.batch_id)
            return False
        if batch.status is BatchStatus.LOADING:
            self.unread[at.batch_id] = Unread(LOADING, "", batch.dataset_id, batch.id)
            return False
        if accepted_at(batch) > self._latest_ms:
            return False
        if not batch.terminal and not batch.judged:
            self.busy.add(batch.id)
        return at.kind is not RowKind.FILE or at.dataset_id == batch.dataset_id


def accepted_at(batch: Batch) -> int:
    """Tell when the rows of a batch were accepted, or the first of them; 0 when none ever was."""
    return parts_of(batch.id)[0] if batch.streamed else batch.completed_ms


def _shares(objects: Iterator[RowObject]) -> Iterator[list[RowObject]]:
    share: list[RowObject] = []
    size = 0
    for one in objects:
        share.append(one)
        size += one.size
        if size >= SHARE_BYTES or len(share) == SHARE_OBJECTS:
            yield share
            share, size = [], 0
    if share:
        yield share
