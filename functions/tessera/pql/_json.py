"""pql/json, written and read (contract: data-and-pql §2.8).

The kinds of nodes that are published are written as published. For the rest of the language we chose: ``let``,
``quantifier`` and ``comprehension`` with their bindings; ``occurs`` is a function of a time and a phrase, which is
one of ``distance``, ``beside``, ``during`` and ``between``; times are ``clock``, ``period`` or any value. An argument
that is evaluated per element is a ``lambda``. Operators in a row take all their operands as parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias, get_args

import orjson

from tessera.pql import syntax as s
from tessera.pql._grammar import MAX_TEXT_LENGTH
from tessera.pql._parser import MAX_DEPTH, MAX_INTEGER
from tessera.pql._signatures import PER_ELEMENT, SIGNATURES
from tessera.pql.errors import PqlError

_Json: TypeAlias = dict[str, Any]

_NAME = re.compile(r"[^\W\d]\w*")
_ARITHMETIC = ("+", "-", "*", "/", "%")
_RELATIONS = ("=", "!=", "<", "<=", ">", ">=", "in", "notIn", "like")
_UNITS: tuple[str, ...] = get_args(s.Unit)
_LITERAL_TYPES = {bool: "Boolean", str: "String", int: "Integer", float: "Double"}


def to_json(node: s.Node) -> str:
    """Write a query as pql/json; raises PqlError if it is too deep for JSON."""
    used = {getattr(part, name, None) for part in s.walk(node) for name in ("name", "key")}
    prefix = "item"
    while any(isinstance(name, str) and name.startswith(prefix) for name in used):
        prefix += "_"
    try:
        return orjson.dumps(_Writer(prefix, 0).part(node)).decode()
    except (TypeError, RecursionError):
        raise PqlError("the query is nested too deeply for JSON") from None


class _Writer:
    """Writes what stands inside of ``depth`` elements; an element's variable is the prefix with its depth."""

    def __init__(self, prefix: str, depth: int) -> None:
        self._prefix = prefix
        self._depth = depth

    def part(self, part: s.Part) -> _Json:  # noqa: PLR0911, PLR0912 - one case per kind of node
        match part:
            case s.Literal(value):
                return {"nodeType": "literal", "literalType": _LITERAL_TYPES[type(value)], "value": value}
            case s.Parameter(number):
                return {"nodeType": "parameterReference", "position": number}
            case s.Item(level):
                return {"nodeType": "varRef", "varName": f"{self._prefix}{self._depth - level}"}
            case s.Variable(name):
                return {"nodeType": "varRef", "varName": name}
            case s.Field(source, name):
                return {"nodeType": "fieldLookup", "fieldName": name, "object": self.part(source)}
            case s.Array(items):
                return {"nodeType": "literal", "literalType": "List", "value": self._all(items)}
            case s.Object(entries):
                written = {key: self.part(entry) for key, entry in entries}
                return {"nodeType": "literal", "literalType": "XDMObject", "value": written}
            case s.Call(function, receiver, arguments):
                return self._apply(function, *([] if receiver is None else [receiver]), *arguments)
            case s.Element(body, key):
                return self._lambda(body, key)
            case s.Negative(operand):
                return self._apply("-", operand)
            case s.Arithmetic():
                return self._arithmetic(part)
            case s.Comparison(operator, left, right):
                return self._apply(operator, left, right)
            case s.Not(operand):
                return self._apply("not", operand)
            case s.And(operands):
                return self._apply("and", *operands)
            case s.Or(operands):
                return self._apply("or", *operands)
            case s.Occurs(subject, when):
                return self._apply("occurs", subject, when)
        return self._structure(part)

    def _structure(self, part: s.Part) -> _Json:  # noqa: PLR0911, PLR0912 - one case per kind of node
        match part:
            case s.Let(name, bound, body):
                return {"nodeType": "let", "varName": name, "value": self.part(bound), "body": self.part(body)}
            case s.Quantified(quantifier, bindings):
                return {"nodeType": "quantifier", "quantifier": quantifier, "bindings": self._all(bindings)}
            case s.Comprehension(function, element, binding):
                over = self.part(binding)
                return {
                    "nodeType": "comprehension",
                    "fnName": function,
                    "element": self.part(element),
                    "binding": over,
                }
            case s.Binding(name, source, condition):
                where = {} if condition is None else {"where": self.part(condition)}
                return {"varName": name, "array": self.part(source), **where}
            case s.Distance(operator, count, unit, direction, anchor):
                phrase = {"operator": operator, "count": count, "unit": unit, "direction": direction}
                return {"nodeType": "distance", **phrase, "anchor": self.part(anchor)}
            case s.Beside(direction, anchor):
                return {"nodeType": "beside", "direction": direction, "anchor": self.part(anchor)}
            case s.During(anchor):
                return {"nodeType": "during", "anchor": self.part(anchor)}
            case s.Between(first, last):
                return {"nodeType": "between", "first": self.part(first), "last": self.part(last)}
            case s.Clock(word):
                return {"nodeType": "clock", "word": word}
            case s.Period(which, unit):
                return {"nodeType": "period", "which": which, "unit": unit}
            case s.Chain(source, timestamp, steps):
                chain = {"array": self.part(source), "timestampField": self.part(timestamp)}
                return {"nodeType": "chain", **chain, "elements": self._all(steps)}
            case s.Step(name, what, when, where, count):
                step = {"name": name, "what": self.part(what), "count": count}
                if when is not None:
                    step["when"] = self._lambda(when, None)
                if where is not None:
                    step["where"] = self.part(where)
                return step
        raise AssertionError(part)

    def _all(self, parts: tuple[s.Part, ...]) -> list[_Json]:
        return [self.part(part) for part in parts]

    def _apply(self, function: str, *parameters: s.Part) -> _Json:
        return {"nodeType": "fnApply", "fnName": function, "params": self._all(parameters)}

    def _lambda(self, body: s.Part, key: str | None) -> _Json:
        inner = _Writer(self._prefix, self._depth + 1)
        name = f"{self._prefix}{inner._depth}"
        return {"nodeType": "lambda", "varNames": [name] if key is None else [key, name], "body": inner.part(body)}

    def _arithmetic(self, node: s.Arithmetic) -> _Json:
        first, rest = s.terms(node)
        written = self.part(first)
        last = ""
        for operator, right, _ in rest:
            if operator == last:
                written["params"].append(self.part(right))
            else:
                written = {"nodeType": "fnApply", "fnName": operator, "params": [written, self.part(right)]}
            last = operator
        return written


