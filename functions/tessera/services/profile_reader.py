"""Looking up a person: at most two sequential round trips to storage whatever the history behind it (law 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tessera.domain.computed.attribute import GROUP, place_values, schema_namespace
from tessera.domain.computed.values import computed_values
from tessera.domain.configuration import Configuration
from tessera.domain.errors import (
    EntityNotFoundError,
    InvalidRequestError,
    MergePolicyNotFoundError,
    TesseraError,
    TooManyRelatedIdentitiesError,
    UnprocessableError,
)
from tessera.domain.graph import MAX_GRAPH_READ, MAX_GRAPH_WRITTEN, Head, client_of
from tessera.domain.identity import Xid
from tessera.domain.merge import contributing_fragments, known_identities, live_streams, merge
from tessera.domain.merge_policy import PROFILE_CLASS, GraphType, MergePolicy
from tessera.domain.place import batch_id_of, survives
from tessera.domain.profile import EventStream, IdentityItems, RecordFragment
from tessera.domain.tenant import Tenant
from tessera.domain.times import DAY_MS
from tessera.services.lease import Configurations


class IdentityStore(Protocol):
    """What look-ups need of the profile table."""

    def identity(self, tenant: Tenant, xid: Xid) -> IdentityItems | None:
        """Read everything of an identity but its events."""


@dataclass(frozen=True, slots=True)
class Person:
    """The members of a graph under a policy, with what of them is alive at an instant.

    ``members`` starts with the one asked for.
    """

    tenant: Tenant
    xid: Xid
    policy: MergePolicy
    configuration: Configuration
    members: Mapping[Xid, IdentityItems]
    fragments: Sequence[RecordFragment]
    streams: Sequence[EventStream]
    now_ms: int

    @property
    def graph(self) -> list[Xid]:
        """Identities used."""
        return list(self.members)

    @property
    def sources(self) -> list[str]:
        """Datasets whose records contributed, best first."""
        return list(dict.fromkeys(fragment.dataset_id for fragment in self.fragments))

    @property
    def tags(self) -> list[str]:
        """Batches whose records contributed, best first."""
        return list(dict.fromkeys(batch_id_of(fragment.place) for fragment in self.fragments))

    @property
    def last_modified_ms(self) -> int:
        """When the last contributing record was accepted; for a person of events only, their last active day."""
        if self.fragments:
            return max(fragment.ingested_ms for fragment in self.fragments)
        return max((stream.last_active_day * DAY_MS for stream in self.streams), default=0)

    def entity(self, *, computed: bool = True) -> dict[str, Any]:
        """Merge the records into one, and compute what is computed (contract: profile-api §3.3, data-and-pql §1.7).

        Nothing is ``computed`` for who will not look at it.
        """
        merged = merge(self.fragments, known_identities(self.members))
        if not computed or not self.configuration.attributes:
            return merged
        values = computed_values(self.members.values(), self.policy, self.configuration, self.now_ms)
        return place_values(merged, self.computed_at, values)

    @property
    def computed_at(self) -> tuple[str, str]:
        """Where computed values stand in the entity."""
        return schema_namespace(self.tenant.org_id), GROUP


class ProfileReader:
    """Finds persons."""

    def __init__(self, configurations: Configurations, store: IdentityStore, executor: Executor) -> None:
        self._configurations = configurations
        self._store = store
        self._executor = executor

    def person(self, tenant: Tenant, xid: Xid, *, namespace: str | None, policy_id: str | None, now_ms: int) -> Person:
        """Read who stands behind an identity, under a merge policy or the default one.

        ``namespace`` is the code that the caller named, if any. It is looked for in the configuration only when
        that has come, for the XID is known without: so both are read side by side.

        Raises InvalidRequestError for an unknown namespace, EntityNotFoundError, MergePolicyNotFoundError,
        TooManyRelatedIdentitiesError and UnprocessableError.
        """
        reading = self._executor.submit(self._configurations.current, tenant)
        asked = self._store.identity(tenant, xid)
        configuration = reading.result()
        expect_namespace(configuration, namespace)
        policy = policy_of(configuration, policy_id)
        if asked is None:
            raise EntityNotFoundError
        members = {xid: asked}
        if policy.graph is GraphType.PRIVATE:
            members |= self.identities(tenant, other_members(asked.head))
        return seen(tenant, xid, members, policy, configuration, now_ms)

    def persons(
        self, tenant: Tenant, asked: Mapping[Xid, str | None], *, policy_id: str | None, now_ms: int
    ) -> dict[Xid, Person | TesseraError]:
        """Read who stands behind many identities; ``asked`` maps each to the namespace that the caller named, if any.

        Each identity is read once, however many persons it is asked for with, and in two rounds of reads side by
        side: those asked for, then the other members of their graphs. A person that several of them stand for is put
        together once. What is wrong with one of them is its answer.

        Raises MergePolicyNotFoundError, InvalidRequestError and UnprocessableError about the policy.
        """
        reading = self._executor.submit(self._configurations.current, tenant)
        read = self.identities(tenant, list(asked))
        configuration = reading.result()
        policy = policy_of(configuration, policy_id)
        if policy.graph is GraphType.PRIVATE:
            read |= self.missing_members(tenant, read)
        answers: dict[Xid, Person | TesseraError] = {}
        alive: dict[frozenset[Xid], Person] = {}
        for xid, namespace in asked.items():
            try:
                expect_namespace(configuration, namespace)
                members = members_of(xid, read, policy)
                person = alive.get(frozenset(members))
                if person is None:
                    person = seen(tenant, xid, members, policy, configuration, now_ms)
                    # Where nothing is alive, each identity's own links tell whether it is found.
                    if person.fragments or person.streams:
                        alive[frozenset(members)] = person
                answers[xid] = replace(person, xid=xid, members=members)
            except TesseraError as error:
                answers[xid] = error
        return answers

    def identities(self, tenant: Tenant, xids: Sequence[Xid]) -> dict[Xid, IdentityItems]:
        """Read identities side by side, the first of them in the caller's thread; those that exist are returned."""
        if not xids:
            return {}
        rest = self._executor.map(lambda xid: self._store.identity(tenant, xid), xids[1:])
        found = [self._store.identity(tenant, xids[0]), *rest]
        return {items.head.xid: items for items in found if items is not None}

    def missing_members(self, tenant: Tenant, read: Mapping[Xid, IdentityItems]) -> dict[Xid, IdentityItems]:
        """Read the members of the graphs of identities that are not among them."""
        return self.identities(tenant, sorted(members_of_graphs(read) - read.keys()))


