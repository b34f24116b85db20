"""P1: what one POST of a hundred identities takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.persons import of_members
from bench.session import Session
from bench.store import Store
from bench.table import Line, limited

_ASKED = 100


@dataclass(frozen=True)
class _Group:
    """Identities to ask for: how many are read for them, and the rounds that takes at least."""

    what: str
    values: list[str]
    read: int
    rounds: int


def measure(asked: Session) -> list[Line]:
    """P1: calls, the longest chain of them, and CPU against the same calls, decoding and encoding."""
    lines = []
    for group in _groups(asked.made):
        exchange = asked.post(group.values)
        if len(exchange.answer) != _ASKED or not all(one["entity"] for one in exchange.answer.values()):
            raise RuntimeError(f"asking for {group.what} answered {str(exchange.answer)[:500]}")
        # The configuration's pointer, and each identity once.
        least = 1 + group.read
        lines.append(
            limited("P1", f"{group.what}: calls", len(exchange.calls), least, floor=str(least), digits=0),
        )
        lines.append(
            Line("P1", f"{group.what}: longest chain of calls", str(group.rounds), str(asked.rounds(exchange)))
        )
        cpu = asked.against_floor(exchange)
        what = f"{group.what}: {cpu.ours_ms:.1f} ms of CPU"
        lines.append(limited("P1", what, cpu.ratio, 1.5, floor=f"{cpu.floor_ms:.1f} ms"))
    return lines


def _groups(made: Store) -> Iterator[_Group]:
    alone = of_members(made, 1, _ASKED)
    yield _Group(f"{_ASKED} persons of 1 member", [values[0] for values in alone], _ASKED, 1)
    pairs = of_members(made, 2, _ASKED)
    yield _Group(f"{_ASKED} persons of 2 members", [values[0] for values in pairs], 2 * _ASKED, 2)
    crowds = of_members(made, _ASKED // 2, 2)
    yield _Group(f"all of 2 persons of {_ASKED // 2} members", [*crowds[0], *crowds[1]], _ASKED, 1)
