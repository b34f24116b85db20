"""Choosing parts of an entity by dotted paths (contract: profile-api §2.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Selection = dict[str, Any]


def selection(paths: Iterable[str]) -> Selection:
    """Turn dotted paths into a tree; ``None`` selects the whole subtree."""
    tree: Selection = {}
    for path in paths:
        branch: Selection | None = tree
        names = [name for name in path.strip().split(".") if name]
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
