"""Regular expressions that callers send, matched in time linear in the text whatever they are.

Python's own engine backtracks, so a short pattern could keep a function busy for hours. This one takes characters,
classes, ``.``, ``^``, ``$`` and the quantifiers ``* + ?``: no groups, so the set of positions in the pattern that a
text can have led to is all there is to know at each character.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tessera.domain.errors import InvalidRequestError

MAX_PATTERN_LENGTH = 64
# Names are no longer than this; of a longer text only the beginning is looked at.
MAX_TEXT_LENGTH = 256

_ATOM = re.compile(r"(\\[dwsDWS.^$*+?()\[\]{}|\\/-]|\[\^?[^\[\]\\]+\]|[^\\\[\](){}|*+?^$])([*+?]?)", re.DOTALL)
_TIED_TO_END = re.compile(r"(?<!\\)(?:\\\\)*\$\Z")


@dataclass(frozen=True, slots=True)
class _Atom:
    character: re.Pattern[str]
    optional: bool
    repeats: bool


class TextPattern:
    """A pattern that is searched for anywhere in a text, unless ``^`` or ``$`` ties it to an end."""

    def __init__(self, source: str) -> None:
        """Read a pattern; raises InvalidRequestError for one that is too long or uses what is not supported."""
        if len(source) > MAX_PATTERN_LENGTH:
            raise InvalidRequestError(f"a pattern can have at most {MAX_PATTERN_LENGTH} characters")
        middle = source.removeprefix("^")
        self._from_start = middle != source
        self._to_end = _TIED_TO_END.search(middle) is not None
        middle = middle[:-1] if self._to_end else middle
        self._atoms = tuple(_atoms(middle))

    def found_in(self, text: str) -> bool:
        """Tell whether the pattern occurs in ``text``."""
        last = len(self._atoms)
        start = self._reachable({0})
        at = start
        for character in text[:MAX_TEXT_LENGTH]:
            if last in at and not self._to_end:
                return True
            after: set[int] = set()
            for position in at:
                if position < last and self._atoms[position].character.match(character):
                    after.add(position + 1)
                    if self._atoms[position].repeats:
                        after.add(position)
            at = self._reachable(after)
            if not self._from_start:
                at |= start
        return last in at

    def _reachable(self, positions: set[int]) -> set[int]:
        reached = set(positions)
        for position, atom in enumerate(self._atoms):
            if position in reached and atom.optional:
                reached.add(position + 1)
        return reached


def _atoms(source: str) -> list[_Atom]:
    atoms = []
    position = 0
    while position < len(source):
        match = _ATOM.match(source, position)
        if match is None:
            raise InvalidRequestError(
                f"a pattern is made of characters, classes, '.', '^', '$' and '* + ?': not '{source[position]}' here"
            )
        character, quantifier = match.groups()
        try:
            compiled = re.compile(character, re.DOTALL)
        except re.error:
            raise InvalidRequestError(f"'{character}' is not a class of characters") from None
        # "a+" is "aa*" to the matcher: once is required, more may follow.
        if quantifier == "+":
            atoms.append(_Atom(compiled, optional=False, repeats=False))
        atoms.append(_Atom(compiled, optional=quantifier != "", repeats=quantifier in {"*", "+"}))
        position = match.end()
    return atoms
