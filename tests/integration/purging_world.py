"""A sandbox of which datasets, batches and persons are deleted; what happens in which order is up to the test."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import boto3

from tessera.domain.batch import Batch, BatchStatus
from tessera.domain.computed.window import Unit, Window
from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.deletion import PersonDeletion
from tessera.domain.errors import EntityNotFoundError
from tessera.domain.identity import Identity
from tessera.domain.merge_policy import GraphType
from tessera.domain.place import Place, batch_place, stream_place
from tessera.domain.purge import Purge
from tessera.domain.rows import PlacedRow, Row, accept
from tessera.domain.tenant import Tenant
from tessera.domain.times import iso_ms
from tessera.domain.ulid import ulid
from tessera.domain.upsert import Action
from tessera.services import timeline
from tessera.services.computed.compiled import compile_attribute
from tessera.services.deletion import Deletions
from tessera.services.ingestion.removing import Remover
from tessera.services.ingestion.staged import written
from tessera.services.profile_reader import Person, ProfileReader
from tessera.services.profile_writer import ProfileWriter
from tessera.services.purging.accepting import Purges, Wanted
from tessera.services.streaming.gathered import Gathered
from tessera.services.sweep import Sweep
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.deleted_rows import DeletedRows
from tessera.storage.jobs import DeletionStore
from tessera.storage.journal import Journal
from tessera.storage.lake import Lake
from tessera.storage.profile_table import ProfileTable
from tessera.storage.purges import PurgeStore
from tessera.storage.registry import Registry
from tessera.storage.stream_lake import StreamLake
from tessera.storage.streamed_rows import StreamedRows
from tests.integration import purge_machine
from tests.integration.conftest import ORG
from tests.integration.executors import Inline

TENANT = Tenant(ORG, "dev")
CRM, TIERS, SHOP = "crm", "tiers", "shop"
DATASETS = [
    DatasetSettings(CRM, DatasetKind.RECORD, profile_enabled=True, identity_enabled=True),
    DatasetSettings(TIERS, DatasetKind.RECORD, profile_enabled=True, upsert=True),
    DatasetSettings(SHOP, DatasetKind.EVENT, profile_enabled=True, identity_enabled=True),
]
PEOPLE = [Identity("email", f"{number}@ex.org") for number in range(3)]
SPENT = "spent"


class Nothing:
    """Starts nothing."""

    def start(self, name: str, document: Mapping[str, Any]) -> None:
        """Do nothing."""


@dataclass
class Brought:
    """A batch, or with ``streamed`` a request with a message for each row: when it was accepted, and its rows by whom.

    ``replaced`` is the batch in whose place it is.
    """

    id: str
    dataset: str
    at_ms: int
    rows: list[tuple[Identity, dict[str, Any]]]
    streamed: bool = False
    replaced: Brought | None = None

    def place(self, number: int) -> Place:
        if self.streamed:
            return stream_place(self.at_ms, self.id, number)
        return batch_place(self.at_ms, self.id, 0, number)

    def placed(self) -> list[PlacedRow]:
        kind = DatasetKind.EVENT if self.dataset == SHOP else DatasetKind.RECORD
        return [
            PlacedRow(self.place(number), self.row(one, body, kind)) for number, (one, body) in enumerate(self.rows)
        ]

    def row(self, one: Identity, body: Mapping[str, Any], kind: DatasetKind) -> Row:
        row = accept({"identityMap": {one.namespace: [{"id": one.value}]}, **body}, kind, 100)
        return replace(row, action=Action.MERGE) if self.dataset == TIERS else row


class Stale(ConfigurationStore):
    """Goes by the configuration of before for as long as a writer may: for its first reading."""

    def __init__(self, before: Configuration) -> None:
        super().__init__(aws.dynamodb(), aws.registry_table())
        self._before: Configuration | None = before

    def current(self, tenant: Tenant) -> Configuration:
        if self._before is not None:
            before, self._before = self._before, None
            return before
        return super().current(tenant)


@dataclass
class World:
    """A sandbox with three datasets and a computed attribute; time goes on by a second with each thing that happens."""

    now_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000 - 3_600_000)

    def __post_init__(self) -> None:
        self.connect()
        for one in DATASETS:
            self.configurations.change(TENANT, lambda known, one=one: known.with_dataset(one))  # type: ignore[misc]
        self.publish(SPENT, "xEvent.sum(amount)")

    def connect(self) -> None:
        """Take the clients that the process has now."""
        self.configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())
        self.table = ProfileTable(aws.dynamodb(), aws.profile_table())
        self.registry = Registry(aws.dynamodb(), aws.registry_table())
        self.rows = StreamedRows(aws.s3(), aws.lake_bucket())

    def tick(self) -> int:
        self.now_ms += 1000
        return self.now_ms

    def stream(self, dataset: str, *rows: tuple[Identity, dict[str, Any]]) -> Brought:
        """Receive a request with several messages."""
        at_ms = self.tick()
        return Brought(ulid(at_ms, secrets.randbits(80)), dataset, at_ms, list(rows), streamed=True)

    def bring(self, dataset: str, *rows: tuple[Identity, dict[str, Any]], replaced: Brought | None = None) -> Brought:
        """Accept a batch: from here on it may be applied."""
        at_ms = self.tick()
        batch = Brought(ulid(at_ms, secrets.randbits(80)), dataset, at_ms, list(rows), replaced=replaced)
        record = Batch(
            *(batch.id, dataset, at_ms, "me"),
            completed_ms=at_ms,
            judged=True,
            status=BatchStatus.STAGED,
            predecessors=() if replaced is None else (replaced.id,),
        )
        BatchStore(self.registry).add(TENANT, record)
        lines = [written(number, item.row) for number, item in enumerate(batch.placed())]
        Lake(aws.s3(), aws.lake_bucket()).stage(TENANT, batch.id, "000000", lines)
        return batch

    def apply(self, batch: Brought, configurations: Any = None, *, apart: bool = False) -> None:
        """Apply a batch as a worker does, unless its record says that it is not to be; ``apart``: last row first.

        What only the batch had that it replaces is removed then.
        """
        records = BatchStore(self.registry)
        if not batch.streamed and not records.get(TENANT, batch.id).applies:
            return
        writer = ProfileWriter(configurations or self.configurations, self.table, Inline())
        rows, old = batch.placed(), batch.replaced
        for share in [[row] for row in reversed(rows)] if apart else [rows]:
            writer.apply(TENANT, batch.dataset, share, () if old is None else (old.id,))
        if old is not None:
            lake = Lake(aws.s3(), aws.lake_bucket())
            remover = Remover(records, self.configurations, lake, self.table, Inline())
            assert remover.remove(TENANT, batch.id, old.id, "000000")
            records.change(TENANT, old.id, lambda known: replace(known, status=BatchStatus.INACTIVE))

    def publish(self, name: str, expression: str) -> None:
        """Publish a computed attribute, which every writer knows."""
        rule = compile_attribute(expression, Window(7, Unit.DAYS)).rule
        self.configurations.change(
            TENANT, lambda known: known.with_attribute(name, expression, rule).with_ready_attribute(name)
        )

    def delete(self, dataset: str = "", batch: Brought | None = None, **more: Any) -> Purge:
        at_ms = self.tick()
        purges = Purges(
            self.configurations,
            PurgeStore(self.registry),
            BatchStore(self.registry),
            Gathered(self.rows, StreamLake(aws.s3(), aws.lake_bucket(), Inline())),
            DeletedRows(self.registry),
            Journal(aws.s3(), aws.lake_bucket()),
            Nothing(),
            clock_ms=lambda: at_ms,
            pause=lambda _: None,
        )
        return purges.accept(TENANT, Wanted(dataset, batch.id if batch else "", **more), "me")

    def delete_person(self, one: Identity) -> PersonDeletion:
        """Delete somebody. Raises EntityNotFoundError for whom no row ever named."""
        at_ms = self.tick()
        jobs = DeletionStore(self.registry)
        deletions = Deletions(self.table, jobs, Nothing(), lambda: at_ms, lambda _: None)
        return deletions.accept(TENANT, one.xid(TENANT), GraphType.PRIVATE, "me")

    def sweep(self, job: Purge | PersonDeletion) -> None:
        if isinstance(job, Purge):
            assert purge_machine.run(job.id) == "done"
        else:
            jobs = DeletionStore(self.registry)
            assert Sweep(self.table, jobs, self.configurations, Inline()).sweep(TENANT, job.id)

    def person(self, one: Identity) -> Person | None:
        reader = ProfileReader(self.configurations, self.table, Inline())
        now = time.time_ns() // 1_000_000
        try:
            return reader.person(TENANT, one.xid(TENANT), namespace=None, policy_id=None, now_ms=now)
        except EntityNotFoundError:
            return None

    def computed(self, one: Identity, name: str) -> Any:
        """What an attribute comes to for somebody."""
        person = self.person(one)
        if person is None:
            return None
        space, group = person.computed_at
        return person.entity().get(space, {}).get(group, {}).get(name)

    def seen(self, one: Identity) -> Any:
        """What readers see of somebody: fields, events, and what is computed of them."""
        person = self.person(one)
        if person is None:
            return None
        entity = person.entity()
        space, group = person.computed_at
        spent = entity.pop(space, {}).get(group, {}).get(SPENT)
        page = timeline.Timeline(self.table, Inline()).page(
            TENANT, person, timeline.Window(), 1000, None, person.now_ms
        )
        entity.pop("identityMap")
        return entity, sorted(event.body["_id"] for event in page.events), spent


def bought(world: World, name: str, amount: int) -> dict[str, Any]:
    return {"_id": name, "timestamp": iso_ms(world.now_ms - 60_000 - amount), "amount": amount}


def stored() -> dict[tuple[str, str], Any]:
    items = boto3.client("dynamodb").scan(TableName=aws.profile_table())["Items"]
    return {(item["pk"]["S"], item["sk"]["S"]): item for item in items}
