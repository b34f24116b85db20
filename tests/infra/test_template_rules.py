"""cdk-nag and cfn-lint find nothing that is not acknowledged with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_s3 as s3
from cfnlint import api as cfnlint
from cfnlint.config import ManualArgs

from infra.app import build
from tests.infra.deployment import ROOT, Deployment


def findings(directory: Path) -> list[Any]:
    report = json.loads((directory / "validation-report.json").read_text())
    return [violation for plugin in report["pluginReports"] for violation in plugin.get("violations", [])]


@pytest.mark.parametrize("which", ["aws", "everything_on", "local"])
def test_nag_finds_nothing(which: str, request: pytest.FixtureRequest) -> None:
    deployment: Deployment = request.getfixturevalue(which)
    assert findings(deployment.directory) == []


def test_nag_is_alive(tmp_path: Path) -> None:
    settings = json.loads((ROOT / "cdk.json").read_text())["context"]
    app = App(outdir=str(tmp_path), context={**settings, "aws:cdk:bundling-stacks": []})
    build(app)
    s3.Bucket(Stack(app, "Careless"), "Open")
    with pytest.raises(RuntimeError, match="AwsSolutions-S1"):
        app.synth()
    assert "AwsSolutions-S1" in json.dumps(findings(tmp_path))


@pytest.mark.parametrize("which", ["aws", "everything_on"])
def test_lint_finds_nothing(which: str, request: pytest.FixtureRequest) -> None:
    deployment: Deployment = request.getfixturevalue(which)
    # CDK states a dependency both by reference and by DependsOn; that is its way and does no harm.
    settings = ManualArgs(regions=["eu-central-1"], ignore_checks=["W3005"])
    found = [str(match) for file in deployment.files for match in cfnlint.lint_file(file, config=settings)]
    assert found == []
