"""What a query means, written down as plainly as can be: a walk over the syntax tree, without regard for speed.

Nothing here is shared with the compiler. The rules are those of the contract, data-and-pql §2.3 to §2.7; where it is
silent, the comments say which reading is taken.
"""

from __future__ import annotations

import calendar
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from tessera.pql import syntax as s

Value: TypeAlias = Any
Truth: TypeAlias = bool


class ModelError(Exception):
    """A value of a type that the expression cannot take."""


@dataclass(frozen=True)
class Groups:
    """What ``groupBy`` gives: keys and the elements that have them, in order of first occurrence."""

    pairs: list[tuple[Value, list[Value]]]


@dataclass(frozen=True)
class Scope:
    """What is known at a node: the inputs, the elements at hand from the innermost on, the variables, the clock."""

    inputs: tuple[Value, ...]
    now: datetime
    items: tuple[Value, ...] = ()
    variables: dict[str, Value] = field(default_factory=dict)

    def at(self, item: Value) -> Scope:
        return replace(self, items=(item, *self.items))

    def binding(self, name: str, value: Value) -> Scope:
        return replace(self, variables={**self.variables, name: value})


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def evaluate(tree: s.Node, *inputs: Value, now: int) -> Value:
    """Evaluate a query at ``now``, milliseconds since 1970; raises ModelError for a wrong type."""
    return value_of(tree, Scope(inputs, EPOCH + timedelta(milliseconds=now)))


def value_of(node: Any, scope: Scope) -> Value:
    match node:
        case s.Literal(value):
            return value
        case s.Parameter(number):
            return scope.inputs[number - 1] if number <= len(scope.inputs) else None
        case s.Item(level):
            return scope.items[level]
        case s.Variable(name):
            return scope.variables[name]
        case s.Field(source, name):
            return property_of(value_of(source, scope), name)
        case s.Array(items):
            return [value_of(item, scope) for item in items]
        case s.Object(entries):
            return {key: value_of(entry, scope) for key, entry in entries}
        case s.Negative(operand):
            return arithmetic("-", 0, value_of(operand, scope))
        case s.Arithmetic(operator, left, right):
            return arithmetic(operator, value_of(left, scope), value_of(right, scope))
        case s.Comparison(operator, left, right):
            return comparison(operator, value_of(left, scope), value_of(right, scope))
        case s.Not(operand):
            return not holds(operand, scope)
        case s.And(operands):
            return all(holds(operand, scope) for operand in operands)
        case s.Or(operands):
            return any(holds(operand, scope) for operand in operands)
        case s.Let(name, bound, body):
            return value_of(body, scope.binding(name, value_of(bound, scope)))
        case s.Quantified(quantifier, bindings):
            return quantified(quantifier, bindings, scope)
        case s.Comprehension(function, element, binding):
            return aggregate(function, [value_of(element, inner) for inner in scopes_of(binding, scope)])
        case s.Occurs(subject, when):
            return occurs(value_of(subject, scope), when, scope)
        case s.Chain():
            return chain(node, scope)
        case s.Call():
            return call(node, scope)
    raise NotImplementedError(node)


# Truth, equality, order


def holds(node: s.Node, scope: Scope) -> Truth:
    return truth(value_of(node, scope))


def truth(value: Value) -> Truth:
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, list):
        return len(value) > 0
    raise ModelError("not a boolean")


def is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(one: Value, other: Value) -> bool:
    """Numbers by value, all else exactly; true is not 1. A null within a list or object equals a null."""
    if is_number(one) and is_number(other):
        return bool(one == other)
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return bool(one == other)


def ordered(one: Value, other: Value) -> tuple[Any, Any]:
    """Return two values in a form that Python orders as the language does."""
    if is_number(one) and is_number(other):
        return one, other
    if isinstance(one, str) and isinstance(other, str):
        if looks_like_time(one) and looks_like_time(other):
            return moment(one), moment(other)
        return one, other
    raise ModelError("no order between these")


