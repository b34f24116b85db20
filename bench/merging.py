"""M1: what merging by a policy takes per fragment, next to the merge that anybody would write by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.people import MANY_RECORDS, NAMESPACE, wide_record
from bench.store import BATCH, CONFIGURATION, DAY_MS, POLICY, START_MS, TENANT
from bench.table import Line
from bench.timing import compare, enough
from tessera.domain.graph import Head
from tessera.domain.identity import Identity
from tessera.domain.merge import contributing_fragments, known_identities, merge
from tessera.domain.merge_policy import AttributeMerge, MergePolicy
from tessera.domain.place import batch_place
from tessera.domain.profile import IdentityItems, RecordFragment
from tessera.storage.codec import pack, unpack

_MEMBERS = 5
_ATTRIBUTES = (50, 1000)
_POLICIES = (
    POLICY,
    MergePolicy("p", "Precedence", attribute_merge=AttributeMerge.DATASET_PRECEDENCE, order=MANY_RECORDS),
)


def measure() -> list[Line]:
    """M1: choose, rank and merge the fragments of a person; by hand they come ranked."""
    lines = []
    for attributes in _ATTRIBUTES:
        members = _members(attributes)
        for policy in _POLICIES:
            ours, by_hand = _both(members, policy)
            compared = compare(ours, by_hand, times=enough(ours), rounds=15)
            fragments = len(members) * len(MANY_RECORDS)
            each_us, floor_us = (1000 * ms / fragments for ms in (compared.ours_ms, compared.floor_ms))
            what = (
                f"{policy.attribute_merge.value}, {fragments} fragments of {attributes:,} attributes: "
                f"{each_us:.1f} us of CPU each"
            )
            lines.append(Line("M1", what, f"{floor_us:.1f} us", f"{compared.ratio:.2f}"))
    return lines


def _both(members: Sequence[IdentityItems], policy: MergePolicy) -> tuple[Callable[[], Any], Callable[[], Any]]:
    identities = known_identities({member.head.xid: member for member in members})
    ranked = [fragment.body for fragment in contributing_fragments(members, policy, CONFIGURATION)]

    def ours() -> dict[str, Any]:
        return merge(contributing_fragments(members, policy, CONFIGURATION), identities)

    def by_hand() -> dict[str, Any]:
        entity: dict[str, Any] = {}
        for body in ranked:
            _fill(entity, body)
        return entity

    if {**ours(), "identityMap": None} != {**by_hand(), "identityMap": None}:
        raise RuntimeError("merging by hand gives something else")
    return ours, by_hand


def _fill(entity: dict[str, Any], body: dict[str, Any]) -> None:
    for name, value in body.items():
        if isinstance(value, dict):
            inner = entity.setdefault(name, {})
            if isinstance(inner, dict):
                _fill(inner, value)
        elif name not in entity:
            entity[name] = value


def _members(attributes: int) -> list[IdentityItems]:
    """Make the identities of a person as they come out of the store, with a record in every dataset."""
    members = []
    for number in range(_MEMBERS):
        identity = Identity.of(NAMESPACE, f"member-{number}")
        xid = identity.xid(TENANT)
        fragments = [
            RecordFragment(
                xid,
                dataset_id,
                # Neither identity by identity nor dataset by dataset.
                batch_place(START_MS + (7 * number + 3 * index) % 11 * DAY_MS, BATCH, index, number),
                unpack(pack(wide_record(identity.value, index, attributes))),
            )
            for index, dataset_id in enumerate(MANY_RECORDS)
        ]
        members.append(IdentityItems(Head(xid, identity), fragments, []))
    return members
