"""Walking everybody of a share by the index, in order and each once."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor

from tessera.domain.configuration import Configuration, DatasetKind
from tessera.domain.export.share import Share
from tessera.domain.identity import INDEX_SHARDS, Xid
from tessera.domain.merge_policy import GraphType
from tessera.domain.tenant import Tenant
from tessera.services.export.ports import Index
from tessera.storage.person_index import IndexPage

_PAGE = 1000
_SHARDS_AT_ONCE = 16


class Walk:
    """Finds the identities that may stand for a person; whether one does is for who reads its head."""

    def __init__(self, index: Index, tenant: Tenant, executor: Executor) -> None:
        self._index = index
        self._tenant = tenant
        self._executor = executor

    def identities(
        self, share: Share, configuration: Configuration, graph: GraphType, shard: int, after: Xid | None
    ) -> Iterator[tuple[int, Xid]]:
        """Walk a share from a shard on, behind an identity in it; each is given with its shard."""
        datasets = datasets_of_rows(configuration)
        shards = range(max(share.first, shard), share.last + 1)
        for start in range(0, len(shards), _SHARDS_AT_ONCE):
            some = shards[start : start + _SHARDS_AT_ONCE]
            names = [self._index.names(self._tenant, datasets, one, graphs=graph is GraphType.PRIVATE) for one in some]
            begin = [after if after is not None and one == shard else share.after for one in some]
            asked = [(name, begin[number]) for number, several in enumerate(names) for name in several]
            pages = self._executor.map(lambda one: self._page(one[0], one[1], share.upto), asked)
            for one, several in zip(some, names, strict=True):
                found = heapq.merge(*[self._all(name, next(pages), share.upto) for name in several])
                last = None
                for xid in found:
                    if xid != last:
                        yield one, xid
                    last = xid

    def _all(self, name: str, page: IndexPage, upto: str) -> Iterator[Xid]:
        while True:
            yield from page.xids
            if not page.more:
                return
            page = self._page(name, page.xids[-1], upto)

    def _page(self, name: str, after: str, upto: str) -> IndexPage:
        return self._index.page(self._tenant, name, after, upto, _PAGE)


def estimated_identities(
    index: Index, executor: Executor, tenant: Tenant, configuration: Configuration, graph: GraphType
) -> int:
    """Estimate how many identities there are from one shard of the index: they are hashes, so all are alike."""
    names = index.names(tenant, datasets_of_rows(configuration), 0, graphs=graph is GraphType.PRIVATE)
    return sum(executor.map(lambda name: index.count(tenant, name), names)) * INDEX_SHARDS


def datasets_of_rows(configuration: Configuration) -> Sequence[str]:
    """Return the datasets in which an identity can have something."""
    return [one.id for one in configuration.datasets.values() if one.kind is not DatasetKind.UNION]
