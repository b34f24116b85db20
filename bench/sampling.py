"""G2: what a sample reads does not grow with what is stored beside it: read units per profile on the local cloud.

The job's own planner and workers run here, against the tables of the local cloud that `make run` starts, in a sandbox
of an organisation of its own; units are counted from the calls that they make and the answers that they get. An index
and who merely counts are read at half price.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from bench.canned import Call, Wire
from bench.people import EVENTS, RECORDS
from bench.store import BATCH, CONFIGURATION, START_MS, TENANT
from bench.table import Line
from bench.units import READ_UNIT, read_units, units
from ops import local_cloud
from tessera.domain import prices
from tessera.domain.configuration import DatasetKind
from tessera.domain.export.share import Share
from tessera.domain.place import batch_place
from tessera.domain.rows import PlacedRow, accept
from tessera.domain.sample.insight import INDEX_KEYS
from tessera.domain.sample.job import Cause
from tessera.domain.sample.size import MEASURED_PERSONS
from tessera.domain.tenant import Tenant
from tessera.domain.times import iso_ms
from tessera.services.profile_writer import ProfileWriter
from tessera.services.sample.counting import Sampler
from tessera.services.sample.planning import Planner
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.holdings import Holdings
from tessera.storage.item_sizes import item_size
from tessera.storage.person_index import PersonIndex
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry
from tessera.storage.sample_lake import SampleLake
from tessera.storage.samples import SampleStore

_SIZES = (1_000, 10_000)
_EVENTS_EACH = 2
_AT_ONCE = 1_000
_THREADS = 8


def measure() -> list[Line]:
    """Take samples of a store that grows, and count."""
    before = dict(os.environ)
    os.environ.update(local_cloud.ensure_running(local_cloud.DIRECTORY).environment())
    for client in (aws.dynamodb, aws.s3):
        client.cache_clear()
    try:
        return _measured()
    finally:
        for client in (aws.dynamodb, aws.s3):
            client.cache_clear()
        os.environ.clear()
        os.environ.update(before)


def _measured() -> list[Line]:
    client: Any = aws.dynamodb()
    tenant = Tenant(f"BENCH{uuid.uuid4().hex[:8]}@AdobeOrg", TENANT.sandbox)
    configurations = ConfigurationStore(client, aws.registry_table())
    datasets = {name: CONFIGURATION.datasets[name] for name in (RECORDS, EVENTS)}
    configurations.create(tenant, replace(CONFIGURATION, datasets=datasets))
    wire = Wire(client)
    lines: list[Line] = []
    stored = 0
    with ThreadPoolExecutor(_THREADS) as executor:
        writer = ProfileWriter(configurations, ProfileTable(client, aws.profile_table()), executor)
        for size in _SIZES:
            for start in range(stored, size, _AT_ONCE):
                _write(writer, tenant, range(start, min(size, start + _AT_ONCE)))
            stored = size
            for measured in (1, MEASURED_PERSONS):
                wire.taken()
                plan, count = _sample(tenant, configurations, executor, wire, measured)
                lines.append(_line(size, measured, plan, count))
    return lines


def _write(writer: ProfileWriter, tenant: Tenant, numbers: range) -> None:
    """Write persons of whom every third has two identities, each with a record and some events."""
    records, events = [], []
    for number in numbers:
        identities: dict[str, Any] = {"crmId": [{"id": f"c{number}", "primary": True}]}
        one = {"identityMap": dict(identities), "person": {"name": {"firstName": f"First {number}"}}}
        if number % 3 == 0:
            one["identityMap"]["loyaltyId"] = [{"id": f"l{number}"}]
        records.append(PlacedRow(batch_place(START_MS, BATCH, 0, number), accept(one, DatasetKind.RECORD, 500)))
        for at in range(_EVENTS_EACH):
            event = {
                "_id": f"{number}-{at}",
                "timestamp": iso_ms(START_MS - at * 3_600_000),
                "identityMap": identities,
                "note": "x" * 300,
            }
            place = batch_place(START_MS, BATCH, 1, number * _EVENTS_EACH + at)
            events.append(PlacedRow(place, accept(event, DatasetKind.EVENT, 500)))
    writer.apply(tenant, RECORDS, records)
    writer.apply(tenant, EVENTS, events)


def _sample(
    tenant: Tenant, configurations: ConfigurationStore, executor: ThreadPoolExecutor, wire: Wire, measured: int
) -> tuple[float, float]:
    """Plan and count a sample in which the items of so many persons are looked at; return read units of both."""
    client = aws.dynamodb()
    states, lake = SampleStore(Registry(client, aws.registry_table())), SampleLake(aws.s3(), aws.lake_bucket())
    index = PersonIndex(client, aws.profile_table())
    job_id = uuid.uuid4().hex
    states.change(tenant, lambda known: replace(known, job=None))
    planner = Planner(states, configurations, index, lake, executor, 3, measured_persons=measured)
    planner.plan(tenant, job_id, Cause.ASKED)
    plan = sum(_units(wire.taken()))
    table = ProfileTable(client, aws.profile_table())
    holdings = Holdings(client, aws.profile_table())
    sampler = Sampler(states, configurations, index, table, holdings, lake, executor)
    for document in lake.plan(tenant, job_id):
        while not sampler.count(tenant, job_id, Share(**document)):
            pass
    return plan, sum(_units(wire.taken()))


def _units(calls: list[Call]) -> Iterator[float]:
    """Count read units: half of them where the last write need not be seen, by keys where only these are counted."""
    for call in calls:
        if call.operation != "Query" or call.arguments.get("ConsistentRead"):
            yield read_units(call)
            continue
        items = call.answer.get("Items")
        size = call.answer["Count"] * INDEX_KEYS if items is None else sum(map(item_size, items))
        yield units(size, READ_UNIT) / 2


def _line(size: int, measured: int, plan: float, count: float) -> Line:
    what = "every item too" if measured > 1 else "heads, records and streams"
    each = (plan + count) / size
    million = each * prices.MILLION * prices.DYNAMODB_PER_READ_UNIT
    told = f"a sample of {size:,} profiles, {what}: plan {plan:,.0f}, count {count:,.0f}; $ per million {million:.2f}"
    return Line("G2", f"{told}; read units per profile", "1", f"{each:.2f}")
