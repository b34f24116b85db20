"""Writes a syntax tree as pql/text, in one way for each tree, and so that it is read as the same tree again."""

from __future__ import annotations

from decimal import Decimal

from tessera.pql import syntax as s

# How tightly the kinds of nodes bind: a part that binds less than its place asks for stands in parentheses.
_WHOLE, _OR, _AND, _NOT, _COMPARISON, _SUM, _PRODUCT, _UNARY, _POSTFIX = range(9)
_LEVELS: dict[type, int] = {
    s.Let: _WHOLE,
    s.Comprehension: _WHOLE,
    s.Quantified: _WHOLE,
    s.Or: _OR,
    s.And: _AND,
    s.Not: _NOT,
    s.Comparison: _COMPARISON,
    s.Occurs: _COMPARISON,
    s.Negative: _UNARY,
}
# Words that are not read as names where a value begins.
_RESERVED = frozenset(
    (
        *("let", "exists", "forall", "select", "not", "and", "or", "in", "notIn", "like", "occurs", "over", "from"),
        *("where", "on", "between", "before", "after", "true", "false", "this", "last", "next", "chain", "CHAIN"),
        *("sum", "count", "average", "min", "max", "now", "today", "yesterday", "tomorrow"),
    )
)
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def written(node: s.Node) -> str:
    """Write a query."""
    return _Writer(0, frozenset()).node(node, _WHOLE)


def quoted(text: str) -> str:
    """Write a string literal."""
    return '"' + "".join(_ESCAPES.get(character, character) for character in text) + '"'


