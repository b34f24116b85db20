"""A sandbox with a dataset of events whose clock is moved by hand, for tests of what expires."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from operator import methodcaller
from typing import Any

import boto3

from api.purges import purges
from tessera.domain.computed.values import computed_values
from tessera.domain.computed.window import Unit, Window
from tessera.domain.configuration import Configuration, DatasetSettings
from tessera.domain.errors import EntityNotFoundError
from tessera.domain.expiry_job import ExpiryJob
from tessera.domain.identity import Identity, shard_of
from tessera.domain.merge_policy import MergePolicy
from tessera.domain.place import batch_place
from tessera.domain.rows import PlacedRow, RowError, accept, expect_unexpired
from tessera.domain.tenant import Tenant
from tessera.domain.times import iso_ms, parse_ms
from tessera.services.computed.compiled import attributes_of, compile_attribute
from tessera.services.computed.rebuilding import complete
from tessera.services.datasets import DatasetCatalogue
from tessera.services.expirations import Expirations
from tessera.services.expiring import Course, Stamper
from tessera.services.profile_reader import Person, ProfileReader
from tessera.services.profile_writer import ProfileWriter
from tessera.services.stream_shares import Share
from tessera.services.timeline import Timeline
from tessera.services.timeline import Window as Span
from tessera.storage import aws
from tessera.storage import profile_items as items
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.expiry_jobs import ExpiryJobStore
from tessera.storage.lake import Lake
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry
from tessera.storage.stored_events import StoredEvents
from tessera.storage.stream_index import StreamIndex
from tests.integration.conftest import ORG
from tests.integration.executors import Inline

DAY = 86_400_000
BEGIN = parse_ms("2026-02-27T21:17:00Z")
BATCH = "01J00000000000000000000000"
ADA, BOB = (Identity("crmid", name) for name in ("ada", "bob"))
HALF_A_YEAR = Window(6, Unit.MONTHS)
# What the machine waits, in milliseconds.
WAIT_MS = 240_000
EVENTS = "https://ns.adobe.com/xdm/context/experienceevent"


class Machine:
    """Remembers what was started; each is run when a test says so."""

    def __init__(self) -> None:
        self.started: dict[str, dict[str, Any]] = {}

    def start(self, name: str, document: Mapping[str, Any]) -> None:
        self.started.setdefault(name, dict(document))


@dataclass
class World:
    """The sandbox, who writes to it, who reads it, and the steps of the machine."""

    tenant: Tenant = field(default_factory=lambda: Tenant(ORG, uuid.uuid4().hex))
    now_ms: int = BEGIN
    places: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        registry = Registry(aws.dynamodb(), aws.registry_table())
        self.configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())
        policy = MergePolicy("default", "", default=True)
        self.configurations.create(
            self.tenant,
            Configuration(1, "id", self.tenant.sandbox, "development").with_policy(policy).with_namespaces(["crmid"]),
        )
        self.machine = Machine()
        self.jobs = ExpiryJobStore(registry)
        expirations = Expirations(self.jobs, self.machine, self.clock_ms)
        self.catalogue = DatasetCatalogue(self.configurations, registry, expirations, purges(), self.clock_ms)
        self.table = ProfileTable(aws.dynamodb(), aws.profile_table())
        self.lake = Lake(aws.s3(), aws.lake_bucket())
        self.dataset_id = self.create()

    def clock_ms(self) -> int:
        return self.now_ms

    def create(self, ttl: str | None = None) -> str:
        fields: dict[str, Any] = {
            "name": "web",
            "schemaRef": {"id": EVENTS},
            "tags": {"unifiedProfile": ["enabled:true"], "unifiedIdentity": ["enabled:true"]},
        }
        return self.catalogue.create(self.tenant, "id", "me", fields | extensions(ttl))

    def set_ttl(self, ttl: str | None) -> str:
        """Give the dataset a TTL or take it away; return the id of the job that sees to what is stored."""
        self.catalogue.change(self.tenant, self.dataset_id, "me", lambda known: known | extensions(ttl))
        expiry = self.dataset.expiry
        return expiry.job if expiry is not None else ""

    @property
    def dataset(self) -> DatasetSettings:
        return self.configurations.current(self.tenant).datasets[self.dataset_id]

    # Events

    def accept(self, event_id: str, timestamp_ms: int, identity: Identity = ADA, **body: Any) -> PlacedRow:
        """Take an event in; it is processed later. Raises RowError."""
        body |= {"_id": event_id, "timestamp": iso_ms(timestamp_ms)}
        ids = {"crmid": [{"id": identity.value}]}
        row = accept({"identityMap": ids, **body}, self.dataset.kind, 100)
        expect_unexpired(row, self.dataset.horizon_ms(self.now_ms))
        return PlacedRow(batch_place(self.now_ms, BATCH, 0, next(self.places)), row)

    def write(self, *rows: PlacedRow, client: Any = None, clock: Any = None) -> None:
        table = self.table if client is None else ProfileTable(client, aws.profile_table())
        clocks = {} if clock is None else {"clock": clock}
        writer = ProfileWriter(self.configurations, table, Inline(), clock_ms=self.clock_ms, **clocks)
        writer.apply(self.tenant, self.dataset_id, rows)

    def bring(self, event_id: str, timestamp_ms: int, identity: Identity = ADA, **body: Any) -> bool:
        """Take an event in and process it; tell whether it was accepted."""
        try:
            self.write(self.accept(event_id, timestamp_ms, identity, **body))
        except RowError:
            return False
        return True

    # Readers

    def person(self, identity: Identity = ADA) -> Person | None:
        reader = ProfileReader(self.configurations, self.table, Inline())
        xid = identity.xid(self.tenant)
        try:
            return reader.person(self.tenant, xid, namespace=None, policy_id=None, now_ms=self.now_ms)
        except EntityNotFoundError:
            return None

    def shown(self, identity: Identity = ADA) -> list[str]:
        person = self.person(identity)
        if person is None:
            return []
        page = Timeline(self.table, Inline()).page(self.tenant, person, Span(), 10_000, None, self.now_ms)
        return [event.body["_id"] for event in page.events]

    def values(self, identity: Identity = ADA) -> dict[str, Any]:
        """What is computed of somebody, whether or not anything else is left of them."""
        xid = identity.xid(self.tenant)
        found = self.table.identity(self.tenant, xid)
        if found is None:
            return {}
        configuration = self.configurations.current(self.tenant)
        return computed_values([found], configuration.policies["default"], configuration, self.now_ms)

    # Attributes and machines

    def publish(self, name: str, expression: str, *identities: Identity, window: Window = HALF_A_YEAR) -> None:
        """Publish an attribute, fill it and make it ready."""
        rule = compile_attribute(expression, window).rule
        configuration = self.configurations.change(
            self.tenant, lambda known: known.with_attribute(name, expression, rule)
        )
        attributes = attributes_of(configuration)
        for identity in identities or (ADA,):
            xid = identity.xid(self.tenant)
            stream = self.table.streams(self.tenant, [xid], self.dataset_id).get(xid)
            if stream is not None:
                complete(
                    *(self.table, self.tenant, stream, attributes, None, self.dataset.horizon_ms, self.clock_ms),
                    generation=attributes.generation,
                )
        self.configurations.change(self.tenant, methodcaller("with_ready_attribute", name))

    def course(self) -> Course:
        index = StreamIndex(aws.dynamodb(), aws.profile_table())
        return Course(self.jobs, index, self.lake, Inline(), self.clock_ms)

    def stamper(self, client: Any = None, s3: Any = None) -> Stamper:
        client, s3 = client or aws.dynamodb(), s3 or aws.s3()
        return Stamper(
            ConfigurationStore(client, aws.registry_table()),
            StreamIndex(client, aws.profile_table()),
            ProfileTable(client, aws.profile_table()),
            StoredEvents(client, aws.profile_table()),
            Lake(s3, aws.lake_bucket()),
            Inline(),
            lambda: self.now_ms / 1000,
            self.clock_ms,
            lambda seconds: None,
        )

    def plan(self, job_id: str) -> list[Share]:
        """Begin a job with a plan of just the shards that somebody is in: to count all 256 takes a test too long."""
        self.jobs.change(self.tenant, job_id, lambda known: known.started(self.now_ms))
        shards = sorted({shard_of(one.xid(self.tenant)) for one in (ADA, BOB)})
        shares = [Share(self.dataset_id, tuple(shards))]
        self.lake.write_shares(self.tenant, job_id, [share.to_document() for share in shares])
        return shares

    def run(self, job_id: str) -> ExpiryJob:
        """Do all that the machine does."""
        self.now_ms += WAIT_MS
        for share in self.plan(job_id):
            while not self.stamper().stamp(self.tenant, job_id, share):
                pass
        self.course().finish(self.tenant, job_id)
        return self.jobs.get(self.tenant, job_id)

    def reclaim(self) -> int:
        """Do what DynamoDB does some time after the time that an item gives; return to how many."""
        client, gone = boto3.client("dynamodb"), 0
        for item in stored().values():
            mine = item["pk"]["S"].startswith(self.tenant.key)
            if mine and "ttl" in item and int(item["ttl"]["N"]) * 1000 < self.now_ms:
                client.delete_item(TableName=aws.profile_table(), Key={"pk": item["pk"], "sk": item["sk"]})
                gone += 1
        return gone

    def stored_until(self, identity: Identity = ADA) -> dict[str, int | None]:
        """Until when each event is stored, in seconds since 1970, by the time of the event."""
        events = StoredEvents(aws.dynamodb(), aws.profile_table())
        return {
            iso_ms(items.timestamp_of(one.key)): one.stored_until_s
            for one in events.each(self.tenant, identity.xid(self.tenant), self.dataset_id)
        }


def extensions(ttl: str | None) -> dict[str, Any]:
    return {"extensions": {"adobe_unifiedProfile": {"rowExpiration": {} if ttl is None else {"ttlValue": ttl}}}}


def stored() -> dict[tuple[str, str], Any]:
    """Everything in the profile table."""
    found: list[Any] = []
    for page in boto3.client("dynamodb").get_paginator("scan").paginate(TableName=aws.profile_table()):
        found += page["Items"]
    return {(item["pk"]["S"], item["sk"]["S"]): item for item in found}
