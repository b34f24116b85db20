"""The erase machine: accept, wait out who may still write, sweep until nothing is left, look through the exports.

In between it reads the lake, if that was asked for, until a reading finds nothing.
"""

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
    following = {"Accept": "Wait out writers", "Sweep": "Lake?", "Search": "Done"}
    for name, after in following.items():
        choice = states[states[name]["Next"]]
        assert [(one["Variable"], one["BooleanEquals"], one["Next"]) for one in choice["Choices"]] == [
            ("$.done", True, after)
        ]
        assert choice["Default"] == name
    assert states["Wait out the call"]["Next"] == "Accept"
    assert states["Wait out writers"]["Next"] == "Sweep"
    assert states["Done"]["Type"] == "Succeed"


def test_the_lake_is_read_until_a_reading_finds_nothing(states: dict[str, Any]) -> None:
    def choices(state: str) -> list[tuple[str, Any, str]]:
        compared = ("BooleanEquals", "NumericGreaterThan")
        return [
            (one["Variable"], next(one[how] for how in compared if how in one), one["Next"])
            for one in states[state]["Choices"]
        ]

    assert choices("Lake?") == [("$.lake", True, "Plan")]
    assert states["Lake?"]["Default"] == "Search"
    assert states["Plan"]["Next"] == "Anything to read?"
    assert choices("Anything to read?") == [("$.busy", True, "Wait out readers"), ("$.shares", 0, "Look")]
    assert states["Anything to read?"]["Default"] == "Settle"
    assert states["Look"]["Next"] == "Settle"
    assert states["Settle"]["Next"] == "Clean?"
    assert choices("Clean?") == [("$.clean", True, "Search")]
    assert states["Clean?"]["Default"] == "Wait out readers"
    assert states["Wait out readers"]["Next"] == "Plan"
    assert states["Wait out readers"]["Seconds"] > TIMEOUT.to_seconds()


def test_shares_are_called_until_they_are_done(states: dict[str, Any]) -> None:
    look = states["Look"]
    assert look["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED"
    assert look["ItemReader"]["Parameters"]["Key.$"] == "$.manifest_key"
    assert look["ItemSelector"] == {
        "job": {"org_id.$": "$.org_id", "sandbox.$": "$.sandbox", "job_id.$": "$.job_id"},
        "share.$": "$$.Map.Item.Value",
    }
    assert look["ResultPath"] is None
    inner = look["ItemProcessor"]["States"]
    done = inner[inner["Look share"]["Next"]]
    assert [(one["Variable"], one["BooleanEquals"], one["Next"]) for one in done["Choices"]] == [
        ("$.done", True, "Look share over")
    ]
    assert done["Default"] == "Look share"


def test_it_waits_for_longer_than_anybody_runs(aws: Deployment, local: Deployment, states: dict[str, Any]) -> None:
    assert states["Wait out the call"]["Seconds"] > CALL.to_seconds()
    assert states["Wait out writers"]["Seconds"] > TIMEOUT.to_seconds()
    for name in ("Wait out the call", "Wait out writers"):
        assert local.definition("erase")["States"][name]["Seconds"] == 1


def test_every_step_retries_and_records_its_failure(states: dict[str, Any]) -> None:
    for name in ("Accept", "Sweep", "Plan", "Look", "Settle", "Search"):
        (catch,) = states[name]["Catch"]
        assert catch == {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Fail"}
    for name in ("Accept", "Sweep", "Plan", "Settle", "Search", "Fail"):
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
    assert len(invoke["Resource"]) == 7
    assert all("Erase" in json.dumps(one) for one in invoke["Resource"])
    (read,) = [one for one in statements if one["Action"] == "s3:GetObject"]
    assert json.dumps(read["Resource"]).endswith('/jobs/*"]]}')
    others = [one for one in statements if one not in (invoke, read)]
    assert all(one["Resource"] == "*" for one in others)


def test_the_sweep_knows_the_windows_of_streaming(aws: Deployment) -> None:
    variables = {
        one["Properties"]["FunctionName"]: one["Properties"]["Environment"]["Variables"]
        for one in aws.resources("AWS::Lambda::Function").values()
    }
    assert variables["tessera-erase-sweep"]["STREAM_WINDOW_S"] == variables["tessera-stream-process"]["STREAM_WINDOW_S"]
