"""A profile store to measure on: the tables, filled through our own writer, and the wire to them.

The tables are moto's, which keeps them in memory; only recording reaches it.
"""

from __future__ import annotations

import copy
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import orjson
from moto import mock_aws
from moto.dynamodb.models.table import Table

from bench.canned import Wire
from bench.people import EVENTS, MANY_RECORDS, OTHER_RECORDS, RECORDS, UPDATES
from bench.units import Meter
from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.merge_policy import MergePolicy
from tessera.domain.place import batch_place
from tessera.domain.profile import Event
from tessera.domain.rows import PlacedRow, accept
from tessera.domain.tenant import Tenant
from tessera.services.profile_writer import ProfileWriter
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.profile_items import event_item, event_key
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry

ENVIRONMENT = {
    "PROFILE_TABLE": "TesseraStorage-TablesProfile",
    "REGISTRY_TABLE": "TesseraStorage-TablesRegistry",
    "LAKE_BUCKET": "tesserastorage-lakebucket",
    "TOKEN_ISSUER": "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Bench",
    "TOKEN_JWKS_URL": "http://127.0.0.1:9/jwks.json",
    "POWERTOOLS_SERVICE_NAME": "bench",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
}
TENANT = Tenant("ACME@AdobeOrg", "prod")
BATCH = "01J8ZQ4W5N6V7B8C9D0E1F2G3H"
DAY_MS = 86_400_000
START_MS = 20_000 * DAY_MS
# What the clock of writers and readers shows.
NOW_MS = START_MS + DAY_MS // 2
_DATASETS = {
    dataset_id: DatasetSettings(
        dataset_id,
        DatasetKind.EVENT if dataset_id == EVENTS else DatasetKind.RECORD,
        profile_enabled=True,
        identity_enabled=True,
        upsert=dataset_id == UPDATES,
    )
    for dataset_id in (RECORDS, OTHER_RECORDS, EVENTS, UPDATES, *MANY_RECORDS)
}
POLICY = MergePolicy("b7d3c6a2-5f0e-4c8b-9a41-2d6e8f7a9c10", "Default Timebased", default=True)
CONFIGURATION = (
    Configuration(1, "7a1f", TENANT.sandbox, "production", datasets=_DATASETS)
    .with_policy(POLICY)
    .with_namespaces(["crmId", "loyaltyId", "CdnowId", "CdnowSampleId"])
)
_BATCH_WRITE = 25
# Enough random picks of the configuration's pointer to meet each of its replicas.
_PICKS = 120


class Inline(Executor):
    """Does the work at once, in the caller's thread: moto is not made for several."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do it."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@dataclass
class Store:
    """The tables of one measurement, with a sandbox and its datasets."""

    wire: Wire
    configurations: ConfigurationStore
    table: ProfileTable
    registry: Registry
    tenant: Tenant = TENANT
    _rows: int = 0
    _writer: ProfileWriter = field(init=False)

    def __post_init__(self) -> None:
        self._writer = self.writer(Inline())

    def sandbox(self, name: str, configuration: Configuration) -> Store:
        """Make another sandbox in the same tables."""
        tenant = replace(self.tenant, sandbox=name)
        self.configurations.create(tenant, configuration)
        return replace(self, tenant=tenant)

    def writer(self, executor: Executor) -> ProfileWriter:
        """Make a writer for which time stands still."""
        return ProfileWriter(self.configurations, self.table, executor, clock_ms=lambda: NOW_MS)

    def place(self, dataset_id: str, bodies: Iterable[dict[str, Any]], at_ms: int = START_MS) -> list[PlacedRow]:
        """Accept rows, each at a place after all before it of the same time."""
        rows = []
        for body in bodies:
            self._rows += 1
            dataset = _DATASETS[dataset_id]
            row = accept(body, dataset.kind, len(orjson.dumps(body)), dataset.action)
            rows.append(PlacedRow(batch_place(at_ms, BATCH, 0, self._rows), row))
        return rows

    def write(self, dataset_id: str, bodies: Iterable[dict[str, Any]], at_ms: int = START_MS) -> None:
        """Write rows as one worker does."""
        self._writer.apply(self.tenant, dataset_id, self.place(dataset_id, bodies, at_ms))

    def keep(self, dataset_id: str, bodies: Iterable[dict[str, Any]]) -> None:
        """Store more events of identities and streams that are there, as the items that writing them would leave.

        It is a fraction of the work.
        """
        puts: list[Any] = []
        for item in self.place(dataset_id, bodies):
            row = item.row
            key = event_key(row.timestamp_ms, dataset_id, row.event_id)
            event = Event(row.primary.xid(self.tenant), key, dataset_id, item.place, row.body)
            puts.append({"PutRequest": {"Item": event_item(self.tenant, event)}})
        for start in range(0, len(puts), _BATCH_WRITE):
            some = puts[start : start + _BATCH_WRITE]
            self.wire.client.batch_write_item(RequestItems={ENVIRONMENT["PROFILE_TABLE"]: some})
        self.wire.taken()

    def metered(
        self, meter: Meter, dataset_id: str, bodies: Sequence[dict[str, Any]], at_ms: int = START_MS
    ) -> tuple[float, float]:
        """Write rows; return the units written and read per row. The meter must know what is stored already."""
        meter.reset()
        self.wire.taken()
        self.write(dataset_id, bodies, at_ms)
        meter.add(self.wire.taken())
        return meter.written / len(bodies), meter.reads / len(bodies)

    def record_pointers(self) -> None:
        """Record the reading of every replica of the configuration's pointer."""
        for _ in range(_PICKS):
            self.configurations.current(self.tenant)


@contextmanager
def store() -> Iterator[Store]:
    """Make an empty store in the environment of a function."""
    before = dict(os.environ)
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "TOKEN_SCOPE"):
        os.environ.pop(name, None)
    os.environ.update(ENVIRONMENT)
    aws.dynamodb.cache_clear()
    try:
        with mock_aws(), patch.object(Table, "__deepcopy__", _snapshot, create=True):
            client: Any = aws.dynamodb()
            _create_tables(client)
            configurations = ConfigurationStore(client, aws.registry_table())
            configurations.create(TENANT, CONFIGURATION)
            table = ProfileTable(client, aws.profile_table())
            yield Store(Wire(client), configurations, table, Registry(client, aws.registry_table()))
    finally:
        aws.dynamodb.cache_clear()
        os.environ.clear()
        os.environ.update(before)


def _snapshot(table: Any, _memo: object) -> Any:
    """Copy a table but not its items, which are replaced and never changed.

    moto keeps a copy for each write of a transaction, in case it fails: copying all items takes minutes.
    """
    kept = copy.copy(table)
    kept.items = defaultdict(dict, {key: dict(items) for key, items in table.items.items()})
    return kept


def _create_tables(client: Any) -> None:
    for name, attributes, more in (
        (
            ENVIRONMENT["PROFILE_TABLE"],
            ("pk", "sk", "ik"),
            {
                "GlobalSecondaryIndexes": [
                    {
                        "IndexName": "index",
                        "KeySchema": [
                            {"AttributeName": "ik", "KeyType": "HASH"},
                            {"AttributeName": "pk", "KeyType": "RANGE"},
                        ],
                        "Projection": {"ProjectionType": "KEYS_ONLY"},
                    }
                ]
            },
        ),
        (ENVIRONMENT["REGISTRY_TABLE"], ("pk", "sk"), {}),
    ):
        client.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in attributes],
            BillingMode="PAY_PER_REQUEST",
            **more,
        )
