"""Computed attributes on the deployed stacks: the sample data, moved near to now, against DuckDB on the file."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest
from aepp.customerprofile import Profile

from ops import cdnow
from ops.client import Client
from tests.e2e.conftest import adobe_client

BUY = 'eventType = "commerce.purchases"'
DOLLARS = "commerce.order.priceTotal"
# name: expression, count, unit, the same in SQL over the purchases in the window
ATTRIBUTES = {
    "spend6m": (f"xEvent[{BUY}].sum({DOLLARS})", 6, "MONTHS", "sum(dollars)"),
    "orders3m": (f"xEvent[{BUY}].count()", 3, "MONTHS", "count(*)"),
    "largest4w": (f"xEvent[{BUY} and {DOLLARS} > 20].max({DOLLARS})", 4, "WEEKS", "max(dollars) filter (dollars > 20)"),
    "least6m": (f"xEvent[{BUY}].min({DOLLARS})", 6, "MONTHS", "min(dollars)"),
    "quantity7d": ("xEvent.sum(productListItems.quantity)", 7, "DAYS", "sum(quantity)"),
    "last6m": (
        f'xEvent[{BUY}].topN(timestamp, 1).map({{"timestamp": timestamp, "value": {DOLLARS}}}).head()',
        6,
        "MONTHS",
        None,
    ),
}


@pytest.fixture(scope="module")
def bought() -> list[cdnow.Purchase]:
    """The sample's purchases, the last of them three days ago."""
    return cdnow.moved(list(cdnow.purchases()), datetime.now(UTC).date() - timedelta(days=3))


@pytest.fixture(scope="module")
def shop(client: Client, bought: list[cdnow.Purchase]) -> str:
    """A dataset with half of the purchases in it before any attribute is published, and half afterwards."""
    dataset = client.create_dataset("moved purchases", "experienceevent", "unifiedProfile", "unifiedIdentity")
    rows = list(cdnow.events(bought))
    for row in rows:
        row["identityMap"] = {"MovedId": next(iter(row["identityMap"].values()))}
    assert client.ingest(dataset, rows[::2])["status"] == "success"
    ids = [client.create_attribute(name, *its[:3]) for name, its in ATTRIBUTES.items()]
    # Some arrive while the states are being filled.
    assert client.ingest(dataset, rows[1::4])["status"] == "success"
    for attribute_id in ids:
        client.await_attribute(attribute_id)
    assert client.ingest(dataset, rows[3::4] + rows[:50])["status"] == "success"
    return dataset


@pytest.fixture(scope="module")
def facts(bought: list[cdnow.Purchase]) -> Iterator[duckdb.DuckDBPyConnection]:
    """The file, read by DuckDB by its own means, with the same days."""
    distance = max(purchase.day for purchase in bought) - max(purchase.day for purchase in cdnow.purchases())
    with duckdb.connect() as connection:
        connection.execute(
            r"""
            create table purchases as
            select word[1] as customer, strptime(word[3], '%Y%m%d')::date + $days::integer as day,
                   word[4]::integer as quantity, word[5]::decimal(18, 2) as dollars
            from (select regexp_split_to_array(trim(line), '\s+') as word
                  from read_csv($file, header = false, delim = '|', columns = {'line': 'varchar'}))
            """,
            {"days": distance.days, "file": str(cdnow.FILE)},
        )
        yield connection


def window_begin(count: int, unit: str) -> str:
    """The begin of a window that ends now, in SQL; weeks begin on Sundays."""
    match unit:
        case "MONTHS":
            return f"date_trunc('month', current_date) - interval {count} month"
        case "WEEKS":
            return f"current_date - dayofweek(current_date)::integer - {7 * count}"
        case _:
            return f"current_date - {count}"


def expected(facts: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Any]]:
    """What each customer's values should be."""
    values: dict[str, dict[str, Any]] = {}
    for name, (_, count, unit, aggregate) in ATTRIBUTES.items():
        if aggregate is None:
            continue
        rows = facts.execute(
            f"select customer, {aggregate} from purchases where day >= {window_begin(count, unit)} group by customer"
        ).fetchall()
        for customer, value in rows:
            if value is not None:
                values.setdefault(customer, {})[name] = float(value)
    latest = facts.execute(
        f"""
        select customer, max(day), list(dollars) from purchases
        where day >= {window_begin(6, "MONTHS")} and (customer, day) in
            (select (customer, max(day)) from purchases group by customer)
        group by customer
        """
    ).fetchall()
    for customer, day, dollars in latest:
        values.setdefault(customer, {})["last6m"] = (
            f"{day.isoformat()}T00:00:00.000Z",
            {float(one) for one in dollars},
        )
    return values


