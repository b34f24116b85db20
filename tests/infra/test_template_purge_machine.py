"""The purge machine: wait out writers, sweep every share, look again until nothing is found, record every failure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra import streaming
from infra.jobs import TIMEOUT
from tessera.services.purging import discarding, sweeping
from tessera.services.purging import kept as kept_days
from tests.infra.deployment import Deployment
from tests.infra.test_template_functions import functions


@pytest.fixture(scope="module")
def states(aws: Deployment) -> dict[str, Any]:
    machine = aws.definition("purge")
    assert machine["StartAt"] == "Begin"
    found: dict[str, Any] = machine["States"]
    return found


def branches(choice: dict[str, Any]) -> tuple[str, str, str]:
    (one,) = choice["Choices"]
    return str(one["Variable"]), str(one["Next"]), str(choice["Default"])


def test_flow(states: dict[str, Any]) -> None:
    assert branches(states[states["Begin"]["Next"]]) == ("$.active", "Wait out writers", "Done")
    assert states["Wait out writers"]["Next"] == "Plan"
    # Nothing to sweep: still to be settled, and the lake may hold something.
    assert branches(states[states["Plan"]["Next"]]) == ("$.shares", "Sweep", "Discard")
    assert (states["Sweep"]["Next"], states["Look"]["Next"]) == ("Look", "Discard")
    assert branches(states[states["Discard"]["Next"]]) == ("$.done", "Settle", "Discard")
    assert branches(states[states["Settle"]["Next"]]) == ("$.clean", "Done", "Look")
    assert states["Done"]["Type"] == "Succeed"


@pytest.mark.parametrize("name", ["Sweep", "Look"])
def test_a_share_is_worked_on_until_it_is_done(states: dict[str, Any], name: str) -> None:
    shares = states[name]
    assert shares["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    assert shares["ItemReader"]["ReaderConfig"] == {"InputType": "JSON"}
    assert shares["ItemReader"]["Parameters"]["Key.$"] == "$.manifest_key"
    assert shares["ItemSelector"] == {
        "job": {
            **{"org_id.$": "$.org_id", "sandbox.$": "$.sandbox", "job_id.$": "$.job_id"},
            "round.$": "$.round",
        },
        "share.$": "$$.Map.Item.Value",
    }
    processor = shares["ItemProcessor"]
    assert processor["StartAt"] == f"{name} share"
    choice = processor["States"][processor["States"][f"{name} share"]["Next"]]
    assert branches(choice) == ("$.done", f"{name} share over", f"{name} share")
    assert processor["States"][f"{name} share"]["Retry"]


def test_no_function_runs_as_long_as_it_waits(aws: Deployment, local: Deployment, states: dict[str, Any]) -> None:
    longest = max(one["Timeout"] for one in functions(aws).values())
    assert states["Wait out writers"]["Seconds"] > longest == TIMEOUT.to_seconds()
    assert local.definition("purge")["States"]["Wait out writers"]["Seconds"] == 1


def test_a_worker_stops_well_before_its_function_does() -> None:
    assert max(sweeping.MAX_SECONDS, discarding.MAX_SECONDS) <= TIMEOUT.to_seconds() / 2


def test_every_step_retries_and_records_its_failure(states: dict[str, Any]) -> None:
    for name in ("Begin", "Plan", "Sweep", "Look", "Discard", "Settle"):
        (catch,) = states[name]["Catch"]
        assert catch == {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Fail"}
    assert states[states["Fail"]["Next"]]["Type"] == "Fail"


def test_the_machine_invokes_its_own_functions_only(aws: Deployment) -> None:
    roles = aws.resources("AWS::IAM::Role", "Jobs")
    (role,) = [one for name, one in roles.items() if name.startswith("PurgeMachineRole")]
    statements = [one for policy in role["Properties"]["Policies"] for one in policy["PolicyDocument"]["Statement"]]
    (invoke,) = [one for one in statements if one["Action"] == "lambda:InvokeFunction"]
    assert len(invoke["Resource"]) == 7
    assert all("Purge" in json.dumps(one) for one in invoke["Resource"])


def test_receipts_tell_the_times_of_the_stacks(aws: Deployment) -> None:
    assert streaming.KEPT.to_days() == kept_days.QUEUE_DAYS
    (bucket,) = [
        one for one in aws.resources("AWS::S3::Bucket").values() if "LifecycleConfiguration" in one["Properties"]
    ]
    rules = bucket["Properties"]["LifecycleConfiguration"]["Rules"]
    kept = {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if "Prefix" in rule}
    assert kept["jobs/"] == kept["stream/"] == kept["rejected/"] == kept_days.LAKE_DAYS
    # The journal is kept for good.
    assert "journal/" not in kept
    # DynamoDB's own, where the table does not say otherwise.
    assert kept_days.RECOVERY_DAYS == 35
