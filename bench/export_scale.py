"""How exports grow with their workers: a few of them here, ten thousand on paper."""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from bench.cost import ROUND_TRIP_MS, WORKER_MEMORY_MB
from bench.export_worker import Worker
from bench.table import Line
from tessera.domain import prices
from tessera.domain.export.share import shares_for
from tessera.domain.prices import MILLION
from tessera.services.export.gathering import MAX_PART_BYTES

CORES = os.cpu_count()
ANSWER_S = ROUND_TRIP_MS / 1000
_WORKERS = (1, 2, 4)

_PROFILES = 100 * MILLION
_MANY_WORKERS = 10_000
# Lambda adds a thousand environments to a function every ten seconds.
_WORKERS_PER_SECOND = 100
# What an account may read of a table in a second, until it asks for more.
_QUOTA = 40_000
# An item of a map started and over, a task, and the question whether it is done.
_TRANSITIONS_PER_SHARE = 5
# A part and its shape are written once and read once.
_PUTS_PER_PART = 2
_GETS_PER_PART = 2


@dataclass(frozen=True)
class Run:
    """So many workers took this time together; ``cpu_ms`` is per profile."""

    workers: int
    profiles: int
    wall_s: float
    cpu_ms: float


@dataclass(frozen=True)
class Measured:
    """What was measured of a kind of profiles: runs, the first of one worker; units and bytes of JSON per profile."""

    runs: list[Run]
    read_units: float
    index_units: float
    row_bytes: float

    @property
    def seconds(self) -> float:
        """How long a worker that has a core to itself is busy with a profile, waiting included."""
        return self.runs[0].wall_s / self.runs[0].profiles


def runs(threads: Callable[[], AbstractContextManager[Worker]], profiles: int, times: float) -> list[Run]:
    """Export the same ``profiles`` about so many times, by 1, 2 and 4 workers, each a process."""
    most = max(_WORKERS)
    return [_run(threads, profiles, math.ceil(times / most) * most, workers) for workers in _WORKERS]


def _run(threads: Callable[[], AbstractContextManager[Worker]], profiles: int, times: int, workers: int) -> Run:
    context = multiprocessing.get_context("fork")
    ready, used = context.Barrier(workers + 1), context.SimpleQueue()

    def work() -> None:
        gc.freeze()
        with threads() as worker:
            ready.wait()
            before = time.process_time()
            for _ in range(times // workers):
                worker.run()
            used.put(time.process_time() - before)

    processes = [context.Process(target=work) for _ in range(workers)]
    for process in processes:
        process.start()
    ready.wait()
    started = time.monotonic()
    for process in processes:
        process.join()
    wall_s = time.monotonic() - started
    if any(process.exitcode for process in processes):
        raise RuntimeError("a worker failed")
    cpu_s = sum(used.get() for _ in processes)
    return Run(workers, profiles * times, wall_s, cpu_s * 1000 / (profiles * times))


def on_paper(name: str, measured: Measured) -> list[Line]:
    """Say how long 100 million profiles take 10,000 workers, what of the table they need for that, and the price."""
    shares = sum(1 for _ in shares_for(_PROFILES))
    seconds = _duration(_PROFILES * measured.seconds)
    units = _PROFILES * (measured.read_units + measured.index_units)
    busy = _QUOTA / (measured.read_units + measured.index_units) * measured.seconds
    what = f"{name}, on paper: {_PROFILES // MILLION} million profiles in {shares:,} shares"
    price = f"${sum(_prices(measured).values()) * _PROFILES:.0f}"
    return [
        Line(
            "E1",
            f"{what}, {_MANY_WORKERS:,} workers, {units / seconds / MILLION:.1f} million read units a second",
            "",
            f"{seconds / 60:.1f} min, {price}",
        ),
        Line(
            "E1",
            f"{what}, {_QUOTA:,} read units a second, as an account has at first: {math.ceil(busy):,} workers",
            "",
            f"{units / _QUOTA / 60:.0f} min, {price}",
        ),
    ]


def _duration(work_s: float) -> float:
    """Return how long so much work takes all workers, of whom there are more every second until all are there."""
    all_there = _MANY_WORKERS / _WORKERS_PER_SECOND
    while_they_come = all_there * _MANY_WORKERS / 2
    if work_s < while_they_come:
        return math.sqrt(2 * work_s / _WORKERS_PER_SECOND)
    return all_there + (work_s - while_they_come) / _MANY_WORKERS


def dollars(name: str, measured: Measured) -> Line:
    """Dollars of a million exported profiles; what the lake keeps is left out."""
    each = _prices(measured)
    detail = ", ".join(f"{service} {price * MILLION:.2f}" for service, price in each.items())
    return Line("$", f"a million exported profiles, {name}: {detail}", "", f"${sum(each.values()) * MILLION:.2f}")


def _prices(measured: Measured) -> dict[str, float]:
    """Dollars of one profile among so many, by service."""
    shares = sum(1 for _ in shares_for(_PROFILES)) / _PROFILES
    parts = max(shares, measured.row_bytes / MAX_PART_BYTES)
    return {
        "DynamoDB": (measured.read_units + measured.index_units) * prices.DYNAMODB_PER_READ_UNIT,
        "Lambda": measured.seconds * WORKER_MEMORY_MB / 1024 * prices.LAMBDA_ARM_PER_GB_SECOND,
        "Step Functions": shares * _TRANSITIONS_PER_SHARE * prices.STEP_FUNCTIONS_PER_TRANSITION,
        "S3": parts * (_PUTS_PER_PART * prices.S3_PER_PUT + _GETS_PER_PART * prices.S3_PER_GET),
    }
