"""Who reads what: the shares of an export, and how far the worker of one is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any, Self

from tessera.domain.identity import INDEX_SHARDS, Xid

# The first characters of XIDs, in the order in which they sort: all are equally frequent, for XIDs are hashes.
_FIRST = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
PERSONS_PER_SHARE = 10_000


@dataclass(frozen=True, slots=True)
class Share:
    """One worker's part: identities in some shards of the index, those beginning with ``after`` up to ``upto``."""

    first: int
    last: int
    after: str = ""
    upto: str = ""

    @property
    def name(self) -> str:
        """Name of the share, unique within a job."""
        return f"{self.first:03d}-{self.last:03d}{'-' if self.upto else ''}{self.upto}"


def shares_for(identities: int) -> Iterator[Share]:
    """Divide the index into shares of about equal size for about so many identities."""
    wanted = max(1, identities // PERSONS_PER_SHARE)
    if wanted < INDEX_SHARDS:
        bounds = [INDEX_SHARDS * number // wanted for number in range(wanted + 1)]
        yield from (Share(start, end - 1) for start, end in pairwise(bounds))
        return
    each = min(len(_FIRST), 1 << (wanted // INDEX_SHARDS).bit_length())
    length = len(_FIRST) // each
    for shard in range(INDEX_SHARDS):
        for start in range(0, len(_FIRST), length):
            yield Share(shard, shard, _FIRST[start], _FIRST[start + length - 1])


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that a worker gathered for a batch, by number; ``longest`` is the longest of their lines in bytes."""

    name: str
    batch: int
    rows: int
    bytes: int
    longest: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What was exported and what was left out.

    ``namespaces`` counts the exported profiles that have an identity in each. ``over_limit`` are persons of more
    identities than a look-up reads, ``collapsed`` identities of graphs that are too large to be kept.
    """

    profiles: int = 0
    events: int = 0
    over_limit: int = 0
    collapsed: int = 0
    namespaces: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def total(cls, all_of_them: Iterable[Counts]) -> Self:
        """Add counts up."""
        profiles = events = over_limit = collapsed = 0
        namespaces: Counter[str] = Counter()
        for one in all_of_them:
            profiles += one.profiles
            events += one.events
            over_limit += one.over_limit
            collapsed += one.collapsed
            namespaces.update(one.namespaces)
        return cls(profiles, events, over_limit, collapsed, dict(sorted(namespaces.items())))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a worker is: in which shard, behind which identity, and what it has gathered."""

    shard: int = 0
    after: Xid | None = None
    done: bool = False
    parts: tuple[Part, ...] = ()
    counts: Counts = field(default_factory=Counts)

    def to_document(self) -> dict[str, Any]:
        """Write it as the JSON document that is stored."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read it from its stored document."""
        return cls(
            document["shard"],
            document["after"],
            document["done"],
            tuple(Part(**part) for part in document["parts"]),
            Counts(**document["counts"]),
        )

    def behind(self, shard: int, after: Xid, parts: Iterable[Part], counts: Counts) -> Self:
        """Return how far it is with some more parts."""
        return replace(self._with(parts, counts), shard=shard, after=after)

    def finished(self, parts: Iterable[Part], counts: Counts) -> Self:
        """Return how far it is with the last parts."""
        return replace(self._with(parts, counts), done=True)

    def _with(self, parts: Iterable[Part], counts: Counts) -> Self:
        return replace(self, parts=(*self.parts, *parts), counts=Counts.total((self.counts, counts)))
