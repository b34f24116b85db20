"""How the values of a computed attribute are kept and combined."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Self

from tessera.domain.computed.window import Unit, Window


class Function(StrEnum):
    """How the values of events become one."""

    SUM = "SUM"
    COUNT = "COUNT"
    MIN = "MIN"
    MAX = "MAX"
    MOST_RECENT = "MOST_RECENT"
    LIST = "LIST"


class Period(NamedTuple):
    """Whole calendar units around the instant of a read: ``first`` to before ``end``, counted from the present one.

    ``None`` is without bound.
    """

    unit: Unit
    first: int | None
    end: int | None

    def covers(self, time_ms: int, now_ms: int) -> bool:
        """Tell whether a time lies in the period as it is at an instant."""
        away = self.unit.bucket(time_ms) - self.unit.bucket(now_ms)
        return (self.first is None or away >= self.first) and (self.end is None or away < self.end)


@dataclass(frozen=True, slots=True)
class Rule:
    """How an attribute's values are kept and combined; ``size`` is how many of the latest values it shows."""

    function: Function
    window: Window
    size: int = 1
    periods: tuple[Period, ...] = ()

    @property
    def keeps_latest(self) -> bool:
        """Tell whether it shows values as they came, and not what was computed of them."""
        return self.function in (Function.MOST_RECENT, Function.LIST)

    def covers(self, time_ms: int, now_ms: int) -> bool:
        """Tell whether an event at a time counts at an instant."""
        return self.window.start(now_ms) <= time_ms < now_ms and all(
            period.covers(time_ms, now_ms) for period in self.periods
        )

    def to_document(self) -> list[Any]:
        """Write it as part of a document that is stored."""
        return [self.function, self.window.count, self.window.unit, self.size, [list(one) for one in self.periods]]

    @classmethod
    def from_document(cls, document: list[Any]) -> Self:
        """Read it from what was stored."""
        function, count, unit, size, periods = document
        return cls(
            Function(function),
            Window(count, Unit(unit)),
            size,
            tuple(Period(Unit(unit), first, end) for unit, first, end in periods),
        )
