"""Erasing in process: a sandbox with a person, the call, and the tasks of the machine in the order it has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import boto3
import orjson
import zstandard

from tessera.domain.erasure import Erasure
from tessera.domain.erasure_list import Entry
from tessera.domain.identity import Identity
from tessera.domain.merge import is_deleted
from tessera.domain.profile import Event, EventStream, RecordFragment
from tessera.services.erasure.accepting import Acceptance
from tessera.services.erasure.cutting import Cutter
from tessera.services.erasure.exported import ExportSearch
from tessera.services.erasure.holds import Holds
from tessera.services.erasure.sweeping import ErasureSweep
from tessera.services.reclaiming import Reclaimer
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.codec import unpack
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.erasure_lake import ErasureLake
from tessera.storage.erasures import ErasureStore, HoldRegister
from tessera.storage.export_lake import ExportLake
from tessera.storage.journal import Journal
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry
from tests.integration.executors import Inline
from tests.integration.test_person_delete import World

WINDOW_MS = 900_000


class ErasingWorld(World):
    """A world in which persons are erased; clients may be hostile."""

    def connect(self) -> None:
        """Go to the tables that the environment names."""
        super().connect()
        self.erasures = ErasureStore(Registry(aws.dynamodb(), aws.registry_table()))
        self.lake = ErasureLake(aws.s3(), aws.lake_bucket())

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ms += round(seconds * 1000)

    def acceptance(self, client: Any = None, s3: Any = None, table: ProfileTable | None = None) -> Acceptance:
        client = client or aws.dynamodb()
        registry = Registry(client, aws.registry_table())
        heads = table or ProfileTable(client, aws.profile_table())
        lists = ErasureLake(s3 or aws.s3(), aws.lake_bucket())
        cutter = Cutter(heads, lambda: self.now_ms, self.pause)
        register, journal = HoldRegister(registry), Journal(s3 or aws.s3(), aws.lake_bucket())
        return Acceptance(
            heads, ErasureStore(registry), lists, register, journal, Inline(), cutter, lambda: self.now_ms, lambda: 0.0
        )

    def erase(self, *identities: Identity, hold: bool = False, client: Any = None, s3: Any = None) -> Erasure:
        """Do what the API does with a list of identities."""
        entries = [Entry(line, identity) for line, identity in enumerate(identities, start=1)]
        return self.acceptance(client, s3).begin(self.tenant, entries, self.machine, hold=hold, caller="officer")

    def holds(self, client: Any = None, s3: Any = None) -> Holds:
        client = client or aws.dynamodb()
        heads = ProfileTable(client, aws.profile_table())
        register = HoldRegister(Registry(client, aws.registry_table()))
        journal = Journal(s3 or aws.s3(), aws.lake_bucket())
        return Holds(heads, register, journal, Cutter(heads, lambda: self.now_ms, self.pause), lambda: self.now_ms)

    def lift(self, identity: Identity) -> None:
        self.holds().lift(self.tenant, self.xid(identity), "officer")

    def erasure_sweep(self, client: Any = None, s3: Any = None, table: ProfileTable | None = None) -> ErasureSweep:
        client = client or aws.dynamodb()
        store = table or ProfileTable(client, aws.profile_table())
        configurations = ConfigurationStore(client, aws.registry_table())
        return ErasureSweep(
            store,
            ErasureStore(Registry(client, aws.registry_table())),
            ErasureLake(s3 or aws.s3(), aws.lake_bucket()),
            Reclaimer(store, configurations, Inline(), lambda: self.now_ms),
            WINDOW_MS,
            clock_ms=lambda: self.now_ms,
        )

    def search(self, client: Any = None, s3: Any = None) -> ExportSearch:
        registry = Registry(client or aws.dynamodb(), aws.registry_table())
        return ExportSearch(
            ErasureStore(registry),
            ErasureLake(s3 or aws.s3(), aws.lake_bucket()),
            BatchStore(registry),
            ExportLake(s3 or aws.s3(), aws.lake_bucket()),
            clock=lambda: 0.0,
            clock_ms=lambda: self.now_ms,
        )

    def work(self, client: Any = None, s3: Any = None) -> None:
        """Do what the machine does, for all erasures that were started."""
        for started in list(self.machine.started.values()):
            job_id = started["job_id"]
            steps: Sequence[Callable[[], Any]] = (
                lambda job_id=job_id: self.acceptance(client, s3).accept(self.tenant, job_id).accepted_ms,  # type: ignore[misc]
                lambda job_id=job_id: self.erasure_sweep(client, s3).sweep(self.tenant, job_id),  # type: ignore[misc]
                lambda job_id=job_id: self.search(client, s3).search(self.tenant, job_id),  # type: ignore[misc]
            )
            for step in steps:
                for _ in range(1000):
                    if step():
                        break
                else:
                    raise AssertionError("a step has no end")

    def erasure(self) -> Erasure:
        """The only erasure."""
        (started,) = self.machine.started.values()
        return self.erasures.get(self.tenant, started["job_id"])

    def visible(self, *identities: Identity) -> set[tuple[Identity, str, str]]:
        """What reads show of identities, each for itself: identity, dataset, place; and no stream that is dead."""
        found: set[tuple[Identity, str, str]] = set()
        configuration = self.configurations.current(self.tenant)
        for identity in identities:
            items = self.table.identity(self.tenant, self.xid(identity))
            if items is None:
                continue
            page = self.table.stored(self.tenant, items.head.xid, after=None, limit=1000)
            streams = set()
            events = set()
            for _, item in page.items:
                if is_deleted(item.place, item.dataset_id, items.head, configuration):
                    continue
                if isinstance(item, EventStream):
                    streams.add(item.dataset_id)
                elif isinstance(item, Event):
                    events.add((identity, item.dataset_id, item.place))
                elif isinstance(item, RecordFragment):
                    found.add((identity, item.dataset_id, item.place))
            # An event without a live stream is found by nobody; a live stream without events may be.
            found |= {one for one in events if one[1] in streams}
        return found


def everything(prefix: str = "") -> dict[str, str]:
    """Every item of both tables and every object of the lake in every version, decoded, by what it is.

    With a ``prefix``, only the objects whose keys begin with it.
    """
    found: dict[str, str] = {}
    client = boto3.client("dynamodb")
    for table in () if prefix else (aws.profile_table(), aws.registry_table()):
        for item in client.scan(TableName=table, ConsistentRead=True)["Items"]:
            name = f"{table}:{item['pk']['S']}:{item['sk']['S']}"
            found[name] = " ".join(_decoded(value) for value in item.values())
    s3 = boto3.client("s3")
    for version in s3.list_object_versions(Bucket=aws.lake_bucket(), Prefix=prefix).get("Versions", ()):
        body = s3.get_object(Bucket=aws.lake_bucket(), Key=version["Key"], VersionId=version["VersionId"])[
            "Body"
        ].read()
        found[f"lake:{version['Key']}"] = text_in(body)
    return found


def _decoded(value: dict[str, Any]) -> str:
    (content,) = value.values()
    return orjson.dumps(unpack(content)).decode() if isinstance(content, bytes) else str(content)


def text_in(body: bytes) -> str:
    """Decode an object of the lake, whatever it is."""
    if body[:4] == b"PAR1":
        import io  # noqa: PLC0415

        import pyarrow.parquet as pq  # noqa: PLC0415

        return str(pq.read_table(io.BytesIO(body)).to_pylist())
    if body[:4] == b"\x28\xb5\x2f\xfd":
        with zstandard.ZstdDecompressor().stream_reader(body) as reader:
            return reader.read().decode()
    # Behind the first line of the places of a streamed batch are hashes.
    return body.decode(errors="backslashreplace")
