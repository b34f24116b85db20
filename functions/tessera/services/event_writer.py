"""Writing events, each exactly once, and into the computed attributes that count it (laws 2 and 3).

An event that counts is written in one transaction with the stream that it changes, conditional on the stream's
version and on the event not being there; nothing between two calls can part them, and a repetition finds the event.
An event that counts nowhere is written by itself, after its stream: it must be found again. The stream is read once
more behind it, for it may have gone meanwhile with the last of the events that it had: see ``services.event_removal``.
Of an event that is there already, ``services.event_placing`` tells which copy is shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Protocol

from tessera.domain.configuration import DatasetSettings
from tessera.domain.identity import Xid
from tessera.domain.place import Place, batch_id_of
from tessera.domain.profile import Event, EventStream
from tessera.domain.rows import PlacedRow
from tessera.domain.tenant import Tenant
from tessera.services.computed.compiled import Attributes
from tessera.services.event_placing import EVENTS_PER_TRANSACTION, Arrival, PlacedEvents, Placing
from tessera.services.event_streams import Streams
from tessera.services.lease import ConfigurationChangedError, Lease
from tessera.services.write_report import WriteReport
from tessera.storage.profile_items import event_key


class EventStore(PlacedEvents, Protocol):
    """What writing events needs of the profile table."""

    def streams(
        self, tenant: Tenant, xids: Iterable[Xid], dataset_id: str, executor: Executor | None = None
    ) -> dict[Xid, EventStream]:
        """Read the streams that exist."""


class EventWriter:
    """Writes the events of one dataset under one lease; ``clock_ms`` tells the time in milliseconds since 1970.

    ``replaced`` are the batches that the rows replace: events of theirs give way.
    ``cutoffs_now`` reads where the last delete was that reached the events of identities, strongly consistent, and
    raises ConfigurationChangedError when the lease does not know it.
    """

    def __init__(
        self,
        store: EventStore,
        executor: Executor,
        tenant: Tenant,
        dataset: DatasetSettings,
        lease: Lease,
        attributes: Attributes,
        clock_ms: Callable[[], int],
        cutoffs_now: Callable[[Collection[Xid]], Mapping[Xid, Place | None]],
        replaced: Collection[str] = (),
    ) -> None:
        gone = frozenset(replaced)
        self._store = store
        self._executor = executor
        self._tenant = tenant
        self._dataset = dataset
        self._attributes = attributes
        self._clock_ms = clock_ms
        self._cutoffs_now = cutoffs_now
        self._streams = Streams(store, tenant, dataset, lease, attributes, clock_ms)
        self._placing = Placing(
            *(store, tenant, dataset, lease, attributes, clock_ms),
            cutoff_now=lambda xid: cutoffs_now([xid])[xid],
            gives_way=lambda place: dataset.is_leaving(place) or batch_id_of(place) in gone,
        )

    def write(self, rows: Sequence[PlacedRow], cutoffs: Callable[[Xid], Place | None]) -> WriteReport:
        """Write rows; ``cutoffs`` gives the place of the last delete that reached an identity's events, if any did.

        Raises ConfigurationChangedError when the lease is over, or when a delete was accepted meanwhile that may reach
        what an event was left out for.
        """
        report = WriteReport()
        while rows:
            by_identity, rows = self._arrivals(rows, report)
            self._write(by_identity, cutoffs, report)
        if report.aside and any(now != cutoffs(xid) for xid, now in self._cutoffs_now(report.aside).items()):
            raise ConfigurationChangedError
        return report

    def _write(
        self,
        by_identity: Mapping[Xid, Sequence[Arrival]],
        cutoffs: Callable[[Xid], Place | None],
        report: WriteReport,
    ) -> None:
        streams = self._store.streams(self._tenant, list(by_identity), self._dataset.id, self._executor)
        counted = self._executor.map(
            lambda xid: self._write_counted(by_identity[xid], streams.get(xid), cutoffs(xid)), by_identity
        )
        for part in counted:
            report.add(part)
        alone = [one.event for arrivals in by_identity.values() for one in arrivals if one.contribution is None]
        for part in self._executor.map(lambda event: self._placing.write_alone(event, cutoffs(event.xid)), alone):
            report.add(part)
        self._see_streams(alone, cutoffs)

    def _arrivals(
        self, rows: Sequence[PlacedRow], report: WriteReport
    ) -> tuple[dict[Xid, list[Arrival]], list[PlacedRow]]:
        """Make events of rows, by identity: of the same event the one at the lowest place.

        Repeats in the same batch are left out, those that messages brought are answered: they come after it.
        """
        now_ms, expiry = self._clock_ms(), self._dataset.expiry
        found: dict[tuple[Xid, str], Event] = {}
        repeats: list[PlacedRow] = []
        for item in sorted(rows, key=lambda item: item.place):
            xid = item.row.primary.xid(self._tenant)
            key = event_key(item.row.timestamp_ms, self._dataset.id, item.row.event_id)
            stored_until = None if expiry is None else expiry.stored_until_s(item.row.timestamp_ms, now_ms)
            event = Event(xid, key, self._dataset.id, item.place, item.row.body, stored_until)
            first = found.setdefault((xid, key), event)
            if first is event:
                continue
            if batch_id_of(first.place) != batch_id_of(event.place):
                repeats.append(item)
            elif first.body == event.body:
                report.unchanged += 1
            else:
                report.conflicts.append(event.place)
        by_identity: dict[Xid, list[Arrival]] = defaultdict(list)
        for event in found.values():
            by_identity[event.xid].append(Arrival(event, self._attributes.contribution(event, now_ms)))
        return by_identity, repeats

    def _write_counted(
        self, arrivals: Sequence[Arrival], stream: EventStream | None, cutoff: Place | None
    ) -> WriteReport:
        """Write those events of one identity that count, and see that there is a stream for the others."""
        report = WriteReport()
        counting = [one for one in arrivals if one.contribution is not None]
        for start in range(0, len(counting), EVENTS_PER_TRANSACTION):
            group = counting[start : start + EVENTS_PER_TRANSACTION]
            stream = self._placing.write_counted(group, stream, cutoff, report)
        if len(counting) < len(arrivals):
            self._streams.touch([one.event for one in arrivals], stream, cutoff)
        return report

    def _see_streams(self, events: Sequence[Event], cutoffs: Callable[[Xid], Place | None]) -> None:
        """See that the streams of events are still there now that these are written."""
        by_identity: dict[Xid, list[Event]] = defaultdict(list)
        for event in events:
            by_identity[event.xid].append(event)
        streams = self._store.streams(self._tenant, list(by_identity), self._dataset.id, self._executor)
        for xid, written in by_identity.items():
            self._streams.see(written, streams.get(xid), cutoffs(xid))
