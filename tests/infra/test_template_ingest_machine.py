"""The ingest machine: validate everything, decide once, apply everything, and record every failure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.infra.deployment import Deployment


@pytest.fixture(scope="module")
def states(aws: Deployment) -> dict[str, Any]:
    machine = aws.definition("ingest")
    found: dict[str, Any] = machine["States"]
    begin = found[machine["StartAt"]]
    assert begin["Choices"] == [{"Variable": "$.discard", "IsPresent": True, "Next": "Discard"}]
    assert begin["Default"] == "Plan"
    return found


def test_flow(states: dict[str, Any]) -> None:
    first = states[states["Plan"]["Next"]]
    assert [(one["NumericGreaterThan"], one["Next"]) for one in first["Choices"]] == [(0, "Validate")]
    assert first["Default"] == "Decide"
    assert states["Validate"]["Next"] == "Decide"
    verdict = states[states["Decide"]["Next"]]
    assert [one["Next"] for one in verdict["Choices"]] == ["Apply", "Finish"]
    assert states[verdict["Default"]]["Type"] == "Succeed"
    removal = states[states["Apply"]["Next"]]
    assert [(one["Variable"], one["NumericGreaterThan"], one["Next"]) for one in removal["Choices"]] == [
        ("$.removals", 0, "Remove")
    ]
    assert removal["Default"] == states["Remove"]["Next"] == "Finish"
    assert states[states["Finish"]["Next"]]["Type"] == "Succeed"
    assert states["Discard"]["Next"] == states["Finish"]["Next"]


def test_nothing_is_applied_without_the_verdict(states: dict[str, Any]) -> None:
    to_apply = [
        name for name, state in states.items() if "Apply" in json.dumps(state.get("Choices", state.get("Next")))
    ]
    assert to_apply == [states["Decide"]["Next"]]


@pytest.mark.parametrize("name", ["Apply", "Remove"])
def test_a_worker_that_has_more_to_do_is_called_again(states: dict[str, Any], name: str) -> None:
    processor = states[name]["ItemProcessor"]
    worker = processor["States"][processor["StartAt"]]
    choice = processor["States"][worker["Next"]]
    assert choice["Choices"] == [{"Variable": "$.more", "IsPresent": True, "Next": processor["StartAt"]}]
    assert processor["States"][choice["Default"]]["Type"] == "Succeed"


@pytest.mark.parametrize("name", ["Validate", "Apply", "Remove"])
def test_maps(states: dict[str, Any], name: str) -> None:
    state = states[name]
    assert state["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    assert state["ItemReader"]["ReaderConfig"] == {"InputType": "JSON"}
    manifest = "$.removals_key" if name == "Remove" else "$.manifest_key"
    assert state["ItemReader"]["Parameters"]["Key.$"] == manifest
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
    for name in ("Plan", "Validate", "Decide", "Apply", "Remove", "Finish", "Discard"):
        (catch,) = states[name]["Catch"]
        assert catch == {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Fail"}
    tasks = [state for state in states.values() if state["Type"] == "Task"]
    for name in ("Validate", "Apply", "Remove"):
        tasks += [one for one in states[name]["ItemProcessor"]["States"].values() if one["Type"] == "Task"]
    assert len(tasks) == 8
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
    assert len(invoke["Resource"]) == 8


def test_two_workers_do_on_the_local_cloud(local: Deployment) -> None:
    machine = local.definition("ingest")
    assert machine["States"]["Apply"]["MaxConcurrency"] == 2
