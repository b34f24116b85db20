"""Who is exported, and into which batch (contract: data-and-pql §3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tessera.domain.export.job import Segment, Wanted
from tessera.domain.merge import qualified_ms


def batches_of(entity: Mapping[str, Any], wanted: Wanted) -> list[int]:
    """Return the numbers of the batches that a merged profile goes into; none when it does not qualify."""
    if not wanted.segments:
        return [0]
    found = [number for number, segment in enumerate(wanted.segments) if is_member(entity, segment, wanted)]
    return found if wanted.segment_per_batch else [0] if found else []


def is_member(entity: Mapping[str, Any], segment: Segment, wanted: Wanted) -> bool:
    """Tell whether a profile says of itself that it qualified for a segment, in one of the states, in the time asked.

    Both bounds of the time are inclusive; who does not say when is outside of every bound.
    """
    membership = entity.get("segmentMembership", {}).get(segment.namespace, {}).get(segment.id)
    if not isinstance(membership, Mapping) or membership.get("status") not in segment.statuses:
        return False
    start, end = wanted.qualified_from_ms, wanted.qualified_to_ms
    if start is None and end is None:
        return True
    at = qualified_ms(membership)
    return at >= 0 and (start is None or at >= start) and (end is None or at <= end)
