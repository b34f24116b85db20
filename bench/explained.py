"""X1: what an explanation adds to a look-up."""

from __future__ import annotations

from functools import partial

from bench.persons import Shape, of_shapes
from bench.session import Session
from bench.table import Line

_SHAPES = (Shape(1, 3, 50), Shape(5, 20, 50), Shape(5, 3, 1000))


def measure(asked: Session) -> list[Line]:
    """X1: CPU of a look-up with ``explain=true`` against the same without; both make the same calls."""
    lines = []
    for person in of_shapes(asked.made, _SHAPES):
        plain = asked.get(person.values[0])
        explained = asked.get(person.values[0], {"explain": "true"})
        (answer,) = explained.answer.values()
        if len(explained.calls) != len(plain.calls) or [{**answer, "explain": 0}] != [
            {**one, "explain": 0} for one in plain.answer.values()
        ]:
            raise RuntimeError(f"explaining {person.what} changed the answer")
        cpu = asked.compared(partial(asked.answer, explained), partial(asked.answer, plain))
        candidates = sum(len(leaf["candidates"]) for leaf in answer["explain"].values())
        what = (
            f"{person.what}: {candidates:,} candidates, {explained.answer_bytes // 1000:,} KB "
            f"instead of {plain.answer_bytes // 1000:,}, {cpu.ours_ms:.1f} ms of CPU"
        )
        lines.append(Line("X1", what, f"{cpu.floor_ms:.1f} ms", f"{cpu.ratio:.2f}"))
    return lines
