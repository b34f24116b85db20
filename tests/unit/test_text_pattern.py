"""Patterns that callers send mean what they mean to Python, and take no longer for being nasty."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.errors import InvalidRequestError
from tessera.domain.text_pattern import TextPattern

ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\.", "c", "-"])
PATTERNS = st.builds(
    lambda start, atoms, end: start + "".join(atom + quantifier for atom, quantifier in atoms) + end,
    st.sampled_from(["", "^"]),
    st.lists(st.tuples(ATOMS, st.sampled_from(["", "*", "+", "?"])), max_size=5),
    st.sampled_from(["", "$"]),
)


@given(PATTERNS, st.text("abc.-1\n", max_size=12))
def test_patterns_find_what_python_finds(pattern: str, text: str) -> None:
    # Python's "$" also matches before a line break at the end; ours is the end.
    expected = re.search(pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern, text, re.DOTALL)
    assert TextPattern(pattern).found_in(text) is (expected is not None)


@pytest.mark.parametrize(
    "pattern", ["(a)", "a|b", "a{3}", "[", "]", "a**", "*a", r"\1", r"\b", "a^b", "a$b", "a" * 65, "[z-a]"]
)
def test_what_is_not_supported_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidRequestError):
        TextPattern(pattern)


def test_escaped_characters_stand_for_themselves() -> None:
    assert TextPattern(r"^\^a\$$").found_in("^a$")
    assert TextPattern(r"\\$").found_in("a\\")
    assert not TextPattern(r"a\$").found_in("a")


def test_nasty_patterns_are_quick() -> None:
    began = time.process_time()
    TextPattern("a*" * 31 + "b").found_in("a" * 100_000)
    assert time.process_time() - began < 1
