"""The first step: who reads what."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import asdict

from tessera.domain.configuration import Configuration, DatasetKind
from tessera.domain.errors import InvalidRequestError
from tessera.domain.export.share import shares_for
from tessera.domain.tenant import Tenant
from tessera.services.export.ports import Index, Jobs, Lake
from tessera.services.export.walking import estimated_identities
from tessera.services.lease import Configurations


class Planner:
    """Plans a job, once: the plan is kept, so however often it is asked for the shares are the same."""

    def __init__(
        self,
        jobs: Jobs,
        configurations: Configurations,
        index: Index,
        lake: Lake,
        executor: Executor,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._jobs = jobs
        self._configurations = configurations
        self._index = index
        self._lake = lake
        self._executor = executor
        self._clock_ms = clock_ms

    def plan(self, tenant: Tenant, job_id: int) -> int:
        """Write the shares and return how many there are; none when the job is over. Raises NotFoundError.

        Raises InvalidRequestError when the dataset cannot take an export any more.
        """
        job = self._jobs.get(tenant, job_id)
        if job.terminal:
            return 0
        configuration = self._configurations.current(tenant)
        expect_exportable(configuration, job.wanted.dataset_id)
        estimate = estimated_identities(self._index, self._executor, tenant, configuration, job.policy.graph)
        shares = self._lake.write_plan(tenant, job_id, [asdict(share) for share in shares_for(estimate)])
        job = self._jobs.change(tenant, job_id, lambda known: known.planned(len(shares), self._clock_ms()))
        return 0 if job.terminal else len(shares)


def expect_exportable(configuration: Configuration, dataset_id: str) -> None:
    """Make sure that a dataset takes exports: that it is one of the union schema (contract: data-and-pql §3.2).

    Raises InvalidRequestError.
    """
    dataset = configuration.datasets.get(dataset_id)
    if dataset is None:
        raise InvalidRequestError(f"destination.datasetId: dataset {dataset_id[:64]} does not exist in this sandbox")
    if dataset.kind is not DatasetKind.UNION:
        raise InvalidRequestError(
            f"destination.datasetId: dataset {dataset_id} takes no exports: create one with the union schema, "
            "https://ns.adobe.com/xdm/context/profile__union"
        )
