"""A worker of an export as it is, with the lake, the job and the index in memory; only the profile store is canned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import zstandard

from bench.store import CONFIGURATION, NOW_MS, POLICY, TENANT
from tessera.domain.export.job import ExportJob, ExportStatus, Wanted, WantedEvents
from tessera.domain.export.share import Checkpoint, Share
from tessera.domain.identity import Xid
from tessera.services.export.gathering import Gatherer
from tessera.services.export.settling import Settler
from tessera.services.export.writing import Writer
from tessera.storage.person_index import IndexPage
from tessera.storage.received import StoredFile

_SHARE = Share(0, 0)


class Jobs:
    """One job and how far it is, in memory."""

    def __init__(self, events: bool) -> None:
        wanted = Wanted("exports", events=WantedEvents() if events else None, empty=True)
        self.job = ExportJob(1, NOW_MS, "", "", wanted, POLICY, ("batch",), status=ExportStatus.PROCESSING)
        self.at = Checkpoint()

    def get(self, *_: Any) -> ExportJob:
        """Read the job."""
        return self.job

    def change(self, _tenant: Any, _job: Any, mutate: Callable[[ExportJob], ExportJob]) -> ExportJob:
        """Change nothing: the job is to run again."""
        return mutate(self.job)

    def checkpoint(self, *_: Any) -> Checkpoint:
        """Read how far it is."""
        return self.at

    def checkpoints(self, *_: Any) -> dict[str, Checkpoint]:
        """Read how far it is."""
        return {_SHARE.name: self.at}

    def advance(self, _tenant: Any, _job: Any, _share: str, _before: Checkpoint, after: Checkpoint) -> None:
        """Note how far it is."""
        self.at = after


class Memory:
    """What the lake would keep."""

    def __init__(self) -> None:
        self.parts: dict[str, bytes] = {}
        self.shape: dict[str, Any] = {}
        self.made: Any = {}
        self.named: Any = []

    def plan(self, *_: Any) -> list[Any]:
        """One share."""
        return [{"first": _SHARE.first, "last": _SHARE.last}]

    def write_part(self, _tenant: Any, _job: int, part: str, rows: Sequence[bytes], shape: Any) -> None:
        """Compress rows as the lake does."""
        self.parts[part] = zstandard.ZstdCompressor(level=1).compress(b"\n".join([*rows, b""]))
        self.shape[part] = shape

    def rows(self, _tenant: Any, _job: int, part: str) -> bytes:
        """Read them."""
        return zstandard.ZstdDecompressor().decompress(self.parts[part])

    def lines(self) -> list[bytes]:
        """Read all rows there are."""
        return [line for part in self.parts for line in self.rows(None, 1, part).splitlines()]

    def shapes(self, _tenant: Any, _job: int, parts: Sequence[str]) -> Iterator[Any]:
        """Read shapes."""
        return iter([self.shape[part] for part in parts])

    def write_columns(self, _tenant: Any, _job: int, columns: Mapping[str, Any]) -> None:
        """Keep the columns."""
        self.made = columns

    def columns(self, *_: Any) -> Any:
        """Read them."""
        return self.made

    def write_files(self, _tenant: Any, _job: int, files: Sequence[Any]) -> None:
        """Keep the files."""
        self.named = files

    def write_file(self, _tenant: Any, _batch: str, name: str, body: bytes) -> StoredFile:
        """Let a file go."""
        return StoredFile(name, len(body), "")

    def write_result(self, *_: Any) -> None:
        """Let it go."""


@dataclass
class Known:
    """The identities of a share, all in one partition of the index."""

    xids: Sequence[Xid]

    def names(self, *_: Any, **__: Any) -> list[str]:
        """One partition."""
        return ["all"]

    def page(self, _tenant: Any, _name: str, after: str, _before: str, limit: int) -> IndexPage:
        """List some."""
        rest = [xid for xid in self.xids if xid > after] if after else self.xids
        return IndexPage(list(rest[:limit]), len(rest) > limit)


class Configurations:
    """The configuration, in memory: a worker reads it once per page."""

    def current(self, _: Any) -> Any:
        """Read it."""
        return CONFIGURATION


@dataclass
class Worker:
    """All that is done with a share, as often as wanted."""

    table: Any
    xids: Sequence[Xid]
    events: bool
    readers: Executor
    walkers: Executor
    make_lake: Callable[[], Memory] = Memory
    lake: Memory = field(default_factory=Memory)

    def run(self) -> int:
        """Gather, settle and write; return how many profiles there were."""
        jobs: Any = Jobs(self.events)
        self.lake = self.make_lake()
        lake: Any = self.lake
        configurations: Any = Configurations()
        known: Any = Known(self.xids)
        gatherer = Gatherer(
            jobs, configurations, known, self.table, lake, self.readers, self.walkers, clock_ms=lambda: NOW_MS
        )
        while not gatherer.gather(TENANT, 1, _SHARE):
            pass
        Settler(jobs, configurations, lake).settle_columns(TENANT, 1)
        for file in self.lake.named:
            Writer(jobs, lake).write(TENANT, 1, file)
        return int(jobs.at.counts.profiles)
