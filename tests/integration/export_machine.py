"""The export machine in process: the tasks in the order of the state machine, retried and failed as it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import boto3
import orjson
import pytest

from jobs import export
from tessera.storage.person_index import IndexPage, PersonIndex
from tests.integration.conftest import ORG
from tests.integration.executors import Inline
from tests.integration.ingest_machine import MACHINE_ROLE


class KnownIndex(PersonIndex):
    """Asks for partitions only in which there is something: a simulated table takes long to find nothing."""

    def __init__(self, client: Any, table: str) -> None:
        super().__init__(client, table)
        items = boto3.client("dynamodb").scan(TableName=table, ProjectionExpression="ik")["Items"]
        self._known = {item["ik"]["S"] for item in items if item}

    def page(self, tenant: Any, name: str, after: str, before: str, limit: int) -> IndexPage:
        return super().page(tenant, name, after, before, limit) if name in self._known else IndexPage([], False)

    def count(self, tenant: Any, name: str) -> int:
        return super().count(tenant, name) if name in self._known else 0


def created_machine(monkeypatch: pytest.MonkeyPatch) -> str:
    """Create the machine that the API starts, and make reading happen in the test's own thread."""
    arn: str = boto3.client("stepfunctions").create_state_machine(
        name="export",
        definition='{"StartAt": "End", "States": {"End": {"Type": "Pass", "End": true}}}',
        roleArn=MACHINE_ROLE,
    )["stateMachineArn"]
    monkeypatch.setenv("EXPORT_STATE_MACHINE_ARN", arn)
    monkeypatch.setattr(export, "ThreadPoolExecutor", lambda _: Inline())
    monkeypatch.setattr("tessera.storage.person_index.PersonIndex", KnownIndex)
    return arn


def input_of(job_id: int, sandbox: str = "dev") -> dict[str, Any]:
    return {"org_id": ORG, "sandbox": sandbox, "job_id": job_id}


def call(step: str, event: Mapping[str, Any], times: int = 1) -> Any:
    """Call a task; what goes through the machine is JSON."""
    answers = []
    for _ in range(times):
        answer = getattr(export, step)(orjson.loads(orjson.dumps(event)), None)
        answers.append(orjson.loads(orjson.dumps(answer)))
    assert all(answer == answers[0] for answer in answers)
    return answers[0]


def items(state: Mapping[str, Any], key: str, count: str) -> list[Any]:
    """Read an array of the lake as a map does."""
    body = boto3.client("s3").get_object(Bucket=state["manifest_bucket"], Key=state[key])["Body"].read()
    found: list[Any] = orjson.loads(body)
    assert len(found) == state[count]
    return found


def run(job_id: int, *, times: int = 1) -> str:
    """Run an execution; every task is called ``times`` times. Return how it ended."""
    job = input_of(job_id)
    state: Any = job
    try:
        state = call("plan", state, times)
        if not state["shares"]:
            call("finish", state)
            return "over"
        for share in reversed(items(state, "shares_key", "shares")):
            one: Any = {"job": job, "share": share, "done": False}
            while not one["done"]:
                one = call("gather", one, times)
        state = call("settle", state, times)
        for file in items(state, "files_key", "files") if state["files"] else []:
            assert call("write", {"job": job, "file": file}, times) == {}
        call("finish", state, times)
    except Exception as error:
        cause = orjson.dumps({"errorType": type(error).__name__, "errorMessage": str(error)}).decode()
        export.fail({**job, "error": {"Error": "Exception", "Cause": cause}}, None)
        return "broken"
    return "done"
