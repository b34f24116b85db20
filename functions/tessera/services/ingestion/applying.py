"""The fourth step: the accepted rows of a chunk go to the profile store."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import orjson

from tessera.domain.place import Place
from tessera.domain.rows import PlacedRow
from tessera.domain.tenant import Tenant
from tessera.services.ingestion.chunks import Chunk
from tessera.services.ingestion.ports import Batches, Files, Writer
from tessera.services.ingestion.staged import placed

APPLY = "apply"

_ROWS_AT_ONCE = 1000

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
        staged = self._files.staged(tenant, batch_id, chunk.chunk)
        rows = placed(staged, batch.completed_ms, batch_id, chunk.file_index)
        count = 0
        conflicts: list[bytes] = []
        # A share at a time: thousands of rows in memory at once cost the garbage collector more than the parser.
        while share := list(islice(rows, _ROWS_AT_ONCE)):
            count += len(share)
            lost = self._writer.apply(tenant, batch.dataset_id, share).conflicts
            conflicts += _conflict_lines(share, lost, chunk.path)
        if conflicts:
            self._files.reject(tenant, batch_id, f"conflict_errors_{int(chunk.chunk)}.json", conflicts)
        # Not how many were new: that would be another figure each time the chunk is applied.
        result = {"rows": count, "conflicts": len(conflicts)}
        self._files.write_result(tenant, batch_id, APPLY, chunk.chunk, result)


def _conflict_lines(rows: Sequence[PlacedRow], conflicts: Sequence[Place], path: str) -> list[bytes]:
    """Write the rows whose event is known with another body, as rejected rows are written (law 3)."""
    wanted = set(conflicts)
    errors = [{"code": CONFLICT, "message": "the event is known with another body; the one accepted first counts"}]
    return [
        orjson.dumps({**item.row.body, "_errors": errors, "_filename": path}) for item in rows if item.place in wanted
    ]
