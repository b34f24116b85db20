"""Files in the drop folder become batches, each version of each once (decision 44; laws 3, 4 and 6)."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import boto3
import orjson
import pytest

from api import batches
from jobs import drop
from tessera.storage import aws, drop_folder
from tests.integration import ingest_machine
from tests.integration.conftest import ORG, OTHER_ORG, Answer, forget
from tests.integration.hostile import CrashError
from tests.integration.test_batches import (
    ELSEWHERE,
    RECORDS,
    UNION,
    Client,
    client,
    input_of,
    json_lines,
    parquet,
    person,
    stored,
)
from tests.integration.test_batches_crashes import mortal

__all__ = ["client"]
CSV = b"identityMap.CRM,person.name.firstName\nc1,N1\nc2,N2\n"


def packed(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def dropped(path: str, body: bytes, **more: Any) -> str:
    """Put an object; return its version."""
    return str(boto3.client("s3").put_object(Bucket="lake", Key=f"drop/{path}", Body=body, **more)["VersionId"])


def notice(path: str, version: str) -> dict[str, Any]:
    """What the topic sends of an object."""
    told = {"key": quote_plus(f"drop/{path}"), "size": 1, "versionId": version}
    message = {"Records": [{"eventSource": "aws:s3", "s3": {"bucket": {"name": "lake"}, "object": told}}]}
    return {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": orjson.dumps(message).decode()}}]}


def take(path: str, body: bytes) -> str:
    version = dropped(path, body)
    drop.take(notice(path, version), None)
    return version


def keys(prefix: str) -> list[str]:
    """Every version of every object below a prefix, delete markers too."""
    found = boto3.client("s3").list_object_versions(Bucket="lake", Prefix=prefix)
    return sorted(item["Key"] for item in [*found.get("Versions", ()), *found.get("DeleteMarkers", ())])


def emptied(prefix: str) -> None:
    s3 = boto3.client("s3")
    for item in s3.list_object_versions(Bucket="lake", Prefix=prefix)["Versions"]:
        s3.delete_object(Bucket="lake", Key=item["Key"], VersionId=item["VersionId"])


def listed(client: Client, **query: str) -> dict[str, Any]:
    answer: Answer = client.call(batches.handler, "GET", "/data/foundation/catalog/batches", query=query)
    found: dict[str, Any] = answer.json()
    return found


def ingested(client: Client) -> dict[str, Any]:
    """The one batch there is, after its machine ran."""
    [batch] = listed(client)
    assert [item["name"] for item in ingest_machine.asked_for()] == [batch]
    ingest_machine.run(input_of(batch))
    return client.status(batch)


def rejected(path: str) -> str:
    """The reason for which a dropped file was put aside; nothing else is left of it."""
    s3 = boto3.client("s3")
    assert keys("drop/") == []
    assert keys("drop-rejected/") == [f"drop-rejected/{path}", f"drop-rejected/{path}.reason.json"]
    body = s3.get_object(Bucket="lake", Key=f"drop-rejected/{path}.reason.json")["Body"].read()
    return str(orjson.loads(body)["reason"])


HERE = f"{ORG}/dev/{RECORDS}"
PEOPLE = [person(1), person(2)]


@pytest.mark.parametrize(
    ("name", "body", "described"),
    [
        ("a.json", json_lines(PEOPLE), {"format": "json", "isMultiLineJson": False}),
        ("a.jsonl", json_lines(PEOPLE), {"format": "json", "isMultiLineJson": False}),
        ("b.json", orjson.dumps(PEOPLE), {"format": "json", "isMultiLineJson": True}),
        (
            "c.json",
            b"\n".join(orjson.dumps(row, option=orjson.OPT_INDENT_2) for row in PEOPLE),
            {"format": "json", "isMultiLineJson": True},
        ),
        ("sub dir/ä+b.CSV", CSV, {"format": "csv"}),
        ("a.parquet", parquet(PEOPLE), {"format": "parquet"}),
        ("a.csv.gz", packed(CSV[:40]) + packed(CSV[40:]), {"format": "csv"}),
        ("b.json.gz", packed(orjson.dumps(PEOPLE)), {"format": "json", "isMultiLineJson": True}),
    ],
)
def test_a_file_becomes_a_batch(client: Client, name: str, body: bytes, described: dict[str, object]) -> None:
    take(f"{HERE}/{name}", body)
    assert keys("drop") == []
    batch = ingested(client)
    assert (batch["status"], batch["metrics"]["outputRecordCount"]) == ("success", 2)
    assert batch["inputFormat"] == described
    assert batch["externalId"] == name.removesuffix(".gz")
    assert batch["createdUser"] == "drop-folder"
    assert list(listed(client, externalId=name.removesuffix(".gz"))) == [batch["id"]]
    assert len([key for key in stored() if " R#" in key]) == 2


def test_one_version_is_one_batch_however_often_and_late_it_is_told_of(client: Client) -> None:
    path = f"{HERE}/a.json"
    first, second = dropped(path, json_lines([person(1)])), dropped(path, json_lines([person(2)]))
    for version in (first, first, second, first, second):
        drop.take(notice(path, version), None)
        assert len(keys("drop/")) == (1 if len(listed(client)) == 1 else 0)
    assert len(listed(client)) == len(ingest_machine.asked_for()) == 2
    for batch in listed(client):
        assert ingest_machine.run(input_of(batch)) == "done"
        assert client.status(batch)["metrics"]["inputRecordCount"] == 1
    # The same bytes dropped again are another object, as they would be another upload.
    take(path, json_lines([person(2)]))
    assert len(listed(client)) == 3


def test_what_fails_can_be_read_like_any_batch(client: Client) -> None:
    take(f"{HERE}/a.json", json_lines([person(1), {"no": "identity"}]))
    batch = ingested(client)
    assert (batch["status"], batch["failedRecordCount"]) == ("failed", 2)
    assert {error["code"] for error in batch["errors"]} >= {"INGEST-1212-400"}
    [row] = client.rejected(batch["id"])
    assert (row["no"], row["_filename"]) == ("identity", "a.json")
    assert stored() == {}


REFUSED = [
    (f"{ORG}/dev/nobody/a.json", "Dataset nobody does not exist"),
    (f"{ORG}/dev/{ELSEWHERE}/a.json", "does not exist in this sandbox"),
    (f"{OTHER_ORG}/dev/{RECORDS}/a.json", "does not exist in this sandbox"),
    (f"{ORG}/nowhere/{RECORDS}/a.json", "Sandbox 'nowhere' does not exist"),
    (f"NOBODY@AdobeOrg/dev/{RECORDS}/a.json", "does not exist"),
    (f"{ORG}/dev/{UNION}/a.json", "union"),
    (f"{HERE}/a.xlsx", "ends with .json"),
    (f"{HERE}/a.parquet.gz", "ends with .json"),
    (f"{HERE}/a\\b.json", "backslashes"),
    (f"{HERE}/a//b.json", "empty segments"),
    (f"{HERE}/{'x' * 600}.json", "512 bytes"),
    ("a.json", "drop/{organisation}"),
]


def test_what_no_batch_can_be_made_of_is_put_aside_with_the_reason(client: Client) -> None:
    for path, says in REFUSED:
        version = take(path, b"{}")
        assert says in rejected(path)
        assert boto3.client("s3").get_object(Bucket="lake", Key=f"drop-rejected/{path}")["Body"].read() == b"{}"
        drop.take(notice(path, version), None)
        assert says in rejected(path)
        emptied("drop-rejected/")
    assert ingest_machine.asked_for() == []
    assert listed(client) == {}


def test_an_archive_that_cannot_be_unpacked_fails_its_batch(client: Client) -> None:
    for number, body in enumerate((packed(CSV * 9)[:-9], b"no gzip at all", packed(CSV)[:3])):
        for name in (f"{number}.json.gz", f"{number}.csv.gz"):
            take(f"{HERE}/{name}", body)
            [batch] = listed(client, externalId=name.removesuffix(".gz")).values()
            assert batch["status"] == "failed"
            [error] = batch["errors"]
            assert error["code"] == "INGEST-1401-400"
            assert rejected(f"{HERE}/{name}") in error["description"]
            assert keys("raw/") == []
            assert client.signal(batch["id"]).status == 400
            emptied("drop-rejected/")


def test_a_small_archive_of_something_huge(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drop_folder, "MAX_UNPACKED_BYTES", 1_000_000)
    take(f"{HERE}/a.json.gz", packed(b"\n" * 2_000_000))
    assert "more than 1000000 bytes" in rejected(f"{HERE}/a.json.gz")


def test_what_is_no_file(client: Client) -> None:
    take(f"{HERE}/", b"")
    message = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "lake"}
    assert drop.take({"Records": [{"Sns": {"Message": orjson.dumps(message).decode()}}]}, None) == {}
    version = dropped(f"{HERE}/gone.json", b"{}")
    boto3.client("s3").delete_object(Bucket="lake", Key=f"drop/{HERE}/gone.json", VersionId=version)
    drop.take(notice(f"{HERE}/gone.json", version), None)
    assert listed(client) == {}
    assert keys("drop-rejected/") == []
    # An empty one is a file: its batch fails as any without rows.
    take(f"{HERE}/empty.json", b"")
    assert [error["code"] for error in ingested(client)["errors"]] == ["106"]


def test_nothing_that_the_sender_says_of_the_object_counts(client: Client) -> None:
    path = f"{HERE}/a.json"
    version = dropped(path, json_lines(PEOPLE), Metadata={"in-parts": "1"}, Tagging="a=b")
    drop.take(notice(path, version), None)
    [key] = keys("raw/")
    assert boto3.client("s3").head_object(Bucket="lake", Key=key)["Metadata"] == {}
    assert ingested(client)["status"] == "success"


@pytest.mark.parametrize(
    ("name", "body"),
    [("a.json", json_lines(PEOPLE)), ("a.csv.gz", packed(CSV)), ("a.csv.gz", b"broken"), ("a.xml", b"<a/>")],
    ids=["copied", "unpacked", "damaged", "refused"],
)
def test_it_may_die_at_any_call_and_is_done_over(
    client: Client, monkeypatch: pytest.MonkeyPatch, name: str, body: bytes
) -> None:
    path = f"{HERE}/{name}"

    def outcome() -> tuple[Any, ...]:
        found = [(item["status"], item["errors"], item["externalId"]) for item in listed(client).values()]
        return found, keys("drop"), [key.rpartition("/")[2] for key in keys("raw/")]

    take(path, body)
    statuses, aside, _ = outcome()
    for left in _lives(monkeypatch, path, body):
        before = len(listed(client))
        started = len(ingest_machine.asked_for())
        version = dropped(path, body)
        with monkeypatch.context() as patched:
            mortal(patched, left)
            with pytest.raises(CrashError):
                drop.take(notice(path, version), None)
        forget()
        drop.take(notice(path, version), None)
        now, here, _ = outcome()
        assert len(now) - before == len(statuses), f"after {left} calls"
        assert set(map(repr, now)) == set(map(repr, statuses))
        assert set(here) == set(aside)
        assert len(ingest_machine.asked_for()) - started == (1 if statuses and statuses[0][0] == "loaded" else 0)


def _lives(monkeypatch: pytest.MonkeyPatch, path: str, body: bytes) -> Iterator[int]:
    """How many calls an undisturbed run makes, counted down to none."""
    version = dropped(path, body)
    with monkeypatch.context() as patched:
        life = mortal(patched, None)
        drop.take(notice(path, version), None)
    forget()
    assert life.spent >= 4
    assert aws.lake_bucket() == "lake"
    return iter(range(life.spent))
