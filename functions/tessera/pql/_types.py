"""What a query gives, as far as it can be told without data; and the refusal of what can never work.

A field may hold anything, so its type is unknown and fits everywhere. Null fits everywhere too.
"""

from __future__ import annotations

from datetime import date
from typing import TypeAlias, cast

from tessera.pql import syntax as s
from tessera.pql._patterns import check_pattern
from tessera.pql._signatures import SIGNATURES, Type
from tessera.pql.errors import PqlError

_Variables: TypeAlias = dict[str, Type]

# What fits where, besides what is unknown.
_FITTING: dict[str, tuple[Type, ...]] = {
    "number": ("number", "integer"),
    "integer": ("integer", "number"),
    "string": ("string", "timestamp"),
    "timestamp": ("timestamp", "string", "integer", "number"),
    "truth": ("boolean", "array"),
    "condition": ("boolean", "array"),
    "array": ("array",),
    "object": ("object",),
}
_A = {
    "integer": "an integer",
    "array": "an array",
    "object": "an object",
    "truth": "a boolean",
    "condition": "a boolean",
}
_NUMBERS = ("number", "integer")
_STRINGS = ("string", "timestamp")


def type_of(node: s.Node) -> Type:
    """Tell the type of a query's result; raises PqlError for one that cannot be evaluated whatever the data."""
    return _type(node, {})


def _type(node: s.Node, variables: _Variables) -> Type:  # noqa: PLR0911, PLR0912 - one case per kind of node
    match node:
        case s.Literal(value):
            return _of_literal(value)
        case s.Variable(name):
            return variables.get(name, "unknown")
        case s.Field(source):
            return "array" if _type(source, variables) == "array" else "unknown"
        case s.Array(items):
            for item in items:
                _type(item, variables)
            return "array"
        case s.Object(entries):
            for _, entry in entries:
                _type(entry, variables)
            return "object"
        case s.Negative(operand):
            return _expect("number", operand, variables, '"-"')
        case s.Arithmetic():
            return _of_arithmetic(node, variables)
        case s.Comparison():
            _check_comparison(node, variables)
            return "boolean"
        case s.Not(operand):
            _expect("truth", operand, variables, '"not"')
            return "boolean"
        case s.And(operands) | s.Or(operands):
            for operand in operands:
                _expect("truth", operand, variables, '"and"' if isinstance(node, s.And) else '"or"')
            return "boolean"
        case s.Let(name, bound, body):
            return _type(body, {**variables, name: _type(bound, variables)})
        case s.Quantified(quantifier, bindings):
            for binding in bindings:
                variables = _bind(binding, variables)
            return "array" if quantifier == "select" else "boolean"
        case s.Comprehension(function, element, binding):
            return _of_elements(function, _type(element, _bind(binding, variables)), element)
        case s.Occurs(subject, when):
            _expect("timestamp", subject, variables, '"occurs"')
            _check_when(when, variables)
            return "boolean"
        case s.Chain():
            _check_chain(node, variables)
            return "boolean"
        case s.Call():
            return _of_call(node, variables)
    return "unknown"


def _of_literal(value: object) -> Type:
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "integer" if isinstance(value, int) else "number"


def _expect(asked: str, node: s.Node, variables: _Variables, by: str) -> Type:
    found = _type(node, variables)
    _fit(asked, found, node, by)
    return found


def _fit(asked: str, found: Type, node: s.Node, by: str) -> None:
    if asked not in ("any", "each") and found != "unknown" and found not in _FITTING[asked]:
        raise PqlError(f"{by} needs {_named(asked)}, found {_named(found)}", node.at, (_named(asked),))


def _named(kind: str) -> str:
    return _A.get(kind, f"a {kind}")


def _of_arithmetic(node: s.Arithmetic, variables: _Variables) -> Type:
    first, rest = s.terms(node)
    types = [_expect("number", first, variables, f'"{rest[0][0]}"')]
    types += [_expect("number", right, variables, f'"{operator}"') for operator, right, _ in rest]
    exact = all(each == "integer" for each in types) and all(operator != "/" for operator, _, _ in rest)
    return "integer" if exact else "number"


