"""The erase machine: accept, wait out who may still write, sweep until nothing is left, look through the exports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.api import TIMEOUT as CALL
from infra.jobs import TIMEOUT
from tests.infra.deployment import Deployment


@pytest.fixture(scope="module")
def states(aws: Deployment) -> dict[str, Any]:
    machine = aws.definition("erase")
    assert machine["StartAt"] == "Wait out the call"
    found: dict[str, Any] = machine["States"]
    return found


def test_every_step_is_repeated_until_it_is_done(states: dict[str, Any]) -> None:
    following = {"Accept": "Wait out writers", "Sweep": "Search", "Search": "Done"}
    for name, after in following.items():
        choice = states[states[name]["Next"]]
        assert [(one["Variable"], one["BooleanEquals"], one["Next"]) for one in choice["Choices"]] == [
            ("$.done", True, after)
        ]
        assert choice["Default"] == name
    assert states["Wait out the call"]["Next"] == "Accept"
    assert states["Wait out writers"]["Next"] == "Sweep"
    assert states["Done"]["Type"] == "Succeed"


def test_it_waits_for_longer_than_anybody_runs(aws: Deployment, local: Deployment, states: dict[str, Any]) -> None:
    assert states["Wait out the call"]["Seconds"] > CALL.to_seconds()
    assert states["Wait out writers"]["Seconds"] > TIMEOUT.to_seconds()
    for name in ("Wait out the call", "Wait out writers"):
        assert local.definition("erase")["States"][name]["Seconds"] == 1


def test_every_step_retries_and_records_its_failure(states: dict[str, Any]) -> None:
    for name in ("Accept", "Sweep", "Search"):
        (catch,) = states[name]["Catch"]
        assert catch == {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Fail"}
    for name in ("Accept", "Sweep", "Search", "Fail"):
        (retry,) = states[name]["Retry"]
        assert (retry["ErrorEquals"], retry["MaxAttempts"], retry["JitterStrategy"]) == (["States.ALL"], 5, "FULL")
    assert states[states["Fail"]["Next"]]["Type"] == "Fail"


def test_machine(aws: Deployment) -> None:
    properties = aws.machine("erase")
    assert properties["TracingConfiguration"] == {"Enabled": True}
    assert properties["LoggingConfiguration"]["Level"] == "ERROR"
    assert not properties["LoggingConfiguration"].get("IncludeExecutionData")


def test_the_machine_invokes_its_own_functions_only(aws: Deployment) -> None:
    roles = aws.resources("AWS::IAM::Role", "Jobs")
    (role,) = [one for name, one in roles.items() if name.startswith("EraseMachineRole")]
    statements = [one for policy in role["Properties"]["Policies"] for one in policy["PolicyDocument"]["Statement"]]
    (invoke,) = [one for one in statements if one["Action"] == "lambda:InvokeFunction"]
    assert len(invoke["Resource"]) == 4
    assert all("Erase" in json.dumps(one) for one in invoke["Resource"])
    assert all(one["Action"] == "lambda:InvokeFunction" or one["Resource"] == "*" for one in statements)


def test_the_sweep_knows_the_windows_of_streaming(aws: Deployment) -> None:
    variables = {
        one["Properties"]["FunctionName"]: one["Properties"]["Environment"]["Variables"]
        for one in aws.resources("AWS::Lambda::Function").values()
    }
    assert variables["tessera-erase-sweep"]["STREAM_WINDOW_S"] == variables["tessera-stream-process"]["STREAM_WINDOW_S"]
