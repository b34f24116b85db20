"""The sample data: purchases of the CDNOW store as XDM records and events (see sample_data/README.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent.parent / "sample_data" / "cdnow_sample.txt"
CUSTOMER_NAMESPACE = "CdnowId"
SAMPLE_NAMESPACE = "CdnowSampleId"


@dataclass(frozen=True)
class Purchase:
    """One line of the file; ``dollars`` is exact."""

    line: int
    customer: str
    sample: str
    day: date
    quantity: int
    dollars: Decimal


def purchases(file: Path = FILE) -> Iterator[Purchase]:
    """Read the file."""
    with file.open() as lines:
        for number, line in enumerate(lines, start=1):
            customer, sample, day, quantity, dollars = line.split()
            yield Purchase(number, customer, sample, date.fromisoformat(day), int(quantity), Decimal(dollars))


def moved(bought: list[Purchase], last: date) -> list[Purchase]:
    """Move all purchases in time so that the last one is on a day: near to now, windows have something to see."""
    distance = last - max(purchase.day for purchase in bought)
    return [replace(purchase, day=purchase.day + distance) for purchase in bought]


def customers(bought: list[Purchase]) -> Iterator[dict[str, Any]]:
    """Make a record for each customer: both ids, and the day of the first purchase."""
    first: dict[str, Purchase] = {}
    for purchase in bought:
        known = first.get(purchase.customer)
        if known is None or purchase.day < known.day:
            first[purchase.customer] = purchase
    for purchase in first.values():
        yield {
            "identityMap": {
                CUSTOMER_NAMESPACE: [{"id": purchase.customer, "primary": True}],
                SAMPLE_NAMESPACE: [{"id": purchase.sample}],
            },
            "_cdnow": {"customerSince": purchase.day.isoformat(), "store": "CDNOW"},
        }


def events(bought: list[Purchase]) -> Iterator[dict[str, Any]]:
    """Make an event for each line. Its number is the event's id: lines repeat, and each of them is a purchase."""
    for purchase in bought:
        yield {
            "_id": str(purchase.line),
            "timestamp": f"{purchase.day.isoformat()}T00:00:00Z",
            "eventType": "commerce.purchases",
            "identityMap": {CUSTOMER_NAMESPACE: [{"id": purchase.customer, "primary": True}]},
            "commerce": {
                "purchases": {"value": 1},
                "order": {"priceTotal": float(purchase.dollars), "currencyCode": "USD"},
            },
            "productListItems": [{"quantity": purchase.quantity}],
        }
