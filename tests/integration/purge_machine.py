"""The purge machine in process: the tasks in the order of the state machine, retried and failed as it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import boto3
import orjson
import pytest

from jobs import purge
from tests.integration.conftest import ORG
from tests.integration.executors import Inline
from tests.integration.export_machine import KnownIndex
from tests.integration.ingest_machine import MACHINE_ROLE


def created_machine(monkeypatch: pytest.MonkeyPatch) -> str:
    """Create the machine that the API starts, and make reading and deleting happen in the test's own thread."""
    arn: str = boto3.client("stepfunctions").create_state_machine(
        name="purge",
        definition='{"StartAt": "End", "States": {"End": {"Type": "Pass", "End": true}}}',
        roleArn=MACHINE_ROLE,
    )["stateMachineArn"]
    monkeypatch.setenv("PURGE_STATE_MACHINE_ARN", arn)
    monkeypatch.setattr(purge, "ThreadPoolExecutor", lambda _: Inline())
    monkeypatch.setattr(purge, "PersonIndex", KnownIndex)
    return arn


def started(arn: str) -> list[str]:
    """Return the names of the executions that were started."""
    found = boto3.client("stepfunctions").list_executions(stateMachineArn=arn)["executions"]
    return sorted(one["name"] for one in found)


def run(job_id: str, *, times: int = 1, sandbox: str = "dev") -> str:
    """Run an execution; every task is called ``times`` times. Return how it ended."""

    def call(step: str, event: Mapping[str, Any]) -> Any:
        answers = []
        for _ in range(times):
            # What goes through the machine is JSON.
            answer = getattr(purge, step)(orjson.loads(orjson.dumps(event)), None)
            answers.append(orjson.loads(orjson.dumps(answer)))
        assert all(answer == answers[0] for answer in answers)
        return answers[0]

    def each(step: str, state: Mapping[str, Any]) -> None:
        body = boto3.client("s3").get_object(Bucket=state["manifest_bucket"], Key=state["manifest_key"])["Body"].read()
        shares = orjson.loads(body)
        assert len(shares) == state["shares"]
        for share in reversed(shares):
            one: Any = {"job": {**job, "round": state["round"]}, "share": share, "done": False}
            while not one["done"]:
                one = call(step, one)

    job = {"org_id": ORG, "sandbox": sandbox, "job_id": job_id}
    state: Any = job
    # What a process remembers of the index is what was in it when the machine began.
    purge._index.cache_clear()
    purge._course.cache_clear()
    purge._sweeper.cache_clear()
    try:
        state = call("begin", state)
        if not state["active"]:
            return "over"
        state = call("plan", state)
        if state["shares"]:
            each("sweep", state)
            each("look", state)
        while True:
            while not (state := call("discard", state))["done"]:
                pass
            state = purge.settle(state, None)
            if state["clean"]:
                break
            each("look", state)
    except Exception as error:
        cause = orjson.dumps({"errorType": type(error).__name__, "errorMessage": str(error)}).decode()
        purge.fail({**job, "error": {"Error": "Exception", "Cause": cause}}, None)
        return "broken"
    return "done"
