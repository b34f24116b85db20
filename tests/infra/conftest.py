from __future__ import annotations

import os

import pytest

# Before CDK starts its Node process, which would fill the output with advice about its version.
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "18,20,22")

from tests.infra.deployment import Deployment, synthesise


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return synthesise(tmp_path_factory.mktemp("aws"))


@pytest.fixture(scope="session")
def everything_on(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return synthesise(
        tmp_path_factory.mktemp("on"), alarms="true", own_key="true", firewall="true", alarm_email="a@example.com"
    )


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return synthesise(tmp_path_factory.mktemp("local"), local="true")
