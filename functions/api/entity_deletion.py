"""Deleting a person by one of their identities (contract: profile-api §2.8)."""

from __future__ import annotations

import os
import time
from functools import cache

from tessera.domain.errors import EntityNotFoundError, InvalidRequestError
from tessera.domain.identity import Xid
from tessera.domain.merge_policy import PROFILE_CLASS
from tessera.domain.tenant import Tenant
from tessera.gateway import Response
from tessera.services.deletion import Deletions
from tessera.services.profile_reader import ProfileReader
from tessera.storage import aws
from tessera.storage.executions import Executions
from tessera.storage.jobs import DeletionStore
from tessera.storage.journal import Journal
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry


@cache
def _deletions() -> Deletions:
    return Deletions(
        ProfileTable(aws.dynamodb(), aws.profile_table()),
        DeletionStore(Registry(aws.dynamodb(), aws.registry_table())),
        Executions(aws.stepfunctions, lambda: os.environ["DELETE_STATE_MACHINE_ARN"]),
        journal=Journal(aws.s3(), aws.lake_bucket()),
    )


def expect_deletable(schema: str | None) -> None:
    """Raise InvalidRequestError unless ``schema.name`` is the class of persons: no other can be deleted."""
    if schema != PROFILE_CLASS:
        raise InvalidRequestError(f"schema.name is required and must be {PROFILE_CLASS}: nothing else can be deleted")


def delete(
    reader: ProfileReader, tenant: Tenant, xid: Xid, *, policy_id: str | None, namespace: str | None, caller: str
) -> Response:
    """Delete what a look-up of the identity under the policy finds; its graph type says of whom.

    Who is not found is answered as by a look-up, unless a deletion of theirs is still under way: a caller that
    missed the answer asks again. Raises what a look-up raises.
    """
    try:
        person = reader.person(
            tenant, xid, namespace=namespace, policy_id=policy_id, now_ms=time.time_ns() // 1_000_000
        )
        _deletions().accept(tenant, xid, person.policy.graph, caller)
    except EntityNotFoundError:
        if not _deletions().resume(tenant, xid):
            raise
    return Response(None, 202)
