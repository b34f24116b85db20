"""Unions: the fields of all schemas of a class that are enabled for Profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tessera.domain.schema.composition import Node, compose, merged
from tessera.domain.schema.resource import Kind, in_union


def union(class_id: str, resources: Mapping[str, Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], Node]:
    """Return the schemas of a class that are enabled for Profile, and the fields that any of them has.

    Raises SchemaError when one of them has a field with another type than another.
    """
    members = [
        resource
        for resource in resources.values()
        if resource["meta:resourceType"] == Kind.SCHEMA
        and resource.get("meta:class") == class_id
        and in_union(resource)
    ]
    tree = compose({"allOf": [{"$ref": class_id}]}, resources.get)
    for member in members:
        tree = merged(tree, compose(member, resources.get), lenient=True)
    return members, tree
