"""Merging: many fragments, one picture (contract: profile-api §3.3, §9.1, appendix A2).

A merge is a read; it changes nothing. Per attribute the best-ranked fragment that has a value gives it: objects
merge key by key, arrays and scalars are atomic. Ranks are total, so the answer never depends on the order in which
fragments are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tessera.domain.configuration import Configuration
from tessera.domain.graph import Head
from tessera.domain.identity import Identity, Xid
from tessera.domain.merge_policy import AttributeMerge, MergePolicy
from tessera.domain.place import Place, later, survives
from tessera.domain.profile import EventStream, IdentityItems, RecordFragment
from tessera.domain.times import parse_ms

_REBUILT = frozenset({"identityMap", "segmentMembership"})


def contributing_fragments(
    members: Iterable[IdentityItems], policy: MergePolicy, configuration: Configuration
) -> list[RecordFragment]:
    """Choose the fragments a policy merges, best first: in known datasets, not deleted, allowed by the policy."""
    chosen = [
        alive
        for member in members
        for fragment in member.fragments
        if policy.attribute_merge is AttributeMerge.TIMESTAMP_ORDERED or fragment.dataset_id in policy.order
        if (alive := _alive(fragment, member.head, configuration)) is not None
    ]
    if len(chosen) > 1:
        chosen.sort(key=_rank(policy), reverse=True)
    return chosen


def live_streams(
    members: Iterable[IdentityItems], policy: MergePolicy, configuration: Configuration, now_ms: int
) -> list[EventStream]:
    """Choose the event streams a policy sees that still hold an event."""
    datasets = event_datasets(policy, configuration)
    return [
        stream
        for member in members
        for stream in member.streams
        if stream.dataset_id in datasets
        and _is_live(stream, member.head, configuration)
        and stream.is_alive(configuration.datasets[stream.dataset_id].horizon_ms(now_ms))
    ]


def event_datasets(policy: MergePolicy, configuration: Configuration) -> frozenset[str]:
    """Datasets whose events a policy sees: those it names if it names any, else all (contract: profile-api §3.3)."""
    known = frozenset(item.id for item in configuration.datasets.values() if item.kind == "event")
    if policy.attribute_merge is AttributeMerge.TIMESTAMP_ORDERED:
        return known
    return known.intersection(policy.order) or known


def is_deleted(place: Place, dataset_id: str, head: Head, configuration: Configuration) -> bool:
    """Tell whether a row was deleted: with its dataset, or by a delete of the dataset, its batch or the person."""
    dataset = configuration.datasets.get(dataset_id)
    return dataset is None or not dataset.holds(place) or not survives(place, head.cutoff)


def _alive(fragment: RecordFragment, head: Head, configuration: Configuration) -> RecordFragment | None:
    """Return what no delete has reached of a fragment, if there is anything."""
    dataset = configuration.datasets.get(fragment.dataset_id)
    if dataset is None:
        return None
    cutoff = later(dataset.cutoff, head.cutoff)
    return fragment if cutoff is None else fragment.after(cutoff)


def _is_live(stream: EventStream, head: Head, configuration: Configuration) -> bool:
    """Tell whether a stream has an event that no delete of the dataset or the person has reached.

    Its place is that of one event only: if a batch is being deleted that this one came with, others may remain.
    """
    dataset = configuration.datasets.get(stream.dataset_id)
    return dataset is not None and survives(stream.place, dataset.cutoff, head.cutoff)


def _rank(policy: MergePolicy) -> Callable[[RecordFragment], tuple[Any, ...]]:
    """Rank of a fragment, the highest being the best; the last parts break every tie."""
    if policy.attribute_merge is AttributeMerge.TIMESTAMP_ORDERED:
        return lambda item: (_time_of(item), item.place, item.dataset_id, item.xid)
    precedence = {dataset_id: -index for index, dataset_id in enumerate(policy.order)}
    return lambda item: (precedence[item.dataset_id], _time_of(item), item.place, item.xid)


def _time_of(fragment: RecordFragment) -> int:
    """When the record says that it was last updated, else when it was accepted, in milliseconds since 1970."""
    return fragment.ingested_ms if fragment.custom_date_ms is None else fragment.custom_date_ms


def merge(fragments: Iterable[RecordFragment], identities: Iterable[Identity]) -> dict[str, Any]:
    """Merge fragments, given best first, into one entity; one body is held at a time."""
    entity: dict[str, Any] = {}
    branches: _Branches = {}
    memberships: dict[str, dict[str, Any]] = {}
    for fragment in fragments:
        body = fragment.body
        _fill(entity, branches, {name: value for name, value in body.items() if name not in _REBUILT})
        _add_memberships(memberships, body.get("segmentMembership"))
    if memberships:
        entity["segmentMembership"] = memberships
    entity["identityMap"] = identity_map(identities)
    return entity


# The objects within an object by their names, each with its own: where values may still be missing.
_Branches = dict[str, tuple[dict[str, Any], "_Branches"]]


def _fill(target: dict[str, Any], branches: _Branches, source: Mapping[str, Any]) -> None:
    """Add what ``source`` has and ``target`` lacks. Objects are copied, so no fragment is ever changed.

    Most fragments know the same names: then comparing the sets of names spares looking at each.
    """
    if not source.keys() <= target.keys():
        for name, value in source.items():
            if name not in target:
                if isinstance(value, dict):
                    inner: dict[str, Any] = {}
                    target[name] = inner
                    branches[name] = (inner, {})
                else:
                    target[name] = value
    for name, (branch, below) in branches.items():
        value = source.get(name)
        if isinstance(value, dict):
            _fill(branch, below, value)


def identity_map(identities: Iterable[Identity]) -> dict[str, list[dict[str, str]]]:
    """Write identities as XDM's identityMap, namespace codes in lower case (contract: profile-api §2.3)."""
    result: dict[str, list[dict[str, str]]] = {}
    for identity in sorted(identities, key=lambda item: (item.namespace, item.value)):
        result.setdefault(identity.namespace, []).append({"id": identity.value})
    return result


def _add_memberships(chosen: dict[str, dict[str, Any]], memberships: object) -> None:
    """Add memberships segment by segment: the latest qualification wins, of equal ones the better ranked."""
    if not isinstance(memberships, dict):
        return
    for namespace, segments in memberships.items():
        if not isinstance(segments, dict) or not segments:
            continue
        known = chosen.setdefault(namespace, {})
        for segment_id, membership in segments.items():
            present = known.get(segment_id)
            if present is None or qualified_ms(membership) > qualified_ms(present):
                known[segment_id] = membership


def qualified_ms(membership: object) -> int:
    """When a segment was qualified for, in milliseconds; before all times if it does not say."""
    try:
        return parse_ms(membership["lastQualificationTime"]) if isinstance(membership, dict) else -1
    except (KeyError, ValueError, OverflowError):
        return -1


def known_identities(members: Mapping[Xid, IdentityItems]) -> list[Identity]:
    """Identities of a graph's members."""
    return [member.head.identity for member in members.values()]
