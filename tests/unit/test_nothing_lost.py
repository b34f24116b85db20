"""Rows in are rows accepted and rows rejected, whatever files come and however they are split (law 4).

Thousands of files, good, bad and broken, go through plan, validate and decide with storage in memory. Each generator
says how many rows it made and which of them are good, without looking at the code that reads them.
"""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tessera.domain.batch import Batch, BatchStatus, FileFormat
from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.tenant import Tenant
from tessera.services.ingestion import planning
from tessera.services.ingestion.chunks import Chunk
from tessera.services.ingestion.deciding import Decider
from tessera.services.ingestion.planning import Planner
from tessera.services.ingestion.validation import Validator
from tests.unit.memory_lake import MemoryBatches, MemoryConfigurations, MemoryLake, NoSchemas

TENANT = Tenant("TESSERA@AdobeOrg", "dev")
DATASET = "64f000000000000000000001"
CONFIGURATION = Configuration(1, "id", "dev", "development").with_dataset(
    DatasetSettings(DATASET, DatasetKind.EVENT, profile_enabled=True, identity_enabled=True)
)
WHEN = "2025-06-18T14:00:00Z"
_CROWD = orjson.dumps({"identityMap": {"CRM": [{"id": str(number)} for number in range(10_000)]}})


@dataclass
class Made:
    """A file: how many rows it has, the ids of the good ones in it; a broken one cannot be read as a whole.

    ``either`` is for damage that may or may not be found: whatever is read must still add up.
    """

    body: bytes
    rows: int = 0
    good: set[str] = field(default_factory=set)
    broken: bool = False
    either: bool = False


