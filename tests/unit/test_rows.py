"""What a row must be to be accepted."""

from __future__ import annotations

from typing import Any

import pytest

from tessera.domain.configuration import DatasetKind
from tessera.domain.identity import Identity
from tessera.domain.rows import RowError, accept, without_nulls

RECORD, EVENT = DatasetKind.RECORD, DatasetKind.EVENT


def record(**more: Any) -> dict[str, Any]:
    return {"identityMap": {"CRMID": [{"id": "4217"}]}, **more}


def event(**more: Any) -> dict[str, Any]:
    return {**record(_id="e1", timestamp="2026-03-04T08:55:27Z"), **more}


def test_a_sole_identity_is_the_primary_one() -> None:
    row = accept(record(), RECORD, 10)
    assert row.primary == Identity("crmid", "4217")
    assert row.linked == ()
    assert row.namespaces == {"CRMID"}


def test_a_marked_identity_is_primary_and_the_others_are_linked_but_placeholders() -> None:
    identity_map = {
        "Email": [{"id": "A@b.c", "primary": True}, {"id": "null"}],
        "ECID": [{"id": "4" * 38}, {"id": "short"}],
        "CRMID": [{"id": 7}, {"id": "0"}, {"id": "7"}],
    }
    row = accept({"identityMap": identity_map}, RECORD, 10)
    assert row.primary == Identity("email", "a@b.c")
    assert set(row.linked) == {Identity("ecid", "4" * 38), Identity("crmid", "7")}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (7, "JSON object"),
        ([], "JSON object"),
        ({}, "no identity"),
        ({"identityMap": None}, "no identity"),
        ({"identityMap": {}}, "no identity"),
        ({"identityMap": {"Email": []}}, "no identity"),
        ({"identityMap": []}, "object of namespaces"),
        ({"identityMap": {"Email": {"id": "x"}}}, "array of objects"),
        ({"identityMap": {"Email": ["x"]}}, "no id"),
        ({"identityMap": {"Email": [{}]}}, "no id"),
        ({"identityMap": {"Email": [{"id": None}]}}, "no id"),
        ({"identityMap": {"Email": [{"id": 1.5}]}}, "not a string"),
        ({"identityMap": {"Email": [{"id": True}]}}, "not a string"),
        ({"identityMap": {"Email": [{"id": "\ud800"}]}}, "Unicode"),
        ({"identityMap": {"": [{"id": "x"}]}}, "namespace code"),
        ({"identityMap": {"a b": [{"id": "x"}]}}, "namespace code"),
        ({"identityMap": {"Email": [{"id": "unknown"}]}}, "placeholder"),
        ({"identityMap": {"Email": [{"id": ""}]}}, "placeholder"),
        ({"identityMap": {"Email": [{"id": "x" * 1025}]}}, "1024"),
        ({"identityMap": {"Email": [{"id": "a"}, {"id": "b"}]}}, "none as primary"),
        ({"identityMap": {"Email": [{"id": "a", "primary": True}, {"id": "b", "primary": True}]}}, "mark one"),
        ({"identityMap": {"C": [{"id": str(n), "primary": n == 1} for n in range(1, 22)]}}, "may have 20"),
        (record(extSourceSystemAudit={"lastUpdatedDate": "soon"}), "lastUpdatedDate"),
    ],
)
def test_records_that_are_rejected(row: object, says: str) -> None:
    with pytest.raises(RowError, match=says):
        accept(row, RECORD, 10)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (event(_id=None), "_id"),
        (event(_id=""), "_id"),
        (event(_id=5), "_id"),
        (event(_id="x" * 1025), "_id"),
        (event(timestamp=None), "timestamp"),
        (event(timestamp="yesterday"), "timestamp"),
        (event(timestamp="20260304"), "timestamp"),
        (event(timestamp=True), "timestamp"),
        (event(timestamp=1e300), "timestamp"),
        (event(timestamp=10**20), "timestamp"),
        (event(timestamp="2026-02-30T00:00:00Z"), "timestamp"),
        (event(timestamp={"a": 1}), "timestamp"),
    ],
)
def test_events_that_are_rejected(row: object, says: str) -> None:
    with pytest.raises(RowError, match=says):
        accept(row, EVENT, 10)


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.001Z", 1),
        ("1970-01-01T00:00:00.001999Z", 1),
        ("1969-12-31T23:59:59.999Z", -1),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1970-01-01T02:00:00+02", 0),
        ("1970-01-01T00:00:00", 0),
        ("1970-01-02", 86_400_000),
        (86_400_000, 86_400_000),
    ],
)
def test_timestamps(written: object, milliseconds: int) -> None:
    assert accept(event(timestamp=written), EVENT, 10).timestamp_ms == milliseconds


@pytest.mark.parametrize(("kind", "limit"), [(RECORD, 100 * 1024), (EVENT, 10 * 1024)])
def test_rows_over_the_size_limit_are_rejected(kind: DatasetKind, limit: int) -> None:
    accept(event(), kind, limit)
    with pytest.raises(RowError, match=str(limit)):
        accept(event(), kind, limit + 1)


def test_nulls_are_no_values_and_what_they_leave_empty_is_none_either() -> None:
    before = {"a": None, "b": {"c": None}, "d": [None, 1, {"e": None, "f": 2}], "g": {}, "h": "", "i": []}
    assert without_nulls(before) == {"d": [1, {"f": 2}], "g": {}, "h": "", "i": []}


def test_a_custom_date_is_read() -> None:
    row = accept(record(extSourceSystemAudit={"lastUpdatedDate": "1970-01-01T00:00:01Z"}), RECORD, 10)
    assert row.custom_date_ms == 1000
