"""The fourth step: the accepted rows of a chunk go to the profile store."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from tessera.domain.place import Place
from tessera.domain.rows import PlacedRow
from tessera.domain.tenant import Tenant
from tessera.services.ingestion.chunks import Chunk
from tessera.services.ingestion.ports import Batches, Files, Writer
from tessera.services.ingestion.staged import placed

APPLY = "apply"
# Ours: the contract does not say what becomes of a second body for an event.
CONFLICT = "TESSERA-INGEST-CONFLICT"


class Applier:
    """Applies chunks of accepted batches."""

    def __init__(self, batches: Batches, files: Files, writer: Writer) -> None:
        self._batches = batches
        self._files = files
        self._writer = writer

    def apply(self, tenant: Tenant, batch_id: str, chunk: Chunk) -> None:
        """Write the chunk's rows to the profile store; safe to repeat.

        A worker that comes late for a batch that was refused writes nothing.
        """
        batch = self._batches.get(tenant, batch_id)
        if not batch.judged:
            return
        rows = list(
            placed(self._files.staged(tenant, batch_id, chunk.chunk), batch.completed_ms, batch_id, chunk.file_index)
        )
        written, unchanged = 0, 0
        conflicts: list[Place] = []
        if rows:
            report = self._writer.apply(tenant, batch.dataset_id, rows)
            written, unchanged, conflicts = report.written, report.unchanged, report.conflicts
        if conflicts:
            self._record(tenant, batch_id, chunk, rows, conflicts)
        result = {"rows": len(rows), "written": written, "unchanged": unchanged, "conflicts": len(conflicts)}
        self._files.write_result(tenant, batch_id, APPLY, chunk.chunk, result)

    def _record(
        self, tenant: Tenant, batch_id: str, chunk: Chunk, rows: Sequence[PlacedRow], conflicts: Sequence[Place]
    ) -> None:
        """Keep the bodies that lost to an earlier one of the same event (law 3)."""
        bodies = {item.place: item.row.body for item in rows}
        message = "the same event is known with another body; the one accepted first counts"
        lines = [
            orjson.dumps(
                {
                    **bodies.get(place, {}),
                    "_errors": [{"code": CONFLICT, "message": message}],
                    "_filename": chunk.path,
                }
            )
            for place in sorted(conflicts)
        ]
        self._files.reject(tenant, batch_id, f"conflict_errors_{int(chunk.chunk)}.json", lines)
