"""The conformance suite of the contract, row by row (contract: data-and-pql §2.9)."""

from __future__ import annotations

from typing import Any

import pytest

from tessera.pql import PqlError, parse, parse_json

NOW = 1_750_260_600_000  # 2025-06-18T15:30:00Z, a Wednesday
P1: dict[str, Any] = {
    "person": {
        "name": {"firstName": "Maya", "lastName": "Okafor"},
        "gender": "female",
        "birthDate": "1990-06-18",
        "birthYear": 1990,
        "birthMonth": 6,
        "birthDay": 18,
        "age": 35,
    },
    "homeAddress": {"countryCode": "CA", "city": "Lethbridge", "stateProvince": "AB"},
    "workAddress": {"countryCode": "US", "stateProvince": "AB"},
    "personalEmail": {"address": "maya.okafor@mail.example.com"},
    "middle": None,
    "emptyList": [],
    "loyalty": {
        "points": 1250,
        "tier": "gold",
        "optIn": True,
        "score": 7.5,
        "joined": "2024-02-29T10:00:00Z",
        "renewal": "2025-06-21T09:00:00Z",
    },
    "favoriteColors": ["teal", "red", "navy"],
    "visitedCities": ["Oslo", "Lima", "Quito"],
    "wishCities": ["Lima", "Oslo"],
    "tags": ["a", "b", "a", "c", "b"],
    "attrs": {"plan": "pro", "region": "west"},
    "identityMap": {
        "Email": [{"id": "maya.okafor@mail.example.com", "primary": True}],
        "CRMID": [{"id": "C-77", "primary": False}],
    },
    "orders": [
        {"orderId": "o1", "storeId": "S1", "price": 40, "qty": 1},
        {"orderId": "o2", "storeId": "S2", "price": 25.5, "qty": 2},
        {"orderId": "o3", "storeId": "S1", "price": 90, "qty": 1},
        {"orderId": "o4", "storeId": "S3", "price": 10, "qty": 5},
        {"orderId": "o5", "storeId": "S2", "price": 60, "qty": 1},
    ],
    "segmentMembership": {"ups": {"seg-A": {"status": "realized"}, "seg-B": {"status": "exited"}}},
    "xEvent": [
        {
            "_id": "e1",
            "timestamp": "2025-06-18T14:00:00Z",
            "eventType": "commerce.purchases",
            "producedBy": "web",
            "commerce": {"purchases": {"value": 1}, "order": {"priceTotal": 120, "currencyCode": "USD"}},
            "productListItems": [
                {"SKU": "PS", "priceTotal": 20, "quantity": 1},
                {"SKU": "LM", "priceTotal": 100, "quantity": 2},
            ],
        },
        {
            "_id": "e2",
            "timestamp": "2025-06-17T09:00:00Z",
            "eventType": "commerce.productViews",
            "producedBy": "app",
            "productListItems": [{"SKU": "LM"}],
        },
        {
            "_id": "e3",
            "timestamp": "2025-06-12T18:00:00Z",
            "eventType": "commerce.purchases",
            "producedBy": "store",
            "commerce": {"purchases": {"value": 1}, "order": {"priceTotal": 80, "currencyCode": "USD"}},
            "productListItems": [{"SKU": "QT", "priceTotal": 80, "quantity": 4}],
        },
        {
            "_id": "e4",
            "timestamp": "2025-05-20T00:00:00Z",
            "eventType": "commerce.purchases",
            "producedBy": "web",
            "commerce": {"purchases": {"value": 1}, "order": {"priceTotal": 45.5, "currencyCode": "EUR"}},
            "productListItems": [{"SKU": "PS", "priceTotal": 45.5, "quantity": 1}],
        },
        {
            "_id": "e5",
            "timestamp": "2025-03-01T12:00:00Z",
            "eventType": "web.webpagedetails.pageViews",
            "producedBy": "web",
        },
        {
            "_id": "e6",
            "timestamp": "2025-06-18T15:25:00Z",
            "eventType": "commerce.checkouts",
            "producedBy": "app",
            "commerce": {"checkouts": {"value": 1}},
        },
    ],
}
ROWS: list[tuple[int, str, Any]] = [
    (1, 'homeAddress.countryCode = "CA"', True),
    (3, "homeAddress.stateProvince = workAddress.stateProvince", True),
    (4, "$1.homeAddress.countryCode = $1.workAddress.countryCode", False),
    (6, "person.birthMonth > 5", True),
    (7, "person.birthMonth >= 6", True),
    (9, "person.birthMonth <= 6", True),
    (10, "loyalty.score = 7.5", True),
    (12, "loyalty.optIn = true", True),
    (13, "loyalty.points > -1", True),
    (15, 'nickname = "x"', False),
    (16, 'nickname != "x"', False),
    (18, "middle = nickname", False),
    (19, "nickname < 5", False),
    (21, 'homeAddress.countryCode = "US" or person.birthYear = 1990', True),
    (22, '!(homeAddress.countryCode = "CA")', False),
    (24, "not (false) and false", False),
    (25, 'if (homeAddress.countryCode = "CA", 1, 2)', 1),
    (27, 'if(loyalty.tier in ["gold","plum"], "top", "base")', "top"),
    (28, 'if (nickname = "x", "a", "b")', "b"),
    (30, "loyalty.points - person.birthYear", -740),
    (31, "orders.count() * 3", 15),
    (33, "7 / 2", 3.5),
    (34, "person.age % 5 = 0", True),
    (36, "loyalty.points / 0", None),
    (37, "nickname + 1", None),
    (39, "(2 + 3) * 4", 20),
    (40, "person.birthMonth in [3, 6, 9]", True),
    (42, "person.birthMonth notIn [1, 2]", True),
    (43, 'nickname in ["x"]', False),
    (45, 'not (nickname in ["x"])', True),
    (46, 'favoriteColors.intersects(["pink","navy"])', True),
    (48, 'favoriteColors.intersection(["navy","teal"])', ["teal", "navy"]),
    (49, 'favoriteColors.intersection(["pink"]).count()', 0),
    (51, "visitedCities.subsetOf(wishCities)", False),
    (52, "emptyList.subsetOf(visitedCities)", True),
    (54, 'visitedCities.supersetOf(["Rome"])', False),
    (55, 'favoriteColors.includes("red")', True),
    (57, 'missingList.includes("red")', False),
    (58, "tags.distinct()", ["a", "b", "c"]),
    (60, "orders.storeId.distinct().count()", 3),
    (61, "orders.filter(price >= 40).count()", 3),
    (63, "orders.map(price * qty)", [40, 51.0, 90, 50, 60]),
    (64, "orders.topN(price, 2).orderId", ["o3", "o5"]),
    (66, "orders.topN(price, 5).head().orderId", "o3"),
    (67, "orders.topN(price, 99).count()", 5),
    (69, "orders.groupBy(storeId).count()", 3),
    (70, "orders.groupBy(storeId).map((K, G) => mapEntry(K, G.sum(price)))", {"S1": 130, "S2": 85.5, "S3": 10}),
    (
        72,
        'orders.groupBy(storeId).map({"n": this.count(), "first": this.head().orderId})',
        [{"n": 2, "first": "o1"}, {"n": 2, "first": "o2"}, {"n": 1, "first": "o4"}],
    ),
    (73, "orders.count()", 5),
    (75, "orders.average(price)", 45.1),
    (76, "orders.min(price)", 10),
    (78, "missingList.count()", 0),
    (79, "emptyList.sum()", 0),
    (81, "xEvent.sum(commerce.order.priceTotal)", 245.5),
    (82, 'xEvent[eventType = "commerce.purchases"].max(commerce.order.priceTotal)', 120),
    (84, 'attrs.get("plan")', "pro"),
    (85, 'attrs.get("zip")', None),
    (87, 'attrs.values().includes("west")', True),
    (88, 'identityMap.get("CRMID").head().id', "C-77"),
    (90, "identityMap.values().exists(primary = true)", True),
    (91, "homeAddress.isNull()", False),
    (93, "middle.isNull()", True),
    (94, "homeAddress.isNotNull()", True),
    (96, 'homeAddress.city like "%bri%"', True),
    (97, 'homeAddress.city like "Leth_ridge"', True),
    (99, 'person.name.firstName.startsWith("Ma")', True),
    (100, 'person.name.firstName.startsWith("ma")', False),
    (102, 'person.name.firstName.doesNotStartWith("Ma")', False),
    (103, 'personalEmail.address.endsWith(".com")', True),
    (105, 'personalEmail.address.contains("OKAFOR", false)', True),
    (106, 'personalEmail.address.contains("OKAFOR")', False),
    (108, 'nickname.doesNotContain("q")', False),
    (109, 'person.name.firstName.equals("Maya")', True),
    (111, 'person.name.firstName.equals("maya", false)', True),
    (112, 'person.name.firstName.notEqualTo("Ivo")', True),
    (114, 'person.name.lastName.matches("(?i)^oka")', True),
    (115, 'person.name.lastName.matches("for$")', True),
    (117, 'personalEmail.address.regexGroup("#(\\\\w+)", 1)', None),
    (118, "currentMonth()", 6),
    (120, "currentDayOfMonth() = person.birthDay", True),
    (121, "person.birthDate.getMonth() = 6", True),
    (123, "person.birthDate.getDayOfMonth() <= 15", False),
    (124, "loyalty.joined occurs on date(2024, 2, 29)", True),
    (126, "loyalty.joined occurs between date(2024, 1, 8) and date(2024, 2, 29)", True),
    (127, "loyalty.joined occurs before date(2024, 3, 1)", True),
    (129, "loyalty.renewal occurs <= 3 days after now", True),
    (130, "loyalty.renewal occurs <= 3 days from now", True),
    (132, "loyalty.renewal occurs next month", False),
    (133, "loyalty.renewal occurs <= 7 days before now", False),
    (135, "xEvent[timestamp occurs yesterday].count()", 1),
    (136, "xEvent[timestamp occurs last week].count()", 1),
    (138, "xEvent[timestamp occurs last month].count()", 1),
    (139, "xEvent[timestamp occurs this year].count()", 6),
    (141, "xEvent[timestamp occurs <= 7 days before now].count()", 4),
    (142, "xEvent[timestamp occurs > 7 days before now].count()", 2),
    (144, "xEvent[timestamp occurs = 1 hours before now].count()", 1),
    (145, "xEvent[timestamp occurs = 1 days before today].count()", 1),
    (147, "exists E from xEvent where E.commerce.order.priceTotal > 100", True),
    (148, "exists E from xEvent : E.commerce.order.priceTotal > 500", False),
    (
        150,
        'exists E from xEvent where (E.commerce.order.priceTotal > 60), I from E.productListItems where I.SKU = "ZZ"',
        False,
    ),
    (151, "forall O from orders where O.price > 5", True),
    (153, "forall O from emptyList where O.price > 20", True),
    (154, "(select X from xEvent where X.commerce.order.priceTotal > 50).count()", 2),
    (156, "let T = orders.sum(price) in (T > 200 and T < 300)", True),
    (
        157,
        'let S = (sum X.commerce.order.priceTotal over X from xEvent where X.commerce.order.currencyCode = "USD") in (S > 100 and S < 1000)',  # noqa: E501
        True,
    ),
    (159, 'xEvent[productListItems[SKU = "PS" or ^^.person.gender = "female"]].count()', 4),
    (160, "xEvent[productListItems[priceTotal = ^commerce.order.priceTotal]].count()", 2),
    (
        162,
        'xEvent[eventType.equals("COMMERCE.PURCHASES", false)].topN(timestamp, 1).map({"timestamp": timestamp, "value": producedBy}).head()',  # noqa: E501
        {"timestamp": "2025-06-18T14:00:00Z", "value": "web"},
    ),
    (163, 'chain(xEvent, timestamp, [A: WHAT(eventType = "commerce.checkouts")])', True),
    (
        165,
        'CHAIN(xEvent, timestamp, [C0: WHAT(eventType.equals("commerce.checkouts", false)) WHEN(today), C1: WHAT(eventType.equals("commerce.purchases", false)) WHEN(today)])',  # noqa: E501
        False,
    ),
    (
        166,
        'chain(xEvent, timestamp, [A: WHAT(eventType = "commerce.purchases") WHEN(< 24 hours before now) COUNT(2)])',
        False,
    ),
    (168, 'not(chain(xEvent, timestamp, [A: WHAT(eventType = "cart.abandon")]))', True),
    (169, 'inSegment("seg-A") and not (inSegment("seg-B"))', True),
]
REFUSED = [
    "homeAddress.countryCode =",
    "xEvent[timestamp occurs <= -3 days before now]",
    "xEvent[timestamp occurs <= 1.5 days before now]",
    "homeAddress.city = 'x'",
    "xEvent[timestamp occurs <= 3 fortnights before now]",
    "orders.median(price)",
    '"a" + 1',
    "xEvent[",
    "select from xEvent",
]


