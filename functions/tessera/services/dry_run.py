"""Trying a merge policy: what would change for whom if it were the default one. Nothing is written.

Each person is read once and merged twice, under the policy in force and under the one that is tried, by the code of
look-ups: so the prediction is what look-ups would show.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from tessera.domain.configuration import Configuration
from tessera.domain.difference import Change, changes
from tessera.domain.errors import (
    EntityNotFoundError,
    InvalidRequestError,
    TooManyRelatedIdentitiesError,
    UnprocessableError,
)
from tessera.domain.identity import Xid
from tessera.domain.merge_policy import PROFILE_CLASS, GraphType, MergePolicy, normalised
from tessera.domain.profile import IdentityItems
from tessera.domain.tenant import Tenant
from tessera.services.merge_policies import expect_known_datasets
from tessera.services.profile_reader import ProfileReader, members_of, policy_of, seen

# API Gateway gives up at 29 seconds, and the last persons may each have 50 identities.
MAX_SECONDS = 15.0
_PERSONS_AT_ONCE = 25


class Configurations(Protocol):
    """Where the configuration in force is read: ``storage.configuration.ConfigurationStore``."""

    def current(self, tenant: Tenant) -> Configuration:
        """Read it."""


class PersonStore(Protocol):
    """What a dry run needs of the profile table: ``storage.profile_table.ProfileTable``."""

    def identity(self, tenant: Tenant, xid: Xid) -> IdentityItems | None:
        """Read everything of an identity but its events."""

    def sample(self, tenant: Tenant, dataset_ids: Sequence[str], count: int, executor: Executor) -> Iterator[list[Xid]]:
        """Walk persons in random order, step by step."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changes for one person, found by this identity; nothing may."""

    xid: Xid
    changes: Sequence[Change]


class DryRun:
    """Compares persons under the default policy with the same persons under another; ``clock`` gives seconds."""

    def __init__(
        self,
        configurations: Configurations,
        store: PersonStore,
        executor: Executor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configurations = configurations
        self._reader = ProfileReader(configurations, store, executor)
        self._store = store
        self._executor = executor
        self._clock = clock

    def of_identities(
        self, tenant: Tenant, policy: MergePolicy, asked: Mapping[Xid, str | None], now_ms: int
    ) -> Iterator[Comparison]:
        """Compare the persons behind identities; ``asked`` maps each to the code of its namespace, if one was named.

        An identity that is found under neither policy is left out. Raises what creating the policy would raise,
        InvalidRequestError for an unknown namespace, and UnprocessableError when it takes too long.
        """
        trial = self._trial(tenant, policy, now_ms)
        unknown = sorted({code for code in asked.values() if code and trial.configuration.namespace(code) is None})
        if unknown:
            raise InvalidRequestError(f"The namespace {unknown[0]} is not known in this sandbox")
        deadline = self._clock() + MAX_SECONDS
        xids = iter(asked)
        while some := list(islice(xids, _PERSONS_AT_ONCE)):
            if self._clock() > deadline:
                raise UnprocessableError("Comparing all these persons takes too long: ask for fewer identities")
            yield from self._compare(trial, some)

    def of_sample(self, tenant: Tenant, policy: MergePolicy, count: int, now_ms: int) -> Iterator[Comparison]:
        """Compare ``count`` persons taken at random: fewer when there are no more, or no time for more.

        Raises what creating the policy would raise.
        """
        trial = self._trial(tenant, policy, now_ms)
        deadline = self._clock() + MAX_SECONDS
        datasets = [item.id for item in trial.configuration.datasets.values() if item.profile_enabled]
        persons = self._until(deadline, self._store.sample(tenant, datasets, count, self._executor))
        missing = count
        while some := list(islice(persons, min(missing, _PERSONS_AT_ONCE))):
            for comparison in self._compare(trial, some):
                missing -= 1
                yield comparison

    def _until(self, deadline: float, steps: Iterable[list[Xid]]) -> Iterator[Xid]:
        for step in steps:
            for xid in step:
                if self._clock() > deadline:
                    return
                yield xid
            if self._clock() > deadline:
                return

    def _trial(self, tenant: Tenant, policy: MergePolicy, now_ms: int) -> _Trial:
        if policy.schema_class != PROFILE_CLASS:
            raise InvalidRequestError(f"Only merge policies for {PROFILE_CLASS} can be tried")
        configuration = self._configurations.current(tenant)
        tried = normalised(policy)
        expect_known_datasets(tried, configuration)
        return _Trial(tenant, configuration, policy_of(configuration, None), tried, now_ms)

    def _compare(self, trial: _Trial, xids: Sequence[Xid]) -> Iterator[Comparison]:
        read = self._reader.identities(trial.tenant, xids)
        if GraphType.PRIVATE in {trial.current.graph, trial.tried.graph}:
            read |= self._reader.missing_members(trial.tenant, read)
        for xid in xids:
            before = trial.entity(xid, read, trial.current)
            after = trial.entity(xid, read, trial.tried)
            if before is not None or after is not None:
                yield Comparison(xid, changes(before or {}, after or {}))


@dataclass(frozen=True, slots=True)
class _Trial:
    tenant: Tenant
    configuration: Configuration
    current: MergePolicy
    tried: MergePolicy
    now_ms: int

    def entity(self, xid: Xid, read: Mapping[Xid, IdentityItems], policy: MergePolicy) -> dict[str, Any] | None:
        """Return the entity that a look-up shows under a policy, or ``None`` where it shows none."""
        try:
            members = members_of(xid, read, policy)
            return seen(self.tenant, xid, members, policy, self.configuration, self.now_ms).entity()
        except (EntityNotFoundError, TooManyRelatedIdentitiesError):
            return None
