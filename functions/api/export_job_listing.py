"""The list of export jobs, page by page (contract: data-and-pql §3.5).

A page begins behind the last job of the page before: its time of creation and its id are the cursor. Jobs sort by their
ids, so pages stay right when jobs come and end between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Self
from urllib.parse import urlencode

from tessera.domain.errors import InvalidRequestError
from tessera.domain.export.job import ExportJob, ExportStatus
from tessera.gateway import Query

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000

_CURSOR = re.compile(r"\d{1,14}_(\d{1,16})\Z", re.ASCII)
_NUMBER = re.compile(r"\d{1,9}\Z", re.ASCII)
_SORT = re.compile(r"(createdTime|creationTime|updateTime)(?::(asc|desc))?\Z")


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the list. ``offset`` is the cursor of its last job; ``href`` leads on, blank on the last page."""

    jobs: list[ExportJob]
    offset: str
    href: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What a caller wants to see of the jobs."""

    status: ExportStatus | None
    after: int | None
    passed_over: int
    limit: int
    sort_field: str
    direction: str

    @property
    def newest_first(self) -> bool:
        """Whether the list begins with the newest job."""
        return self.direction == "desc"

    @classmethod
    def read(cls, query: Query) -> Self:
        """Read the query parameters.

        Raises InvalidRequestError.
        """
        offset = (query.get("offset") or query.get("start") or "").strip()
        cursor = _CURSOR.match(offset)
        if offset and cursor is None and not _NUMBER.match(offset):
            raise InvalidRequestError("offset must be the pageOffset of the page before, or how many jobs to pass over")
        sort = _SORT.match((query.get("sort") or "createdTime").strip())
        if sort is None:
            raise InvalidRequestError("sort must be createdTime or updateTime, with :asc or :desc behind it")
        return cls(
            status=_status((query.get("status") or "").strip()),
            after=int(cursor[1]) if cursor else None,
            passed_over=int(offset) if offset and not cursor else 0,
            limit=query.integer("limit", DEFAULT_LIMIT, minimum=1, maximum=MAX_LIMIT, clamp=True),
            sort_field=sort[1],
            direction=sort[2] or "desc",
        )

    def page(self, jobs: Iterator[ExportJob]) -> Page:
        """Pick the page out of all jobs in order of creation; by time of update they are sorted within it only."""
        some = list(islice(jobs, self.passed_over, self.passed_over + self.limit + 1))
        shown = some[: self.limit]
        offset = f"{shown[-1].created_ms}_{shown[-1].id}" if shown else ""
        if self.sort_field == "updateTime":
            shown.sort(key=lambda job: job.updated_ms, reverse=self.newest_first)
        return Page(shown, offset, self._next(offset) if len(some) > self.limit else "")

    def _next(self, offset: str) -> str:
        asked = {"limit": self.limit, "offset": offset}
        if self.status is not None:
            asked["status"] = self.status.value
        if (self.sort_field, self.direction) != ("createdTime", "desc"):
            asked["sort"] = f"{self.sort_field}:{self.direction}"
        return "/export/jobs/?" + urlencode(asked)


def _status(text: str) -> ExportStatus | None:
    if not text:
        return None
    if text.upper() not in set(ExportStatus):
        raise InvalidRequestError(f"status must be one of {', '.join(ExportStatus)}")
    return ExportStatus(text.upper())
