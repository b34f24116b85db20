"""Python code from templates, as syntax trees: what fills a hole is a tree or a name, never text."""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import Any, TypeAlias, cast

from tessera.pql.syntax import Position

# A name in capitals stands for a tree, for another name, or, as a statement of its own, for statements.
Filling: TypeAlias = "ast.expr | str | list[ast.stmt]"


def statements(template: str, at: Position, **holes: Filling) -> list[ast.stmt]:
    """Fill a template of statements; all that is new in it is said to stand at a position of the query."""
    return _filled_list(_parsed(template).body, at, holes)


def expression(template: str, at: Position, **holes: Filling) -> ast.expr:
    """Fill a template of one expression."""
    (statement,) = _parsed(template).body
    return cast(ast.expr, _filled(cast(ast.Expr, statement).value, at, holes))


def constant(value: Any, at: Position) -> ast.expr:
    """Make the tree of a constant."""
    return cast(ast.expr, _placed(ast.Constant(value), at))


@lru_cache(maxsize=512)
def _parsed(template: str) -> ast.Module:
    return ast.parse(template)


def _filled(node: ast.AST, at: Position, holes: dict[str, Filling]) -> ast.AST:
    if isinstance(node, ast.Name):
        filling = holes.get(node.id, node.id)
        return cast(ast.AST, _placed(ast.Name(filling, node.ctx), at) if isinstance(filling, str) else filling)
    fields: dict[str, Any] = {}
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            value = _filled(value, at, holes)
        elif isinstance(value, list):
            value = _filled_list(value, at, holes)
        fields[name] = value
    return cast(ast.AST, _placed(type(node)(**fields), at))


def _filled_list(nodes: list[Any], at: Position, holes: dict[str, Filling]) -> list[Any]:
    filled: list[Any] = []
    for node in nodes:
        hole = holes.get(node.value.id) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Name) else None
        if isinstance(hole, list):
            filled += hole or [_placed(ast.Pass(), at)]
        else:
            filled.append(_filled(node, at, holes) if isinstance(node, ast.AST) else node)
    return filled


def _placed(node: Any, at: Position) -> Any:
    if "lineno" in node._attributes:
        node.lineno = node.end_lineno = at.line
        node.col_offset = node.end_col_offset = at.column - 1
    return node
