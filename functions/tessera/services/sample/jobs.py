"""Asking for samples, and reading what they found (contract: profile-api §4)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from tessera.domain.errors import NotFoundError
from tessera.domain.sample.job import Cause, SampleJob
from tessera.domain.sample.reports import moment
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import RANDOM_BITS, ulid
from tessera.services.sample.checks import input_of
from tessera.services.sample.ports import Lake, Machine, States


class Samples:
    """The samples of sandboxes; ``clock_ms`` gives milliseconds since 1970."""

    def __init__(
        self,
        states: States,
        lake: Lake,
        machine: Machine,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._states = states
        self._lake = lake
        self._machine = machine
        self._clock_ms = clock_ms

    def ask(self, tenant: Tenant) -> SampleJob:
        """Ask for a sample now; while one is being taken, that is the answer."""
        now = self._clock_ms()
        wanted = SampleJob(ulid(now, secrets.randbits(RANDOM_BITS)), Cause.ASKED, now)
        job = self._states.change(tenant, lambda known: known.begun(wanted, now)).job or wanted
        # Also one that was noted before: whoever noted it may not have come to start it.
        self._machine.start(job.id, input_of(tenant, job.id, job.cause))
        return job

    def status(self, tenant: Tenant) -> dict[str, Any]:
        """Read what the last sample found, and whether one is being taken. Raises NotFoundError."""
        state, now = self._states.state(tenant), self._clock_ms()
        found = None if state.last is None else self._states.day(tenant, state.last.day)
        if found is None or state.job is None:
            raise NotFoundError("No sample was taken yet: ask for one with POST /data/core/ups/previewsamplestatus")
        running = {"status": state.running(now) is not None, "submissionTimestamp": moment(state.job.submitted_ms)}
        return {**found["status"], "sampleJobRunning": running}

    def report(self, tenant: Tenant, name: str, day: str | None) -> dict[str, Any]:
        """Read a report of the last job of a UTC day, ``2026-03-04``, or of the last of all. Raises NotFoundError."""
        if day is None:
            last = self._states.state(tenant).last
            day = None if last is None else last.day
        found = None if day is None else self._states.day(tenant, day)
        reports = None if found is None else self._lake.reports(tenant, found["job"])
        if reports is None:
            when = "yet" if day is None else f"of {day}"
            raise NotFoundError(f"There is no report {when}")
        report: dict[str, Any] = reports[name]
        return report
