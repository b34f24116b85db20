"""The ingest machine: validate everything, decide once, apply everything, and record every failure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.infra.deployment import Deployment


@pytest.fixture(scope="module")
def states(aws: Deployment) -> dict[str, Any]:
    machine = aws.definition("ingest")
    assert machine["StartAt"] == "Plan"
    found: dict[str, Any] = machine["States"]
    return found


def test_flow(states: dict[str, Any]) -> None:
    first = states[states["Plan"]["Next"]]
    assert [(one["NumericGreaterThan"], one["Next"]) for one in first["Choices"]] == [(0, "Validate")]
    assert first["Default"] == "Decide"
    assert states["Validate"]["Next"] == "Decide"
    verdict = states[states["Decide"]["Next"]]
    assert [one["Next"] for one in verdict["Choices"]] == ["Apply", "Finish"]
    assert states[verdict["Default"]]["Type"] == "Succeed"
    assert states["Apply"]["Next"] == "Finish"
    assert states[states["Finish"]["Next"]]["Type"] == "Succeed"


def test_nothing_is_applied_without_the_verdict(states: dict[str, Any]) -> None:
    to_apply = [
        name for name, state in states.items() if "Apply" in json.dumps(state.get("Choices", state.get("Next")))
    ]
    assert to_apply == [states["Decide"]["Next"]]


@pytest.mark.parametrize("name", ["Validate", "Apply"])
def test_maps(states: dict[str, Any], name: str) -> None:
    state = states[name]
    assert state["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    assert state["ItemReader"]["ReaderConfig"] == {"InputType": "JSON"}
    assert state["ItemReader"]["Parameters"]["Key.$"] == "$.manifest_key"
    assert state["ItemSelector"] == {
        "batch": {"org_id.$": "$.org_id", "sandbox.$": "$.sandbox", "batch_id.$": "$.batch_id"},
        "chunk.$": "$$.Map.Item.Value",
    }
    # What workers return is dropped: ten thousand results would not fit.
    assert state["ResultPath"] is None
    assert state["MaxConcurrency"] == 100
    # The local cloud has neither.
    assert not {"ItemBatcher", "ResultWriter"} & set(state)


def test_every_step_retries_and_records_its_failure(states: dict[str, Any]) -> None:
    for name in ("Plan", "Validate", "Decide", "Apply", "Finish"):
        (catch,) = states[name]["Catch"]
        assert catch == {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Fail"}
    tasks = [state for state in states.values() if state["Type"] == "Task"]
    for name in ("Validate", "Apply"):
        tasks += states[name]["ItemProcessor"]["States"].values()
    assert len(tasks) == 6
    for task in tasks:
        (retry,) = task["Retry"]
        assert (retry["ErrorEquals"], retry["MaxAttempts"], retry["JitterStrategy"]) == (["States.ALL"], 5, "FULL")
    assert states[states["Fail"]["Next"]]["Type"] == "Fail"


def test_machine(aws: Deployment) -> None:
    properties = aws.machine("ingest")
    assert properties.get("StateMachineType", "STANDARD") == "STANDARD"
    assert properties["TracingConfiguration"] == {"Enabled": True}
    assert properties["LoggingConfiguration"]["Level"] == "ERROR"
    assert not properties["LoggingConfiguration"].get("IncludeExecutionData")


def test_the_machine_reads_manifests_only_and_invokes_its_own_functions_only(aws: Deployment) -> None:
    roles = aws.resources("AWS::IAM::Role", "Jobs")
    (role,) = [one for name, one in roles.items() if name.startswith("IngestMachineRole")]
    statements = [one for policy in role["Properties"]["Policies"] for one in policy["PolicyDocument"]["Statement"]]
    (objects,) = [one for one in statements if one["Action"] == "s3:GetObject"]
    assert objects["Resource"]["Fn::Join"][1][-1] == "/jobs/*"
    (invoke,) = [one for one in statements if one["Action"] == "lambda:InvokeFunction"]
    assert len(invoke["Resource"]) == 6


def test_two_workers_do_on_the_local_cloud(local: Deployment) -> None:
    machine = local.definition("ingest")
    assert machine["States"]["Apply"]["MaxConcurrency"] == 2
