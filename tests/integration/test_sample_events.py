"""Each sample event runs: ``events/<module>.<what>.json`` is an event of ``functions/api/<module>.py``, or of a job."""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path
from string import Template
from typing import Any

import pytest

import api
from tessera.domain.errors import NotFoundError
from tests.integration import ingest_machine, stream_queues
from tests.integration.conftest import CLIENT_ID, ORG, Caller, answered

ROOT = Path(__file__).resolve().parents[2]
EVENTS = sorted((ROOT / "events").glob("*.json"))
ENDPOINTS = [file for file in EVENTS if (ROOT / "functions/api" / f"{file.name.partition('.')[0]}.py").exists()]
JOBS = [file for file in EVENTS if (ROOT / "functions/jobs" / f"{file.name.partition('.')[0]}.py").exists()]


def filled(file: Path, **caller: str) -> Any:
    return json.loads(Template(file.read_text()).safe_substitute(org_id=ORG, sandbox="dev", **caller))


@pytest.mark.parametrize("file", ENDPOINTS, ids=lambda file: file.stem)
def test_a_sample_event_is_answered(file: Path, call: Caller) -> None:
    module = importlib.import_module(f"api.{file.name.partition('.')[0]}")
    answer = answered(module.handler(filled(file, token=call.issuer.token(), api_key=CLIENT_ID), None))
    # What the event asks for may not be there yet, but it gets past every check of the gateway.
    assert answer.status in {200, 201, 404}, answer.text
    assert answer.text == "" or answer.json() is not None


@pytest.mark.parametrize("file", JOBS, ids=lambda file: file.stem)
def test_a_sample_event_of_a_job_is_understood(file: Path, call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest_machine.created_machine(monkeypatch)
    stream_queues.created_queues(monkeypatch)
    name, step, _ = file.name.split(".")
    task = getattr(importlib.import_module(f"jobs.{name}"), step)
    try:
        answer = task(filled(file), None)
    except NotFoundError as error:
        # The batch or job that the event names is not there; that is found out only after reading the event.
        assert "does not exist in this sandbox" in str(error)
    else:
        assert set(answer) <= {"batchItemFailures"}


def test_every_event_belongs_to_a_function_and_every_endpoint_has_one() -> None:
    assert set(EVENTS) == {*ENDPOINTS, *JOBS}
    endpoints = [
        module.name
        for module in pkgutil.iter_modules(api.__path__)
        if hasattr(importlib.import_module(f"api.{module.name}"), "endpoint")
    ]
    assert len(endpoints) > 10
    assert set(endpoints) == {file.name.partition(".")[0] for file in ENDPOINTS}
