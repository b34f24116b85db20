"""The steps about the whole batch: decide, finish, and what is noted when the machine gives up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from tessera.domain.batch import Batch
from tessera.domain.errors import InvalidRequestError
from tessera.domain.tenant import Tenant
from tessera.domain.verdict import DATASET_GONE, TOO_MANY_NAMESPACES, FileError, Tally, judge, metrics
from tessera.services.ingestion.applying import APPLY
from tessera.services.ingestion.ports import Batches, Configurations, Files
from tessera.services.ingestion.validation import VALIDATE


class Decider:
    """Accepts or refuses batches, and settles them."""

    def __init__(
        self,
        batches: Batches,
        configurations: Configurations,
        files: Files,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._batches = batches
        self._configurations = configurations
        self._files = files
        self._clock_ms = clock_ms

    def decide(self, tenant: Tenant, batch_id: str) -> bool:
        """Tell whether the batch's good rows are to be applied; once told, the answer stays."""
        batch = self._batches.get(tenant, batch_id)
        if not batch.terminal and batch.completed_ms:
            batch = self._judged(tenant, batch)
        return batch.judged

    def _judged(self, tenant: Tenant, batch: Batch) -> Batch:
        plan = self._plan(tenant, batch.id)
        tally = Tally(file_errors=[FileError(*error) for error in plan["errors"]])
        chunks = [item["chunk"] for item in plan["chunks"]]
        for result in self._files.results(tenant, batch.id, VALIDATE, chunks):
            tally.add(Tally.from_document(result))
        if batch.dataset_id not in self._configurations.current(tenant).datasets:
            tally.file_errors.append(FileError("", DATASET_GONE, "The dataset was deleted."))
        verdict = judge(tally, partial_percent=batch.partial_percent, diagnostics=batch.diagnostics)
        accepted, errors = verdict.accepted, verdict.errors
        if accepted:
            try:
                # Before the batch is accepted: a row must never be applied whose namespace nobody knows.
                self._configurations.change(tenant, lambda known: known.with_namespaces(sorted(tally.namespaces)))
            except InvalidRequestError as error:
                accepted, errors = False, ({"code": TOO_MANY_NAMESPACES, "description": str(error)},)
        figures = metrics(
            tally,
            input_files=plan["file_count"],
            input_bytes=plan["bytes"],
            partitions=len(chunks),
            accepted=accepted,
        )
        now = self._clock_ms()
        return self._batches.change(
            tenant,
            batch.id,
            lambda known: known.accepted(figures, errors, now) if accepted else known.refused(figures, errors, now),
        )

    def finish(self, tenant: Tenant, batch_id: str) -> None:
        """Note that every accepted row is applied: from now on every read sees them (law 5)."""
        batch = self._batches.get(tenant, batch_id)
        if batch.terminal or not batch.judged:
            return
        chunks = [item["chunk"] for item in self._plan(tenant, batch_id)["chunks"]]
        conflicts = 0
        for chunk, result in zip(chunks, self._files.results(tenant, batch_id, APPLY, chunks), strict=True):
            if not result["done"]:
                raise RuntimeError(f"chunk {chunk} of batch {batch_id} is not applied")
            conflicts += len(result["conflicts"])
        now = self._clock_ms()
        # First, so that a crash in between is mended by the next run, which this batch still asks for.
        for old in batch.predecessors:
            self._batches.change(tenant, old, lambda known: known.replaced(now))
        self._batches.change(tenant, batch_id, lambda known: known.succeeded({"conflictRecordCount": conflicts}, now))

    def fail(self, tenant: Tenant, batch_id: str, reason: str) -> None:
        """Note that the machine gave up and why."""
        now = self._clock_ms()
        self._batches.change(tenant, batch_id, lambda batch: batch.broken(reason, now))

    def _plan(self, tenant: Tenant, batch_id: str) -> Mapping[str, Any]:
        plan = self._files.plan(tenant, batch_id)
        if plan is None:
            raise RuntimeError(f"batch {batch_id} has no plan")
        return plan
