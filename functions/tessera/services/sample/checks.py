"""Seeing to it that somebody looks in time whether a sample is due (contract: profile-api §4.1).

An execution that waits costs nothing, and a name is given to one execution only. So who changes something starts the
execution of the current span of time, whoever else has started it already; at the end of the span it looks. Where
nothing changes, nothing waits but the one for the week. There is no schedule, no queue and no counter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tessera.domain.sample.job import WEEK_MS, Cause
from tessera.domain.tenant import Tenant
from tessera.services.sample.ports import Machine

# Of two functions' clocks, and until the index shows what was written last.
_GRACE_MS = 30_000
# After a batch within a quarter of an hour; streams once an hour.
SPANS_MS = {Cause.BATCH: 840_000, Cause.STREAM: 3_600_000}


class SampleChecks:
    """Starts the executions that look; ``clock_ms`` gives milliseconds since 1970."""

    def __init__(self, machine: Machine, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._machine = machine
        self._clock_ms = clock_ms

    def after_batch(self, tenant: Tenant) -> None:
        """See to it that somebody looks after a batch has landed."""
        self._at_the_end_of_the_span(tenant, Cause.BATCH)

    def while_streaming(self, tenant: Tenant) -> None:
        """See to it that somebody looks while rows are streamed."""
        self._at_the_end_of_the_span(tenant, Cause.STREAM)

    def in_a_week(self, tenant: Tenant, since_ms: int) -> None:
        """See to it that somebody looks a week after a job was over."""
        wait_ms = max(0, since_ms + WEEK_MS - self._clock_ms())
        self._start(tenant, Cause.WEEK, since_ms, wait_ms)

    def _at_the_end_of_the_span(self, tenant: Tenant, cause: Cause) -> None:
        now, length = self._clock_ms(), SPANS_MS[cause]
        span = now // length
        self._start(tenant, cause, span, (span + 1) * length - now + _GRACE_MS)

    def _start(self, tenant: Tenant, cause: Cause, number: int, wait_ms: int) -> None:
        job_id = f"{tenant.key}-{cause.value}-{number}"
        self._machine.start(job_id, input_of(tenant, job_id, cause, wait_s=wait_ms // 1000))


def input_of(tenant: Tenant, job_id: str, cause: Cause, wait_s: int = 0) -> dict[str, Any]:
    """Return what an execution is started with: it waits first, then looks; asked for, it neither waits nor looks."""
    return {
        "org_id": tenant.org_id,
        "sandbox": tenant.sandbox,
        "job_id": job_id,
        "cause": cause.value,
        "wait_s": wait_s,
    }
