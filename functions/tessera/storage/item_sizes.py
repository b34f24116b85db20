"""What an item counts for with DynamoDB, by its published rules: the names of its attributes and their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Item = Mapping[str, Any]


def value_size(value: Mapping[str, Any]) -> int:
    """Size of an attribute's value in bytes."""
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "B":
        return len(content)
    if kind == "N":
        digits = content.lstrip("-").replace(".", "").strip("0")
        return (len(digits) + 1) // 2 + (2 if content.startswith("-") else 1)
    if kind in {"NULL", "BOOL"}:
        return 1
    raise NotImplementedError(f"no item of ours has an attribute of type {kind}")


def item_size(item: Item) -> int:
    """Size of an item in bytes."""
    return sum(len(name.encode()) + value_size(value) for name, value in item.items())