def from_json(text: str) -> s.Node:
    """Read pql/json as a tree, which has yet to be checked; raises PqlError."""
    if len(text) > 10 * MAX_TEXT_LENGTH:
        raise PqlError(f"a query in JSON can have at most {10 * MAX_TEXT_LENGTH} characters")
    try:
        tree = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise PqlError(f"not JSON: {error}") from None
    return _Reader({}, 0, 0).node(tree)


class _Reader:
    """Reads what stands inside of ``elements`` lambdas; a name is an item of that depth or (None) a variable."""

    def __init__(self, names: dict[str, int | None], elements: int, depth: int) -> None:
        self._names = names
        self._elements = elements
        self._depth = depth
        if depth > 3 * MAX_DEPTH:
            raise PqlError(f"the query is nested deeper than {MAX_DEPTH} levels")

    def node(self, tree: Any) -> s.Node:
        kind = _text(_object(tree), "nodeType")
        read: dict[str, Callable[[_Json], s.Node]] = {
            "literal": self._literal,
            "parameterReference": lambda tree: s.Parameter(_whole(tree, "position", least=1)),
            "varRef": self._variable,
            "fieldLookup": self._field,
            "fnApply": self._apply,
            "let": self._let,
            "quantifier": self._quantified,
            "comprehension": self._comprehension,
            "chain": self._chain,
        }
        if kind not in read:
            raise PqlError(f'"{kind[:40]}" is no kind of node here')
        return read[kind](tree)

    def _inner(self, tree: _Json, key: str) -> s.Node:
        return self._deeper().node(_member(tree, key))

    def _deeper(self) -> _Reader:
        return _Reader(self._names, self._elements, self._depth + 1)

    def _knowing(self, name: str) -> _Reader:
        return _Reader({**self._names, name: None}, self._elements, self._depth + 1)

    def _literal(self, tree: _Json) -> s.Node:
        kind, value = _text(tree, "literalType"), _member(tree, "value")
        match kind, value:
            case "List", list():
                return s.Array(tuple(self._deeper().node(each) for each in value))
            case "XDMObject", dict():
                return s.Object(tuple((key, self._deeper().node(each)) for key, each in value.items()))
            case ("String", str()) | ("Boolean", bool()):
                return s.Literal(value)
            case "Integer" | "Long" | "Number" | "Double", int() | float() if not isinstance(value, bool):
                whole = isinstance(value, int) and kind != "Double"
                if whole and abs(value) > MAX_INTEGER:
                    raise PqlError("a number too large")
                return s.Literal(value if whole else float(value))
        raise PqlError(f'a literal of type "{kind[:40]}" does not have such a value')

    def _variable(self, tree: _Json) -> s.Node:
        name = _name(tree, "varName")
        if name not in self._names:
            raise PqlError(f'there is no variable "{name}"')
        depth = self._names[name]
        return s.Variable(name) if depth is None else s.Item(self._elements - depth)

    def _field(self, tree: _Json) -> s.Node:
        # Long paths lean to the left, like sums.
        names: list[str] = []
        while isinstance(tree, dict) and tree.get("nodeType") == "fieldLookup" and len(names) <= MAX_DEPTH:
            names.append(_name(tree, "fieldName"))
            tree = _member(tree, "object")
        node = self._deeper().node(tree)
        for name in reversed(names):
            node = s.Field(node, name)
        return node

    def _apply(self, tree: _Json) -> s.Node:  # noqa: PLR0911 - one case per kind of node
        function, trees = _text(tree, "fnName"), _list(tree, "params")
        reader = self._deeper()
        if function in SIGNATURES:
            return reader._call(function, trees)
        if function == "occurs" and len(trees) == 2:
            return s.Occurs(reader.node(trees[0]), reader._when(trees[1]))
        operands = tuple(reader.node(each) for each in trees)
        match function, operands:
            case "not" | "!", (operand,):
                return s.Not(operand)
            case "-", (operand,):
                return s.Negative(operand)
            case "and", (_, _, *_):
                return s.And(operands)
            case "or", (_, _, *_):
                return s.Or(operands)
            case _, (left, right) if function in _RELATIONS:
                return s.Comparison(function, left, right)  # type: ignore[arg-type]
            case _, (first, _, *_) if function in _ARITHMETIC:
                for right in operands[1:]:
                    first = s.Arithmetic(function, first, right)  # type: ignore[arg-type]
                return first
        raise PqlError(f'there is no function "{function[:40]}" of {len(trees)} parameters')

    def _call(self, function: str, trees: list[Any]) -> s.Node:
        signature = SIGNATURES[function]
        has_receiver = signature.receiver is not None
        asked = (*(["any"] if has_receiver else []), *signature.parameters)
        if not len(asked) - len(signature.parameters) + signature.required <= len(trees) <= len(asked):
            raise PqlError(f'"{function}" does not take {len(trees)} parameters')
        given = [
            self._element(each, of_map=function == "map") if wanted in PER_ELEMENT else self.node(each)
            for wanted, each in zip(asked, trees, strict=False)
        ]
        return s.Call(function, given[0] if has_receiver else None, tuple(given[1:] if has_receiver else given))

    def _element(self, tree: Any, *, of_map: bool = False) -> s.Element:
        inner, key = self._within(tree, of_map=of_map)
        return s.Element(inner.node(_member(tree, "body")), key)

    def _within(self, tree: Any, *, of_map: bool = False) -> tuple[_Reader, str | None]:
        """Go into a lambda."""
        if _text(_object(tree), "nodeType") != "lambda":
            raise PqlError("what is evaluated for each element is a lambda")
        names = [_checked_name(each) for each in _list(tree, "varNames")]
        if not 1 <= len(set(names)) == len(names) <= (2 if of_map else 1):
            raise PqlError("a lambda has one name here, or those of key and group in a map of groups")
        known: dict[str, int | None] = {**self._names, names[-1]: self._elements + 1}
        if len(names) == 2:
            known[names[0]] = None
        return _Reader(known, self._elements + 1, self._depth + 1), names[0] if len(names) == 2 else None

    def _let(self, tree: _Json) -> s.Node:
        name = _name(tree, "varName")
        return s.Let(name, self._inner(tree, "value"), self._knowing(name)._inner(tree, "body"))

    def _quantified(self, tree: _Json) -> s.Node:
        quantifier: Any = _one_of(tree, "quantifier", ("exists", "forall", "select"))
        reader: _Reader = self
        bindings = []
        for each in _list(tree, "bindings"):
            binding, reader = reader._binding(each)
            bindings.append(binding)
        if not bindings:
            raise PqlError("a quantifier without bindings")
        return s.Quantified(quantifier, tuple(bindings))

    def _comprehension(self, tree: _Json) -> s.Node:
        function: Any = _one_of(tree, "fnName", ("sum", "count", "average", "min", "max"))
        binding, inner = self._binding(_member(tree, "binding"))
        return s.Comprehension(function, inner._inner(tree, "element"), binding)

    def _binding(self, tree: Any) -> tuple[s.Binding, _Reader]:
        name = _name(_object(tree), "varName")
        inner = self._knowing(name)
        condition = inner._inner(tree, "where") if tree.get("where") is not None else None
        return s.Binding(name, self._inner(tree, "array"), condition), inner

    def _when(self, tree: Any) -> s.When:
        match _text(_object(tree), "nodeType"):
            case "distance":
                operator: Any = _one_of(tree, "operator", ("=", "!=", "<", "<=", ">", ">="))
                unit: Any = _one_of(tree, "unit", _UNITS)
                count = _whole(tree, "count", least=0)
                return s.Distance(operator, count, unit, _direction(tree), self._time(tree, "anchor"))
            case "beside":
                return s.Beside(_direction(tree), self._time(tree, "anchor"))
            case "during":
                return s.During(self._time(tree, "anchor"))
            case "between":
                return s.Between(self._time(tree, "first"), self._time(tree, "last"))
        raise PqlError("that is no phrase of occurs")

    def _time(self, tree: _Json, key: str) -> s.Time:
        time = _object(_member(tree, key))
        match time.get("nodeType"):
            case "clock":
                word: Any = _one_of(time, "word", ("now", "today", "yesterday", "tomorrow"))
                return s.Clock(word)
            case "period":
                which: Any = _one_of(time, "which", ("this", "last", "next"))
                unit: Any = _one_of(time, "unit", _UNITS)
                return s.Period(which, unit)
        return self._deeper().node(time)

    def _chain(self, tree: _Json) -> s.Node:
        steps = tuple(self._step(_object(each), number) for number, each in enumerate(_list(tree, "elements")))
        timestamp = self._element(_member(tree, "timestampField"))
        source = timestamp.body
        while isinstance(source, s.Field):
            source = source.source
        if source != s.Item(0) or source is timestamp.body or not steps:
            raise PqlError("a chain has steps, and a path to the time of an element")
        return s.Chain(self._inner(tree, "array"), timestamp, steps)

    def _step(self, tree: _Json, number: int) -> s.Step:
        name = _name(tree, "name") if "name" in tree else f"C{number}"
        when = where = None
        if tree.get("when") is not None:
            inner, _ = self._within(tree["when"])
            when = inner._when(_member(tree["when"], "body"))
        if tree.get("where") is not None:
            where = self._element(tree["where"])
        count = _whole(tree, "count", least=1) if "count" in tree else 1
        return s.Step(name, self._element(_member(tree, "what")), when, where, count)


