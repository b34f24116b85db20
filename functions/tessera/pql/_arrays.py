"""How functions of arrays are compiled: to loops, in which filters of the array are conditions."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

from tessera.pql import syntax as s
from tessera.pql._quotation import expression
from tessera.pql._types import maps_to_entries

if TYPE_CHECKING:
    from tessera.pql._compiler import Compiler

# What makes one value of the list of those taken of the elements.
REDUCING = {"sum": "run.sum", "average": "run.average", "min": "run.smallest", "max": "run.largest"}


def call_on_array(compiler: Compiler, node: s.Call) -> ast.expr:  # noqa: PLR0911 - one case per function
    """Compile a function of an array that takes a loop."""
    assert node.receiver is not None
    at, name = node.at, node.function
    body = element(node).body if node.arguments else None
    match name:
        case "filter":
            return expression("X", at, X=_gathered(compiler, node, None, at, nulls=True, null=True))
        case "map":
            return _map(compiler, node)
        case "exists":
            return _exists(compiler, node)
        case "count":
            return _count(compiler, node.receiver, body, at)
        case "groupBy":
            keys, elements = _keyed(compiler, node)
            template = "None if KEYS is None else run.groups(KEYS, ELEMENTS)"
            return expression(template, at, KEYS=keys, ELEMENTS=elements)
        case "topN" | "bottomN":
            size = compiler.named(compiler.value(node.arguments[1]), at)
            keys, elements = _keyed(compiler, node)
            template = f"None if KEYS is None else run.ranked(KEYS, ELEMENTS, SIZE, largest={name == 'topN'})"
            return expression(template, at, KEYS=keys, ELEMENTS=elements, SIZE=size)
    values = _gathered(compiler, node.receiver, body, at, nulls=False, null=False)
    return expression(f"{REDUCING[name]}(VALUES)", at, VALUES=values)


def for_each(compiler: Compiler, source: s.Node, act: Callable[[str], None], *, is_null: str | None = None) -> None:
    """Emit a loop over an array, ``act`` emitting its body; filters of the array become conditions in it.

    ``is_null`` names what is None before and becomes an empty list if the array is not null.
    """
    conditions: list[s.Element] = []
    while isinstance(source, s.Call) and source.function == "filter":
        conditions.insert(0, element(source))
        assert source.receiver is not None
        source = source.receiver
    array, item, at = compiler.named(compiler.value(source), source.at), compiler.new_name(), source.at
    with compiler.loop(at) as weight, compiler.block() as body, compiler.element(item):
        _if_all(compiler, conditions, lambda: act(item))
    if is_null is None:
        template = "for ITEM in run.elements(ARRAY, WEIGHT):\n    BODY"
        compiler.emit(template, at, ITEM=item, ARRAY=array, WEIGHT=weight, BODY=body)
        return
    template = (
        "RESULT = None\nif ARRAY is not None:\n    RESULT = []\n    for ITEM in run.array(ARRAY, WEIGHT):\n        BODY"
    )
    compiler.emit(template, at, RESULT=is_null, ITEM=item, ARRAY=array, WEIGHT=weight, BODY=body)


def _if_all(compiler: Compiler, conditions: list[s.Element], act: Callable[[], None]) -> None:
    if not conditions:
        act()
        return
    test = compiler.test(conditions[0].body)
    with compiler.block() as body:
        _if_all(compiler, conditions[1:], act)
    compiler.emit("if TEST:\n    BODY", conditions[0].at, TEST=test, BODY=body)


def _gathered(
    compiler: Compiler, source: s.Node, node: s.Node | None, at: s.Position, *, nulls: bool, null: bool
) -> str:
    """Emit a loop that makes the list of a node's values per element; ``null`` if that of null is null."""
    result = compiler.new_name()

    def gather(item: str) -> None:
        value = expression("ITEM", at, ITEM=item) if node is None else compiler.value(node)
        if nulls:
            compiler.emit("RESULT.append(VALUE)", at, RESULT=result, VALUE=value)
            return
        first, again = compiler.twice(value, at)
        template = "if FIRST is not None:\n    RESULT.append(AGAIN)"
        compiler.emit(template, at, RESULT=result, FIRST=first, AGAIN=again)

    if not null:
        compiler.emit("RESULT = []", at, RESULT=result)
    for_each(compiler, source, gather, is_null=result if null else None)
    return result


