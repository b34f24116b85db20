"""Deleting a batch that gathers streamed rows: by its rows, whatever else came in the same window."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from api import purges, system_jobs
from jobs import purge
from tests.integration import purge_machine
from tests.integration.executors import Inline
from tests.integration.stream_queues import close_windows, pump
from tests.integration.test_streaming import EVENTS, Client, client, event, message, stored
from tests.integration.test_system_jobs import PATH

__all__ = ["client"]


def ask(client: Client, batch: str) -> Any:
    return client.call(system_jobs.handler, "POST", PATH, body={"datasetId": EVENTS, "batchId": batch})


@pytest.fixture
def machine(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    purge_machine.created_machine(monkeypatch)
    for module in (purges, purge):
        monkeypatch.setattr(module, "ThreadPoolExecutor", lambda _: Inline())


@pytest.mark.usefixtures("machine")
class TestStreamed:
    def gathered(self, client: Client, monkeypatch: pytest.MonkeyPatch, *names: int) -> str:
        """Stream events and close their window; the batch that is new."""
        known = {batch["id"] for batch in client.batches(dataSet=EVENTS)}
        for name in names:
            client.send(message(event(name), EVENTS))
        pump()
        close_windows(monkeypatch)
        (batch,) = [one["id"] for one in client.batches(dataSet=EVENTS) if one["id"] not in known]
        return str(batch)

    def seen(self, client: Client) -> list[str]:
        return sorted(one["_id"] for one in client.events())

    def test_its_rows_go_and_those_of_the_window_s_other_rounds_stay(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = self.gathered(client, monkeypatch, 1, 2)
        second = self.gathered(client, monkeypatch, 3)
        client.send(message(event(4), EVENTS))
        pump()
        assert self.seen(client) == ["e1", "e2", "e3", "e4"]
        for batch, left in ((first, ["e3", "e4"]), (second, ["e4"])):
            answer = ask(client, batch)
            assert answer.status == 200, answer.text
            assert purge_machine.run(answer.json()["id"], times=2) == "done"
            assert self.seen(client) == left
        receipt = client.call(system_jobs.handler, "GET", f"{PATH}/{answer.json()['id']}/receipt").json()
        assert receipt["swept"][0]["deleted"]["events"] == 1
        assert any("Streamed rows" in limit for limit in receipt["limits"])
        assert len([key for key in stored() if " E#" in key]) == 1

    def test_when_it_is_not_known_any_more_which_they_are(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batch = self.gathered(client, monkeypatch, 1)
        s3 = boto3.client("s3")
        for item in s3.list_objects_v2(Bucket="lake", Prefix="stream/").get("Contents", ()):
            s3.delete_object(Bucket="lake", Key=item["Key"])
        answer = ask(client, batch)
        assert (answer.status, "thirty days" in answer.text) == (422, True)
        assert self.seen(client) == ["e1"]
