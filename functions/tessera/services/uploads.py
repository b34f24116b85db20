"""Files that come in parts: begin, take parts in any order, complete (contract: data-and-pql §4.2)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from tessera.domain.batch import Batch
from tessera.domain.errors import InvalidRequestError, NotFoundError
from tessera.domain.intervals import Interval, content_range, merged, whole
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import ulid
from tessera.services.batches import batch_of, open_batch
from tessera.storage.received import StoredPart, Upload

# The list of them is one object that every worker reads.
MAX_PARTS = 30_000


class Records(Protocol):
    """Where batches are kept."""

    def get(self, tenant: Tenant, batch_id: str) -> Batch:
        """Read one or raise NotFoundError."""


class Files(Protocol):
    """Where parts are received."""

    def put_upload(self, tenant: Tenant, batch_id: str, upload: Upload) -> None:
        """Note how a file comes in parts, or raise InvalidRequestError for its path."""

    def upload(self, tenant: Tenant, batch_id: str, path: str) -> Upload | None:
        """Look that up."""

    def put_part(
        self, tenant: Tenant, batch_id: str, upload: Upload, interval: Interval, total: int | None, body: bytes
    ) -> None:
        """Store a part."""

    def parts(self, tenant: Tenant, batch_id: str, upload: Upload) -> tuple[list[StoredPart], set[int]]:
        """List the parts, and the sizes that the file was said to have."""

    def compose(
        self, tenant: Tenant, batch_id: str, dataset_id: str, upload: Upload, parts: Sequence[StoredPart]
    ) -> None:
        """Make a file of parts in order."""


class Uploads:
    """The files of batches that come in parts. All methods raise NotFoundError and InvalidRequestError."""

    def __init__(
        self, records: Records, files: Files, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._records = records
        self._files = files
        self._clock_ms = clock_ms

    def initialize(self, tenant: Tenant, batch_id: str, dataset_id: str, path: str) -> None:
        """Begin a file; what was begun under the same path before is forgotten."""
        open_batch(self._records, tenant, batch_id, dataset_id)
        upload = Upload(ulid(self._clock_ms(), secrets.randbits(80)), path)
        self._files.put_upload(tenant, batch_id, upload)
        # A batch completed in between may have been planned without it: then it must not be acknowledged.
        open_batch(self._records, tenant, batch_id, dataset_id)

    def receive_part(
        self, tenant: Tenant, batch_id: str, dataset_id: str, path: str, header: str, body: bytes
    ) -> Interval:
        """Store a part; ``header`` is its Content-Range. Parts come in any order, the same one again replaces it."""
        open_batch(self._records, tenant, batch_id, dataset_id)
        interval, total = content_range(header, len(body))
        upload = self._open(tenant, batch_id, path)
        self._files.put_part(tenant, batch_id, upload, interval, total, body)
        # A file completed or begun anew in between is without this part.
        if self._open(tenant, batch_id, path) != upload:
            raise InvalidRequestError("The file was begun anew meanwhile: send its parts again")
        return interval

    def received(self, tenant: Tenant, batch_id: str, dataset_id: str, path: str) -> list[Interval]:
        """List which bytes of a file are there, neighbours as one interval."""
        batch_of(self._records, tenant, batch_id, dataset_id)
        parts, _ = self._files.parts(tenant, batch_id, self._known(tenant, batch_id, path))
        return merged(part.interval for part in parts)

    def complete(self, tenant: Tenant, batch_id: str, dataset_id: str, path: str) -> int:
        """Make the file of its parts and return its size; refused, with the file still open, if they are not whole.

        Safe to repeat.
        """
        open_batch(self._records, tenant, batch_id, dataset_id)
        upload = self._known(tenant, batch_id, path)
        # Closed first, so that a part that comes now is refused instead of left out.
        closed = replace(upload, open=False)
        self._files.put_upload(tenant, batch_id, closed)
        parts, totals = self._files.parts(tenant, batch_id, upload)
        try:
            size = whole([part.interval for part in parts], totals)
            if len(parts) > MAX_PARTS:
                raise InvalidRequestError(f"a file may have {MAX_PARTS} parts, this one has {len(parts)}")
        except InvalidRequestError:
            self._files.put_upload(tenant, batch_id, replace(upload, open=True))
            raise
        ordered = sorted(parts, key=lambda part: part.interval)
        self._files.compose(tenant, batch_id, dataset_id, closed, ordered)
        open_batch(self._records, tenant, batch_id, dataset_id)
        return size

    def _known(self, tenant: Tenant, batch_id: str, path: str) -> Upload:
        upload = self._files.upload(tenant, batch_id, path)
        if upload is None:
            raise NotFoundError("This file was not begun in parts: POST it with action=INITIALIZE first")
        return upload

    def _open(self, tenant: Tenant, batch_id: str, path: str) -> Upload:
        upload = self._known(tenant, batch_id, path)
        if not upload.open:
            raise InvalidRequestError("The file is complete: POST it with action=INITIALIZE to begin it anew")
        return upload
