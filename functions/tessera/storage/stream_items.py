"""Formats of event streams: one main item, and parts for what is large or comes one by one.

| sort key | holds | attributes |
|---|---|---|
| ``S#<dataset>`` | the stream | ``n`` version, ``p`` place, ``ad`` last active day, ``ne`` time of the newest event and ``na`` if it is of all, ``go`` if it is going, ``g`` generation and ``c`` cutoff of the state, ``b`` its partial aggregates and short lists of latest values, ``pt`` if there are parts |
| ``S#<dataset>#L<number>`` | the latest values of one attribute | ``b`` |
| ``S#<dataset>#W<time><hash>`` | an event that has not happened yet | ``b`` |

Most streams are one item under one write unit. An event that changes a sum does not write long lists again, and one
that is dated ahead costs an item of its own until it is due.
"""  # noqa: E501 - a table

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tessera.domain.computed.state import Contribution, State, in_a_row
from tessera.domain.identity import shard_of
from tessera.domain.place import Place
from tessera.domain.profile import EventStream
from tessera.domain.tenant import Tenant
from tessera.storage.codec import pack, unpack
from tessera.storage.profile_items import STREAM, VERSION, dataset_index, key, time_key, xid_of

if TYPE_CHECKING:
    from tessera.storage.profile_items import Item

# Version 1, which is still read, had an object of parts by bucket where there is a list now: a quarter longer.
_VERSION = {"N": "2"}
_LONG_LIST = 256
_LATEST = "L"
_WAITING = "W"


def stream_sort(dataset_id: str) -> str:
    """Sort key of the event stream of a dataset."""
    return STREAM + dataset_id


def dataset_of_stream(sort: str) -> str | None:
    """Return the dataset whose stream has a sort key, ``None`` if that is something else's."""
    return sort.removeprefix(STREAM) if sort.startswith(STREAM) else None


def parts_sort(dataset_id: str) -> str:
    """Beginning of the sort keys of the parts of a stream."""
    return f"{STREAM}{dataset_id}#"


def is_part(item: Item) -> bool:
    """Tell whether an item of a stream is a part of it, and not the stream itself."""
    return item["sk"]["S"].count("#") > 1


def stream_items(tenant: Tenant, stream: EventStream) -> dict[str, dict[str, Any]]:
    """Write a stream as its next version: its items by sort key, the stream itself first."""
    state = stream.state
    body: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}

    def add_part(name: str, packed: bytes) -> None:
        sort = parts_sort(stream.dataset_id) + name
        parts[sort] = {**key(tenant, stream.xid, sort), "v": VERSION, "b": {"B": packed}}

    for number, entries in state.latest.items():
        packed = pack(entries)
        if len(packed) > _LONG_LIST:
            add_part(_LATEST + number, packed)
        else:
            body.setdefault("l", {})[number] = entries
    for waiting in state.waiting:
        add_part(_WAITING + time_key(waiting.time_ms) + waiting.tie, pack(list(waiting)))
    if state.partials:
        body["s"] = state.partials
    sort = stream_sort(stream.dataset_id)
    item: dict[str, Any] = {
        **key(tenant, stream.xid, sort),
        "v": _VERSION,
        "n": {"N": str(stream.version + 1)},
        "p": {"S": stream.place},
        "ad": {"N": str(stream.last_active_day)},
        "ik": {"S": dataset_index(tenant, stream.dataset_id, shard_of(stream.xid))},
    }
    if stream.newest_ms is not None:
        item["ne"] = {"N": str(stream.newest_ms)}
    if stream.of_all:
        item["na"] = {"BOOL": True}
    if stream.going:
        item["go"] = {"BOOL": True}
    if state.generation:
        item["g"] = {"N": str(state.generation)}
    if state.cutoff is not None:
        item["c"] = {"S": state.cutoff}
    if body:
        item["b"] = {"B": pack(body)}
    if parts:
        item["pt"] = {"BOOL": True}
    return {sort: item, **parts}


def has_parts(item: Item) -> bool:
    """Tell whether a stream has parts beside the item read."""
    return "pt" in item


def stream_of(item: Item, parts: Sequence[Item] = ()) -> EventStream:
    """Read a stream from its main item and its parts."""
    newest = item.get("ne")
    return EventStream(
        xid=xid_of(item["pk"]["S"]),
        dataset_id=item["sk"]["S"][len(STREAM) :],
        place=Place(item["p"]["S"]),
        last_active_day=int(item["ad"]["N"]),
        newest_ms=None if newest is None else int(newest["N"]),
        of_all="na" in item,
        state=_state_of(item, parts),
        version=int(item["n"]["N"]) if "n" in item else 0,
        going="go" in item,
    )


def streams_of(items: Sequence[Item]) -> list[EventStream]:
    """Read the streams of one identity from all of their items in order of sort key."""
    if not any(map(is_part, items)):
        return [stream_of(item) for item in items]
    parts: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if is_part(item):
            parts[item["sk"]["S"].rpartition("#")[0]].append(item)
    return [stream_of(item, parts[item["sk"]["S"]]) for item in items if not is_part(item)]


def _state_of(item: Item, parts: Sequence[Item]) -> State:
    if "g" not in item and "c" not in item:
        return State()
    body = unpack(item["b"]["B"]) if "b" in item else {}
    latest: dict[str, Any] = body.get("l", {})
    waiting: list[Contribution] = []
    for part in parts:
        name = part["sk"]["S"].rpartition("#")[2]
        if name.startswith(_LATEST):
            latest[name[len(_LATEST) :]] = unpack(part["b"]["B"])
        else:
            waiting.append(Contribution(*unpack(part["b"]["B"])))
    cutoff = item.get("c")
    return State(
        generation=int(item["g"]["N"]) if "g" in item else 0,
        cutoff=None if cutoff is None else Place(cutoff["S"]),
        partials=_partials(body.get("s", {}), item["v"]),
        latest=latest,
        waiting=waiting,
    )


def _partials(stored: dict[str, Any], version: Any) -> dict[str, Any]:
    if version == _VERSION:
        return stored
    return {number: in_a_row({int(bucket): part for bucket, part in kept.items()}) for number, kept in stored.items()}
