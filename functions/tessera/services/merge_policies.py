"""Merge policies: in force through the configuration, which alone holds them as they are (contract: profile-api §3).

A change is decided on the configuration that its transaction is conditional on: so of two policies made the default
at once one is, and the limit holds, however many calls there are. What a policy was before a change is kept by the
same transaction in the registry, under ``<tenant>#policy`` and ``<policy id>#<version, ten digits>``: a version is
either in force or kept there, never neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from tessera.domain.configuration import Configuration
from tessera.domain.errors import InvalidRequestError, MergePolicyNotFoundError, UnprocessableError
from tessera.domain.merge_policy import MergePolicy, normalised, with_policy
from tessera.domain.tenant import Tenant

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

MAX_POLICIES = 5


class Configurations(Protocol):
    """Where configurations are kept: ``storage.configuration.ConfigurationStore``."""

    def current(self, tenant: Tenant) -> Configuration:
        """Read the one in force."""

    def change(
        self,
        tenant: Tenant,
        mutate: Callable[[Configuration], Configuration],
        also: Callable[[], Sequence[TransactWriteItemTypeDef]],
    ) -> Configuration:
        """Make the next version atomically with the writes of ``also``, both called anew after a lost race."""


class History(Protocol):
    """Where former versions are kept: ``storage.registry.Registry``."""

    def get(self, partition: str, sort: str) -> dict[str, Any] | None:
        """Read one document."""

    def putting(self, partition: str, sort: str, document: Mapping[str, Any]) -> TransactWriteItemTypeDef:
        """Describe the writing of a document."""


class MergePolicies:
    """Creates, reads, changes and deletes merge policies.

    ``limit`` is how many a sandbox can have, the one it came with included; ``clock`` gives seconds since 1970.
    """

    def __init__(
        self,
        configurations: Configurations,
        history: History,
        limit: int = MAX_POLICIES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._configurations = configurations
        self._history = history
        self._limit = limit
        self._clock = clock

    def all(self, tenant: Tenant) -> list[MergePolicy]:
        """Read the policies in force."""
        return list(self._configurations.current(tenant).policies.values())

    def all_at(self, tenant: Tenant, version: int) -> list[MergePolicy]:
        """Read that version of each policy that exists and has come so far."""
        found = (self._at(tenant, policy, version) for policy in self.all(tenant))
        return [policy for policy in found if policy is not None]

    def get(self, tenant: Tenant, policy_id: str) -> MergePolicy:
        """Read one policy.

        Raises MergePolicyNotFoundError.
        """
        return _found(self._configurations.current(tenant), policy_id)

    def at(self, tenant: Tenant, policy_id: str, version: int) -> MergePolicy:
        """Read a version of a policy.

        Raises MergePolicyNotFoundError, also for a version that has not come yet.
        """
        found = self._at(tenant, self.get(tenant, policy_id), version)
        if found is None:
            raise MergePolicyNotFoundError
        return found

    def create(self, tenant: Tenant, wanted: MergePolicy) -> MergePolicy:
        """Create a policy; its id, version and time are given here, whatever ``wanted`` has.

        Raises InvalidRequestError, and UnprocessableError when the sandbox has as many as it can.
        """
        created = replace(normalised(wanted), id=str(uuid4()), version=1, updated_s=self._now())

        def decide(configuration: Configuration) -> dict[str, MergePolicy]:
            if len(configuration.policies) >= self._limit:
                raise UnprocessableError(
                    f"This sandbox has {len(configuration.policies)} merge policies and can have {self._limit}: "
                    "change or delete one"
                )
            expect_known_datasets(created, configuration)
            return with_policy(configuration.policies, created)

        self._change(tenant, decide)
        return created

    def change(self, tenant: Tenant, policy_id: str, edit: Callable[[MergePolicy], MergePolicy]) -> MergePolicy:
        """Make the next version of a policy with ``edit``, which gets the present one.

        ``edit`` may run several times; what it raises is passed on and nothing is changed. Raises
        MergePolicyNotFoundError and InvalidRequestError.
        """

        def decide(configuration: Configuration) -> dict[str, MergePolicy]:
            before = _found(configuration, policy_id)
            after = replace(normalised(edit(before)), id=before.id, version=before.version + 1, updated_s=self._now())
            expect_known_datasets(after, configuration, before)
            return with_policy(configuration.policies, after)

        return self._change(tenant, decide)[policy_id]

    def delete(self, tenant: Tenant, policy_id: str) -> None:
        """Delete a policy; its versions stay in the history.

        Raises MergePolicyNotFoundError, and InvalidRequestError for the one that is active on the edge.
        """

        def decide(configuration: Configuration) -> dict[str, MergePolicy]:
            if _found(configuration, policy_id).active_on_edge:
                raise InvalidRequestError(
                    "A merge policy that is active on the edge cannot be deleted: set isActiveOnEdge to false first"
                )
            return {key: policy for key, policy in configuration.policies.items() if key != policy_id}

        self._change(tenant, decide)

    def _change(
        self, tenant: Tenant, decide: Callable[[Configuration], dict[str, MergePolicy]]
    ) -> Mapping[str, MergePolicy]:
        former: list[MergePolicy] = []

        def mutate(configuration: Configuration) -> Configuration:
            policies = decide(configuration)
            former[:] = [policy for key, policy in configuration.policies.items() if policies.get(key) != policy]
            return replace(configuration, policies=policies)

        return self._configurations.change(
            tenant,
            mutate,
            lambda: [
                self._history.putting(*_history_key(tenant, policy.id, policy.version), policy.to_document())
                for policy in former
            ],
        ).policies

    def _at(self, tenant: Tenant, policy: MergePolicy, version: int) -> MergePolicy | None:
        if version >= policy.version:
            return policy if version == policy.version else None
        document = self._history.get(*_history_key(tenant, policy.id, version))
        return None if document is None else MergePolicy.from_document(document)

    def _now(self) -> int:
        return int(self._clock())


def expect_known_datasets(policy: MergePolicy, configuration: Configuration, before: MergePolicy | None = None) -> None:
    """Check that the datasets of an order exist, those that the policy named before excepted.

    Deleting a dataset leaves the policies that name it as they are; they must stay changeable. Raises
    InvalidRequestError naming the first that does not exist.
    """
    known = configuration.datasets.keys() | set(before.order if before else ())
    for dataset_id in policy.order:
        if dataset_id not in known:
            raise InvalidRequestError(f"attributeMerge.order: dataset '{dataset_id}' does not exist in this sandbox")


def _found(configuration: Configuration, policy_id: str) -> MergePolicy:
    policy = configuration.policies.get(policy_id)
    if policy is None:
        raise MergePolicyNotFoundError
    return policy


def _history_key(tenant: Tenant, policy_id: str, version: int) -> tuple[str, str]:
    return f"{tenant.key}#policy", f"{policy_id}#{version:010d}"
