"""Merge policies: ``/data/core/ups/config/mergePolicies`` (contract: profile-api §3)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import orjson

from api.merge_policy_listing import Listing
from api.models import merge_policies as models
from tessera.domain.errors import InvalidRequestError
from tessera.domain.merge_policy import AttributeMerge, MergePolicy
from tessera.gateway import (
    JSON,
    JSON_PATCH,
    MAX_ANSWER_BYTES,
    Endpoint,
    Request,
    Response,
    ResponseTooLargeError,
    fits,
)
from tessera.services.dry_run import Comparison, DryRun
from tessera.services.merge_policies import MergePolicies
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry

_COLLECTION = "/data/core/ups/config/mergePolicies"
_ONE = _COLLECTION + "/{id}"
_PARALLEL_READS = 50

endpoint = Endpoint("merge_policies")
handler = endpoint.handler


@cache
def _configurations() -> ConfigurationStore:
    return ConfigurationStore(aws.dynamodb(), aws.registry_table())


@cache
def policies() -> MergePolicies:
    """Return the process's merge policies."""
    return MergePolicies(_configurations(), Registry(aws.dynamodb(), aws.registry_table()))


@cache
def _dry_run() -> DryRun:
    executor = ThreadPoolExecutor(_PARALLEL_READS, thread_name_prefix="read")
    return DryRun(_configurations(), ProfileTable(aws.dynamodb(), aws.profile_table()), executor)


@endpoint.get(_COLLECTION, permission="read")
def list_all(request: Request) -> Response:
    """List policies: filtered, ordered by name, a page of them."""
    listing = Listing.read(request.query, request.tenant)
    if listing.version is None:
        known = policies().all(request.tenant)
    else:
        known = policies().all_at(request.tenant, listing.version)
    page = listing.page(known)
    return Response(
        {
            "_page": {
                "totalCount": page.total,
                "pageSize": listing.limit,
                "count": len(page.policies),
                "next": page.next,
            },
            "children": [_described(policy, request) for policy in page.policies],
            "_links": {"next": {"href": page.href}},
        }
    )


@endpoint.post(_COLLECTION, permission="configure")
def create(request: Request) -> Response:
    """Create a policy; 200, for a client reads 201 as an error (contract: profile-api §3.1)."""
    wanted = request.parse(models.Policy).wanted()
    return Response(_described(policies().create(request.tenant, wanted), request))


@endpoint.post(_COLLECTION + "/bulk-get", permission="read", reads=True)
def bulk_get(request: Request) -> Response:
    """Read several policies; an id that is none is left out of the results."""
    wanted = [item.id for item in request.parse(models.BulkGet).ids]
    known = {policy.id: policy for policy in policies().all(request.tenant)}
    results = {policy_id: _described(known[policy_id], request) for policy_id in wanted if policy_id in known}
    return Response({"results": results}, 207)


@endpoint.get(_ONE, permission="read")
def get(request: Request) -> Response:
    """Read one policy."""
    return Response(_described(policies().get(request.tenant, request.path_parameters["id"]), request))


@endpoint.put(_ONE, permission="configure")
def put(request: Request) -> Response:
    """Replace everything a caller may set; what is left out is as if it had never been set."""
    wanted = request.parse(models.Policy).wanted()
    changed = policies().change(request.tenant, request.path_parameters["id"], lambda _: wanted)
    return Response(_described(changed, request))


@endpoint.patch(_ONE, permission="configure", accepts=(JSON, JSON_PATCH))
def patch(request: Request) -> Response:
    """Do every operation or none; one request is one version, however many operations it has."""
    edit = request.parse(models.Patch).edit()
    return Response(_described(policies().change(request.tenant, request.path_parameters["id"], edit), request))


@endpoint.delete(_ONE, permission="configure")
def delete(request: Request) -> Response:
    """Delete a policy; 200 without a body (contract: profile-api §3.4)."""
    policies().delete(request.tenant, request.path_parameters["id"])
    return Response(None)


@endpoint.post(_COLLECTION + "/dryRun", permission="read", reads=True)
def dry_run(request: Request) -> Response:
    """Tell what would change for whom if a policy were the default one: a call of ours that writes nothing."""
    body = request.parse(models.DryRun)
    policy = body.policy.wanted()
    now_ms = time.time_ns() // 1_000_000
    if body.identities is not None and body.sample is None:
        asked = {
            identity.xid(request.tenant): identity.namespace.code if identity.namespace else None
            for identity in body.identities
        }
        compared = _dry_run().of_identities(request.tenant, policy, asked, now_ms)
    elif body.sample is not None and body.identities is None:
        compared = _dry_run().of_sample(request.tenant, policy, body.sample, now_ms)
    else:
        raise InvalidRequestError("Give either identities or sample: on whom the policy is to be tried")
    return Response(_report(compared))


def _report(compared: Iterator[Comparison]) -> orjson.Fragment:
    """Write what was compared, given up as soon as it is more than an answer can carry."""
    profiles: list[orjson.Fragment] = []
    fields: Counter[str] = Counter()
    count = size = 0
    for comparison in compared:
        count += 1
        if not comparison.changes:
            continue
        fields.update({change.path for change in comparison.changes})
        changes = [{"path": one.path, "before": one.before, "after": one.after} for one in comparison.changes]
        profile = orjson.dumps({"entityId": comparison.xid, "changes": changes})
        size += len(profile)
        if size > MAX_ANSWER_BYTES:
            raise _too_large()
        profiles.append(orjson.Fragment(profile))
    raw = orjson.dumps(
        {"compared": count, "changed": len(profiles), "profiles": profiles, "fields": dict(sorted(fields.items()))}
    )
    if not fits(raw):
        raise _too_large()
    return orjson.Fragment(raw)


def _too_large() -> ResponseTooLargeError:
    return ResponseTooLargeError("Compare fewer persons in one call: name fewer identities, or take a smaller sample.")


def _described(policy: MergePolicy, request: Request) -> dict[str, Any]:
    """Write a policy as the API shows it (contract: profile-api §3.1); the time in seconds since 1970."""
    merge: dict[str, Any] = {"type": policy.attribute_merge.value}
    if policy.attribute_merge is AttributeMerge.DATASET_PRECEDENCE:
        merge["order"] = list(policy.order)
    return {
        "id": policy.id,
        "name": policy.name,
        "imsOrgId": request.tenant.org_id,
        "sandbox": {
            "sandboxId": request.sandbox.id,
            "sandboxName": request.sandbox.name,
            "type": request.sandbox.type,
            "default": request.sandbox.default,
        },
        "schema": {"name": policy.schema_class},
        "version": policy.version,
        "identityGraph": {"type": policy.graph.value},
        "attributeMerge": merge,
        "isActiveOnEdge": policy.active_on_edge,
        "default": policy.default,
        "updateEpoch": policy.updated_s,
    }