class Maker:
    """Makes files; ids are never given twice."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._count = 0

    def event(self, **more: object) -> dict[str, Any]:
        self._count += 1
        return {
            "_id": f"e{self._count}",
            "timestamp": WHEN,
            "identityMap": {"CRM": [{"id": f"c{self._count}"}]},
            **more,
        }

    def lines(self) -> Made:
        """JSON lines, with lines that are none or no rows among them."""
        made, lines = Made(b""), []
        for _ in range(self.random.randrange(1, 20)):
            row = self.event()
            choice = self.random.random()
            if choice < 0.5:
                lines.append(orjson.dumps(row))
                made.good.add(row["_id"])
            elif choice < 0.6:
                lines.append(self.random.choice([b"", b"  \t"]))
                continue
            else:
                lines.append(_CROWD if choice > 0.99 else self.random.choice(_JUNK)(row))
            made.rows += 1
        end = self.random.choice([b"\n", b"\r\n"])
        made.body = self.random.choice([b"", b"\xef\xbb\xbf"]) + end.join(lines) + self.random.choice([b"", end])
        # Nothing at all, an array, and the mark of UTF-16 say that it is something else.
        first = next((line for line in lines if line.strip()), b"")
        made.broken = not made.body or first.startswith(b"[") or made.body.startswith(b"\xff\xfe")
        return made

    def table(self) -> Made:
        """CSV, with rows that are ragged, not UTF-8 or badly quoted among them."""
        made, text = Made(b""), io.StringIO(newline="")
        writer = csv.writer(text, lineterminator=self.random.choice(["\n", "\r\n"]), quoting=self.random.randrange(2))
        writer.writerow(["_id", "timestamp", "identityMap.CRM", "note"])
        for _ in range(self.random.randrange(1, 20)):
            row = self.event()
            note = self.random.choice(["", "plain", "two\nlines", 'quo"ted', "a,b", "é"])
            values = [row["_id"], WHEN, "c", note]
            choice = self.random.random()
            if choice < 0.5:
                made.good.add(row["_id"])
            elif choice < 0.7:
                values = values[: self.random.randrange(1, 4)]
            elif choice < 0.8:
                values = [*values, "more"]
            elif choice < 0.9:
                values[1] = "yesterday"
            else:
                # Closed, and then goes on: the text writer does not write that.
                text.write(f'x,"{WHEN}"y,c,\n')
                made.rows += 1
                continue
            writer.writerow(values)
            made.rows += 1
        made.body = self.random.choice([b"", b"\xef\xbb\xbf"]) + text.getvalue().encode()
        return made

    def document(self) -> Made:
        """One JSON array, or rows one after another, with values that are no rows among them."""
        made, values = Made(b""), []
        for _ in range(self.random.randrange(1, 15)):
            row = self.event()
            if self.random.random() < 0.6:
                made.good.add(row["_id"])
                values.append(orjson.dumps(row, option=self.random.choice([None, orjson.OPT_INDENT_2])))
            else:
                values.append(self.random.choice([b"null", b"7", b'"x"', b"[]", b"{}", b'{"_id": NaN}']))
            made.rows += 1
        made.body = b"[" + b",\n".join(values) + b"]"
        choice = self.random.random()
        if choice < 0.3:
            # Numbers and lists side by side would be other values.
            made.body = b"\n".join(b"{}" if value[:1] in b"7[" else value for value in values)
        elif choice < 0.4:
            made.body, made.broken = made.body[: self.random.randrange(1, len(made.body))], True
        return made

    def parquet(self) -> Made:
        """Parquet with rows that JSON cannot say among them; some of it cut off or damaged."""
        made, rows = Made(b""), []
        for _ in range(self.random.randrange(1, 15)):
            row = self.event(amount=self.random.choice([1.5, 2.0, float("nan")]))
            if row["amount"] == row["amount"]:
                made.good.add(row["_id"])
            rows.append(row)
        made.rows = len(rows)
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), buffer, row_group_size=self.random.randrange(1, 6))
        made.body = buffer.getvalue()
        choice = self.random.random()
        if choice < 0.2:
            made.body, made.broken = made.body[: self.random.randrange(len(made.body))], True
        elif choice < 0.4:
            at = self.random.randrange(4, len(made.body) - 8)
            made.body = made.body[:at] + bytes([made.body[at] ^ 1 << self.random.randrange(8)]) + made.body[at + 1 :]
            made.either = True
        return made

    def foreign(self) -> Made:
        """What is no text in UTF-8, and no Parquet."""
        text = orjson.dumps(self.event()) + b"\n"
        packed = gzip.compress(text * 5, mtime=0)
        body = self.random.choice(
            [
                b"",
                text.decode().encode("utf-16"),
                text.decode().encode("utf-32"),
                packed,
                packed[: self.random.randrange(2, len(packed))],
                b"PK\x03\x04" + text,
            ]
        )
        return Made(body, broken=True)

    def noise(self) -> Made:
        """Any bytes at all."""
        return Made(self.random.randbytes(self.random.randrange(1, 400)), either=True)


_JUNK: tuple[Callable[[dict[str, Any]], bytes], ...] = (
    lambda row: orjson.dumps(row)[:-1],
    lambda row: orjson.dumps(row) + b"}",
    lambda _: b"null",
    lambda _: b'"x"',
    lambda _: b"\xff\xfe\xff",
    lambda _: b'{"_id": NaN}',
    lambda row: orjson.dumps({**row, "identityMap": {}}),
    lambda row: orjson.dumps({**row, "timestamp": "soon"}),
    lambda row: orjson.dumps({**row, "_id": 5}),
    lambda row: orjson.dumps({**row, "text": "x" * 11_000}),
    lambda row: b"[" * 200 + b"]" * 200 if row else b"",
)


@dataclass
class Ended:
    """A batch after decide, and what was left of its rows."""

    batch: Batch
    staged: list[Any]
    rejected: list[dict[str, Any]]


def ingested(files: dict[str, bytes], form: FileFormat, multi_line: bool, percent: float | None) -> Ended:
    lake = MemoryLake(files)
    batches = MemoryBatches(
        Batch(
            "b", DATASET, 1, "me", format=form, multi_line=multi_line, diagnostics=True, partial_percent=percent
        ).completed(2, "me")
    )
    configurations = MemoryConfigurations(CONFIGURATION)
    chunks = Planner(batches, configurations, lake).plan(TENANT, "b")
    assert len(lake.manifest) == chunks
    validator = Validator(batches, configurations, lake, NoSchemas())
    for chunk in lake.manifest:
        validator.validate(TENANT, "b", Chunk.from_document(chunk))
    Decider(batches, configurations, lake).decide(TENANT, "b")
    return Ended(
        batches.batch,
        [orjson.loads(line) for lines in lake.accepted.values() for line in lines],
        [orjson.loads(line) for lines in lake.rejected.values() for line in lines],
    )


KINDS: dict[str, tuple[FileFormat, bool, Callable[[Maker], Made], int]] = {
    "lines": (FileFormat.JSON, False, Maker.lines, 600),
    "csv": (FileFormat.CSV, False, Maker.table, 600),
    "document": (FileFormat.JSON, True, Maker.document, 600),
    "parquet": (FileFormat.PARQUET, False, Maker.parquet, 200),
}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_in_are_rows_accepted_and_rejected(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    form, multi_line, make, batches = KINDS[kind]
    maker = Maker(len(kind))
    seen = {"files": 0, "rows": 0, BatchStatus.FAILED: 0, BatchStatus.STAGED: 0}
    for _ in range(batches):
        length = maker.random.randrange(30, 2000)
        monkeypatch.setattr(planning, "range_size", lambda sizes, length=length: max(length, sum(sizes) // 20))
        made = {str(number): make(maker) for number in range(maker.random.randrange(1, 4))}
        if maker.random.random() < 0.15:
            made["other"] = maker.random.choice([Maker.foreign, Maker.noise])(maker)
        percent = maker.random.choice([None, 50.0, 100.0])
        ended = ingested({name: one.body for name, one in made.items()}, form, multi_line, percent)
        _adds_up(ended, percent)
        named = {str(error["description"]).partition(":")[0] for error in ended.batch.errors}
        if broken := {name for name, one in made.items() if one.broken}:
            assert ended.batch.status is BatchStatus.FAILED
            assert named & broken
        elif not any(one.either for one in made.values()):
            assert not named & made.keys()
            assert ended.batch.metrics["inputRecordCount"] == sum(one.rows for one in made.values())
            good = {event for one in made.values() for event in one.good}
            assert sorted(row[1]["_id"] for row in ended.staged) == sorted(good)
        seen["files"] += len(made)
        seen["rows"] += len(ended.staged) + len(ended.rejected)
        seen[ended.batch.status] += 1
    assert seen["files"] > batches * 1.5
    assert seen["rows"] > batches * 5
    assert min(seen[BatchStatus.FAILED], seen[BatchStatus.STAGED]) > batches // 10


def _adds_up(ended: Ended, percent: float | None) -> None:
    """What holds of every batch."""
    metrics, accepted = ended.batch.metrics, len(ended.staged)
    if all(error["code"].startswith("INGEST-") and "recordCount" in error for error in ended.batch.errors):
        assert metrics["inputRecordCount"] == accepted + len(ended.rejected)
    else:
        # A file that stops being readable fails the batch; what was read of it before is still in it.
        assert metrics["inputRecordCount"] >= accepted + len(ended.rejected)
    assert metrics["failedRecordCount"] == metrics["inputRecordCount"] - metrics["outputRecordCount"]
    assert all(row["_errors"][0]["message"] and row["_errors"][0]["code"] for row in ended.rejected)
    assert len({(row[0], row[1]["_id"]) for row in ended.staged}) == accepted
    if ended.batch.status is BatchStatus.STAGED:
        assert metrics["outputRecordCount"] == accepted > 0
        assert len(ended.rejected) * 100 <= (percent or 0) * metrics["inputRecordCount"]
    else:
        assert ended.batch.status is BatchStatus.FAILED
        assert metrics["outputRecordCount"] == 0
        assert ended.batch.errors
