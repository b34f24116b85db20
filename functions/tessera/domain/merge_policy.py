"""Merge policies: which fragments make a profile and which of them wins (contract: profile-api §3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

PROFILE_CLASS = "_xdm.context.profile"
EVENT_CLASS = "_xdm.context.experienceevent"


class GraphType(StrEnum):
    """Whose fragments are merged: the requested identity's alone, or its whole private graph's."""

    NONE = "none"
    PRIVATE = "pdg"


class AttributeMerge(StrEnum):
    """What ranks fragments: their time, or the order of their datasets."""

    TIMESTAMP_ORDERED = "timestampOrdered"
    DATASET_PRECEDENCE = "dataSetPrecedence"


@dataclass(frozen=True, slots=True)
class MergePolicy:
    """One version of a merge policy; ``order`` ranks datasets for ``DATASET_PRECEDENCE``, best first."""

    id: str
    name: str
    schema_class: str = PROFILE_CLASS
    graph: GraphType = GraphType.PRIVATE
    attribute_merge: AttributeMerge = AttributeMerge.TIMESTAMP_ORDERED
    order: tuple[str, ...] = ()
    default: bool = False
    active_on_edge: bool = False
    version: int = 1
    updated_s: int = 0

    def to_document(self) -> dict[str, Any]:
        """Write the policy as the JSON document that is stored."""
        return {
            "id": self.id,
            "name": self.name,
            "schema": self.schema_class,
            "graph": self.graph.value,
            "merge": self.attribute_merge.value,
            "order": list(self.order),
            "default": self.default,
            "edge": self.active_on_edge,
            "version": self.version,
            "updated": self.updated_s,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a policy from its stored document."""
        return cls(
            id=document["id"],
            name=document["name"],
            schema_class=document["schema"],
            graph=GraphType(document["graph"]),
            attribute_merge=AttributeMerge(document["merge"]),
            order=tuple(document["order"]),
            default=document["default"],
            active_on_edge=document["edge"],
            version=document["version"],
            updated_s=document["updated"],
        )
