"""Merge policies: which fragments make a profile and which of them wins (contract: profile-api §3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

from tessera.domain.errors import InvalidRequestError

PROFILE_CLASS = "_xdm.context.profile"
EVENT_CLASS = "_xdm.context.experienceevent"
MAX_ORDER = 100


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


def normalised(policy: MergePolicy) -> MergePolicy:
    """Return a policy as it is kept: only precedence keeps an order (contract: profile-api §3.2, appendix A5).

    Raises InvalidRequestError for a precedence without an order, with one too long, or with a dataset named twice.
    """
    if policy.attribute_merge is AttributeMerge.TIMESTAMP_ORDERED:
        return replace(policy, order=())
    if not policy.order:
        raise InvalidRequestError(f"attributeMerge.order must name datasets when the type is {policy.attribute_merge}")
    if len(policy.order) > MAX_ORDER:
        raise InvalidRequestError(f"attributeMerge.order names {len(policy.order)} datasets; it can name {MAX_ORDER}")
    twice = next((item for index, item in enumerate(policy.order) if item in policy.order[:index]), None)
    if twice is not None:
        raise InvalidRequestError(f"attributeMerge.order names the dataset {twice} twice")
    return policy


def with_policy(policies: Mapping[str, MergePolicy], policy: MergePolicy) -> dict[str, MergePolicy]:
    """Return the policies of a sandbox with one added or replaced, and what it takes over taken from the others.

    A class has one default policy and a sandbox one that is active on the edge. A policy that loses either is
    thereby updated: its version and its time say so (contract: profile-api §3.2).
    """
    result = dict(policies)
    for other in policies.values():
        default = other.default and not (policy.default and other.schema_class == policy.schema_class)
        on_edge = other.active_on_edge and not policy.active_on_edge
        if (default, on_edge) != (other.default, other.active_on_edge):
            result[other.id] = replace(
                other,
                default=default,
                active_on_edge=on_edge,
                version=other.version + 1,
                updated_s=policy.updated_s,
            )
    result[policy.id] = policy
    return result
