"""The sample machine: wait if told to, plan, count every share until it is done, report."""

from __future__ import annotations

from typing import Any

import pytest

from infra.jobs import TIMEOUT
from tessera.domain.sample.job import WEEK_MS
from tessera.services.sample import counting
from tessera.storage.samples import REPORTS_KEPT_DAYS
from tests.infra.deployment import Deployment
from tests.infra.test_template_functions import functions


@pytest.fixture(scope="module")
def machine(aws: Deployment) -> dict[str, Any]:
    found: dict[str, Any] = aws.definition("sample")
    return found


@pytest.fixture(scope="module")
def states(machine: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = machine["States"]
    return found


def test_flow(machine: dict[str, Any], states: dict[str, Any]) -> None:
    now = states[machine["StartAt"]]
    assert [(one["Variable"], one["NumericEquals"], one["Next"]) for one in now["Choices"]] == [("$.wait_s", 0, "Plan")]
    assert now["Default"] == "Wait"
    assert (states["Wait"]["SecondsPath"], states["Wait"]["Next"]) == ("$.wait_s", "Plan")
    due = states[states["Plan"]["Next"]]
    assert [(one["Variable"], one["NumericGreaterThan"], one["Next"]) for one in due["Choices"]] == [
        ("$.shares", 0, "Count")
    ]
    assert states[due["Default"]]["Type"] == "Succeed"
    assert states["Count"]["Next"] == "Finish"
    assert states[states["Finish"]["Next"]]["Type"] == "Succeed"


def test_an_execution_may_wait_for_a_week_and_then_work(machine: dict[str, Any]) -> None:
    assert machine["TimeoutSeconds"] * 1000 >= WEEK_MS + 24 * 3600 * 1000


def test_a_share_is_counted_until_it_is_done(states: dict[str, Any]) -> None:
    processor = states["Count"]["ItemProcessor"]
    choice = processor["States"][processor["States"]["Count share"]["Next"]]
    assert [(one["Variable"], one["BooleanEquals"], one["Next"]) for one in choice["Choices"]] == [
        ("$.done", True, "Count share over")
    ]
    assert choice["Default"] == processor["StartAt"] == "Count share"


def test_the_map(states: dict[str, Any]) -> None:
    found = states["Count"]
    assert found["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    assert found["ItemReader"]["Parameters"]["Key.$"] == "$.shares_key"
    assert found["ItemSelector"] == {
        "job": {"org_id.$": "$.org_id", "sandbox.$": "$.sandbox", "job_id.$": "$.job_id"},
        "share.$": "$$.Map.Item.Value",
    }
    assert found["ResultPath"] is None
    assert found["MaxConcurrency"] == 100


def test_a_worker_stops_before_it_is_stopped() -> None:
    assert TIMEOUT.to_seconds() - 60 >= counting.MAX_SECONDS + counting.MAX_PART_SECONDS


def test_every_step_retries_and_records_its_failure(states: dict[str, Any]) -> None:
    for name in ("Plan", "Count", "Finish"):
        assert states[name]["Catch"] == [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Fail"}]
    inner = states["Count"]["ItemProcessor"]["States"].values()
    tasks = [state for state in (*states.values(), *inner) if state["Type"] == "Task"]
    assert len(tasks) == 4
    for task in tasks:
        (retry,) = task["Retry"]
        assert (retry["ErrorEquals"], retry["MaxAttempts"]) == (["States.ALL"], 5)
    assert states[states["Fail"]["Next"]]["Type"] == "Fail"


def test_the_threshold_is_a_switch(aws: Deployment) -> None:
    variables = functions(aws)["tessera-sample-plan"]["Environment"]["Variables"]
    assert variables["SAMPLE_THRESHOLD_PERCENT"] == "3"


def test_reports_are_kept_as_long_as_they_are_known(aws: Deployment) -> None:
    (bucket,) = [
        one["Properties"]
        for one in aws.resources("AWS::S3::Bucket").values()
        if "LifecycleConfiguration" in one["Properties"]
    ]
    kept = {rule["Id"]: rule.get("ExpirationInDays") for rule in bucket["LifecycleConfiguration"]["Rules"]}
    assert kept["samples"] == REPORTS_KEPT_DAYS


def test_nothing_is_scheduled(aws: Deployment) -> None:
    for kind in ("AWS::Events::Rule", "AWS::Scheduler::Schedule"):
        assert not aws.resources(kind)
