"""Closing windows: the rows that were staged become a batch of the dataset, and those that were rejected another.

Why nothing is lost or twice in the lake, whoever dies where, is told in ``windows``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from itertools import count, islice
from typing import Any, Protocol

import orjson

from tessera.domain.batch import Batch, BatchStatus, FileFormat
from tessera.domain.place import Place
from tessera.domain.place_set import PlaceSet
from tessera.domain.staged import StagedKind, StagedRow
from tessera.domain.tenant import Tenant
from tessera.domain.verdict import Tally, judge, metrics
from tessera.domain.window import Closing, Window
from tessera.services.streaming.windows import Closings, States, delay_s
from tessera.storage.received import StoredFile
from tessera.storage.registry import LostRaceError

# Whose batches these are in the catalogue.
CREATOR = "streaming"
LARGEST_FILE = 32_000_000
# Of one batch: while it is deleted, its rows are in the memory of every reader (docs/decisions/0165).
MOST_ROWS = 250_000


class Stage(Protocol):
    """Where rows wait for their batch: ``storage.stream_lake.StreamLake``."""

    def staged(self, window: Window) -> list[str]:
        """List the names of all that is staged in a window, the kind before each."""

    def rows(self, window: Window, names: Sequence[str]) -> Iterator[StagedRow]:
        """Read staged rows, in the order of the names."""

    def fix_contents(self, window: Window, round_: int, names: Sequence[str]) -> None:
        """Note what a round gathers, unless that is noted already."""

    def contents(self, window: Window, round_: int) -> list[str] | None:
        """Read what a round gathers, ``None`` when that is not noted yet."""


class Files(Protocol):
    """The files of batches."""

    def deposit(self, tenant: Tenant, batch_id: str, dataset_id: str, name: str, body: bytes) -> StoredFile:
        """Store a file of our own."""

    def reject(self, tenant: Tenant, batch_id: str, name: str, lines: Sequence[bytes]) -> None:
        """Store rejected rows."""

    def write_plan(self, tenant: Tenant, batch_id: str, plan: dict[str, Any]) -> object:
        """Note the files of a batch, unless they are noted already."""


class Rows(Protocol):
    """Where the places of batches' rows are kept: ``storage.streamed_rows.StreamedRows``."""

    def keep(self, tenant: Tenant, dataset_id: str, batch_id: str, places: PlaceSet) -> None:
        """Write those of a batch; safe to repeat."""


class Records(Protocol):
    """Where batches are kept."""

    def add(self, tenant: Tenant, batch: Batch) -> None:
        """Write a new one, or raise LostRaceError."""


