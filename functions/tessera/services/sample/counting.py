"""Counting everybody of a share, each person once and as a look-up sees them.

An identity's head, records and streams are read in one Query, which up to 4 KB costs what the head alone would; bodies
stay packed. The items of some persons are looked at one by one besides: what is to be said of events and of bytes is
said by them (docs/decisions/0141).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from itertools import islice

from tessera.domain.export.share import Share
from tessera.domain.graph import MAX_GRAPH_READ
from tessera.domain.identity import Xid
from tessera.domain.merge_policy import GraphType
from tessera.domain.profile import Event
from tessera.domain.sample.job import Checkpoint, Scope
from tessera.domain.sample.tally import Figure, Measured, Piece, SampledPerson, StoredItem, Tally
from tessera.domain.tenant import Tenant
from tessera.domain.times import day_of
from tessera.services.export.ports import Index
from tessera.services.export.walking import Walk
from tessera.services.lease import Configurations
from tessera.services.persons import LeftOut, Position, standing_persons
from tessera.services.profile_reader import IdentityStore, Person, ProfileReader
from tessera.services.sample.ports import Items, Lake, States
from tessera.services.timeline import liveness
from tessera.storage.profile_items import timestamp_of

# A page of the richest persons that was begun at the last moment still ends within a function's ten minutes.
MAX_SECONDS = 300.0
# How long until what a worker has counted is noted.
MAX_PART_SECONDS = 60.0
_PAGE = 100
# What is known of all items of so many persons is held at once.
_MEASURED_AT_ONCE = 16


class Sampler:
    """Counts the persons of a share. ``clock`` gives seconds; ``readers`` read from storage side by side."""

    def __init__(
        self,
        states: States,
        configurations: Configurations,
        index: Index,
        store: IdentityStore,
        items: Items,
        lake: Lake,
        readers: Executor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._states = states
        self._configurations = configurations
        self._index = index
        self._items = items
        self._lake = lake
        self._readers = readers
        self._clock = clock
        self._reader = ProfileReader(configurations, store, readers)

    def count(self, tenant: Tenant, job_id: str, share: Share) -> bool:
        """Count for some minutes; tell whether the share is done, as it is when the job is over.

        Safe to repeat, to race and to leave at any point. Raises LostRaceError when another worker is at the same
        share and was faster.
        """
        deadline = self._clock() + MAX_SECONDS
        at = self._states.checkpoint(tenant, job_id, share.name)
        tally = Tally()
        if at.tally and not at.done:
            (counted,) = self._lake.tallies(tenant, job_id, [at.tally])
            tally = Tally.from_document(counted)
        while not at.done:
            state = self._states.state(tenant)
            if state.job is None or state.job.scope is None or not state.works_on(job_id):
                return True
            if self._clock() > deadline:
                return False
            shard, after, done = self._count_some(tenant, state.job.scope, share, at, tally)
            # By a name of its own: of two workers at the same share one will find that it was too late.
            name = f"{share.name}-{secrets.token_hex(8)}"
            self._lake.write_tally(tenant, job_id, name, tally.to_document())
            further = Checkpoint(shard, after, done, name)
            self._states.advance(tenant, job_id, share.name, at, further)
            at = further
        return True

    def _count_some(
        self, tenant: Tenant, scope: Scope, share: Share, at: Checkpoint, tally: Tally
    ) -> tuple[int, Xid | None, bool]:
        """Count until it is time to note it; return the shard and the identity come to, and whether it is the end."""
        until = self._clock() + MAX_PART_SECONDS
        configuration = self._configurations.current(tenant)
        walk = Walk(self._index, tenant, self._readers)
        found = walk.identities(share, configuration, GraphType.PRIVATE, at.shard, at.after)
        last: tuple[int, Xid | None] = (at.shard, at.after)
        while page := list(islice(found, _PAGE)):
            persons = standing_persons(self._reader, tenant, page, scope.policy, configuration, scope.now_ms)
            self._add(tenant, scope, persons, tally)
            last = page[-1]
            if self._clock() > until:
                return *last, False
        return *last, True

    def _add(
        self, tenant: Tenant, scope: Scope, persons: Iterator[tuple[Position, Person | LeftOut]], tally: Tally
    ) -> None:
        today = day_of(scope.now_ms)
        measured: list[tuple[Person, SampledPerson]] = []
        for (shard, _), person in persons:
            if isinstance(person, LeftOut):
                _add_left_out(person, tally)
                continue
            _add_graph(person, tally)
            sampled = sampled_person(person)
            tally.add_person(sampled, today)
            if shard < scope.measured and sampled.pieces:
                measured.append((person, sampled))
        for start in range(0, len(measured), _MEASURED_AT_ONCE):
            some = measured[start : start + _MEASURED_AT_ONCE]
            found = self._readers.map(lambda one: self._measured(tenant, one[0]), some)
            for (_, sampled), items in zip(some, found, strict=True):
                tally.add_measured(sampled, items, scope.now_ms)

    def _measured(self, tenant: Tenant, person: Person) -> Measured:
        is_live = liveness(person, person.now_ms)
        items: list[StoredItem] = []
        # The same event may be there under several of a person's identities, and counts once.
        events: dict[str, Event] = {}
        for xid in person.members:
            for holding in self._items.of(tenant, xid):
                items.append(StoredItem(holding.kind, holding.dataset_id, holding.bytes))
                if holding.event is not None and is_live(holding.event):
                    events[holding.event.key] = holding.event
        return Measured(items, [(one.dataset_id, timestamp_of(one.key)) for one in events.values()])


def sampled_person(person: Person) -> SampledPerson:
    """Return what counts of a person."""
    namespaces = {xid: items.head.identity.namespace for xid, items in person.members.items()}
    records = [Piece(one.dataset_id, namespaces[one.xid], day_of(one.ingested_ms)) for one in person.fragments]
    streams = [Piece(one.dataset_id, namespaces[one.xid], one.last_active_day) for one in person.streams]
    return SampledPerson(frozenset(namespaces.values()), (*records, *streams))


def _add_left_out(why: LeftOut, tally: Tally) -> None:
    if why is LeftOut.COLLAPSED:
        tally.add(Figure.COLLAPSED)
    else:
        tally.add_graph(MAX_GRAPH_READ + 1)


def _add_graph(person: Person, tally: Tally) -> None:
    """Count the graph by who stands for it, also where a policy looks at each identity by itself."""
    head = person.members[person.xid].head
    if head.collapsed:
        tally.add(Figure.COLLAPSED)
    elif head.leads or not head.members:
        tally.add_graph(len(head.members) + 1)
