"""Whatever TTLs a dataset is given and whenever, every read is what an obvious model says (contract: profile-api §10).

The model keeps what was accepted, and what TTL was in force when. An event has expired when it was as old as a TTL that
was in force at that moment; it stays so. It counts once it was processed, however long ago it expired.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tessera.domain.rows import PlacedRow, RowError
from tests.integration.conftest import empty_profile_table
from tests.integration.expiring_world import BEGIN, DAY, World

HOUR, MINUTE = 3_600_000, 60_000


@dataclass
class Model:
    """What there is to know, by the events' ids."""

    ttls: list[tuple[int, int | None]] = field(default_factory=list)
    times: dict[str, int] = field(default_factory=dict)
    bodies: dict[str, PlacedRow] = field(default_factory=dict)
    counted_late: set[str] = field(default_factory=set)

    def expired(self, time_ms: int, at_ms: int) -> bool:
        ends = [*(begin for begin, _ in self.ttls[1:]), at_ms]
        return any(
            days is not None and time_ms + days * DAY <= min(end, at_ms)
            for (_, days), end in zip(self.ttls, ends, strict=False)
        )

    def process(self, row: PlacedRow, now_ms: int) -> None:
        event_id, time_ms = row.row.event_id, row.row.timestamp_ms
        if self.expired(time_ms + DAY, now_ms):
            return
        self.times[event_id] = time_ms
        known = self.bodies.get(event_id)
        if known is None or row.place < known.place:
            self.bodies[event_id] = row
        self.counted_late.add(event_id)

    def shown(self, now_ms: int) -> list[str]:
        alive = [(time_ms, one) for one, time_ms in self.times.items() if not self.expired(time_ms, now_ms)]
        return sorted(one for _, one in alive)

    def spent(self) -> int:
        return sum(row.row.body["price"] for row in self.bodies.values())


class History:
    """Something that might have happened."""

    def __init__(self, world: World, chance: random.Random, *, second_bodies: bool) -> None:
        self.world = world
        self.chance = chance
        self.second_bodies = second_bodies
        self.model = Model()
        self.waiting: list[PlacedRow] = []
        self.jobs: list[str] = []
        self.tracked = False
        self.late_attribute = False
        self.ever_shown: set[str] = set()
        world.publish("spent", "xEvent.sum(price)")
        world.publish("seen", "xEvent.count()")

    def play(self, steps: int) -> None:
        does: list[tuple[Callable[[], None], int]] = [
            *((self.accept, 5), (self.process, 3), (self.pass_time, 3), (self.change, 1)),
            *((self.run_jobs, 1), (self.reclaim, 1), (self.publish, 1)),
        ]
        actions, weights = zip(*does, strict=True)
        for _ in range(steps):
            self.chance.choices(actions, weights)[0]()
            self.check()

    def accept(self) -> None:
        world = self.world
        if self.model.times and self.chance.random() < 0.3:
            event_id, time_ms = self.chance.choice(sorted(self.model.times.items()))
        else:
            event_id = f"e{next(world.places)}"
            age = self.chance.choice([0, 1, 20, 29, 30, 31, 60]) * DAY + self.chance.choice([MINUTE, HOUR, 2 * HOUR])
            time_ms = world.now_ms - age
        price = self.chance.randrange(100) if self.second_bodies else time_ms // MINUTE % 97
        try:
            row = world.accept(event_id, time_ms, price=price)
        except RowError:
            assert self.model.expired(time_ms, world.now_ms)
            return
        assert not self.model.expired(time_ms, world.now_ms)
        self.waiting += [row] * self.chance.choice([1, 1, 2])
        # What waits for more than a day may come too late to be counted once and only once.
        if self.chance.random() < 0.5:
            self.process()

    def process(self) -> None:
        self.chance.shuffle(self.waiting)
        while self.waiting:
            row = self.waiting.pop()
            self.world.write(row)
            self.model.process(row, self.world.now_ms)
            if self.chance.random() < 0.2:
                break

    def pass_time(self) -> None:
        if self.waiting and self.chance.random() < 0.7:
            self.process()
        step = self.chance.choice([MINUTE, HOUR, 20 * HOUR, DAY, 8 * DAY])
        if self.world.now_ms + step - BEGIN < 60 * DAY:
            self.world.now_ms += step

    def change(self) -> None:
        days = self.chance.choice([None, 1, 20, 30, 31, 60])
        before = self.world.dataset.expiry
        self.world.now_ms += MINUTE
        job = self.world.set_ttl(None if days is None else f"P{days}D")
        if before is None and days is None:
            return
        if before is None or before.days != days:
            self.model.ttls.append((self.world.now_ms, days))
            self.jobs.append(job)

    def run_jobs(self) -> None:
        while self.jobs:
            self.world.run(self.jobs.pop(self.chance.randrange(len(self.jobs))))
            self.tracked = True

    def reclaim(self) -> None:
        self.world.reclaim()

    def publish(self) -> None:
        if not self.late_attribute and not self.second_bodies:
            self.late_attribute = True
            self.model.counted_late = set(self.model.shown(self.world.now_ms))
            self.world.publish("late", "xEvent.count()")

    def check(self) -> None:
        shown = self.model.shown(self.world.now_ms)
        assert sorted(self.world.shown()) == shown
        self.ever_shown.update(shown)
        if shown or self.tracked:
            assert (self.world.person() is not None) == bool(shown)
        values = self.world.values()
        assert values.get("seen", 0) == len(self.model.bodies)
        assert values.get("spent", 0) == self.model.spent()
        if self.late_attribute:
            assert values.get("late", 0) == len(self.model.counted_late)


@pytest.fixture
def worlds(cloud: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """New worlds without end. Nobody waits after a lost race."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)

    def make() -> Iterator[World]:
        while True:
            empty_profile_table()
            yield World()

    return make()


EXAMPLES = settings(
    max_examples=10,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@EXAMPLES
@given(seed=st.integers(0, 1 << 30), second_bodies=st.booleans())
def test_reads_are_what_the_model_says(worlds: Iterator[World], seed: int, second_bodies: bool) -> None:
    History(next(worlds), random.Random(seed), second_bodies=second_bodies).play(30)


def test_the_model_is_not_true_of_nothing(worlds: Iterator[World]) -> None:
    shown, hidden = 0, 0
    for seed in range(5):
        history = History(next(worlds), random.Random(seed), second_bodies=True)
        history.play(30)
        shown += len(history.ever_shown)
        hidden += len(history.ever_shown) - len(history.world.shown())
    assert shown > 5
    assert hidden > 2
