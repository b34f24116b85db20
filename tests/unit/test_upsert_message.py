"""What a streamed message may ask of a fragment (contract: data-and-pql §4.6, §7 no. 40)."""

from __future__ import annotations

from typing import Any

import pytest

from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.identity import Identity
from tessera.domain.rows import RowError
from tessera.domain.upsert import Action
from tessera.domain.upsert.message import accept_message

PLAIN = DatasetSettings("plain", DatasetKind.RECORD, profile_enabled=True)
UPSERT = DatasetSettings("upsert", DatasetKind.RECORD, profile_enabled=True, upsert=True)
EVENTS = DatasetSettings("events", DatasetKind.EVENT, profile_enabled=True)
LINKS = DatasetSettings("links", DatasetKind.RECORD, identity_enabled=True)
OTHER_SCHEMA = DatasetSettings("other", DatasetKind.RECORD, identity_enabled=True, schema="https://ns/other")
CONFIGURATION = Configuration(
    1, "id", "dev", "development", datasets={item.id: item for item in (PLAIN, UPSERT, EVENTS, LINKS, OTHER_SCHEMA)}
)
IDENTITY_MAP = {"crmid": [{"id": "1", "primary": True}], "email": [{"id": "d@example.com"}]}


def accepted(operations: Any, dataset: DatasetSettings = UPSERT, **body: Any) -> Any:
    return accept_message({"identityMap": IDENTITY_MAP, **body}, operations, dataset, CONFIGURATION, 100)


@pytest.mark.parametrize(("dataset", "action"), [(PLAIN, Action.CREATE), (UPSERT, Action.MERGE)])
def test_without_operations_a_message_is_a_row_of_its_dataset(dataset: DatasetSettings, action: Action) -> None:
    row = accepted(None, dataset, tags=["a"], odd={"$append": ["b"]})
    assert (row.action, row.appends) == (action, frozenset())
    assert row.body["tags"] == ["a"]
    assert row.body["odd"] == {"$append": ["b"]}
    assert row.linked == (Identity("email", "d@example.com"),)


def test_operations_without_data_create() -> None:
    row = accepted({})
    assert (row.action, row.linked) == (Action.CREATE, ())


def test_a_merge_says_what_its_arrays_are_for() -> None:
    row = accepted({"data": "merge"}, tags={"$append": ["a", None]}, likes={"sports": {"$replace": []}}, gone=None)
    assert row.action is Action.MERGE
    assert row.body == {"identityMap": IDENTITY_MAP, "tags": ["a"], "likes": {"sports": []}}
    assert row.appends == {("tags",)}


def test_on_an_insert_an_array_is_what_it_is_either_way() -> None:
    row = accepted({"data": "create"}, a={"$append": [1]}, b={"$replace": [2]}, c=[3])
    assert (row.body["a"], row.body["b"], row.body["c"]) == ([1], [2], [3])
    assert row.appends == frozenset()


def test_a_delete_is_of_the_whole_fragment_whatever_else_the_row_holds() -> None:
    row = accepted({"data": "delete"}, tags=["a"], name="x")
    assert (row.action, row.body) == (Action.DELETE, {"identityMap": IDENTITY_MAP})
    assert row.primary == Identity("crmid", "1")


def test_events_are_inserted_and_never_updated() -> None:
    event = {"_id": "e", "timestamp": "2025-01-01T00:00:00Z"}
    assert accepted({"data": "create"}, EVENTS, **event).event_id == "e"
    for action in ("merge", "delete"):
        with pytest.raises(RowError, match="events are never updated"):
            accepted({"data": action}, EVENTS, **event)


@pytest.mark.parametrize(
    ("operations", "body", "says"),
    [
        ([], {}, "must be an object"),
        ("merge", {}, "must be an object"),
        ({"data": "patch"}, {}, "create, merge or delete"),
        ({"data": None}, {}, "create, merge or delete"),
        ({"data": ["merge"]}, {}, "create, merge or delete"),
        ({"data": "merge"}, {"tags": ["a"]}, r"the array tags must say"),
        ({"data": "merge"}, {"a": {"b": []}}, r"the array a\.b must say"),
        ({"data": "merge"}, {"a": {"$append": "x"}}, "stands alone, with an array"),
        ({"data": "merge"}, {"a": {"$append": None}}, "stands alone, with an array"),
        ({"data": "merge"}, {"a": {"$append": [], "$replace": []}}, "stands alone, with an array"),
        ({"data": "merge"}, {"a": {"$append": [], "b": 1}}, "stands alone, with an array"),
        ({"data": "merge"}, {"a": {"b": 1, "$append": []}}, "stands alone, with an array"),
        ({"data": "merge"}, {"a": {"$append": [{"b": {"$append": []}}]}}, "within an array"),
        ({"data": "create"}, {"a": [[{"$replace": []}]]}, "within an array"),
        ({"data": "merge", "identity": "merge"}, {}, "identity must be create"),
        ({"data": "merge", "identity": "create"}, {}, "needs operations.identityDatasetId"),
        ({"data": "merge", "identity": "create", "identityDatasetId": 7}, {}, "needs operations.identityDatasetId"),
        ({"identity": "create", "identityDatasetId": "upsert"}, {}, "is the profile dataset"),
        ({"identity": "create", "identityDatasetId": "nobody"}, {}, "no dataset nobody"),
        ({"identity": "create", "identityDatasetId": "events"}, {}, "of the same schema"),
        ({"identity": "create", "identityDatasetId": "other"}, {}, "of the same schema"),
        ({"identity": "create", "identityDatasetId": "plain"}, {}, "disabled for profiles"),
    ],
)
def test_what_is_wrong_with_a_message_is_said(operations: Any, body: dict[str, Any], says: str) -> None:
    with pytest.raises(RowError, match=says):
        accepted(operations, **body)


def test_what_is_no_row_at_all_is_refused_as_ever() -> None:
    entities: list[object] = [None, [], "text"]
    for entity in entities:
        with pytest.raises(RowError, match="JSON object"):
            accept_message(entity, {"data": "merge"}, UPSERT, CONFIGURATION, 10)


def test_links_are_from_the_dataset_named() -> None:
    row = accepted({"data": "merge", "identity": "create", "identityDatasetId": "links"})
    assert (row.links_as, row.linked) == ("links", (Identity("email", "d@example.com"),))
