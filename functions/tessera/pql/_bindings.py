"""How quantifiers, comprehensions and chains are compiled: to loops inside each other, and to loops in a row."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

from tessera.pql import syntax as s
from tessera.pql._arrays import REDUCING, for_each
from tessera.pql._quotation import constant, expression
from tessera.pql._times import at_clock

if TYPE_CHECKING:
    from tessera.pql._compiler import Compiler


def _bound(compiler: Compiler, binding: s.Binding, act: Callable[[str, ast.expr | None], None]) -> None:
    """Emit a loop over what a name is bound to; ``act`` gets the name's value and the condition."""
    at, item = binding.at, compiler.new_name()
    array = compiler.named(compiler.value(binding.source), at)
    with compiler.loop(at) as weight, compiler.block() as body, compiler.variable(binding.name, item):
        act(item, None if binding.condition is None else compiler.test(binding.condition))
    template = "for ITEM in run.elements(ARRAY, WEIGHT):\n    BODY"
    compiler.emit(template, at, ITEM=item, ARRAY=array, WEIGHT=weight, BODY=body)


def _if_bound(compiler: Compiler, condition: ast.expr | None, at: s.Position, act: Callable[[], None]) -> None:
    if condition is None:
        act()
        return
    with compiler.block() as body:
        act()
    compiler.emit("if TEST:\n    BODY", at, TEST=condition, BODY=body)


def quantified(compiler: Compiler, node: s.Quantified) -> ast.expr:
    """Compile exists, forall or select."""
    result, at, bindings = compiler.new_name(), node.at, list(node.bindings)
    match node.quantifier:
        case "exists":
            compiler.emit("RESULT = False", at, RESULT=result)
            _some(compiler, bindings, result, lambda _: compiler.emit("RESULT = True", at, RESULT=result))
        case "forall":
            compiler.emit("RESULT = True", at, RESULT=result)
            _all(compiler, bindings, result)
        case "select":
            compiler.emit("RESULT = []", at, RESULT=result)
            _selected(compiler, bindings, result, at)
    return expression("RESULT", at, RESULT=result)


def _some(compiler: Compiler, bindings: list[s.Binding], result: str, found: Callable[[str], None]) -> None:
    """Emit loops that end with the first tuple that meets all conditions."""
    binding, *rest = bindings

    def act(item: str, condition: ast.expr | None) -> None:
        _if_bound(compiler, condition, binding.at, lambda: inner(item))

    def inner(item: str) -> None:
        if rest:
            _some(compiler, rest, result, found)
            compiler.emit("if RESULT:\n    break", binding.at, RESULT=result)
        else:
            found(item)
            compiler.emit("break", binding.at)

    _bound(compiler, binding, act)


def _all(compiler: Compiler, bindings: list[s.Binding], result: str) -> None:
    """Emit loops that end with the first tuple that fails a condition."""
    binding, *rest = bindings

    def act(_: str, condition: ast.expr | None) -> None:
        if condition is not None:
            template = "if not TEST:\n    RESULT = False\n    break"
            compiler.emit(template, binding.at, TEST=condition, RESULT=result)
        if rest:
            _all(compiler, rest, result)
            compiler.emit("if not RESULT:\n    break", binding.at, RESULT=result)

    _bound(compiler, binding, act)


def _selected(compiler: Compiler, bindings: list[s.Binding], result: str, at: s.Position) -> None:
    first, *rest = bindings

    def act(item: str, condition: ast.expr | None) -> None:
        _if_bound(compiler, condition, at, lambda: inner(item))

    def inner(item: str) -> None:
        if not rest:
            compiler.emit("RESULT.append(ITEM)", at, RESULT=result, ITEM=item)
            return
        found = compiler.new_name()
        compiler.emit("FOUND = False", at, FOUND=found)
        _some(compiler, rest, found, lambda _: compiler.emit("FOUND = True", at, FOUND=found))
        compiler.emit("if FOUND:\n    RESULT.append(ITEM)", at, FOUND=found, RESULT=result, ITEM=item)

    _bound(compiler, first, act)


def comprehension(compiler: Compiler, node: s.Comprehension) -> ast.expr:
    """Compile an aggregate over a binding."""
    values, at = compiler.new_name(), node.at

    def act(_: str, condition: ast.expr | None) -> None:
        _if_bound(compiler, condition, at, gather)

    def gather() -> None:
        first, again = compiler.twice(compiler.value(node.element), at)
        template = "if FIRST is not None:\n    VALUES.append(AGAIN)"
        compiler.emit(template, at, VALUES=values, FIRST=first, AGAIN=again)

    compiler.emit("VALUES = []", at, VALUES=values)
    _bound(compiler, node.binding, act)
    function = "len" if node.function == "count" else REDUCING[node.function]
    return expression(f"{function}(VALUES)", at, VALUES=values)


# Chains


def chain(compiler: Compiler, node: s.Chain) -> ast.expr:
    """Compile a chain: its steps look one after the other at what came later than the step before."""
    at = node.at
    times, elements, result = (compiler.new_name() for _ in range(3))
    compiler.emit("TIMES = []; ELEMENTS = []", at, TIMES=times, ELEMENTS=elements)

    def gather(item: str) -> None:
        moment = compiler.value(node.timestamp.body)
        template = "TIMES.append(time_of(MOMENT)); ELEMENTS.append(ITEM)"
        compiler.emit(template, at, TIMES=times, ELEMENTS=elements, MOMENT=moment, ITEM=item)

    for_each(compiler, node.source, gather)
    sequence = compiler.new_name()
    template = "SEQUENCE = run.in_order(TIMES, ELEMENTS); RESULT = True"
    compiler.emit(template, at, SEQUENCE=sequence, TIMES=times, ELEMENTS=elements, RESULT=result)
    for step in node.steps:
        _step(compiler, step, sequence, result)
    return expression("RESULT", at, RESULT=result)


def _step(compiler: Compiler, step: s.Step, sequence: str, result: str) -> None:
    time, item, needed, at = compiler.new_name(), compiler.new_name(), compiler.new_name(), step.at
    with compiler.loop(at) as weight, compiler.block() as body, compiler.element(item):
        parts: list[Callable[[], ast.expr]] = [lambda: compiler.test(step.what.body)]
        if (when := step.when) is not None:
            parts.append(lambda: compiler.meets(expression("TIME", at, TIME=time), when, at_clock(when)))
        if (where := step.where) is not None:
            parts.append(lambda: compiler.test(where.body))
        test = compiler.chosen(parts, ast.And(), at)
        template = "if TEST:\n    NEEDED -= 1\n    if NEEDED == 0:\n        RESULT = True\n        break"
        compiler.emit(template, at, TEST=test, NEEDED=needed, RESULT=result)
    compiler.emit(
        "if RESULT:\n"
        "    RESULT = False; NEEDED = COUNT\n"
        "    for TIME, ITEM in run.array(SEQUENCE, WEIGHT):\n        BODY\n"
        "    if RESULT:\n        SEQUENCE = run.later(SEQUENCE, TIME)",
        at,
        RESULT=result,
        SEQUENCE=sequence,
        TIME=time,
        ITEM=item,
        NEEDED=needed,
        BODY=body,
        WEIGHT=weight,
        COUNT=constant(step.count, at),
    )
