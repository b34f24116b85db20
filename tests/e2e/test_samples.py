"""Samples on the deployed stacks: Adobe's client unchanged, and totals that are those of what was ingested."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aepp.customerprofile import Profile
from rich.console import Console

from ops import reports
from ops.client import Client
from ops.outputs import Outputs
from tests.e2e.conftest import adobe_client, register

PERSONS = 40


@pytest.fixture(scope="module")
def mine(outputs: Outputs) -> dict[str, str]:
    """A client of an organisation in whose store there is nothing but what is ingested here."""
    return register(f"SAMPLE{uuid.uuid4().hex[:10].upper()}@AdobeOrg")


@pytest.fixture(scope="module")
def client(mine: dict[str, str]) -> Client:
    return Client(mine)


@pytest.fixture(scope="module")
def ingested(client: Client) -> dict[str, str]:
    """People of whom every fourth has two identities, purchases of every second one, and visitors with events alone."""
    people = client.create_dataset("sampled people", "profile", "unifiedProfile", "unifiedIdentity")
    visits = client.create_dataset("sampled visits", "experienceevent", "unifiedProfile", "unifiedIdentity")
    assert client.ingest(people, [person(number) for number in range(PERSONS)])["status"] == "success"
    events = [visit(f"s{number}", number) for number in range(0, PERSONS, 2)]
    events += [visit(f"v{number}", 1000 + number) for number in range(5)] + [visit("v0", 2000)]
    assert client.ingest(visits, events)["status"] == "success"
    return {"people": people, "visits": visits}


def person(number: int) -> dict[str, Any]:
    identities: dict[str, Any] = {"Shopper": [{"id": f"s{number}", "primary": True}]}
    if number % 4 == 0:
        identities["Email"] = [{"id": f"s{number}@ex.org"}]
    return {"identityMap": identities, "_shop": {"number": number}}


def visit(who: str, number: int) -> dict[str, Any]:
    return {
        "_id": f"visit-{number}",
        "timestamp": datetime.now(UTC).isoformat(),
        "identityMap": {"Shopper": [{"id": who, "primary": True}]},
    }


def test_adobe_s_client_reads_what_was_ingested(client: Client, mine: dict[str, str], ingested: dict[str, str]) -> None:
    profiles: Profile = adobe_client(mine)
    assert profiles.getPreviewStatus()["status"] == 404
    *_, last = client.take_sample()
    assert last is not None
    status = profiles.getPreviewStatus()
    assert status == last
    total, events = PERSONS + 5, PERSONS // 2 + 6
    assert (status["numRowsToRead"], status["totalRows"]) == (str(total), str(total))
    assert status["docCount"] == f'"{PERSONS + events}"'
    assert status["samplingRatio"] == 1.0
    assert status["lastBatchId"] != '"null"'

    rows = {row["value"]: row for row in profiles.getPreviewDataSet()}
    assert {key: rows[ingested[key]]["fullIDsCount"] for key in ingested} == {
        "people": PERSONS,
        "visits": PERSONS // 2 + 5,
    }
    assert rows[ingested["people"]]["name"] == "sampled people"
    overlap = profiles.getPreviewDataSetOverlap()
    both = ",".join(sorted(ingested.values()))
    expected = {both: PERSONS // 2, ingested["people"]: PERSONS // 2, ingested["visits"]: 5}
    assert overlap == expected
    by_code = {row["code"]: row["fullIDsCount"] for row in profiles.getPreviewNamespace()}
    assert by_code == {"Shopper": total, "Email": PERSONS // 4}
    assert client.report("namespace/overlap") == {"Email,Shopper": PERSONS // 4, "Shopper": total - PERSONS // 4}
    assert client.report("unstitchedProfiles")["totalNumberOfEvents"] == events


def test_twice_at_once_is_once(client: Client, ingested: dict[str, str]) -> None:
    path = "/data/core/ups/previewsamplestatus"
    answers = [client.http.post(path) for _ in range(4)]
    assert {answer.status_code for answer in answers} == {202}
    *_, last = client.take_sample()
    assert last is not None
    ids = Counter(answer.json()["id"] for answer in answers)
    # The first may have been done before the last was asked for.
    assert len(ids) <= 2


def test_the_terminal_draws_every_report(
    client: Client, mine: dict[str, str], ingested: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "client.json"
    file.write_text(json.dumps(mine))
    console = Console(record=True, width=80, highlight=False)
    monkeypatch.setattr(reports, "console", console)
    assert reports.main(["--client", str(file), "--again"]) == 0
    drawn = console.export_text()
    for title in (
        *("Last sample", "Profiles by dataset", "Profiles by exact combination of datasets", "Profiles by namespace"),
        *("Profiles by exact combination of namespaces", "Profiles of a single fragment"),
        *(
            "Records by dataset",
            "Events that would be left",
            "Graphs by how many identities",
            "What is stored",
            "Cost of a month",
        ),
    ):
        assert title in drawn, drawn
    assert "sampled people" in drawn
    assert "█" in drawn
    day = datetime.now(UTC).date().isoformat()
    assert reports.main(["--client", str(file), "--date", day]) == 0
