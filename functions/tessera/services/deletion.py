"""Deleting a person: gone for every reader once accepted, reclaimed by a sweep later (design: Deletes are cutoffs).

    time  | DELETE                               | a row accepted meanwhile
    ------|--------------------------------------|------------------------------------------------
    t     | reads the heads, chooses t + grace   |
    t + 1 |                                      | accepted: its place is below the cutoff
    t + 2 |                                      | its writer reads heads without the cutoff
    t + 3 | writes the cutoff: before t + grace  |
    t + 4 |                                      | written below the cutoff: gone, as if it had come before
    grace | answers only now                     |

Whatever has a place above the cutoff was accepted after the heads had it, so its writer knows of it: that is what the
grace is for. Without it, such a writer would take what is deleted for alive and leave its own row where nobody looks.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from tessera.domain.deletion import PERSON, JobStatus, PersonDeletion
from tessera.domain.errors import EntityNotFoundError, TooManyRelatedIdentitiesError
from tessera.domain.graph import MAX_GRAPH_READ, MAX_GRAPH_WRITTEN, Head
from tessera.domain.identity import Xid
from tessera.domain.merge_policy import GraphType
from tessera.domain.place import GRACE_MS, Place, accepted_ms, cutoff_place, survives
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import ulid
from tessera.storage.registry import LostRaceError

# An execution is stopped after a day; a job not settled an hour later has nobody working on it.
ABANDONED_MS = 25 * 3600 * 1000
_LONGEST_ACCEPTING_MS = 60_000
_LONGEST_PAUSE_S = 0.5


class PersonStore(Protocol):
    """What deleting needs of the profile table."""

    def heads(self, tenant: Tenant, xids: Iterable[Xid]) -> dict[Xid, Head]:
        """Read the heads that exist."""

    def replace_heads(
        self, tenant: Tenant, changed: Iterable[Head], unchanged: Iterable[Head], also: Sequence[Any] = ()
    ) -> None:
        """Write heads, and what else is given, in one transaction or raise LostRaceError."""


class Jobs(Protocol):
    """Where deletions are kept."""

    def adding(self, tenant: Tenant, job: PersonDeletion) -> Any:
        """Describe the writing of one, to be part of a transaction."""

    def get(self, tenant: Tenant, job_id: str) -> PersonDeletion:
        """Read one or raise NotFoundError."""

    def since(self, tenant: Tenant, at_ms: int) -> Iterator[PersonDeletion]:
        """Walk those asked for at a time or later, oldest first."""

    def change(self, tenant: Tenant, job_id: str, mutate: Callable[[PersonDeletion], PersonDeletion]) -> PersonDeletion:
        """Change one atomically or raise NotFoundError."""


class Machine(Protocol):
    """What sweeps."""

    def start(self, name: str, document: Mapping[str, Any]) -> None:
        """Start an execution unless there was one of that name."""


class Journal(Protocol):
    """Where accepted deletes are noted for a restore: ``storage.journal.Journal``."""

    def note(self, tenant: Tenant, job_id: str, entry: Mapping[str, Any]) -> None:
        """Note one; safe to repeat."""


class Deletions:
    """Accepts deletions of persons. ``clock_ms`` is milliseconds since 1970, ``pause`` waits for seconds.

    What is accepted is noted in ``journal``, where there is one, before it is answered.
    """

    def __init__(
        self,
        store: PersonStore,
        jobs: Jobs,
        machine: Machine,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        pause: Callable[[float], None] = time.sleep,
        journal: Journal | None = None,
    ) -> None:
        self._journal = journal
        self._store = store
        self._jobs = jobs
        self._machine = machine
        self._clock_ms = clock_ms
        self._pause = pause

    def accept(self, tenant: Tenant, xid: Xid, graph: GraphType, caller: str) -> PersonDeletion:
        """Delete what is stored now of an identity, or of everyone in its graph (contract: profile-api §2.8).

        When it returns, no read sees any of it. Raises EntityNotFoundError for an identity never seen, and
        TooManyRelatedIdentitiesError for a graph that cannot be read, for then its members are not all known.
        """
        now_ms = self._clock_ms()
        job_id = ulid(now_ms, secrets.randbits(80))
        pause = 0.01
        while True:
            heads = self._reach(tenant, xid, graph)
            until_ms = self._clock_ms() + GRACE_MS
            job = PersonDeletion(
                job_id,
                tuple(sorted(heads)),
                cutoff_place(until_ms),
                caller,
                now_ms,
                now_ms,
                whole=graph is not GraphType.NONE,
            )
            try:
                self._cut_off(tenant, heads, job)
            except LostRaceError:
                self._pause(random.uniform(0, pause))  # noqa: S311 - jitter
                pause = min(_LONGEST_PAUSE_S, pause * 2)
                continue
            if (left_ms := until_ms - self._clock_ms()) >= 0:
                break
        self._pause((left_ms + 1) / 1000)
        self._start(tenant, job)
        return job

    def resume(self, tenant: Tenant, xid: Xid) -> bool:
        """Tell whether a deletion that reached an identity is still to be done, and see to it that it is.

        A caller whose first call was cut off asks again: what it asked for may be accepted and not started.
        """
        head = self._store.heads(tenant, [xid]).get(xid)
        if head is None or head.cutoff is None:
            return False
        job = self._job_of(tenant, xid, head.cutoff)
        if job is None or job.status is JobStatus.SUCCESS:
            return False
        now_ms = self._clock_ms()
        if job.status is JobStatus.FAILED or now_ms - job.updated_ms > ABANDONED_MS:
            attempt = job.attempt
            job = self._jobs.change(tenant, job.id, lambda known: known.tried_again(attempt, now_ms))
        self._start(tenant, job)
        return True

    def _reach(self, tenant: Tenant, xid: Xid, graph: GraphType) -> dict[Xid, Head]:
        heads = self._store.heads(tenant, [xid])
        if xid not in heads:
            raise EntityNotFoundError
        if graph is GraphType.NONE:
            return heads
        head = heads[xid]
        count = MAX_GRAPH_WRITTEN + 1 if head.collapsed else len(head.graph)
        if count > MAX_GRAPH_READ:
            raise TooManyRelatedIdentitiesError(count, MAX_GRAPH_READ)
        return {**heads, **self._store.heads(tenant, head.members)} if head.members else heads

    def _cut_off(self, tenant: Tenant, heads: Mapping[Xid, Head], job: PersonDeletion) -> None:
        """Write cutoffs and job, if no link came or went since the heads were read.

        One transaction: a cutoff without a job would never be swept, a job without cutoffs never have been accepted.
        """
        reached = {xid for xid, head in heads.items() if survives(job.cutoff, head.cutoff)}
        changed = [
            heads[xid].erasing(job.cutoff) if job.whole else replace(heads[xid], cutoff=job.cutoff)
            for xid in sorted(reached)
        ]
        unchanged = [head for xid, head in heads.items() if xid not in reached]
        self._store.replace_heads(tenant, changed, unchanged, [self._jobs.adding(tenant, job)])

    def _job_of(self, tenant: Tenant, xid: Xid, cutoff: Place) -> PersonDeletion | None:
        """Find the job that gave an identity its cutoff: it was asked for shortly before."""
        until_ms = accepted_ms(cutoff)
        for job in self._jobs.since(tenant, until_ms - _LONGEST_ACCEPTING_MS):
            if job.at_ms > until_ms:
                return None
            if job.cutoff == cutoff and xid in job.xids:
                return job
        return None

    def _start(self, tenant: Tenant, job: PersonDeletion) -> None:
        if self._journal is not None:
            entry = {
                "kind": PERSON,
                "xids": list(job.xids),
                "cutoff": job.cutoff,
                "whole": job.whole,
                "at": job.at_ms,
            }
            self._journal.note(tenant, job.id, entry)
        name = job.id if job.attempt == 1 else f"{job.id}-{job.attempt}"
        self._machine.start(name, {"org_id": tenant.org_id, "sandbox": tenant.sandbox, "job_id": job.id})
