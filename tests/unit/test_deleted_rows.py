"""What the settings of a dataset say of streamed rows that are being deleted."""

from __future__ import annotations

import pytest

from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings, from_document, to_document
from tessera.domain.configuration import rows_named_in as named
from tessera.domain.dataset import settings_of
from tessera.domain.place import Place, cutoff_place, stream_place
from tessera.domain.place_set import PlaceSet
from tessera.domain.ulid import ulid

EVENT_CLASS = "https://ns.adobe.com/xdm/context/experienceevent"


def place(ms: int) -> Place:
    return stream_place(ms, ulid(ms, 1), None)


ROWS, MORE = PlaceSet.of([place(10), place(30)]), PlaceSet.of([place(50)])
SHOP = DatasetSettings("shop", DatasetKind.EVENT, profile_enabled=True).without_rows("a", ROWS).without_rows("b", MORE)


def test_which_rows_are_there() -> None:
    there = [ms for ms in range(0, 70, 10) if SHOP.holds(place(ms))]
    assert there == [0, 20, 40, 60]
    assert SHOP.without_rows("a", MORE) is SHOP
    assert SHOP.done_with_rows("a").deleted_rows == {"b": MORE}
    assert SHOP.done_with_rows("c") is SHOP


@pytest.mark.parametrize(("cutoff", "named_still"), [(29, {"a", "b"}), (30, {"b"}), (49, {"b"}), (50, set())])
def test_what_a_cutoff_reaches_need_not_be_named(cutoff: int, named_still: set[str]) -> None:
    cut = SHOP.cut_off(cutoff_place(cutoff))
    assert set(cut.deleted_rows) == named_still
    assert not any(cut.holds(place(ms)) for ms in (10, 30, 50))
    assert cut.holds(place(60))
    assert set(cut.done_with_rows("b").without_rows("b", MORE).deleted_rows) == named_still
    assert cut.cut_off(cutoff_place(1)) is cut


def test_they_are_kept_when_the_dataset_is_described_anew() -> None:
    before = SHOP.without_batch("1.2.")
    after = settings_of("shop", {"schemaRef": {"id": EVENT_CLASS}}, before, 100, {})
    assert (after.deleted_rows, after.deleted) == (before.deleted_rows, before.deleted)


def test_the_document_names_them() -> None:
    configuration = Configuration(1, "s", "dev", "development").with_dataset(SHOP)
    document = to_document(configuration)
    assert named(document) == [("shop", "a"), ("shop", "b")]
    assert from_document(document, {("shop", "a"): ROWS, ("shop", "b"): MORE}) == configuration
    del document["deletedRows"]
    # One that an older version wrote.
    assert from_document(document).datasets["shop"].deleted_rows == {}
