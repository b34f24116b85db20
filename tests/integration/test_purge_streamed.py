"""Deleting a batch that gathers streamed rows: by its rows, whatever else came in the same window."""

from __future__ import annotations

import time
from typing import Any

import boto3
import pytest

from api import entities, erasures, purges, system_jobs
from jobs import purge, stream
from ops.replay import replay
from tessera.domain.configuration import DatasetSettings
from tessera.services.purging import accepting
from tessera.services.streaming import closing
from tessera.storage import aws
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.streamed_rows import LET_GO, StreamedRows
from tests.integration import purge_machine, stream_queues
from tests.integration.executors import Inline
from tests.integration.inlets import TENANT
from tests.integration.stream_queues import close_windows, event_of, pump, url, waiting
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
        return sorted(one["_id"] for one in client.events()) if client.entity().status == 200 else []

    def deleted(self, client: Client, batch: str) -> Any:
        """Delete a batch; the receipt."""
        answer = ask(client, batch)
        assert answer.status == 200, answer.text
        assert purge_machine.run(answer.json()["id"], times=2) == "done"
        return self.receipt(client, answer.json()["id"])

    def receipt(self, client: Client, job: str) -> Any:
        return client.call(system_jobs.handler, "GET", f"{PATH}/{job}/receipt").json()

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
            assert self.seen(client) == left
            assert purge_machine.run(answer.json()["id"], times=2) == "done"
            assert self.seen(client) == left
        receipt = self.receipt(client, answer.json()["id"])
        assert receipt["swept"][0]["deleted"]["events"] == 1
        assert not any("keeping of places" in limit for limit in receipt["limits"])
        assert len([key for key in stored() if " E#" in key]) == 1

    def test_rounds_whose_rows_lie_between_each_other_s(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        for name in range(4):
            client.send(message(event(name), EVENTS))
        messages = waiting("stream")
        stream.process(event_of(messages[::2]), None)
        close_windows(monkeypatch)
        (first,) = client.batches(dataSet=EVENTS)
        # It has been on its way for long.
        with monkeypatch.context() as later:
            advance(later, 3600)
            stream.process(event_of(messages[1:2]), None)
        assert ask(client, first["id"]).status == 200
        assert self.seen(client) == ["e1"]
        job = client.call(system_jobs.handler, "GET", PATH).json()["children"][0]["id"]
        assert purge_machine.run(job) == "done"
        with monkeypatch.context() as later:
            advance(later, 3600)
            caplog.clear()
            assert stream.process(event_of(messages), None) == {"batchItemFailures": []}
            assert [one.messages for one in caplog.records if one.message == "left deleted"] == [2]
            assert self.seen(client) == ["e1", "e3"]
            # What was left alone is not gathered once more.
            close_windows(later)
        assert sorted(row["_id"] for batch in client.batches() for row in client.rows(batch["id"])) == [
            *("e0", "e1", "e2", "e3"),
        ]

    def test_whoever_reads_passes_over_them(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in range(6):
            client.send(message(event(name), EVENTS))
        messages = waiting("stream")
        stream.process(event_of(messages[::2]), None)
        close_windows(monkeypatch)
        (batch,) = client.batches(dataSet=EVENTS)
        with monkeypatch.context() as later:
            advance(later, 3600)
            stream.process(event_of(messages[1::2]), None)
        assert ask(client, batch["id"]).status == 200
        query = {
            "schema.name": "_xdm.context.experienceevent",
            "relatedSchema.name": "_xdm.context.profile",
            "relatedEntityId": "c1",
            "relatedEntityIdNS": "CRM",
            "limit": "1",
        }
        pages: list[list[str]] = []
        while len(pages) < 3:
            page = client.call(entities.handler, "GET", "/data/core/ups/access/entities", query=query).json()
            pages.append([child["entityId"] for child in page["children"]])
            query["start"] = page["_page"]["next"]
        assert (sorted(pages), query["start"]) == ([["e1"], ["e3"], ["e5"]], "")
        # Who asks for all that is stored of somebody is told which of it is deleted.
        body = {"entityId": "c1", "entityIdNS": {"code": "CRM"}}
        told = client.call(erasures.handler, "POST", erasures.SUBJECT, body=body).json()
        found = {one["body"]["_id"]: one["deleted"] for one in told["pieces"] if one["kind"] == "event"}
        assert found == {f"e{name}": name % 2 == 0 for name in range(6)}

    def test_long_after_what_was_staged_is_gone(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        first = self.gathered(client, monkeypatch, 1)
        self.gathered(client, monkeypatch, 2)
        empty_stage()
        advance(monkeypatch, 40 * 86_400)
        assert ask(client, first).status == 200
        assert self.seen(client) == ["e2"]
        job = client.call(system_jobs.handler, "GET", PATH).json()["children"][0]["id"]
        assert purge_machine.run(job) == "done"
        assert [key for key in stored() if " E#" in key]
        assert self.receipt(client, job)["swept"][0]["deleted"]["events"] == 1

    def test_dead_letters_that_are_put_back_in_line(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        client.send(message(event(1), EVENTS))
        (lost,) = waiting("stream")
        batch = self.gathered(client, monkeypatch)
        self.deleted(client, batch)
        boto3.client("sqs").send_message(QueueUrl=url("stream-dead"), MessageBody=lost["Body"])
        advance(monkeypatch, 20 * 86_400)
        assert replay(boto3.client("sqs"), url("stream-dead"), url("stream")) == 1
        pump()
        assert self.seen(client) == []
        assert waiting("stream-dead") == []

    @pytest.mark.parametrize("swept", [False, True])
    @pytest.mark.parametrize("sync", [False, True])
    def test_the_same_event_sent_again(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, swept: bool, sync: bool
    ) -> None:
        batch = self.gathered(client, monkeypatch, 1)
        job = ask(client, batch).json()["id"]
        if swept:
            assert purge_machine.run(job) == "done"
        assert client.send(message(event(1), EVENTS), sync=sync).status == 200
        pump()
        assert self.seen(client) == ["e1"]
        assert purge_machine.run(job) in {"done", "over"}
        assert self.seen(client) == ["e1"]

    def test_how_many_rows_at_once(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        first = self.gathered(client, monkeypatch, 1, 2)
        second = self.gathered(client, monkeypatch, 3)
        monkeypatch.setattr(accepting, "MAX_ROWS_AT_ONCE", 2)
        job = ask(client, first).json()["id"]
        refused = ask(client, second)
        assert (refused.status, "wait until some jobs are done" in refused.text) == (422, True)
        assert self.seen(client) == ["e3"]
        assert purge_machine.run(job) == "done"
        assert ask(client, second).status == 200
        assert self.seen(client) == []

    def test_a_round_with_more_rows_than_a_batch_has(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(closing, "MOST_ROWS", 2)
        for name in range(5):
            client.send(message(event(name), EVENTS))
        pump()
        asked = stream_queues.asked_for()
        close_windows(monkeypatch)
        found = {one["id"]: [row["_id"] for row in client.rows(one["id"])] for one in client.batches()}
        assert sorted(map(len, found.values())) == [1, 2, 2]
        assert sorted(name for names in found.values() for name in names) == [f"e{name}" for name in range(5)]
        with monkeypatch.context() as later:
            advance(later, 3600)
            stream.close({"Records": [{"messageId": "1", "body": asked[0]}]}, None)
        assert {one["id"]: [row["_id"] for row in client.rows(one["id"])] for one in client.batches()} == found
        left = {name for names in found.values() for name in names}
        for batch, names in found.items():
            assert ask(client, batch).status == 200
            left -= set(names)
            assert self.seen(client) == sorted(left)

    def test_what_says_which_rows_they_are_goes_last_and_late(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client.send(message(event(1), EVENTS))
        messages = waiting("stream")
        batch = self.gathered(client, monkeypatch)
        body = {"batchId": batch, "lake": True}
        job = client.call(system_jobs.handler, "POST", PATH, body=body).json()["id"]
        (key,) = below("places/")
        assert key.endswith(f"/{EVENTS}/{batch}")
        let_go = StreamedRows.let_go

        def late(*arguments: Any) -> None:
            # Not before no configuration names it any more, and all else has gone.
            assert not settings(EVENTS).deleted_rows
            assert below("raw/") == []
            let_go(*arguments)

        monkeypatch.setattr(StreamedRows, "let_go", late)
        assert purge_machine.run(job) == "done"
        (tag,) = boto3.client("s3").get_object_tagging(Bucket="lake", Key=key)["TagSet"]
        assert f"{tag['Key']}={tag['Value']}" == LET_GO
        remains = {one["where"]: one["until"] for one in self.receipt(client, job)["remains"]}
        assert remains["places/ in the data lake"] > remains["point-in-time recovery of the profile table"]
        advance(monkeypatch, 3600)
        stream.process(event_of(messages), None)
        assert self.seen(client) == []

    def test_a_dataset_that_is_deleted_meanwhile(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        first = self.gathered(client, monkeypatch, 1)
        second = self.gathered(client, monkeypatch, 2)
        of_batch = ask(client, first).json()["id"]
        body = {"dataSetId": EVENTS, "lake": True}
        advance(monkeypatch, 3600)
        of_dataset = client.call(system_jobs.handler, "POST", PATH, body=body).json()["id"]
        # The cutoff says it all.
        assert not settings(EVENTS).deleted_rows
        assert ask(client, second).status == 200
        assert not settings(EVENTS).deleted_rows
        assert purge_machine.run(of_dataset) == "done"
        for key in below("places/"):
            assert boto3.client("s3").get_object_tagging(Bucket="lake", Key=key)["TagSet"]
        client.send(message(event(3), EVENTS))
        pump()
        assert purge_machine.run(of_batch) == "done"
        assert self.seen(client) == ["e3"]

    def test_a_reader_reads_once_which_rows_they_are(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        batches = [self.gathered(client, monkeypatch, name) for name in range(3)]
        for batch in batches[:2]:
            assert ask(client, batch).status == 200
        reads: list[str] = []
        get = StreamedRows.get

        def counted(rows: StreamedRows, *named: Any) -> Any:
            reads.append(named[-1])
            return get(rows, *named)

        monkeypatch.setattr(StreamedRows, "get", counted)
        store = ConfigurationStore(aws.dynamodb(), aws.registry_table())
        for _ in range(3):
            assert set(store.current(TENANT).datasets[EVENTS].deleted_rows) == set(batches[:2])
        assert sorted(reads) == sorted(batches[:2])
        # The next version names one more.
        assert ask(client, batches[2]).status == 200
        reads.clear()
        assert len(store.current(TENANT).datasets[EVENTS].deleted_rows) == 3
        store.change(TENANT, lambda known: known.with_namespaces(["Till"]))
        assert len(store.current(TENANT).datasets[EVENTS].deleted_rows) == 3
        assert reads == batches[2:]

    def test_it_fails_rather_than_show_what_was_deleted(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        batch = self.gathered(client, monkeypatch, 1)
        assert ask(client, batch).status == 200
        (key,) = below("places/")
        boto3.client("s3").delete_object(Bucket="lake", Key=key)
        with pytest.raises(RuntimeError, match=batch):
            ConfigurationStore(aws.dynamodb(), aws.registry_table()).current(TENANT)


@pytest.mark.usefixtures("machine")
class TestOlder:
    """Batches that were made when places were not kept."""

    def gathered(self, client: Client, monkeypatch: pytest.MonkeyPatch, *names: int) -> str:
        monkeypatch.setattr(StreamedRows, "keep", lambda *arguments: None)
        return TestStreamed().gathered(client, monkeypatch, *names)

    def test_their_events_go_when_the_job_comes_to_them(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        batch = self.gathered(client, monkeypatch, 1, 2)
        client.send(message(event(3), EVENTS))
        pump()
        receipt = TestStreamed().deleted(client, batch)
        assert sorted(one["_id"] for one in client.events()) == ["e3"]
        assert receipt["swept"][0]["deleted"]["events"] == 2
        assert any("keeping of places" in limit for limit in receipt["limits"])

    def test_when_it_is_not_known_any_more_which_rows_they_have(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batch = self.gathered(client, monkeypatch, 1)
        empty_stage()
        answer = ask(client, batch)
        assert (answer.status, "thirty days" in answer.text) == (422, True)
        assert [one["_id"] for one in client.events()] == ["e1"]


def advance(patch: pytest.MonkeyPatch, seconds: int) -> None:
    """Let time go by."""
    now = time.time_ns
    patch.setattr(time, "time_ns", lambda: now() + seconds * 10**9)


def below(prefix: str) -> list[str]:
    found = boto3.client("s3").list_objects_v2(Bucket="lake", Prefix=prefix).get("Contents", ())
    return [item["Key"] for item in found]


def empty_stage() -> None:
    """Delete what was staged, as the lake does after thirty days."""
    for key in below("stream/"):
        boto3.client("s3").delete_object(Bucket="lake", Key=key)


def settings(dataset: str) -> DatasetSettings:
    return ConfigurationStore(aws.dynamodb(), aws.registry_table()).current(TENANT).datasets[dataset]
