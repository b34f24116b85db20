"""Processing messages: each is judged, written to the profile store, and staged for the lake.

Everything is decided by a message's content and its place, and every step can be repeated: so it makes no difference in
which order messages come, how they are divided among calls, how often they come, or where a call dies (laws 2 and 3). A
message that cannot be dealt with fails alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tessera.domain.configuration import Configuration
from tessera.domain.errors import InvalidRequestError
from tessera.domain.message import Message
from tessera.domain.place import Place, batch_id_of
from tessera.domain.rows import PlacedRow, Row, RowError
from tessera.domain.staged import StagedKind, StagedRow
from tessera.domain.tenant import Tenant
from tessera.domain.upsert import Action
from tessera.domain.verdict import TOO_MANY_NAMESPACES, VIOLATIONS
from tessera.domain.window import Window
from tessera.services.ingestion.applying import CONFLICT, TWO_BODIES
from tessera.services.ingestion.ports import Configurations, Writer
from tessera.services.streaming.judging import Schemas, judged
from tessera.services.streaming.windows import Windows


class Stage(Protocol):
    """Where rows wait for their batch: ``storage.stream_lake.StreamLake``."""

    def stage(self, window: Window, kind: StagedKind, rows: Sequence[StagedRow]) -> None:
        """Store rows that were processed together; safe to repeat."""


@dataclass(slots=True)
class _Outcome:
    """What became of messages of one dataset. Those that failed are to be processed again."""

    accepted: dict[Place, Row] = field(default_factory=dict)
    rejected: dict[Place, RowError] = field(default_factory=dict)
    conflicts: set[Place] = field(default_factory=set)
    failed: set[Place] = field(default_factory=set)

    def reject(self, place: Place, error: RowError) -> None:
        self.accepted.pop(place, None)
        self.rejected[place] = error

    def fail(self, places: Iterable[Place]) -> None:
        for place in places:
            self.accepted.pop(place, None)
            self.failed.add(place)


class Processor:
    """Processes messages; ``notice`` is told of every fault of ours that makes some fail.

    ``deleted`` tells which places of a dataset are of batches that were deleted: a message that comes again from there
    is left alone, and ``pass_over`` is told how many. One that is processed as it comes in is none of them.
    """

    def __init__(
        self,
        configurations: Configurations,
        schemas: Schemas,
        writer: Writer,
        stage: Stage,
        windows: Windows,
        notice: Callable[[Exception], None] = lambda error: None,
        deleted: Callable[[Tenant, str, Collection[Place]], Collection[Place]] = lambda tenant, dataset_id, places: (),
        pass_over: Callable[[int], None] = lambda messages: None,
    ) -> None:
        self._configurations = configurations
        self._schemas = schemas
        self._writer = writer
        self._stage = stage
        self._windows = windows
        self._notice = notice
        self._deleted = deleted
        self._pass_over = pass_over

    def process(self, messages: Iterable[Message]) -> set[Place]:
        """Process messages; answer the places of those that failed."""
        groups: dict[tuple[Tenant, str], dict[Place, Message]] = defaultdict(dict)
        for message in messages:
            groups[message.tenant, message.dataset_id][message.place] = message
        failed: set[Place] = set()
        for (tenant, dataset_id), group in groups.items():
            try:
                failed |= self._process(tenant, dataset_id, group)
            except Exception as error:
                self._notice(error)
                failed |= group.keys()
        return failed

    def process_now(self, message: Message) -> None:
        """Process one message whose sender waits for the outcome: what is rejected leaves no trace.

        Raises RowError.
        """
        configuration = self._configurations.current(message.tenant)
        outcome = _Outcome({message.place: judged(message, configuration, self._schemas)})
        self._register_namespaces(message.tenant, configuration, outcome)
        self._write(message.tenant, message.dataset_id, outcome)
        for error in outcome.rejected.values():
            raise error
        self._keep(message.tenant, message.dataset_id, {message.place: message}, outcome)

    def _process(self, tenant: Tenant, dataset_id: str, messages: Mapping[Place, Message]) -> set[Place]:
        deleted = self._deleted(tenant, dataset_id, messages.keys())
        if deleted:
            self._pass_over(len(deleted))
            messages = {place: message for place, message in messages.items() if place not in deleted}
        configuration = self._configurations.current(tenant)
        outcome = _Outcome()
        for place, message in messages.items():
            try:
                outcome.accepted[place] = judged(message, configuration, self._schemas)
            except RowError as error:
                outcome.reject(place, error)
            except Exception as error:
                self._notice(error)
                outcome.fail([place])
        self._register_namespaces(tenant, configuration, outcome)
        try:
            self._write(tenant, dataset_id, outcome)
        except Exception as error:
            self._notice(error)
            self._write_one_by_one(tenant, dataset_id, outcome)
        self._keep(tenant, dataset_id, messages, outcome)
        return outcome.failed

    def _register_namespaces(self, tenant: Tenant, configuration: Configuration, outcome: _Outcome) -> None:
        """Make namespaces known before a row is written that spells them."""
        new = {
            place: codes
            for place, row in outcome.accepted.items()
            if (codes := sorted(code for code in row.namespaces if configuration.namespace(code) is None))
        }
        for place, codes in new.items():
            try:
                self._configurations.change(tenant, lambda known, codes=codes: known.with_namespaces(codes))  # type: ignore[misc]
            except InvalidRequestError as error:
                outcome.reject(place, RowError(TOO_MANY_NAMESPACES, str(error)))

    def _write(self, tenant: Tenant, dataset_id: str, outcome: _Outcome) -> None:
        if not outcome.accepted:
            return
        rows = [PlacedRow(place, row) for place, row in outcome.accepted.items()]
        report = self._writer.apply(tenant, dataset_id, rows)
        outcome.conflicts |= set(report.conflicts)
        for place, reason in report.refused.items():
            outcome.reject(place, reason)

    def _write_one_by_one(self, tenant: Tenant, dataset_id: str, outcome: _Outcome) -> None:
        """Find the rows that keep the others from being written."""
        for place, row in list(outcome.accepted.items()):
            alone = _Outcome({place: row})
            try:
                self._write(tenant, dataset_id, alone)
            except Exception as error:
                self._notice(error)
                outcome.fail([place])
            outcome.conflicts |= alone.conflicts
            for refused, reason in alone.rejected.items():
                outcome.reject(refused, reason)

    def _keep(self, tenant: Tenant, dataset_id: str, messages: Mapping[Place, Message], outcome: _Outcome) -> None:
        """Stage what belongs into the lake: what says only how a record changes does not (contract: §4.6)."""
        staged: dict[Window, dict[StagedKind, list[StagedRow]]] = defaultdict(lambda: defaultdict(list))

        def put(kind: StagedKind, row: StagedRow) -> None:
            staged[self._windows.of(tenant, dataset_id, row.place)][kind].append(row)

        for place, row in sorted(outcome.accepted.items()):
            if row.action is Action.CREATE:
                put(StagedKind.ACCEPTED, StagedRow(place, row.body))
        for place in sorted(outcome.conflicts & outcome.accepted.keys()):
            reason = RowError(CONFLICT, TWO_BODIES)
            put(StagedKind.CONFLICTS, _told(place, outcome.accepted[place].body, reason))
        for place, error in sorted(outcome.rejected.items()):
            put(StagedKind.REJECTED, _told(place, messages[place].body.get("xdmEntity"), error))
        for window, kinds in staged.items():
            for kind, rows in kinds.items():
                self._stage.stage(window, kind, rows)
            self._windows.open(window)


def _told(place: Place, row: object, error: RowError) -> StagedRow:
    """Write a row with the reason why it came to nothing, as rejected rows of batches are written."""
    document: dict[str, Any] = dict(row) if isinstance(row, dict) else {}
    document |= {"_errors": [{"code": error.code, "message": str(error)}], "_filename": batch_id_of(place)}
    if error.violations:
        document[VIOLATIONS] = [list(one) for one in error.violations]
    return StagedRow(place, document, error.code)
