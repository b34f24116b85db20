"""pql/json: as published where it is published, and the same query after every conversion."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tessera.pql import PqlError, parse, parse_json
from tests.unit.pql.test_more_cases import EVERY

INPUT = {"nodeType": "parameterReference", "position": 1}


def lookup(name: str, of: Any = INPUT) -> dict[str, Any]:
    return {"nodeType": "fieldLookup", "fieldName": name, "object": of}


def literal(kind: str, value: Any) -> dict[str, Any]:
    return {"nodeType": "literal", "literalType": kind, "value": value}


def apply(name: str, *parameters: Any) -> dict[str, Any]:
    return {"nodeType": "fnApply", "fnName": name, "params": list(parameters)}


def variable(name: str) -> dict[str, Any]:
    return {"nodeType": "varRef", "varName": name}


def function(body: Any, *names: str) -> dict[str, Any]:
    return {"nodeType": "lambda", "varNames": list(names), "body": body}


TREES = [
    (
        'workAddress.countryCode = "US"',
        apply("=", lookup("countryCode", lookup("workAddress")), literal("String", "US")),
    ),
    ("xEvent", lookup("xEvent")),
    ("$2.a", lookup("a", {"nodeType": "parameterReference", "position": 2})),
    ("a in [1, 2.5]", apply("in", lookup("a"), literal("List", [literal("Integer", 1), literal("Double", 2.5)]))),
    ('a.get("k")', apply("get", lookup("a"), literal("String", "k"))),
    ("a.exists(b)", apply("exists", lookup("a"), function(lookup("b", variable("item1")), "item1"))),
    (
        "a[b[c = ^d]]",
        apply(
            "filter",
            lookup("a"),
            function(
                apply(
                    "filter",
                    lookup("b", variable("item1")),
                    function(apply("=", lookup("c", variable("item2")), lookup("d", variable("item1"))), "item2"),
                ),
                "item1",
            ),
        ),
    ),
    ("a + b + c - 1", apply("-", apply("+", lookup("a"), lookup("b"), lookup("c")), literal("Integer", 1))),
    ("a and not b and true", apply("and", lookup("a"), apply("not", lookup("b")), literal("Boolean", True))),
    ("- a", apply("-", lookup("a"))),
    ('{"x": a}', literal("XDMObject", {"x": lookup("a")})),
    (
        "a.groupBy(b).map((K, group) => mapEntry(K, this.count()))",
        apply(
            "map",
            apply("groupBy", lookup("a"), function(lookup("b", variable("item1")), "item1")),
            function(apply("mapEntry", variable("K"), apply("count", variable("item1"))), "K", "item1"),
        ),
    ),
    (
        "chain(xEvent, timestamp, [A: WHAT(kind = 1) COUNT(2)])",
        {
            "nodeType": "chain",
            "array": lookup("xEvent"),
            "timestampField": function(lookup("timestamp", variable("item1")), "item1"),
            "elements": [
                {
                    "name": "A",
                    "what": function(apply("=", lookup("kind", variable("item1")), literal("Integer", 1)), "item1"),
                    "count": 2,
                }
            ],
        },
    ),
    (
        "t occurs <= 7 days before now",
        apply(
            "occurs",
            lookup("t"),
            {
                "nodeType": "distance",
                "operator": "<=",
                "count": 7,
                "unit": "day",
                "direction": "before",
                "anchor": {"nodeType": "clock", "word": "now"},
            },
        ),
    ),
]


@pytest.mark.parametrize(("text", "tree"), TREES, ids=[row[0] for row in TREES])
def test_text_and_json_of_the_same_query(text: str, tree: Any) -> None:
    assert json.loads(parse(text).to_json()) == tree
    assert parse_json(json.dumps(tree)).text == text


ROUND_TRIPS = [
    "let item1 = a in b[item1 = c]",
    "let x = 1 in let y = x in x + y",
    "exists x from a where x.b = 1, y from x.c",
    "forall x from a",
    "(select x from a where x.b > 1).c",
    "(average (x.b * 2) over x from a where x.c) > 1",
    "t occurs != 2 centuries after this week",
    "t occurs before last month or t occurs after tomorrow",
    "t occurs between date(2024, 1, 1) and u",
    "chain(xEvent, a.t, [A: WHAT(b) WHEN(after start) WHERE(^c), B: WHAT(d) WHEN(on today)])",
    'a.topN(b, 2).map({"x": b, "y": [1, ^c]}).head()',
    "a.map((item) => item.b.map((other) => other.c + item.d))",
    'if(a.isNull(), "x\\"y\\\\", -1.5)',
    'inSegment("s") and currentMonth() = 5 and name.equals("x", false)',
    "$2[a = $1.b and c]",
    " + ".join(["a"] * 2_000),
    " and ".join(["a"] * 2_000),
]


@pytest.mark.parametrize("text", ROUND_TRIPS, ids=[text[:40] for text in ROUND_TRIPS])
def test_there_and_back(text: str) -> None:
    query = parse(text)
    again = parse_json(query.to_json())
    assert again.text == query.text
    assert again.to_json() == query.to_json()
    assert parse(query.text).text == query.text


def expect_there_and_back(text: str) -> None:
    query = parse(text)
    again = parse_json(query.to_json())
    assert again.syntax == parse(query.text).syntax == query.syntax, text
    assert (again.text, again.to_json()) == (query.text, query.to_json()), text


@pytest.mark.parametrize("text", [text for text, _ in EVERY])
def test_every_case_there_and_back(text: str) -> None:
    expect_there_and_back(text)


UNITS = (
    *("millisecond", "seconds", "minute", "hours", "day", "weeks", "month", "years", "decades", "century"),
    *("centuries", "millennium", "millennia"),
)
TIMES = (
    *("now", "today", "yesterday", "tomorrow", "u", "a.b.c", "date(2024, 2, 29)"),
    *(f"{which} {unit}" for which, unit in zip(("this", "last", "next") * 5, UNITS, strict=False)),
)
PHRASES = [
    *(
        f"{operator} 3 {unit} {direction} {time}"
        for operator in ("<", "<=", ">", ">=", "=", "!=")
        for direction in ("before", "after", "from")
        for unit, time in zip(UNITS * 2, TIMES, strict=False)
    ),
    *(
        form.format(time)
        for form in ("before {}", "after {}", "from {}", "{}", "on {}", "between {} and now", "between today and {}")
        for time in TIMES
    ),
]


def test_every_form_of_occurs_there_and_back() -> None:
    """Contract: data-and-pql §2.6."""
    assert len(PHRASES) == 18 * 20 + 7 * 20
    for phrase in PHRASES:
        expect_there_and_back(f"t occurs {phrase} and chain(xEvent, timestamp, [A: WHAT(b) WHEN({phrase})])")


def test_names_of_lambdas_are_free() -> None:
    tree = apply("map", lookup("a"), function(apply("+", lookup("b", variable("Z")), literal("Integer", 1)), "Z"))
    query = parse_json(json.dumps(tree))
    assert query.text == "a.map(b + 1)"
    assert query.evaluate({"a": [{"b": 1}]}, now=0) == [2]


def test_a_step_without_a_name_gets_one() -> None:
    what = function(lookup("b", variable("E")), "E")
    when = function(lookup("t", variable("E")), "E")
    tree = {"nodeType": "chain", "array": lookup("a"), "timestampField": when, "elements": [{"what": what}]}
    assert parse_json(json.dumps(tree)).text == "chain(a, t, [C0: WHAT(b)])"


REFUSED = [
    ("", "not JSON"),
    ("{", "not JSON"),
    ("[]", "expected a node"),
    ("{}", 'a node without "nodeType"'),
    (json.dumps({"nodeType": "magic"}), '"magic" is no kind of node here'),
    (json.dumps(apply("median", INPUT)), 'there is no function "median" of 1 parameters'),
    (json.dumps(apply("=", INPUT)), 'there is no function "=" of 1 parameters'),
    (json.dumps(apply("head")), '"head" does not take 0 parameters'),
    (json.dumps(apply("filter", INPUT, INPUT)), "what is evaluated for each element is a lambda"),
    (json.dumps(apply("filter", INPUT, function(INPUT, "a", "b"))), "a lambda has one name here"),
    (json.dumps(variable("x")), 'there is no variable "x"'),
    (json.dumps(lookup("a b")), "a name begins with a letter"),
    (json.dumps(lookup('a" = "b')), "a name begins with a letter"),
    (json.dumps(literal("String", 5)), "does not have such a value"),
    (json.dumps(literal("Integer", True)), "does not have such a value"),
    (json.dumps({"nodeType": "parameterReference", "position": 0}), '"position" is no whole number from 1'),
    (json.dumps(apply("+", literal("String", "x"), literal("Integer", 1))), '"+" needs a number, found a string'),
    (
        json.dumps(apply("occurs", INPUT, {"nodeType": "during", "anchor": {"nodeType": "clock", "word": "noon"}})),
        '"word" is one of',
    ),
]


@pytest.mark.parametrize(("text", "problem"), REFUSED, ids=[row[1] for row in REFUSED])
def test_what_is_refused(text: str, problem: str) -> None:
    with pytest.raises(PqlError) as refused:
        parse_json(text)
    assert problem in str(refused.value)
