"""How a deletion is divided among workers, and what they note of how far they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, Protocol, Self

from tessera.domain.identity import Xid
from tessera.domain.tenant import Tenant


class Position(NamedTuple):
    """Where in its share a worker is.

    Of a dataset: in which of the share's shards, and behind which identity. Of a batch: behind how many rows.
    """

    number: int = 0
    after: str = ""


START = Position()
# The step of the machine in which is deleted.
SWEEP = "sweep"


@dataclass(frozen=True, slots=True)
class Share:
    """One worker's part: shards of the dataset's partition of the index, or a chunk of the batch's rows."""

    name: str
    shards: tuple[int, ...] = ()
    chunk: str = ""

    def to_document(self) -> dict[str, Any]:
        """Write the share as an item of the manifest."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a share from an item of the manifest."""
        return cls(document["name"], tuple(document["shards"]), document["chunk"])


@dataclass(frozen=True, slots=True)
class Page:
    """What a worker is about to delete: noted once, before anything of it is deleted.

    ``identities`` are whom it is about, where that is not known from the rows of a batch; ``next`` is where the page
    behind it begins, ``None`` if there is none; ``counts`` tells what there is to delete. ``unfinished`` are those of
    the identities that have more, which the page behind it is about, each with the key of the last event of this page.
    """

    identities: Sequence[str]
    next: Position | None
    counts: Mapping[str, int]
    unfinished: Mapping[Xid, str] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """Write the page as the JSON document that is stored."""
        return {**asdict(self), "next": _listed(self.next)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a page from its stored document."""
        behind = document["next"]
        position = None if behind is None else Position(*behind)
        return cls(document["identities"], position, document["counts"], document.get("unfinished", {}))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a worker is: how many pages it has dealt with, where the next one begins, and what it met.

    The next page is about the ``unfinished`` identities of the last one, if there are any.

    Of a last look: ``items`` is how many items it looked at, ``found`` how many of them were still reached.
    """

    pages: int = 0
    position: Position | None = START
    identities: int = 0
    items: int = 0
    found: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    unfinished: Sequence[Xid] = ()

    @property
    def done(self) -> bool:
        """Whether it is behind everything."""
        return self.position is None and not self.unfinished

    def behind(self, page: Page) -> Self:
        """Return how far it is when a page is dealt with."""
        return replace(
            self,
            pages=self.pages + 1,
            position=page.next,
            identities=self.identities + len(page.identities) - len(page.unfinished),
            counts=added([self.counts, page.counts]),
            unfinished=tuple(page.unfinished),
        )

    def to_document(self) -> dict[str, Any]:
        """Write the checkpoint as the JSON document that is stored."""
        return {**asdict(self), "position": _listed(self.position)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> Self:
        """Read a checkpoint; ``None`` is the beginning."""
        if document is None:
            return cls()
        position = document["position"]
        known = {name: document[name] for name in ("pages", "identities", "items", "found", "counts")}
        known["unfinished"] = document.get("unfinished", ())
        return cls(position=None if position is None else Position(*position), **known)


class Notes(Protocol):
    """What the steps leave for each other: ``storage.purge_lake.PurgeLake``."""

    def write_shares(self, tenant: Tenant, job_id: str, shares: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
        """Write the array of shares unless there is one; return the one that there is."""

    def shares(self, tenant: Tenant, job_id: str) -> Sequence[Any]:
        """Read it, empty when there is none."""

    def fix_page(self, tenant: Tenant, job_id: str, share: str, number: int, page: Mapping[str, Any]) -> Any:
        """Write a page unless there is one; return the one that there is."""

    def page(self, tenant: Tenant, job_id: str, share: str, number: int) -> Any | None:
        """Read a page, ``None`` when there is none."""

    def write_checkpoint(
        self, tenant: Tenant, job_id: str, step: str, share: str, checkpoint: Mapping[str, Any]
    ) -> None:
        """Write how far a worker is in a step."""

    def checkpoints(
        self, tenant: Tenant, job_id: str, step: str, shares: Sequence[str]
    ) -> Iterator[Mapping[str, Any] | None]:
        """Read how far some workers are, ``None`` for one that has not begun."""


def _listed(position: Position | None) -> list[Any] | None:
    return None if position is None else list(position)


def added(several: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add up counts by kind."""
    total: Counter[str] = Counter()
    for counts in several:
        total.update(counts)
    return dict(total)


def checkpoints(notes: Notes, tenant: Tenant, job_id: str, step: str, shares: Sequence[Share]) -> list[Checkpoint]:
    """Read how far the workers of a step are."""
    found = notes.checkpoints(tenant, job_id, step, [share.name for share in shares])
    return [Checkpoint.from_document(document) for document in found]


def total(several: Sequence[Checkpoint]) -> dict[str, int]:
    """Add up what workers met."""
    return added(one.counts for one in several)
