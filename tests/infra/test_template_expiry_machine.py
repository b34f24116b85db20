"""The expiry machine: wait out who goes by another TTL, stamp every share until it is done."""

from __future__ import annotations

from typing import Any

import pytest

from infra.jobs import TIMEOUT
from tessera.services import expiring, lease
from tests.infra.deployment import Deployment
from tests.infra.test_template_functions import functions


@pytest.fixture(scope="module")
def states(aws: Deployment) -> dict[str, Any]:
    machine = aws.definition("expiry")
    assert machine["StartAt"] == "Wait out writers"
    found: dict[str, Any] = machine["States"]
    return found


def test_flow(states: dict[str, Any]) -> None:
    assert states["Wait out writers"]["Next"] == "Plan"
    shares = states[states["Plan"]["Next"]]
    assert [(one["Variable"], one["NumericGreaterThan"], one["Next"]) for one in shares["Choices"]] == [
        ("$.shares", 0, "Stamp")
    ]
    assert shares["Default"] == states["Stamp"]["Next"] == "Finish"
    assert states[states["Finish"]["Next"]]["Type"] == "Succeed"


def test_the_map(states: dict[str, Any]) -> None:
    stamp = states["Stamp"]
    assert stamp["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    assert stamp["ItemReader"]["Parameters"]["Key.$"] == "$.manifest_key"
    assert stamp["ItemSelector"] == {
        "job": {"org_id.$": "$.org_id", "sandbox.$": "$.sandbox", "job_id.$": "$.job_id"},
        "share.$": "$$.Map.Item.Value",
    }
    processor = stamp["ItemProcessor"]
    choice = processor["States"][processor["States"]["Stamp share"]["Next"]]
    assert [(one["Variable"], one["BooleanEquals"], one["Next"]) for one in choice["Choices"]] == [
        ("$.done", True, "Stamp share over")
    ]
    assert choice["Default"] == processor["StartAt"] == "Stamp share"


def test_it_waits_until_every_writer_knows_and_the_index_shows_what_they_began(
    aws: Deployment, local: Deployment, states: dict[str, Any]
) -> None:
    variables = functions(aws)["tessera-api-datasets"]["Environment"]["Variables"]
    assert variables["WRITERS_KNOW_AFTER_S"] == "210" == f"{lease.WRITERS_KNOW_AFTER_S:.0f}"
    assert states["Wait out writers"]["Seconds"] == 210 + 30
    variables = functions(local)["tessera-api-datasets"]["Environment"]["Variables"]
    assert variables["WRITERS_KNOW_AFTER_S"] == "3"
    assert local.definition("expiry")["States"]["Wait out writers"]["Seconds"] == 4


def test_a_worker_stops_before_it_is_stopped() -> None:
    assert TIMEOUT.to_seconds() - 60 >= expiring.MAX_SECONDS


def test_every_step_retries_and_records_its_failure(states: dict[str, Any]) -> None:
    for name in ("Plan", "Stamp", "Finish"):
        (catch,) = states[name]["Catch"]
        assert catch == {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Fail"}
    tasks = [
        state
        for state in [*states.values(), *states["Stamp"]["ItemProcessor"]["States"].values()]
        if state["Type"] == "Task"
    ]
    assert len(tasks) == 4
    for task in tasks:
        (retry,) = task["Retry"]
        assert (retry["ErrorEquals"], retry["MaxAttempts"], retry["JitterStrategy"]) == (["States.ALL"], 5, "FULL")
    assert states[states["Fail"]["Next"]]["Type"] == "Fail"
