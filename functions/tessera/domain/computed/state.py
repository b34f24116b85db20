"""What is kept of the events of one identity in one dataset, so that computed attributes can be read at any instant.

Of sums, counts, minima and maxima there is one partial aggregate per attribute and calendar unit; they are merged
by operations whose order does not matter, sums as exact decimals. Of the latest values the newest ``n`` are kept.
An event that has not happened yet *waits* as a whole, until a read or a write sees that it has.

Everything is kept as JSON, attributes under their numbers, so that reading a state costs no more than decoding it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal
from functools import partial, reduce
from math import isfinite
from typing import Any, NamedTuple

from tessera.domain.computed.rule import Function, Rule
from tessera.domain.place import Place
from tessera.domain.times import iso_ms, parse_ms

# Room for any sum of finite doubles: nothing is ever rounded before the output.
_EXACT = Context(prec=2000)
_MAX_SAFE_INTEGER = 1 << 53
_MAX_INTEGER = 1 << 63
_TIE_LENGTH = 8


class Contribution(NamedTuple):
    """What one event gives to attributes, by their numbers. ``tie`` is the event's hash: it orders equal times."""

    time_ms: int
    tie: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class State:
    """The partial aggregates of a stream of events.

    ``generation`` is the number of the last attribute for which it is complete; ``cutoff`` is the place of the last
    delete that it was built after. ``partials`` has by attribute the first bucket in which there is anything, then what
    is in it and in each one after it, null where nothing is; ``latest`` by attribute the newest first as ``[time, tie,
    value]``; ``waiting`` events to come in order of time.
    """

    generation: int = 0
    cutoff: Place | None = None
    partials: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    latest: Mapping[str, Sequence[Sequence[Any]]] = field(default_factory=dict)
    waiting: Sequence[Contribution] = ()

    @property
    def counts_nothing(self) -> bool:
        """Whether it is as if there had been no events."""
        return not self.partials and not self.latest and not self.waiting

    def is_current(self, cutoff: Place | None) -> bool:
        """Tell whether it was built after a delete: then it holds nothing that the delete reached."""
        return cutoff is None or (self.cutoff is not None and self.cutoff >= cutoff)


# How many events that were waiting one fold takes in: a write can touch only so many items.
MAX_SETTLED = 25


def fold(state: State, arrived: Iterable[Contribution], rules: Mapping[str, Rule], now_ms: int) -> State:
    """Add events to a state, and drop what no read will see any more.

    ``rules`` are those of all active attributes by number; those beyond the state's generation are left to the rebuild
    that completes it. What is past at ``now_ms`` is dropped one unit late, so that readers whose clocks are a little
    behind still find it.
    """
    known = {number: rule for number, rule in rules.items() if int(number) <= state.generation}
    units = {rule.window.unit for rule in known.values()}
    oldest = {number: rule.window.first_bucket(now_ms) - 1 for number, rule in known.items()}
    partials = {number: _since(oldest[number], kept) for number, kept in state.partials.items() if number in known}
    latest = {number: list(kept) for number, kept in state.latest.items() if number in known}
    due = [one for one in state.waiting if one.time_ms < now_ms][:MAX_SETTLED]
    waiting = [*state.waiting[len(due) :]]
    for contribution in (*due, *arrived):
        if contribution.time_ms >= now_ms:
            waiting.append(contribution)
            continue
        buckets = {unit: unit.bucket(contribution.time_ms) for unit in units}
        for number, value in contribution.values.items():
            rule = known.get(number)
            if rule is None:
                continue
            if rule.keeps_latest:
                latest.setdefault(number, []).append(_entry(contribution, value))
            elif (bucket := buckets[rule.window.unit]) >= oldest[number]:
                _add(rule.function, partials.setdefault(number, []), bucket, value)
    for number, entries in latest.items():
        start = known[number].window.unit.start(oldest[number])
        latest[number] = _newest((entry for entry in entries if entry[0] >= start), known[number].size)
    return replace(
        state,
        partials={number: kept for number, kept in partials.items() if kept},
        latest={number: entries for number, entries in latest.items() if entries},
        waiting=tuple(sorted(waiting, key=lambda one: (one.time_ms, one.tie))),
    )