def expect_namespace(configuration: Configuration, code: str | None) -> None:
    """Make sure that a namespace that was named is known.

    Raises InvalidRequestError.
    """
    if code is not None and configuration.namespace(code) is None:
        raise InvalidRequestError(f"The namespace {code} is not known in this sandbox")


def other_members(head: Head) -> Sequence[Xid]:
    """Return the identities that a look-up reads beside the one asked for.

    Raises TooManyRelatedIdentitiesError for a graph that is too large to be read.
    """
    count = MAX_GRAPH_WRITTEN + 1 if head.collapsed else len(head.members) + 1
    if count > MAX_GRAPH_READ:
        raise TooManyRelatedIdentitiesError(count, MAX_GRAPH_READ)
    return head.members


def members_of_graphs(read: Mapping[Xid, IdentityItems]) -> set[Xid]:
    """Return whom the heads of identities name as other members of their graphs; graphs too large are passed over."""
    members: set[Xid] = set()
    for items in read.values():
        with suppress(TooManyRelatedIdentitiesError):
            members.update(other_members(items.head))
    return members


def members_of(xid: Xid, read: Mapping[Xid, IdentityItems], policy: MergePolicy) -> dict[Xid, IdentityItems]:
    """Return the members of an identity's graph under a policy, it first, from what has been read.

    Raises EntityNotFoundError when the identity is not there, and TooManyRelatedIdentitiesError.
    """
    if xid not in read:
        raise EntityNotFoundError
    members = {xid: read[xid]}
    if policy.graph is GraphType.PRIVATE:
        members |= {other: read[other] for other in other_members(read[xid].head) if other in read}
    return members


def seen(
    tenant: Tenant,
    xid: Xid,
    members: Mapping[Xid, IdentityItems],
    policy: MergePolicy,
    configuration: Configuration,
    now_ms: int,
) -> Person:
    """Return the person that a policy makes of an identity and the members of its graph, which have been read.

    Raises EntityNotFoundError when nothing of it is alive under the policy.
    """
    fragments = contributing_fragments(members.values(), policy, configuration)
    streams = live_streams(members.values(), policy, configuration, now_ms)
    if not fragments and not streams and not _is_known_by_graph(members, members[xid].head, configuration):
        raise EntityNotFoundError
    return Person(tenant, xid, policy, configuration, members, fragments, streams, now_ms)


def policy_of(configuration: Configuration, policy_id: str | None) -> MergePolicy:
    """Choose the merge policy of a look-up: the one asked for or the default one of profiles.

    Raises MergePolicyNotFoundError, InvalidRequestError for a policy of another class, and UnprocessableError when
    there is no default (contract: profile-api §2.2, §11 no. 1).
    """
    if policy_id:
        policy = configuration.policies.get(policy_id)
        if policy is None:
            raise MergePolicyNotFoundError
        if policy.schema_class != PROFILE_CLASS:
            raise InvalidRequestError(f"the merge policy is for {policy.schema_class}, not for {PROFILE_CLASS}")
        return policy
    default = configuration.default_policy(PROFILE_CLASS)
    if default is None:
        raise UnprocessableError(
            f"This sandbox has no default merge policy for {PROFILE_CLASS}: name one with mergePolicyId"
        )
    return default


def _is_known_by_graph(members: Mapping[Xid, IdentityItems], head: Head, configuration: Configuration) -> bool:
    """Tell whether a link that no delete has reached makes the identity part of a person (profile-api §2.3)."""
    if len(members) == 1:
        return False
    for (other, source), place in head.assertions.items():
        if other not in head.members or other in head.removed:
            continue
        dataset = configuration.datasets.get(source)
        known = dataset is not None or client_of(source) is not None
        if known and survives(place, dataset.cutoff if dataset else None, head.cutoff):
            return True
    return False
