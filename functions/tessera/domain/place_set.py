"""Which rows a batch has that gathers streamed ones: each has a place of its own (docs/decisions/0165).

A span would be short, but rows of other batches lie in it too. So each place is there, as a hash: sixteen bytes, sorted
and in one piece, for a million places as an object each would take a hundred megabytes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

from tessera.domain.place import Place

HASH_BYTES = 16


@dataclass(frozen=True, slots=True)
class PlaceSet:
    """Places from ``low`` up to ``high``: those whose hashes are in ``hashes``."""

    low: Place
    high: Place
    hashes: bytes

    @classmethod
    def of(cls, places: Collection[Place]) -> Self:
        """Make the set of some places."""
        low, high = min(places, default=Place("0")), max(places, default=Place("0"))
        return cls(low, high, b"".join(sorted(map(_hash, places))))

    def __len__(self) -> int:
        """Return how many places there are."""
        return len(self.hashes) // HASH_BYTES

    def __contains__(self, place: Place) -> bool:
        """Tell whether a place is one of them."""
        if not self.low <= place <= self.high:
            return False
        wanted = _hash(place)
        found = bisect_left(range(len(self)), wanted, key=self._at)
        return found < len(self) and self._at(found) == wanted

    def _at(self, number: int) -> bytes:
        return self.hashes[number * HASH_BYTES : (number + 1) * HASH_BYTES]


def _hash(place: Place) -> bytes:
    return blake2b(place.encode(), digest_size=HASH_BYTES).digest()
