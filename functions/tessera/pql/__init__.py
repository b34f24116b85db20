"""PQL, the query language of profiles: reading it, evaluating it, telling which queries are aggregates of events.

    >>> parse("orders[price >= 40].count()").evaluate({"orders": [{"price": 40}, {"price": 5}]}, now=0)
    1

A query is compiled once and evaluated many times. Evaluation does no I/O, has no clock but ``now``, and is bounded: in
the elements it visits and what is done with each, in the texts it searches, in the size of numbers.
"""

from tessera.pql.aggregate import Aggregate, ClockClause, Condition, aggregate_of
from tessera.pql.errors import PqlError
from tessera.pql.query import Query
from tessera.pql.reading import parse, parse_json

__all__ = ["Aggregate", "ClockClause", "Condition", "PqlError", "Query", "aggregate_of", "parse", "parse_json"]
