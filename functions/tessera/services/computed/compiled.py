"""Definitions of computed attributes, made ready to be asked what an event gives to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import orjson

from tessera.domain.computed.rule import Function, Rule
from tessera.domain.computed.state import Contribution, best, number_of, total
from tessera.domain.computed.window import Window
from tessera.domain.configuration import Configuration
from tessera.domain.errors import InvalidRequestError
from tessera.domain.profile import Event
from tessera.pql import PqlError, Query, aggregate_of, parse
from tessera.services.computed.clock import periods_of
from tessera.storage.profile_items import hash_of, timestamp_of

# Longer values are not kept: the latest values of a stream have to fit into one transaction (4 MB).
MAX_VALUE_BYTES = 2048
MAX_LIST = 50
# How much of an event an attribute may visit, in PQL's terms: about 20 ms at worst, and a batch has many events.
MAX_VISITS = 10_000


@dataclass(frozen=True, slots=True)
class CompiledAttribute:
    """A definition that can be asked about events; ``result_type`` is PQL's name of the type of the value."""

    rule: Rule
    conditions: tuple[Query, ...]
    element: Query | None
    result_type: str

    @property
    def taking(self) -> tuple[str, ...]:
        """What it takes of an event: attributes that only their windows tell apart take the same."""
        element = "" if self.element is None else self.element.text
        return (self.function, element, *(condition.text for condition in self.conditions))

    @property
    def function(self) -> Function:
        """How the values of events become one."""
        return self.rule.function

    def value(self, body: Mapping[str, Any]) -> Any:
        """Return what an event gives, ``None`` for nothing.

        An event of which a condition or the value cannot be evaluated, for what it holds has another type or is too
        much, gives nothing: it was accepted, and a definition cannot refuse it afterwards.
        """
        visits = MAX_VISITS // (1 + len(self.conditions))
        try:
            if not all(condition.holds(body, now=0, visits=visits) for condition in self.conditions):
                return None
            value = True if self.element is None else self.element.evaluate(body, now=0, visits=visits)
        except PqlError:
            return None
        return _given(self.function, value)


@dataclass(frozen=True)
class Attributes:
    """All active attributes of a sandbox; ``generation`` is the number of the last one ever published."""

    generation: int = 0
    by_number: Mapping[str, CompiledAttribute] = field(default_factory=dict)
    rules: Mapping[str, Rule] = field(default_factory=dict)

    def contribution(self, event: Event, now_ms: int) -> Contribution | None:
        """Return what an event gives to the attributes that may ever show it from now on."""
        time_ms = timestamp_of(event.key)
        values: dict[str, Any] = {}
        for attribute, numbers in self._alike:
            open_ones = [number for number in numbers if time_ms >= _start(self.rules[number].window, now_ms)]
            if open_ones and (value := attribute.value(event.body)) is not None:
                values.update(dict.fromkeys(open_ones, value))
        return Contribution(time_ms, hash_of(event.key), values) if values else None

    @cached_property
    def _alike(self) -> list[tuple[CompiledAttribute, list[str]]]:
        """One of all attributes that take the same of an event, and their numbers."""
        numbers: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for number, attribute in self.by_number.items():
            numbers[attribute.taking].append(number)
        return [(self.by_number[same[0]], same) for same in numbers.values()]

    def start_ms(self, now_ms: int) -> int:
        """Return the time before which events give nothing any more."""
        return min(_start(rule.window, now_ms) for rule in self.rules.values())


def compile_attribute(expression: str, window: Window) -> CompiledAttribute:
    """Make a definition ready. Raises InvalidRequestError for what is not one (contract: data-and-pql §1.6)."""
    try:
        query = parse(expression)
        aggregate = aggregate_of(query)
    except PqlError as error:
        raise InvalidRequestError(f"The expression cannot be computed: {error}") from error
    function = Function(aggregate.function)
    size = aggregate.size or 1
    if size > MAX_LIST:
        raise InvalidRequestError(f"A list can have at most {MAX_LIST} values, not {size}")
    if aggregate.value is not None and aggregate.value.uses_now:
        raise InvalidRequestError("The value of an event must not depend on the clock: an event is asked for it once")
    timed = [condition.query for condition in aggregate.conditions if condition.query.uses_now]
    periods = [period for one in timed for period in periods_of(one.syntax, window)]
    rule = Rule(function, window, size, tuple(periods))
    if rule.keeps_latest and any(period.end is not None and period.end < 1 for period in periods):
        raise InvalidRequestError(
            "The latest values are kept up to the present: a period that ended cannot be asked for"
        )
    conditions = tuple(condition.query for condition in aggregate.conditions if not condition.query.uses_now)
    return CompiledAttribute(rule, conditions, aggregate.value, query.result_type)


def attributes_of(configuration: Configuration) -> Attributes:
    """Make all active attributes of a configuration ready."""
    return _attributes(configuration.last_attribute, tuple(configuration.attributes.values()))


@lru_cache(maxsize=256)
def _attributes(generation: int, published: tuple[Any, ...]) -> Attributes:
    compiled = {str(one.number): compile_attribute(one.expression, one.rule.window) for one in published}
    return Attributes(generation, compiled, {number: one.rule for number, one in compiled.items()})


@lru_cache(maxsize=256)
def _start(window: Window, now_ms: int) -> int:
    """Return the first millisecond that is kept: one unit before the window, for readers whose clocks are behind."""
    return window.unit.start(window.first_bucket(now_ms) - 1)


def _given(function: Function, value: Any) -> Any:
    """Bring what an event gives into the form in which it is kept."""
    if value is None:
        return None
    match function:
        case Function.COUNT:
            return len([one for one in value if one is not None]) or None if isinstance(value, list) else 1
        case Function.SUM:
            return total(_each(value))
        case Function.MIN | Function.MAX:
            return best(function, _each(value))
        case _:
            return value if _fits(value) else None


def _each(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else (value,)


def _fits(value: Any) -> bool:
    """Tell whether a value can be kept as it is: a scalar or an array of scalars that is not too long."""
    if any(isinstance(one, dict | list) for one in _each(value)):
        return False
    return number_of(value) is not None or len(orjson.dumps(value)) <= MAX_VALUE_BYTES
