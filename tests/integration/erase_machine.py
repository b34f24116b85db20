"""The erase machine in process: the tasks in the order of the state machine, retried and failed as it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import boto3
import orjson
import pytest

from api import erasures
from jobs import erase
from tests.integration.conftest import ORG
from tests.integration.executors import Inline
from tests.integration.ingest_machine import MACHINE_ROLE


def created_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Create the machine that the API starts, and make the work happen in the test's own thread."""
    arn = boto3.client("stepfunctions").create_state_machine(
        name="erase",
        definition='{"StartAt": "End", "States": {"End": {"Type": "Pass", "End": true}}}',
        roleArn=MACHINE_ROLE,
    )["stateMachineArn"]
    monkeypatch.setenv("ERASE_STATE_MACHINE_ARN", arn)
    for module in (erasures, erase):
        monkeypatch.setattr(module, "ThreadPoolExecutor", lambda *args: Inline())


def run(job_id: str, waited: Callable[[], object] = lambda: None, sandbox: str = "dev") -> str:
    """Run an execution and return how it ended; ``waited`` is called whenever the machine waits for the lake."""
    job = {"org_id": ORG, "sandbox": sandbox, "job_id": job_id}
    try:
        _until_done("accept", job)
        state = _until_done("sweep", job)
        while state["lake"]:
            planned = _call("plan", job)
            if not planned["busy"]:
                for share in _shares(planned):
                    _until_done("look", {"job": job, "share": share})
                if _call("settle", planned)["clean"]:
                    break
            waited()
        _until_done("search", job)
    except Exception as error:
        cause = orjson.dumps({"errorType": type(error).__name__, "errorMessage": str(error)}).decode()
        erase.fail({**job, "error": {"Error": "Exception", "Cause": cause}}, None)
        return "broken"
    return "done"


def _shares(planned: Mapping[str, Any]) -> list[Any]:
    body = boto3.client("s3").get_object(Bucket=planned["manifest_bucket"], Key=planned["manifest_key"])["Body"]
    shares: list[Any] = orjson.loads(body.read())
    assert len(shares) == planned["shares"]
    return shares[::-1]


def _until_done(step: str, event: Mapping[str, Any]) -> Any:
    state: Any = {**event, "done": False}
    while not state["done"]:
        state = _call(step, state)
    return state


def _call(step: str, event: Mapping[str, Any]) -> Any:
    # What goes through the machine is JSON.
    return orjson.loads(orjson.dumps(getattr(erase, step)(orjson.loads(orjson.dumps(event)), None)))