def _object(tree: Any) -> _Json:
    if not isinstance(tree, dict):
        raise PqlError("expected a node")
    return tree


def _member(tree: _Json, key: str) -> Any:
    if _object(tree).get(key) is None:
        raise PqlError(f'a node without "{key}"')
    return tree[key]


def _text(tree: _Json, key: str) -> str:
    value = _member(tree, key)
    if not isinstance(value, str):
        raise PqlError(f'"{key}" is no string')
    return value


def _list(tree: _Json, key: str) -> list[Any]:
    value = _member(tree, key)
    if not isinstance(value, list):
        raise PqlError(f'"{key}" is no list')
    return value


def _whole(tree: _Json, key: str, *, least: int) -> int:
    value = _member(tree, key)
    if type(value) is not int or not least <= value <= MAX_INTEGER:
        raise PqlError(f'"{key}" is no whole number from {least}')
    return value


def _one_of(tree: _Json, key: str, words: tuple[str, ...]) -> str:
    value = _text(tree, key)
    if value not in words:
        raise PqlError(f'"{key}" is one of {", ".join(words)}')
    return value


def _direction(tree: _Json) -> Any:
    return "before" if _one_of(tree, "direction", ("before", "after", "from")) == "before" else "after"


def _name(tree: _Json, key: str) -> str:
    return _checked_name(_text(tree, key))


def _checked_name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise PqlError("a name begins with a letter or _, and goes on with these and digits")
    return value
