"""Makes inlets for tests of what comes in by them."""

from __future__ import annotations

from typing import Any

from tessera.domain.tenant import Tenant
from tessera.services.inlets import Connection, Inlets
from tessera.storage import aws
from tessera.storage.rate_limits import RateLimiter
from tessera.storage.registry import Registry
from tests.integration.conftest import CLIENT_ID, ORG, SANDBOXES

TENANT = Tenant(ORG, "dev")


def inlets(**options: Any) -> Inlets:
    """The service on the simulated tables."""
    client, table = aws.dynamodb(), aws.registry_table()
    return Inlets(Registry(client, table), RateLimiter(client, table), **options)


def make_connection(*, tenant: Tenant = TENANT, authenticated: bool = False, **fields: Any) -> Connection:
    """Make a streaming connection."""
    params = {"sourceId": "till-7", "name": "Tills", "authenticationRequired": authenticated}
    sandbox_id = str(SANDBOXES[tenant.sandbox]["id"])
    return inlets().create(tenant, sandbox_id, CLIENT_ID, {"name": "Tills", "params": params, **fields})


def make_inlet(*, tenant: Tenant = TENANT, authenticated: bool = False, **fields: Any) -> str:
    """Make a streaming connection and return its inlet's id."""
    connection = make_connection(tenant=tenant, authenticated=authenticated, **fields)
    return str(connection["auth"]["params"]["inletId"])
