"""Reading: what is refused and where, how trees come out, what a query tells about itself, and its bounds."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tessera.pql import PqlError, parse
from tessera.pql import syntax as s

REFUSED = [
    ("", 1, 1, "expected a value, found the end of the query"),
    ("   ", 1, 1, "expected a value, found the end of the query"),
    ("a =", 1, 4, "expected a value, found the end of the query"),
    ("a = ]", 1, 5, 'expected a value, found "]"'),
    ("a\n  = = b", 2, 5, 'expected a value, found "="'),
    ("a = 'x'", 1, 5, "strings stand in double quotes"),
    ('a = "x', 1, 5, "the string has no end"),
    ("a b", 1, 3, 'expected an operator or the end of the query, found "b"'),
    ("a @ b", 1, 3, 'expected an operator, found "@"'),
    ("a\x00", 1, 2, 'expected an operator, found "U+0000"'),
    ("a.b.", 1, 5, "expected a name, found the end of the query"),
    ("((1)", 1, 5, 'expected ")", found the end of the query'),
    ("a = 1 = 2", 1, 7, 'expected the end of the query or "and" or "or", found "="'),
    ("a occurs 5 days ago", 1, 12, 'expected an operator or the end of the query, found "days"'),
    ("a occurs <= -3 days before now", 1, 13, 'expected a whole number, found "-"'),
    ("a occurs <= 1.5 days before now", 1, 13, 'expected a whole number, found "1.5"'),
    ("a occurs <= 3 fortnights before now", 1, 15, 'expected a unit of time, found "fortnights"'),
    ("a occurs <= 9999999999 days before now", 1, 13, "a count can be at most 999999999"),
    ("exists x in a", 1, 10, 'expected "from", found "in"'),
    ("{1: 2}", 1, 2, 'expected a name or a string or "}", found "1"'),
    ('{a: 1, "a": 2}', 1, 8, 'the key "a" comes twice'),
    ("orders.median(price)", 1, 8, 'there is no function "median"'),
    ("count(orders)", 1, 1, '"count" is called as value.count(...)'),
    ("orders.date(1, 2, 3)", 1, 8, '"date" is called as date(...)'),
    ("if(a, b)", 1, 1, '"if" takes 3 arguments, not 2'),
    ("a.head(1)", 1, 3, '"head" takes 0 arguments, not 1'),
    ("^a", 1, 1, "no element is that far out: 0 enclose this place"),
    ("a[b[^^^c]]", 1, 5, "no element is that far out: 2 enclose this place"),
    ("$0", 1, 1, "the inputs are $1 to $99"),
    ("99999999999999999999", 1, 1, "a number too large"),
    ('"\\q"', 1, 1, "\\q is no escape: a backslash is written twice"),
    ('"\\ud800"', 1, 1, "half a character of Unicode"),
    ("a.map((x, y, z) => 1)", 1, 7, "a function of one element here, or of key and group in groupBy(...).map(...)"),
    ("(x, x) => 1", 1, 1, "a name comes twice"),
    ("mapEntry(1, 2)", 1, 1, '"mapEntry" stands alone as what "map" makes of an element'),
    ("chain(a, t, [A: WHAT(b) COUNT(0)])", 1, 31, "a count from 1 on"),
    ("chain(a, t, [A: WHAT(b) COUNT(1) COUNT(2)])", 1, 34, "a step has one WHEN, one WHERE and one COUNT at most"),
    # What no data can make work.
    ('"enabled" + 1', 1, 1, '"+" needs a number, found a string'),
    ("1 + true", 1, 5, '"+" needs a number, found a boolean'),
    ("-[1]", 1, 2, '"-" needs a number, found an array'),
    ('1 < "a"', 1, 3, '"<" cannot compare an integer with a string'),
    ("true < 1", 1, 1, '"<" needs numbers, strings or times, not a boolean'),
    ("a in 5", 1, 6, '"in" needs an array, found an integer'),
    ("a like 5", 1, 8, '"like" needs a string, found an integer'),
    ('"a" and true', 1, 1, '"and" needs a boolean, found a string'),
    ("a or 5", 1, 6, '"or" needs a boolean, found an integer'),
    ("not 5", 1, 5, '"not" needs a boolean, found an integer'),
    ('"x".count()', 1, 1, '"count" needs an array, found a string'),
    ("a.filter(5)", 1, 10, '"filter" needs a boolean, found an integer'),
    ('a.sum("x")', 1, 7, '"sum" cannot take a string'),
    ("a occurs true", 1, 10, '"occurs" needs a timestamp, found a boolean'),
    ("let x = 1 in x and true", 1, 14, '"and" needs a boolean, found an integer'),
    ("exists x from 5", 1, 15, '"from" needs an array, found an integer'),
    ("date(2025, 2, 30)", 1, 1, "there is no such date"),
    ("a.topN(b, -1)", 1, 11, '"topN" needs a whole number of elements'),
    ("a.topN(b, 1.5)", 1, 11, '"topN" needs a whole number of elements'),
    ('a.regexGroup("(x)", 2)', 1, 21, "the regular expression has no group 2"),
]


@pytest.mark.parametrize(("text", "line", "column", "problem"), REFUSED, ids=[repr(row[0]) for row in REFUSED])
def test_what_is_refused_and_where(text: str, line: int, column: int, problem: str) -> None:
    with pytest.raises(PqlError) as refused:
        parse(text)
    assert (refused.value.line, refused.value.column, refused.value.problem) == (line, column, problem)
    assert str(refused.value) == f"line {line}, column {column}: {problem}"


@pytest.mark.parametrize("pattern", ["(?=x)", "(?<!x)y", "(x)\\\\1", "(", "[z-a]"])
def test_regular_expressions_that_are_not_supported_are_refused_when_read(pattern: str) -> None:
    with pytest.raises(PqlError, match="line 1, column 11: this regular expression is not supported"):
        parse(f'a.matches("{pattern}")')


def test_the_words_of_what_was_expected() -> None:
    with pytest.raises(PqlError) as refused:
        parse("t occurs <= 3 fortnights before now")
    assert {"day", "week", "century"} <= set(refused.value.expected)


AT_RUN_TIME = [
    ("a + 1", {"a": "x"}, "line 1, column 3: expected a number, found a string"),
    ("1 +\n  (2 * a)", {"a": []}, "line 2, column 6: expected a number, found an array"),
    ("b or a", {"a": 5}, "line 1, column 6: expected a boolean, found a number"),
    ("a.count()", {"a": {}}, "line 1, column 3: expected an array, found an object"),
    ("a[b > 1]", {"a": [{"b": "x"}]}, "line 1, column 5: a number does not compare with a string"),
    ("t occurs today", {"t": "soon"}, "line 1, column 10: expected a time, found a string that is none"),
    ('a.startsWith("x")', {"a": 5}, "line 1, column 3: expected a string, found a number"),
    ("a.topN(b, n)", {"a": [], "n": -1}, "line 1, column 3: a number cannot be a number of elements"),
]


@pytest.mark.parametrize(("text", "profile", "message"), AT_RUN_TIME)
def test_an_error_at_run_time_says_where(text: str, profile: dict[str, Any], message: str) -> None:
    with pytest.raises(PqlError) as raised:
        parse(text).evaluate(profile, now=0)
    assert str(raised.value) == message


SAME_TREES = [
    ("a.filter(b = 1)", "a[b = 1]"),
    ("a.map((x) => x.b)", "a.map(b)"),
    ("a.map((x) => x.c.map((y) => x.b + y.d))", "a.map(c.map(^b + d))"),
    ("(p) => p.a", "a"),
    ("(p, q) => p.a + q.b", "$1.a + $2.b"),
    ("$1.a", "a"),
    ("a[^b = 1]", "a[$1.b = 1]"),
    ("a[^.b = 1]", "a[^b = 1]"),
    ("not a", "!a"),
    ("exists x from a : x.b = 1", "exists x from a where x.b = 1"),
    ("t occurs <= 3 days from now", "t occurs <= 3 days after now"),
    ("t occurs today", "t occurs on today"),
    ("t occurs <= 1 day before now", "t occurs <= 1 days before now"),
    ("t occurs <= 2 century before now", "t occurs <= 2 centuries before now"),
    ("CHAIN(a, t, [A: WHAT(b)])", "chain(a, t, [A: WHAT(b) COUNT(1)])"),
    ("a and (b and c)", "a and b and c"),
    ("-5", "- 5"),
    ("((a))", "a"),
    ('{"k": 1}', "{k: 1}"),
]


@pytest.mark.parametrize(("one", "other"), SAME_TREES)
def test_two_ways_to_write_the_same(one: str, other: str) -> None:
    assert parse(one).syntax == parse(other).syntax
    assert parse(one).text == parse(other).text


# Each is written as it stands.
CANONICAL = [
    "a.b + c * (d - e) / f",
    "a - (b - c)",
    "a - b - c",
    "(a + b) * c",
    "not a and (b or c)",
    "not (a and b)",
    "a in [1, 2] or b notIn [3]",
    'a like "%x%"',
    "(exists x from a where x.b = 1) and c",
    "exists x from a where x.b = 1, y from x.c",
    "(select x from a where x.b > 1).count()",
    "let x = a.b in x + x",
    "(sum (x.b) over x from a where x.c) + 1",
    "a[b[^c = d and ^this]]",
    "a[this > 1].map(this * 2)",
    "a[this.xEvent = xEvent]",
    "let b = 1 in a[this.b = b]",
    "let b = 1 in $1.b + b",
    "$1.count + a.count",
    "a[this.min > 1]",
    '{"a b": 1, "c": [1, "x"]}',
    "a.groupBy(b).map((K, group) => mapEntry(K, this.count()))",
    "t occurs <= 7 days before now",
    "t occurs != 2 centuries after this week",
    "t occurs before last month",
    "t occurs on date(2024, 2, 29)",
    "t occurs between u and tomorrow",
    "chain(xEvent, a.t, [A: WHAT(b = 1) WHEN(on today) COUNT(2), B: WHAT(c) WHERE(d)])",
    "- (a + b)",
    "- - a",
    "1.5",
    '"a\\"b\\\\c\\n"',
]


@pytest.mark.parametrize("text", CANONICAL)
def test_the_one_way_to_write_it(text: str) -> None:
    assert parse(text).text == text


@pytest.mark.parametrize(
    "name",
    ["from", "where", "in", "on", "last", "now", "count", "sum", "let", "and", "this", "true", "chain", "select"],
)
def test_words_of_the_language_can_be_names_of_fields(name: str) -> None:
    assert parse(f"a.{name} = 1").evaluate({"a": {name: 1}}, now=0) is True
    assert parse(parse(f"$1.{name} = 1").text).evaluate({name: 1}, now=0) is True


@pytest.mark.parametrize(
    "name", ["count", "sum", "min", "on", "last", "before", "now", "chain", "exists", "like_", "over"]
)
def test_words_that_can_be_bare_names(name: str) -> None:
    assert parse(f"{name} + 1").evaluate({name: 1}, now=0) == 2


TYPES = [
    ("1", "integer"),
    ("1.5", "number"),
    ('"x"', "string"),
    ("true", "boolean"),
    ("[1]", "array"),
    ("{a: 1}", "object"),
    ("date(2025, 1, 1)", "timestamp"),
    ("a.b", "unknown"),
    ("[1].x", "array"),
    ("1 + 2", "integer"),
    ("1 / 2", "number"),
    ("a + b", "number"),
    ("a = b", "boolean"),
    ("not a", "boolean"),
    ("t occurs today", "boolean"),
    ("a.count()", "integer"),
    ("a.sum(b)", "number"),
    ("a.sum(1)", "integer"),
    ("a.min(b)", "unknown"),
    ("a.min(1.5)", "number"),
    ("a[b]", "array"),
    ("a.map(b)", "array"),
    ("a.groupBy(b).map((K, G) => mapEntry(K, 1))", "object"),
    ('if(a, "x", "y")', "string"),
    ('if(a, "x", 1)', "unknown"),
    ("let x = 1 in x", "integer"),
    ("exists x from a", "boolean"),
    ("select x from a", "array"),
    ("(count x over x from a)", "integer"),
    ('a.regexGroup("x", 0)', "string"),
    ("currentYear()", "integer"),
]


@pytest.mark.parametrize(("text", "expected"), TYPES)
def test_the_type_of_the_result(text: str, expected: str) -> None:
    assert parse(text).result_type == expected


PATHS = [
    ("1", set()),
    ("a.b.c = 1", {"a.b.c"}),
    ("$1.a + $2.b", {"a"}),
    ("xEvent[commerce.order.priceTotal > 5].count()", {"xEvent", "xEvent.commerce.order.priceTotal"}),
    (
        "xEvent[lines[sku = ^kind or ^^home.city]]",
        {"xEvent", "xEvent.lines", "xEvent.lines.sku", "xEvent.kind", "home.city"},
    ),
    (
        "exists E from xEvent where E.a = 1, L from E.lines where L.b = E.c",
        {"xEvent", "xEvent.a", "xEvent.lines", "xEvent.lines.b", "xEvent.c"},
    ),
    ("orders.topN(price, 2).orderId", {"orders", "orders.price", "orders.orderId"}),
    ("let o = orders in o[a].b", {"orders", "orders.a", "orders.b"}),
    ("let o = orders.head() in o.id", {"orders", "orders.id"}),
    ("orders.groupBy(s).map((K, G) => mapEntry(K, G.count()))", {"orders", "orders.s"}),
    ("(sum X.a over X from xEvent where X.b)", {"xEvent", "xEvent.a", "xEvent.b"}),
    (
        "chain(xEvent, timestamp, [A: WHAT(kind) WHEN(after start) WHERE(^gate)])",
        {"xEvent", "xEvent.timestamp", "xEvent.kind", "xEvent.start", "gate"},
    ),
    ('inSegment("x")', {"segmentMembership"}),
    ('attrs.get("plan")', {"attrs"}),
    ("$1", {"$1"}),
    ("t occurs before u", {"t", "u"}),
]


@pytest.mark.parametrize(("text", "expected"), PATHS)
def test_what_a_query_reads(text: str, expected: set[str]) -> None:
    assert parse(text).free_paths == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("t occurs today", True),
        ("a[b[t occurs last week]]", True),
        ("currentMonth() = 5", True),
        ("chain(a, t, [A: WHAT(b) WHEN(<= 1 days before now)])", True),
        ("t occurs on date(2025, 1, 1)", False),
        ("t occurs before u", False),
        ("now", False),
        ("a = 1", False),
    ],
)
def test_whether_it_depends_on_the_time(text: str, expected: bool) -> None:
    assert parse(text).uses_now is expected


def test_a_condition_is_true_or_an_array_that_is_not_empty() -> None:
    query = parse("a[b = 1]")
    assert query.evaluate({"a": [{"b": 1}]}, now=0) == [{"b": 1}]
    assert query.holds({"a": [{"b": 1}]}, now=0) is True
    assert query.holds({"a": []}, now=0) is False
    assert query.holds({}, now=0) is False
    with pytest.raises(PqlError, match="expected a boolean"):
        parse("a").holds({"a": 5}, now=0)


def test_positions_do_not_make_trees_differ_and_are_kept() -> None:
    one, other = parse("a  =\n 1").syntax, parse("a = 1").syntax
    assert one == other
    assert isinstance(one, s.Comparison)
    assert (one.at, one.right.at) == (s.Position(1, 4), s.Position(2, 2))


def test_one_query_in_many_threads() -> None:
    query = parse("xEvent[n > $1.limit and n in [1, 2, 3, 4, 5]].sum(n * 2)")
    barrier = threading.Barrier(8)

    def evaluate(limit: int) -> Any:
        barrier.wait()
        profile = {"limit": limit, "xEvent": [{"n": number} for number in range(6)]}
        return {query.evaluate(profile, now=0) for _ in range(200)}

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(evaluate, range(8))) == [{2 * sum(range(limit + 1, 6))} for limit in range(8)]


def test_the_text_has_a_limit() -> None:
    assert parse("a" * 1000).free_paths == {"a" * 1000}
    with pytest.raises(PqlError, match="at most 100000 characters"):
        parse("1" + " " * 100_000)


def test_nesting_has_a_limit_and_length_has_none() -> None:
    assert parse(" + ".join(["a"] * 2_000)).evaluate({"a": 1}, now=0) == 2_000
    assert parse("(" * 500 + "1" + ")" * 500).evaluate(now=0) == 1
    assert parse("not " * 40 + "true").evaluate(now=0) is True
    with pytest.raises(PqlError, match="nested deeper than 60 levels"):
        parse("not " * 100 + "true")
    with pytest.raises(PqlError, match="more than 16 filters or bindings inside each other"):
        parse("exists " + ", ".join(f"x{number} from a" for number in range(17)))


def test_what_is_visited_has_a_limit() -> None:
    profile = {"a": list(range(1_001))}
    query = parse("exists x from a, y from a where x + y < 0")
    with pytest.raises(PqlError, match="line 1, column 18: the expression does too much"):
        query.evaluate(profile, now=0)
    assert query.evaluate({"a": list(range(900))}, now=0) is False
