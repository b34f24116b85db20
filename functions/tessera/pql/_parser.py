"""From pql/text to the syntax tree: names resolved, literals read, functions known and given what they ask for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from tessera.pql import syntax as s
from tessera.pql._grammar import parse_tree
from tessera.pql._signatures import PER_ELEMENT, SIGNATURES
from tessera.pql.errors import PqlError

if TYPE_CHECKING:
    from lark import Token, Tree

    Branch: TypeAlias = Tree[Token] | Token

# How deep a query may nest; operands of one ``and``, ``or`` or sum are side by side, whatever their number.
MAX_DEPTH = 60
MAX_INTEGER = 2**63 - 1
_MAX_DIGITS = 320
_MAX_COUNT = 999_999_999

_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_UNITS: dict[str, s.Unit] = {
    "century": "century",
    "centuries": "century",
    "millennium": "millennium",
    "millennia": "millennium",
}
for _unit in ("millisecond", "second", "minute", "hour", "day", "week", "month", "year", "decade"):
    _UNITS[_unit] = _UNITS[_unit + "s"] = _unit


def read(text: str) -> s.Node:
    """Read pql/text; raises PqlError."""
    tree = parse_tree(text)
    # A level of the syntax tree is at most two of what the grammar makes.
    _check_depth(tree, 2 * MAX_DEPTH, lambda branch: getattr(branch, "children", ()), _at)
    node = _Reader(_Scope()).query(tree)
    _check_depth(node, MAX_DEPTH, s.operands, lambda part: part.at)
    return node


def _check_depth(root: Any, limit: int, below: Callable[[Any], Iterable[Any]], at: Callable[[Any], s.Position]) -> None:
    """Refuse a tree that is too deep to be walked by recursion, without recursion."""
    level = [root]
    for _ in range(limit):
        level = [each for node in level for each in below(node) if each is not None]
        if not level:
            return
    raise PqlError(f"the query is nested deeper than {MAX_DEPTH} levels", at(level[0]))


@dataclass(frozen=True, slots=True)
class _Scope:
    """What names mean here: ``depth`` elements enclose the place; a name is an item of that depth or a variable."""

    depth: int = 0
    names: tuple[tuple[str, int | None], ...] = ()
    parameters: tuple[str, ...] = ()

    def within_element(self, name: str | None = None) -> _Scope:
        inner = replace(self, depth=self.depth + 1)
        return inner if name is None else replace(inner, names=((name, inner.depth), *self.names))

    def with_variable(self, name: str) -> _Scope:
        return replace(self, names=((name, None), *self.names))


class _Reader:
    def __init__(self, scope: _Scope) -> None:
        self._scope = scope

    def query(self, tree: Branch) -> s.Node:
        if _kind(tree) != "lambda":
            return self.node(tree)
        head, body = _children(tree)
        names = _names(head)
        return _Reader(replace(self._scope, parameters=names)).node(body)

    def node(self, tree: Branch) -> s.Node:
        if _kind(tree) == "lambda":
            raise PqlError("a function can only be given where something is done with each element", _at(tree))
        read: Callable[[Branch], s.Node] = getattr(self, f"_{_kind(tree)}")
        return read(tree)

    # Names

    def _name(self, tree: Branch) -> s.Node:
        (token,) = _children(tree)
        name, at = str(token), _at(token)
        for known, depth in self._scope.names:
            if known == name:
                return s.Variable(name, at=at) if depth is None else self._item(self._scope.depth - depth, at)
        if name in self._scope.parameters:
            return s.Parameter(self._scope.parameters.index(name) + 1, at=at)
        source = s.Parameter(1, at=at) if name == "xEvent" else self._item(0, at)
        return s.Field(source, name, at=at)

    def _item(self, level: int, at: s.Position) -> s.Node:
        return s.Item(level, at=at) if level < self._scope.depth else s.Parameter(1, at=at)

    def _this(self, tree: Branch) -> s.Node:
        return self._item(0, _at(tree))

    def _up(self, tree: Branch) -> s.Node:
        carets, *names = _children(tree)
        at = _at(carets)
        if len(carets) > self._scope.depth:
            raise PqlError(f"no element is that far out: {self._scope.depth} enclose this place", at)
        source = self._item(len(carets), at)
        return s.Field(source, str(names[0]), at=at) if names else source

    def _parameter(self, tree: Branch) -> s.Node:
        (token,) = _children(tree)
        number = int(token[1:5])
        if not 1 <= number <= 99 or len(token) > 3:
            raise PqlError("the inputs are $1 to $99", _at(token))
        return s.Parameter(number, at=_at(token))

    # Literals

    def _string(self, tree: Branch) -> s.Node:
        (token,) = _children(tree)
        return s.Literal(_unescaped(token), at=_at(token))

    def _number(self, tree: Branch) -> s.Node:
        (token,) = _children(tree)
        if len(token) > _MAX_DIGITS:
            raise PqlError("a number of too many digits", _at(token))
        value = float(token) if "." in token else int(token)
        if abs(value) == float("inf") or (isinstance(value, int) and value > MAX_INTEGER):
            raise PqlError("a number too large", _at(token))
        return s.Literal(value, at=_at(token))

    def _truth(self, tree: Branch) -> s.Node:
        (token,) = _children(tree)
        return s.Literal(str(token) == "true", at=_at(token))

    def _array(self, tree: Branch) -> s.Node:
        return s.Array(tuple(self.node(child) for child in _children(tree)), at=_at(tree))

    def _object(self, tree: Branch) -> s.Node:
        entries: dict[str, s.Node] = {}
        for entry in _children(tree):
            token, value = _children(entry)
            key = _unescaped(token) if token.startswith('"') else str(token)
            if key in entries:
                raise PqlError(f'the key "{key}" comes twice', _at(token))
            entries[key] = self.node(value)
        return s.Object(tuple(entries.items()), at=_at(tree))

    # Operators

    def _disjunction(self, tree: Branch) -> s.Node:
        parts = [self.node(child) for child in _children(tree)]
        flat = [each for part in parts for each in (part.operands if isinstance(part, s.Or) else (part,))]
        return s.Or(tuple(flat), at=_at(tree))

    def _conjunction(self, tree: Branch) -> s.Node:
        parts = [self.node(child) for child in _children(tree)]
        flat = [each for part in parts for each in (part.operands if isinstance(part, s.And) else (part,))]
        return s.And(tuple(flat), at=_at(tree))

    def _negated(self, tree: Branch) -> s.Node:
        return s.Not(self.node(_children(tree)[0]), at=_at(tree))

    def _relation(self, tree: Branch) -> s.Node:
        left, operator, right = _children(tree)
        return s.Comparison(cast(Any, str(operator)), self.node(left), self.node(right), at=_at(operator))

    def _sum(self, tree: Branch) -> s.Node:
        first, *rest = _children(tree)
        node = self.node(first)
        for operator, right in zip(rest[::2], rest[1::2], strict=True):
            node = s.Arithmetic(cast(Any, str(operator)), node, self.node(right), at=_at(operator))
        return node

    _product = _sum

    def _negative(self, tree: Branch) -> s.Node:
        operand = self.node(_children(tree)[0])
        if isinstance(operand, s.Literal) and type(operand.value) in (int, float):
            return s.Literal(-cast(float, operand.value), at=_at(tree))
        return s.Negative(operand, at=_at(tree))

    # Paths and calls

    def _field(self, tree: Branch) -> s.Node:
        source, name = _children(tree)
        return s.Field(self.node(source), str(name), at=_at(name))

    def _filter(self, tree: Branch) -> s.Node:
        source, condition = _children(tree)
        return s.Call("filter", self.node(source), (self._element(condition),), at=_at(condition))

    def _method(self, tree: Branch) -> s.Node:
        receiver, name, arguments = _children(tree)
        return self._call(name, self.node(receiver), _children(arguments))

    def _function(self, tree: Branch) -> s.Node:
        name, arguments = _children(tree)
        return self._call(name, None, _children(arguments))

    def _call(self, token: Branch, receiver: s.Node | None, trees: list[Branch]) -> s.Node:
        name, at = str(token), _at(token)
        signature = SIGNATURES.get(name)
        if signature is None:
            raise PqlError(f'there is no function "{name}"', at)
        if (receiver is None) != (signature.receiver is None):
            form = f"{name}(...)" if signature.receiver is None else f"value.{name}(...)"
            raise PqlError(f'"{name}" is called as {form}', at)
        least, most = signature.required, len(signature.parameters)
        if not least <= len(trees) <= most:
            number = str(most) if least == most else f"{least} or {most}"
            raise PqlError(f'"{name}" takes {number} argument{"" if number == "1" else "s"}, not {len(trees)}', at)
        arguments: list[s.Node] = []
        for asked, tree in zip(signature.parameters, trees, strict=False):
            inner = self._element(tree, of_map=name == "map") if asked in PER_ELEMENT else self.node(tree)
            arguments.append(inner)
        return s.Call(name, receiver, tuple(arguments), at=at)

    def _element(self, tree: Branch, *, of_map: bool = False) -> s.Element:
        """Read what is evaluated per element; given as a function of one name, that name is the element."""
        at = _at(tree)
        if _kind(tree) != "lambda":
            return s.Element(_Reader(self._scope.within_element()).node(tree), at=at)
        head, body = _children(tree)
        names = _names(head)
        if len(names) == 1:
            return s.Element(_Reader(self._scope.within_element(names[0])).node(body), at=at)
        if len(names) > 2 or not of_map:
            raise PqlError("a function of one element here, or of key and group in groupBy(...).map(...)", at)
        key, group = names
        scope = self._scope.with_variable(key).within_element(group)
        return s.Element(_Reader(scope).node(body), key, at=at)

    # Bindings

    def _let(self, tree: Branch) -> s.Node:
        name, bound, body = _children(tree)
        inner = _Reader(self._scope.with_variable(str(name)))
        return s.Let(str(name), self.node(bound), inner.node(body), at=_at(tree))

    def _quantified(self, tree: Branch) -> s.Node:
        word, *trees = _children(tree)
        reader, bindings = self, []
        for each in trees:
            binding, reader = reader._binding(each)
            bindings.append(binding)
        return s.Quantified(cast(Any, str(word)), tuple(bindings), at=_at(word))

    def _comprehension(self, tree: Branch) -> s.Node:
        word, element, over = _children(tree)
        binding, inner = self._binding(over)
        return s.Comprehension(cast(Any, str(word)), inner.node(element), binding, at=_at(word))

    def _binding(self, tree: Branch) -> tuple[s.Binding, _Reader]:
        name, source, *condition = _children(tree)
        inner = _Reader(self._scope.with_variable(str(name)))
        read = inner.node(condition[0]) if condition else None
        return s.Binding(str(name), self.node(source), read, at=_at(name)), inner

    # Times

    def _occurs(self, tree: Branch) -> s.Node:
        subject, when = _children(tree)
        return s.Occurs(self.node(subject), self._when(when), at=_at(when))

    def _when(self, tree: Branch) -> s.When:
        kind, children, at = _kind(tree), _children(tree), _at(tree)
        match kind, children:
            case "distance", [operator, count, unit, direction, anchor]:
                return s.Distance(
                    cast(Any, str(operator)),
                    _count(count),
                    _unit_of(unit),
                    _direction(direction),
                    self._time(anchor),
                    at=at,
                )
            case "beside", [direction, anchor]:
                return s.Beside(_direction(direction), self._time(anchor), at=at)
            case "between", [first, last]:
                return s.Between(self._time(first), self._time(last), at=at)
        return s.During(self._time(children[0]), at=at)

    def _time(self, tree: Branch) -> s.Time:
        if _kind(tree) == "clock":
            return s.Clock(cast(Any, str(_children(tree)[0])), at=_at(tree))
        if _kind(tree) == "period":
            which, unit = str(_children(tree)[0]).split()
            return s.Period(cast(Any, which), _UNITS[unit], at=_at(tree))
        return self.node(tree)

    # Chains

    def _chain(self, tree: Branch) -> s.Node:
        source, path, *steps = _children(tree)
        inner = _Reader(self._scope.within_element())
        timestamp: s.Node = s.Item(0, at=_at(path))
        for name in _children(path):
            timestamp = s.Field(timestamp, str(name), at=_at(name))
        return s.Chain(
            self.node(source),
            s.Element(timestamp, at=_at(path)),
            tuple(inner._step(step) for step in steps),
            at=_at(tree),
        )

    def _step(self, tree: Branch) -> s.Step:
        name, what, *modifiers = _children(tree)
        by_kind: dict[str, Branch] = {}
        for modifier in modifiers:
            if _kind(modifier) in by_kind:
                raise PqlError("a step has one WHEN, one WHERE and one COUNT at most", _at(modifier))
            by_kind[_kind(modifier)] = _children(modifier)[0]
        when, where, count = (by_kind.get(kind) for kind in ("step_when", "step_where", "step_count"))
        return s.Step(
            str(name),
            s.Element(self.node(what), at=_at(what)),
            None if when is None else self._when(when),
            None if where is None else s.Element(self.node(where), at=_at(where)),
            1 if count is None else _count(count, least=1),
            at=_at(name),
        )


def _kind(tree: Branch) -> str:
    return str(getattr(tree, "data", "token"))


def _children(tree: Branch) -> list[Any]:
    return [child for child in cast("Tree[Token]", tree).children if child is not None]


def _at(tree: Branch) -> s.Position:
    place = getattr(tree, "meta", tree)
    return s.Position(getattr(place, "line", None) or 1, getattr(place, "column", None) or 1)


def _names(head: Branch) -> tuple[str, ...]:
    names = tuple(re.findall(r"\w+", str(head)))
    if len(set(names)) < len(names):
        raise PqlError("a name comes twice", _at(head))
    return names


def _count(token: Branch, *, least: int = 0) -> int:
    text = str(token)
    if not text.isdecimal():
        raise PqlError(f'expected a whole number, found "{text[:20]}"', _at(token), ("a whole number",))
    if len(text.lstrip("0")) > 9 or int(text) > _MAX_COUNT:
        raise PqlError(f"a count can be at most {_MAX_COUNT}", _at(token))
    if int(text) < least:
        raise PqlError(f"a count from {least} on", _at(token))
    return int(text)


def _unit_of(token: Branch) -> s.Unit:
    unit = _UNITS.get(str(token))
    if unit is None:
        expected = tuple(sorted(set(_UNITS.values()), key=list(_UNITS.values()).index))
        raise PqlError(f'expected a unit of time, found "{str(token)[:20]}"', _at(token), expected)
    return unit


def _direction(tree: Branch) -> s.Direction:
    return "before" if _children(tree)[0] == "before" else "after"


def _unescaped(token: Branch) -> str:
    inner = str(token)[1:-1]
    if "\\" not in inner:
        return inner

    def one(match: re.Match[str]) -> str:
        escape = match[1]
        if len(escape) == 5:
            return chr(int(escape[1:], 16))
        if escape not in _ESCAPED:
            raise PqlError(f"\\{escape} is no escape: a backslash is written twice", _at(token))
        return _ESCAPED[escape]

    # Two halves of one character are joined by way of UTF-16; a half alone is none.
    try:
        return _ESCAPE.sub(one, inner).encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise PqlError("half a character of Unicode", _at(token)) from None
