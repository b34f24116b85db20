"""Messages that come again after the batch that gathered their rows was deleted (law 7, docs/decisions/0167).

While the delete is at work, the settings of the dataset say which rows these are. Later, what was noted when it was
accepted does, for as long as a queue may deliver a message. Looked for are only messages whose window can have been
closed: one that is processed as it comes in costs nothing more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Protocol

from tessera.domain.place import Place
from tessera.domain.place_set import PlaceSet
from tessera.domain.tenant import Tenant
from tessera.domain.window import may_be_gathered


class DeletedRows(Protocol):
    """Where deleted batches are noted: ``storage.deleted_rows.DeletedRows``."""

    def around(self, tenant: Tenant, dataset_id: str, low: Place, high: Place) -> list[str]:
        """List the batches of a dataset that have a row at or above ``low``, and one at or below ``high``."""


class Rows(Protocol):
    """Which rows batches have: ``storage.streamed_rows.StreamedRows``."""

    def get(self, tenant: Tenant, dataset_id: str, batch_id: str) -> PlaceSet | None:
        """Read the places of a batch's rows, ``None`` when they were not kept."""


class Redelivered:
    """Tells which messages are of deleted batches.

    ``length_ms`` is that of windows, ``clock_ms`` gives milliseconds since 1970.
    """

    def __init__(
        self,
        deleted: DeletedRows,
        rows: Rows,
        length_ms: int,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._deleted = deleted
        self._rows = rows
        self._length_ms = length_ms
        self._clock_ms = clock_ms

    def deleted(self, tenant: Tenant, dataset_id: str, places: Collection[Place]) -> set[Place]:
        """Return those of some places that are of deleted batches."""
        now_ms = self._clock_ms()
        late = {place for place in places if may_be_gathered(place, now_ms, self._length_ms)}
        found: set[Place] = set()
        for batch_id in self._deleted.around(tenant, dataset_id, min(late), max(late)) if late else ():
            rows = self._rows.get(tenant, dataset_id, batch_id)
            if rows is None:
                raise RuntimeError(f"it is not known which rows batch {batch_id} had, which was deleted")
            found |= {place for place in late if place in rows}
        return found
