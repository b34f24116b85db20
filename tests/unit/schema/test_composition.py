"""What schemas are composed of, and how they may change."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.schema.compiled import CompiledSchema, for_rows
from tessera.domain.schema.composition import MAX_DEPTH, compose, merged, references
from tessera.domain.schema.errors import IncompatibleTypesError, SchemaError
from tessera.domain.schema.evolution import expect_additive
from tessera.domain.schema.library import LIBRARY
from tessera.domain.schema.resource import Kind, alt_id, class_of, id_of, kind_of

NOTHING: dict[str, Any] = {}


def composed(*properties: dict[str, Any], **resources: Any) -> dict[str, Any]:
    return compose({"allOf": [{"properties": one} for one in properties]}, resources.get)


@pytest.mark.parametrize(
    ("field", "xdm"),
    [
        ({"type": "string"}, "string"),
        ({"type": "string", "format": "date"}, "date"),
        ({"type": "string", "format": "date-time"}, "date-time"),
        ({"type": "integer"}, "long"),
        ({"type": "integer", "minimum": -128, "maximum": 127}, "byte"),
        ({"type": "integer", "minimum": 1, "maximum": 32767}, "short"),
        ({"type": "integer", "minimum": -2147483648, "maximum": 2147483648}, "int"),
        ({"type": "number"}, "double"),
        ({"type": "boolean"}, "boolean"),
        ({"properties": {"a": {"type": "string"}}}, "object"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "map"),
        ({"items": {"type": "string"}}, "array"),
        ({"meta:xdmType": "short"}, "short"),
        ({"meta:xdmType": "date-time"}, "date-time"),
        ({"type": "integer", "meta:xdmType": "int"}, "int"),
    ],
)
def test_every_field_has_both_types(field: dict[str, Any], xdm: str) -> None:
    assert composed({"f": field})["properties"]["f"]["meta:xdmType"] == xdm


@pytest.mark.parametrize(
    "field",
    [
        {},
        {"type": "text"},
        {"type": ["string", "null"]},
        {"type": 7},
        {"type": "string", "meta:xdmType": "long"},
        7,
        [],
    ],
)
def test_fields_without_a_type_are_refused(field: Any) -> None:
    with pytest.raises(SchemaError, match="/f: "):
        composed({"f": field})


def test_references_lead_to_resources_and_into_them() -> None:
    resources: dict[str, Any] = {
        "a": {
            "$id": "a",
            "definitions": {"x": {"properties": {"n": {"$ref": "b", "title": "N"}}}},
            "$ref": "#/definitions/x",
        },
        "b": {"$id": "b", "type": "string", "title": "B", "description": "of b"},
    }
    tree = compose({"allOf": [{"$ref": "a"}]}, resources.get)
    assert tree["properties"]["n"] == {"type": "string", "meta:xdmType": "string", "title": "N", "description": "of b"}
    assert references({"allOf": [{"$ref": "a"}]}, resources.get) == ["a", "b"]
    for reference in ("c", "a#/definitions/y", "a#/definitions/x/properties/n/title/z", 7, "#/x"):
        with pytest.raises(SchemaError):
            compose({"allOf": [{"$ref": reference}]}, resources.get)


def test_parts_with_the_same_object_are_merged_and_with_other_types_refused() -> None:
    tree = composed(
        {"_acme": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}},
        {"_acme": {"type": "object", "properties": {"b": {"type": "number"}}, "required": ["b", "a"]}},
    )
    assert set(tree["properties"]["_acme"]["properties"]) == {"a", "b"}
    assert tree["properties"]["_acme"]["required"] == ["a", "b"]
    with pytest.raises(IncompatibleTypesError, match=r"/f .* string, integer"):
        composed({"f": {"type": "string"}}, {"f": {"type": "integer"}})
    with pytest.raises(SchemaError, match=r"/f .* different enum"):
        composed({"f": {"type": "string", "enum": ["a"]}}, {"f": {"type": "string", "enum": ["b"]}})


def test_a_view_of_several_schemas_has_no_constraint_that_not_all_have() -> None:
    one = composed({"f": {"type": "string", "enum": ["a"], "maxLength": 9}, "g": {"type": "string", "pattern": "a"}})
    other = composed({"f": {"type": "string", "enum": ["b"], "maxLength": 9}, "g": {"type": "string"}})
    for tree in (merged(one, other, lenient=True), merged(other, one, lenient=True)):
        assert tree["properties"]["f"] == {"type": "string", "meta:xdmType": "string", "maxLength": 9}
        assert tree["properties"]["g"] == {"type": "string", "meta:xdmType": "string"}


def test_what_is_endless_deep_or_huge_is_refused_at_once() -> None:
    started = time.process_time()
    twice = {f"b{n}": {"$id": f"b{n}", "allOf": [{"$ref": f"b{n + 1}"}, {"$ref": f"b{n + 1}"}]} for n in range(50)}
    wide: dict[str, Any] = {
        f"w{n}": {"$id": f"w{n}", "properties": {name: {"$ref": f"w{n + 1}"} for name in "abcdefghij"}}
        for n in range(9)
    } | {"w9": {"$id": "w9", "type": "string"}}
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(MAX_DEPTH):
        deep = {"properties": {"a": deep}}
    for resources, start in (
        (twice | {"b50": {"type": "object"}}, "b0"),
        (wide, "w0"),
        ({"z": {"$id": "z", "properties": {"a": {"items": {"$ref": "z"}}}}}, "z"),
        ({"z": {"$id": "z", "$ref": "y"}, "y": {"$id": "y", "$ref": "z"}}, "z"),
        ({"z": {"$id": "z", "$ref": "#"}}, "z"),
        ({"z": deep}, "z"),
        ({"z": {"properties": {f"f{n}": {"type": "string"} for n in range(10_001)}}}, "z"),
    ):
        with pytest.raises(SchemaError):
            compose({"allOf": [{"$ref": start}]}, resources.get)
    assert time.process_time() - started < 10


def test_the_deepest_schema_that_is_read_can_be_used() -> None:
    deep: dict[str, Any] = {"type": "string"}
    row: Any = 7
    for _ in range(MAX_DEPTH - 1):
        deep = {"properties": {"a": deep}}
        row = {"a": row}
    CompiledSchema(for_rows(compose(deep, NOTHING.get)), ()).conform(row)
    while isinstance(row, dict):
        row = row["a"]
    assert row == "7"


def test_everything_built_in_can_be_used() -> None:
    for resource in LIBRARY.values():
        CompiledSchema(for_rows(compose(resource, LIBRARY.get)), ())
        assert id_of(alt_id(resource["$id"])) == resource["$id"]
        if resource["meta:resourceType"] == Kind.CLASS:
            assert class_of({"allOf": [{"$ref": resource["$id"]}]}, LIBRARY.get)[1] is resource
            kind_of(resource)


FIELD: dict[str, Any] = {"type": "string", "enum": ["a", "b"], "minLength": 1, "maxLength": 9}


@pytest.mark.parametrize(
    "after",
    [
        {"f": FIELD, "g": {"type": "string"}},
        {"f": {**FIELD, "enum": ["a", "b", "c"]}},
        {"f": {**FIELD, "minLength": 0, "maxLength": 10}},
        {"f": {"type": "string"}},
        {"f": {**FIELD, "title": "F", "description": "f"}},
    ],
)
def test_additions(after: dict[str, Any]) -> None:
    expect_additive(composed({"f": FIELD}), composed(after))
    with pytest.raises(SchemaError):
        expect_additive(composed(after, {"new": {"type": "string"}}), composed({"f": FIELD}))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (FIELD, {"type": "integer"}),
        (FIELD, {**FIELD, "enum": ["a"]}),
        (FIELD, {**FIELD, "minLength": 2}),
        (FIELD, {**FIELD, "maxLength": 8}),
        (FIELD, {**FIELD, "pattern": "^a"}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}),
        ({"type": "string", "pattern": "^a"}, {"type": "string", "pattern": "^b"}),
        ({"type": "integer", "meta:xdmType": "int"}, {"type": "integer", "meta:xdmType": "short"}),
        ({"items": {"type": "string"}}, {"items": {"type": "string", "enum": ["a"]}}),
        ({"type": "object"}, {"type": "object", "additionalProperties": False, "meta:xdmType": "object"}),
        ({"properties": {"a": {"type": "string"}}}, {"properties": {"b": {"type": "string"}}}),
    ],
)
def test_changes_that_break(before: dict[str, Any], after: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="can only be added to"):
        expect_additive(composed({"f": before}), composed({"f": after}))


def test_more_may_be_required() -> None:
    one, other = ({"properties": {"a": {"type": "string"}}, **more} for more in ({}, {"required": ["a"]}))
    expect_additive(compose(one, NOTHING.get), compose(other, NOTHING.get))
    expect_additive(compose(other, NOTHING.get), compose(one, NOTHING.get))


_NUMBERS = st.integers(-5, 5)


@given(low=_NUMBERS, high=_NUMBERS, exclusive=_NUMBERS, value=st.integers(-7, 7) | st.floats(-7, 7))
def test_limits_mean_what_they_say(low: int, high: int, exclusive: int, value: float) -> None:
    """Both kinds of limit, in the draft of JSON Schema that rows are judged in."""
    field = {"type": "number", "minimum": low, "maximum": high, "exclusiveMinimum": exclusive}
    schema = CompiledSchema(for_rows(composed({"f": field})), ())
    try:
        schema.conform({"f": value})
        accepted = True
    except ValueError:
        accepted = False
    assert accepted is (low <= value <= high and value > exclusive)
