"""The fourth step: the accepted rows of a chunk go to the profile store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson

from tessera.domain.place import Place
from tessera.domain.rows import HELD, TOO_LARGE, PlacedRow, RowError
from tessera.domain.tenant import Tenant
from tessera.services.ingestion.chunks import Chunk
from tessera.services.ingestion.ports import Batches, Files, Writer
from tessera.services.ingestion.staged import placed

APPLY = "apply"
# An invocation has ten minutes; what is begun after this many seconds is left to the next one.
WORKING_S = 7 * 60

_ROWS_AT_ONCE = 1000
_CHECKPOINT_S = 30

# Ours: the contract does not say what becomes of a second body for an event.
CONFLICT = "TESSERA-INGEST-CONFLICT"
TWO_BODIES = "the event is known with another body; the one accepted first counts"


class Applier:
    """Applies chunks of accepted batches; ``clock`` counts seconds."""

    def __init__(
        self, batches: Batches, files: Files, writer: Writer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._batches = batches
        self._files = files
        self._writer = writer
        self._clock = clock

    def apply(self, tenant: Tenant, batch_id: str, chunk: Chunk) -> bool:
        """Write the chunk's rows to the profile store, as many as there is time for; tell whether that was all.

        Safe to repeat: what is noted as done is not done again. A worker that comes late, for a batch that was refused
        or that is not active any more, writes nothing.
        """
        progress = _Progress.from_document(self._files.result(tenant, batch_id, APPLY, chunk.chunk))
        if progress.done:
            return True
        started = noted = self._clock()
        # Lines and not rows are counted: who is erased meanwhile leaves an empty one.
        lines = self._files.staged(tenant, batch_id, chunk.chunk)
        for _ in islice(lines, progress.rows):
            pass
        # A share at a time: thousands of rows in memory at once cost the garbage collector more than the parser.
        while share := list(islice(lines, _ROWS_AT_ONCE)):
            batch = self._batches.get(tenant, batch_id)
            if not batch.applies:
                return True
            if self._clock() - started > WORKING_S:
                self._note(tenant, batch_id, chunk, progress)
                return False
            rows = list(placed(share, batch.completed_ms, batch_id, chunk.file_index))
            report = self._writer.apply(tenant, batch.dataset_id, rows, batch.predecessors)
            progress.rows += len(share)
            progress.conflicts |= set(report.conflicts)
            progress.refused |= report.refused
            # A conflict may not be seen again: the body that lost may be gone when the row is applied once more.
            if report.conflicts or report.refused or self._clock() - noted > _CHECKPOINT_S:
                self._note(tenant, batch_id, chunk, progress)
                noted = self._clock()
        if progress.conflicts:
            reasons = dict.fromkeys(progress.conflicts, RowError(CONFLICT, TWO_BODIES))
            found = self._told(tenant, batch_id, chunk, reasons)
            self._files.reject(tenant, batch_id, f"conflict_errors_{int(chunk.chunk)}.json", found)
        for kind, code in (("update", TOO_LARGE), ("held", HELD)):
            if reasons := {place: error for place, error in progress.refused.items() if error.code == code}:
                found = self._told(tenant, batch_id, chunk, reasons)
                self._files.reject(tenant, batch_id, f"{kind}_errors_{int(chunk.chunk)}.json", found)
        progress.done = True
        self._note(tenant, batch_id, chunk, progress)
        return True

    def _rows(self, tenant: Tenant, batch_id: str, chunk: Chunk) -> Iterator[PlacedRow]:
        batch = self._batches.get(tenant, batch_id)
        if not batch.applies:
            return iter(())
        staged = self._files.staged(tenant, batch_id, chunk.chunk)
        return placed(staged, batch.completed_ms, batch_id, chunk.file_index)

    def _told(self, tenant: Tenant, batch_id: str, chunk: Chunk, reasons: Mapping[Place, RowError]) -> list[bytes]:
        """Write rows that came to nothing, each with its reason, as rejected rows are written (laws 3 and 4)."""
        return [
            orjson.dumps(
                {
                    **item.row.body,
                    "_errors": [{"code": reasons[item.place].code, "message": str(reasons[item.place])}],
                    "_filename": chunk.path,
                }
            )
            for item in self._rows(tenant, batch_id, chunk)
            if item.place in reasons
        ]

    def _note(self, tenant: Tenant, batch_id: str, chunk: Chunk, progress: _Progress) -> None:
        self._files.write_result(tenant, batch_id, APPLY, chunk.chunk, progress.to_document())


@dataclass(slots=True)
class _Progress:
    """How far a chunk is applied: how many of its lines, where a second body of an event was met, what was refused.

    Not how many rows were new: that would be another figure each time the chunk is applied.
    """

    rows: int = 0
    conflicts: set[Place] = field(default_factory=set)
    refused: dict[Place, RowError] = field(default_factory=dict)
    done: bool = False

    def to_document(self) -> dict[str, Any]:
        """Write it as the JSON document that is stored."""
        return {
            "rows": self.rows,
            "conflicts": sorted(self.conflicts),
            "refused": {place: [error.code, str(error)] for place, error in self.refused.items()},
            "done": self.done,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> _Progress:
        """Read it; ``None`` is nothing done yet."""
        if document is None:
            return cls()
        refused = {place: RowError(code, text) for place, (code, text) in document.get("refused", {}).items()}
        return cls(document["rows"], set(document["conflicts"]), refused, document["done"])
