"""Large files in parts, over HTTP and through the machine (contract: data-and-pql §4.2)."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from api import batches
from tests.integration import ingest_machine
from tests.integration.conftest import Answer
from tests.integration.test_batches import (
    IMPORT,
    RECORDS,
    Client,
    client,
    input_of,
    json_lines,
    parquet,
    person,
    stored,
)

__all__ = ["client"]
PATH = "big/one.json"
BODY = json_lines([person(number) for number in range(200)])


def url(batch: str, path: str = PATH) -> str:
    return f"{IMPORT}/{batch}/datasets/{RECORDS}/files/{path}"


def post(client: Client, batch: str, action: str, path: str = PATH) -> Answer:
    return client.call(batches.handler, "POST", url(batch, path), query={"action": action})


def part(client: Client, batch: str, first: int, body: bytes, total: str = "", path: str = PATH) -> Answer:
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Range": f"bytes {first}-{first + len(body) - 1}{total}",
    }
    return client.call(batches.handler, "PATCH", url(batch, path), body=body, headers=headers)


def head(client: Client, batch: str, path: str = PATH) -> Answer:
    return client.call(batches.handler, "HEAD", url(batch, path))


def cut(body: bytes, at: list[int]) -> list[tuple[int, bytes]]:
    bounds = [0, *sorted(at), len(body)]
    return [(start, body[start:end]) for start, end in pairwise(bounds) if end > start]


def in_parts(client: Client, batch: str, body: bytes, at: list[int], seed: int = 1, path: str = PATH) -> None:
    assert post(client, batch, "INITIALIZE", path).status == 201
    shares = cut(body, at)
    random.Random(seed).shuffle(shares)
    for first, share in shares:
        assert part(client, batch, first, share, path=path).status == 200
    assert post(client, batch, "COMPLETE", path).json() == {"name": path, "sizeInBytes": len(body)}


def finished(client: Client, batch: str) -> dict[str, object]:
    assert client.signal(batch).status == 200
    assert ingest_machine.run(input_of(batch)) == "done"
    return client.status(batch)


def test_a_file_in_parts_is_one_file(client: Client) -> None:
    whole = client.ingest({PATH: BODY})
    table = stored()
    batch = client.created()
    in_parts(client, batch, BODY, [1, 777, 778, 5000])
    [file] = client.read(batch, "meta", path="input_files").json()["data"]
    assert (file["name"], file["length"]) == (f"input_files/{PATH}", len(BODY))
    described = finished(client, batch)
    same = ("inputByteSize", "inputFileCount", "inputRecordCount", "outputRecordCount", "partitionCount")
    assert {name: described["metrics"][name] for name in same} == {name: whole["metrics"][name] for name in same}  # type: ignore[index]
    assert stored().keys() == table.keys()


def test_parquet_in_parts(client: Client) -> None:
    batch = client.created(form="parquet")
    in_parts(client, batch, parquet([person(number) for number in range(50)]), list(range(100, 1500, 100)))
    assert finished(client, batch)["metrics"]["outputRecordCount"] == 50  # type: ignore[index]


def test_what_was_received_is_told(client: Client) -> None:
    batch = client.created()
    assert head(client, batch).status == 404
    assert post(client, batch, "initialize").status == 201
    assert "range" not in head(client, batch).headers
    answer = part(client, batch, 10, b"x" * 10)
    assert answer.json() == {"name": PATH, "sizeInBytes": 10}
    assert answer.headers["range"] == "bytes=10-19"
    part(client, batch, 0, b"y" * 5)
    assert head(client, batch).headers["range"] == "bytes=0-4,10-19"
    part(client, batch, 5, b"z" * 5)
    answer = head(client, batch)
    assert (answer.status, answer.text, answer.headers["range"]) == (200, "", "bytes=0-19")


def test_gaps_and_overlaps_are_refused_at_the_end_and_can_be_mended(client: Client) -> None:
    batch = client.created()
    assert post(client, batch, "COMPLETE").status == 404
    post(client, batch, "INITIALIZE")
    assert "no part" in post(client, batch, "COMPLETE").text
    part(client, batch, 100, BODY[100:])
    assert "bytes 0-99" in post(client, batch, "COMPLETE").text
    part(client, batch, 0, BODY[:50])
    refused = post(client, batch, "COMPLETE")
    assert refused.status == 400
    assert "bytes 50-99" in refused.text
    assert client.signal(batch).status == 400
    part(client, batch, 50, BODY[50:100])
    assert post(client, batch, "COMPLETE").status == 200
    assert post(client, batch, "COMPLETE").status == 200
    assert part(client, batch, 0, b"late").status == 400

    post(client, batch, "INITIALIZE")
    part(client, batch, 0, BODY[:60])
    part(client, batch, 50, BODY[50:])
    refused = post(client, batch, "COMPLETE")
    assert refused.status == 400
    assert "bytes 50-59" in refused.text
    in_parts(client, batch, BODY, [60])
    assert finished(client, batch)["metrics"]["outputRecordCount"] == 200  # type: ignore[index]


def test_a_part_again_replaces_it(client: Client) -> None:
    batch = client.created()
    post(client, batch, "INITIALIZE")
    part(client, batch, 0, b"x" * 100)
    part(client, batch, 100, BODY[100:])
    part(client, batch, 0, BODY[:100])
    assert post(client, batch, "COMPLETE").status == 200
    assert finished(client, batch)["metrics"]["outputRecordCount"] == 200  # type: ignore[index]


def test_a_size_that_was_told_is_held_to(client: Client) -> None:
    batch = client.created()
    post(client, batch, "INITIALIZE")
    part(client, batch, 0, BODY[:100], f"/{len(BODY)}")
    assert str(len(BODY)) in post(client, batch, "COMPLETE").text
    part(client, batch, 100, BODY[100:], "/*")
    assert post(client, batch, "COMPLETE").status == 200


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes 0-3", "bytes 0-5", "bytes 4-0", "bytes 0-4/3", "bytes -5", "bytes 0-4,6-9", "items 0-4",
     "bytes 99999999999995-99999999999999", "bytes 0-4/x"],
)  # fmt: skip
def test_content_ranges_that_say_nothing(client: Client, header: str) -> None:
    batch = client.created()
    post(client, batch, "INITIALIZE")
    headers = {"Content-Type": "application/octet-stream", "Content-Range": header}
    assert client.call(batches.handler, "PATCH", url(batch), body=b"12345", headers=headers).status == 400


def test_what_cannot_be_begun(client: Client) -> None:
    batch = client.created()
    assert part(client, batch, 0, b"x").status == 404
    for path in ("../x", "a//b"):
        assert post(client, batch, "INITIALIZE", path).status == 400
        assert part(client, batch, 0, b"x", path=path).status == 400
        assert post(client, batch, "COMPLETE", path).status == 400
        assert head(client, batch, path).status == 400
    assert post(client, "01BX5ZZKBKACTAV9WEVGEMMVRZ", "INITIALIZE").status == 404
    client.put(batch, "a", BODY)
    client.signal(batch)
    assert post(client, batch, "INITIALIZE").status == 400


def test_whole_and_in_parts_the_last_counts(client: Client) -> None:
    batch = client.created()
    in_parts(client, batch, BODY, [9])
    client.put(batch, PATH, json_lines([person(1)]))
    client.put(batch, "other", json_lines([person(2)]))
    in_parts(client, batch, BODY, [9], path="other")
    post(client, batch, "INITIALIZE", "third")
    assert client.signal(batch).status == 400
    client.put(batch, "third", json_lines([person(3)]))
    assert finished(client, batch)["metrics"]["inputRecordCount"] == 202  # type: ignore[index]


def test_a_file_begun_while_the_batch_is_completed_fails_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = client.created()
    client.put(batch, "a", BODY)
    files = batches._uploads()._files
    put = files.put_upload

    def late(*args: object) -> None:
        client.signal(batch)
        put(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as slow:
        slow.setattr(files, "put_upload", late)
        assert post(client, batch, "INITIALIZE").status == 400
    ingest_machine.run(input_of(batch))
    assert client.status(batch)["errors"][0]["code"] == "TESSERA-INGEST-412"
