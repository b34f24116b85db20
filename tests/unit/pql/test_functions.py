"""Functions and operators: what the contract leaves open, and how data of the wrong kind is met."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.pql import PqlError, parse

PROFILE: dict[str, Any] = {
    "one": 1,
    "yes": True,
    "text": "Straße",
    "big": 2**62,
    "words": ["b", None, "a", "b", None],
    "mixed": [1, True, "1", 1.0, [1], [1.0], {"a": 1}, {"a": 1.0}],
    "nested": [[{"v": 1}, {"v": 2}], [{"v": 3}], None, {"v": 4}],
    "times": ["2025-01-01T00:00:00Z", "2024-12-31T23:30:00-02:00", "2025-01-01T00:30:00Z"],
    "names": ["2025-01-01", "b", "a"],
    "rows": [
        {"id": 1, "g": "x", "n": 2, "tags": ["p", "q"]},
        {"id": 2, "g": "y", "n": None, "tags": []},
        {"id": 3, "g": "x", "n": 2.5, "tags": None},
        {"id": 4, "n": -1},
        {"id": 5, "g": True, "n": 2},
        {"id": 6, "g": 1},
    ],
}
VALUES = [
    # Numbers stay whole while 64 bits hold them.
    ("big + big - 1", float(2**63)),
    ("big * 2", float(2**63)),
    ("-big - big + 1", -(2**63) + 1),
    ("[0.1, 0.2, 0.3, -0.6].sum()", 2.7755575615628914e-17),
    ("[10000000000000000.0, 1, -10000000000000000.0].sum()", 1),
    ("[1, 2].average()", 1.5),
    ("rows.sum(n)", 5.5),
    ("rows.sum(n).isNull()", False),
    ("-one", -1),
    ("1 - -1", 2),
    # An element that gives an array contributes its elements.
    ("nested.sum(v)", 10),
    ("nested.max(v)", 4),
    ("nested.count(v)", 3),
    ("rows.count(tags)", 2),
    ("rows.average(n)", 5.5 / 4),
    # Equal elements are one, whatever their place; 1 and true are two.
    ("mixed.distinct().count()", 5),
    ("mixed.includes(true)", True),
    ('mixed.includes("1")', True),
    ("[true].subsetOf([1])", False),
    ("[[1]].subsetOf([[1.0]])", True),
    ("words.distinct()", ["b", None, "a"]),
    ('words.intersection(["a", "b"])', ["b", "a"]),
    ("[1, 2, 3].intersection([])", []),
    # Groups: by kind and value of the key, none for null.
    ("rows.groupBy(g).map(this.count())", [2, 1, 1, 1]),
    ("rows.groupBy(g)[this.count() > 1].map((K, G) => mapEntry(K, G.id))", {"x": [1, 3]}),
    ("rows.groupBy(g).map((K, G) => K)", ["x", "y", True, 1]),
    ("rows.groupBy(missing)", []),
    ("missing.groupBy(g).count()", 0),
    ("missing.groupBy(g).map((K, G) => mapEntry(K, 1))", None),
    ("rows.topN(n, 2).id", [3, 1]),
    ("rows.bottomN(n, 2).id", [4, 1]),
    ("rows.topN(n, one).id", [3]),
    ("rows.topN(n, missing)", None),
    ("times.max()", "2024-12-31T23:30:00-02:00"),
    ("times.topN(this, 3).head()", "2024-12-31T23:30:00-02:00"),
    ("names.max()", "b"),
    ('"2025-01-01T02:00:00+02:00" <= "2025-01-01"', True),
    ('"2025-1-1" < "2025-01-01"', False),
    ('"b" > "2025-01-01"', True),
    # A path through arrays of arrays goes on to the objects.
    ("nested.v", [1, 2, 3, 4]),
    ("nested.exists(v = 3)", True),
    ("nested.exists(this.isNull())", True),
    ("rows.tags", ["p", "q"]),
    ("rows.tags.count()", 2),
    # Strings.
    ('text.equals("STRASSE", false)', True),
    ('text.contains("SS", false)', True),
    ('text.contains("ss", yes)', False),
    ('text.contains("ss", missing)', True),
    ('text like "%a_e"', True),
    ('text like "_t%"', True),
    ('text like "%t%r%"', True),
    ('text like "%"', True),
    ('text like "Stra%aße"', False),
    ("text like text", True),
    ('"aXbXc" like "a%Xc"', True),
    ('"aXb" like "aX%Xb"', False),
    ('"line\nend".matches("^end")', False),
    ('"AbC".regexGroup("(?i)(b)(c)", 2)', "C"),
    ('"Ab".regexGroup("(x)?A", 1)', None),
    # Maps and conditions.
    ('{"a": 1, "b": [2]}.b', [2]),
    ('{"a": 1}.keys()', ["a"]),
    ('{"a": {"k": 1}}.values().k', [1]),
    ("if(words, 1, 2)", 1),
    ("if(yes and rows[id > 9], 1, 2)", 2),
    ("if(yes, rows.count(), words.sum())", 6),
    ("yes or one", True),
    ("(select r from rows where r.n > 2).id", [3]),
    ('(select r from rows, t from r.tags where t = "q").id', [1]),
    ("exists r from rows where r.g = 1, t from rows where t.g = true and t.id < r.id", True),
    ('forall r from rows where r.id > 0, t from r.tags where t != "z"', True),
    ('(max r.n * 2 over r from rows where r.g = "x")', 5.0),
    ("(count r.n over r from rows)", 4),
    ("date(2024, 2, one)", "2024-02-01"),
    ("date(2024, 2, missing)", None),
    ("date(2024, 2, 29).getDayOfMonth()", 29),
    ('inSegment("x")', False),
]


def same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) is isinstance(other, bool)


@pytest.mark.parametrize(("text", "expected"), VALUES, ids=[row[0] for row in VALUES])
def test_value(text: str, expected: Any) -> None:
    found = parse(text).evaluate(PROFILE, now=0)
    assert same(found, expected), found


WRONG = [
    "text + 1",
    "one - text",
    "yes * 1",
    "rows.sum(g)",
    "rows.max(g)",
    "mixed.min()",
    "text < one",
    "yes > true",
    "rows < rows",
    "text in text",
    "one like text",
    "text.count()",
    "one.head()",
    "rows.get(text)",
    "text.keys()",
    "rows.filter(id)",
    "not text",
    "one and yes",
    "if(one, 1, 2)",
    "exists r from one",
    "text.getMonth()",
    "one.startsWith(text)",
    "text.contains(text, text)",
    "rows.topN(id, text)",
    "rows.topN(id, one / 2)",
    "rows.map((K, G) => K)",
    "rows.groupBy(g).map((K, G) => mapEntry(K, 1))",
    "text.matches(one)",
    'text.regexGroup("(a)", big)',
    "date(2025, one / 2, 1)",
    "date(2025, one + 12, 1)",
    "yes occurs today",
]


@pytest.mark.parametrize("text", WRONG)
def test_a_value_of_a_wrong_type_is_an_error(text: str) -> None:
    with pytest.raises(PqlError):
        parse(text).evaluate(PROFILE, now=0)


@pytest.mark.parametrize(
    "text",
    [
        "missing + text",
        "missing < rows",
        "missing in text",
        "one in missing",
        "missing like one",
        "missing.contains(one)",
        "text.contains(missing, one)",
        "missing.get(one)",
        "missing.intersects(one)",
        "missing.regexGroup(missing)",
    ],
)
def test_null_comes_before_a_wrong_type(text: str) -> None:
    assert parse(text).evaluate(PROFILE, now=0) in (None, False)


@pytest.mark.parametrize(
    ("status", "expected"), [("realized", True), ("existing", True), ("exited", False), (None, False), (5, False)]
)
@pytest.mark.parametrize("namespace", ["ups", "other"])
def test_membership_of_segments(namespace: str, status: Any, expected: bool) -> None:
    profile = {"segmentMembership": {"none": None, namespace: {"s": {"status": status}}}}
    assert parse('inSegment("s")').evaluate(profile, now=0) is expected


def test_what_need_not_be_evaluated_is_not() -> None:
    for text in (
        "false and one + text = 1",
        "true or text > one",
        "if(true, 1, one + text)",
        "if(false, text.sum(), 1)",
    ):
        assert parse(text).evaluate(PROFILE, now=0) in (False, True, 1)


@given(st.lists(st.integers(-(2**40), 2**40) | st.floats(-1e15, 1e15) | st.none()))
def test_sums_do_not_depend_on_the_order(numbers: list[Any]) -> None:
    total = parse("n.sum()")
    forwards = total.evaluate({"n": numbers}, now=0)
    assert forwards == total.evaluate({"n": numbers[::-1]}, now=0)
    assert math.isclose(forwards, math.fsum(number for number in numbers if number is not None), abs_tol=1e-9)


@given(st.text(alphabet="ab%_", max_size=8), st.text(alphabet="ab", max_size=12))
def test_like_is_the_same_from_a_literal_and_from_data(pattern: str, text: str) -> None:
    def matches(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "%":
            return any(matches(pattern[1:], text[start:]) for start in range(len(text) + 1))
        return bool(text) and pattern[0] in ("_", text[0]) and matches(pattern[1:], text[1:])

    expected = matches(pattern, text)
    assert parse(f't like "{pattern}"').evaluate({"t": text}, now=0) is expected
    assert parse("t like p").evaluate({"t": text, "p": pattern}, now=0) is expected


def test_inputs_are_not_changed() -> None:
    before = repr(PROFILE)
    for text, _ in VALUES:
        parse(text).evaluate(PROFILE, now=0)
    assert repr(PROFILE) == before