def _check_comparison(node: s.Comparison, variables: _Variables) -> None:
    left, right = _type(node.left, variables), _type(node.right, variables)
    match node.operator:
        case "in" | "notIn":
            _fit("array", right, node.right, f'"{node.operator}"')
        case "like":
            _fit("string", left, node.left, '"like"')
            _fit("string", right, node.right, '"like"')
        case "<" | "<=" | ">" | ">=":
            for found, operand in ((left, node.left), (right, node.right)):
                if found not in (*_NUMBERS, *_STRINGS, "unknown"):
                    raise PqlError(
                        f'"{node.operator}" needs numbers, strings or times, not {_named(found)}', operand.at
                    )
            if "unknown" not in (left, right) and (left in _NUMBERS) != (right in _NUMBERS):
                raise PqlError(f'"{node.operator}" cannot compare {_named(left)} with {_named(right)}', node.at)


def _check_when(when: s.When, variables: _Variables) -> None:
    anchors = (when.first, when.last) if isinstance(when, s.Between) else (when.anchor,)
    for anchor in anchors:
        if not isinstance(anchor, s.Clock | s.Period):
            _expect("timestamp", anchor, variables, '"occurs"')


def _check_chain(node: s.Chain, variables: _Variables) -> None:
    _expect("array", node.source, variables, '"chain"')
    for step in node.steps:
        _expect("condition", step.what.body, variables, '"WHAT"')
        if step.when is not None:
            _check_when(step.when, variables)
        if step.where is not None:
            _expect("condition", step.where.body, variables, '"WHERE"')


def _bind(binding: s.Binding, variables: _Variables) -> _Variables:
    _expect("array", binding.source, variables, '"from"')
    inner: _Variables = {**variables, binding.name: "unknown"}
    if binding.condition is not None:
        _expect("truth", binding.condition, inner, '"where"')
    return inner


def _of_elements(function: str, found: Type, element: s.Node) -> Type:
    """Type of an aggregate over elements of a type; a list among them stands for its own elements."""
    if function == "count":
        return "integer"
    if found in ("boolean", "object") or (function in ("sum", "average") and found in _STRINGS):
        raise PqlError(f'"{function}" cannot take {_named(found)}', element.at)
    if function == "sum" and found == "integer":
        return "integer"
    return "number" if function in ("sum", "average") else "unknown" if found == "array" else found


def _of_call(node: s.Call, variables: _Variables) -> Type:
    signature = SIGNATURES[node.function]
    name = f'"{node.function}"'
    if node.function == "mapEntry":
        raise PqlError('"mapEntry" stands alone as what "map" makes of an element', node.at)
    if node.receiver is not None:
        _expect(signature.receiver or "any", node.receiver, variables, name)
    types: list[Type] = []
    for asked, argument in zip(signature.parameters, node.arguments, strict=False):
        if isinstance(argument, s.Element):
            inner = variables if argument.key is None else {**variables, argument.key: "unknown"}
            if maps_to_entries(node):
                for part in s.children(argument.body):
                    _type(cast(s.Node, part), inner)
                types.append("object")
            else:
                types.append(_expect(asked, argument.body, inner, name))
        else:
            types.append(_expect(asked, argument, variables, name))
    _check_values(node)
    match node.function:
        case "if":
            return types[1] if types[1] == types[2] else "unknown"
        case "map":
            return "object" if maps_to_entries(node) else "array"
        case "sum" | "average" | "min" | "max" if types:
            element = node.arguments[0]
            return _of_elements(node.function, types[0], element)
    return signature.result


def maps_to_entries(node: s.Call) -> bool:
    """Tell whether a call is a ``map`` that gives an object, being made of entries."""
    if node.function != "map":
        return False
    body = node.arguments[0].body if isinstance(node.arguments[0], s.Element) else None
    return isinstance(body, s.Call) and body.function == "mapEntry"


def _check_values(node: s.Call) -> None:
    """Check what is written out in a call."""
    match node.function, node.arguments:
        case "topN" | "bottomN", [_, s.Literal(int() | float() as size)] if type(size) is float or size < 0:
            raise PqlError(f'"{node.function}" needs a whole number of elements', node.arguments[1].at)
        case "date", [s.Literal(int() as year), s.Literal(int() as month), s.Literal(int() as day)]:
            try:
                date(year, month, day)
            except (ValueError, OverflowError):
                raise PqlError("there is no such date", node.at) from None
        case "matches" | "regexGroup", [s.Literal(str() as pattern), *group]:
            check_pattern(pattern, group[0].value if group and isinstance(group[0], s.Literal) else 0, node)