def test_every_value_of_every_customer_is_what_duckdb_says(
    client: Client, shop: str, facts: duckdb.DuckDBPyConnection, executor: ThreadPoolExecutor
) -> None:
    values = expected(facts)
    assert len(values) > 300
    customers = [row[0] for row in facts.execute("select distinct customer from purchases").fetchall()]
    assert len(customers) == 2357

    def check(customer: str) -> None:
        answer = client.entity("MovedId", customer)
        assert answer.status_code == 200
        ((_, profile),) = answer.json().items()
        own = [its for name, its in profile["entity"].items() if name.startswith("_e2e")]
        computed = own[0]["ComputedAttributes"] if own else {}
        wanted = dict(values.get(customer, {}))
        when, amounts = wanted.pop("last6m", (None, set()))
        if when is not None:
            latest = computed.pop("last6m")
            # Of several purchases at the same instant any can be the last one.
            assert latest["timestamp"] == when
            assert latest["value"] in amounts
        assert computed == wanted

    list(executor.map(check, customers))


def test_an_event_shows_a_second_after_it_was_sent(client: Client, shop: str) -> None:
    now = datetime.now(UTC)
    customer = f"fresh-{now.timestamp()}"
    event = {
        "_id": "fresh",
        "timestamp": now.isoformat(),
        "eventType": "commerce.purchases",
        "identityMap": {"MovedId": [{"id": customer, "primary": True}]},
        "commerce": {"order": {"priceTotal": 12.34}},
    }
    assert client.ingest(shop, [event])["status"] == "success"
    own = f"_{client.configuration['org_id'].partition('@')[0].lower()}"
    ((_, profile),) = client.entity("MovedId", customer, fields=f"{own}.ComputedAttributes.spend6m").json().items()
    assert profile["entity"] == {own: {"ComputedAttributes": {"spend6m": 12.34}}}


def test_a_preview_says_what_a_draft_would_be(client: Client, shop: str, facts: duckdb.DuckDBPyConnection) -> None:
    attribute = client.http.post(
        "/data/core/ca/attributes",
        json={
            "name": "draftSpend",
            "displayName": "Draft",
            "description": "",
            "expression": {"type": "PQL", "format": "pql/text", "value": ATTRIBUTES["spend6m"][0]},
            "duration": {"count": 6, "unit": "MONTHS"},
            "status": "DRAFT",
        },
    ).json()
    values = expected(facts)
    customer = next(name for name, its in values.items() if "spend6m" in its)
    answer = client.http.post(
        f"/data/core/ca/attributes/{attribute['id']}/preview",
        json={"identities": [{"entityId": customer, "entityIdNS": {"code": "MovedId"}}]},
    )
    assert answer.status_code == 200
    assert list(answer.json()["values"].values()) == [values[customer]["spend6m"]]
    assert client.http.delete(f"/data/core/ca/attributes/{attribute['id']}").status_code == 202


@pytest.fixture(scope="module")
def profiles(client: Client, configuration: dict[str, str], shop: str) -> Profile:
    """Adobe's own client."""
    return adobe_client(configuration)


def test_disabling_takes_the_value_away_at_once(
    client: Client, profiles: Profile, facts: duckdb.DuckDBPyConnection
) -> None:
    attribute = client.find_attribute("quantity7d")
    assert attribute is not None
    customer = next(name for name, its in expected(facts).items() if "quantity7d" in its)
    assert "quantity7d" in client.entity("MovedId", customer).text
    assert client.http.patch(f"/data/core/ca/attributes/{attribute['id']}", json={"status": "DISABLED"}).is_success
    assert "quantity7d" not in client.entity("MovedId", customer).text


def test_the_published_client(profiles: Profile) -> None:
    found = profiles.getComputedAttributes()
    names = {one["name"] for one in found}
    assert {"spend6m", "orders3m"} <= names
    one = next(one for one in found if one["name"] == "spend6m")
    assert profiles.getComputedAttribute(one["id"])["status"] == "PROCESSED"


def test_the_published_client_creates_and_deletes(profiles: Profile) -> None:
    draft = profiles.createComputedAttribute(
        {
            "name": "fromAepp",
            "displayName": "From aepp",
            "description": "",
            "expression": {"type": "PQL", "format": "pql/text", "value": ATTRIBUTES["orders3m"][0]},
            "duration": {"count": 3, "unit": "MONTHS"},
            "status": "DRAFT",
        }
    )
    assert (draft["status"], draft["mergeFunction"]) == ("DRAFT", {"value": "SUM"})
    # It leaves the id out of the path.
    assert profiles.patchComputedAttribute(draft["id"], {"description": "x"})["status"] == 400
    assert profiles.deleteComputedAttribute(draft["id"]) == 202
    assert profiles.getComputedAttribute(draft["id"])["status"] == 404
