"""A sandbox whose lake has a person in every kind of object that there is."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pyarrow as pa
import pytest

from api import erasures
from tessera.storage.codec import unpack
from tests.integration import erase_machine, ingest_machine, stream_queues
from tests.integration.conftest import Caller
from tests.integration.erasing import text_in
from tests.integration.inlets import make_inlet
from tests.integration.stream_queues import close_windows, pump
from tests.integration.test_batches import EVENTS, Client, event, input_of, json_lines, parquet, person
from tests.integration.test_batches_in_parts import in_parts
from tests.integration.test_streaming import Client as Sender
from tests.integration.test_streaming import message

CANARY = "canary-7391@ex.org"
NAMED = {"entityId": CANARY, "entityIdNS": {"code": "Email"}}


def theirs(made: dict[str, Any], number: int = 0, **more: Any) -> dict[str, Any]:
    """Make a row the canary's, by a second identity of it."""
    crm = [{"id": f"crm-{CANARY}", "primary": True}]
    return {**made, "identityMap": {"CRM": crm, "Email": [{"id": CANARY}]}, "note": f"{CANARY} {number}", **more}


@dataclass
class LakeWorld:
    """Brings the canary into the lake, and looks where it is."""

    client: Client
    call: Caller
    sender: Sender
    monkeypatch: pytest.MonkeyPatch
    batches: dict[str, str] = field(default_factory=dict)
    # Three rows of others as JSON lines, which are in most of the files.
    others: bytes = b""

    def bring(self) -> None:
        """Ingest the canary among others, in every format."""
        ingest, others = self.client.ingest, [person(1), person(2), person(3)]
        rows = [others[0], theirs(person(4)), others[1], theirs(person(4), 1), theirs(person(4), 2), others[2]]
        lines = json_lines(rows)
        by, self.others = self.batches, json_lines(others)
        by["lines"] = ingest({"a.json": lines.replace(b"\n", b"\r\n\n", 1), "clean.json": self.others})["id"]
        by["document"] = ingest({"d.json": b"[" + lines.strip().replace(b"\n", b" ,\n ") + b"]"}, multi_line=True)["id"]
        csv = f'identityMap.CRM,identityMap.Email,note\nc1,,"a\nb"\n"crm-{CANARY}",{CANARY},"x\ny"\n\nc2,,c\n'
        by["csv"] = ingest({"t.csv": csv.encode()}, form="csv")["id"]
        flat = [
            {"identityMap": {"Email": [{"id": row["identityMap"].get("Email", row["identityMap"]["CRM"])[0]["id"]}]}}
            for row in rows
        ]
        by["parquet"] = ingest({"p.parquet": parquet(flat)}, form="parquet")["id"]
        by["events"] = ingest({"e.json": json_lines([theirs(event(4)), event(1)])}, EVENTS)["id"]
        by["parts"] = self.client.created()
        in_parts(self.client, by["parts"], lines, [7, len(lines) // 2, len(lines) // 2 + 1])
        self.completed(by["parts"])
        bad = [theirs(event(5), _id=""), event(6, _id=""), theirs(event(7)), event(8)]
        by["rejected"] = ingest(
            {"r.json": json_lines(bad)}, EVENTS, enableErrorDiagnostics=True, partialIngestionPercent=90
        )["id"]
        by["over"] = self.client.created()
        for body in (lines, self.others):
            self.client.put(by["over"], "w.json", body)
        self.completed(by["over"])
        by["aborted"] = self.client.created()
        self.client.put(by["aborted"], "gone.json", lines)
        assert self.client.signal(by["aborted"], "ABORT").status == 200
        noise = base64.b85encode(random.Random(1).randbytes(400_000)).decode()
        self.sender.send_several(
            message(theirs(person(9))), message(person(2)), message({**theirs(event(5)), "_id": ""}, EVENTS)
        )
        self.sender.send(message(theirs(person(9), noise=noise)))
        pump()
        close_windows(self.monkeypatch)

    def completed(self, batch: str) -> None:
        """Complete a batch and ingest it."""
        assert self.client.signal(batch).status == 200
        assert ingest_machine.run(input_of(batch)) == "done"

    def erase(self, **more: Any) -> str:
        answer = self.call(erasures.handler, "POST", erasures.PATH, body={"identities": [NAMED], "lake": True, **more})
        assert answer.status == 200, answer.text
        return str(answer.json()["id"])

    def receipt(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call(erasures.handler, "GET", f"{erasures.PATH}/{job_id}/receipt").json()
        return found


def versions() -> Iterator[tuple[str, str, bytes]]:
    """Every version of every object of the lake: key, version, content."""
    s3 = boto3.client("s3")
    for page in s3.get_paginator("list_object_versions").paginate(Bucket="lake"):
        for one in page.get("Versions", ()):
            body = s3.get_object(Bucket="lake", Key=one["Key"], VersionId=one["VersionId"])["Body"].read()
            yield one["Key"], one["VersionId"], body


def text_of(key: str, body: bytes) -> str:
    """What is in an object, decoded."""
    if "/messages/" in key:
        return str(unpack(body))
    try:
        return text_in(body)
    except pa.ArrowException:
        return body.decode("latin-1")


def found(text: str = CANARY) -> list[str]:
    """The keys of what has a text in it, one for each version."""
    return sorted(key for key, _, body in versions() if text in text_of(key, body).lower())


@pytest.fixture
def world(client: Client, call: Caller, monkeypatch: pytest.MonkeyPatch) -> LakeWorld:
    stream_queues.created_queues(monkeypatch)
    erase_machine.created_machine(monkeypatch)
    return LakeWorld(client, call, Sender(call, make_inlet()), monkeypatch)