def comparison(operator: str, left: Value, right: Value) -> Truth:
    """Compare two values; null compares as false, whatever the operator and the other side."""
    if left is None or right is None:
        return False
    match operator:
        case "=":
            return equal(left, right)
        case "!=":
            return not equal(left, right)
        case "in":
            return contains(list_of(right), left)
        case "notIn":
            return not contains(list_of(right), left)
        case "like":
            return like(text_of(left), text_of(right))
    one, other = ordered(left, right)
    return bool({"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[operator])


def contains(items: list[Value], value: Value) -> bool:
    return any(equal(item, value) for item in items)


def like(text: str, pattern: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(like(text[start:], pattern[1:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in ("_", text[0]) and like(text[1:], pattern[1:])


def arithmetic(operator: str, left: Value, right: Value) -> Value:
    """Null on either side gives null, as does dividing by zero; the remainder has the sign of the dividend."""
    if left is None or right is None:
        return None
    if not is_number(left) or not is_number(right):
        raise ModelError("not a number")
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    if right == 0:
        return None
    return left / right if operator == "/" else math.fmod(left, right)


# Types


def list_of(value: Value) -> list[Value]:
    if not isinstance(value, list):
        raise ModelError("not an array")
    return value


def elements(value: Value) -> list[Value]:
    return [] if value is None else list_of(value)


def text_of(value: Value) -> str:
    if not isinstance(value, str):
        raise ModelError("not a string")
    return value


def property_of(value: Value, name: str) -> Value:
    """Look up a property; through a list, that of each element: nulls dropped, lists flattened by one level."""
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, list):
        found: list[Value] = []
        for item in value:
            inner = property_of(item, name)
            found += inner if isinstance(inner, list) else [inner]
        return [item for item in found if item is not None]
    return None


# Functions


STRING_PREDICATES = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": str.__contains__,
    "equals": str.__eq__,
}
NEGATED = {
    "doesNotStartWith": "startsWith",
    "doesNotEndWith": "endsWith",
    "doesNotContain": "contains",
    "notEqualTo": "equals",
}


def call(node: s.Call, scope: Scope) -> Value:
    name = node.function
    if name == "if":
        condition, then, otherwise = node.arguments
        return value_of(then if holds(condition, scope) else otherwise, scope)
    receiver = None if node.receiver is None else value_of(node.receiver, scope)
    if any(isinstance(argument, s.Element) for argument in node.arguments):
        return call_with_element(node, receiver, scope)
    arguments = [value_of(argument, scope) for argument in node.arguments]
    if name in ("sum", "count", "average", "min", "max"):
        return of_array(name, receiver)
    if name in STRING_PREDICATES or name in NEGATED:
        return string_predicate(name, receiver, *arguments)
    if name in ("intersects", "intersection", "subsetOf", "supersetOf", "includes"):
        return of_set(name, receiver, *arguments)
    if name in ("get", "keys", "values"):
        return of_map(name, receiver, *arguments)
    if name in ("getMonth", "getYear", "getDayOfMonth"):
        when = moment(receiver)
        return None if when is None else part_of_date(name, when)
    match name:
        case "isNull":
            return receiver is None
        case "isNotNull":
            return receiver is not None
        case "head":
            return next(iter(elements(receiver)), None)
        case "distinct":
            return None if receiver is None else distinct(list_of(receiver))
        case "matches":
            return None not in (receiver, *arguments) and found(receiver, arguments[0]) is not None
        case "regexGroup":
            return regex_group(receiver, *arguments)
        case "currentMonth" | "currentYear" | "currentDayOfMonth":
            return part_of_date(name.replace("current", "get"), scope.now)
        case "date":
            return date(*arguments)
        case "inSegment":
            return in_segment(scope.inputs[0], text_of(arguments[0]))
    raise NotImplementedError(name)


def call_with_element(node: s.Call, receiver: Value, scope: Scope) -> Value:
    """Call a function that evaluates its first argument for each element."""
    name, element, rest = node.function, node.arguments[0], node.arguments[1:]
    assert isinstance(element, s.Element)
    if isinstance(receiver, Groups):
        return of_groups(element, receiver, scope)
    if name == "exists":
        # Of an array of arrays, the elements of these.
        flat = [each for item in elements(receiver) for each in (item if isinstance(item, list) else [item])]
        return any(holds(element.body, scope.at(item)) for item in flat)
    if name in ("sum", "count", "average", "min", "max"):
        return aggregate(name, [value_of(element.body, scope.at(item)) for item in elements(receiver)])
    if receiver is None:
        return None
    items = list_of(receiver)
    match name:
        case "filter":
            return [item for item in items if holds(element.body, scope.at(item))]
        case "map":
            return [value_of(element.body, scope.at(item)) for item in items]
        case "groupBy":
            return grouped([(value_of(element.body, scope.at(item)), item) for item in items])
        case "topN" | "bottomN":
            keyed = [(value_of(element.body, scope.at(item)), item) for item in items]
            return extreme(keyed, value_of(rest[0], scope), largest=name == "topN")
    raise NotImplementedError(name)


def of_array(name: str, receiver: Value) -> Value:
    if name == "count":
        return len(receiver.pairs) if isinstance(receiver, Groups) else len(elements(receiver))
    return aggregate(name, elements(receiver))


def aggregate(name: str, values: list[Value]) -> Value:
    """Reduce the values that are not null; but for ``count``, a list among them stands for its elements."""
    known = [value for value in values if value is not None]
    if name == "count":
        return len(known)
    known = [each for value in known for each in (value if isinstance(value, list) else [value]) if each is not None]
    if name in ("min", "max"):
        best = None
        for value in known:
            one, other = ordered(value, known[0] if best is None else best)
            if best is None or (one < other if name == "min" else one > other):
                best = value
        return best
    if not all(map(is_number, known)):
        raise ModelError("not a number")
    if name == "average":
        return sum(known) / len(known) if known else None
    return sum(known)


def extreme(keyed: list[tuple[Value, Value]], size: Value, *, largest: bool) -> list[Value]:
    """Take the elements with the largest or smallest keys; those without are left out, of equals the first counts."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ModelError("not a count")
    ranked: list[tuple[Value, Value]] = []
    for key, item in keyed:
        if key is None:
            continue
        ordered(key, key)
        place = len(ranked)
        while place > 0 and before(key, ranked[place - 1][0], largest=largest):
            place -= 1
        ranked.insert(place, (key, item))
    return [item for _, item in ranked[:size]]


def before(key: Value, other: Value, *, largest: bool) -> bool:
    one, two = ordered(key, other)
    return bool(one > two if largest else one < two)


def grouped(keyed: list[tuple[Value, Value]]) -> Groups:
    """Gather elements by key; those whose key is null are in no group."""
    pairs: list[tuple[Value, list[Value]]] = []
    for key, item in keyed:
        if key is None:
            continue
        same = [items for other, items in pairs if equal(key, other)]
        if same:
            same[0].append(item)
        else:
            pairs.append((key, [item]))
    return Groups(pairs)


def of_groups(element: s.Element, groups: Groups, scope: Scope) -> Value:
    """Map groups: to an object if what they are mapped to is entries, else to a list."""
    scopes = [(scope.binding(element.key, key) if element.key else scope).at(items) for key, items in groups.pairs]
    match element.body:
        case s.Call("mapEntry", _, (key, value)):
            return {text_of(value_of(key, inner)): value_of(value, inner) for inner in scopes}
    return [value_of(element.body, inner) for inner in scopes]


def distinct(items: list[Value]) -> list[Value]:
    kept: list[Value] = []
    for item in items:
        if not contains(kept, item):
            kept.append(item)
    return kept


def of_set(name: str, receiver: Value, argument: Value) -> Value:
    if receiver is None or argument is None:
        return None if name == "intersection" else False
    items = list_of(receiver)
    if name == "includes":
        return contains(items, argument)
    others = list_of(argument)
    match name:
        case "intersects":
            return any(contains(others, item) for item in items)
        case "intersection":
            return distinct([item for item in items if contains(others, item)])
        case "subsetOf":
            return all(contains(others, item) for item in items)
    return all(contains(items, item) for item in others)


def of_map(name: str, receiver: Value, *arguments: Value) -> Value:
    if receiver is None or None in arguments:
        return None
    if not isinstance(receiver, dict):
        raise ModelError("not a map")
    if name == "get":
        return receiver.get(text_of(arguments[0]))
    return list(receiver) if name == "keys" else list(receiver.values())


def string_predicate(name: str, receiver: Value, argument: Value, sensitive: Value = True) -> Truth:
    if receiver is None or argument is None:
        return False
    one, other = text_of(receiver), text_of(argument)
    if not truth(sensitive):
        one, other = one.casefold(), other.casefold()
    positive = NEGATED.get(name, name)
    return STRING_PREDICATES[positive](one, other) is (positive == name)


def found(text: Value, pattern: Value) -> re.Match[str] | None:
    return re.search(text_of(pattern), text_of(text), re.ASCII)


def regex_group(text: Value, pattern: Value, number: int = 1) -> Value:
    if text is None or pattern is None:
        return None
    match = found(text, pattern)
    return match and match.group(number)


def in_segment(profile: Value, segment: str) -> Truth:
    of_namespaces = (property_of(profile, "segmentMembership") or {}).values()
    return any(
        property_of(property_of(members, segment), "status") in ("realized", "existing") for members in of_namespaces
    )


# Bindings


def scopes_of(binding: s.Binding, scope: Scope) -> Iterator[Scope]:
    for item in elements(value_of(binding.source, scope)):
        inner = scope.binding(binding.name, item)
        if binding.condition is None or holds(binding.condition, inner):
            yield inner


def quantified(quantifier: str, bindings: tuple[s.Binding, ...], scope: Scope) -> Value:
    first, rest = bindings[0], bindings[1:]
    if quantifier == "exists":
        return any(not rest or quantified(quantifier, rest, inner) for inner in scopes_of(first, scope))
    items = elements(value_of(first.source, scope))
    inside = [(item, scope.binding(first.name, item)) for item in items]
    if quantifier == "forall":
        return all(
            (first.condition is None or holds(first.condition, inner))
            and (not rest or quantified(quantifier, rest, inner))
            for _, inner in inside
        )
    return [
        item
        for item, inner in inside
        if (first.condition is None or holds(first.condition, inner))
        and (not rest or quantified("exists", rest, inner))
    ]


def chain(node: s.Chain, scope: Scope) -> Truth:
    """Match the steps one after the other, each as early as can be; an element without a time matches none."""
    timed: list[tuple[datetime, Scope]] = []
    for item in elements(value_of(node.source, scope)):
        inner = scope.at(item)
        known = moment(value_of(node.timestamp.body, inner))
        if known is not None:
            timed.append((known, inner))
    timed.sort(key=lambda each: each[0])
    for step in node.steps:
        needed = step.count
        while needed:
            if not timed:
                return False
            (time, inner), timed = timed[0], timed[1:]
            needed -= matches_step(step, time, inner)
        timed = [each for each in timed if each[0] > time]
    return True


def matches_step(step: s.Step, time: datetime, inner: Scope) -> Truth:
    return (
        holds(step.what.body, inner)
        and (step.when is None or meets(time, step.when, inner))
        and (step.where is None or holds(step.where.body, inner))
    )


# Times


ISO = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)


def looks_like_time(text: str) -> bool:
    return ISO.fullmatch(text) is not None


def moment(value: Value) -> datetime | None:
    """Read a time: a number of milliseconds or ISO-8601, which is UTC unless it says otherwise."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return EPOCH + timedelta(milliseconds=value)
    if not looks_like_time(text_of(value)):
        raise ModelError("not a time")
    read = datetime.fromisoformat(value)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def part_of_date(name: str, when: datetime) -> int:
    when = when.astimezone(UTC)
    return {"getMonth": when.month, "getYear": when.year, "getDayOfMonth": when.day}[name]


def date(year: Value, month: Value, day: Value) -> str | None:
    if None in (year, month, day):
        return None
    try:
        return datetime(year, month, day, tzinfo=UTC).date().isoformat()
    except (TypeError, ValueError):
        raise ModelError("no such date") from None


FIXED = {
    "millisecond": timedelta(milliseconds=1),
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
MONTHS = {"month": 1, "year": 12, "decade": 120, "century": 1200, "millennium": 12_000}


def plus(when: datetime, count: int, unit: str) -> datetime:
    """Add units; a day that its new month does not have becomes the last that it has."""
    if unit in FIXED:
        return when + count * FIXED[unit]
    months = when.year * 12 + when.month - 1 + count * MONTHS[unit]
    year, month = months // 12, months % 12 + 1
    return when.replace(year=year, month=month, day=min(when.day, calendar.monthrange(year, month)[1]))


def floor(when: datetime, unit: str) -> datetime:
    """Return the start of the calendar unit; weeks begin on Sunday, decades and centuries where the year ends in 0."""
    when = when.astimezone(UTC)
    if unit == "week":
        return floor(when, "day") - timedelta(days=(when.weekday() + 1) % 7)
    if unit in FIXED:
        start = datetime.min.replace(tzinfo=UTC)
        return start + (when - start) // FIXED[unit] * FIXED[unit]
    month = when.month if unit == "month" else 1
    years = MONTHS[unit] // 12 or 1
    return datetime(when.year // years * years, month, 1, tzinfo=UTC)


def period(time: Any, scope: Scope) -> tuple[datetime, datetime | None] | None:
    """Return the start of a time and the start of what follows it; the latter is None for an instant."""
    match time:
        case s.Clock("now"):
            return scope.now, None
        case s.Clock(word):
            start = plus(floor(scope.now, "day"), {"yesterday": -1, "today": 0, "tomorrow": 1}[word], "day")
            return start, plus(start, 1, "day")
        case s.Period(which, unit):
            start = plus(floor(scope.now, unit), {"last": -1, "this": 0, "next": 1}[which], unit)
            return start, plus(start, 1, unit)
    start_of = moment(value_of(time, scope))
    if start_of is None:
        return None
    day = isinstance(time, s.Call) and time.function == "date"
    return start_of, plus(start_of, 1, "day") if day else None


def occurs(subject: Value, when: s.When, scope: Scope) -> Truth:
    time = moment(subject)
    return time is not None and meets(time, when, scope)


def meets(time: datetime, when: s.When, scope: Scope) -> Truth:
    match when:
        case s.Distance(operator, count, unit, direction, anchor):
            near = period(anchor, scope)
            return near is not None and at_distance(time, operator, count, unit, direction, near[0])
        case s.Beside(direction, anchor):
            near = period(anchor, scope)
            if near is None:
                return False
            start, end = near
            if direction == "before":
                return time < start
            return time > start if end is None else time >= end
        case s.During(anchor):
            near = period(anchor, scope)
            if near is None:
                return False
            start, end = near
            return time == start if end is None else start <= time < end
        case s.Between(first, last):
            one, other = period(first, scope), period(last, scope)
            if one is None or other is None:
                return False
            # An instant at the end belongs to it.
            return one[0] <= time and (time <= other[0] if other[1] is None else time < other[1])
    raise NotImplementedError(when)


def at_distance(time: datetime, operator: str, count: int, unit: str, direction: str, near: datetime) -> Truth:
    far = plus(near, -count if direction == "before" else count, unit)
    if operator in ("=", "!="):
        start = floor(far, unit)
        return (start <= time < plus(start, 1, unit)) is (operator == "=")
    beyond, until = (time < far, near) if direction == "before" else (time > far, near)
    if operator in (">", ">="):
        return beyond or (operator == ">=" and time == far)
    within = time <= until if direction == "before" else time >= until
    return within and not beyond and (operator == "<=" or time != far)
