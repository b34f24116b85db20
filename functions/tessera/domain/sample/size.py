"""How much of a store is looked at, and whether it has changed so much that it is time to look again.

XIDs are hashes, so the persons of some of the index's shards are as good a sample as any; and the same shards, counted
again, tell how much a store has changed without that chance has a part in it (contract: profile-api §4.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from tessera.domain.identity import INDEX_SHARDS

FULL_BELOW = 1_000_000
TWENTIETH_ABOVE = 20_000_000
_TWENTIETH = 20
# Of how many persons each item is looked at; all others are counted by what they are found with.
MEASURED_PERSONS = 50_000
# How many identities make a count that says whether a store has changed by a percent or two.
CENSUS_IDENTITIES = 40_000


def sampled_shards(persons: int) -> int:
    """Return how many shards make the sample of about so many persons."""
    if persons < FULL_BELOW:
        return INDEX_SHARDS
    if persons <= TWENTIETH_ABOVE:
        return shards_with(FULL_BELOW, persons)
    return -(-INDEX_SHARDS // _TWENTIETH)


def shards_with(wanted: int, persons: int) -> int:
    """Return how many shards hold about so many of all persons, at least one."""
    if persons <= wanted:
        return INDEX_SHARDS
    return max(1, -(-INDEX_SHARDS * wanted // persons))


@dataclass(frozen=True, slots=True)
class Census:
    """What the index shows in its first ``shards`` shards: identities that have something, and graphs of several."""

    shards: int
    identities: int
    graphs: int

    def profiles(self, linked_per_graph: float) -> float:
        """Estimate how many profiles these are, ``linked_per_graph`` identities of a graph being none of their own."""
        return self.identities - self.graphs * linked_per_graph

    def linked_per_graph(self, profiles: int) -> float:
        """Return how many identities of a graph are no profile of their own, if so many profiles are in all shards."""
        if not self.graphs:
            return 0.0
        return max(0.0, self.identities - profiles * self.shards / INDEX_SHARDS) / self.graphs

    def to_document(self) -> dict[str, Any]:
        """Write it as the JSON document that is stored."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read it from its stored document."""
        return cls(**document)


def change_percent(before: Census, now: Census, linked_per_graph: float) -> float:
    """Return by how many percent profiles became more or fewer between two counts of the same shards."""
    was, is_ = before.profiles(linked_per_graph), now.profiles(linked_per_graph)
    if was <= 0:
        return 100.0 if is_ > 0 else 0.0
    return abs(is_ - was) / was * 100
