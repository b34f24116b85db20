"""The first step: is a sample due, how much is looked at, and who counts what."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import asdict, replace

from tessera.domain.configuration import Configuration
from tessera.domain.export.share import Share, shares_for
from tessera.domain.merge_policy import PROFILE_CLASS, GraphType, MergePolicy
from tessera.domain.sample.job import WEEK_MS, Cause, LastSample, SampleJob, SampleState, Scope
from tessera.domain.sample.size import (
    CENSUS_IDENTITIES,
    MEASURED_PERSONS,
    Census,
    change_percent,
    sampled_shards,
    shards_with,
)
from tessera.domain.tenant import Tenant
from tessera.services.export.ports import Index
from tessera.services.export.walking import Walk, estimated_identities
from tessera.services.lease import Configurations
from tessera.services.sample.ports import Lake, States

# A week that was begun when a sample ended is over a little earlier than one begun when it was noted.
_SLACK_MS = 3_600_000
# Where a sandbox has no default policy, profiles are those that it came with.
_WITHOUT_DEFAULT = MergePolicy("", "")


class Planner:
    """Plans a job, once: what it looks at is kept, so however often it is asked for it is the same.

    A check finds one due if profiles changed by more than ``threshold_percent``. Of ``measured_persons`` each item is
    looked at.
    """

    def __init__(
        self,
        states: States,
        configurations: Configurations,
        index: Index,
        lake: Lake,
        executor: Executor,
        threshold_percent: float,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        measured_persons: int = MEASURED_PERSONS,
    ) -> None:
        self._states = states
        self._configurations = configurations
        self._index = index
        self._lake = lake
        self._executor = executor
        self._threshold = threshold_percent
        self._clock_ms = clock_ms
        self._measured_persons = measured_persons

    def plan(self, tenant: Tenant, job_id: str, cause: Cause) -> int:
        """Begin a job if one is due and none is running; return how many shares it has, none if it is not begun."""
        state = self._begun(tenant, job_id, cause)
        if state.job is None or not state.works_on(job_id):
            return 0
        scope = state.job.scope or self._scope(tenant, job_id)

        def planned(known: SampleState) -> SampleState:
            if known.job is None or not known.works_on(job_id):
                return known
            return replace(known, job=known.job.planned(scope))

        state = self._states.change(tenant, planned)
        if state.job is None or not state.works_on(job_id) or state.job.scope is None:
            return 0
        return state.job.scope.shares

    def _begun(self, tenant: Tenant, job_id: str, cause: Cause) -> SampleState:
        now = self._clock_ms()

        def heard(known: SampleState) -> SampleState:
            running = known.running(now)
            if running is None or running.id == job_id:
                return known
            # Whoever runs began before whatever this check is about.
            return replace(known, job=running.missing())

        state = self._states.change(tenant, heard)
        if state.running(now) is not None or (state.job is not None and state.job.id == job_id):
            return state
        if cause is not Cause.ASKED and not self._is_due(tenant, cause, state.last, now):
            return state
        job = SampleJob(job_id, cause, now)
        return self._states.change(tenant, lambda known: known.begun(job, now))

    def _is_due(self, tenant: Tenant, cause: Cause, last: LastSample | None, now_ms: int) -> bool:
        if last is None:
            return True
        if cause is Cause.WEEK:
            return now_ms - last.finished_ms >= WEEK_MS - _SLACK_MS
        census = self._census(tenant, self._configurations.current(tenant), last.census.shards)
        return change_percent(last.census, census, last.linked_per_graph) > self._threshold

    def _scope(self, tenant: Tenant, job_id: str) -> Scope:
        configuration = self._configurations.current(tenant)
        policy = configuration.default_policy(PROFILE_CLASS) or _WITHOUT_DEFAULT
        # Of identities and what they have in datasets: rather too many.
        estimate = estimated_identities(self._index, self._executor, tenant, configuration, GraphType.PRIVATE)
        shards = sampled_shards(estimate)
        measured = min(shards, shards_with(self._measured_persons, estimate))
        counted = min(shards, shards_with(CENSUS_IDENTITIES, estimate))
        shares = [
            asdict(replace(share, last=min(share.last, shards - 1)))
            for share in shares_for(estimate)
            if share.first < shards
        ]
        kept = self._lake.write_plan(tenant, job_id, shares)
        census = self._census(tenant, configuration, counted)
        return Scope(policy, self._clock_ms(), len(kept), shards, measured, census)

    def _census(self, tenant: Tenant, configuration: Configuration, shards: int) -> Census:
        walk = Walk(self._index, tenant, self._executor)
        found = walk.identities(Share(0, shards - 1), configuration, GraphType.PRIVATE, 0, None)
        names = [name for shard in range(shards) for name in self._index.names(tenant, (), shard, graphs=True)]
        graphs = sum(self._executor.map(lambda name: self._index.count(tenant, name), names))
        return Census(shards, sum(1 for _ in found), graphs)
