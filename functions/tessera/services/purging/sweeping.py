"""Sweeping up what a deletion reaches, and looking at it once more (design: Jobs).

A worker notes a page before it deletes anything of it: whom it is about and what there is. Cut off, it goes by that
note, for the index may not have them any more. So everything is counted once, and everybody is looked at again. Whoever
has more than is found at once is in the next page too: a page always ends in time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from tessera.domain.errors import NotFoundError
from tessera.domain.identity import Xid
from tessera.domain.purge import Purge
from tessera.domain.tenant import Tenant
from tessera.services.purging.accepting import Jobs
from tessera.services.purging.reached import Reached
from tessera.services.purging.shares import START, SWEEP, Checkpoint, Notes, Page, Position, Share

# A page that was begun at the last moment still ends within a function's ten minutes.
MAX_SECONDS = 300.0


class Rows(Protocol):
    """What a deletion reaches, page by page."""

    def identities(self, tenant: Tenant, job: Purge, share: Share, at: Position) -> tuple[list[Xid], Position | None]:
        """List the identities of the page at a position, and where the next one is."""

    def find(self, tenant: Tenant, job: Purge, xids: Sequence[Xid], until: Mapping[Xid, str] = ...) -> Reached:
        """Find what the job reaches of identities; ``until`` has keys of events up to which of some."""

    def delete(self, tenant: Tenant, job: Purge, found: Reached) -> None:
        """Delete what was found."""


class Sweeper:
    """Sweeps a share and looks at it again; ``clock`` gives seconds."""

    def __init__(
        self,
        jobs: Jobs,
        notes: Notes,
        rows_of: Callable[[Purge], Rows],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs = jobs
        self._notes = notes
        self._rows_of = rows_of
        self._clock = clock

    def sweep(self, tenant: Tenant, job_id: str, share: Share) -> bool:
        """Delete what the job reaches in a share, for some minutes; tell whether that was all, or the job is gone."""
        deadline = self._clock() + MAX_SECONDS
        at = self._checkpoint(tenant, job_id, SWEEP, share)
        while not at.done:
            job = self._wanted(tenant, job_id)
            if job is None:
                return True
            if self._clock() > deadline:
                return False
            page, found = self._page(tenant, job, share, at)
            self._rows_of(job).delete(tenant, job, found)
            at = at.behind(page)
            self._notes.write_checkpoint(tenant, job_id, SWEEP, share.name, at.to_document())
        return True

    def look_again(self, tenant: Tenant, job_id: str, share: Share, round_: int) -> bool:
        """Look at all that a share was about and at whom the index has now, for some minutes; tell whether it is done.

        What is still found is deleted; then there is another round.
        """
        deadline = self._clock() + MAX_SECONDS
        step = step_of(round_)
        swept = self._checkpoint(tenant, job_id, SWEEP, share)
        at = self._checkpoint(tenant, job_id, step, share)
        while not at.done:
            job = self._wanted(tenant, job_id)
            if job is None:
                return True
            if self._clock() > deadline:
                return False
            rows = self._rows_of(job)
            behind: Position | None = START
            if at.pages < swept.pages:
                xids = self._noted(tenant, job_id, share, at.pages)
            else:
                xids, behind = rows.identities(tenant, job, share, at.position or START)
            found = rows.find(tenant, job, xids)
            rows.delete(tenant, job, found)
            if not found.unfinished:
                at = at.behind(Page(xids, behind, found.counts))
            at = replace(at, items=at.items + found.items, found=at.found + sum(found.counts.values()))
            self._notes.write_checkpoint(tenant, job_id, step, share.name, at.to_document())
        return True

    def _page(self, tenant: Tenant, job: Purge, share: Share, at: Checkpoint) -> tuple[Page, Reached]:
        """Note the page that is to be deleted now, or read what was noted of it before."""
        rows = self._rows_of(job)
        noted = self._notes.page(tenant, job.id, share.name, at.pages)
        if noted is None:
            xids, behind = list(at.unfinished), at.position
            if not xids:
                xids, behind = rows.identities(tenant, job, share, at.position or START)
            found = rows.find(tenant, job, xids)
            page = Page(xids, behind, found.counts, found.unfinished)
            noted = self._notes.fix_page(tenant, job.id, share.name, at.pages, page.to_document())
            kept = Page.from_document(noted)
            if (kept.identities, kept.unfinished) == (page.identities, page.unfinished):
                return kept, found
        page = Page.from_document(noted)
        return page, rows.find(tenant, job, [Xid(xid) for xid in page.identities], page.unfinished)

    def _noted(self, tenant: Tenant, job_id: str, share: Share, number: int) -> list[Xid]:
        """Return whom a page was about that was dealt with, but for those whom a later page was about too."""
        noted = self._notes.page(tenant, job_id, share.name, number)
        if noted is None:
            raise RuntimeError(f"page {number} of share {share.name} is missing")
        page = Page.from_document(noted)
        return [Xid(xid) for xid in page.identities if xid not in page.unfinished]

    def _wanted(self, tenant: Tenant, job_id: str) -> Purge | None:
        """Read the job, ``None`` when it was cancelled."""
        try:
            return self._jobs.get(tenant, job_id)
        except NotFoundError:
            return None

    def _checkpoint(self, tenant: Tenant, job_id: str, step: str, share: Share) -> Checkpoint:
        (document,) = self._notes.checkpoints(tenant, job_id, step, [share.name])
        return Checkpoint.from_document(document)


def step_of(round_: int) -> str:
    """Name the step of a look, by its number from 1."""
    return f"look-{round_}"
