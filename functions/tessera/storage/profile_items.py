"""Keys and item formats of the profile table. They cannot be changed on a loaded store: readers accept what is here.

Partition ``<tenant>#<XID>`` holds everything of one identity, by sort key:

| sort key | item | attributes |
|---|---|---|
| ``C#<dataset>#<time><hash>#<place>`` | copy of an event that is not shown | as of an event |
| ``E#<time><hash>`` | event | ``d`` dataset, ``p`` place, ``b`` body, ``ttl`` until when it is stored |
| ``H`` | head | ``n`` version, ``b`` identity, links, members, holds; ``c`` cutoff |
| ``R#<dataset>`` | record fragment | ``p`` place, ``b`` body, ``cd`` custom date, ...; see ``record_items`` |
| ``S#<dataset>`` | event stream | ``n`` version, ``p`` place, ``ad`` last active day, ``b`` partial aggregates, ... |
| ``S#<dataset>#...`` | part of a stream | ``b`` body; see ``stream_items`` |

so that one Query from ``H`` on returns everything but the events, and no page of events reads a copy of one. Every
item has ``v``, the version of its format.
``<time>`` is 13 hexadecimal digits of milliseconds since 1970, shifted so that they sort also before it;
``<hash>`` is 128 bits of (dataset, ``_id``).

The sparse index ``index`` (``ik``, then ``pk``) finds identities: by dataset for fragments and streams, and under
``graph`` or ``collapsed`` the heads that lead a graph of several. An identity by itself is found by what it has in
its datasets, which saves one write per new identity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tessera.domain.graph import Head, Removal, Span
from tessera.domain.identity import Identity, Xid, shard_of
from tessera.domain.place import Place
from tessera.domain.profile import Event, EventCopy
from tessera.domain.tenant import Tenant, digest, url_safe
from tessera.storage.codec import FORMAT_VERSION, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef

    Item = Mapping[str, AttributeValueTypeDef]

HEAD = "H"
_COPY = "C#"
_EVENT = "E#"
RECORD = "R#"
STREAM = "S#"
_KINDS = {_COPY: "copies", _EVENT: "events", RECORD: "records", STREAM: "streams"}
_TIME_OFFSET = 1 << 48
_TIME_DIGITS = 13
VERSION: Any = {"N": str(FORMAT_VERSION)}


def partition(tenant: Tenant, xid: Xid) -> str:
    """Partition of an identity."""
    return f"{tenant.key}#{xid}"


def xid_of(partition_key: str) -> Xid:
    """Return the identity of a partition."""
    return Xid(partition_key.rpartition("#")[2])


def key(tenant: Tenant, xid: Xid, sort: str) -> dict[str, Any]:
    """Primary key of an item."""
    return {"pk": {"S": partition(tenant, xid)}, "sk": {"S": sort}}


def kind_of(sort: str) -> str:
    """Name what a sort key stands for."""
    return _KINDS[sort[:2]]


def source_of(item: Item) -> tuple[str, Place] | None:
    """Return the dataset and the place of what one row brought; a stream is made of rows that have their own."""
    sort = item["sk"]["S"]
    if sort.startswith(STREAM):
        return None
    return item["d"]["S"] if "d" in item else sort[len(RECORD) :], Place(item["p"]["S"])


def time_key(timestamp_ms: int) -> str:
    """Start of the keys of all events at a time; sorts before them, and as the times do."""
    return f"{timestamp_ms + _TIME_OFFSET:0{_TIME_DIGITS}x}"


def event_key(timestamp_ms: int, dataset_id: str, event_id: str) -> str:
    """Key of an event among all events of a person: the same for the same event whoever brings it."""
    return time_key(timestamp_ms) + event_hash(dataset_id, event_id)


def event_hash(dataset_id: str, event_id: str) -> str:
    """128 bits that stand for an event whenever it happened."""
    return url_safe(digest(16, b"tessera.event", dataset_id, event_id))


def hash_of(event_key_: str) -> str:
    """Return the hash in the key of an event."""
    return event_key_[_TIME_DIGITS:]


def timestamp_of(event_key_: str) -> int:
    """Return the time of an event, in milliseconds since 1970."""
    return int(event_key_[:_TIME_DIGITS], 16) - _TIME_OFFSET


def event_sort(event_key_: str) -> str:
    """Sort key of an event."""
    return _EVENT + event_key_


def is_event(sort: str) -> bool:
    """Tell whether a sort key is that of an event."""
    return sort.startswith(_EVENT)


def key_of_event(sort: str) -> str:
    """Return the key of an event from its sort key, or from that of a copy."""
    return sort.split("#")[2 if is_copy(sort) else 1]


def copies_sort(dataset_id: str = "") -> str:
    """Beginning of the sort keys of the copies of all events, or of those of a dataset."""
    return f"{_COPY}{dataset_id}#" if dataset_id else _COPY


def copy_sort(event: Event) -> str:
    """Sort key of a copy of an event, which is one for each place."""
    return f"{copies_sort(event.dataset_id)}{event.key}#{event.place}"


def is_copy(sort: str) -> bool:
    """Tell whether a sort key is that of a copy of an event."""
    return sort.startswith(_COPY)


def dataset_index(tenant: Tenant, dataset_id: str, shard: int) -> str:
    """Index partition of the fragments or streams of a dataset in one of 256 shards."""
    return f"{tenant.key}#dataset#{dataset_id}#{shard:02x}"


def graph_index(tenant: Tenant, shard: int, *, collapsed: bool = False) -> str:
    """Index partition of the heads that lead a graph, or of all heads of collapsed graphs."""
    return f"{tenant.key}#{'collapsed' if collapsed else 'graph'}#{shard:02x}"


def head_item(tenant: Tenant, head: Head) -> dict[str, Any]:
    """Write a head as its next version."""
    body: dict[str, Any] = {"i": [head.identity.namespace, head.identity.value]}
    if head.assertions:
        body["a"] = sorted([other, source, place] for (other, source), place in head.assertions.items())
    if head.members:
        body["m"] = head.members
    if head.collapsed:
        body["x"] = True
    if head.removed:
        body["r"] = sorted([other, *removal] for other, removal in head.removed.items())
    if head.blocks:
        body["k"] = [list(span) for span in head.blocks]
    if head.erased is not None:
        body["e"] = head.erased
    if head.holds:
        body["h"] = [list(span) for span in head.holds]
    item: dict[str, Any] = {
        **key(tenant, head.xid, HEAD),
        "v": VERSION,
        "n": {"N": str(head.version + 1)},
        "b": {"B": pack(body)},
    }
    if head.cutoff is not None:
        item["c"] = {"S": head.cutoff}
    if head.collapsed or head.leads:
        item["ik"] = {"S": graph_index(tenant, shard_of(head.xid), collapsed=head.collapsed)}
    return item


def head_of(item: Item) -> Head:
    """Read a head."""
    body = unpack(item["b"]["B"])
    cutoff = item.get("c")
    return Head(
        xid=xid_of(item["pk"]["S"]),
        identity=Identity(*body["i"]),
        assertions={(Xid(other), source): Place(place) for other, source, place in body.get("a", ())},
        members=tuple(body.get("m", ())),
        collapsed=body.get("x", False),
        cutoff=None if cutoff is None else Place(cutoff["S"]),
        version=int(item["n"]["N"]),
        removed={Xid(other): Removal(*removal) for other, *removal in body.get("r", ())},
        blocks=tuple(Span(*span) for span in body.get("k", ())),
        erased=body.get("e"),
        holds=tuple(Span(*span) for span in body.get("h", ())),
    )


def event_item(tenant: Tenant, event: Event) -> dict[str, Any]:
    """Write an event."""
    return _item(tenant, event, event_sort(event.key))


def event_of(item: Item) -> Event:
    """Read an event."""
    return Event(**_attributes(item))


def copy_item(tenant: Tenant, event: Event) -> dict[str, Any]:
    """Write a copy of an event."""
    return _item(tenant, event, copy_sort(event))


def copy_of(item: Item) -> EventCopy:
    """Read a copy of an event."""
    return EventCopy(**_attributes(item))


def _item(tenant: Tenant, event: Event, sort: str) -> dict[str, Any]:
    item: dict[str, Any] = {
        **key(tenant, event.xid, sort),
        "v": VERSION,
        "d": {"S": event.dataset_id},
        "p": {"S": event.place},
        "b": {"B": pack(event.body)},
    }
    if event.stored_until_s is not None:
        item["ttl"] = {"N": str(event.stored_until_s)}
    return item


def _attributes(item: Item) -> dict[str, Any]:
    until = item.get("ttl")
    return {
        "xid": xid_of(item["pk"]["S"]),
        "key": key_of_event(item["sk"]["S"]),
        "dataset_id": item["d"]["S"],
        "place": Place(item["p"]["S"]),
        "body": unpack(item["b"]["B"]),
        "stored_until_s": None if until is None else int(until["N"]),
    }