class Closer:
    """Closes windows; ``clock_ms`` gives milliseconds since 1970."""

    def __init__(
        self,
        states: States,
        closings: Closings,
        stage: Stage,
        files: Files,
        rows: Rows,
        batches: Records,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._states = states
        self._closings = closings
        self._stage = stage
        self._files = files
        self._rows = rows
        self._batches = batches
        self._clock_ms = clock_ms

    def close(self, closing: Closing) -> None:
        """Close a round of a window if it is time, else ask for it again; safe to repeat.

        Raises LostRaceError when somebody else does the same.
        """
        window, now = closing.window, self._clock_ms()
        state = self._states.get(window)
        if state is None or state.round < closing.round:
            # Whoever sent this died before it was noted: then nothing was forgotten either.
            return
        if state.round == closing.round and state.open:
            if now < state.closes_ms:
                self._closings.send(closing, delay_s(state, now))
                return
            self._states.put(window, state.closed(), state)
        self._gather(window, closing.round)

    def _gather(self, window: Window, round_: int) -> None:
        contents = self._stage.contents(window, round_)
        if contents is None:
            self._stage.fix_contents(window, round_, self._stage.staged(window))
            contents = self._stage.contents(window, round_) or []
        seen = self._gathered_before(window, round_)
        self._accept(window, round_, contents, seen)
        self._reject(window, round_, contents, seen)

    def _gathered_before(self, window: Window, round_: int) -> set[Place]:
        """Return the places of what earlier rounds have."""
        names = {name for one in range(round_) for name in self._stage.contents(window, one) or ()}
        return {row.place for row in self._stage.rows(window, sorted(names))}

    def _accept(self, window: Window, round_: int, contents: Sequence[str], seen: set[Place]) -> None:
        conflicts = [orjson.dumps(row.document) for row in self._new(window, contents, StagedKind.CONFLICTS, set(seen))]
        rows = self._new(window, contents, StagedKind.ACCEPTED, seen)
        for part in count():
            batch_id = window.batch_id(round_, StagedKind.ACCEPTED, part)
            if not self._accept_some(window, batch_id, islice(rows, MOST_ROWS), [] if part else conflicts):
                return

    def _accept_some(
        self, window: Window, batch_id: str, rows: Iterator[StagedRow], conflicts: Sequence[bytes]
    ) -> bool:
        """Make a batch of rows; tell whether there were any."""
        tenant, dataset_id = window.tenant, window.dataset_id
        tally = Tally()
        files: list[StoredFile] = []
        places: list[Place] = []

        def noted() -> Iterator[StagedRow]:
            for row in rows:
                places.append(row.place)
                yield row

        for lines in _in_files(noted()):
            body = b"\n".join([*lines, b""])
            name = f"part-{len(files):05d}.json"
            files.append(self._files.deposit(tenant, batch_id, dataset_id, name, body))
            tally.add(Tally(rows=len(lines), accepted=len(lines), size=len(body), outputs=1))
        if not tally.rows:
            return False
        if conflicts:
            self._files.reject(tenant, batch_id, "conflict_errors_0.json", conflicts)
        self._rows.keep(tenant, dataset_id, batch_id, PlaceSet.of(places))
        plan = {"files": [list(astuple(file)) for file in files], "file_count": len(files), "bytes": tally.size}
        self._files.write_plan(tenant, batch_id, plan)
        self._record(window, batch_id, tally, {"conflictRecordCount": len(conflicts)})
        return True

    def _reject(self, window: Window, round_: int, contents: Sequence[str], seen: set[Place]) -> None:
        batch_id = window.batch_id(round_, StagedKind.REJECTED)
        tally = Tally()

        def counted() -> Iterator[StagedRow]:
            for row in self._new(window, contents, StagedKind.REJECTED, seen):
                tally.codes[row.code] += 1
                yield row

        for number, lines in enumerate(_in_files(counted())):
            self._files.reject(window.tenant, batch_id, f"validation_errors_{number}.json", lines)
            tally.add(Tally(rows=len(lines), rejected=len(lines)))
        if tally.rows:
            self._record(window, batch_id, tally, {})

    def _new(self, window: Window, contents: Sequence[str], kind: StagedKind, seen: set[Place]) -> Iterator[StagedRow]:
        """Walk the rows of a kind that were not seen before, and note that they are."""
        for row in self._stage.rows(window, [name for name in contents if name.startswith(f"{kind}/")]):
            if row.place not in seen:
                seen.add(row.place)
                yield row

    def _record(self, window: Window, batch_id: str, tally: Tally, more: dict[str, int]) -> None:
        verdict = judge(tally, partial_percent=None, diagnostics=True)
        now = self._clock_ms()
        # Messages that were refused are gathered in a failed batch, whatever the reason (contract: §4.5).
        count, accepted = tally.outputs, verdict.accepted and not tally.rejected
        figures = metrics(tally, input_files=count, input_bytes=tally.size, partitions=count, accepted=accepted)
        batch = Batch(
            batch_id,
            window.dataset_id,
            now,
            CREATOR,
            format=FileFormat.JSON,
            diagnostics=True,
            external_id=batch_id,
            status=BatchStatus.SUCCESS if accepted else BatchStatus.FAILED,
            updated_ms=now,
            updated_by=CREATOR,
            completed_ms=now,
            started_ms=now,
            finished_ms=now,
            attempt=1,
            judged=accepted,
            errors=verdict.errors,
            metrics={**figures, **more},
            streamed=True,
        )
        try:
            self._batches.add(window.tenant, batch)
        except LostRaceError:
            # It was recorded by a run that died, or that is at it at the same time.
            return


def _in_files(rows: Iterator[StagedRow]) -> Iterator[list[bytes]]:
    """Divide rows among files, as JSON lines."""
    lines: list[bytes] = []
    size = 0
    for row in rows:
        line = orjson.dumps(row.document)
        lines.append(line)
        size += len(line) + 1
        if size > LARGEST_FILE:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines
