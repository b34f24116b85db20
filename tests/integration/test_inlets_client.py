"""Adobe's own client of the Flow Service, unchanged, makes and keeps inlets."""

from __future__ import annotations

import pytest
from aepp.flowservice import FlowService

from api import inlets as endpoint
from tests.integration.adobe import signed_in
from tests.integration.conftest import Caller
from tests.integration.inlets import inlets


@pytest.fixture
def client(call: Caller, monkeypatch: pytest.MonkeyPatch) -> FlowService:
    """The client, signed in."""
    return FlowService(**signed_in(call, monkeypatch, endpoint.handler))


def test_the_life_of_an_inlet(client: FlowService) -> None:
    made = client.createConnectionStreaming(name="Shops", sourceId="till-7", dataType="xdm", paramName="Tills")
    connection = client.getConnection(made["id"])
    params = connection["auth"]["params"]
    assert params["inletUrl"] == f"https://api.example.com/v1/collection/{params['inletId']}"
    assert (connection["name"], params["name"], params["sourceId"]) == ("Shops", "Tills", "till-7")
    assert inlets().find(params["inletId"]).connection_id == made["id"]
    operations = [
        {"op": "replace", "path": "/name", "value": "Stores"},
        {"op": "add", "path": "/auth/params/authenticationRequired", "value": False},
    ]
    changed = client.patchConnection(made["id"], operations)
    after = client.getConnection(made["id"])
    assert changed == {"id": made["id"], "etag": after["etag"]}
    assert (after["name"], after["auth"]["params"]["authenticationRequired"]) == ("Stores", False)
    assert client.deleteConnection(made["id"]) == 204
    assert client.deleteConnection(made["id"])["status"] == 404
    assert client.getConnections() == []


def test_all_pages_are_listed(client: FlowService) -> None:
    names = [f"Shop {number}" for number in range(7)]
    for name in names:
        assert "id" in client.createConnectionStreaming(
            name=name, sourceId="till", paramName="Tills", authenticationRequired=True
        )
    assert sorted(one["name"] for one in client.getConnections(limit=3, n_results="inf")) == names
    assert [one["name"] for one in client.getConnections(limit=2, orderby="-name", property="name!=Shop 6")] == (
        names[5::-1]
    )
    assert client.getConnections(count=True) == {"count": 7}


def test_what_is_wrong_is_said(client: FlowService) -> None:
    assert client.createConnectionToUPS(name="Elsewhere")["status"] == 400
    raw = client.createConnectionStreaming(name="Shops", sourceId="till", dataType="raw", paramName="Tills")
    assert "dataType" in raw["detail"]
