"""What an attribute would be of some persons, computed from their events before it is published."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

from tessera.domain.computed.state import State, value_of
from tessera.domain.computed.window import Window
from tessera.domain.errors import TesseraError
from tessera.domain.identity import Xid
from tessera.domain.merge import event_datasets
from tessera.domain.place import Place, later
from tessera.domain.profile import EventStream
from tessera.domain.tenant import Tenant
from tessera.services.computed.compiled import Attributes, compile_attribute
from tessera.services.computed.rebuilding import StreamEvents, rebuilt
from tessera.services.profile_reader import Person, ProfileReader

_NUMBER = "1"


class Preview:
    """Computes attributes that no state is kept of."""

    def __init__(self, reader: ProfileReader, store: StreamEvents, executor: Executor) -> None:
        self._reader = reader
        self._store = store
        self._executor = executor

    def values(
        self, tenant: Tenant, expression: str, window: Window, xids: Sequence[Xid], now_ms: int
    ) -> dict[Xid, Any]:
        """Return the values of those persons who have one, under the default merge policy.

        It reads all of their events within the window: it is as slow as they are many. Raises InvalidRequestError for
        an expression that cannot be computed.
        """
        compiled = compile_attribute(expression, window)
        attributes = Attributes(1, {_NUMBER: compiled}, {_NUMBER: compiled.rule})
        persons = self._reader.persons(tenant, dict.fromkeys(xids), policy_id=None, now_ms=now_ms)
        values: dict[Xid, Any] = {}
        for xid, person in persons.items():
            if isinstance(person, TesseraError):
                continue
            value = value_of(self._states(tenant, person, attributes, now_ms), _NUMBER, compiled.rule, now_ms)
            if value is not None:
                values[xid] = value
        return values

    def _states(self, tenant: Tenant, person: Person, attributes: Attributes, now_ms: int) -> list[State]:
        seen = event_datasets(person.policy, person.configuration)
        streams = [
            (stream, member.head.cutoff)
            for member in person.members.values()
            for stream in member.streams
            if stream.dataset_id in seen
        ]

        def state(stream: EventStream, head_cutoff: Place | None) -> State:
            dataset = person.configuration.datasets[stream.dataset_id]
            cutoff = later(dataset.cutoff, head_cutoff, stream.state.cutoff)
            horizon = dataset.horizon_ms(now_ms)
            # What it is complete for are other attributes.
            blank = replace(stream, state=State())
            generation = attributes.generation
            return rebuilt(self._store, tenant, blank, attributes, cutoff, now_ms, horizon, generation=generation)

        return list(self._executor.map(lambda pair: state(*pair), streams))
