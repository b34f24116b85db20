"""Comparing the CPU time of two ways to do the same, on a machine that others use too."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_ROUND_MS = 120
_MOST_CALLS = 1000


@dataclass(frozen=True)
class Compared:
    """Milliseconds of CPU of ours and of the floor, and their ratio: medians over rounds."""

    ours_ms: float
    floor_ms: float
    ratio: float


def compare(ours: Callable[[], object], floor: Callable[[], object], *, times: int, rounds: int) -> Compared:
    """Take turns: ``times`` calls of each per round, all threads counted. The first round of each is not.

    What is in memory before, the canned store above all, is kept out of garbage collections: a function has no such.
    """
    pairs = []
    gc.collect()
    gc.freeze()
    try:
        for _ in range(rounds + 1):
            one, other = _cpu_ms(ours, times), _cpu_ms(floor, times)
            pairs.append((one, other))
    finally:
        gc.unfreeze()
    pairs = pairs[1:]
    return Compared(
        median(one for one, _ in pairs),
        median(other for _, other in pairs),
        median(one / other for one, other in pairs),
    )


def enough(do: Callable[[], object]) -> int:
    """Return how many calls make a round long enough to measure, and not longer than need be."""
    do()
    return max(1, min(_MOST_CALLS, round(_ROUND_MS / max(_cpu_ms(do, 2), 0.001))))


def _cpu_ms(do: Callable[[], object], times: int) -> float:
    gc.collect()
    started = time.process_time()
    for _ in range(times):
        do()
    return (time.process_time() - started) * 1000 / times


@contextmanager
def output_to(file: Path = Path(os.devnull)) -> Iterator[None]:
    """Send what the process prints to a file, whoever holds on to the stream."""
    sys.stdout.flush()
    kept = os.dup(1)
    with file.open("ab") as target:
        os.dup2(target.fileno(), 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
