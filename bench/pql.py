"""Q1: what a compiled query takes, next to the same written by hand in Python."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import nlargest
from statistics import median
from typing import Any

from bench.table import Line, limited
from bench.timing import compare, enough
from tessera.pql import parse

_LIMIT = 2
_EVENTS = 100
_NOW = datetime(2025, 6, 18, 15, 30, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOW_MS = (_NOW - _EPOCH) // timedelta(milliseconds=1)
_KINDS = ("commerce.purchases", "commerce.productViews", "web.webpagedetails.pageViews", "commerce.checkouts")
_PAGES = ("/home", "/shop/checkout/pay", "/shop/cart", "/checkout/done")


@dataclass(frozen=True)
class Shape:
    """A query, and the function of an input and the clock that somebody would write for it.

    ``inputs`` are evaluated one after the other.
    """

    name: str
    text: str
    by_hand: Callable[..., Any]
    inputs: list[Any]


def measure() -> list[Line]:
    """Q1: CPU of each shape, compiled and by hand, once both were seen to give the same value."""
    lines = []
    for shape in _shapes():
        ours, by_hand = _both(shape)
        compared = compare(ours, by_hand, times=enough(ours), rounds=15)
        ours_us, floor_us = (1000 * ms / len(shape.inputs) for ms in (compared.ours_ms, compared.floor_ms))
        what = f"{shape.name}: {ours_us:.1f} us, made in {_making_ms(shape):.1f} ms"
        lines.append(limited("Q1", what, compared.ratio, _LIMIT, floor=f"{floor_us:.1f} us"))
    return lines


def _both(shape: Shape) -> tuple[Callable[[], None], Callable[[], None]]:
    query = parse(shape.text)
    for given in shape.inputs:
        compiled, written = query.evaluate(given, now=_NOW_MS), shape.by_hand(given, now=_NOW_MS)
        if compiled != written:
            raise RuntimeError(f"{shape.name} by hand is {written!r}, compiled {compiled!r}")

    def ours() -> None:
        for given in shape.inputs:
            query.evaluate(given, now=_NOW_MS)

    def by_hand() -> None:
        for given in shape.inputs:
            shape.by_hand(given, now=_NOW_MS)

    return ours, by_hand


def _making_ms(shape: Shape) -> float:
    """Return the CPU of parsing, compiling and the first use of a text that was never seen: a space more each time."""
    rounds = []
    for number in range(1, 10):
        fresh = shape.text + " " * number
        started = time.process_time()
        parse(fresh).evaluate({}, now=_NOW_MS)
        rounds.append(time.process_time() - started)
    return 1000 * median(rounds)


def _shapes() -> list[Shape]:
    events = [_event(number) for number in range(_EVENTS)]
    profile = [{"xEvent": events, "loyalty": {"tier": "gold"}}]
    return [
        Shape("condition on one event: type and amount", _ONE_EVENT, _of_one_event, events),
        Shape("condition on one event: last seven days", "timestamp occurs <= 7 days before now", _recent, events),
        Shape(f"sum of {_EVENTS} events", _SUM, _sum, profile),
        Shape("count in", _COUNT_IN, _count_in, profile),
        Shape("count occurs", "xEvent[timestamp occurs <= 7 days before now].count()", _count_recent, profile),
        Shape("count like", _COUNT_LIKE, _count_like, profile),
        Shape("count equals, any case", _COUNT_EQUALS, _count_equals, profile),
        Shape("count by products", _COUNT_PRODUCTS, _count_products, profile),
        Shape("count by products and ^", _COUNT_OUTER, _count_outer, profile),
        Shape("sum of products", "xEvent.sum(productListItems.priceTotal)", _sum_of_products, profile),
        Shape("max", 'xEvent[eventType = "commerce.purchases"].max(commerce.order.priceTotal)', _max, profile),
        Shape("min of a time", "xEvent.min(timestamp)", _first, profile),
        Shape("most recent", _MOST_RECENT, _most_recent, profile),
        Shape("list of 20", "xEvent.topN(timestamp, 20).map(producedBy)", _latest, profile),
        Shape("group by", "xEvent.groupBy(eventType).map((K, G) => mapEntry(K, G.count()))", _group, profile),
    ]


def _event(number: int) -> dict[str, Any]:
    """Make an event; some lack what others have, or have null in its place."""
    event: dict[str, Any] = {
        "_id": f"event-{number}",
        "timestamp": (_NOW - timedelta(hours=5 * (number * 37 % _EVENTS) + 1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventType": _KINDS[number % 4],
        "producedBy": None if number % 11 == 0 else ("web", "app", "store")[number % 3],
        "web": {"webPageDetails": {"URL": f"https://shop.example{_PAGES[number % 4]}?n={number}"}},
    }
    if number % 4 == 0:
        total = None if number % 20 == 0 else 10 + number * 1.5
        event["commerce"] = {"purchases": {"value": 1}, "order": {"priceTotal": total, "currencyCode": "EUR"}}
    if number % 2 == 0:
        event["productListItems"] = [
            {"SKU": f"S{(number + item) % 7}", "quantity": item + 1, "priceTotal": 10 * item + number * 1.5}
            for item in range(3)
        ]
    return event


# By hand: the rules of the language where these queries need them. A missing field is null, a path through a list takes
# from each of its elements, null compares as false, a value of the wrong type is an error.


def _field(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, list):
        return _projected(value, name)
    return None


def _projected(items: list[Any], name: str) -> list[Any]:
    found = []
    for item in items:
        value = _field(item, name)
        if isinstance(value, list):
            found += value
        elif value is not None:
            found.append(value)
    return found


def _items(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _number(value: Any) -> float:
    if type(value) is not int and type(value) is not float:
        raise TypeError("not a number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _above(value: Any, limit: float) -> bool:
    return value is not None and _number(value) > limit


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _price(event: Any) -> Any:
    return _field(_field(_field(event, "commerce"), "order"), "priceTotal")


def _events(profile: Any) -> list[Any]:
    return _items(_field(profile, "xEvent"))


_ONE_EVENT = 'eventType = "commerce.purchases" and commerce.order.priceTotal > 50'


def _of_one_event(event: Any, now: int) -> bool:
    return _field(event, "eventType") == "commerce.purchases" and _above(_price(event), 50)


def _recent(event: Any, now: int) -> bool:
    clock = _EPOCH + timedelta(milliseconds=now)
    return _between(event, clock - timedelta(days=7), clock)


def _count_recent(profile: Any, now: int) -> int:
    clock = _EPOCH + timedelta(milliseconds=now)
    start = clock - timedelta(days=7)
    return sum(1 for event in _events(profile) if _between(event, start, clock))


def _between(event: Any, start: datetime, end: datetime) -> bool:
    timestamp = _field(event, "timestamp")
    return timestamp is not None and start <= _moment(timestamp) <= end


_SUM = 'xEvent[eventType = "commerce.purchases"].sum(commerce.order.priceTotal)'


def _purchases(profile: Any) -> list[Any]:
    return [event for event in _events(profile) if _field(event, "eventType") == "commerce.purchases"]


def _sum(profile: Any, now: int) -> float:
    return sum(_number(price) for event in _purchases(profile) if (price := _price(event)) is not None)


def _max(profile: Any, now: int) -> Any:
    prices = (_price(event) for event in _purchases(profile))
    return max((_number(price) for price in prices if price is not None), default=None)


_COUNT_IN = 'xEvent[eventType in ["commerce.purchases", "commerce.checkouts"] and producedBy != "app"].count()'


def _count_in(profile: Any, now: int) -> int:
    count = 0
    for event in _events(profile):
        if _field(event, "eventType") in ("commerce.purchases", "commerce.checkouts"):
            source = _field(event, "producedBy")
            count += source is not None and source != "app"
    return count


_COUNT_LIKE = 'xEvent[web.webPageDetails.URL like "%/checkout/%"].count()'


def _count_like(profile: Any, now: int) -> int:
    count = 0
    for event in _events(profile):
        address = _field(_field(_field(event, "web"), "webPageDetails"), "URL")
        count += address is not None and "/checkout/" in _text(address)
    return count


_COUNT_EQUALS = 'xEvent[eventType.equals("COMMERCE.Purchases", false)].count()'


def _count_equals(profile: Any, now: int) -> int:
    count = 0
    for event in _events(profile):
        kind = _field(event, "eventType")
        count += kind is not None and _text(kind).casefold() == "commerce.purchases"
    return count


_COUNT_PRODUCTS = 'xEvent[productListItems[SKU = "S3" and priceTotal > 30]].count()'


def _count_products(profile: Any, now: int) -> int:
    return sum(
        any(
            _field(item, "SKU") == "S3" and _above(_field(item, "priceTotal"), 30)
            for item in _items(_field(event, "productListItems"))
        )
        for event in _events(profile)
    )


_COUNT_OUTER = "xEvent[productListItems[priceTotal >= ^commerce.order.priceTotal]].count()"


def _count_outer(profile: Any, now: int) -> int:
    count = 0
    for event in _events(profile):
        for item in _items(_field(event, "productListItems")):
            price, total = _field(item, "priceTotal"), _price(event)
            if price is not None and total is not None and _number(price) >= _number(total):
                count += 1
                break
    return count


def _sum_of_products(profile: Any, now: int) -> float:
    total: float = 0
    for event in _events(profile):
        for price in _items(_field(_field(event, "productListItems"), "priceTotal")):
            total += _number(price)
    return total


def _first(profile: Any, now: int) -> Any:
    times = (_field(event, "timestamp") for event in _events(profile))
    return min((timestamp for timestamp in times if timestamp is not None), key=_moment, default=None)


def _newest(profile: Any, size: int, events: list[Any]) -> list[Any]:
    dated = [event for event in events if _field(event, "timestamp") is not None]
    return nlargest(size, dated, key=lambda event: _moment(event["timestamp"]))


_MOST_RECENT = (
    'xEvent[eventType = "commerce.purchases"].topN(timestamp, 1)'
    '.map({"timestamp": timestamp, "value": commerce.order.priceTotal}).head()'
)


def _most_recent(profile: Any, now: int) -> Any:
    for event in _newest(profile, 1, _purchases(profile)):
        return {"timestamp": _field(event, "timestamp"), "value": _price(event)}
    return None


def _latest(profile: Any, now: int) -> list[Any]:
    return [_field(event, "producedBy") for event in _newest(profile, 20, _events(profile))]


def _group(profile: Any, now: int) -> dict[str, int]:
    counts: dict[str, int] = {}
    for event in _events(profile):
        kind = _text(_field(event, "eventType"))
        counts[kind] = counts.get(kind, 0) + 1
    return counts
