"""The end of a sample: what all workers counted becomes reports, and the job's note says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

from tessera.domain.batch import Batch, BatchStatus
from tessera.domain.configuration import Configuration, DatasetKind
from tessera.domain.export.share import Share
from tessera.domain.identity import STANDARD_NAMESPACES
from tessera.domain.sample.insight import store_report
from tessera.domain.sample.job import LastSample, SampleJob, SampleState, SampleStatus, Scope
from tessera.domain.sample.reports import KnownDataset, Names, Reports, status_of
from tessera.domain.sample.tally import Tally
from tessera.domain.tenant import Tenant
from tessera.domain.times import iso_ms
from tessera.services.datasets import WalksDescriptions, each_description
from tessera.services.lease import Configurations
from tessera.services.sample.checks import SampleChecks
from tessera.services.sample.ports import Batches, Lake, States

STORE = "store"
# Batches are walked by when they were created; one that took longer than so many others is passed over.
_NEWEST_BATCHES = 100


class Settler:
    """Settles jobs; ``clock_ms`` gives milliseconds since 1970."""

    def __init__(
        self,
        states: States,
        configurations: Configurations,
        descriptions: WalksDescriptions,
        batches: Batches,
        lake: Lake,
        checks: SampleChecks,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._states = states
        self._configurations = configurations
        self._descriptions = descriptions
        self._batches = batches
        self._lake = lake
        self._checks = checks
        self._clock_ms = clock_ms

    def finish(self, tenant: Tenant, job_id: str) -> None:
        """Make the reports, then note that they are the last ones. Safe to repeat.

        Raises RuntimeError when a share is not done.
        """
        state = self._states.state(tenant)
        if state.job is not None and state.works_on(job_id) and state.job.scope is not None:
            state = self._settle(tenant, state.job, state.job.scope)
        self._see_to_the_next(tenant, job_id, state)

    def fail(self, tenant: Tenant, job_id: str, reason: str) -> None:
        """Note that the machine gave up; the reports of before stay the last ones."""
        now = self._clock_ms()

        def failed(known: SampleState) -> SampleState:
            if known.job is None or not known.works_on(job_id):
                return known
            return replace(known, job=known.job.ended(SampleStatus.FAILED, now, reason))

        self._see_to_the_next(tenant, job_id, self._states.change(tenant, failed))

    def _see_to_the_next(self, tenant: Tenant, job_id: str, state: SampleState) -> None:
        # Also when the job was settled before: then whoever did it may not have come this far.
        job = state.job if state.job is not None and state.job.id == job_id else None
        self._checks.in_a_week(tenant, self._clock_ms() if job is None else job.finished_ms)
        if job is not None and job.missed:
            self._checks.after_batch(tenant)

    def _settle(self, tenant: Tenant, job: SampleJob, scope: Scope) -> SampleState:
        tally = self._counted(tenant, job.id)
        at_ms = self._clock_ms()
        names = self._names(tenant)
        reports = Reports(tally, scope, names, at_ms)
        written = {**reports.all(), STORE: store_report(tally, scope, names, at_ms)}
        self._lake.write_reports(tenant, job.id, written)
        day = iso_ms(at_ms)[:10]
        status = status_of(reports, job, scope.policy, self._last_batch(tenant), at_ms)
        self._states.put_day(tenant, day, {"job": job.id, "status": status})
        census = scope.census
        last = LastSample(job.id, day, at_ms, census, census.linked_per_graph(reports.profiles))

        def settled(known: SampleState) -> SampleState:
            if known.job is None or not known.works_on(job.id):
                return known
            return replace(known, job=known.job.ended(SampleStatus.SUCCEEDED, at_ms), last=last)

        return self._states.change(tenant, settled)

    def _counted(self, tenant: Tenant, job_id: str) -> Tally:
        known = self._states.checkpoints(tenant, job_id)
        names = []
        for share in (Share(**document).name for document in self._lake.plan(tenant, job_id)):
            checkpoint = known.get(share)
            if checkpoint is None or not checkpoint.done:
                raise RuntimeError(f"share {share} of sample {job_id} is not counted")
            names.append(checkpoint.tally)
        tally = Tally()
        for document in self._lake.tallies(tenant, job_id, names):
            tally.merge(Tally.from_document(document))
        return tally

    def _last_batch(self, tenant: Tenant) -> Batch | None:
        """Find the batch that was ingested last; what exports bring is read, not ingested."""
        datasets = self._configurations.current(tenant).datasets
        newest = islice(self._batches.each(tenant), _NEWEST_BATCHES)
        ingested = [
            batch
            for batch in newest
            if batch.status is BatchStatus.SUCCESS
            and batch.dataset_id in datasets
            and datasets[batch.dataset_id].kind is not DatasetKind.UNION
        ]
        return max(ingested, key=lambda batch: batch.finished_ms, default=None)

    def _names(self, tenant: Tenant) -> Names:
        configuration = self._configurations.current(tenant)
        described = dict(each_description(self._descriptions, tenant))
        datasets = {
            dataset.id: KnownDataset(
                described.get(dataset.id, {}).get("name") or "",
                described.get(dataset.id, {}).get("description") or "",
                described.get(dataset.id, {}).get("createdUser") or "",
                dataset.kind,
            )
            for dataset in configuration.datasets.values()
        }
        return Names(datasets, _namespaces(configuration))


def _namespaces(configuration: Configuration) -> dict[str, tuple[str, int]]:
    known = [*STANDARD_NAMESPACES, *configuration.custom_namespaces.values()]
    return {one.code.lower(): (one.code, one.id) for one in known}
