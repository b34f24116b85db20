"""M2: a large Parquet file through plan, validate, decide and apply, and the memory that takes.

Storage is canned as simply as can be: the lake is a directory, the registry is there, and the profile table is one that
is empty and takes everything. So what is measured is the workers: they run one after the other in one process, which
holds at least as much as any of them would alone.
"""

from __future__ import annotations

import io
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
from botocore.exceptions import ClientError

from bench.clicks import schema, write_parquet
from bench.ingestion import Judge
from bench.people import EVENTS
from bench.store import BATCH, ENVIRONMENT, NOW_MS, START_MS, TENANT, store
from bench.table import Line
from tessera.domain.batch import Batch, BatchStatus, FileFormat
from tessera.services.ingestion.applying import Applier
from tessera.services.ingestion.chunks import Chunk
from tessera.services.ingestion.deciding import Decider
from tessera.services.ingestion.planning import Planner
from tessera.services.ingestion.validation import Validator
from tessera.services.profile_writer import ProfileWriter
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.lake import Lake
from tessera.storage.profile_table import ProfileTable

_THREADS = 8


class _Directory:
    """A bucket whose objects are files."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put_object(self, **arguments: Any) -> dict[str, Any]:
        file = self.file(arguments["Key"])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(arguments["Body"])
        return {}

    def get_object(self, **arguments: Any) -> dict[str, Any]:
        file = self.file(arguments["Key"])
        if not file.exists():
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": arguments["Key"]}}, "GetObject")
        first, last = 0, file.stat().st_size - 1
        if "Range" in arguments:
            start, _, end = arguments["Range"].removeprefix("bytes=").partition("-")
            first, last = int(start), int(end)
        with file.open("rb") as body:
            body.seek(first)
            return {"ETag": '"etag"', "Body": io.BytesIO(body.read(last - first + 1))}

    def get_paginator(self, _name: str) -> _Directory:
        return self

    def paginate(self, **arguments: Any) -> Iterator[dict[str, Any]]:
        root = self.file(arguments["Prefix"])
        files = sorted(root.rglob("*")) if root.exists() else []
        found = [file for file in files if file.is_file()]
        yield {
            "Versions": [
                {
                    "Key": f"{arguments['Prefix']}{file.relative_to(root)}",
                    "Size": file.stat().st_size,
                    "ETag": '"etag"',
                    "VersionId": "null",
                    "IsLatest": True,
                }
                for file in found
            ]
        }

    def file(self, key: str) -> Path:
        """Say where an object is."""
        return self._root / key


class _Taker:
    """A profile table that is empty and takes everything; what is asked of the registry it asks the real client."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.written = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            if arguments.get("TableName") == ENVIRONMENT["REGISTRY_TABLE"]:
                return getattr(self._client, name)(**arguments)
            if name == "batch_get_item":
                return {"Responses": {ENVIRONMENT["PROFILE_TABLE"]: []}, "UnprocessedKeys": {}}
            if name == "query":
                return {"Items": [], "Count": 0}
            if name in {"put_item", "transact_write_items"}:
                self.written += len(arguments.get("TransactItems", (None,)))
                return {}
            if name == "get_item":
                return {}
            raise NotImplementedError(name)

        return call


def measure(count: int) -> list[Line]:
    """Bring a file of so many rows in."""
    with tempfile.TemporaryDirectory() as directory, store() as made:
        lake = Lake(_Directory(Path(directory)), ENVIRONMENT["LAKE_BUCKET"])  # type: ignore[arg-type]
        batches = BatchStore(made.registry)
        batch = Batch(BATCH, EVENTS, START_MS, "bench", format=FileFormat.PARQUET).completed(START_MS, "bench")
        batches.add(TENANT, batch)
        file = Path(directory) / lake.key_of(TENANT, BATCH, EVENTS, "clicks.parquet")
        file.parent.mkdir(parents=True)
        # In a process of its own: what that takes is not to count.
        writing = multiprocessing.get_context("spawn").Process(target=write_parquet, args=(file, count))
        writing.start()
        writing.join()
        size = file.stat().st_size
        taker: Any = _Taker(made.wire.client)
        made.wire.note(False)
        made.configurations.current(TENANT)
        before, started, used = _peak_mb(), time.monotonic(), time.process_time()
        chunks = Planner(batches, made.configurations, lake).plan(TENANT, BATCH)
        manifest = orjson.loads((Path(directory) / lake.manifest_key(TENANT, BATCH)).read_bytes())
        for item in manifest:
            Validator(batches, made.configurations, lake, Judge(schema())).validate(
                TENANT, BATCH, Chunk.from_document(item)
            )
        validated = _peak_mb()
        Decider(batches, made.configurations, lake).decide(TENANT, BATCH)
        with ThreadPoolExecutor(_THREADS) as executor:
            configurations = ConfigurationStore(taker, aws.registry_table())
            table = ProfileTable(taker, aws.profile_table())
            writer = ProfileWriter(configurations, table, executor, clock_ms=lambda: NOW_MS)
            applier = Applier(batches, lake, writer)
            for item in manifest:
                while not applier.apply(TENANT, BATCH, Chunk.from_document(item)):
                    pass
        Decider(batches, made.configurations, lake).finish(TENANT, BATCH)
        ended = batches.get(TENANT, BATCH)
        if ended.status is not BatchStatus.SUCCESS or ended.metrics["outputRecordCount"] != count:
            raise RuntimeError(f"the batch is {ended.status}: {ended.errors} {ended.metrics}")
        wall, cpu = time.monotonic() - started, time.process_time() - used
    told = f"{count:,} rows of Parquet, {size / 1e6:,.0f} MB, {chunks} workers in turn, {taker.written:,} items"
    return [
        Line("M2", f"{told}: peak MB, validated", f"{before:.0f}", f"{validated:.0f}"),
        Line("M2", "the same: peak MB, applied", f"{before:.0f}", f"{_peak_mb():.0f}"),
        Line("M2", f"the same: {cpu:.0f} s of CPU in {wall:.0f} s; ms of CPU per row", "", f"{cpu * 1000 / count:.3f}"),
    ]


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
