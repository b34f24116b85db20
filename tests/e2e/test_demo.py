"""After the demo's ingestion, the store answers what the file says; computed from the file by other means."""

from __future__ import annotations

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ops import cdnow, demo
from ops.client import Client

FILE = Path(__file__).resolve().parents[2] / "sample_data" / "cdnow_sample.txt"


@pytest.fixture(scope="module")
def store(client: Client) -> Client:
    """The sample data, brought in as `make demo` does."""
    demo.load(client, again=False)
    return client


@pytest.fixture(scope="module")
def lines() -> list[list[str]]:
    """The file's lines, split."""
    return [line.split() for line in FILE.read_text().splitlines()]


def every_event(client: Client, customer: str, limit: int) -> list[dict[str, Any]]:
    """Page through a customer's events."""
    children: list[dict[str, Any]] = []
    answer = client.events(cdnow.CUSTOMER_NAMESPACE, customer, limit=str(limit)).json()
    while True:
        children += answer["children"]
        href = answer["_links"]["next"]["href"]
        if not href:
            return children
        answer = client.http.get("/data/core/ups/access" + href).json()


def test_every_customer_is_found_by_either_id_with_the_same_entity(
    store: Client, lines: list[list[str]], executor: ThreadPoolExecutor
) -> None:
    pairs = {(full, sample) for full, sample, *_ in lines}
    assert len(pairs) == 2357

    def check(pair: tuple[str, str]) -> None:
        full, sample = pair
        by_full = store.entity(cdnow.CUSTOMER_NAMESPACE, full)
        by_sample = store.entity(cdnow.SAMPLE_NAMESPACE, sample)
        assert (by_full.status_code, by_sample.status_code) == (200, 200)
        ((full_xid, one),) = by_full.json().items()
        ((sample_xid, other),) = by_sample.json().items()
        assert full_xid != sample_xid
        assert one["entity"] == other["entity"]
        assert set(one["identityGraph"]) == set(other["identityGraph"]) == {full_xid, sample_xid}
        assert one["entity"]["identityMap"] == {"cdnowid": [{"id": full}], "cdnowsampleid": [{"id": sample}]}

    list(executor.map(check, pairs))


def test_the_purchases_are_the_lines_of_the_file_to_the_cent(
    store: Client, lines: list[list[str]], executor: ThreadPoolExecutor
) -> None:
    spent: dict[str, Decimal] = defaultdict(Decimal)
    bought: Counter[str] = Counter()
    days: dict[str, list[str]] = defaultdict(list)
    for full, _, day, quantity, dollars in lines:
        spent[full] += Decimal(dollars)
        bought[full] += int(quantity)
        days[full].append(f"{day[:4]}-{day[4:6]}-{day[6:]}")

    def check(customer: str) -> int:
        events = [child["entity"] for child in every_event(store, customer, limit=1000)]
        assert sum(Decimal(str(event["commerce"]["order"]["priceTotal"])) for event in events) == spent[customer]
        assert sum(item["quantity"] for event in events for item in event["productListItems"]) == bought[customer]
        assert [event["timestamp"][:10] for event in events] == sorted(days[customer])
        return len(events)

    assert sum(executor.map(check, spent)) == 6919


def test_small_pages_give_the_same_events_in_both_directions(store: Client, lines: list[list[str]]) -> None:
    customer = Counter(full for full, *_ in lines).most_common(1)[0][0]
    whole = every_event(store, customer, limit=1000)
    assert every_event(store, customer, limit=3) == whole
    backwards = store.events(cdnow.CUSTOMER_NAMESPACE, customer, orderby="-timestamp").json()["children"]
    assert backwards == whole[::-1]


def test_ingesting_everything_again_changes_nothing(store: Client, lines: list[list[str]]) -> None:
    customer = lines[0][0]
    before = every_event(store, customer, limit=1000)
    demo.load(store, again=True)
    assert [child["entity"] for child in every_event(store, customer, limit=1000)] == [
        child["entity"] for child in before
    ]
