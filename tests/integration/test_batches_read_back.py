"""Reading files back, and bringing tables in (contract: data-and-pql §3.6, §4.2, §4.3)."""

from __future__ import annotations

import gzip
import random
from typing import Any

import orjson
import pytest

from api import data_access
from tests.integration import ingest_machine
from tests.integration.conftest import Answer
from tests.integration.test_batches import (
    EVENTS,
    Client,
    client,
    event,
    input_of,
    json_lines,
    parquet,
    person,
    stored,
)
from tests.integration.test_batches_in_parts import in_parts

__all__ = ["client"]
FILES = "/data/foundation/export/files"


def get(client: Client, at: str, headers: dict[str, str] | None = None, method: str = "GET", **query: str) -> Answer:
    return client.call(data_access.handler, method, at, query=query, headers=headers)


class TestFiles:
    def test_from_the_batch_to_the_bytes(self, client: Client) -> None:
        body = json_lines([person(1), person(2)])
        batch = client.ingest({"sub/a.json": body, "b.json": json_lines([person(3)])})["id"]
        listed = client.read(batch, "files").json()
        assert listed["_page"] == {"limit": 100, "count": 2}
        assert set(listed["data"][0]) == {
            "dataSetFileId", "dataSetViewId", "version", "created", "updated", "isValid", "_links",
        }  # fmt: skip
        assert [item["dataSetFileId"] for item in client.read(batch, "files", start="1").json()["data"]] == [
            f"{batch}-1"
        ]
        found = {}
        for item in listed["data"]:
            [file] = get(client, f"{FILES}/{item['dataSetFileId']}").json()["data"]
            found[file["name"]] = file["length"]
            assert file["_links"]["self"]["href"].startswith(FILES)
        assert found == {"b.json": len(json_lines([person(3)])), "sub/a.json": len(body)}
        file = f"{FILES}/{batch}-1"
        whole = get(client, file, path="sub/a.json")
        assert (whole.status, whole.text.encode()) == (200, body)
        assert whole.headers["content-type"] == "application/octet-stream"
        head = get(client, file, method="HEAD", path="sub/a.json")
        assert (head.status, head.headers["content-length"], head.headers["accept-ranges"]) == (
            200,
            str(len(body)),
            "bytes",
        )

    @pytest.mark.parametrize(
        ("header", "start", "end"),
        [("bytes=0-9", 0, 10), ("bytes=5-", 5, None), ("bytes=-7", -7, None), ("bytes=10-100000", 10, None)],
    )
    def test_ranges(self, client: Client, header: str, start: int, end: int | None) -> None:
        body = json_lines([person(1), person(2)])
        batch = client.created()
        in_parts(client, batch, body, [3, 8, 30], path="a.json")
        client.signal(batch)
        ingest_machine.run(input_of(batch))
        answer = get(client, f"{FILES}/{batch}-0", {"Range": header}, path="a.json")
        assert (answer.status, answer.text.encode()) == (206, body[start:end])
        first = start % len(body) if start < 0 else start
        assert answer.headers["content-range"] == f"bytes {first}-{first + len(body[start:end]) - 1}/{len(body)}"

    def test_what_is_not_there(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        batch = client.ingest({"a.json": json_lines([person(1)])})["id"]
        for path in (f"{batch}-1", f"{batch}-x", "nonsense", f"{batch}-"):
            assert get(client, f"{FILES}/{path}").status == 404
        assert get(client, f"{FILES}/{batch}-0", path="b.json").status == 404
        assert get(client, f"{FILES}/{batch}-0", {"x-sandbox-name": "prod"}).status == 404
        assert get(client, f"{FILES}/{batch}-0", {"Range": "bytes=9999-"}, path="a.json").status == 416
        monkeypatch.setattr(data_access, "MAX_FILE_BYTES", 10)
        assert get(client, f"{FILES}/{batch}-0", path="a.json").status == 422
        part = get(client, f"{FILES}/{batch}-0", {"Range": "bytes=2-90"}, path="a.json")
        assert part.headers["content-range"].startswith("bytes 2-11/")
        failed = client.ingest({"a.json": b"{}"})["id"]
        assert client.read(failed, "files").json()["data"] == []
        assert client.read(client.created(), "files").json()["data"] == []
        client.signal(batch, "REVERT")
        assert client.read(batch, "files").json()["data"] == []
        assert get(client, f"{FILES}/{batch}-0").status == 404


class TestTables:
    def test_csv_brings_the_same_rows_as_json(self, client: Client) -> None:
        text = 'identityMap.CRM,person.name.firstName,note\nc1,Maya,"two\nlines"\nc2,Noor,\n'
        described = client.ingest({"a.csv": b"\xef\xbb\xbf" + text.encode()}, form="CSV")
        assert described["inputFormat"] == {"format": "csv"}
        assert described["metrics"]["outputRecordCount"] == 2
        assert sum(" R#" in key for key in stored()) == 2

    def test_a_ragged_row(self, client: Client) -> None:
        text = b"identityMap.CRM,_id,timestamp\nc1,e1,2025-06-18T14:00:00Z\nc2,e2\nc3,e3,2025-06-18T14:00:00Z\n"
        described = client.ingest({"a.csv": text}, EVENTS, form="csv", partialIngestionPercent=50)
        assert (described["status"], described["failedRecordCount"]) == ("success", 1)
        [row] = client.rejected(described["id"])
        assert row["_corrupt_record"] == "c2,e2"
        assert client.ingest({"a.csv": text}, EVENTS, form="csv")["status"] == "failed"

    @pytest.mark.parametrize(
        ("files", "form", "code", "says"),
        [
            ({"a": b"\n\n"}, "csv", "118", "header is empty"),
            ({"a": b",,\nx,y,z"}, "csv", "118", "header is empty"),
            ({"a": "a,b\n1,2".encode("utf-16")}, "csv", "INGEST-1401-400", "UTF-16"),
            ({"a": json_lines([person(1)]).decode().encode("utf-16")}, "json", "INGEST-1401-400", "UTF-16"),
            ({"a": gzip.compress(json_lines([person(1)]))}, "json", "INGEST-1401-400", "gzip"),
            ({"a": gzip.compress(json_lines([person(1)]))[:-9]}, "json", "INGEST-1401-400", "gzip"),
            ({"a": gzip.compress(b"a,b\n1,2")[:-9]}, "csv", "INGEST-1401-400", "gzip"),
            ({"a": parquet([person(1)])}, "json", "INGEST-1401-400", "Parquet"),
            ({"a": parquet([person(1)])[:-20]}, "parquet", "INGEST-1401-400", "Parquet"),
            ({"a": parquet([person(1)])[:60] + parquet([person(1)])[70:]}, "parquet", "INGEST-1401-400", ""),
            ({"a": b"a\n1"}, "parquet", "INGEST-1401-400", "Parquet"),
        ],
    )  # fmt: skip
    def test_files_that_are_something_else(
        self, client: Client, files: dict[str, bytes], form: str, code: str, says: str
    ) -> None:
        described = client.ingest(files, form=form, partialIngestionPercent=100)
        assert described["status"] == "failed"
        assert described["errors"][0]["code"] == code
        assert says in described["errors"][0]["description"]
        assert stored() == {}

    def test_a_table_is_split_between_rows(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = [f'c{number},e{number},2025-06-18T14:00:00Z,"two\nlines, {number}"' for number in range(40)]
        lines[7] = lines[30] = 'c,"e'
        files = {"a.csv": "\r\n".join(["identityMap.CRM,_id,timestamp,note", *lines]).encode(), "b.csv": b"x\n"}
        whole = client.ingest(files, EVENTS, form="csv", partialIngestionPercent=90)
        before = stored()
        monkeypatch.setattr("tessera.services.ingestion.planning.range_size", lambda _: 300)
        parts = client.ingest(files, EVENTS, form="csv", partialIngestionPercent=90, times=2)
        assert parts["metrics"]["partitionCount"] > 5 > whole["metrics"]["partitionCount"]
        for name in ("inputRecordCount", "outputRecordCount", "failedRecordCount"):
            assert parts["metrics"][name] == whole["metrics"][name] > 1
        assert {key for key in stored() if " C#" not in key} == before.keys()
        assert sorted(map(str, client.rejected(parts["id"]))) == sorted(map(str, client.rejected(whole["id"])))
        # A header that cannot be used fails the batch also where the file is looked into before.
        refused = client.ingest({"a.csv": b",\n" + b"1,2\n" * 200}, form="csv")
        assert [error["code"] for error in refused["errors"]] == ["118"]

    def test_tables_over_the_limit(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tessera.services.ingestion.planning.MAX_CSV_BYTES", 10)
        described = client.ingest({"a": b"identityMap.CRM\nc1\n"}, form="csv")
        assert described["errors"][0]["code"] == "TESSERA-INGEST-413"


class TestDiagnostics:
    def test_every_kind_of_error_has_its_file_and_a_sample_has_them_all(self, client: Client) -> None:
        rows = json_lines([person(1), {"person": {}}, {"identityMap": []}]) + b"{"
        batch = client.ingest({"a.json": rows})["id"]
        names = [item["name"] for item in client.read(batch, "meta", path="row_errors").json()["data"]]
        assert names == [f"row_errors/{kind}_errors_0.json" for kind in ("conversion", "parsing", "validation")]
        sample = client.read(batch, "meta", path="row_errors_sample.json").json()["data"]
        assert sorted(row["_errors"][0]["code"] for row in sample) == [
            "INGEST-1401-400", "INGEST-1505-400", "INGEST-1555-400",
        ]  # fmt: skip


def damaged(order: random.Random) -> tuple[str, bytes, int]:
    """A file of rows, many of them bad, and how many rows it has."""
    form = order.choice(["json", "csv"])
    count = order.randrange(1, 30)
    if form == "csv":
        good = [f"c{number},e{number},2025-06-18T14:00:00Z" for number in range(count)]
        bad = [
            "x",
            "c1,e1",
            ",,",
            "c1,,2025-06-18T14:00:00Z",
            'c1,"e"1,z',
            "c1,e1,yesterday",
            "1,2,3,4",
            "0,e,2025-06-18",
        ]
        lines = ["identityMap.CRM,_id,timestamp", *(order.choice([one, order.choice(bad)]) for one in good)]
        return form, order.choice(["\n", "\r\n"]).join(lines).encode(), count
    rows = [orjson.dumps(event(number)) for number in range(count)]
    junk = [b"{", b"null", b"[1]", b'{"a":NaN}', b"\xff", b'{"_id":5}', orjson.dumps(event(1, timestamp=True)), b'"x"',
            orjson.dumps(event(1, identityMap={"CRM": [{"id": "x" * 2000}]})),
            orjson.dumps(event(1, text="x" * 11_000))]  # fmt: skip
    # A first line in brackets would be a document, which is another kind of error.
    lines_ = [order.choice([one, order.choice(junk)]) for one in rows]
    if lines_[0].startswith(b"["):
        lines_[0] = b"{"
    return form, b"\n".join(lines_), count


@pytest.mark.parametrize("seed", range(12))
def test_no_row_is_lost_in_bad_files(client: Client, seed: int) -> None:
    order = random.Random(seed)
    for _ in range(3):
        files: dict[str, bytes] = {}
        form, body, wanted = damaged(order)
        files["0"] = body
        for number in range(1, order.randrange(1, 4)):
            other, body, count = damaged(order)
            if other == form:
                files[str(number)] = body
                wanted += count
        described = client.ingest(
            files, EVENTS, form=form, partialIngestionPercent=order.choice([100, 30]), enableErrorDiagnostics=True
        )
        metrics: dict[str, Any] = described["metrics"]
        rejected = client.rejected(described["id"])
        conflicts = [row for row in rejected if row["_errors"][0]["code"] == "TESSERA-INGEST-CONFLICT"]
        bad = len(rejected) - len(conflicts)
        assert metrics["inputRecordCount"] == wanted
        assert all(row["_errors"][0]["message"] and row["_filename"] in files for row in rejected)
        if described["status"] == "success":
            assert metrics["outputRecordCount"] + bad == wanted
            assert metrics["failedRecordCount"] == bad
        else:
            assert metrics["outputRecordCount"] == 0
            assert 0 < bad <= wanted
