"""The sample machine as others see it: something to start executions of."""

from __future__ import annotations

import boto3
import pytest

NAME = "sample"
_ROLE = "arn:aws:iam::123456789012:role/machine"


def startable_machine(monkeypatch: pytest.MonkeyPatch) -> str:
    """Create the machine that others start, unless it is there."""
    client = boto3.client("stepfunctions")
    known = {one["name"]: one["stateMachineArn"] for one in client.list_state_machines()["stateMachines"]}
    arn = (
        known.get(NAME)
        or client.create_state_machine(
            name=NAME,
            definition='{"StartAt": "End", "States": {"End": {"Type": "Pass", "End": true}}}',
            roleArn=_ROLE,
        )["stateMachineArn"]
    )
    monkeypatch.setenv("SAMPLE_STATE_MACHINE_ARN", arn)
    return str(arn)
