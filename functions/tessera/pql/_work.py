"""How much an evaluation may do, and the searching of texts, which depends on how long they are.

What is done is counted in visits of elements, so that it does not depend on the machine where it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tessera.pql import _patterns as patterns
from tessera.pql._scalars import text, truth
from tessera.pql.errors import PqlError

MAX_VISITED = 1_000_000
# A step of a search through a text takes about a hundredth of what the visit of an element does.
_STEPS_PER_VISIT = 100


class Work:
    """How many elements may still be visited, or how much else may be done that takes as long."""

    # Of the class until the first are visited: making one is then next to nothing.
    left = MAX_VISITED

    def visit(self, number: int) -> None:
        """Count elements that are about to be visited; raises PqlError when there were too many."""
        self.left -= number
        if self.left < 0:
            raise PqlError("the expression does too much: it visits too many elements, or searches too much text")

    def read(self, text: str, times: int = 1) -> bool:
        """Count a text that is about to be searched, by a search that takes so many steps per character."""
        self.visit(len(text) * times // _STEPS_PER_VISIT)
        return True

    def string_predicate(
        self, test: Callable[[str, str], bool], expected: bool, one: Any, other: Any, exact: Any = True
    ) -> bool:
        """Compare two strings in some way, with or without regard to case."""
        if one is None or other is None:
            return False
        first, second = text(one), text(other)
        self.read(first)
        if not truth(exact):
            self.read(second)
            first, second = first.casefold(), second.casefold()
        return test(first, second) is expected

    def like(self, value: Any, pattern: Any) -> bool:
        """``value like pattern``."""
        if value is None or pattern is None:
            return False
        # Making the test takes much longer than a visit.
        self.visit(len(text(pattern)))
        return self.is_like(text(value), patterns.like(pattern))

    def is_like(self, value: str, like: patterns.Like) -> bool:
        """Tell whether a string is as a known pattern has it."""
        return self.read(value, like.steps) and like.matches(value)

    def expression(self, pattern: Any) -> Any:
        """Make a regular expression that is not written out in the query."""
        if pattern is None:
            return None
        compiled = patterns.compiled(text(pattern))
        self.visit(patterns.steps(compiled))
        return compiled

    def matches(self, value: Any, expression: Any) -> bool:
        """``value.matches(expression)``."""
        return value is not None and expression is not None and self._found(value, expression) is not None

    def regex_group(self, value: Any, expression: Any, group: Any = 1) -> str | None:
        """``value.regexGroup(expression, group)``."""
        if value is None or expression is None or group is None:
            return None
        found = self._found(value, expression)
        if type(group) is not int or not 0 <= group <= expression.groups:
            raise PqlError("the regular expression has no such group")
        return found and found[group]  # type: ignore[no-any-return]

    def _found(self, value: Any, expression: Any) -> Any:
        self.read(text(value), patterns.steps(expression))
        try:
            return expression.search(value)
        except UnicodeEncodeError:
            raise PqlError("expected a text of Unicode characters") from None
