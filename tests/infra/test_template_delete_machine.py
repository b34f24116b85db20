"""The delete machine: wait out who may still write, sweep until nothing is left, and record every failure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.jobs import TIMEOUT
from tests.infra.deployment import Deployment


@pytest.fixture(scope="module")
def states(aws: Deployment) -> dict[str, Any]:
    machine = aws.definition("delete")
    assert machine["StartAt"] == "Wait out writers"
    found: dict[str, Any] = machine["States"]
    return found


def test_it_sweeps_until_all_is_done(states: dict[str, Any]) -> None:
    assert states["Wait out writers"]["Next"] == "Sweep"
    choice = states[states["Sweep"]["Next"]]
    assert [(one["Variable"], one["BooleanEquals"], one["Next"]) for one in choice["Choices"]] == [
        ("$.done", True, "Done")
    ]
    assert choice["Default"] == "Sweep"
    assert states["Done"]["Type"] == "Succeed"


def test_no_function_runs_as_long_as_it_waits(aws: Deployment, local: Deployment, states: dict[str, Any]) -> None:
    functions = aws.resources("AWS::Lambda::Function").values()
    longest = max(one["Properties"]["Timeout"] for one in functions)
    assert states["Wait out writers"]["Seconds"] > longest == TIMEOUT.to_seconds()
    assert local.definition("delete")["States"]["Wait out writers"]["Seconds"] == 1


def test_every_step_retries_and_records_its_failure(states: dict[str, Any]) -> None:
    (catch,) = states["Sweep"]["Catch"]
    assert catch == {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Fail"}
    for name in ("Sweep", "Fail"):
        (retry,) = states[name]["Retry"]
        assert (retry["ErrorEquals"], retry["MaxAttempts"], retry["JitterStrategy"]) == (["States.ALL"], 5, "FULL")
    assert states[states["Fail"]["Next"]]["Type"] == "Fail"


def test_machine(aws: Deployment) -> None:
    properties = aws.machine("delete")
    assert properties.get("StateMachineType", "STANDARD") == "STANDARD"
    assert properties["TracingConfiguration"] == {"Enabled": True}
    assert properties["LoggingConfiguration"]["Level"] == "ERROR"
    assert not properties["LoggingConfiguration"].get("IncludeExecutionData")


def test_the_machine_invokes_its_own_functions_only(aws: Deployment) -> None:
    roles = aws.resources("AWS::IAM::Role", "Jobs")
    (role,) = [one for name, one in roles.items() if name.startswith("DeleteMachineRole")]
    statements = [one for policy in role["Properties"]["Policies"] for one in policy["PolicyDocument"]["Statement"]]
    (invoke,) = [one for one in statements if one["Action"] == "lambda:InvokeFunction"]
    assert len(invoke["Resource"]) == 2
    assert "Delete" in json.dumps(invoke["Resource"])
    assert all(one["Action"] == "lambda:InvokeFunction" or one["Resource"] == "*" for one in statements)
