"""S1: what the cold start of an API function costs in CPU, next to what any function of its kind must load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from bench.store import ENVIRONMENT
from bench.table import Line, limited

FUNCTIONS = Path(__file__).resolve().parent.parent / "functions"
_FLOOR = """
import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from pydantic import BaseModel

class Answer(BaseModel):
    text: str
    number: int = 0

logger = Logger(service="floor")
resolver = APIGatewayRestResolver()
client = boto3.client("dynamodb")
"""
# With the client that the first request makes, as the floor has one.
_OURS = """
import api.{module}
from tessera.storage import aws
aws.dynamodb()
"""
_TIMED = "import time\nstarted = time.process_time()\n{script}\nprint(time.process_time() - started)\n"


def modules() -> list[str]:
    """Return the names of the API functions."""
    return sorted(file.stem for file in (FUNCTIONS / "api").glob("*.py") if "handler = endpoint" in file.read_text())


def measure(rounds: int = 9) -> list[Line]:
    """Take turns, each in a process of its own that finds compiled modules; the first round is not counted."""
    names = modules()
    scripts = {"": _FLOOR, **{name: _OURS.format(module=name) for name in names}}
    taken: dict[str, list[float]] = {name: [] for name in scripts}
    for number in range(rounds + 1):
        for name, script in scripts.items():
            seconds = _cpu_s(script)
            if number:
                taken[name].append(seconds)
    floor = median(taken[""])
    lines = []
    for name in names:
        ratio = median(ours / base for ours, base in zip(taken[name], taken[""], strict=True))
        what = f"{name}: {median(taken[name]) * 1000:.0f} ms of CPU"
        lines.append(limited("S1", what, ratio, 1.2, floor=f"{floor * 1000:.0f} ms"))
    return lines


def _cpu_s(script: str) -> float:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))},
        **ENVIRONMENT,
        "INGEST_STATE_MACHINE_ARN": "arn:aws:states:us-east-1:123456789012:stateMachine:tessera-ingest",
        "PYTHONPATH": str(FUNCTIONS),
    }
    done = subprocess.run(
        [sys.executable, "-c", _TIMED.format(script=script)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout.strip().splitlines()[-1])
