"""G1: what rows cost does not grow with what is stored: units per row on the local cloud.

The workers' own writer runs here, against the tables of the local cloud that `make run` starts, in a sandbox of an
organisation of its own; units are counted from the calls that it makes and the answers that it gets.
"""

from __future__ import annotations

import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import orjson

from bench.canned import Wire
from bench.clicks import clicks
from bench.people import EVENTS
from bench.store import BATCH, CONFIGURATION, START_MS, TENANT
from bench.table import Line
from bench.units import Meter
from ops import local_cloud
from tessera.domain.configuration import DatasetKind
from tessera.domain.place import batch_place
from tessera.domain.rows import PlacedRow, accept
from tessera.domain.tenant import Tenant
from tessera.services.profile_writer import ProfileWriter
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.profile_table import ProfileTable

_SHARES = (1_000, 10_000)
_THREADS = 8
_AT_ONCE = 1_000


def measure() -> list[Line]:
    """Write rows of new people, more and more of them, and count."""
    before = dict(os.environ)
    os.environ.update(local_cloud.ensure_running(local_cloud.DIRECTORY).environment())
    aws.dynamodb.cache_clear()
    try:
        return _measured()
    finally:
        aws.dynamodb.cache_clear()
        os.environ.clear()
        os.environ.update(before)


def _measured() -> list[Line]:
    client: Any = aws.dynamodb()
    tenant = Tenant(f"BENCH{uuid.uuid4().hex[:8]}@AdobeOrg", TENANT.sandbox)
    configurations = ConfigurationStore(client, aws.registry_table())
    configurations.create(tenant, CONFIGURATION)
    wire, meter = Wire(client), Meter()
    rows = clicks()
    lines = []
    stored = 0
    with ThreadPoolExecutor(_THREADS) as executor:
        writer = ProfileWriter(configurations, ProfileTable(client, aws.profile_table()), executor)
        for count in _SHARES:
            meter.reset()
            for start in range(0, count, _AT_ONCE):
                share = [_placed(row, stored + start + at) for at, row in enumerate(islice(rows, _AT_ONCE))]
                writer.apply(tenant, EVENTS, share)
                meter.add(wire.taken())
            told = f"{count:,} events of new people, {stored:,} stored before; read units: {meter.reads / count:.2f}"
            lines.append(Line("G1", f"{told}; write units", "1", f"{meter.written / count:.2f}"))
            stored += count
    return lines


def _placed(row: dict[str, Any], number: int) -> PlacedRow:
    return PlacedRow(batch_place(START_MS, BATCH, 0, number), accept(row, DatasetKind.EVENT, len(orjson.dumps(row))))
