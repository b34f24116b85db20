"""Rows to measure with: made up, the same every time, of the shapes and sizes that customer data has."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

RECORDS = "66f0a1b2c3d4e5f601234567"
OTHER_RECORDS = "66f0a1b2c3d4e5f601234568"
EVENTS = "66f0a1b2c3d4e5f601234569"
UPDATES = "66f0a1b2c3d4e5f60123456a"
MANY_RECORDS = tuple(f"66f0a1b2c3d4e5f6012346{number:02x}" for number in range(20))
NAMESPACE = "crmId"
_FIRST = datetime(2024, 10, 1, tzinfo=UTC)
_FIRST_NAMES = ["Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Radia", "Leslie", "Frances", "Tony"]
_LAST_NAMES = ["Lovelace", "Hopper", "Turing", "Dijkstra", "Liskov", "Knuth", "Perlman", "Lamport", "Allen", "Hoare"]
_CITIES = ["Lisbon", "Oslo", "Vienna", "Dublin", "Athens", "Madrid", "Zagreb", "Tallinn", "Riga", "Ghent"]
_WORDS = [
    "amber",
    "basil",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "haven",
    "islet",
    "jetty",
    "kiosk",
    "lotus",
    "maple",
    "north",
    "ocean",
    "pearl",
]


def identity_map(value: str, linked: Iterable[str] = ()) -> dict[str, Any]:
    """Name the identity a row belongs to, and others that are the same person."""
    return {NAMESPACE: [{"id": value, "primary": True}, *({"id": other} for other in linked)]}


def record(value: str, size: int, linked: Iterable[str] = (), version: int = 0) -> dict[str, Any]:
    """Make a record of a person of about ``size`` bytes as JSON."""
    pick = random.Random(f"{value}/{version}")
    first, last = pick.choice(_FIRST_NAMES), pick.choice(_LAST_NAMES)
    body: dict[str, Any] = {
        "identityMap": identity_map(value, linked),
        "person": {
            "name": {"firstName": first, "lastName": last},
            "birthDate": f"{pick.randrange(1940, 2005)}-{pick.randrange(1, 13):02}-{pick.randrange(1, 29):02}",
            "gender": pick.choice(["female", "male", "not_specified"]),
        },
        "personalEmail": {"address": f"{first}.{last}.{pick.randrange(1000)}@example.com".lower()},
        "homeAddress": {
            "street1": f"{pick.randrange(1, 400)} {pick.choice(_WORDS).title()} Street",
            "city": pick.choice(_CITIES),
            "postalCode": f"{pick.randrange(10_000, 99_999)}",
        },
        "_acme": {"version": version, "points": pick.randrange(100_000), "active": pick.random() < 0.5},
    }
    return _filled(body, size, pick)


def wide_record(value: str, number: int, attributes: int, linked: Iterable[str] = ()) -> dict[str, Any]:
    """Make the record that a person has in one of many datasets, ``attributes`` in groups of ten: the same in each."""
    pick = random.Random(f"{value}/{number}/{attributes}")
    groups: dict[str, dict[str, Any]] = {}
    for attribute in range(attributes):
        group = groups.setdefault(f"group{attribute // 10:02d}", {})
        group[f"attribute{attribute % 10}"] = _value(attribute % 10, pick)
    return {"identityMap": identity_map(value, linked), "_acme": groups}


def _value(kind: int, pick: random.Random) -> Any:
    match kind:
        case 0 | 1:
            return pick.randrange(1_000_000)
        case 2:
            return pick.random() < 0.5
        case 3:
            return [pick.choice(_WORDS), pick.choice(_WORDS)]
        case _:
            return f"{pick.choice(_WORDS)} {pick.choice(_WORDS)} {pick.randrange(10_000)}"


def event(value: str, number: int, size: int, at_ms: int | None = None) -> dict[str, Any]:
    """Make a purchase of a person of about ``size`` bytes as JSON; ``number`` is the event's own."""
    pick = random.Random(f"{value}#{number}")
    moment = _FIRST + timedelta(minutes=37 * number)
    if at_ms is not None:
        moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    body: dict[str, Any] = {
        "_id": f"{number:08d}-{pick.randrange(1 << 32):08x}",
        "timestamp": f"{moment:%Y-%m-%dT%H:%M:%S}Z",
        "eventType": "commerce.purchases",
        "identityMap": identity_map(value),
        "commerce": {
            "purchases": {"value": 1},
            "order": {"priceTotal": pick.randrange(100, 50_000) / 100, "currencyCode": "EUR"},
        },
        "productListItems": [{"SKU": f"SKU-{pick.randrange(10_000)}", "quantity": pick.randrange(1, 5)}],
        "_acme": {},
    }
    return _filled(body, size, pick)


def _filled(body: dict[str, Any], size: int, pick: random.Random) -> dict[str, Any]:
    missing = size - len(orjson.dumps(body))
    number = 0
    while missing > 0:
        name = f"attribute{number}"
        text = f"{pick.choice(_WORDS)} {pick.choice(_WORDS)} {pick.randrange(10_000)}"
        body["_acme"][name] = text
        missing -= len(name) + len(text) + 6
        number += 1
    return body
