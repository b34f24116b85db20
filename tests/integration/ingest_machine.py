"""The ingest machine in process: the tasks in the order of the state machine, retried and failed as it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import boto3
import orjson
import pytest

from jobs import ingest
from tests.integration.executors import Inline
from tests.integration.sample_executions import startable_machine

MACHINE_ROLE = "arn:aws:iam::123456789012:role/machine"


def created_machine(monkeypatch: pytest.MonkeyPatch) -> str:
    """Create the machine that the API starts, and make writing happen in the test's own thread."""
    arn: str = boto3.client("stepfunctions").create_state_machine(
        name="ingest",
        definition='{"StartAt": "End", "States": {"End": {"Type": "Pass", "End": true}}}',
        roleArn=MACHINE_ROLE,
    )["stateMachineArn"]
    monkeypatch.setenv("INGEST_STATE_MACHINE_ARN", arn)
    monkeypatch.setattr(ingest, "ThreadPoolExecutor", lambda _: Inline())
    startable_machine(monkeypatch)
    return arn


def asked_for() -> list[dict[str, Any]]:
    """Return the names and inputs of the executions that were started, oldest first."""
    client = boto3.client("stepfunctions")
    machine = client.list_state_machines()["stateMachines"][0]["stateMachineArn"]
    found = client.list_executions(stateMachineArn=machine)["executions"]
    return [
        {"name": item["name"], **orjson.loads(client.describe_execution(executionArn=item["executionArn"])["input"])}
        for item in sorted(found, key=lambda item: item["name"])
    ]


def chunks(planned: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read the manifest as the map does."""
    body = boto3.client("s3").get_object(Bucket=planned["manifest_bucket"], Key=planned["manifest_key"])["Body"]
    manifest: list[dict[str, Any]] = orjson.loads(body.read())
    assert len(manifest) == planned["chunks"]
    return manifest


def run(batch: Mapping[str, Any], *, times: int = 1) -> str:
    """Run an execution; every task is called ``times`` times. Return how it ended."""

    def call(step: str, event: Mapping[str, Any]) -> Any:
        answers = []
        for _ in range(times):
            # What goes through the machine is JSON.
            answer = getattr(ingest, step)(orjson.loads(orjson.dumps(event)), None)
            answers.append(orjson.loads(orjson.dumps(answer)))
        assert all(answer == answers[0] for answer in answers)
        return answers[0]

    state: Any = dict(batch)
    try:
        state = call("plan", state)
        of_batch = {key: state[key] for key in ("org_id", "sandbox", "batch_id")}
        shares = chunks(state) if state["chunks"] else []
        for chunk in shares:
            assert call("validate", {"batch": of_batch, "chunk": chunk}) == {}
        state = call("decide", state)
        if state["verdict"] != "apply":
            return "refused"
        for chunk in reversed(shares):
            share: Any = {"batch": of_batch, "chunk": chunk, "more": True}
            while "more" in share:
                share = call("apply", share)
            assert share == {}
        if state["removals"]:
            body = boto3.client("s3").get_object(Bucket=state["manifest_bucket"], Key=state["removals_key"])["Body"]
            for share in orjson.loads(body.read()):
                assert call("remove", {"batch": of_batch, "chunk": share}) == {}
        call("finish", state)
    except Exception as error:
        cause = orjson.dumps({"errorType": type(error).__name__, "errorMessage": str(error)}).decode()
        ingest.fail({**state, "error": {"Error": "Exception", "Cause": cause}}, None)
        return "broken"
    return "done"
