"""Dotted paths, and choosing parts of an entity by them (contract: profile-api §2.4).

A dot or a backslash within a name is written with a backslash before it: ``identityMap.phone_e\\.164``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

Selection = dict[str, Any]

_NAME = re.compile(r"(?:\\[.\\]|[^.])+")
_ESCAPED = re.compile(r"\\([.\\])")


def dotted(path: Iterable[str]) -> str:
    """Write a path with dots between its names."""
    return ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in path)


def names_of(path: str) -> list[str]:
    """Read the names in a dotted path; empty ones are left out."""
    return [_ESCAPED.sub(r"\1", name) for name in _NAME.findall(path)]


def selection(paths: Iterable[str]) -> Selection:
    """Turn dotted paths into a tree; ``None`` selects the whole subtree."""
    tree: Selection = {}
    for path in paths:
        branch: Selection | None = tree
        names = names_of(path.strip())
        for depth, name in enumerate(names):
            if branch is None:
                break
            if depth == len(names) - 1:
                branch[name] = None
            else:
                branch = branch.setdefault(name, {})
    return tree


def select(value: Any, tree: Selection | None) -> Any:
    """Keep the selected parts of a value: parents only as containers, arrays element by element."""
    if tree is None:
        return value
    if isinstance(value, list):
        return [kept for item in value if (kept := select(item, tree)) not in (None, {}, [])]
    if not isinstance(value, dict):
        return None
    result = {}
    for name, branch in tree.items():
        if name in value:
            kept = select(value[name], branch)
            if branch is None or kept not in (None, {}, []):
                result[name] = kept
    return result


def selects(tree: Selection | None, path: Iterable[str]) -> bool:
    """Tell whether a selection keeps anything of what is at a path."""
    for name in path:
        if tree is None:
            return True
        if name not in tree:
            return False
        tree = tree[name]
    return True
