"""Writing records: rows that replace a fragment as a whole, and those that change it (laws 2 and 3).

A row that is the last one of its fragment and replaces it takes one conditional write; nothing is read. An update
reads the fragment, applies its rows, and writes it on condition that nobody has written it since; whoever loses the
race reads again. As the outcome is the same in every order, it does not matter who wins.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Protocol

from tessera.domain.identity import Xid
from tessera.domain.place import Place
from tessera.domain.profile import RecordFragment
from tessera.domain.rows import TOO_LARGE, PlacedRow, RowError
from tessera.domain.tenant import Tenant
from tessera.domain.upsert import Action, UpdatedFragment
from tessera.services.lease import Lease
from tessera.services.write_report import WriteReport
from tessera.storage.record_items import FragmentTooLargeError, ReadRecord
from tessera.storage.registry import LostRaceError

_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 1.0


class RecordStore(Protocol):
    """What writing records needs of the profile table."""

    def put_record(self, tenant: Tenant, fragment: RecordFragment) -> bool:
        """Write a record unless a later one is there, or raise LostRaceError when that one was updated."""

    def put_stub(self, tenant: Tenant, xid: Xid, dataset_id: str, place: Place) -> bool:
        """Delete a record unless a later one is there, or raise LostRaceError when that one was updated."""

    def records(
        self, tenant: Tenant, xids: Sequence[Xid], dataset_id: str, executor: Executor | None = None
    ) -> dict[Xid, ReadRecord]:
        """Read the records that exist."""

    def change_record(
        self, tenant: Tenant, xid: Xid, dataset_id: str, fragment: UpdatedFragment, before: ReadRecord | None
    ) -> bool:
        """Write a record in place of what was read, or raise LostRaceError."""


class RecordWriter:
    """Writes the records of one dataset under one lease."""

    def __init__(self, store: RecordStore, executor: Executor, tenant: Tenant, dataset_id: str, lease: Lease) -> None:
        self._store = store
        self._executor = executor
        self._tenant = tenant
        self._dataset_id = dataset_id
        self._lease = lease

    def write(self, rows: Sequence[PlacedRow], cutoffs: Callable[[Xid], Place | None]) -> WriteReport:
        """Write rows; ``cutoffs`` gives the place of the last delete that reached an identity's record, if any did.

        A fragment is written once, however many of the rows are for it. Raises ConfigurationChangedError when the
        lease is over.
        """
        by_identity: dict[Xid, list[PlacedRow]] = defaultdict(list)
        for item in rows:
            by_identity[item.row.primary.xid(self._tenant)].append(item)
        last = {xid: max(items, key=lambda item: item.place) for xid, items in by_identity.items()}
        whole = [xid for xid, item in last.items() if item.row.action is not Action.MERGE]
        outcomes = dict(zip(whole, self._executor.map(lambda xid: self._put_whole(xid, last[xid]), whole), strict=True))
        updated = [xid for xid in by_identity if outcomes.get(xid) is None]
        before = self._store.records(self._tenant, updated, self._dataset_id, self._executor) if updated else {}
        report = WriteReport()
        for part in self._executor.map(
            lambda xid: self._update(xid, by_identity[xid], before.get(xid), cutoffs(xid)), updated
        ):
            report.add(part)
        written = sum(outcome is True for outcome in outcomes.values())
        report.written += written
        report.unchanged += sum(len(by_identity[xid]) for xid, outcome in outcomes.items() if outcome is not None)
        report.unchanged -= written
        return report

    def _put_whole(self, xid: Xid, item: PlacedRow) -> bool | None:
        """Write what the last row makes of its fragment: whether it stays, or ``None`` if it has to be weighed."""
        row = item.row
        try:
            if row.action is Action.DELETE:
                return self._store.put_stub(self._tenant, xid, self._dataset_id, item.place)
            fragment = RecordFragment(xid, self._dataset_id, item.place, row.body, row.custom_date_ms)
            return self._store.put_record(self._tenant, fragment)
        except LostRaceError:
            return None

    def _update(
        self, xid: Xid, rows: Sequence[PlacedRow], before: ReadRecord | None, cutoff: Place | None
    ) -> WriteReport:
        pause = _FIRST_PAUSE_S
        while True:
            self._lease.check()
            fragment = UpdatedFragment() if before is None else before.fragment()
            if cutoff is not None:
                fragment.forget(cutoff)
            for item in rows:
                fragment.apply(item.operation)
            try:
                changed = self._store.change_record(self._tenant, xid, self._dataset_id, fragment, before)
            except FragmentTooLargeError as error:
                return WriteReport(refused={item.place: RowError(TOO_LARGE, str(error)) for item in rows})
            except LostRaceError:
                time.sleep(random.uniform(0, pause))  # noqa: S311 - jitter
                pause = min(_LONGEST_PAUSE_S, pause * 2)
                before = self._store.records(self._tenant, [xid], self._dataset_id).get(xid)
                continue
            return WriteReport(written=len(rows)) if changed else WriteReport(unchanged=len(rows))
