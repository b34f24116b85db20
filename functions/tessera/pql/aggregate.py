"""Aggregates of events, the expressions that computed attributes are made of (contract: data-and-pql §1.6)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from tessera.pql import syntax as s
from tessera.pql._analysis import tells_time
from tessera.pql.errors import PqlError
from tessera.pql.query import Query

_SHAPES = (
    "xEvent[...].sum(path)",
    "xEvent[...].count()",
    "xEvent[...].min(path)",
    "xEvent[...].max(path)",
    'xEvent[...].topN(timestamp, 1).map({"timestamp": timestamp, "value": path}).head()',
    "xEvent[...].topN(timestamp, n).map(path)",
)
_EVENTS = s.Field(s.Parameter(1), "xEvent")
_TIMESTAMP = s.Field(s.Item(0), "timestamp")


@dataclass(frozen=True, slots=True)
class ClockClause:
    """A condition that is nothing but ``path occurs ...`` and moves with the clock; ``path`` is one of the event's."""

    path: str
    when: s.When


@dataclass(frozen=True, slots=True)
class Condition:
    """What an event has to meet: a query whose first input is the event, and its clause about the clock, if it is one.

    A condition that ``uses_now`` in another way has no clause.
    """

    query: Query
    clock: ClockClause | None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A function of the events that meet all conditions.

    ``value`` is what is taken of each event, the query's first input; None for COUNT. ``size`` is how many of the
    latest events count: 1 for MOST_RECENT, n for LIST, else None.
    """

    function: Literal["SUM", "COUNT", "MIN", "MAX", "MOST_RECENT", "LIST"]
    conditions: tuple[Condition, ...]
    value: Query | None
    size: int | None


def aggregate_of(query: Query) -> Aggregate:
    """Take an aggregate apart; raises PqlError, which names the possible shapes, for any other query."""
    match query.syntax:
        case s.Call("sum" | "min" | "max" as function, source, (s.Element(value),)):
            name: Any = function.upper()
            return Aggregate(name, _conditions(source), _of_event(value), None)
        case s.Call("count", source, ()):
            return Aggregate("COUNT", _conditions(source), None, None)
        case s.Call(
            "head",
            s.Call(
                "map",
                s.Call("topN", source, (s.Element(order), s.Literal(1))),
                (s.Element(s.Object((("timestamp", timestamp), ("value", value)))),),
            ),
        ) if order == timestamp == _TIMESTAMP:
            return Aggregate("MOST_RECENT", _conditions(source), _of_event(value), 1)
        case s.Call(
            "map", s.Call("topN", source, (s.Element(order), s.Literal(int() as size))), (s.Element(value),)
        ) if order == _TIMESTAMP and size > 0 and not isinstance(value, s.Object):
            return Aggregate("LIST", _conditions(source), _of_event(value), size)
    raise _refusal("this is none of the shapes of an aggregate", query.syntax)


def _refusal(problem: str, node: s.Part) -> PqlError:
    return PqlError(f"{problem}; possible are: {', '.join(_SHAPES)}", node.at, _SHAPES)


def _conditions(source: s.Node | None) -> tuple[Condition, ...]:
    """Find what is asked of events, from the innermost filter on."""
    found: list[Condition] = []
    while isinstance(source, s.Call) and source.function == "filter":
        (element,) = source.arguments
        assert isinstance(element, s.Element)
        body = element.body
        found[:0] = [_condition(each) for each in (body.operands if isinstance(body, s.And) else (body,))]
        source = source.receiver
    if source != _EVENTS:
        assert source is not None
        raise _refusal("an aggregate is one of xEvent", source)
    return tuple(found)


def _condition(node: s.Node) -> Condition:
    query = _of_event(node)
    return Condition(query, _clock_clause(query.syntax))


def _clock_clause(node: s.Node) -> ClockClause | None:
    if not isinstance(node, s.Occurs) or not tells_time(node):
        return None
    names: list[str] = []
    subject = node.subject
    while isinstance(subject, s.Field):
        names.insert(0, subject.name)
        subject = subject.source
    anchors = (node.when.first, node.when.last) if isinstance(node.when, s.Between) else (node.when.anchor,)
    if subject != s.Parameter(1) or not all(_told_apart(anchor) for anchor in anchors):
        return None
    return ClockClause(".".join(names), node.when)


def _told_apart(anchor: s.Time) -> bool:
    """Tell whether an anchor is known once the time is."""
    if isinstance(anchor, s.Clock | s.Period):
        return True
    return (
        isinstance(anchor, s.Call)
        and anchor.function == "date"
        and all(isinstance(argument, s.Literal) for argument in anchor.arguments)
    )


def _of_event(node: s.Node) -> Query:
    """Make a query of one event from what is evaluated per event."""
    return Query(_rooted(node, 0))


def _rooted(value: Any, depth: int) -> Any:
    """Put the first input in the place of the element that encloses ``depth`` others."""
    if isinstance(value, tuple) and not isinstance(value, s.Position):
        return tuple(_rooted(each, depth) for each in value)
    match value:
        case s.Parameter() | s.Call("inSegment"):
            raise _refusal("what is taken of an event cannot refer to anything else", value)
        case s.Item(level) if level == depth:
            return s.Parameter(1, at=value.at)
        case s.Arithmetic():
            first, rest = s.terms(value)
            sum_so_far = _rooted(first, depth)
            for operator, right, at in rest:
                sum_so_far = s.Arithmetic(operator, sum_so_far, _rooted(right, depth), at=at)  # type: ignore[arg-type]
            return sum_so_far
        case s.Step():
            # An anchor sees the element, as what is in the Elements does.
            elements = {name: _rooted(getattr(value, name), depth) for name in ("what", "where")}
            return replace(value, **elements, when=_rooted(value.when, depth + 1))
    if not hasattr(value, "at"):
        return value
    inner = depth + 1 if isinstance(value, s.Element) else depth
    return replace(
        value, **{each.name: _rooted(getattr(value, each.name), inner) for each in fields(value) if each.name != "at"}
    )
