"""The rows of a deleted batch of streamed ones, and only these, are as if they had never been (laws 2 and 7)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tessera.domain.identity import Identity
from tessera.domain.purge import Purge
from tessera.services.purging.accepting import AlreadyAskedError
from tessera.storage.registry import Registry
from tests.integration import purge_machine, stream_queues
from tests.integration.conftest import forget
from tests.integration.hostile import CrashError
from tests.integration.purging_world import PEOPLE, SHOP, TENANT, stored
from tests.integration.snapshots import restore, snapshot
from tests.integration.streaming_world import Sent, StreamingWorld, begun
from tests.integration.test_purge_laws import NOTHING, mortal

HOUR_MS = 3_600_000


class Model:
    """What is to be seen: the delivered messages, but for those in deleted batches; of an event the first."""

    def __init__(self) -> None:
        self.delivered: list[Sent] = []
        self.batches: dict[str, set[str]] = {}
        self.deleted: set[str] = set()

    def rows(self, one: Identity) -> list[Sent]:
        gone = {name for batch in self.deleted for name in self.batches[batch]}
        return sorted(
            (sent for sent in self.delivered if sent.one == one and named(sent) not in gone),
            key=lambda sent: sent.place,
        )

    def events(self, one: Identity) -> dict[str, Sent]:
        return {sent.name: sent for sent in reversed(self.rows(one))}

    def seen(self, one: Identity) -> Any:
        events = self.events(one).values()
        return ({}, sorted(sent.name for sent in events), sum(sent.amount for sent in events)) if events else None

    def hides_others(self, batch_id: str) -> bool:
        """Whether another row has an event of this batch, so that its delete does not bring that back."""
        rows = [sent for one in PEOPLE for sent in self.rows(one)]
        mine = {(sent.one, sent.name) for sent in rows if named(sent) in self.batches[batch_id]}
        return any((sent.one, sent.name) in mine and named(sent) not in self.batches[batch_id] for sent in rows)


def named(sent: Sent) -> str:
    """Every message has another amount."""
    return f"{sent.name}/{sent.amount}"


class History:
    """Messages in the order in which they are accepted; what becomes of them comes in another, and may die halfway."""

    def __init__(self, world: StreamingWorld, patch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.patch = patch
        self.model = Model()
        self.sent: list[Sent] = []
        self.jobs: list[Purge] = []
        self.began_ms = world.now_ms

    def dying(self, left: int | None, do: Callable[[], Any]) -> Any:
        """Do something in a process that dies after so many calls; then it is done by another."""
        if left is None:
            return do()
        died, found = False, None
        with self.patch.context() as patched:
            mortal(patched, left)
            self.world.connect()
            try:
                found = do()
            except CrashError:
                died = True
        forget()
        self.world.connect()
        return do() if died else found

    def send(self, one: Identity, number: int) -> Sent:
        """An event that may have been sent before, always with another amount."""
        amount = 1 << len(self.sent)
        sent = self.world.send(one, f"e{number}", amount, self.began_ms - number * HOUR_MS - HOUR_MS)
        self.sent.append(sent)
        return sent

    def deliver(self, some: list[Sent], left: int | None) -> None:
        if some:
            self.dying(left, lambda: self.world.deliver(*some))
            self.model.delivered += [one for one in some if one not in self.model.delivered]

    def gather(self, left: int | None) -> None:
        self.model.batches |= self.dying(left, self.world.gather)

    def delete(self, batch_id: str, lake: bool, left: int | None) -> None:
        if batch_id in self.model.deleted or self.model.hides_others(batch_id):
            return
        try:
            self.jobs.append(self.dying(left, lambda: self.world.delete_streamed(batch_id, lake=lake)))
        except AlreadyAskedError as error:
            # The first call died behind the point at which it counts.
            self.jobs.append(error.job)
        self.model.deleted.add(batch_id)

    def sweep(self, job: Purge, left: int | None) -> None:
        self.jobs.remove(job)
        assert self.dying(left, lambda: purge_machine.run(job.id)) == "done"

    def check(self) -> None:
        for one in PEOPLE:
            seen, expected = self.world.seen(one), self.model.seen(one)
            if self.jobs:
                assert (seen or NOTHING)[:2] == (expected or NOTHING)[:2]
            else:
                assert seen == expected

    def settle(self) -> None:
        """All is delivered, and swept; then all comes once more, from far away, and is gathered."""
        self.deliver(self.sent, None)
        for job in list(self.jobs):
            self.sweep(job, None)
        self.check()
        self.deliver(self.sent[::-1], None)
        self.gather(None)
        self.check()
        alive = {sent.place for one in PEOPLE for sent in self.model.rows(one)}
        assert {item["p"]["S"] for (_, sort), item in stored().items() if sort[0] == "E"} <= alive
        assert not self.world.configurations.current(TENANT).datasets[SHOP].deleted_rows


NUMBERS = st.integers(0, 9)
WHO = st.sampled_from(PEOPLE[:2])
DIES = st.one_of(st.none(), st.none(), st.integers(0, 40))
SEND = st.tuples(st.just("send"), WHO, st.integers(0, 4), st.sampled_from([False, False, True]))
STEPS = st.one_of(
    SEND,
    SEND,
    st.tuples(st.just("deliver"), st.lists(NUMBERS, min_size=1, max_size=4), DIES),
    st.tuples(st.just("gather"), DIES),
    st.tuples(st.just("delete"), NUMBERS, st.booleans(), DIES),
    st.tuples(st.just("again"), WHO, NUMBERS),
    st.tuples(st.just("sweep"), NUMBERS, DIES),
)


@pytest.fixture
def worlds(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[StreamingWorld]:
    """New worlds without end, each in the same sandbox, with nothing left of the one before."""
    purge_machine.created_machine(monkeypatch)
    stream_queues.created_queues(monkeypatch)
    nothing = snapshot()
    now = time.time_ns

    def make() -> Iterator[StreamingWorld]:
        while True:
            monkeypatch.setattr(time, "time_ns", now)
            restore(nothing)
            for name in stream_queues.NAMES:
                stream_queues.empty(name)
            forget()
            yield begun(monkeypatch)

    return make()


@settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, min_size=6, max_size=24))
def test_its_rows_are_as_if_they_had_never_been(
    worlds: Iterator[StreamingWorld], monkeypatch: pytest.MonkeyPatch, steps: list[tuple[Any, ...]]
) -> None:
    """From the answer on, whatever is delivered when and how often, in whatever round it is gathered."""
    history = History(next(worlds), monkeypatch)
    model = history.model
    for step in steps:
        match step:
            case ("send", one, number, at_once):
                sent = history.send(one, number)
                history.deliver([sent] * at_once, None)
            case ("deliver", numbers, left) if history.sent:
                history.deliver([history.sent[number % len(history.sent)] for number in numbers], left)
            case ("gather", left):
                history.gather(left)
            case ("delete", number, lake, left) if model.batches:
                history.delete(sorted(model.batches)[number % len(model.batches)], lake, left)
            case ("again", one, number) if model.deleted:
                gone = [sent for sent in history.sent for batch in model.deleted if named(sent) in model.batches[batch]]
                history.deliver([history.send(one, int(gone[number % len(gone)].name[1:]))], None)
            case ("sweep", number, left) if history.jobs:
                history.sweep(history.jobs[number % len(history.jobs)], left)
        history.check()
    history.settle()
