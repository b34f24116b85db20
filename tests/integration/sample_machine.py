"""The sample machine in process: the tasks in the order of the state machine, failed as it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import boto3
import orjson
import pytest

from jobs import sample
from tests.integration.conftest import ORG, forget
from tests.integration.executors import Inline
from tests.integration.export_machine import KnownIndex
from tests.integration.sample_executions import NAME, startable_machine


def created_machine(monkeypatch: pytest.MonkeyPatch) -> str:
    """Create the machine, and make reading happen in the test's own thread."""
    monkeypatch.setattr(sample, "ThreadPoolExecutor", lambda _: Inline())
    monkeypatch.setattr(sample, "PersonIndex", KnownIndex)
    return startable_machine(monkeypatch)


def started() -> dict[str, dict[str, Any]]:
    """Inputs of the executions that were started, by name."""
    client = boto3.client("stepfunctions")
    (machine,) = [one for one in client.list_state_machines()["stateMachines"] if one["name"] == NAME]
    found = client.list_executions(stateMachineArn=machine["stateMachineArn"])["executions"]
    return {
        item["name"]: orjson.loads(client.describe_execution(executionArn=item["executionArn"])["input"])
        for item in found
    }


def input_of(job_id: str, cause: str = "asked", sandbox: str = "dev") -> dict[str, Any]:
    return {"org_id": ORG, "sandbox": sandbox, "job_id": job_id, "cause": cause, "wait_s": 0}


def call(step: str, event: Mapping[str, Any]) -> Any:
    """Call a task; what goes through the machine is JSON."""
    return orjson.loads(orjson.dumps(getattr(sample, step)(orjson.loads(orjson.dumps(event)), None)))


def shares(state: Mapping[str, Any]) -> list[Any]:
    """Read the plan as the map does."""
    body = boto3.client("s3").get_object(Bucket=state["manifest_bucket"], Key=state["shares_key"])["Body"].read()
    found: list[Any] = orjson.loads(body)
    assert len(found) == state["shares"]
    return found


def walking(event: Mapping[str, Any]) -> Iterator[str]:
    """Run an execution call by call; the last word is how it ended."""
    # What is in the index is looked up once by each planner and worker.
    forget()
    try:
        state = call("plan", event)
        yield "plan"
        if not state["shares"]:
            yield "not due"
            return
        job = {key: state[key] for key in ("org_id", "sandbox", "job_id")}
        for share in shares(state):
            work: Any = {"job": job, "share": share}
            while True:
                work = call("count", work)
                yield "count"
                if work["done"]:
                    break
        call("finish", state)
    except Exception as error:
        cause = orjson.dumps({"errorType": type(error).__name__, "errorMessage": str(error)}).decode()
        sample.fail({**event, "error": {"Error": "Exception", "Cause": cause}}, None)
        yield "broken"
        return
    yield "done"


def run(job_id: str, cause: str = "asked") -> str:
    """Run an execution; return how it ended."""
    *_, last = walking(input_of(job_id, cause))
    return last
