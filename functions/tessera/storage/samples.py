"""Where the state of a sandbox's samples is kept, how far workers are, and which job the reports of a day are from.

| partition | sort | holds |
|---|---|---|
| ``<tenant>#sample`` | ``state`` | the last job begun, and the last that succeeded |
| ``<tenant>#sample-day`` | ``2026-03-04`` | the status that the last job of a UTC day had, and its id; with ``ttl`` |
| ``<tenant>#sample-share#<job>`` | share | how far the worker of a share is; with ``ttl`` |
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from tessera.domain.sample.job import Checkpoint, SampleState
from tessera.domain.tenant import Tenant
from tessera.storage.registry import Registry

REPORTS_KEPT_DAYS = 400
_DAY_S = 24 * 3600
# As long as the lake keeps what jobs leave in it.
_SHARES_KEPT_S = 30 * _DAY_S
_STATE = "state"


class SampleStore:
    """Reads and changes what is known of samples."""

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.time) -> None:
        self._registry = registry
        self._clock = clock

    def state(self, tenant: Tenant) -> SampleState:
        """Read what is known of a sandbox's samples."""
        document = self._registry.get(_samples(tenant), _STATE)
        return SampleState() if document is None else SampleState.from_document(document)

    def change(self, tenant: Tenant, mutate: Callable[[SampleState], SampleState]) -> SampleState:
        """Change it atomically and return it; ``mutate`` may run several times. Raises LostRaceError."""
        after = SampleState()

        def changed(found: Any) -> list[dict[str, Any] | None]:
            nonlocal after
            (document,) = found
            before = SampleState() if document is None else SampleState.from_document(document)
            after = mutate(before)
            return [None if after == before else after.to_document()]

        self._registry.change_all([(_samples(tenant), _STATE)], changed)
        return after

    def put_day(self, tenant: Tenant, day: str, document: Mapping[str, Any]) -> None:
        """Note what the last job of a day found."""
        expires_s = int(self._clock()) + REPORTS_KEPT_DAYS * _DAY_S
        self._registry.write([self._registry.putting(_days(tenant), day, document, expires_s=expires_s)])

    def day(self, tenant: Tenant, day: str) -> Mapping[str, Any] | None:
        """Read what the last job of a day found, ``None`` if there was none."""
        return self._registry.get(_days(tenant), day)

    def checkpoint(self, tenant: Tenant, job_id: str, share: str) -> Checkpoint:
        """Read how far the worker of a share is; one that has not begun is at the beginning."""
        document = self._registry.get(_shares(tenant, job_id), share)
        return Checkpoint() if document is None else Checkpoint.from_document(document)

    def checkpoints(self, tenant: Tenant, job_id: str) -> dict[str, Checkpoint]:
        """Read how far the workers of a job are that have begun."""
        return {
            share: Checkpoint.from_document(document)
            for share, document in self._registry.each(_shares(tenant, job_id))
        }

    def advance(self, tenant: Tenant, job_id: str, share: str, before: Checkpoint, after: Checkpoint) -> None:
        """Note how far a worker is. Raises LostRaceError when another worker of the same share was faster."""
        self._registry.advance(
            _shares(tenant, job_id),
            share,
            None if before == Checkpoint() else before.to_document(),
            after.to_document(),
            expires_s=int(self._clock()) + _SHARES_KEPT_S,
        )


def _samples(tenant: Tenant) -> str:
    return f"{tenant.key}#sample"


def _days(tenant: Tenant) -> str:
    return f"{tenant.key}#sample-day"


def _shares(tenant: Tenant, job_id: str) -> str:
    return f"{tenant.key}#sample-share#{job_id}"
