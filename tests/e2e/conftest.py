"""The stacks deployed on a local cloud of the tests' own; it is stopped afterwards, and keeps what was built."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aepp
import boto3
import pytest
from aepp.customerprofile import Profile

from ops import local_cloud
from ops.client import Client
from ops.outputs import Outputs
from tessera.domain.tenant import Tenant
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.profile_table import ProfileTable

DIRECTORY = local_cloud.ROOT / ".local" / "test"


@pytest.fixture(scope="session")
def outputs() -> Iterator[Outputs]:
    """A running cloud with the stacks of this tree; this process talks to it."""
    outputs = local_cloud.ensure_running(DIRECTORY)
    before = dict(os.environ)
    os.environ.update(outputs.environment())
    yield outputs
    os.environ.clear()
    os.environ.update(before)
    local_cloud.stop(DIRECTORY)


def register(organisation: str, *options: str) -> dict[str, str]:
    """Do what `make client` does."""
    printed = subprocess.run(
        [
            sys.executable,
            "-m",
            "ops.callers",
            "--outputs",
            str(DIRECTORY / "outputs.json"),
            "client",
            organisation,
            *options,
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd=local_cloud.ROOT,
    ).stdout
    configuration: dict[str, str] = json.loads(printed)
    return configuration


def adobe_client(configuration: dict[str, str]) -> Profile:
    """Adobe's published client, pointed at the service (contract: profile-api §12.1)."""
    aepp.configure(
        org_id=configuration["org_id"],
        client_id=configuration["client_id"],
        secret=configuration["client_secret"],
        scopes=configuration["scopes"],
        sandbox=configuration["sandbox"],
        environment="prod",
    )
    aepp.config.endpoints["global"] = configuration["base_url"]
    aepp.config.config_object["oauthTokenEndpointV2"] = configuration["token_url"]
    return Profile()


@pytest.fixture(scope="session")
def configuration(outputs: Outputs) -> dict[str, str]:
    """A client of an organisation of its own, new at every run."""
    return register(f"E2E{uuid.uuid4().hex[:12].upper()}@AdobeOrg")


@pytest.fixture(scope="session")
def client(configuration: dict[str, str]) -> Client:
    """A client with a token."""
    return Client(configuration)


@pytest.fixture(scope="session")
def tenant(configuration: dict[str, str]) -> Tenant:
    """The client's organisation and sandbox."""
    return Tenant(configuration["org_id"], configuration["sandbox"])


@pytest.fixture(scope="session")
def executor() -> Iterator[ThreadPoolExecutor]:
    """Threads, as a function has them."""
    with ThreadPoolExecutor(16) as executor:
        yield executor


@pytest.fixture
def table(outputs: Outputs) -> ProfileTable:
    """The deployed profile table."""
    return ProfileTable(boto3.client("dynamodb"), outputs.profile_table)


@pytest.fixture
def configurations(outputs: Outputs) -> ConfigurationStore:
    """The deployed registry's configurations."""
    return ConfigurationStore(boto3.client("dynamodb"), outputs.registry_table)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the local cloud."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
