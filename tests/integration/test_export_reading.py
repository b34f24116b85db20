"""What docs/exports.md tells analysts to type is typed here, against an export."""

from __future__ import annotations

import re
from pathlib import Path

import boto3
import duckdb
import pytest

from api import data_access
from tests.integration.test_export import CRM, SHOP, TENANT, World, who, world
from tests.integration.test_export_jobs_api import member

__all__ = ["world"]
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "exports.md"


@pytest.fixture
def batch(world: World) -> str:
    world.write(
        CRM,
        ([who(1, "email"), who(1)], {"loyalty": {"tier": "gold"}}),
        ([who(2)], {"loyalty": {"tier": "tin"}}),
        member(3, ("a", "realized")),
    )
    world.write(SHOP, ([who(2)], {"_id": "e1", "timestamp": "2025-06-18T01:00:00Z", "price": 2.5}))
    job = world.export(additionalFields={"eventList": {}})
    batch_id: str = job["destination"]["batchId"]
    return batch_id


def queries() -> list[str]:
    """The statements of the first block of SQL, which is DuckDB's."""
    (block, *_) = re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    return [line for line in block.splitlines() if line]


def answered(query: str) -> list[tuple[object, ...]]:
    return sorted(duckdb.sql(query).fetchall(), key=str)


def test_files_as_they_were_downloaded(
    world: World, batch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = world.call(data_access.handler, "GET", f"/data/foundation/export/batches/{batch}/files").json()
    (tmp_path / "export").mkdir()
    for entry in listed["data"]:
        (file,) = world.call(data_access.handler, "GET", entry["_links"]["self"]["href"]).json()["data"]
        at, _, name = file["_links"]["self"]["href"].partition("?path=")
        body = world.call(data_access.handler, "GET", at, query={"path": name}).text.encode("latin-1")
        (tmp_path / "export" / name).write_bytes(body)
    monkeypatch.chdir(tmp_path)
    people, events = [query for query in queries() if "'export/" in query]
    assert answered(people) == [("p1", "gold"), (None, "tin"), (None, None)]
    assert answered(events) == [("e1", "2025-06-18T01:00:00Z")]


def test_files_in_the_lake(world: World, batch: str, tmp_path: Path) -> None:
    s3 = boto3.client("s3")
    for item in s3.list_objects_v2(Bucket="lake", Prefix="exports/")["Contents"]:
        (tmp_path / item["Key"]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / item["Key"]).write_bytes(s3.get_object(Bucket="lake", Key=item["Key"])["Body"].read())
    (query,) = [query for query in queries() if "s3://" in query]
    # DuckDB reads S3 by an extension that it downloads; a directory with the same keys stands for the lake.
    local = query.replace("s3://{lake}", str(tmp_path)).replace("{tenant}", TENANT.key).replace("{batchId}", batch)
    assert answered(local) == [(3,)]
