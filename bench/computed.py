"""C1, and the rows of I1 and I2 about computed attributes: what it takes to keep and to read them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from bench import ingestion
from bench.people import EVENTS, NAMESPACE, RECORDS, event, record
from bench.session import Exchange, Session, session
from bench.store import CONFIGURATION, DAY_MS, ENVIRONMENT, NOW_MS, Store, store
from bench.table import Line, limited
from bench.units import WRITE_UNIT, Meter, read_units
from tessera.domain.computed.window import HOUR_MS, Unit, Window
from tessera.domain.configuration import Configuration
from tessera.domain.identity import Identity
from tessera.services.computed.compiled import compile_attribute
from tessera.storage.item_sizes import item_size
from tessera.storage.profile_items import partition
from tessera.storage.stream_items import stream_sort

_EVENT_BYTES = 500
_HALF_A_YEAR_MS = 183 * DAY_MS
_HISTORY, _SOME_HISTORY, _MUCH_HISTORY = 10, 1000, 5000
_HISTORIES = (_HISTORY, 100, _SOME_HISTORY, _MUCH_HISTORY)
_COUNTS = (1, 25)
_IDENTITIES, _KNOWN_EVENTS = 20, 50
_ROWS, _ROWS_PER_IDENTITY = 1000, 10
_ROUNDS = 3

_BOUGHT = 'eventType = "commerce.purchases"'
_PRICE = "commerce.order.priceTotal"
_LATEST = 'topN(timestamp, 1).map({"timestamp": timestamp, "value": %s}).head()'
_HOURS, _DAYS, _WEEKS = Window(24, Unit.HOURS), Window(7, Unit.DAYS), Window(4, Unit.WEEKS)
_MONTHS, _HALF_YEAR = Window(3, Unit.MONTHS), Window(6, Unit.MONTHS)
_EVERY = (_HALF_YEAR, _MONTHS, _WEEKS, _DAYS, _HOURS)
# Of one shape each; an event that one of them counts, all count.
_SHAPES = (
    (f"xEvent[{_BOUGHT}].sum({_PRICE})", _EVERY),
    (f"xEvent[{_BOUGHT}].count()", _EVERY),
    (f"xEvent[{_BOUGHT} and {_PRICE} > 0].sum(productListItems.quantity)", (_HALF_YEAR, _WEEKS, _DAYS)),
    (f"xEvent[{_BOUGHT}].max({_PRICE})", (_HALF_YEAR, _MONTHS, _WEEKS, _DAYS)),
    (f"xEvent[{_BOUGHT}].min({_PRICE})", (_HALF_YEAR, _WEEKS)),
    (f"xEvent[{_BOUGHT}].{_LATEST % _PRICE}", (_HALF_YEAR, _MONTHS)),
    (f"xEvent[{_BOUGHT}].{_LATEST % 'productListItems.SKU'}", (_HALF_YEAR, _MONTHS)),
    (f"xEvent[{_BOUGHT}].topN(timestamp, 5).map({_PRICE})", (_HALF_YEAR, _WEEKS)),
)


def _configuration(count: int, *, ready: bool = True) -> Configuration:
    """Publish the first ``count`` attributes."""
    made = CONFIGURATION
    for number, (expression, window) in enumerate([(text, each) for text, windows in _SHAPES for each in windows]):
        if number < count:
            made = made.with_attribute(f"attribute{number}", expression, compile_attribute(expression, window).rule)
            made = made.with_ready_attribute(f"attribute{number}") if ready else made
    return made


def _spread(value: str, count: int) -> list[dict[str, Any]]:
    """Make events of the last half year at even distances, the last of them in the last hour."""
    last_ms, apart_ms = NOW_MS - HOUR_MS // 2, _HALF_A_YEAR_MS // (count - 1)
    return [event(value, number, _EVENT_BYTES, last_ms - (count - 1 - number) * apart_ms) for number in range(count)]


def reads() -> list[Line]:
    """C1: what a look-up of many events takes next to one of few, and what attributes add to its CPU."""
    with session(*(f"counting{count}" for count in _COUNTS), "unready") as asked:
        lines = []
        for count in _COUNTS:
            counting = asked.sandbox(f"counting{count}", _configuration(count))
            few, many = (_person(counting, history, count) for history in (_HISTORY, _MUCH_HISTORY))
            rounds = [counting.rounds(one) for one in (few, many)]
            units = [sum(map(read_units, one.calls)) for one in (few, many)]
            named = f"{_named(count)}, {_MUCH_HISTORY:,} events / {_HISTORY}"
            lines.append(limited("C1", f"{named}: round trips", rounds[1] / rounds[0], 1.1, floor=str(rounds[0])))
            lines.append(limited("C1", f"{named}: read units", units[1] / units[0], 1.1, floor=str(units[0])))
        unready = asked.sandbox("unready", _configuration(count, ready=False))
        for history in (_HISTORY, _SOME_HISTORY):
            lines += _look_up_lines(asked, counting, unready, history)
        return lines + [_state_line(counting.made, history) for history in _HISTORIES]


def _person(asked: Session, history: int, attributes: int) -> Exchange:
    value = _with_history(history)
    asked.made.write(RECORDS, [record(value, _EVENT_BYTES)])
    asked.made.write(EVENTS, _spread(value, history))
    exchange = asked.get(value)
    ((_, found),) = exchange.answer.items()
    if len(found["entity"].get("_acme", {}).get("ComputedAttributes", {})) != attributes:
        raise RuntimeError(f"of {attributes} attributes {found['entity'].get('_acme')} were answered")
    return exchange


def _with_history(count: int) -> str:
    return f"history-{count}"


def _look_up_lines(plain: Session, ready: Session, unready: Session, history: int) -> list[Line]:
    """Compare look-ups of the same person in sandboxes with attributes and in one without."""
    value = _with_history(history)
    for asked in (plain, ready, unready):
        asked.made.write(RECORDS, [record(value, _EVENT_BYTES)])
        asked.made.write(EVENTS, _spread(value, history))
    without = plain.get(value)
    lines = []
    for what, asked, more in (
        ("all shown", ready, {}),
        ("none selected", ready, {"fields": "person"}),
        ("none ready", unready, {}),
    ):
        shown, other = asked.get(value, more), plain.get(value, more) if more else without
        cpu = asked.compared(partial(asked.answer, shown), partial(plain.answer, other))
        added_us = 1000 * (cpu.ours_ms - cpu.floor_ms)
        named = f"CPU of a look-up, {_named(_COUNTS[-1])}, {history:,} events, {what}: {added_us:.0f} us more"
        lines.append(Line("C1", named, f"{cpu.floor_ms:.2f} ms", f"{cpu.ratio:.2f}"))
    return lines


def _state_line(made: Store, history: int) -> Line:
    """Measure what is stored of the stream of a person."""
    if history == 100:
        made.write(EVENTS, _spread(_with_history(history), history))
    xid = Identity.of(NAMESPACE, _with_history(history)).xid(made.tenant)
    found = made.wire.client.query(
        TableName=ENVIRONMENT["PROFILE_TABLE"],
        KeyConditionExpression="pk = :pk AND begins_with(sk, :stream)",
        ExpressionAttributeValues={":pk": {"S": partition(made.tenant, xid)}, ":stream": {"S": stream_sort(EVENTS)}},
    )["Items"]
    made.wire.taken()
    size = sum(map(item_size, found))
    what = f"bytes of the state, {_COUNTS[-1]} attributes, {history:,} events in half a year, {len(found)} item(s)"
    return limited("C1", what, size, WRITE_UNIT, floor="", digits=0)


def event_units() -> list[Line]:
    """I1: write units per event with computed attributes, of identities whose states are filled."""
    lines = []
    values = [f"person-{number}" for number in range(_IDENTITIES)]
    with store() as made:
        for count in _COUNTS:
            counting, meter = made.sandbox(f"counting{count}", _configuration(count)), Meter()
            counting.metered(meter, RECORDS, [record(value, _EVENT_BYTES) for value in values])
            counting.metered(meter, EVENTS, [one for value in values for one in _spread(value, _KNOWN_EVENTS)])
            first = _KNOWN_EVENTS
            for each, limit in ((1, 5), (10, 2.5), (24, 2.5)):
                written, _ = counting.metered(meter, EVENTS, _recent(values, first, each))
                what = f"{_named(count)}, {'one event' if each == 1 else f'{each} events'} per identity"
                lines.append(limited("I1", what, written, limit, floor="1"))
                first += each
            others = [{**one, "eventType": "web.webpagedetails.pageViews"} for one in _recent(values, first, 10)]
            written, _ = counting.metered(meter, EVENTS, others)
            lines.append(limited("I1", f"{_named(count)}, none of which counts the events", written, 1, floor="1"))
    return lines


def _recent(values: Sequence[str], first: int, each: int) -> list[dict[str, Any]]:
    """Make events of the last half hour, none of them there before."""
    numbers = range(first, first + each)
    return [
        event(value, number, _EVENT_BYTES, NOW_MS - HOUR_MS // 2 + number) for value in values for number in numbers
    ]


def _named(count: int) -> str:
    return f"{count} attribute{'s' * (count > 1)}"


def row_cpu() -> list[Line]:
    """I2: CPU per event that 25 attributes count, and that none of them counts."""
    values = [f"person-{number}" for number in range(_ROWS // _ROWS_PER_IDENTITY)]
    rows = _recent(values, _KNOWN_EVENTS, _ROWS_PER_IDENTITY)
    lines = []
    for what, counted in (("count", rows), ("do not count", [{**one, "eventType": "web"} for one in rows])):
        with store() as made:
            counting = made.sandbox("counting", _configuration(_COUNTS[-1]))
            before = [one for value in values for one in _spread(value, _KNOWN_EVENTS)]
            cpu = ingestion.compared(counting, EVENTS, before, counted, rounds=_ROUNDS)
        named = f"events that {_named(_COUNTS[-1])} {what}: {cpu.ours_ms:.2f} ms of CPU per row"
        lines.append(limited("I2", named, cpu.ratio, 4, floor=f"{cpu.floor_ms:.2f} ms"))
    return lines
