"""Regular expressions and ``like``, both in time linear in the text, and how many steps each takes per character.

Expressions are searched for anywhere in the text, as Java's ``find`` does, on RE2. What differs from Java: no
back-references, look-around or possessive quantifiers, and ``$`` means the very end of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from tessera.pql import syntax as s
from tessera.pql.errors import PqlError

MAX_PATTERN_LENGTH = 1_000
# What one may take of memory; repetitions within each other are written out.
_MAX_BYTES = 1 << 20
# So many of the smallest are followed at once.
_FREE_SIZE = 8


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Any:
    """Compile a regular expression; raises PqlError."""
    import re2  # noqa: PLC0415 - costs only those who use it

    if len(pattern) > MAX_PATTERN_LENGTH:
        raise PqlError(f"a regular expression can have at most {MAX_PATTERN_LENGTH} characters")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_BYTES
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0] if error.args else "no valid text"
        if isinstance(reason, bytes):
            reason = reason.decode(errors="replace")
        raise PqlError(f"this regular expression is not supported: {reason}") from None


def steps(expression: Any) -> int:
    """Tell how many steps a search takes per character at worst, which is seldom."""
    size: int = expression.programsize
    return max(1, size // _FREE_SIZE)


def check_pattern(pattern: str, group: object, call: s.Call) -> None:
    """Check a pattern that is written out, and the number of a group in it; raises PqlError at its place."""
    try:
        number_of_groups = compiled(pattern).groups
    except PqlError as error:
        raise PqlError(error.problem, call.arguments[0].at) from None
    if not isinstance(group, int) or not 0 <= group <= number_of_groups:
        raise PqlError(f"the regular expression has no group {group}", call.arguments[-1].at)


class Like(NamedTuple):
    """The test for a pattern, and how many steps it takes per character at worst."""

    matches: Callable[[str], bool]
    steps: int


@lru_cache(maxsize=256)
def like(pattern: str) -> Like:
    """Make the test for a pattern of ``%``, any number of characters, and ``_``, exactly one."""
    first, *others = pattern.split("%")
    if not others:
        return Like(_exactly(first), 1)
    *middle, last = others
    starts, ends = _exactly(first), _exactly(last)
    pieces = [_finder(piece) for piece in middle if piece]
    head, tail = len(first), len(last)

    def matches(text: str) -> bool:
        end = len(text) - tail
        if end < head or not starts(text[:head]) or not ends(text[end:]):
            return False
        position = head
        for find, length in pieces:
            position = find(text, position, end)
            if position < 0:
                return False
            position += length
        return True

    return Like(matches, max((len(piece) for piece in middle if "_" in piece), default=1))


def _exactly(piece: str) -> Callable[[str], bool]:
    if "_" not in piece:
        return piece.__eq__
    whole = _piece(piece).fullmatch
    return lambda text: whole(text) is not None


def _finder(piece: str) -> tuple[Callable[[str, int, int], int], int]:
    """Make what finds the leftmost place of a piece between two positions, with the length of the piece."""
    if "_" not in piece:
        return (lambda text, start, end: text.find(piece, start, end)), len(piece)
    search = _piece(piece).search

    def find(text: str, start: int, end: int) -> int:
        match = search(text, start, end)
        return -1 if match is None else match.start()

    return find, len(piece)


def _piece(piece: str) -> re.Pattern[str]:
    return re.compile("".join("." if character == "_" else re.escape(character) for character in piece), re.DOTALL)
