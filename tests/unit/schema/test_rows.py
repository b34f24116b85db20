"""Rows judged by a schema: conversion, constraints, identities (contract: data-and-pql §4.3, §4.5)."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.configuration import DatasetKind
from tessera.domain.identity import Identity
from tessera.domain.rows import BAD_VALUE, MISSING, WRONG_TYPE, RowError, accept
from tessera.domain.schema.compiled import MAX_VIOLATIONS, CompiledSchema, for_rows
from tessera.domain.schema.composition import compose
from tessera.domain.schema.identity_field import IdentityField

NOTHING: dict[str, Any] = {}


def schema(
    *identities: IdentityField, required: tuple[str, ...] = (), partial: bool = False, **fields: Any
) -> CompiledSchema:
    tree = compose({"properties": fields, "required": list(required)}, NOTHING.get)
    return CompiledSchema(for_rows(tree), identities, partial=partial)


def converted(value: Any, **field: Any) -> Any:
    return schema(f=field).conform({"f": value})["f"]


def refusal(row: dict[str, Any], judge: CompiledSchema) -> RowError:
    with pytest.raises(RowError) as caught:
        judge.conform(row)
    return caught.value


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("string", "x", "x"),
        ("string", 7, "7"),
        ("string", 7.5, "7.5"),
        ("string", 1e21, "1e+21"),
        ("byte", "-128", -128),
        ("short", "+7", 7),
        ("int", "7.0", 7),
        ("long", "9007199254740992", 2**53),
        ("long", 7.0, 7),
        ("double", "7", 7),
        ("double", "-0.5e3", -500.0),
        ("double", 7, 7),
        ("double", "9" * 30, 1e30),
        ("date", "2026-03-04", "2026-03-04"),
        ("date", 1_772_614_527_000, "2026-03-04"),
        ("date-time", 1_772_614_527_123, "2026-03-04T08:55:27.123Z"),
        ("date-time", "2026-03-04T08:55:27Z", "2026-03-04T08:55:27Z"),
        ("date-time", "2026-03-04T08:55:27.123456789+01:00", "2026-03-04T08:55:27.123456789+01:00"),
        ("date-time", "2026-03-04T08:55:27+02", "2026-03-04T06:55:27.000Z"),
        ("date-time", "2026-03-04T08:55:27", "2026-03-04T08:55:27.000Z"),
        ("date-time", "2026-03-04 08:55+0100", "2026-03-04T07:55:00.000Z"),
        ("boolean", False, False),
    ],
)
def test_conversions(kind: str, value: Any, expected: Any) -> None:
    result = converted(value, **{"meta:xdmType": kind})
    assert (result, type(result)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", True),
        ("string", ["x"]),
        ("string", {"a": "x"}),
        ("byte", 128),
        ("byte", "128"),
        ("short", -32769),
        ("int", 2**31),
        ("long", 2**53 + 1),
        ("long", "9007199254740993"),
        ("long", 7.5),
        ("long", "7.5"),
        ("long", "٣"),
        ("long", ""),
        ("long", " 7"),
        ("long", "1_000"),
        ("long", "9" * 5000),
        ("double", "nan"),
        ("double", "Infinity"),
        ("double", "1e999"),
        ("double", "0x10"),
        ("date", "2026-02-30"),
        ("date", "2026-03-04T08:55:27Z"),
        ("date", 1.5),
        ("date", 10**18),
        ("date-time", "2026-03-04"),
        ("date-time", "2026-W10-3T08:55:27Z"),
        ("date-time", "now"),
        ("date-time", True),
        ("boolean", "true"),
        ("boolean", 1),
        ("object", "x"),
        ("object", []),
        ("map", [["a", "b"]]),
    ],
)
def test_what_is_not_converted_is_refused(kind: str, value: Any) -> None:
    judge = schema(f={"meta:xdmType": kind})
    assert refusal({"f": value}, judge).code in {WRONG_TYPE, BAD_VALUE}


def test_conversion_reaches_everywhere() -> None:
    judge = schema(
        a={"items": {"properties": {"n": {"type": "integer"}}}},
        m={"type": "object", "additionalProperties": {"type": "number"}},
        o={"properties": {"p": {"items": {"items": {"type": "string"}}}}},
    )
    row = {"a": [{"n": "1"}, {"n": 2, "other": "3"}], "m": {"x": "1.5"}, "o": {"p": [[1], [2.5, "c"]]}, "unknown": "4"}
    assert judge.conform(row) == {
        "a": [{"n": 1}, {"n": 2, "other": "3"}],
        "m": {"x": 1.5},
        "o": {"p": [["1"], ["2.5", "c"]]},
        "unknown": "4",
    }


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ({"type": "string", "enum": ["a", "b"]}, "a", "c"),
        ({"type": "string", "const": "a"}, "a", "b"),
        ({"type": "string", "pattern": "^[a-z]+$"}, "abc", "ABC"),
        ({"type": "string", "minLength": 2, "maxLength": 3}, "é🙂", "abcd"),
        ({"type": "string", "format": "email"}, "a@example.com", "a"),
        ({"type": "string", "format": "uri"}, "https://example.com/x", "no uri"),
        ({"type": "string", "format": "ipv4"}, "10.0.0.1", "10.0.0.256"),
        ({"type": "string", "format": "uuid"}, "2eb8aa08-aa98-11ea-b4aa-73b441d16380", "2eb8"),
        ({"type": "string", "format": "of-ones-own"}, "anything", None),
        ({"type": "integer", "minimum": 1, "maximum": 5}, 5, 6),
        ({"type": "number", "exclusiveMinimum": 0}, 0.1, 0),
        ({"type": "number", "multipleOf": 0.5}, 1.5, 1.3),
        ({"items": {"type": "string"}, "minItems": 1, "maxItems": 2}, ["a"], []),
        ({"items": {"type": "string"}, "uniqueItems": True}, ["a", "b"], ["a", "a"]),
        (
            {"type": "object", "additionalProperties": False, "properties": {"a": {"type": "string"}}},
            {"a": "x"},
            {"b": 1},
        ),
    ],
)
def test_constraints(field: dict[str, Any], good: Any, bad: Any) -> None:
    judge = schema(f=field)
    assert judge.conform({"f": good}) == {"f": good}
    if bad is not None:
        assert refusal({"f": bad}, judge).code == BAD_VALUE


def test_a_refusal_names_the_rules_and_not_the_values() -> None:
    judge = schema(
        required=("k",),
        o={"properties": {"n": {"type": "integer"}}, "required": ["m"]},
        s={"enum": ["a"], "type": "string"},
    )
    error = refusal({"o": {"n": "secret-one"}, "s": "secret-two"}, judge)
    assert error.code == MISSING
    assert {(one.keyword, one.pointer, one.schema_location) for one in error.violations} == {
        ("required", "/k", "#/required"),
        ("required", "/o/m", "#/properties/o/required"),
        ("type", "/o/n", "#/properties/o/properties/n/type"),
        ("enum", "/s", "#/properties/s/enum"),
    }
    assert "secret" not in str(error)
    numbers: dict[str, Any] = {f"f{n}": {"type": "integer"} for n in range(20)}
    many = schema(**numbers)
    assert len(refusal({f"f{n}": "x" for n in range(20)}, many).violations) == MAX_VIOLATIONS


def test_partial_rows_need_nothing_but_are_judged_by_the_rest() -> None:
    judge = schema(
        required=("a",),
        partial=True,
        a={"type": "string"},
        o={"items": {"properties": {"n": {"type": "integer"}}, "required": ["n"]}},
    )
    assert judge.conform({"o": [{}]}) == {"o": [{}]}
    assert refusal({"o": [{"n": "x"}]}, judge).code == WRONG_TYPE


def test_a_pattern_takes_time_linear_in_the_text() -> None:
    judge = schema(f={"type": "string", "pattern": "^(a+)+$"}, g={"type": "string", "pattern": "(x|x)*y"})
    started = time.process_time()
    refusal({"f": "a" * 100_000 + "!", "g": "x" * 100_000}, judge)
    assert time.process_time() - started < 5


EMAIL = IdentityField(("_acme", "email"), "Email", True)
CRM = IdentityField(("_acme", "crm"), "crmId", False)
FIELDS: dict[str, Any] = {"_acme": {"properties": {"email": {"type": "string"}, "crm": {"type": "string"}}}}


def accepted(body: dict[str, Any], *identities: IdentityField) -> Any:
    return accept(body, DatasetKind.RECORD, 10, schema=schema(*identities, **FIELDS))


def test_identities_of_fields_are_part_of_the_identity_map() -> None:
    row = accepted({"_acme": {"email": "Maya@example.com", "crm": 7}}, EMAIL, CRM)
    assert row.body["identityMap"] == {"Email": [{"id": "Maya@example.com", "primary": True}], "crmId": [{"id": "7"}]}
    assert (row.primary, row.linked) == (Identity("email", "maya@example.com"), (Identity("crmid", "7"),))
    assert row.namespaces == {"Email", "crmId"}


def test_identities_of_fields_and_of_the_map_come_together() -> None:
    given_map = {
        "EMAIL": [{"id": "maya@example.com", "authenticatedState": "ambiguous"}],
        "ecid": [{"id": "1" * 38, "primary": True}],
    }
    body = {"_acme": {"email": "MAYA@example.com"}, "identityMap": given_map}
    row = accepted(body, EMAIL)
    assert row.body["identityMap"] == {
        "EMAIL": [{"id": "maya@example.com", "authenticatedState": "ambiguous", "primary": True}],
        "ecid": [{"id": "1" * 38}],
    }
    assert row.primary == Identity("email", "maya@example.com")
    assert body["identityMap"] == given_map


def test_a_sole_identity_of_a_field_is_primary() -> None:
    assert accepted({"_acme": {"crm": "7"}}, CRM).primary == Identity("crmid", "7")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, MISSING),
        ({"_acme": {"crm": "7"}}, MISSING),
        ({"_acme": {"email": None}}, MISSING),
        ({"_acme": {"email": ""}}, MISSING),
        ({"_acme": "x"}, WRONG_TYPE),
        ({"_acme": {"email": "a@b.c"}, "identityMap": []}, WRONG_TYPE),
        ({"_acme": {"email": "a@b.c"}, "identityMap": {"x": "y"}}, WRONG_TYPE),
        ({"_acme": {"email": "a@b.c"}, "identityMap": {"x": [7]}}, MISSING),
        ({"_acme": {"email": "a@b.c"}, "identityMap": {"x": [{}]}}, MISSING),
        ({"_acme": {"email": "unknown"}}, "INGEST-1520-400"),
    ],
)
def test_rows_without_a_usable_primary_identity(body: dict[str, Any], code: str) -> None:
    with pytest.raises(RowError) as caught:
        accepted(body, EMAIL)
    assert caught.value.code == code


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), inner, max_size=4)
    ),
    max_leaves=12,
)
_EVERYTHING = CompiledSchema(
    for_rows(
        compose(
            {
                "properties": {
                    "a": {"items": {"meta:xdmType": "date-time"}},
                    "b": {"meta:xdmType": "int"},
                    "c": {"properties": {"a": {"type": "number"}, "b": {"type": "string"}}, "required": ["b"]},
                    "d": {"type": "object", "additionalProperties": {"meta:xdmType": "date"}},
                }
            },
            NOTHING.get,
        )
    ),
    (),
)


@given(row=st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e"]), _VALUES, max_size=5))
def test_what_was_accepted_is_accepted_as_it_is(row: dict[str, Any]) -> None:
    """Judging is idempotent: a converted row is right, and conversion leaves it alone."""
    try:
        once = _EVERYTHING.conform(orjson.loads(orjson.dumps(row)))
    except RowError as error:
        assert error.violations
        return
    assert _EVERYTHING.conform(orjson.loads(orjson.dumps(once))) == once
