"""Computed values of a person, exact at the instant of the read (design: Computed attributes)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tessera.domain.computed.state import State, value_of
from tessera.domain.configuration import Configuration
from tessera.domain.merge import event_datasets
from tessera.domain.merge_policy import MergePolicy
from tessera.domain.place import later
from tessera.domain.profile import IdentityItems


def computed_values(
    members: Iterable[IdentityItems], policy: MergePolicy, configuration: Configuration, now_ms: int
) -> dict[str, Any]:
    """Return the values that there are, by the attributes' names, over all members of a graph.

    A state of before a delete is left out: it is rebuilt by the delete's job or by the next event, whichever is first.
    """
    ready = [attribute for attribute in configuration.attributes.values() if attribute.ready]
    states = _states(members, policy, configuration) if ready else []
    if not states:
        return {}
    values = {one.name: value_of(states, str(one.number), one.rule, now_ms) for one in ready}
    return {name: value for name, value in values.items() if value is not None}


def _states(members: Iterable[IdentityItems], policy: MergePolicy, configuration: Configuration) -> list[State]:
    datasets = event_datasets(policy, configuration)
    return [
        stream.state
        for member in members
        for stream in member.streams
        if stream.dataset_id in datasets
        and stream.state.is_current(later(configuration.datasets[stream.dataset_id].cutoff, member.head.cutoff))
    ]
