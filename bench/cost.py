"""$: what the measured work costs on AWS, and what stands there while nobody calls.

A function's duration is its CPU time, stretched where its memory buys less than a whole core, and the time it waits.
A core of this machine counts for a core of Lambda's. Free tiers and what is stored are left out; the latter is in the
report of a store (`tessera.domain.sample.insight`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.ingestion import Units
from bench.lookup import Cost
from bench.table import Line
from tessera.domain import prices
from tessera.domain.prices import MILLION

# infra/api.py and infra/jobs.py.
API_MEMORY_MB = 1024
WORKER_MEMORY_MB = 1769
_WHOLE_CORE_MB = 1769
ROUND_TRIP_MS = 5.0
# START, END and REPORT of Lambda's JSON log, and the gateway's access log.
_PLATFORM_LOG_BYTES = 900
# X-Ray's default: one request a second and 5 % of the rest.
_TRACED = 0.05
_EVENT_BYTES = 500
_CHUNK_BYTES = 8_000_000
_GB = 1e9
# For each chunk, validating and applying: an item of a map started and a task run; results and staged rows kept.
_TRANSITIONS_PER_CHUNK = 2 * 2
_PUTS_PER_CHUNK = 3
_GETS_PER_CHUNK = 4


@dataclass(frozen=True)
class Component:
    """A part of a deployment that could cost while idle: dollars a month, and why."""

    name: str
    dollars: float
    why: str


def look_up(cost: Cost) -> dict[str, float]:
    """Dollars of one look-up, by service."""
    busy_ms = cost.cpu_ms * max(1.0, _WHOLE_CORE_MB / API_MEMORY_MB)
    seconds = (busy_ms + cost.round_trips * ROUND_TRIP_MS) / 1000
    return {
        "gateway": prices.GATEWAY_REST_PER_REQUEST,
        "Lambda": prices.LAMBDA_PER_REQUEST + seconds * API_MEMORY_MB / 1024 * prices.LAMBDA_ARM_PER_GB_SECOND,
        "DynamoDB": cost.read_units * prices.DYNAMODB_PER_READ_UNIT,
        "logs": (cost.logged_bytes + _PLATFORM_LOG_BYTES) / _GB * prices.LOGS_PER_GB,
        "traces": _TRACED * prices.XRAY_PER_TRACE,
        "transfer": cost.answer_bytes / _GB * prices.TRANSFER_OUT_PER_GB,
    }


def event(units: Units, cpu_ms: float) -> dict[str, float]:
    """Dollars of one event brought in by a large batch, by service."""
    chunks = _EVENT_BYTES / _CHUNK_BYTES
    seconds = cpu_ms * max(1.0, _WHOLE_CORE_MB / WORKER_MEMORY_MB) / 1000
    return {
        "DynamoDB writes": units.written * prices.DYNAMODB_PER_WRITE_UNIT,
        "DynamoDB reads": units.read * prices.DYNAMODB_PER_READ_UNIT,
        "Lambda": seconds * WORKER_MEMORY_MB / 1024 * prices.LAMBDA_ARM_PER_GB_SECOND,
        "Step Functions": chunks * _TRANSITIONS_PER_CHUNK * prices.STEP_FUNCTIONS_PER_TRANSITION,
        "S3": chunks * (_PUTS_PER_CHUNK * prices.S3_PER_PUT + _GETS_PER_CHUNK * prices.S3_PER_GET),
    }


def used_lines(look_ups: Mapping[int, Cost], units: Units, event_cpu_ms: float) -> list[Line]:
    """Dollars per million, with what they are made of."""
    lines = [
        _line(f"a million look-ups, {members} member{'s' * (members > 1)}", look_up(look_ups[members]))
        for members in (1, 2)
    ]
    return [*lines, _line("a million events in batches", event(units, event_cpu_ms))]


def _line(what: str, parts: Mapping[str, float]) -> Line:
    dearest = sorted(parts.items(), key=lambda part: part[1], reverse=True)
    detail = ", ".join(f"{name} {dollars * MILLION:.2f}" for name, dollars in dearest)
    return Line("$", f"{what}: {detail}", "", f"${sum(parts.values()) * MILLION:.2f}")


IDLE = (
    Component("profile and registry table", 0, "on demand: by request, and by GB stored"),
    Component("lake", 0, "by request, and by GB stored"),
    Component("functions", 0, "by request and duration; nothing provisioned"),
    Component("REST API", 0, "by request; no cache"),
    Component("state machine", 0, "by transition"),
    Component("topic of the drop folder", 0, "by notice; a call of Lambda is not charged"),
    Component("logs and traces", 0, "by GB written and by trace"),
    Component("pool of callers", 0, "by token"),
)
BY_CHOICE = (
    Component(
        "each registered client", prices.COGNITO_PER_MACHINE_CLIENT, "Cognito: app client with client credentials"
    ),
    Component("alarms=true", 72 * prices.ALARM_METRIC, "19 alarms on 72 metrics; the account's first ten are free"),
    Component("own_key=true", prices.KMS_KEY, "a KMS key, its rotations and its calls extra"),
    Component("firewall=true", prices.WAF_ACL + 2 * prices.WAF_RULE, "WAF: an ACL and two rules, requests extra"),
)


def idle_lines() -> list[Line]:
    """Dollars a month while nobody calls: the default deployment, and what switches add."""
    names = ", ".join(component.name for component in IDLE)
    total = sum(component.dollars for component in IDLE)
    return [
        Line("$", f"idle for a month: {names}", "", f"${total:.2f}", "<= $0", total <= 0),
        *(
            Line("$", f"idle, adds {component.name}: {component.why}", "", f"${component.dollars:.2f}")
            for component in BY_CHOICE
        ),
    ]
