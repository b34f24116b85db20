"""Register who may call: clients of organisations, and the organisations' sandboxes.

    python -m ops.callers client ACME@AdobeOrg [--name NAME] [--permissions read,ingest]
    python -m ops.callers sandbox ACME@AdobeOrg NAME [--type development]
    python -m ops.callers dev-client

What it works on stands in an outputs file of `cdk deploy`: that of the local cloud, or of AWS where there is none.
Every command can be run again, and prints the same.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from ops.outputs import Outputs, local_credentials

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT / "functions") not in sys.path:
    sys.path.insert(0, str(ROOT / "functions"))

from tessera.domain.errors import TesseraError  # noqa: E402 - the functions are not installed, only found
from tessera.services.organisations import PERMISSIONS, SANDBOX_TYPES, Organisations  # noqa: E402
from tessera.storage.configuration import ConfigurationStore  # noqa: E402
from tessera.storage.registry import Registry  # noqa: E402

if TYPE_CHECKING:
    from types_boto3_cognito_idp import CognitoIdentityProviderClient

LOCAL = ROOT / ".local"
LOCAL_OUTPUTS = LOCAL / "outputs.json"
AWS_OUTPUTS = ROOT / ".aws-outputs.json"
DEVELOPMENT_ORG = "TESSERA@AdobeOrg"
DEVELOPMENT_NAME = "development"

TOKEN_HOURS = 1
_PAGE = 60


@dataclass(frozen=True)
class ClientConfiguration:
    """What a caller needs to know; the names are those of `client.json`."""

    base_url: str
    token_url: str
    client_id: str
    client_secret: str
    scopes: str
    org_id: str
    api_key: str
    sandbox: str


class CallerRegistration:
    """Registers clients with the issuer of tokens and in the registry."""

    def __init__(self, outputs: Outputs, cognito: CognitoIdentityProviderClient, organisations: Organisations) -> None:
        self._outputs = outputs
        self._cognito = cognito
        self._organisations = organisations

    def client(
        self, org_id: str, name: str, permissions: tuple[str, ...] = PERMISSIONS, sandbox: str = "prod"
    ) -> ClientConfiguration:
        """Register a client of that name for an organisation; one that is there is given these permissions."""
        self._organisations.ensure(org_id)
        client_name = f"{org_id} {name}"
        client_id, secret = self._existing(client_name) or self._new(client_name)
        self._organisations.register_client(org_id, client_id, name, permissions)
        return ClientConfiguration(
            base_url=self._outputs.base_url.rstrip("/"),
            token_url=self._outputs.token_url,
            client_id=client_id,
            client_secret=secret,
            scopes=self._outputs.token_scope,
            org_id=org_id,
            api_key=client_id,
            sandbox=sandbox,
        )

    def still_valid(self, known: ClientConfiguration) -> bool:
        """Tell whether a configuration written earlier still is that of a client of this deployment."""
        return (
            known.base_url == self._outputs.base_url.rstrip("/")
            and known.token_url == self._outputs.token_url
            and known.scopes == self._outputs.token_scope
            and self._secret_of(known.client_id) == known.client_secret
            and self._organisations.has_client(known.client_id)
        )

    def _existing(self, client_name: str) -> tuple[str, str] | None:
        pages = self._cognito.get_paginator("list_user_pool_clients").paginate(
            UserPoolId=self._outputs.user_pool_id, PaginationConfig={"PageSize": _PAGE}
        )
        for page in pages:
            for client in page["UserPoolClients"]:
                if client.get("ClientName") == client_name:
                    secret = self._secret_of(client["ClientId"])
                    if secret:
                        return client["ClientId"], secret
        return None

    def _new(self, client_name: str) -> tuple[str, str]:
        client = self._cognito.create_user_pool_client(
            UserPoolId=self._outputs.user_pool_id,
            ClientName=client_name,
            GenerateSecret=True,
            AllowedOAuthFlows=["client_credentials"],
            AllowedOAuthScopes=[self._outputs.token_scope],
            AllowedOAuthFlowsUserPoolClient=True,
            AccessTokenValidity=TOKEN_HOURS,
            TokenValidityUnits={"AccessToken": "hours"},
        )["UserPoolClient"]
        return client["ClientId"], client["ClientSecret"]

    def _secret_of(self, client_id: str) -> str | None:
        try:
            answer = self._cognito.describe_user_pool_client(UserPoolId=self._outputs.user_pool_id, ClientId=client_id)
        except self._cognito.exceptions.ResourceNotFoundException:
            return None
        return answer["UserPoolClient"].get("ClientSecret")


def development_client(registration: CallerRegistration, directory: Path) -> ClientConfiguration:
    """Make sure of a client to develop with, and write `client.json` and `base_url`."""
    file = directory / "client.json"
    configuration = None
    with suppress(FileNotFoundError, ValueError, TypeError):
        configuration = ClientConfiguration(**json.loads(file.read_text()))
    if configuration is None or not registration.still_valid(configuration):
        configuration = registration.client(DEVELOPMENT_ORG, DEVELOPMENT_NAME)
    directory.mkdir(parents=True, exist_ok=True)
    _write(file, _shown(asdict(configuration)) + "\n", mode=0o600)
    _write(directory / "base_url", configuration.base_url, mode=0o644)
    return configuration


def _write(file: Path, text: str, mode: int) -> None:
    """Replace a file at once: a reader sees the old text or the new, and a secret never with other rights."""
    new = file.with_name(f"{file.name}.{os.getpid()}.new")
    new.touch(mode=mode)
    new.chmod(mode)
    new.write_text(text)
    new.replace(file)


def _shown(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2)


def _organisation(text: str) -> str:
    """Complete `ACME` to `ACME@AdobeOrg`."""
    return text if "@" in text else f"{text}@AdobeOrg"


def _permissions(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.replace(",", " ").split())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ops.callers", description="Register clients, and sandboxes of their organisations."
    )
    parser.add_argument(
        "--outputs",
        type=Path,
        help="the outputs file of the deployment (default: the local cloud's, or else that of `make deploy`)",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    client = commands.add_parser("client", help="register a client and print its configuration as JSON")
    _add_organisation(client)
    client.add_argument("--name", default="default", help="tells the clients of an organisation apart (%(default)s)")
    client.add_argument(
        "--permissions",
        type=_permissions,
        default=PERMISSIONS,
        help=f"some of {','.join(PERMISSIONS)} (default: all)",
    )
    client.add_argument("--sandbox", default="prod", help="the sandbox named in the configuration (%(default)s)")

    sandbox = commands.add_parser("sandbox", help="give an organisation another sandbox")
    _add_organisation(sandbox)
    sandbox.add_argument("sandbox_name", nargs="?", metavar="NAME", help="lower-case letters, digits and hyphens")
    sandbox.add_argument("--name", dest="sandbox_name_option", metavar="NAME", help=argparse.SUPPRESS)
    sandbox.add_argument("--type", choices=SANDBOX_TYPES, default="development", help="(%(default)s)")

    commands.add_parser("dev-client", help="make sure of a client to develop with; writes .local/client.json")
    return parser


def _add_organisation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("organisation", nargs="?", metavar="ORG", help="such as ACME@AdobeOrg")
    parser.add_argument("--org", dest="organisation_option", metavar="ORG", help=argparse.SUPPRESS)


def _outputs(file: Path | None) -> Outputs:
    """Read the outputs; those of the local cloud also tell where its AWS is."""
    file = file or next((known for known in (LOCAL_OUTPUTS, AWS_OUTPUTS) if known.exists()), LOCAL_OUTPUTS)
    outputs = Outputs.read(file)
    address = urlsplit(outputs.base_url)
    if address.hostname in {"127.0.0.1", "localhost"}:
        os.environ.update(local_credentials(f"{address.scheme}://{address.netloc}"))
    return outputs


def main(arguments: list[str] | None = None) -> int:
    """Run one command."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        print(_shown(_run(given, parser)))
    except FileNotFoundError as error:
        print(f"{error.filename} is not there: start the local cloud (make run) or deploy first", file=sys.stderr)
        return 1
    except (TesseraError, ValueError, ClientError, BotoCoreError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(given: argparse.Namespace, parser: argparse.ArgumentParser) -> dict[str, Any]:
    outputs = _outputs(given.outputs)
    dynamodb = boto3.client("dynamodb")
    table = outputs.registry_table
    organisations = Organisations(ConfigurationStore(dynamodb, table), Registry(dynamodb, table))
    registration = CallerRegistration(outputs, boto3.client("cognito-idp"), organisations)
    if given.command == "dev-client":
        written = asdict(development_client(registration, given.outputs.parent if given.outputs else LOCAL))
        # The secret stays in the file, out of terminals and their logs.
        return {name: value for name, value in written.items() if name != "client_secret"}
    org_id = given.organisation or given.organisation_option
    if not org_id:
        parser.error("say for which organisation: ACME@AdobeOrg")
    if given.command == "client":
        return asdict(registration.client(_organisation(org_id), given.name, given.permissions, given.sandbox))
    name = given.sandbox_name or given.sandbox_name_option
    if not name:
        parser.error("say which sandbox")
    return asdict(organisations.add_sandbox(_organisation(org_id), name, given.type))


if __name__ == "__main__":
    sys.exit(main())