def completed(state: State, rebuilt: State, rules: Mapping[str, Rule], now_ms: int) -> State:
    """Return a state with what a rebuilt one has of later attributes.

    Of those that it had before it keeps its own: that counts events which have expired since.
    """
    state = _settled(state, rules, now_ms)

    def joined(own: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
        return {**own, **{number: kept for number, kept in new.items() if int(number) > state.generation}}

    return replace(
        rebuilt,
        partials=joined(state.partials, rebuilt.partials),
        latest=joined(state.latest, rebuilt.latest),
    )


def repaired(
    state: State, rebuilt: State, gone: Iterable[tuple[int, str]], rules: Mapping[str, Rule], now_ms: int
) -> State:
    """Return a rebuilt state, from which some events are gone, with what the one before it counted of expired ones.

    ``gone`` are the times and hashes of the events. What is kept of calendar units in which none of them lies is still
    right, and knows more than the events that are left.
    """
    state = _settled(state, rules, now_ms)
    gone = {(time_ms, tie[:_TIE_LENGTH]) for time_ms, tie in gone}
    partials = dict(rebuilt.partials)
    latest = dict(rebuilt.latest)
    for number, kept in state.partials.items():
        touched = {rules[number].window.unit.bucket(time_ms) for time_ms, _ in gone}
        own = {bucket: part for bucket, part in _by_bucket(kept) if bucket not in touched}
        partials[number] = in_a_row({**dict(_by_bucket(partials.get(number, ()))), **own})
    for number, entries in state.latest.items():
        known = [entry for entry in entries if (entry[0], entry[1]) not in gone]
        told = {(entry[0], entry[1]) for entry in known}
        found = [entry for entry in latest.get(number, ()) if (entry[0], entry[1]) not in told]
        latest[number] = _newest([*known, *found], rules[number].size)
    return replace(
        rebuilt,
        partials={number: kept for number, kept in partials.items() if kept},
        latest={number: entries for number, entries in latest.items() if entries},
    )


def in_a_row(parts: Mapping[int, Any]) -> list[Any]:
    """Write parts by bucket as a state keeps them."""
    if not parts:
        return []
    first = min(parts)
    return [first, *(parts.get(bucket) for bucket in range(first, max(parts) + 1))]


def _by_bucket(kept: Sequence[Any], first: int | None = None, last: int | None = None) -> Iterator[tuple[int, Any]]:
    """Go through parts with their buckets, from a first one to a last one."""
    if not kept:
        return
    begin = kept[0] if first is None else max(first, kept[0])
    end = len(kept) if last is None else max(0, last - kept[0] + 1) + 1
    for bucket, part in enumerate(kept[begin - kept[0] + 1 : end], begin):
        if part is not None:
            yield bucket, part


def _since(oldest: int, kept: Sequence[Any]) -> list[Any]:
    """Copy parts without those of buckets before the oldest."""
    return list(kept) if kept[0] >= oldest else in_a_row(dict(_by_bucket(kept, oldest)))


def _add(function: Function, kept: list[Any], bucket: int, value: Any) -> None:
    """Merge a value into what is in its bucket."""
    if not kept:
        kept += [bucket, value]
    elif bucket < kept[0]:
        kept[:1] = [bucket, value, *[None] * (kept[0] - bucket - 1)]
    else:
        place = bucket - kept[0] + 1
        kept += [None] * (place + 1 - len(kept))
        kept[place] = value if kept[place] is None else _merge(function, kept[place], value)


def _settled(state: State, rules: Mapping[str, Rule], now_ms: int) -> State:
    """Fold what is due."""
    while any(one.time_ms < now_ms for one in state.waiting):
        state = fold(state, (), rules, now_ms)
    return fold(state, (), rules, now_ms)


def value_of(states: Iterable[State], number: str, rule: Rule, now_ms: int) -> Any:
    """Combine what states hold of an attribute into its value at an instant; ``None`` when there is none."""
    if rule.keeps_latest:
        return _shown_latest(rule, _newest(_latest_of(states, number, rule, now_ms), rule.size))
    parts = _parts_of(states, number, rule, now_ms)
    if rule.function in (Function.MIN, Function.MAX):
        return reduce(partial(_better, rule.function), parts, next(parts, None))
    exact = [_exact(part) for part in parts]
    return _shown_number(reduce(_EXACT.add, exact)) if exact else None


def _parts_of(states: Iterable[State], number: str, rule: Rule, now_ms: int) -> Iterator[Any]:
    unit = rule.window.unit
    present = unit.bucket(now_ms)
    first = present - rule.window.count
    for state in states:
        for bucket, part in _by_bucket(state.partials.get(number, ()), first, present):
            # A period is of whole units, so all of a bucket lies where its first millisecond does.
            if not rule.periods or all(period.covers(unit.start(bucket), now_ms) for period in rule.periods):
                yield part
        for waiting in state.waiting:
            if number in waiting.values and rule.covers(waiting.time_ms, now_ms):
                yield waiting.values[number]


def _latest_of(states: Iterable[State], number: str, rule: Rule, now_ms: int) -> Iterator[Sequence[Any]]:
    for state in states:
        for entry in state.latest.get(number, ()):
            if rule.covers(entry[0], now_ms):
                yield entry
        for waiting in state.waiting:
            if number in waiting.values and rule.covers(waiting.time_ms, now_ms):
                yield _entry(waiting, waiting.values[number])


def _entry(contribution: Contribution, value: Any) -> list[Any]:
    return [contribution.time_ms, contribution.tie[:_TIE_LENGTH], value]


def _newest(entries: Iterable[Sequence[Any]], count: int) -> list[Sequence[Any]]:
    """Sort by time, newest first, and keep so many. Equal times are told apart by the events' hashes, then values."""
    return sorted(entries, key=lambda entry: (-entry[0], entry[1], repr(entry[2])))[:count]


def _shown_latest(rule: Rule, entries: Sequence[Sequence[Any]]) -> Any:
    if not entries:
        return None
    if rule.function is Function.LIST:
        return [value for _, _, value in entries]
    time_ms, _, value = entries[0]
    return {"timestamp": iso_ms(time_ms), "value": value}


def number_of(value: Any) -> Decimal | None:
    """Read a JSON number as the decimal that it is written as; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return Decimal(value) if isinstance(value, int) else Decimal(repr(value))


def total(values: Iterable[Any]) -> Any:
    """Add numbers exactly; in the form in which partial sums are kept. ``None`` when there is no number."""
    found: Decimal | None = None
    for value in values:
        number = number_of(value)
        if number is not None:
            found = number if found is None else _EXACT.add(found, number)
    return None if found is None else _kept(found)


def best(function: Function, values: Iterable[Any]) -> Any:
    """Choose the least or the greatest value; ``None`` when none can be compared.

    Numbers are compared with numbers and times with times; where there are both, numbers count.
    """
    comparable = [value for value in values if _order(value) is not None]
    found: Any = None
    for value in comparable:
        found = value if found is None else _better(function, found, value)
    return found


def _merge(function: Function, left: Any, right: Any) -> Any:
    if function in (Function.SUM, Function.COUNT):
        if type(left) is int and type(right) is int and abs(total := left + right) < _MAX_SAFE_INTEGER:
            return total
        return _kept(_EXACT.add(_exact(left), _exact(right)))
    return _better(function, left, right)


def _better(function: Function, left: Any, right: Any) -> Any:
    one, other = _order(left), _order(right)
    if one is None or other is None:
        raise ValueError("not comparable")
    if one[0] != other[0]:
        return left if one[0] < other[0] else right
    if one[1:] == other[1:]:
        return left
    return left if (one[1:] < other[1:]) == (function is Function.MIN) else right


def _order(value: Any) -> tuple[int, Any, str] | None:
    """Rank of a value among those it is compared with; spelling tells apart what is otherwise equal."""
    number = number_of(value)
    if number is not None:
        return (0, number, repr(value))
    try:
        return (1, parse_ms(value), value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def _exact(kept: int | str) -> Decimal:
    return Decimal(kept)


def _kept(number: Decimal) -> Any:
    """Write an exact decimal: as an integer if it is one that JSON keeps, else as text."""
    if number == number.to_integral_value() and abs(number) < _MAX_SAFE_INTEGER:
        return int(number)
    return str(number.normalize(_EXACT))


def _shown_number(exact: Decimal) -> Any:
    """Round once, to the nearest double unless it is an integer of 64 bits; ``None`` beyond all doubles."""
    if exact == exact.to_integral_value() and abs(exact) < _MAX_INTEGER:
        return int(exact)
    shown = float(exact)
    return shown if isfinite(shown) else None