class _Writer:
    """Writes what stands inside of ``depth`` elements, where some names are variables."""

    def __init__(self, depth: int, variables: frozenset[str]) -> None:
        self._depth = depth
        self._variables = variables

    def node(self, node: s.Part, least: int) -> str:
        level = self._level(node)
        text = self._bare(node)
        return f"({text})" if level < least else text

    def _level(self, node: s.Part) -> int:
        if isinstance(node, s.Arithmetic):
            return _SUM if node.operator in "+-" else _PRODUCT
        if isinstance(node, s.Literal) and isinstance(node.value, int | float) and str(node.value).startswith("-"):
            return _UNARY
        return _LEVELS.get(type(node), _POSTFIX)

    def _bare(self, node: s.Part) -> str:  # noqa: PLR0911, PLR0912 - one case per kind of node
        match node:
            case s.Literal(value):
                return _literal(value)
            case s.Parameter(number):
                return f"${number}"
            case s.Item(level):
                return "^" * level + "this"
            case s.Variable(name):
                return name
            case s.Field(source, name):
                return self._field(source, name)
            case s.Array(items):
                return f"[{self._list(items)}]"
            case s.Object(entries):
                return "{" + ", ".join(f"{quoted(key)}: {self.node(value, _WHOLE)}" for key, value in entries) + "}"
            case s.Negative(operand):
                return f"- {self.node(operand, _UNARY)}"
            case s.Arithmetic():
                return self._arithmetic(node)
            case s.Comparison(operator, left, right):
                return f"{self.node(left, _SUM)} {operator} {self.node(right, _SUM)}"
            case s.Not(operand):
                return f"not {self.node(operand, _NOT)}"
            case s.And(operands):
                return " and ".join(self.node(operand, _NOT) for operand in operands)
            case s.Or(operands):
                return " or ".join(self.node(operand, _AND) for operand in operands)
            case s.Let(name, bound, body):
                inner = self._knowing(name)
                return f"let {name} = {self.node(bound, _SUM)} in {inner.node(body, _WHOLE)}"
            case s.Quantified(quantifier, bindings):
                return f"{quantifier} {self._bindings(bindings)[0]}"
            case s.Comprehension(function, element, binding):
                text, inner = self._bindings((binding,))
                return f"{function} ({inner.node(element, _WHOLE)}) over {text}"
            case s.Occurs(subject, when):
                return f"{self.node(subject, _SUM)} occurs {self._when(when)}"
            case s.Chain():
                return self._chain(node)
            case s.Call():
                return self._call(node)
        raise AssertionError(node)

    def _knowing(self, *names: str) -> _Writer:
        return _Writer(self._depth, self._variables.union(names))

    def _within_element(self) -> _Writer:
        return _Writer(self._depth + 1, self._variables)

    def _list(self, nodes: tuple[s.Node, ...]) -> str:
        return ", ".join(self.node(node, _WHOLE) for node in nodes)

    def _field(self, source: s.Node, name: str) -> str:
        can_be_bare = name not in self._variables and name not in _RESERVED
        match source:
            case s.Parameter(1) if name == "xEvent" and name not in self._variables:
                return name
            case s.Parameter(1) if self._depth == 0 and can_be_bare:
                return name
            case s.Item(0) if can_be_bare and name != "xEvent":
                return name
            case s.Item(level) if level > 0 and name != "this":
                return "^" * level + name
        return f"{self.node(source, _POSTFIX)}.{name}"

    def _arithmetic(self, node: s.Arithmetic) -> str:
        operators = "+-" if node.operator in "+-" else "*/%"
        below = _PRODUCT if node.operator in "+-" else _UNARY
        parts: list[str] = []
        left: s.Node = node
        while isinstance(left, s.Arithmetic) and left.operator in operators:
            parts += [self.node(left.right, below), left.operator]
            left = left.left
        return " ".join([self.node(left, below), *reversed(parts)])

    def _bindings(self, bindings: tuple[s.Binding, ...]) -> tuple[str, _Writer]:
        writer, texts = self, []
        for binding in bindings:
            text = f"{binding.name} from {writer.node(binding.source, _OR)}"
            writer = writer._knowing(binding.name)
            if binding.condition is not None:
                text += f" where {writer.node(binding.condition, _OR)}"
            texts.append(text)
        return ", ".join(texts), writer

    def _call(self, node: s.Call) -> str:
        if node.receiver is None:
            return f"{node.function}({self._list(node.arguments)})"
        receiver = self.node(node.receiver, _POSTFIX)
        arguments = ", ".join(self._argument(argument) for argument in node.arguments)
        return f"{receiver}[{arguments}]" if node.function == "filter" else f"{receiver}.{node.function}({arguments})"

    def _argument(self, node: s.Node) -> str:
        if not isinstance(node, s.Element):
            return self.node(node, _WHOLE)
        inner = self._within_element()
        if node.key is None:
            return inner.node(node.body, _WHOLE)
        group = "group"
        while group == node.key or group in self._variables:
            group += "_"
        return f"({node.key}, {group}) => {inner._knowing(node.key, group).node(node.body, _WHOLE)}"

    def _when(self, when: s.When) -> str:
        match when:
            case s.Distance(operator, count, unit, direction, anchor):
                return f"{operator} {count} {_plural(unit)} {direction} {self._time(anchor)}"
            case s.Beside(direction, anchor):
                return f"{direction} {self._time(anchor)}"
            case s.Between(first, last):
                return f"between {self._time(first)} and {self._time(last)}"
        return f"on {self._time(when.anchor)}"

    def _time(self, time: s.Time) -> str:
        match time:
            case s.Clock(word):
                return word
            case s.Period(which, unit):
                return f"{which} {unit}"
        return self.node(time, _SUM)

    def _chain(self, node: s.Chain) -> str:
        inner = self._within_element()
        steps = ", ".join(f"{step.name}: {inner._step(step)}" for step in node.steps)
        path: list[str] = []
        timestamp = node.timestamp.body
        while isinstance(timestamp, s.Field):
            path.insert(0, timestamp.name)
            timestamp = timestamp.source
        return f"chain({self.node(node.source, _WHOLE)}, {'.'.join(path)}, [{steps}])"

    def _step(self, step: s.Step) -> str:
        parts = [f"WHAT({self.node(step.what.body, _WHOLE)})"]
        if step.when is not None:
            parts.append(f"WHEN({self._when(step.when)})")
        if step.where is not None:
            parts.append(f"WHERE({self.node(step.where.body, _WHOLE)})")
        if step.count != 1:
            parts.append(f"COUNT({step.count})")
        return " ".join(parts)


def _literal(value: str | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int):
        return str(value)
    digits = format(Decimal(repr(value)), "f")
    return digits if "." in digits else f"{digits}.0"


def _plural(unit: s.Unit) -> str:
    return {"century": "centuries", "millennium": "millennia"}.get(unit, f"{unit}s")
