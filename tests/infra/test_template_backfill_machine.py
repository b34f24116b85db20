"""The backfill machine: wait out who does not know the attribute, fill every share until it is done, then show it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.jobs import TIMEOUT
from tessera.services import lease
from tessera.services.computed import backfill
from tests.infra.deployment import Deployment
from tests.infra.test_template_functions import functions


@pytest.fixture(scope="module")
def states(aws: Deployment) -> dict[str, Any]:
    machine = aws.definition("backfill")
    assert machine["StartAt"] == "Begin"
    found: dict[str, Any] = machine["States"]
    return found


def test_flow(states: dict[str, Any]) -> None:
    active = states[states["Begin"]["Next"]]
    assert [(one["Variable"], one["BooleanEquals"], one["Next"]) for one in active["Choices"]] == [
        ("$.active", True, "Wait out writers")
    ]
    assert states[active["Default"]]["Type"] == "Succeed"
    assert states["Wait out writers"]["Next"] == "Plan"
    shares = states[states["Plan"]["Next"]]
    assert [(one["Variable"], one["NumericGreaterThan"], one["Next"]) for one in shares["Choices"]] == [
        ("$.shares", 0, "Fill")
    ]
    assert shares["Default"] == states["Fill"]["Next"] == "Finish"
    assert states[states["Finish"]["Next"]]["Type"] == "Succeed"


def test_a_share_is_filled_until_it_is_done(states: dict[str, Any]) -> None:
    processor = states["Fill"]["ItemProcessor"]
    assert processor["StartAt"] == "Fill share"
    choice = processor["States"][processor["States"]["Fill share"]["Next"]]
    assert [(one["Variable"], one["BooleanEquals"], one["Next"]) for one in choice["Choices"]] == [
        ("$.done", True, "Fill share over")
    ]
    assert choice["Default"] == "Fill share"
    assert processor["States"]["Fill share over"]["Type"] == "Succeed"


def test_the_map(states: dict[str, Any]) -> None:
    fill = states["Fill"]
    assert fill["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    assert fill["ItemReader"]["ReaderConfig"] == {"InputType": "JSON"}
    assert fill["ItemReader"]["Parameters"]["Key.$"] == "$.manifest_key"
    assert fill["ItemSelector"] == {
        "job": {"org_id.$": "$.org_id", "sandbox.$": "$.sandbox", "attribute_id.$": "$.attribute_id"},
        "share.$": "$$.Map.Item.Value",
    }
    assert fill["ResultPath"] is None
    assert fill["MaxConcurrency"] == 100
    assert not {"ItemBatcher", "ResultWriter"} & set(fill)


def test_it_waits_for_the_lease_and_the_longest_call(
    aws: Deployment, local: Deployment, states: dict[str, Any]
) -> None:
    variables = functions(aws)["tessera-ingest-apply"]["Environment"]["Variables"]
    assert variables["CONFIGURATION_LEASE_S"] == "30" == f"{lease.LEASE_S:.0f}"
    assert states["Wait out writers"]["Seconds"] == 30 + 180
    variables = functions(local)["tessera-ingest-apply"]["Environment"]["Variables"]
    assert variables["CONFIGURATION_LEASE_S"] == "1"
    assert local.definition("backfill")["States"]["Wait out writers"]["Seconds"] == 3


def test_a_worker_stops_before_it_is_stopped() -> None:
    assert TIMEOUT.to_seconds() - 60 >= backfill.MAX_SECONDS + backfill.MAX_WAIT_SECONDS


def test_every_step_retries_and_records_its_failure(states: dict[str, Any]) -> None:
    for name in ("Begin", "Plan", "Fill", "Finish"):
        (catch,) = states[name]["Catch"]
        assert catch == {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Fail"}
    tasks = [
        state
        for state in [*states.values(), *states["Fill"]["ItemProcessor"]["States"].values()]
        if state["Type"] == "Task"
    ]
    assert len(tasks) == 5
    for task in tasks:
        (retry,) = task["Retry"]
        assert (retry["ErrorEquals"], retry["MaxAttempts"], retry["JitterStrategy"]) == (["States.ALL"], 5, "FULL")
    assert states[states["Fail"]["Next"]]["Type"] == "Fail"


def test_machine(aws: Deployment) -> None:
    properties = aws.machine("backfill")
    assert properties.get("StateMachineType", "STANDARD") == "STANDARD"
    assert properties["TracingConfiguration"] == {"Enabled": True}
    assert properties["LoggingConfiguration"]["Level"] == "ERROR"
    assert not properties["LoggingConfiguration"].get("IncludeExecutionData")


def test_the_machine_reads_manifests_only_and_invokes_its_own_functions_only(aws: Deployment) -> None:
    roles = aws.resources("AWS::IAM::Role", "Jobs")
    (role,) = [one for name, one in roles.items() if name.startswith("BackfillMachineRole")]
    statements = [one for policy in role["Properties"]["Policies"] for one in policy["PolicyDocument"]["Statement"]]
    (objects,) = [one for one in statements if one["Action"] == "s3:GetObject"]
    assert objects["Resource"]["Fn::Join"][1][-1] == "/jobs/*"
    (invoke,) = [one for one in statements if one["Action"] == "lambda:InvokeFunction"]
    assert len(invoke["Resource"]) == 5
    assert all("Backfill" in json.dumps(one) for one in invoke["Resource"])
