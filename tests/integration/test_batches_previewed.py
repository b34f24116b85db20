"""The first rows of a batch's files as a table (contract: data-and-pql §4.2)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from api import batches
from tessera.services.ingestion import previewing
from tests.integration.conftest import Answer
from tests.integration.test_batches import EVENTS, IMPORT, RECORDS, Client, client, json_lines, parquet, person

__all__ = ["client"]


def asked(client: Client, batch: str, dataset: str = RECORDS, **query: str) -> Answer:
    path = f"{IMPORT}/{batch}/datasets/{dataset}/preview"
    return client.call(batches.handler, "GET", path, query=query)


def table(answer: Answer) -> list[dict[str, str]]:
    """The rows of a preview by the names of their columns."""
    assert answer.status == 200, answer.text
    shown: dict[str, Any] = answer.json()["preview"]
    names = {column["cid"]: column["name"] for column in shown["columns"]}
    assert list(names) == [str(number) for number in range(len(names))]
    return [{names[cid]: text for cid, text in row.items()} for row in shown["rows"]]


ROW = {"identityMap": {"CRM": [{"id": "c1"}]}, "person": {"name": {"firstName": "Maya"}}, "n": 1.5, "no": None}
SHOWN = {"identityMap/CRM": '[{"id":"c1"}]', "person/name/firstName": "Maya", "n": "1.5"}


def test_every_form(client: Client) -> None:
    for form, multi_line, body, rows in (
        ("json", False, json_lines([ROW, 7]) + b"{", [SHOWN, {"_corrupt_record": "7"}, {"_corrupt_record": "{"}]),
        ("json", True, orjson.dumps([ROW, ROW]), [SHOWN, SHOWN]),
        ("parquet", False, parquet([ROW]), [SHOWN]),
        ("csv", False, b'a.b,c\n1,"x\ny"\n2\n,z\n', [{"a/b": "1", "c": "x\ny"}, {"_corrupt_record": "2"}, {"c": "z"}]),
    ):
        batch = client.created(form=form, multi_line=multi_line)
        assert table(asked(client, batch, format=form)) == []
        client.put(batch, "a", body)
        answer = asked(client, batch)
        assert table(answer) == rows
        csv_form = {"delimiter": ",", "quote": '"', "escape": '"', "charset": "UTF-8", "header": True}
        assert answer.json()["formatParams"] == {"format": form, **(csv_form if form == "csv" else {})}
        assert table(asked(client, batch, format=form.upper(), nrow="1")) == rows[:1]
        # Of a batch that is complete too.
        client.signal(batch)
        assert table(asked(client, batch, nrow="0", isMultiLineJson=str(multi_line))) == rows


def test_rows_of_several_files_and_only_their_beginnings(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previewing, "_BEGINNING", 400)
    for form, multi_line, body in (
        ("json", False, json_lines([person(number, text="é" * 50) for number in range(50)])),
        ("json", True, orjson.dumps([person(number, text="é" * 51) for number in range(50)])),
    ):
        batch = client.created(form=form, multi_line=multi_line)
        client.put(batch, "a", body)
        client.put(batch, "b", body)
        found = [row["identityMap/CRM"] for row in table(asked(client, batch))]
        assert 2 < len(found) < 8
        assert found == found[: len(found) // 2] * 2
    monkeypatch.setattr(previewing, "_MAX_BYTES", 10)
    assert len(table(asked(client, batch))) == 1


def test_what_cannot_be_previewed(client: Client) -> None:
    batch = client.created(form="csv")
    client.put(batch, "a.csv", b"a,a\n1,2\n")
    for query, says in (
        ({"format": "csv"}, "a.csv: the header has the column a twice"),
        ({"format": "parquet"}, "a.csv: it is not a Parquet file"),
        ({"format": "xml"}, "json, parquet or csv"),
        ({"delimiter": ";"}, "delimiter must be ,"),
        ({"charset": "latin-1"}, "charset must be UTF-8"),
        ({"header": "false"}, "header must be true"),
        ({"nrow": "many"}, "nrow"),
        ({"nrow": "-1"}, "nrow"),
    ):
        answer = asked(client, batch, **query)
        assert (answer.status, says in answer.text) == (400, True), answer.text
    assert asked(client, batch, dataset=EVENTS).status == 404
    assert asked(client, "01BX5ZZKBKACTAV9WEVGEMMVRZ").status == 404
    assert table(asked(client, batch, format="json", charset="utf-8")) == [
        {"_corrupt_record": "a,a"}, {"_corrupt_record": "1,2"},
    ]  # fmt: skip
