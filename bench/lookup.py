"""L1, L2, L3: what a look-up takes, through the real handler with a signed token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench import persons
from bench.people import NAMESPACE
from bench.session import Exchange, Session, session
from bench.store import ENVIRONMENT, TENANT, Store
from bench.table import Line, limited
from bench.timing import Compared
from bench.units import READ_UNIT, read_units, units
from tessera.domain.identity import Identity
from tessera.storage.item_sizes import item_size
from tessera.storage.profile_items import partition


@dataclass(frozen=True)
class Found:
    """A look-up: the calls it makes, the read units its budget allows, and what of it was measured."""

    what: str
    members: int
    exchange: Exchange
    stored_units: int
    rounds: int | None
    cpu: Compared | None

    @property
    def read(self) -> int:
        """Read units of the items really read."""
        return sum(map(read_units, self.exchange.calls))


@dataclass(frozen=True)
class Cost:
    """What one look-up takes, for the prices."""

    cpu_ms: float
    read_units: int
    round_trips: int
    answer_bytes: int
    logged_bytes: int


def usual(history: int, *, rounds: bool, cpu: bool) -> list[Found]:
    """Look up the persons of every run."""
    with session() as asked:
        return _look_ups(asked, list(persons.usual(asked.made, history)), rounds=rounds, cpu=cpu)


def wide(*, rounds: bool, cpu: bool) -> list[Found]:
    """Look up persons of many shapes, each in a store of its own: moto takes the longer the more it holds."""
    found = []
    for shape in persons.WIDE:
        with session() as asked:
            found += _look_ups(asked, persons.of_shapes(asked.made, [shape]), rounds=rounds, cpu=cpu)
    return found


def _look_ups(asked: Session, written: Iterable[persons.Person], *, rounds: bool, cpu: bool) -> list[Found]:
    found = []
    for person in written:
        exchange = asked.get(person.values[0])
        members = len(person.values)
        if [len(one["identityGraph"]) for one in exchange.answer.values()] != [members]:
            raise RuntimeError(f"looking up {person.what} answered {str(exchange.answer)[:500]}")
        found.append(
            Found(
                person.what,
                members,
                exchange,
                _stored_units(asked.made, person.values),
                asked.rounds(exchange) if rounds else None,
                asked.against_floor(exchange) if cpu else None,
            )
        )
    return found


def _stored_units(made: Store, values: Sequence[str]) -> int:
    """Work out the budget of L3 from what is stored under every member, its events left out."""
    total = 1
    for value in values:
        key = partition(TENANT, Identity.of(NAMESPACE, value).xid(TENANT))
        pages = made.wire.client.get_paginator("query").paginate(
            TableName=ENVIRONMENT["PROFILE_TABLE"],
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": key}},
        )
        kept = (item for page in pages for item in page["Items"] if not item["sk"]["S"].startswith("E"))
        total += units(sum(map(item_size, kept)), READ_UNIT)
    made.wire.taken()
    return total


def round_trips(found: Sequence[Found]) -> list[Line]:
    """L1: the longest chain of calls that waited for each other."""
    return [
        limited(
            "L1", f"{one.what}: {len(one.exchange.calls)} calls", one.rounds, min(one.members, 2), floor="1", digits=0
        )
        for one in found
        if one.rounds is not None
    ]


def cpu_lines(found: Sequence[Found]) -> list[Line]:
    """L2: CPU of the handler and of the same calls, the same decoding and the same encoding with nothing else."""
    return [
        limited(
            "L2", f"{one.what}: {one.cpu.ours_ms:.2f} ms of CPU", one.cpu.ratio, 1.5, floor=f"{one.cpu.floor_ms:.2f} ms"
        )
        for one in found
        if one.cpu is not None
    ]


def read_lines(found: Sequence[Found]) -> list[Line]:
    """L3: read units of the items really read."""
    return [limited("L3", one.what, one.read, one.stored_units, floor=str(one.stored_units), digits=0) for one in found]


def costs(found: Sequence[Found]) -> dict[int, Cost]:
    """Return what look-ups take, by the number of members."""
    return {
        one.members: Cost(
            one.cpu.ours_ms,
            one.read,
            min(one.members, 2),
            one.exchange.answer_bytes,
            one.exchange.logged_bytes,
        )
        for one in reversed(found)
        if one.cpu is not None
    }
