"""D1: deleting what a dataset brought: units per item, CPU of a worker, and that the cost follows the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from botocore import xform_name

from bench.people import EVENTS, OTHER_RECORDS, RECORDS, event, record
from bench.store import NOW_MS, START_MS, Inline, Store, store
from bench.table import Line, limited
from bench.timing import compare
from bench.units import Meter
from tessera.domain.configuration import DatasetKind
from tessera.domain.identity import INDEX_SHARDS
from tessera.domain.place import END_OF_TIME
from tessera.domain.profile import RecordFragment
from tessera.domain.purge import Purge
from tessera.services.linking import Linker
from tessera.services.purging.reached import DatasetRows
from tessera.services.purging.shares import START, Share
from tessera.storage import aws
from tessera.storage.person_index import PersonIndex
from tessera.storage.record_items import record_item

_BYTES = 700
_IDENTITIES = 40
_OTHERS = 99 * _IDENTITIES
_EVENTS_EACH = 10
_ROUNDS = 5
_AT_ONCE = 25


def measure() -> list[Line]:
    """Measure deleting records and events, alone and as 1 % of a store."""
    records = [record(f"person-{number}", _BYTES) for number in range(_IDENTITIES)]
    events = [
        event(f"person-{number}", each, _BYTES, NOW_MS - each)
        for number in range(_IDENTITIES)
        for each in range(_EVENTS_EACH)
    ]
    alone, lines = _deleted(RECORDS, records, 0)
    one_percent, _ = _deleted(RECORDS, records, _OTHERS)
    ratio = sum(one_percent) / sum(alone)
    what = f"units of deleting {_IDENTITIES} of {_IDENTITIES + _OTHERS:,} records, against those of {_IDENTITIES} alone"
    lines.append(limited("D1", what, ratio, 1.05, floor="1"))
    return lines + _deleted(EVENTS, events, 0)[1]


def _deleted(dataset_id: str, bodies: Sequence[dict[str, Any]], others: int) -> tuple[tuple[int, int], list[Line]]:
    """Delete a dataset in a store with ``others`` more records: the units read and written, and figures as lines."""
    with store() as made:
        meter = Meter()
        made.metered(meter, dataset_id, bodies)
        _keep_records(made, others)
        made.wire.taken()
        made.wire.forget()
        meter.reset()
        job = Purge("job", dataset_id, _kind(made, dataset_id), END_OF_TIME, "bench", START_MS, START_MS)
        share = Share("all", _shards(made, dataset_id))
        made.wire.taken()
        items = _sweep(made, job, share, Inline())
        calls = made.wire.taken()
        meter.add(calls)
        units = meter.reads, meter.written
        if others:
            return units, []
        made.record_pointers()
        work = [(getattr(made.wire.client, xform_name(call.operation)), call.arguments) for call in calls]
        with made.wire.replaying(), ThreadPoolExecutor(aws.CONNECTIONS) as executor:
            cpu = compare(
                lambda: _sweep(made, job, share, executor),
                lambda: list(executor.map(lambda call: call[0](**call[1]), work)),
                times=1,
                rounds=_ROUNDS,
            )
        named = f"{'events' if dataset_id == EVENTS else 'records'} of {_BYTES} bytes"
        per_second = 1000 * items / cpu.ours_ms
        return units, [
            Line("D1", f"{named}: write units per deleted item", "1", f"{units[1] / items:.2f}"),
            Line("D1", f"{named}: read units per deleted item, listing them included", "", f"{units[0] / items:.2f}"),
            Line("D1", f"{named}: items per second of a worker's CPU", "", f"{per_second:,.0f}"),
            limited("D1", f"{named}: CPU of a worker", cpu.ratio, 2, floor=f"{cpu.floor_ms / items:.2f} ms"),
        ]


def _sweep(made: Store, job: Purge, share: Share, executor: Executor) -> int:
    """Find and delete all that a job reaches, as a worker does; how many items that are."""
    client = made.wire.client
    linker = Linker(made.table, executor)
    index = PersonIndex(client, aws.profile_table())
    rows = DatasetRows(made.configurations, index, made.table, linker, executor, lambda: NOW_MS)
    items = 0
    at = START
    while True:
        xids, behind = rows.identities(made.tenant, job, share, at)
        found = rows.find(made.tenant, job, xids)
        rows.delete(made.tenant, job, found)
        items += sum(found.counts.values())
        if behind is None:
            return items
        at = behind


def _shards(made: Store, dataset_id: str) -> tuple[int, ...]:
    """Find the shards of the index that have something of a dataset, as planning does."""
    index = PersonIndex(made.wire.client, aws.profile_table())
    names = [index.names(made.tenant, [dataset_id], shard, graphs=False)[0] for shard in range(INDEX_SHARDS)]
    return tuple(shard for shard, name in enumerate(names) if index.count(made.tenant, name))


def _keep_records(made: Store, count: int) -> None:
    """Store records of another dataset as the items that writing them would leave: a fraction of the work."""
    placed = made.place(OTHER_RECORDS, [record(f"other-{number}", _BYTES) for number in range(count)])
    fragments = [
        RecordFragment(one.row.primary.xid(made.tenant), OTHER_RECORDS, one.place, one.row.body) for one in placed
    ]
    puts: list[Any] = [{"PutRequest": {"Item": record_item(made.tenant, one)}} for one in fragments]
    for start in range(0, count, _AT_ONCE):
        made.wire.client.batch_write_item(RequestItems={aws.profile_table(): puts[start : start + _AT_ONCE]})


def _kind(made: Store, dataset_id: str) -> DatasetKind:
    return made.configurations.current(made.tenant).datasets[dataset_id].kind
