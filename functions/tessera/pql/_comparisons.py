"""How comparisons and tests of strings are compiled: with a literal on one side, to Python's own operators."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tessera.pql import _patterns
from tessera.pql import syntax as s
from tessera.pql._quotation import constant, expression
from tessera.pql._times import read_moment

if TYPE_CHECKING:
    from tessera.pql._compiler import Compiler

# How each is tested on strings, what it looks like in code, and whether it is the positive form.
STRING_PREDICATES: dict[str, tuple[Callable[[Any, Any], bool], str, bool]] = {
    "startsWith": (str.startswith, "TEXT.startswith(OTHER)", True),
    "doesNotStartWith": (str.startswith, "not TEXT.startswith(OTHER)", False),
    "endsWith": (str.endswith, "TEXT.endswith(OTHER)", True),
    "doesNotEndWith": (str.endswith, "not TEXT.endswith(OTHER)", False),
    "contains": (operator.contains, "OTHER in TEXT", True),
    "doesNotContain": (operator.contains, "OTHER not in TEXT", False),
    "equals": (operator.eq, "TEXT == OTHER", True),
    "notEqualTo": (operator.eq, "TEXT != OTHER", False),
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}
_ORDERED = {"<": "less(A, B)", "<=": "less_or_equal(A, B)", ">": "less(B, A)", ">=": "less_or_equal(B, A)"}
_ANY_EQUALITY = {"=": "run.equal(A, B)", "!=": "run.unequal(A, B)"}
_ANY_MEMBERSHIP = {"in": "run.is_in(A, B)", "notIn": "run.is_not_in(A, B)"}
_FEW = 4


def comparison(compiler: Compiler, node: s.Comparison) -> ast.expr:
    """Compile a comparison."""
    relation, left, right = node.operator, node.left, node.right
    if relation in _MIRRORED and isinstance(left, s.Literal):
        relation, left, right = _MIRRORED[relation], right, left  # type: ignore[assignment]
    value = compiler.value(left)
    match relation, right:
        case "=" | "!=", s.Literal(literal):
            return _equality(compiler, value, literal, node.at, equal=relation == "=")
        case "<" | "<=" | ">" | ">=", s.Literal(int() | float() | str() as literal) if _plain(literal):
            return _order(compiler, value, relation, literal, node.at)
        case "in" | "notIn", s.Array(items) if (known := _literals(items)) is not None:
            return _membership(compiler, value, known, node.at, positive=relation == "in")
        case "like", s.Literal(str() as pattern):
            return of_text(compiler, value, _like(compiler, pattern, node.at), node.at)
    templates = {**_ANY_EQUALITY, **_ORDERED, **_ANY_MEMBERSHIP, "like": "run.like(A, B)"}
    return expression(templates[relation], node.at, A=value, B=compiler.value(right))


def _plain(literal: object) -> bool:
    """Tell whether a literal is compared as it stands: a string that is a time is not."""
    return not isinstance(literal, bool) and not (isinstance(literal, str) and read_moment(literal) is not None)


def _equality(compiler: Compiler, value: ast.expr, literal: Any, at: s.Position, *, equal: bool) -> ast.expr:
    other = constant(literal, at)
    if isinstance(literal, bool):
        template = "FIRST is OTHER" if equal else "FIRST is not None and AGAIN is not OTHER"
    elif literal in (0, 1):
        # Python holds these to be equal to false and true.
        template = "FIRST == OTHER and type(AGAIN) is not bool"
        if not equal:
            template = "FIRST is not None and (AGAIN != OTHER or type(AGAIN) is bool)"
    else:
        template = "FIRST == OTHER" if equal else "FIRST is not None and AGAIN != OTHER"
    first, again = compiler.twice(value, at) if "AGAIN" in template or "is" in template else (value, value)
    return expression(template, at, FIRST=first, AGAIN=again, OTHER=other)


def _order(compiler: Compiler, value: ast.expr, relation: str, literal: float | str, at: s.Position) -> ast.expr:
    first, again = compiler.twice(value, at)
    fits = "type(FIRST) is str" if isinstance(literal, str) else "type(FIRST) is int or type(AGAIN) is float"
    general = _ORDERED[relation].replace("A", "AGAIN").replace("B", "OTHER")
    template = f"AGAIN {relation} OTHER if {fits} else AGAIN is not None and {general}"
    return expression(template, at, FIRST=first, AGAIN=again, OTHER=constant(literal, at))


def _literals(items: tuple[s.Node, ...]) -> list[Any] | None:
    """Take the literals of an array of strings or of numbers alone."""
    known = [item.value for item in items if isinstance(item, s.Literal)]
    of_one_kind = all(type(each) is str for each in known) or all(type(each) in (int, float) for each in known)
    return known if known and of_one_kind and len(known) == len(items) else None


def _membership(compiler: Compiler, value: ast.expr, known: list[Any], at: s.Position, *, positive: bool) -> ast.expr:
    first, again = compiler.twice(value, at)
    few = len(known) <= _FEW and isinstance(known[0], str)
    # Few strings are compared one by one, which works for any value; a set has to be asked for what can be in it.
    kind = "type(FIRST) is str" if isinstance(known[0], str) else "(type(FIRST) is int or type(AGAIN) is float)"
    template = "FIRST in KNOWN" if few else f"{kind} and AGAIN in KNOWN"
    if not positive:
        inner = template.replace("FIRST", "AGAIN")
        template = f"FIRST is not None and not ({inner})"
    members = constant(tuple(known) if few else frozenset(known), at)
    return expression(template, at, FIRST=first, AGAIN=again, KNOWN=members)


def of_text(compiler: Compiler, value: ast.expr, test: tuple[str, dict[str, Any]], at: s.Position) -> ast.expr:
    """Compile a test of a string: false for null, an error for anything else."""
    first, again = compiler.twice(value, at)
    template, holes = test
    whole = f"{template} if type(FIRST) is str else AGAIN is not None and wrong('a string', AGAIN)"
    return expression(whole, at, FIRST=first, AGAIN=again, TEXT=again, **holes)


def _searching(template: str) -> str:
    """Have a text counted that will be searched; short ones are not."""
    return f"(len(TEXT) < 100 or run.read(TEXT)) and {template}"


def _like(compiler: Compiler, pattern: str, at: s.Position) -> tuple[str, dict[str, Any]]:
    holes = {"OTHER": constant(pattern.strip("%"), at)}
    match pattern.split("%"):
        case _ if "_" in pattern:
            pass
        case [_]:
            return "TEXT == OTHER", holes
        case [_, ""]:
            return "TEXT.startswith(OTHER)", holes
        case ["", _]:
            return "TEXT.endswith(OTHER)", holes
        case ["", _, ""]:
            return _searching("OTHER in TEXT"), holes
    return "run.is_like(TEXT, LIKE)", {"LIKE": compiler.new_constant(_patterns.like(pattern))}


def regular_expression(compiler: Compiler, node: s.Call) -> ast.expr:
    """Compile matches and regexGroup; what is written out is made into an expression once."""
    assert node.receiver is not None
    value, (pattern, *group), at = compiler.value(node.receiver), node.arguments, node.at
    if isinstance(pattern, s.Literal):
        made = expression("MADE", at, MADE=compiler.new_constant(_patterns.compiled(str(pattern.value))))
    else:
        made = expression("run.expression(PATTERN)", at, PATTERN=compiler.value(pattern))
    if node.function == "matches":
        return expression("run.matches(VALUE, MADE)", at, VALUE=value, MADE=made)
    number = compiler.value(group[0]) if group else constant(1, at)
    return expression("run.regex_group(VALUE, MADE, NUMBER)", at, VALUE=value, MADE=made, NUMBER=number)


def string_predicate(compiler: Compiler, node: s.Call) -> ast.expr:
    """Compile startsWith and its like."""
    assert node.receiver is not None
    test, template, positive = STRING_PREDICATES[node.function]
    value = compiler.value(node.receiver)
    match node.arguments:
        case (s.Literal(str() as other),):
            exactly = _searching(template) if "in TEXT" in template else template
            return of_text(compiler, value, (exactly, {"OTHER": constant(other, node.at)}), node.at)
        case (s.Literal(str() as other), s.Literal(bool() as exact)):
            searching = _searching(template if exact else template.replace("TEXT", "TEXT.casefold()"))
            wanted = constant(other if exact else other.casefold(), node.at)
            return of_text(compiler, value, (searching, {"OTHER": wanted}), node.at)
    others = [compiler.value(argument) for argument in node.arguments]
    call = expression(
        "run.string_predicate(TEST, POSITIVE, VALUE)",
        node.at,
        VALUE=value,
        TEST=compiler.new_constant(test),
        POSITIVE=constant(positive, node.at),
    )
    assert isinstance(call, ast.Call)
    call.args += others
    return call
