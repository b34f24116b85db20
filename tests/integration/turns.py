"""Two workers that take turns at DynamoDB, call by call, as a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

_PATIENCE_S = 30


class Turns:
    """Runs workers, each in a thread of its own, of which one at a time makes calls.

    ``schedule`` says how many calls in turn the first makes, the second, the first again, …; when it is over, or whose
    turn it is has ended, the other one goes on.
    """

    def __init__(self, schedule: Sequence[int]) -> None:
        self._left = list(schedule)
        self._turn = 0
        self._ended: set[int] = set()
        self._changed = threading.Condition()
        self._errors: list[BaseException] = []
        self.calls = [0, 0]

    def client(self, client: Any, worker: int) -> Any:
        """Return a worker's client."""
        return _Client(client, lambda: self._call(worker))

    def run(self, *workers: Callable[[], object]) -> None:
        """Run two workers to their ends; raises what either raises."""
        threads = [threading.Thread(target=self._run, args=(number, work)) for number, work in enumerate(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_PATIENCE_S)
        if self._errors:
            raise self._errors[0]
        assert self._ended == {0, 1}

    def _run(self, number: int, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            self._errors.append(error)
        finally:
            with self._changed:
                self._ended.add(number)
                self._changed.notify_all()

    def _call(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._is_next(number), _PATIENCE_S)
            self.calls[number] += 1
            if self._left:
                self._left[0] -= 1

    def _is_next(self, number: int) -> bool:
        while self._left and (self._left[0] <= 0 or self._turn in self._ended):
            self._left.pop(0)
            self._turn = 1 - self._turn
            self._changed.notify_all()
        return self._turn == number or 1 - number in self._ended


class _Client:
    def __init__(self, client: Any, wait: Callable[[], None]) -> None:
        self._client = client
        self._wait = wait

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(**request: Any) -> Any:
            self._wait()
            return method(**request)

        return call if callable(method) and name != "exceptions" else method