def same(one: Any, other: Any) -> bool:
    """Equal, and true is not 1."""
    return bool(one == other) and isinstance(one, bool) is isinstance(other, bool)


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in ROWS], ids=[f"row {row[0]}" for row in ROWS])
def test_row(text: str, expected: Any) -> None:
    assert same(parse(text).evaluate(P1, now=NOW), expected)


@pytest.mark.parametrize("text", [row[1] for row in ROWS], ids=[f"row {row[0]}" for row in ROWS])
def test_row_by_way_of_text_and_json(text: str) -> None:
    query = parse(text)
    assert parse(query.text).syntax == query.syntax
    assert parse_json(query.to_json()).syntax == query.syntax


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused_is_refused_when_it_is_read(text: str) -> None:
    with pytest.raises(PqlError):
        parse(text)


def test_a_number_is_no_condition() -> None:
    with pytest.raises(PqlError, match="line 1, column 8: expected a boolean, found a number"):
        parse("person.age and true").evaluate(P1, now=NOW)


def test_a_profile_without_what_is_asked_for() -> None:
    sparse = {"person": {"name": {"firstName": "Ivo"}}, "homeAddress": {"countryCode": "US"}}
    assert parse('homeAddress.countryCode = "US" and xEvent.count() = 0').evaluate(sparse, now=NOW) is True
    assert parse('nickname notIn ["x"]').evaluate(sparse, now=NOW) is False
    assert parse('nickname in ["x"]').evaluate(sparse, now=NOW) is False
    assert parse('not (nickname in ["x"])').evaluate(sparse, now=NOW) is True
