"""The step after a batch was taken back: what it brought is deleted from the lake (contract: data-and-pql §4.4).

Its accepted rows as they were judged stay: the profile store still holds them, and its own delete of a batch goes by
them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from tessera.domain.batch import Batch, BatchStatus
from tessera.domain.tenant import Tenant
from tessera.services.ingestion.ports import Batches


class Files(Protocol):
    """The files of batches."""

    def discard(self, tenant: Tenant, batch_id: str) -> int:
        """Delete what was received and what was rejected, every version of it; tell how many."""


class Discarder:
    """Deletes the files of batches that were taken back."""

    def __init__(
        self, batches: Batches, files: Files, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._batches = batches
        self._files = files
        self._clock_ms = clock_ms

    def discard(self, tenant: Tenant, batch_id: str) -> Batch:
        """Delete the files and note it; nothing for a batch that was not taken back. Safe to repeat.

        Raises NotFoundError.
        """
        batch = self._batches.get(tenant, batch_id)
        if batch.status is not BatchStatus.INACTIVE:
            return batch
        self._files.discard(tenant, batch_id)
        now = self._clock_ms()
        return self._batches.change(tenant, batch_id, lambda known: known.discarded(now))
