"""Opening windows, so that what was staged is gathered.

Between any two calls the process may die, and others do the same at the same time:

    time | consumer                              | closer, when the message comes
    -----|---------------------------------------|------------------------------------------------
      1  | stages rows                           |
      2  | reads the window: not there           |
      3  | sends a delayed message for round 0   |
      4  | notes the window as open, if nobody   |
         | else has; now its rows may be forgot- |
         | ten: the message will find them       |
      5  |                                       | notes the window as closed
      6  |                                       | lists what is staged, and notes the list, once
      7  |                                       | makes batches of what is on the list

Who dies before 4 is called again with the same messages; a message for a round that nobody noted finds nothing to do.
Rows staged before 5 are on the list. Rows staged later find the window closed at 2, and open its next round: that one
leaves out what an earlier one has, so a row that is processed twice is in one batch. What comes after 6 is made of the
list alone, and so is the same however often it is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from tessera.domain.place import Place
from tessera.domain.tenant import Tenant
from tessera.domain.window import Closing, Window, WindowState, opened
from tessera.storage.registry import LostRaceError


class States(Protocol):
    """Where the state of windows is kept: ``storage.windows.WindowStore``."""

    def get(self, window: Window) -> WindowState | None:
        """Read one."""

    def put(self, window: Window, state: WindowState, before: WindowState | None) -> None:
        """Write one if it is as it was, or raise LostRaceError."""


class Closings(Protocol):
    """Who is asked to close windows: ``storage.queues.ClosingQueue``."""

    def send(self, closing: Closing, delay_s: int) -> None:
        """Ask for a window to be closed after a time."""


class Windows:
    """Opens windows of ``length_ms``; ``clock_ms`` gives milliseconds since 1970."""

    def __init__(
        self,
        states: States,
        closings: Closings,
        length_ms: int,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._states = states
        self._closings = closings
        self._length_ms = length_ms
        self._clock_ms = clock_ms

    def of(self, tenant: Tenant, dataset_id: str, place: Place) -> Window:
        """Return the window to which a row belongs."""
        return Window.of(tenant, dataset_id, place, self._length_ms)

    def open(self, window: Window) -> None:
        """See to it that what is staged in a window by now will be gathered."""
        while True:
            before = self._states.get(window)
            if before is not None and before.open:
                return
            now = self._clock_ms()
            state = opened(window, before, now, self._length_ms)
            self._closings.send(Closing(window, state.round), delay_s(state, now))
            try:
                self._states.put(window, state, before)
            except LostRaceError:
                continue
            return


def delay_s(state: WindowState, now_ms: int) -> int:
    """Return in how many seconds a window may be closed."""
    return -((now_ms - state.closes_ms) // 1000)
