"""ULIDs: ids of 26 characters that sort by the time they were made, as batch ids are (contract: data-and-pql §4.2)."""

from __future__ import annotations

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS = 80
LENGTH = 26


def ulid(now_ms: int, randomness: int) -> str:
    """Write an id from milliseconds since 1970 and 80 random bits."""
    number = now_ms << _RANDOM_BITS | randomness
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(LENGTH)))
