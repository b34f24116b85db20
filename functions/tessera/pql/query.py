"""A query that was read: what it says, and its evaluation."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from tessera.pql import syntax as s
from tessera.pql._analysis import paths_of, tells_time
from tessera.pql._compiler import compiled
from tessera.pql._scalars import truth
from tessera.pql._signatures import Type
from tessera.pql._text import written
from tessera.pql._types import type_of
from tessera.pql.errors import PqlError


class Query:
    """An expression of the query language; made by ``parse`` and ``parse_json``, used by any number of threads."""

    evaluate: Callable[..., Any]
    """``evaluate(*inputs, now, visits=None)``: the value for plain JSON values at ``now``, milliseconds since 1970.

    Inputs not given are null. The value may share parts with the inputs. Raises PqlError for an operand of a wrong
    type, or when it takes longer than the visit of so many elements does, a million if nothing else is said.
    """

    def __init__(self, syntax: s.Node) -> None:
        """Check and compile a tree; raises PqlError for one that can never be evaluated."""
        self.syntax = syntax
        self.result_type: Type = type_of(syntax)
        self.evaluate = compiled(syntax)

    @cached_property
    def text(self) -> str:
        """The query as pql/text, written in the one way that this package writes it."""
        return written(self.syntax)

    def to_json(self) -> str:
        """Write the query as pql/json; raises PqlError if it is too deep for that."""
        from tessera.pql._json import to_json  # noqa: PLC0415

        return to_json(self.syntax)

    @cached_property
    def free_paths(self) -> frozenset[str]:
        """What the query reads of its first input: every path that it names, as long as it stands there."""
        return paths_of(self.syntax)

    @cached_property
    def uses_now(self) -> bool:
        """Whether the value depends on the time of evaluation."""
        return tells_time(self.syntax)

    @cached_property
    def is_aggregate(self) -> bool:
        """Whether the query is an aggregate of a profile's events that a computed attribute can keep."""
        from tessera.pql.aggregate import aggregate_of  # noqa: PLC0415

        try:
            aggregate_of(self)
        except PqlError:
            return False
        return True

    def holds(self, *inputs: Any, now: int, visits: int | None = None) -> bool:
        """Evaluate as a condition: true, or an array that is not empty."""
        return truth(self.evaluate(*inputs, now=now, visits=visits))

    def __repr__(self) -> str:
        return f"Query({self.text!r})"