def passes_any(compiler: Compiler, node: s.Call) -> ast.expr:
    """Compile a filter that is a condition: whether it lets any element pass."""
    result, at = compiler.new_name(), node.at
    compiler.emit("RESULT = False", at, RESULT=result)
    for_each(compiler, node, lambda _: compiler.emit("RESULT = True", at, RESULT=result))
    return expression("RESULT", at, RESULT=result)


def _map(compiler: Compiler, node: s.Call) -> ast.expr:
    assert node.receiver is not None
    mapped, at, result, key = element(node), node.at, compiler.new_name(), compiler.new_name()

    def act(item: str) -> None:
        if mapped.key is not None:
            compiler.emit("KEY = group_key(ITEM)", at, KEY=key, ITEM=item)
        with compiler.variable(mapped.key or "", key):
            if not maps_to_entries(node):
                compiler.emit("RESULT.append(VALUE)", at, RESULT=result, VALUE=compiler.value(mapped.body))
                return
            assert isinstance(mapped.body, s.Call)
            names = [compiler.named(compiler.value(each), at) for each in mapped.body.arguments]
            template = "RESULT.append((entry_key(NAME), VALUE))"
            compiler.emit(template, at, RESULT=result, NAME=names[0], VALUE=names[1])

    for_each(compiler, node.receiver, act, is_null=result)
    template = "None if RESULT is None else dict(RESULT)" if maps_to_entries(node) else "RESULT"
    return expression(template, at, RESULT=result)


def _exists(compiler: Compiler, node: s.Call) -> ast.expr:
    assert node.receiver is not None
    at, result, item = node.at, compiler.new_name(), compiler.new_name()
    array = compiler.value(node.receiver)
    with compiler.loop(at) as weight, compiler.block() as body, compiler.element(item):
        test = compiler.test(element(node).body)
        compiler.emit("if TEST:\n    RESULT = True\n    break", at, TEST=test, RESULT=result)
    template = "RESULT = False\nfor ITEM in run.inner_elements(ARRAY, WEIGHT):\n    BODY"
    compiler.emit(template, at, RESULT=result, ITEM=item, ARRAY=array, WEIGHT=weight, BODY=body)
    return expression("RESULT", at, RESULT=result)


def _count(compiler: Compiler, source: s.Node, element: s.Node | None, at: s.Position) -> ast.expr:
    if element is None and not (isinstance(source, s.Call) and source.function == "filter"):
        return expression("run.length(ARRAY)", at, ARRAY=compiler.value(source))
    result = compiler.new_name()

    def count(_item: str) -> None:
        if element is None:
            compiler.emit("RESULT += 1", at, RESULT=result)
        else:
            value, _ = compiler.twice(compiler.value(element), at)
            compiler.emit("if VALUE is not None:\n    RESULT += 1", at, RESULT=result, VALUE=value)

    compiler.emit("RESULT = 0", at, RESULT=result)
    for_each(compiler, source, count)
    return expression("RESULT", at, RESULT=result)


def _keyed(compiler: Compiler, node: s.Call) -> tuple[str, str]:
    """Emit a loop that makes two lists, of keys and of elements; the first is None for a null array."""
    assert node.receiver is not None
    keys, elements, at = compiler.new_name(), compiler.new_name(), node.at

    def gather(item: str) -> None:
        key = compiler.value(element(node).body)
        template = "KEYS.append(KEY); ELEMENTS.append(ITEM)"
        compiler.emit(template, at, KEYS=keys, ELEMENTS=elements, KEY=key, ITEM=item)

    compiler.emit("ELEMENTS = []", at, ELEMENTS=elements)
    for_each(compiler, node.receiver, gather, is_null=keys)
    return keys, elements


def element(node: s.Call) -> s.Element:
    """Take the argument that is evaluated per element."""
    argument = node.arguments[0]
    assert isinstance(argument, s.Element)
    return argument
