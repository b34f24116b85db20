"""The list of system jobs, page by page (contract: profile-api §5.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tessera.domain.errors import InvalidRequestError
from tessera.gateway import Query

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
_MAX_PAGE = 1_000_000
SORTABLE = ("id", "requestId", "jobType", "requestType", "dataSetId", "batchId", "status", "createEpoch", "updateEpoch")

_SORT = re.compile(r"([A-Za-z]+)(?::(asc|desc))?\Z")


@dataclass(frozen=True, slots=True)
class Listing:
    """What a caller wants to see: a page by its number, from 0, of so many jobs; sorted within by a key, if any."""

    page: int
    limit: int
    sort: str
    descending: bool

    @classmethod
    def read(cls, query: Query) -> Self:
        """Read the query parameters; ``page`` wins over ``start``, its other name.

        Raises InvalidRequestError.
        """
        name = "page" if (query.get("page") or "").strip() else "start"
        sort = (query.get("sort") or "").strip()
        match = _SORT.match(sort)
        if sort and (match is None or match[1] not in SORTABLE):
            raise InvalidRequestError(f"sort must be one of {', '.join(SORTABLE)}, with :asc or :desc behind it")
        return cls(
            page=query.integer(name, 0, maximum=_MAX_PAGE),
            limit=query.integer("limit", DEFAULT_LIMIT, minimum=1, maximum=MAX_LIMIT, clamp=True),
            sort="" if match is None else match[1],
            descending=match is not None and match[2] == "desc",
        )

    @property
    def start(self) -> int:
        """How many jobs are before the page."""
        return self.page * self.limit

    def answer(self, jobs: Sequence[dict[str, Any]], total: int) -> dict[str, Any]:
        """Write the page; ``next`` is the number of the one behind it, empty when there is none.

        It is never null: a client of this API would go on asking for ever (contract: §5.1).
        """
        has_more = self.start + len(jobs) < total and len(jobs) > 0
        return {
            "_page": {
                "count": len(jobs),
                "pageSize": self.limit,
                "totalCount": total,
                "start": str(self.page),
                "next": str(self.page + 1) if has_more else "",
            },
            "children": sorted(jobs, key=self._key(), reverse=self.descending) if self.sort else list(jobs),
        }

    def _key(self) -> Callable[[dict[str, Any]], tuple[bool, Any]]:
        # A job that has no such key comes first.
        return lambda job: (self.sort in job, job.get(self.sort, ""))
