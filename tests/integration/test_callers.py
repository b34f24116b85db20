"""Registering organisations, sandboxes and clients, also when a run is interrupted or repeated."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from api import datasets
from ops import callers
from ops.callers import CallerRegistration, development_client
from ops.outputs import Outputs
from tessera.domain.errors import ConflictError, InvalidRequestError, NotFoundError
from tessera.domain.tenant import Tenant
from tessera.services.organisations import Organisations
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.registry import Registry
from tests.integration.conftest import Caller

OUTPUTS = {
    "TesseraStorage": {
        "ProfileTable": "profiles",
        "RegistryTable": "registry",
        "LakeBucket": "lake",
        "UserPoolId": "eu-west-1_Test",
        "TokenUrl": "https://auth.example/oauth2/token",
        "TokenScope": "tessera/access",
        "TokenIssuer": "https://issuer.example",
        "TokenJwksUrl": "https://issuer.example/jwks.json",
    },
    "TesseraApi": {"BaseUrl": "https://api.example/v1"},
    "TesseraJobs": {
        "IngestStateMachineArn": "arn:aws:states:eu-west-1:000000000000:stateMachine:x",
        "DeleteStateMachineArn": "arn:aws:states:eu-west-1:000000000000:stateMachine:y",
        "EraseStateMachineArn": "arn:aws:states:eu-west-1:000000000000:stateMachine:z",
        "BackfillStateMachineArn": "arn:aws:states:eu-west-1:000000000000:stateMachine:z",
        "ExportStateMachineArn": "arn:aws:states:eu-west-1:000000000000:stateMachine:w",
        "StreamQueueUrl": "https://queue.example/stream",
        "WindowQueueUrl": "https://queue.example/windows",
        "StreamDeadLettersUrl": "https://queue.example/stream-dead-letters",
        "WindowDeadLettersUrl": "https://queue.example/windows-dead-letters",
        "PurgeStateMachineArn": "arn:aws:states:eu-west-1:000000000000:stateMachine:p",
        "ExpiryStateMachineArn": "arn:aws:states:eu-west-1:000000000000:stateMachine:t",
        "SampleStateMachineArn": "arn:aws:states:eu-west-1:000000000000:stateMachine:s",
    },
}


class Unknown(Exception):
    pass


class Cognito:
    """The calls of Cognito that registration makes, two clients to a page."""

    class exceptions:
        ResourceNotFoundException = Unknown

    def __init__(self) -> None:
        self.clients: dict[str, dict[str, Any]] = {}

    def create_user_pool_client(self, **wanted: Any) -> dict[str, Any]:
        number = len(self.clients) + 1
        client = {**wanted, "ClientId": f"client{number}", "ClientSecret": f"secret{number}"}
        self.clients[client["ClientId"]] = client
        return {"UserPoolClient": client}

    def describe_user_pool_client(self, *, UserPoolId: str, ClientId: str) -> dict[str, Any]:
        if ClientId not in self.clients:
            raise Unknown
        return {"UserPoolClient": self.clients[ClientId]}

    def get_paginator(self, name: str) -> Cognito:
        assert name == "list_user_pool_clients"
        return self

    def paginate(self, **_parameters: Any) -> list[dict[str, Any]]:
        listed = [{"ClientId": it["ClientId"], "ClientName": it["ClientName"]} for it in self.clients.values()]
        return [{"UserPoolClients": listed[at : at + 2]} for at in range(0, len(listed), 2)]


@pytest.fixture
def cognito() -> Cognito:
    return Cognito()


@pytest.fixture
def organisations(cloud: None) -> Organisations:
    client, table = aws.dynamodb(), aws.registry_table()
    return Organisations(ConfigurationStore(client, table), Registry(client, table), clock=lambda: 1_700_000_000.5)


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(OUTPUTS))
    return Outputs.read(file)


@pytest.fixture
def registration(outputs: Outputs, cognito: Cognito, organisations: Organisations) -> CallerRegistration:
    return CallerRegistration(outputs, cognito, organisations)  # type: ignore[arg-type]


def organisation(org_id: str) -> dict[str, Any]:
    document = Registry(aws.dynamodb(), aws.registry_table()).get(f"org#{org_id}", "org")
    assert document is not None
    return document


class TestOrganisations:
    def test_a_new_one_has_two_sandboxes_with_a_default_policy(self, organisations: Organisations) -> None:
        organisations.ensure("ACME@AdobeOrg")
        sandboxes = organisation("ACME@AdobeOrg")["sandboxes"]
        assert {name: (its["type"], its["default"]) for name, its in sandboxes.items()} == {
            "prod": ("production", True),
            "dev": ("development", False),
        }
        for name, its in sandboxes.items():
            configuration = ConfigurationStore(aws.dynamodb(), "registry").current(Tenant("ACME@AdobeOrg", name))
            assert (configuration.sandbox_id, configuration.sandbox_type) == (its["id"], its["type"])
            (policy,) = configuration.policies.values()
            assert policy.to_document() == {
                "id": policy.id,
                "name": "Default Timebased",
                "schema": "_xdm.context.profile",
                "graph": "pdg",
                "merge": "timestampOrdered",
                "order": [],
                "default": True,
                "edge": False,
                "version": 1,
                "updated": 1_700_000_000,
            }

    @pytest.mark.parametrize("broken_after", [1, 2, 3, 4])
    def test_an_interrupted_run_is_completed_by_the_next(
        self, organisations: Organisations, monkeypatch: pytest.MonkeyPatch, broken_after: int
    ) -> None:
        write, put = Registry.write, aws.dynamodb().put_item
        writes = 0

        def interrupted(self: Registry, items: Any) -> None:
            nonlocal writes
            writes += 1
            if writes > broken_after:
                raise KeyboardInterrupt
            write(self, items)

        def interrupted_change(**parameters: Any) -> Any:
            nonlocal writes
            writes += 1
            if writes > broken_after:
                raise KeyboardInterrupt
            return put(**parameters)

        with monkeypatch.context() as patch:
            patch.setattr(Registry, "write", interrupted)
            patch.setattr(aws.dynamodb(), "put_item", interrupted_change)
            with pytest.raises(KeyboardInterrupt):
                organisations.ensure("ACME@AdobeOrg")
        organisations.ensure("ACME@AdobeOrg")
        for name, its in organisation("ACME@AdobeOrg")["sandboxes"].items():
            configuration = ConfigurationStore(aws.dynamodb(), "registry").current(Tenant("ACME@AdobeOrg", name))
            assert configuration.sandbox_id == its["id"]
        before = organisation("ACME@AdobeOrg")
        organisations.ensure("ACME@AdobeOrg")
        assert organisation("ACME@AdobeOrg") == before
        assert set(before["sandboxes"]) == {"prod", "dev"}

    def test_another_sandbox(self, organisations: Organisations) -> None:
        organisations.ensure("ACME@AdobeOrg")
        first = organisations.add_sandbox("ACME@AdobeOrg", "test-2")
        assert organisations.add_sandbox("ACME@AdobeOrg", "test-2") == first
        assert (first.type, first.default) == ("development", False)
        with pytest.raises(ConflictError):
            organisations.add_sandbox("ACME@AdobeOrg", "test-2", "production")
        with pytest.raises(NotFoundError):
            organisations.add_sandbox("OTHER@AdobeOrg", "test-2")

    @pytest.mark.parametrize("name", ["", "Test", "-a", "a b", "a/b", "a" * 65, "a\n"])
    def test_a_sandbox_name_is_lower_case(self, organisations: Organisations, name: str) -> None:
        organisations.ensure("ACME@AdobeOrg")
        with pytest.raises(InvalidRequestError):
            organisations.add_sandbox("ACME@AdobeOrg", name)

    @pytest.mark.parametrize("org_id", ["", "ACME", "a#b@AdobeOrg", "@AdobeOrg", "A@AdobeOrg\n"])
    def test_an_organisation_id_looks_like_one(self, organisations: Organisations, org_id: str) -> None:
        with pytest.raises(InvalidRequestError):
            organisations.ensure(org_id)

    def test_permissions_are_those_there_are(self, organisations: Organisations) -> None:
        for permissions in ((), ("read", "fly")):
            with pytest.raises(InvalidRequestError):
                organisations.register_client("ACME@AdobeOrg", "c", "n", permissions)


class TestClients:
    def test_what_is_printed_is_what_a_caller_needs(
        self, registration: CallerRegistration, cognito: Cognito, outputs: Outputs
    ) -> None:
        configuration = registration.client("ACME@AdobeOrg", "warehouse", ("read", "ingest"))
        assert vars(configuration) == {
            "base_url": "https://api.example/v1",
            "token_url": "https://auth.example/oauth2/token",
            "client_id": "client1",
            "client_secret": "secret1",
            "scopes": "tessera/access",
            "org_id": "ACME@AdobeOrg",
            "api_key": "client1",
            "sandbox": "prod",
        }
        created = cognito.clients["client1"]
        assert created["AllowedOAuthFlows"] == ["client_credentials"]
        assert created["AllowedOAuthScopes"] == ["tessera/access"]
        assert created["GenerateSecret"] is True
        assert (created["AccessTokenValidity"], created["TokenValidityUnits"]) == (1, {"AccessToken": "hours"})

    def test_the_same_name_is_the_same_client(self, registration: CallerRegistration, cognito: Cognito) -> None:
        first = registration.client("ACME@AdobeOrg", "a")
        for org_id, name in (("ACME@AdobeOrg", "b"), ("OTHER@AdobeOrg", "a")):
            assert registration.client(org_id, name).client_id != first.client_id
        assert registration.client("ACME@AdobeOrg", "a") == first
        assert registration.client("OTHER@AdobeOrg", "a").client_id == "client3"
        assert len(cognito.clients) == 3

    def test_a_registered_client_is_let_in(
        self, call: Caller, registration: CallerRegistration, cognito: Cognito
    ) -> None:
        configuration = registration.client("ACME@AdobeOrg", "a", ("read",))
        headers = {
            "Authorization": f"Bearer {call.issuer.token(configuration.client_id)}",
            "x-api-key": configuration.api_key,
            "x-gw-ims-org-id": configuration.org_id,
            "x-sandbox-name": configuration.sandbox,
        }
        path = "/data/foundation/catalog/dataSets"
        assert call(datasets.handler, "GET", path, headers=headers).status == 200
        assert call(datasets.handler, "POST", path, body={}, headers=headers).status == 403


class TestDevelopmentClient:
    def test_it_is_written_once_and_reused(self, registration: CallerRegistration, tmp_path: Path) -> None:
        directory = tmp_path / "new"
        first = development_client(registration, directory)
        assert first.org_id == "TESSERA@AdobeOrg"
        assert (directory / "base_url").read_text() == "https://api.example/v1"
        assert json.loads((directory / "client.json").read_text()) == vars(first)
        assert stat.S_IMODE((directory / "client.json").stat().st_mode) == 0o600
        assert development_client(registration, directory) == first
        assert sorted(file.name for file in directory.iterdir()) == ["base_url", "client.json"]

    @pytest.mark.parametrize("spoilt", ["", "[]", "{}", '{"client_id": 3}', "not JSON"])
    def test_a_spoilt_file_is_written_anew(self, registration: CallerRegistration, tmp_path: Path, spoilt: str) -> None:
        first = development_client(registration, tmp_path)
        (tmp_path / "client.json").write_text(spoilt)
        assert development_client(registration, tmp_path) == first

    def test_a_client_that_is_gone_is_registered_anew(
        self, registration: CallerRegistration, cognito: Cognito, tmp_path: Path
    ) -> None:
        first = development_client(registration, tmp_path)
        cognito.clients["kept"] = {**cognito.clients.pop(first.client_id), "ClientName": "x", "ClientId": "kept"}
        second = development_client(registration, tmp_path)
        assert second.client_id == "client2"
        assert json.loads((tmp_path / "client.json").read_text())["client_id"] == "client2"


class TestCommandLine:
    @pytest.fixture(autouse=True)
    def deployment(self, cloud: None, cognito: Cognito, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "outputs.json").write_text(json.dumps(OUTPUTS))
        monkeypatch.setattr(callers, "LOCAL_OUTPUTS", tmp_path / "outputs.json")
        monkeypatch.setattr(callers, "LOCAL", tmp_path)
        dynamodb = aws.dynamodb()
        monkeypatch.setattr(callers.boto3, "client", lambda name: {"dynamodb": dynamodb, "cognito-idp": cognito}[name])

    def run(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
        assert callers.main(list(arguments)) == 0
        return json.loads(capsys.readouterr().out)

    def test_client_and_sandbox(self, capsys: pytest.CaptureFixture[str]) -> None:
        first = self.run(capsys, "client", "ACME")
        assert first["org_id"] == "ACME@AdobeOrg"
        assert self.run(capsys, "client", "--org", "ACME@AdobeOrg", "--permissions", "read,erase") == first
        assert self.run(capsys, "sandbox", "ACME", "test")["name"] == "test"
        assert (
            self.run(capsys, "sandbox", "--org", "ACME", "--name", "p2", "--type", "production")["type"] == "production"
        )
        assert set(organisation("ACME@AdobeOrg")["sandboxes"]) == {"prod", "dev", "test", "p2"}

    def test_the_development_client_keeps_its_secret(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        assert "client_secret" not in self.run(capsys, "dev-client")
        assert "client_secret" in json.loads((tmp_path / "client.json").read_text())

    @pytest.mark.parametrize(
        "arguments",
        [
            ("sandbox", "NOBODY", "test"),
            ("sandbox", "ACME", "Test"),
            ("client", "a b"),
            ("client", "ACME", "--permissions", "fly"),
            ("--outputs", "/nowhere/outputs.json", "dev-client"),
        ],
    )
    def test_what_cannot_be_done_is_said(self, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
        assert callers.main(list(arguments)) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "Traceback" not in captured.err
        assert captured.err.strip()

    @pytest.mark.parametrize("arguments", [("client",), ("sandbox", "ACME"), (), ("fly",)])
    def test_what_is_missing_is_asked_for(self, arguments: tuple[str, ...]) -> None:
        with pytest.raises(SystemExit):
            callers.main(list(arguments))
