"""Dividing the event streams of a dataset among workers, and walking a worker's part by the index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol, Self

from tessera.domain.identity import INDEX_SHARDS, Xid
from tessera.domain.tenant import Tenant
from tessera.storage.stream_index import XidPage

_PAGE = 200
_IDENTITIES_PER_SHARE = 10_000


class Index(Protocol):
    """Where the identities are found that have a stream: ``storage.stream_index.StreamIndex``."""

    def page(self, tenant: Tenant, dataset_id: str, shard: int, after: Xid | None, limit: int) -> XidPage:
        """List some in order."""

    def count(self, tenant: Tenant, dataset_id: str, shard: int) -> int:
        """Count them."""


class Notes(Protocol):
    """What the steps of a job leave for each other: ``storage.lake.Lake``."""

    def write_shares(self, tenant: Tenant, job_id: str, shares: Sequence[Mapping[str, Any]]) -> None:
        """Write the array of shares."""

    def shares(self, tenant: Tenant, job_id: str) -> list[Mapping[str, Any]]:
        """Read it."""

    def write_checkpoint(self, tenant: Tenant, job_id: str, share: str, checkpoint: Mapping[str, Any]) -> None:
        """Write how far a worker is."""

    def checkpoints(self, tenant: Tenant, job_id: str, shares: Sequence[str]) -> Iterator[Mapping[str, Any] | None]:
        """Read how far some workers are."""


@dataclass(frozen=True, slots=True)
class Share:
    """One worker's part: the streams of a dataset in some of the index's shards, in order.

    ``identities`` is how many there were when it was planned. The name says between which shards it is, so that what a
    worker noted of it stays true however another plan divides the index.
    """

    dataset_id: str
    shards: tuple[int, ...]
    identities: int = 0

    @property
    def name(self) -> str:
        """Name of the share, unique within a job."""
        return f"{self.dataset_id}-{self.shards[0]:03d}-{self.shards[-1]:03d}"

    def to_document(self) -> dict[str, Any]:
        """Write the share as an item of the manifest."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a share from an item of the manifest."""
        return cls(**{**document, "shards": tuple(document["shards"])})


class Reached(NamedTuple):
    """How far a walk is: in which shard, and behind which identity."""

    shard: int = 0
    after: Xid | None = None

    @property
    def done(self) -> bool:
        """Whether it is behind all shards."""
        return self.shard >= INDEX_SHARDS


BEGINNING, END = Reached(), Reached(INDEX_SHARDS)


def shares_of(index: Index, executor: Executor, tenant: Tenant, dataset_id: str) -> Iterator[Share]:
    """Divide the shards of a dataset that have streams into shares of about equal size."""
    counts = list(executor.map(lambda shard: index.count(tenant, dataset_id, shard), range(INDEX_SHARDS)))
    shards: list[int] = []
    identities = 0
    for shard in (shard for shard, count in enumerate(counts) if count):
        shards.append(shard)
        identities += counts[shard]
        if identities >= _IDENTITIES_PER_SHARE:
            yield Share(dataset_id, tuple(shards), identities)
            shards, identities = [], 0
    if shards:
        yield Share(dataset_id, tuple(shards), identities)


def next_page(index: Index, tenant: Tenant, share: Share, at: Reached) -> tuple[list[Xid], Reached]:
    """List the next identities, of several shards if one has few; and how far the walk is then."""
    xids: list[Xid] = []
    for shard in (shard for shard in share.shards if shard >= at.shard):
        after = at.after if shard == at.shard else None
        while True:
            if len(xids) == _PAGE:
                return xids, Reached(shard, after)
            page = index.page(tenant, share.dataset_id, shard, after, _PAGE - len(xids))
            xids += page.xids
            after = page.last
            if after is None:
                break
    return xids, END
