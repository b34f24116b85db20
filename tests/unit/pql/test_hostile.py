"""Expressions and inputs made to hurt: each is answered with a value or a PqlError, and soon.

The time limit of a test is an alarm that fails it, not a measurement: what passes takes a small part of it.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tessera.pql import PqlError, parse, parse_json

pytestmark = pytest.mark.timeout(30, method="signal")

NOW = 1_750_260_600_000
RANDOM = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


def outcome(text: str, *inputs: Any, now: int = NOW) -> Any:
    """Return the value, or the class of the only error there may be."""
    try:
        return parse(text).evaluate(*inputs or ({},), now=now)
    except PqlError:
        return PqlError


def nested(opening: str, times: int, middle: str, closing: str = "") -> str:
    return opening * times + middle + closing * times


DEEP = {
    "parentheses": nested("(", 10_000, "1", ")"),
    "open parentheses": "(" * 10_000,
    "not": nested("not ", 5_000, "true"),
    "!": nested("!", 10_000, "true"),
    "minus": nested("- ", 5_000, "1"),
    "arrays": nested("[", 10_000, "1", "]"),
    "objects": nested('{"a":', 3_000, "1", "}"),
    "carets": nested("^", 10_000, "a"),
    "conditions": nested("if(", 2_000, "true", ", 1, 2)"),
    "else": nested("if(false, 1, ", 2_000, "2", ")"),
    "filters": nested("a[", 5_000, "true", "]"),
    "filter calls": nested("a.filter(", 2_000, "true", ")"),
    "maps": nested("a.map(", 2_000, "1", ")"),
    "lambdas": nested("a.map((x) => ", 2_000, "1", ")"),
    "top lambdas": nested("(x) => ", 3_000, "1"),
    "let": nested("let x = 1 in ", 2_000, "x"),
    "let in let": nested("let x = (", 2_000, "1", ") in x"),
    "exists": nested("exists x from a where ", 1_000, "true"),
    "exists as a source": nested("exists x from (", 1_000, "a", ")"),
    "sum": nested("(sum ", 2_000, "1", " over x from a)"),
    "chains": nested("chain(a, t, [A: WHAT(", 1_000, "true", ")])"),
    "right-hand sides": nested("1 + (", 5_000, "1", ")"),
    "and not": nested("true and not (", 2_000, "true", ")"),
    "json-like": nested('{"a":[', 3_000, "1", "]}"),
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP.keys())
def test_depth_is_refused_or_handled(text: str) -> None:
    outcome(text, {"a": [{"a": [1]}]})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" and ".join(["a = 1"] * 500), True),
        (" or ".join(["a = 2"] * 500), False),
        (" and ".join(f"a != {number}" for number in range(2, 500)), True),
        (" and ".join(["not (a = 2)"] * 300), True),
        (" + ".join(["a"] * 1_000), 1_000),
        (" - ".join(["a"] * 1_000), -998),
        (" * ".join(["a"] * 1_000), 1),
        (f"a in [{', '.join(map(str, range(1_000)))}]", True),
        (f"[{', '.join(['a'] * 1_000)}].count()", 1_000),
        (f"{{{', '.join(f'k{number}: a' for number in range(500))}}}.keys().count()", 500),
        (f"(({' and '.join(['(a = 1 or b = 2)'] * 200)}))", True),
    ],
    ids=lambda value: str(value)[:30],
)
def test_length_is_no_depth(text: str, expected: Any) -> None:
    assert outcome(text, {"a": 1}) == expected


@pytest.mark.parametrize(
    "text",
    [
        ".".join(["a"] * 3_000),
        "a" + "[true]" * 2_000,
        "a" + ".filter(true)" * 2_000,
        "a" + ".distinct()" * 2_000,
        f"chain(a, t, [{', '.join(f'S{number}: WHAT(true)' for number in range(1_000))}])",
        "exists " + ", ".join(f"x{number} from a" for number in range(300)),
        "exists " + ", ".join(f"x{number} from a where x{number}.q = 1" for number in range(30)),
        f"a.groupBy(q).map(({', '.join(f'x{number}' for number in range(2_000))}) => 1)",
        "a" * 100_000,
        "a " * 100_000,
        '"' + "a" * 1_000_000 + '"',
        '"' + '\\"' * 100_000 + '"',
        '"' + "\\" * 100_001,
        " " * 1_000_000,
        "\n" * 1_000_000 + "1",
        "1 +" * 1_000_000,
        '"' * 99_999,
    ],
    ids=lambda text: text[:30],
)
def test_length_is_refused_or_handled(text: str) -> None:
    outcome(text, {"a": [{"q": 1, "a": [], "t": 1}] * 3})


NUMBERS = [
    "9" * 5_000,
    "9" * 400 + ".0",
    "0." + "0" * 5_000 + "1",
    "-" + "9" * 400,
    "1 / 0." + "0" * 400 + "1",
    "9" * 400 + " / 3",
    "9" * 400 + " * 1.5",
    "9" * 400 + " % 0.5",
    "9" * 308 + ".0 * 10",
    "9" * 308 + ".0 * 10 - " + "9" * 308 + ".0 * 10",
    "date(" + "9" * 400 + ", 1, 1)",
    "date(99999, 1, 1)",
    "date(0, 1, 1)",
    "date(-5, 1, 1)",
    "date(2025, 1.5, 1)",
    "$99999999999999999999",
    "$" + "9" * 5_000,
    "[1].topN(this, " + "9" * 400 + ")",
    '"a".regexGroup("a", ' + "9" * 400 + ")",
    "huge + 1.5",
    "huge / 7",
    "1 / huge",
    "1.5 % huge",
    "-huge % 1.5",
    "huge * huge * huge * huge",
    "large * large",
    "large * large - large * large",
    "(large * large) % 3",
    "[large, large].sum()",
    "[large, large].average()",
    "[huge, 1.5].average()",
    "[huge, 1.5].sum()",
    "huge > 1.5",
    "huge = 1.5",
    "huge in [1.5]",
    "huge.getMonth()",
    "huge occurs today",
    "-huge occurs today",
    "large occurs today",
    "nan + 1",
    "nan = nan",
    "nan < 1",
    "[nan, 1].max()",
    "[nan, 1, nan].distinct()",
    "nan occurs today",
    "inf - inf",
    "inf % 2",
    "inf * 0",
    "inf occurs today",
    "1.5 occurs today",
]


@pytest.mark.parametrize("text", NUMBERS, ids=lambda text: text if len(text) < 40 else text[:20] + "…" + text[-15:])
def test_numbers(text: str) -> None:
    given_numbers = {"huge": 10**5_000, "large": 1e308, "nan": float("nan"), "inf": float("inf")}
    found = outcome(text, given_numbers)
    if isinstance(found, float):
        assert "nan" in text or "inf" in text or abs(found) < float("inf"), "a number that JSON cannot carry"


def test_numbers_do_not_grow_without_bound() -> None:
    doubling = "".join(f"let n{number + 1} = n{number} * n{number} in " for number in range(40))
    found = outcome(f"let n0 = 9999999 in {doubling} n40")
    assert found is None or found is PqlError or found.bit_length() < 10_000


COUNTS = ["0", "1", "10000", "999999", "9" * 15, "9" * 19, "9" * 400]
UNITS = ["milliseconds", "hours", "weeks", "months", "years", "decades", "centuries", "millennia"]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("count", COUNTS, ids=lambda count: count[:20])
def test_far_times(count: str, unit: str) -> None:
    for operator in ("<=", "=", "!=", ">"):
        for direction in ("before", "after"):
            for now in (0, NOW, -62_135_596_800_000, 253_402_300_799_999):
                for anchor in ("now", "this millennium", "last week", "tomorrow"):
                    text = f"t occurs {operator} {count} {unit} {direction} {anchor}"
                    assert outcome(text, {"t": "2025-06-18T00:00:00Z"}, now=now) in (True, False, PqlError)


@pytest.mark.parametrize("now", [10**15, -(10**15), 10**18, 10**30, -(10**30)])
@pytest.mark.parametrize("text", ["t occurs this week", "currentYear()", "t occurs <= 1 months before now"])
def test_far_clocks(text: str, now: int) -> None:
    outcome(text, {"t": "2025-06-18T00:00:00Z"}, now=now)


@pytest.mark.parametrize(
    "moment",
    [
        "",
        " ",
        "2025",
        "2025-13-45",
        "0000-00-00",
        "2025-06-18T25:61:61Z",
        "2025-06-18T00:00:00+99:99",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59.999999-14:00",
        "99999-01-01",
        "-2025-01-01",
        "2025-06-18T00:00:00.000000000000000000000Z",
        "2025-W25-3",
        "2025-169",
        "20250618",
        "\uff12\uff10\uff12\uff15-06-18",
        "2025-06-18\x00",
        "2025-06-18T00:00:00Z" * 1_000,
        "9" * 100_000,
        "\ud800",
        10**400,
        -(10**400),
        1e308,
        True,
        [],
        {},
        ["2025-06-18"],
    ],
    ids=lambda value: repr(value)[:30] if isinstance(value, str) else str(type(value)),
)
def test_strange_times(moment: Any) -> None:
    for phrase in ("today", "<= 1 months before now", "= 1 weeks after now", "before u", "between u and today"):
        assert outcome(f"t occurs {phrase}", {"t": moment, "u": "2025-06-18"}) in (True, False, PqlError)
        assert outcome(f"u occurs {phrase}", {"u": moment}) in (True, False, PqlError)
    for text in ("t.getMonth()", "t < u", "t = u", "[t, u].max()", "[t, u].topN(this, 2)"):
        outcome(text, {"t": moment, "u": "2025-06-18"})


PATTERNS = [
    "(a+)+$",
    "(a|a)*$",
    "(a|aa)+$",
    "(.*)*x",
    "(.*a){25}",
    "(a?){40}a{40}",
    "((a{1,100}){1,100}){1,100}",
    "a{0,100000}b",
    "(x+x+)+y",
    "([a-zA-Z]+)*$",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(?=a)a",
    "(a)\\\\1",
    "(?<!b)a",
    "(?P<n>a)",
    "\\\\x{110000}",
    "\\\\p{Nonsense}",
    "[z-a]",
    "*",
    "(((((((((((",
    "(" * 2_000 + ")" * 2_000,
    "\\\\u0000",
    "[[:alpha:]]+",
    "\\\\Qa.b\\\\E",
]


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern[:30])
def test_patterns(pattern: str) -> None:
    subject = {"s": "a" * 50_000 + "!", "p": json.loads(f'"{pattern}"')}
    for text in (
        f's.matches("{pattern}")',
        f's.regexGroup("{pattern}", 1)',
        f's.regexGroup("{pattern}", 999)',
        "s.matches(p)",
        "s.regexGroup(p, 0)",
    ):
        outcome(text, subject)


def test_catastrophic_patterns_still_give_the_answer() -> None:
    subject = {"s": "a" * 5_000 + "!"}
    assert outcome('s.matches("(a+)+$")', subject) is False
    assert outcome('s.matches("(a|aa)+!")', subject) is True


@pytest.mark.parametrize(
    "pattern", ["%a" * 20 + "%b", "%_" * 30 + "b", "%" * 200 + "b", "a%" * 40 + "c%d", "_%" * 2_000]
)
def test_like_does_not_backtrack_for_ever(pattern: str) -> None:
    assert outcome(f's like "{pattern}"', {"s": "a" * 3_000}) in (True, False)
    assert outcome("s like p", {"s": "a" * 3_000, "p": pattern}) in (True, False)


EVENTS = {"xEvent": [{"n": number, "list": [{"m": number}] * 3} for number in range(2_000)]}
JOINS = [
    "exists A from xEvent, B from xEvent, C from xEvent where A.n + B.n + C.n < 0",
    "forall A from xEvent, B from xEvent, C from xEvent where A.n + B.n + C.n >= 0",
    "exists A from xEvent where (exists B from xEvent where (exists C from xEvent where A.n + B.n + C.n < 0))",
    "xEvent[xEvent[xEvent[n < 0].count() > 0].count() > 0].count()",
    "xEvent[xEvent[xEvent[n = ^^n - ^n - 5000]]]",
    "$1.xEvent[^xEvent[^^xEvent[n = ^^n - ^n - 5000]]]",
    "xEvent.map(xEvent.map(xEvent.map(n))).count()",
    "xEvent.sum(xEvent.sum(xEvent.sum(n)))",
    "(select A from xEvent where (select B from xEvent where (select C from xEvent where C.n < B.n - A.n - 9999)))",
    "(sum (sum (sum C.n over C from xEvent) over B from xEvent) over A from xEvent)",
    "xEvent.groupBy(xEvent.groupBy(xEvent.count(n)).count()).count()",
    "xEvent.topN(xEvent.topN(xEvent.topN(n, 1).head().n, 1).head().n, 1).count()",
    "xEvent.exists(xEvent.exists(xEvent.exists(n < 0)))",
    "chain(xEvent, n, [A: WHAT(chain(xEvent, n, [B: WHAT(xEvent[n < 0])]))])",
    "xEvent[$1.xEvent.list.m.intersects(^xEvent.list.m.map(this - 99999))].count()",
    "xEvent.map($1.xEvent.list.m).distinct().count()",
    "let L = xEvent.list in xEvent[L.m.sum() < 0 and L.m.sum() < 1].count()",
    "xEvent[^xEvent.list.m.distinct().count() = 0].count()",
    "xEvent[n in ^xEvent.map(n - 99999)].count()",
]


@pytest.mark.parametrize("text", JOINS)
def test_joins_are_cut_off(text: str) -> None:
    outcome(text, EVENTS)


def test_a_cubic_join_says_that_it_visits_too_much() -> None:
    with pytest.raises(PqlError, match="elements"):
        parse(JOINS[0]).evaluate(EVENTS, now=NOW)


# Each of these took minutes, or gigabytes, when elements alone were counted.
WORK: dict[str, tuple[str, dict[str, Any]]] = {
    "a long condition": (f"a[^a[{' or '.join(['this=2'] * 9_000)}]].count()", {}),
    "many cases folded": ("a[^a[" + " or ".join(['^^s.contains("z", false)'] * 30) + "]].count()", {}),
    "many searches": ("a[^a[" + " or ".join([f'^^s.contains("{"a" * 25}b{"a" * 25}")'] * 30) + "]].count()", {}),
    "searches for fields": ("a[^a[" + " or ".join(["^^s.doesNotContain(^^t, false)"] * 30) + "]].count()", {}),
    "like": (f's like "%_{"a" * 4_000}b%" or s like "%{"a" * 4_000}_b%"', {"s": "a" * 800_000}),
    "like in a join": (f'a[^a[^^s like "%_{"a" * 500}b%"]].count()', {}),
    "like a field": ("a[^a[^^s like ^^p]].count()", {"p": "%_" + "a" * 500 + "b%"}),
    "large regular expressions": (
        " or ".join(f's.matches("(.?){{1000}}{number}")' for number in range(40)),
        {"s": "".join("ab"[number * number // 7 % 2] for number in range(10_000))},
    ),
    "regular expressions in a join": ('a[^a[^^s.matches("(.?){900}z")]].count()', {}),
    "many regular expressions": (
        "ps[^ps[^^s.matches(this)]].count()",
        {"ps": [f"(?:a|b){{300}}{number}" for number in range(999)]},
    ),
    "copies of groups": ('a.map(^a.map(^^s.regexGroup("(.*)", 1))).count()', {"s": "a" * 10_000}),
}


@pytest.mark.parametrize(("text", "given"), WORK.values(), ids=WORK)
def test_work_is_bounded_and_not_only_what_is_visited(text: str, given: dict[str, Any]) -> None:
    subject = {"a": [1] * 999, "s": "a" * 5_000, "t": "z" * 50, **given}
    with pytest.raises(PqlError, match="too much"):
        parse(text).evaluate(subject, now=NOW)


def test_who_evaluates_says_how_much_may_be_visited() -> None:
    query = parse("a[^a[this = 2]].count()")
    assert query.evaluate({"a": [1] * 99}, now=NOW, visits=10_000) == 0
    with pytest.raises(PqlError, match="too much"):
        query.evaluate({"a": [1] * 101}, now=NOW, visits=10_000)
    with pytest.raises(PqlError, match="too much"):
        parse("a[^a[this = 1]]").holds({"a": [1] * 101}, now=NOW, visits=10_000)


@pytest.mark.parametrize("pattern", ["(?:a?b?){500}z|" * 60, "(.?){1000}" * 9, "(?i)\\\\pL{900}"])
def test_a_regular_expression_that_is_too_large_is_refused_when_it_is_read(pattern: str) -> None:
    with pytest.raises(PqlError, match="too large"):
        parse(f's.matches("{pattern}")')


MANY = {"a": [{"k": number} for number in range(20_000)], "b": [{"k": -number} for number in range(1, 20_001)]}


@pytest.mark.parametrize(
    "text",
    [
        "a.distinct().count()",
        "a.intersection(b).count()",
        "a.intersects(b)",
        "a.subsetOf(a)",
        "a.supersetOf(b)",
        "a.groupBy(this).count()",
        "a[this in ^b].count()",
        "a[^b.includes(this)].count()",
        "a[^b = ^a].count()",
        "a.map(^a).distinct().count()",
        "a.map({x: ^a}).distinct().count()",
    ],
)
def test_lists_of_objects_are_compared_in_bounded_time(text: str) -> None:
    outcome(text, MANY)


def doubled(levels: int, name: str) -> str:
    """Bind a small text to a value that is two to the power of ``levels`` when written out."""
    return f"let {name}0 = [1] in " + "".join(
        f"let {name}{level + 1} = [{name}{level}, {name}{level}] in " for level in range(levels)
    )


@pytest.mark.parametrize(
    "last",
    [
        "p40 = q40",
        "p40 != q40",
        "p40 in [q40]",
        "[p40, q40].distinct().count()",
        "[p40].intersects([q40])",
        "[p40].subsetOf([q40])",
        "p40.x.y.z",
        "p40.exists(this = 2)",
        "[p40, q40].groupBy(this).count()",
    ],
)
def test_values_that_contain_themselves_twice(last: str) -> None:
    outcome(doubled(40, "p") + doubled(40, "q") + last)


def test_a_result_cannot_be_far_larger_than_what_was_visited() -> None:
    found = outcome(doubled(30, "p") + "p30")
    assert found is PqlError or len(json.dumps(found)) < 10_000_000


def deep_value(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [{"a": value}]
    return value


@pytest.mark.parametrize(
    "text",
    [
        "a.a.a.a",
        "a",
        "a = b",
        "a != b",
        "a in [b]",
        "[a, b].distinct().count()",
        "[a].intersection([b])",
        "[a].subsetOf([b])",
        "a.exists(a = 1)",
        "a.groupBy(a).count()",
        "[[[a]]].x",
        "a.sum()",
        "a.isNull()",
    ],
)
def test_deep_inputs(text: str) -> None:
    outcome(text, {"a": deep_value(50_000), "b": deep_value(50_000)})


STRANGE_TEXTS = [
    "a\x00b",
    "\x00",
    '"\x00"',
    '"a\x00b" = "a"',
    '"\ud800"',
    "\ud800",
    "a.\udfff",
    '"\\ud800"',
    '"\\ud800".contains("\\udfff", false)',
    '"\\ud800".matches("\\ud800")',
    '"a".matches("\\u0000")',
    '"\\ud800" like "_"',
    '{"\\ud800": 1}',
    '{a: 1, "a": 2}',
    '"\\u12"',
    '"\\uzzzz"',
    '"\\x41"',
    '"\\',
    '"a',
    'a = "b',
    '"line\nbreak"',
    "\ufeff1",
    "1\u2028+ 1",
    "1\u00a0+ 1",
    "\uff11 + \uff12",
    "٣ = 3",
    "a \uff1d b",
    "“a”",
    "ﬁ = 1",
    "é.à",
    "😀",
    "a\u0301",
    "\u202ea",
    "/* a */ 1",
    "-- a",
    "// a",
    "__import__",
    "__class__.__base__",
    "a.__class__",
    "print(1)",
    "eval(1)",
    "a.__init__()",
    "let f = (x) => f(x) in f(1)",
    "let f = f in f",
    "let x = x + 1 in x",
    "(f) => f(f)",
    "((x) => x(x))((x) => x(x))",
    "a.map((x) => x.map((y) => y.map(x)))",
    "a.map((x, x) => x)",
    "(x, x) => x",
    "this",
    "this.this",
    "^",
    "^^^a",
    "^^^^^^.a",
    "xEvent.xEvent",
    "mapEntry(1, 2)",
    "a.groupBy(b)",
    "a.groupBy(b).groupBy(c)",
    "a.groupBy(b).map(c).map(d)",
    "a.groupBy(b).map((K, G) => mapEntry(G, K))",
    "a.map(mapEntry(1, 2))",
    "(select X from a) and true",
    "now",
    "today = yesterday",
    "between",
    "occurs occurs occurs",
    "in in in",
    "from from from",
    "if",
    "if()",
    "date",
    "date()",
    "date(a, b, c)",
]
# Words that mean something to Python and nothing here.
PYTHON = ["None", "True", "False", "__debug__", "def", "class", "lambda", "yield", "import", "print", "self", "_", "__"]


@pytest.mark.parametrize("text", STRANGE_TEXTS, ids=ascii)
def test_strange_texts(text: str) -> None:
    outcome(text, {"a": [{"b": 1, "a": [1, 2]}, {"b": "x"}]})


@pytest.mark.parametrize("word", PYTHON)
def test_words_of_python_are_names_like_others(word: str) -> None:
    assert outcome(f"{word} + 1", {word: 1}) == 2
    assert outcome(f"let {word} = 1 in {word} + a.{word}", {"a": {word: 2}}) == 3
    assert outcome(f"a.map(({word}) => {word} + 1)", {"a": [1]}) == [2]
    assert outcome(f"exists {word} from a where {word} = 1", {"a": [1]}) is True
    assert outcome(f"({word}) => {word}.x", {"x": 5}) == 5


_TOKENS = (
    'a b xEvent x . . , ( ) [ ] { } ^ = != < <= > >= + - * / % => : $1 $2 1 2.5 "s" "%a_" true false this let in notIn '
    "like occurs before after from on between and or not ! exists forall select where over sum count average min max "
    "now today yesterday this last next day days week months 3 0 if( date( chain( WHAT( WHEN( COUNT( .filter( .map( "
    ".sum( .count() .head() .groupBy( .topN( .matches( .isNull() .get( mapEntry( inSegment("
)
TOKENS = st.sampled_from(_TOKENS.split())


@given(st.text(max_size=200))
@example("\x00")
@example("\ud800")
@RANDOM
def test_random_text(text: str) -> None:
    outcome(text)


@given(st.lists(TOKENS, max_size=25).map(" ".join))
@RANDOM
def test_random_tokens(text: str) -> None:
    outcome(text, {"a": [{"b": 1}], "x": "2025-06-18", "xEvent": [{"x": 1}]}, {"a": None})


@given(st.text(alphabet='ab"\\.[]()^ 0', max_size=60))
@RANDOM
def test_random_characters_of_the_grammar(text: str) -> None:
    outcome(text, {"a": [{"b": 1}]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_WORDS = (
    "fnApply fieldLookup parameterReference literal varRef lambda chain = in get exists and not occurs if count "
    "filter map groupBy String List XDMObject Integer Double Boolean"
)
WORDS = st.sampled_from(_WORDS.split())
NODES = st.recursive(
    JSON | WORDS,
    lambda inner: st.fixed_dictionaries(
        {"nodeType": WORDS},
        optional={
            "fnName": WORDS | inner,
            "params": st.lists(inner, max_size=3) | inner,
            "fieldName": st.text(max_size=3) | inner,
            "object": inner,
            "position": st.integers() | inner,
            "literalType": WORDS | inner,
            "value": inner,
            "varName": st.text(max_size=3) | inner,
            "varNames": st.lists(st.text(max_size=3), max_size=2) | inner,
            "body": inner,
            "array": inner,
            "timestampField": inner,
            "elements": st.lists(inner, max_size=2) | inner,
            "what": inner,
        },
    ),
    max_leaves=12,
)


def json_outcome(text: str) -> Any:
    try:
        query = parse_json(text)
        query.text  # noqa: B018 - a tree that was read can be written
        return query.evaluate({"a": 1}, now=NOW)
    except PqlError:
        return PqlError


@given(NODES)
@RANDOM
def test_random_trees(tree: Any) -> None:
    json_outcome(json.dumps(tree))


@given(
    JSON, JSON, st.sampled_from(["a", "a.b", "a + b", "a = b", "a < b", "a in b", "a[b]", "a.b.count()", "a occurs b"])
)
@RANDOM
def test_random_inputs(a: Any, b: Any, text: str) -> None:
    outcome(text, {"a": a, "b": b})
    outcome(text, [a, b])
    outcome(text, a)


LOOKUP = '{"nodeType":"fieldLookup","fieldName":"a","object":'
APPLY = '{"nodeType":"fnApply","fnName":"not","params":['


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "1",
        "[]",
        "{}",
        "{",
        '"a"',
        "NaN",
        "\x00",
        "\ud800",
        "[" * 100_000,
        '{"a":' * 100_000,
        nested(LOOKUP, 20_000, '{"nodeType":"parameterReference","position":1}', "}"),
        nested(APPLY, 20_000, '{"nodeType":"literal","literalType":"Boolean","value":true}', "]}"),
        '{"nodeType":"literal","literalType":"Integer","value":' + "9" * 5_000 + "}",
        '{"nodeType":"literal","literalType":"Double","value":1e999}',
        '{"nodeType":"literal","literalType":"Double","value":NaN}',
        '{"nodeType":"literal","literalType":"String","value":' + '"a' * 3 + "}",
        '{"nodeType":"literal","literalType":"String","value":1}',
        '{"nodeType":"literal","literalType":"Nonsense","value":1}',
        '{"nodeType":"parameterReference","position":0}',
        '{"nodeType":"parameterReference","position":-1}',
        '{"nodeType":"parameterReference","position":true}',
        '{"nodeType":"parameterReference","position":1e300}',
        '{"nodeType":"varRef","varName":"nowhere"}',
        '{"nodeType":"varRef","varName":"not a name"}',
        '{"nodeType":"fnApply","fnName":"__import__","params":[]}',
        '{"nodeType":"fnApply","fnName":"=","params":[]}',
        '{"nodeType":"fnApply","fnName":"=","params":{}}',
        '{"nodeType":"nonsense"}',
        '{"nodeType":["fnApply"]}',
        '{"nodeType":"lambda","varNames":[],"body":{"nodeType":"parameterReference","position":1}}',
    ],
    ids=lambda text: ascii(text)[:50],
)
def test_strange_json(text: str) -> None:
    json_outcome(text)
