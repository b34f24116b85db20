"""Formats of record fragments, one item for each record dataset of an identity: ``R#<dataset>``.

| attribute | holds |
|---|---|
| ``p`` | place of the last operation on the fragment |
| ``b`` | body; a fragment that was deleted has none: it is a stub, which remembers where |
| ``cd`` | custom date, if the body has one |
| ``st`` | stamps: the places of the fields, where they are not all from ``p`` |
| ``fl`` | floor: place of the last create or delete, where it is not ``p`` and there was one |
| ``n`` | number of the writes since the fragment has stamps |

What one row has made is only ``p`` and ``b``, so a dataset whose rows are never merged needs no more than one write
for each. A fragment without stamps is known by its place, one with stamps by place and number together: the place
never goes back while the item is there, so the number may begin anew.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tessera.domain.identity import Xid, shard_of
from tessera.domain.place import Place
from tessera.domain.profile import RecordFragment
from tessera.domain.rows import RowError, custom_date
from tessera.domain.tenant import Tenant
from tessera.domain.upsert import UpdatedFragment
from tessera.domain.upsert.stamps import Stamps
from tessera.domain.upsert.tree import BEGINNING
from tessera.storage.codec import pack, unpack
from tessera.storage.profile_items import RECORD, VERSION, dataset_index, key, xid_of

if TYPE_CHECKING:
    from tessera.storage.profile_items import Item


class FragmentTooLargeError(Exception):
    """An updated fragment has become larger than an item can be."""

    def __init__(self, size: int, maximum: int) -> None:
        super().__init__(f"with this update the record takes {size:,} bytes as it is stored; it may take {maximum:,}")


def record_sort(dataset_id: str) -> str:
    """Sort key of the record fragment of a dataset."""
    return RECORD + dataset_id


def record_item(tenant: Tenant, fragment: RecordFragment) -> dict[str, Any]:
    """Write a record fragment that one row makes."""
    return {
        **_stub(tenant, fragment.xid, fragment.dataset_id, fragment.place),
        **_content(tenant, fragment.xid, fragment.dataset_id, fragment.body, fragment.custom_date_ms),
    }


def stub_item(tenant: Tenant, xid: Xid, dataset_id: str, place: Place) -> dict[str, Any]:
    """Write what a delete at a place leaves of a fragment."""
    return _stub(tenant, xid, dataset_id, place)


def is_stub(item: Item) -> bool:
    """Tell whether an item is what a delete left, and no fragment."""
    return "b" not in item


def has_stamps(item: Item) -> bool:
    """Tell whether a fragment was made by several operations."""
    return "st" in item


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """A record fragment or stub as it was read, to be changed."""

    item: Item

    @property
    def xid(self) -> Xid:
        """Whose it is."""
        return xid_of(self.item["pk"]["S"])

    @property
    def place(self) -> Place:
        """Place of the last operation on it."""
        return Place(self.item["p"]["S"])

    def fragment(self) -> UpdatedFragment:
        """Decode it."""
        return _fragment_of(self.item)

    def remainder(self, tenant: Tenant, dataset_id: str, cutoff: Place) -> UpdatedFragment | None:
        """Return what a delete leaves of a record that was updated since, ``None`` when that is all of it."""
        if not has_stamps(self.item):
            return None
        left = self.fragment()
        left.forget(cutoff)
        return None if is_as_before(updated_item(tenant, self.xid, dataset_id, left, self), self) else left


def updated_item(
    tenant: Tenant, xid: Xid, dataset_id: str, fragment: UpdatedFragment, before: ReadRecord | None
) -> dict[str, Any]:
    """Write an updated fragment as the next version of what was read before."""
    item = _stub(tenant, xid, dataset_id, fragment.place)
    if fragment.exists:
        body = fragment.body()
        item |= _content(tenant, xid, dataset_id, body, _custom_date_of(body))
    stamps = fragment.stamps()
    if stamps is not None:
        item["st"] = {"B": pack([*stamps])}
        item["n"] = {"N": str(_version(before) + 1)}
        if fragment.floor != BEGINNING:
            item["fl"] = {"S": fragment.floor}
    return item


def is_as_before(item: Item, before: ReadRecord | None) -> bool:
    """Tell whether an item to be written says what is there already."""
    return before is not None and {**item, "n": None} == {**before.item, "n": None}


def unwritten_since(before: ReadRecord | None) -> dict[str, Any]:
    """Condition of a write that nobody else has written since."""
    if before is None:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    values: dict[str, Any] = {":place": before.item["p"]}
    if "n" not in before.item:
        return {
            "ConditionExpression": "p = :place AND attribute_not_exists(n)",
            "ExpressionAttributeValues": values,
        }
    values[":version"] = before.item["n"]
    return {"ConditionExpression": "p = :place AND n = :version", "ExpressionAttributeValues": values}


class StoredRecord(RecordFragment):
    """A record fragment as it is stored: its body is decoded when it is asked for, and each time anew.

    What chooses and ranks fragments stands beside the body, so most is known without decoding, and a merge of many
    fragments never holds more than one of them.
    """

    __slots__ = ("_item",)
    _item: Item

    def __init__(self, item: Item) -> None:
        custom_date_ms = item.get("cd")
        put = object.__setattr__
        put(self, "xid", xid_of(item["pk"]["S"]))
        put(self, "dataset_id", item["sk"]["S"][len(RECORD) :])
        put(self, "place", Place(item["p"]["S"]))
        put(self, "custom_date_ms", None if custom_date_ms is None else int(custom_date_ms["N"]))
        put(self, "_item", item)

    @property
    def body(self) -> dict[str, Any]:
        """Decode the body."""
        decoded: dict[str, Any] = unpack(self._item["b"]["B"])
        return decoded

    @property
    def updates(self) -> UpdatedFragment | None:
        """Decode the places of the fields."""
        return _fragment_of(self._item) if has_stamps(self._item) else None

    def after(self, cutoff: Place) -> RecordFragment | None:
        """Return what of the record is later than a delete; of an updated one that may be some of its fields."""
        if not has_stamps(self._item) or self.place <= cutoff:
            return RecordFragment.after(self, cutoff)
        if "fl" in self._item and self._item["fl"]["S"] > cutoff:
            return self
        fragment = _fragment_of(self._item)
        fragment.forget(cutoff)
        body = fragment.body()
        return RecordFragment(self.xid, self.dataset_id, self.place, body, _custom_date_of(body), fragment)


def record_of(item: Item) -> RecordFragment:
    """Read a record fragment."""
    return StoredRecord(item)


def _stub(tenant: Tenant, xid: Xid, dataset_id: str, place: Place) -> dict[str, Any]:
    return {**key(tenant, xid, record_sort(dataset_id)), "v": VERSION, "p": {"S": place}}


def _content(
    tenant: Tenant, xid: Xid, dataset_id: str, body: dict[str, Any], custom_date_ms: int | None
) -> dict[str, Any]:
    content = {"b": {"B": pack(body)}, "ik": {"S": dataset_index(tenant, dataset_id, shard_of(xid))}}
    return content if custom_date_ms is None else {**content, "cd": {"N": str(custom_date_ms)}}


def _fragment_of(item: Item) -> UpdatedFragment:
    place = Place(item["p"]["S"])
    body = {} if is_stub(item) else unpack(item["b"]["B"])
    if not has_stamps(item):
        return UpdatedFragment.created(place, body)
    floor = Place(item["fl"]["S"]) if "fl" in item else BEGINNING
    return UpdatedFragment.read(place, floor, body, Stamps(*unpack(item["st"]["B"])))


def _version(before: ReadRecord | None) -> int:
    return int(before.item["n"]["N"]) if before is not None and "n" in before.item else 0


def _custom_date_of(body: dict[str, Any]) -> int | None:
    # It was a date in every row that was accepted.
    with suppress(RowError):
        return custom_date(body)
    return None
