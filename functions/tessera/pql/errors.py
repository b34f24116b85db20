"""The one error of the query language."""

from __future__ import annotations

from tessera.pql.syntax import START, Position


class PqlError(ValueError):
    """A query that cannot be read, or a value of a type that it cannot take.

    ``line`` and ``column`` count from one and say where in the text; ``expected`` is what could have stood there,
    in words. Both are as well set for an error at run time, which happens at the place of an operation.
    """

    def __init__(self, problem: str, at: Position = START, expected: tuple[str, ...] = ()) -> None:
        """Say what is wrong, and where."""
        super().__init__(problem, at, expected)
        self.problem = problem
        self.line, self.column = at
        self.expected = expected

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.problem}"
