"""Inlets on the deployed service: Adobe's own client makes one, and its address is this service's."""

from __future__ import annotations

import boto3
import pytest
from aepp.flowservice import FlowService

from ops.client import Client
from ops.outputs import Outputs
from tessera.domain.errors import RateLimitError
from tessera.domain.tenant import Tenant
from tessera.services.inlets import InletNotFoundError, Inlets
from tessera.storage.rate_limits import RateLimiter
from tessera.storage.registry import Registry
from tests.e2e.conftest import adobe_client


@pytest.fixture
def inlets(outputs: Outputs) -> Inlets:
    """What the streaming endpoint finds inlets with, on the deployed table; its minute does not end."""
    table = boto3.client("dynamodb")
    return Inlets(
        Registry(table, outputs.registry_table), RateLimiter(table, outputs.registry_table), lambda: 1_800_000_000_000
    )


def test_an_inlet_from_its_creation_to_its_end(
    client: Client, configuration: dict[str, str], tenant: Tenant, inlets: Inlets
) -> None:
    adobe_client(configuration)
    flows = FlowService()
    made = flows.createConnectionStreaming(name="Shops", sourceId="till-7", dataType="xdm", paramName="Tills")
    params = flows.getConnection(made["id"])["auth"]["params"]
    assert params["inletUrl"] == f"{configuration['base_url']}/collection/{params['inletId']}"
    inlet = inlets.find(params["inletId"])
    assert (inlet.tenant, inlet.connection_id, inlet.authentication_required) == (tenant, made["id"], True)
    assert made["id"] in [one["id"] for one in flows.getConnections(limit=1)]
    change = [{"op": "replace", "path": "/auth/params/authenticationRequired", "value": False}]
    assert flows.patchConnection(made["id"], change)["id"] == made["id"]
    assert not inlets.find(inlet.id).authentication_required
    for _ in range(60):
        inlets.admit_synchronous(inlet)
    with pytest.raises(RateLimitError):
        inlets.admit_synchronous(inlet)
    assert flows.deleteConnection(made["id"]) == 204
    with pytest.raises(InletNotFoundError):
        inlets.find(inlet.id)
    assert client.http.get(f"/data/foundation/flowservice/connections/{made['id']}").status_code == 404
