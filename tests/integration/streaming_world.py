"""A sandbox to which events are streamed; when messages are delivered and gathered, how often, is up to the test."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import boto3
import orjson
import pytest

from jobs import stream
from tessera.domain.batch import Batch
from tessera.domain.identity import Identity
from tessera.domain.message import Message
from tessera.domain.place import Place, stream_place
from tessera.domain.purge import Purge
from tessera.domain.ulid import ulid
from tessera.services.purging.accepting import Purges, Wanted
from tessera.services.streaming.gathered import Gathered
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.deleted_rows import DeletedRows
from tessera.storage.journal import Journal
from tessera.storage.purges import PurgeStore
from tessera.storage.registry import Registry
from tessera.storage.stream_lake import StreamLake
from tessera.storage.streamed_rows import StreamedRows
from tests.integration import purge_machine, stream_queues
from tests.integration.executors import Inline
from tests.integration.purging_world import SHOP, TENANT, Nothing, World

DAY_MS = 86_400_000


@dataclass
class Sent:
    """A message: where it is in history, whose event it brings, and with which amount."""

    message: Message
    one: Identity
    name: str
    amount: int

    @property
    def place(self) -> Place:
        return self.message.place


@dataclass
class StreamingWorld(World):
    """The clock of the world is that of everybody in it."""

    known: set[str] = field(default_factory=set)

    def send(self, one: Identity, name: str, amount: int, time_ms: int) -> Sent:
        """Accept a message: from here on it may be delivered."""
        at_ms = self.tick()
        body = {
            "_id": name,
            "timestamp": time_ms,
            "amount": amount,
            "identityMap": {one.namespace: [{"id": one.value}]},
        }
        header = {"datasetId": SHOP, "source": {"name": "till"}}
        place = stream_place(at_ms, ulid(at_ms, secrets.randbits(80)), None)
        return Sent(Message(TENANT, SHOP, place, header, {"xdmEntity": body}), one, name, amount)

    def deliver(self, *sent: Sent) -> None:
        """Have messages processed together."""
        self.tick()
        assert stream._processor().process([one.message for one in sent]) == set()

    def gather(self) -> dict[str, set[str]]:
        """Close the windows that are open; the batches that are new, and what the rows of their files are called."""
        self.now_ms += 3 * stream_queues.WINDOW_S * 1000
        for body in stream_queues.asked_for():
            assert stream.close({"Records": [{"messageId": "1", "body": body}]}, None) == {"batchItemFailures": []}
        stream_queues.empty("windows")
        new = [batch for batch in self.batches() if batch.id not in self.known]
        self.known |= {batch.id for batch in new}
        return {batch.id: {f"{row['_id']}/{row['amount']}" for row in self.rows_of(batch.id)} for batch in new}

    def batches(self) -> list[Batch]:
        return list(BatchStore(Registry(aws.dynamodb(), aws.registry_table())).each(TENANT))

    def rows_of(self, batch_id: str) -> list[dict[str, Any]]:
        s3 = boto3.client("s3")
        found = s3.list_objects_v2(Bucket="lake", Prefix=f"raw/{TENANT.key}/{batch_id}/").get("Contents", ())
        bodies = [s3.get_object(Bucket="lake", Key=item["Key"])["Body"].read() for item in found]
        return [orjson.loads(line) for body in bodies for line in body.splitlines()]

    def delete_streamed(self, batch_id: str, *, lake: bool = False) -> Purge:
        """Delete a batch, with the clients that the process has now."""
        registry = Registry(aws.dynamodb(), aws.registry_table())
        purges = Purges(
            self.configurations,
            PurgeStore(registry),
            BatchStore(registry),
            Gathered(StreamedRows(aws.s3(), aws.lake_bucket()), StreamLake(aws.s3(), aws.lake_bucket(), Inline())),
            DeletedRows(registry),
            Journal(aws.s3(), aws.lake_bucket()),
            Nothing(),
            clock_ms=self.tick,
            pause=lambda _: None,
        )
        return purges.accept(TENANT, Wanted(batch_id=batch_id, lake=lake), "me")


def made(monkeypatch: pytest.MonkeyPatch) -> StreamingWorld:
    """Make one, with queues and the machine that deletes."""
    purge_machine.created_machine(monkeypatch)
    stream_queues.created_queues(monkeypatch)
    return begun(monkeypatch)


def begun(monkeypatch: pytest.MonkeyPatch) -> StreamingWorld:
    """Make one whose clock is at the beginning of a window."""
    window_ms = stream_queues.WINDOW_S * 1000
    world = StreamingWorld(now_ms=time.time_ns() // 1_000_000 // window_ms * window_ms)
    monkeypatch.setattr(time, "time_ns", lambda: world.now_ms * 1_000_000)
    return world
