"""What a query means, as a tree: the syntax with every name resolved.

Names are gone from the tree. ``$1``, a bare name outside any filter and ``xEvent`` all start at ``Parameter(1)``; a
bare name inside ``array[...]`` or an element argument is a ``Field`` of ``Item(0)``, ``^name`` of ``Item(1)``, and so
on. A caret that leads out of the outermost element is ``Parameter(1)`` again. ``(x) => x.price`` given as an element
argument is the same tree as ``price``. ``array[condition]`` and ``array.filter(condition)`` are the same call.

Two trees are equal whatever their positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Literal as OneOf
from typing import NamedTuple, TypeAlias


class Position(NamedTuple):
    """Where something begins in the text: both count from one."""

    line: int
    column: int


START = Position(1, 1)


@dataclass(frozen=True, slots=True)
class _Node:
    at: Position = field(default=START, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Literal(_Node):
    """A string, number or boolean; a minus before a number is part of it."""

    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class Parameter(_Node):
    """An input of the query, counted from one."""

    number: int


@dataclass(frozen=True, slots=True)
class Item(_Node):
    """The element at hand (level 0), or the one that an enclosing ``Element`` is at (level 1, 2, ...)."""

    level: int


@dataclass(frozen=True, slots=True)
class Variable(_Node):
    """What the nearest enclosing ``let``, binding or ``Element.key`` of that name stands for."""

    name: str


@dataclass(frozen=True, slots=True)
class Field(_Node):
    """A property of an object; of an array, the list of its elements' properties."""

    source: Node
    name: str


@dataclass(frozen=True, slots=True)
class Array(_Node):
    """An array written out."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Object(_Node):
    """An object written out; no key comes twice."""

    entries: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Element(_Node):
    """An argument that is evaluated once per element, which is ``Item(0)`` in it.

    ``key`` is set in ``groupBy(...).map((K, G) => ...)`` alone: a variable for the key of the group, the group's array
    being the item.
    """

    body: Node
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Call(_Node):
    """A function, with what stands before the dot as its receiver.

    Arguments that are evaluated per element are ``Element``s: those of filter, map, exists, groupBy, sum, count,
    average, min and max, and the first of topN and bottomN. ``if`` evaluates one of its branches only.
    """

    function: str
    receiver: Node | None
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Negative(_Node):
    """The minus before anything but a number literal."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Arithmetic(_Node):
    """Two numbers and what joins them."""

    operator: OneOf["+", "-", "*", "/", "%"]
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Comparison(_Node):
    """Two values and a relation that holds or not."""

    operator: OneOf["=", "!=", "<", "<=", ">", ">=", "in", "notIn", "like"]
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Not(_Node):
    """``not`` or ``!``."""

    operand: Node


@dataclass(frozen=True, slots=True)
class And(_Node):
    """Two or more operands, taken from the left until one is false; none of them is itself an ``And``."""

    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or(_Node):
    """Two or more operands, taken from the left until one is true; none of them is itself an ``Or``."""

    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Let(_Node):
    """``let name = bound in body``."""

    name: str
    bound: Node
    body: Node


@dataclass(frozen=True, slots=True)
class Binding(_Node):
    """``name from source where condition``: the name is known in the condition and in all that follows."""

    name: str
    source: Node
    condition: Node | None


@dataclass(frozen=True, slots=True)
class Quantified(_Node):
    """``exists``, ``forall`` or ``select`` over all tuples of its bindings."""

    quantifier: OneOf["exists", "forall", "select"]
    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class Comprehension(_Node):
    """``sum element over X from source where condition``; the binding's name is known in the element."""

    function: OneOf["sum", "count", "average", "min", "max"]
    element: Node
    binding: Binding


Unit: TypeAlias = OneOf[
    "millisecond", "second", "minute", "hour", "day", "week", "month", "year", "decade", "century", "millennium"
]
Direction: TypeAlias = OneOf["before", "after"]


@dataclass(frozen=True, slots=True)
class Clock(_Node):
    """``now``, an instant, or a day told by the clock."""

    word: OneOf["now", "today", "yesterday", "tomorrow"]


@dataclass(frozen=True, slots=True)
class Period(_Node):
    """``last week`` and its like: a calendar period told by the clock."""

    which: OneOf["this", "last", "next"]
    unit: Unit


@dataclass(frozen=True, slots=True)
class Distance(_Node):
    """``<= 7 days before now``; ``from`` is read as ``after``."""

    operator: OneOf["=", "!=", "<", "<=", ">", ">="]
    count: int
    unit: Unit
    direction: Direction
    anchor: Time


@dataclass(frozen=True, slots=True)
class Beside(_Node):
    """``before today``, ``after date(2024, 3, 1)``."""

    direction: Direction
    anchor: Time


@dataclass(frozen=True, slots=True)
class During(_Node):
    """``on date(2024, 2, 29)``, ``last week``, ``today``."""

    anchor: Time


@dataclass(frozen=True, slots=True)
class Between(_Node):
    """``between date(2024, 1, 8) and now``."""

    first: Time
    last: Time


@dataclass(frozen=True, slots=True)
class Occurs(_Node):
    """A time and the phrase it has to meet."""

    subject: Node
    when: When


@dataclass(frozen=True, slots=True)
class Step(_Node):
    """One step of a chain; an anchor in ``when`` sees the element as ``Item(0)``, as the ``Element``s do."""

    name: str
    what: Element
    when: When | None
    where: Element | None
    count: int


@dataclass(frozen=True, slots=True)
class Chain(_Node):
    """``chain(source, timestamp, [steps])``: the steps follow each other in time."""

    source: Node
    timestamp: Element
    steps: tuple[Step, ...]


# A time that an ``occurs`` phrase is told against. A call of ``date`` written there is that whole day.
Time: TypeAlias = "Clock | Period | Node"
When: TypeAlias = "Distance | Beside | During | Between"
Node: TypeAlias = (
    "Literal | Parameter | Item | Variable | Field | Array | Object | Element | Call | Negative | Arithmetic"
    " | Comparison | Not | And | Or | Let | Quantified | Comprehension | Occurs | Chain"
)
Part: TypeAlias = "Node | Time | When | Binding | Step"


def children(part: Part) -> Iterator[Part]:
    """Go through the parts directly under one, from left to right."""
    for each in fields(part):
        yield from _parts(getattr(part, each.name))


def operands(part: Part) -> Iterator[Part]:
    """Go through the parts under one as children does, but the terms of a long sum are all side by side."""
    if not isinstance(part, Arithmetic):
        yield from children(part)
        return
    first, rest = terms(part)
    yield first
    yield from (right for _, right, _ in rest)


def _parts(value: object) -> Iterator[Part]:
    if isinstance(value, _Node):
        yield value  # type: ignore[misc]
    elif isinstance(value, tuple) and not isinstance(value, Position):
        for each in value:
            yield from _parts(each)


def terms(node: Arithmetic) -> tuple[Node, list[tuple[str, Node, Position]]]:
    """Unroll what stands to the left of each operator: the first operand, then each operator with its right one.

    Long sums lean to the left; a walk that takes their terms one by one needs no depth for them.
    """
    rest: list[tuple[str, Node, Position]] = []
    first: Node = node
    while isinstance(first, Arithmetic):
        rest.append((first.operator, first.right, first.at))
        first = first.left
    return first, rest[::-1]


def walk(part: Part) -> Iterator[Part]:
    """Go through a part and all that is under it."""
    waiting = [part]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += children(each)
