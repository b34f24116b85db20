"""ULIDs: ids of 26 characters that sort by the time they were made, as batch ids are (contract: data-and-pql §4.2)."""

from __future__ import annotations

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RANDOM_BITS = 80
LENGTH = 26


def ulid(now_ms: int, randomness: int) -> str:
    """Write an id from milliseconds since 1970 and 80 random bits."""
    number = now_ms << RANDOM_BITS | randomness
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(LENGTH)))


def parts_of(text: str) -> tuple[int, int]:
    """Read an id: milliseconds since 1970 and 80 random bits."""
    number = 0
    for letter in text:
        number = number << 5 | ALPHABET.index(letter)
    return number >> RANDOM_BITS, number & (1 << RANDOM_BITS) - 1
