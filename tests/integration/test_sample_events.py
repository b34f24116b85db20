"""Each sample event runs: ``events/<module>.<what>.json`` is an event of ``functions/api/<module>.py``, or of a job."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from string import Template

import pytest

from tests.integration.conftest import CLIENT_ID, ORG, Caller, answered

ROOT = Path(__file__).resolve().parents[2]
EVENTS = sorted((ROOT / "events").glob("*.json"))
ENDPOINTS = [file for file in EVENTS if (ROOT / "functions/api" / f"{file.name.partition('.')[0]}.py").exists()]


@pytest.mark.parametrize("file", ENDPOINTS, ids=lambda file: file.stem)
def test_a_sample_event_is_answered(file: Path, call: Caller) -> None:
    filled = Template(file.read_text()).safe_substitute(
        token=call.issuer.token(), api_key=CLIENT_ID, org_id=ORG, sandbox="dev"
    )
    module = importlib.import_module(f"api.{file.name.partition('.')[0]}")
    answer = answered(module.handler(json.loads(filled), None))
    # What the event asks for may not be there yet, but it gets past every check of the gateway.
    assert answer.status in {200, 201, 404}, answer.text
    assert answer.text == "" or answer.json() is not None


def test_every_event_belongs_to_a_function() -> None:
    jobs = {file for file in EVENTS if (ROOT / "functions/jobs" / f"{file.name.partition('.')[0]}.py").exists()}
    assert set(EVENTS) == {*ENDPOINTS, *jobs}
