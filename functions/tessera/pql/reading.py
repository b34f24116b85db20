"""Reading queries."""

from __future__ import annotations

from tessera.pql._parser import read
from tessera.pql.query import Query


def parse(text: str) -> Query:
    """Read pql/text; raises PqlError, which says where and what was expected."""
    return Query(read(text))


def parse_json(text: str) -> Query:
    """Read pql/json; raises PqlError. The places in later errors are those in the query's pql/text."""
    from tessera.pql._json import from_json  # noqa: PLC0415
    from tessera.pql._text import written  # noqa: PLC0415

    return Query(read(written(from_json(text))))
