"""Messages that come in another order, twice, late, or never get through: laws 2, 3 and 4 for streaming."""

from __future__ import annotations

import secrets
import time
import uuid
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from typing import Any

import boto3
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import stream
from ops.replay import replay
from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.identity import Identity
from tessera.domain.merge_policy import MergePolicy
from tessera.domain.message import Message
from tessera.domain.place import Place, batch_id_of, stream_place
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import ulid
from tessera.services.profile_reader import ProfileReader
from tessera.storage import aws
from tessera.storage.batches import BatchStore
from tessera.storage.codec import pack
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry
from tests.integration import stream_queues
from tests.integration.conftest import empty_profile_table, forget
from tests.integration.executors import Inline
from tests.integration.hostile import CrashError
from tests.integration.inlets import TENANT
from tests.integration.stream_queues import close_windows, event_of, pump, url, waiting
from tests.integration.test_batches_crashes import VERSION, Life, Mortal
from tests.integration.test_laws import EXAMPLES
from tests.integration.test_streaming import EVENTS, RECORDS, Client, client, event, message, person, stored

__all__ = ["client"]

NOW_NS = 1_750_258_800_000_000_000


def lake(*prefixes: str) -> dict[str, bytes]:
    """What is in the lake; versions are named at random, so their names are left out."""
    s3 = boto3.client("s3")
    return {
        item["Key"]: VERSION.sub(b"", s3.get_object(Bucket="lake", Key=item["Key"])["Body"].read())
        for prefix in prefixes
        for item in s3.list_objects_v2(Bucket="lake", Prefix=prefix).get("Contents", [])
    }


def everything() -> tuple[Any, ...]:
    """All that anybody can read; how rows were staged on their way may differ."""
    records = [one.to_document() for one in BatchStore(Registry(boto3.client("dynamodb"), "registry")).each(TENANT)]
    return stored(), records, lake("raw/", "rejected/", "jobs/")


def reset() -> None:
    """Empty all that messages lead to."""
    dynamodb, s3 = boto3.client("dynamodb"), boto3.client("s3")
    for table in ("profiles", "registry"):
        for item in dynamodb.scan(TableName=table)["Items"]:
            if table == "profiles" or item["pk"]["S"].endswith(("#batch", "#window")):
                dynamodb.delete_item(TableName=table, Key={"pk": item["pk"], "sk": item["sk"]})
    found = s3.list_object_versions(Bucket="lake")
    for item in [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]:
        s3.delete_object(Bucket="lake", Key=item["Key"], VersionId=item["VersionId"])
    for name in stream_queues.NAMES:
        stream_queues.empty(name)


class Mortals:
    """The clients of a process that has a life, made once; each life begins without memory of the one before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self._real: dict[str, Any] = {name: boto3.client(name) for name in ("dynamodb", "s3", "sqs")}  # type: ignore[call-overload]

    def live(self, calls: int | None = None) -> Life:
        life = Life(calls)
        forget()
        for name, real in self._real.items():
            self._patch.setattr(aws, name, lambda real=real: Mortal(real, life))  # type: ignore[misc]
        return life


def test_a_call_may_die_after_any_step_and_come_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOW_NS)
    monkeypatch.setattr(secrets, "randbits", lambda _: 7)
    linked = {"CRM": [{"id": "c1", "primary": True}], "Till": [{"id": "t1"}]}
    rows: list[dict[str, Any]] = [event(1), event(2, identityMap=linked), {}, event(1, other=True)]
    sent = [message(row, EVENTS) for row in rows]
    assert client.send_several(*sent).status == 207
    arrived = event_of(waiting("stream"))
    assert len(arrived["Records"]) == len(sent)

    mortals = Mortals(monkeypatch)

    def through(calls: int | None) -> int:
        """Process and close; if that dies somewhere, both come again."""
        life = mortals.live(calls)
        try:
            assert stream.process(arrived, None) == {"batchItemFailures": []}
            close_windows(monkeypatch)
        except CrashError:
            mortals.live()
            assert stream.process(arrived, None) == {"batchItemFailures": []}
            close_windows(monkeypatch)
        return life.spent

    reset()
    spent = through(None)
    expected = everything()
    figures = Counter()
    for one in expected[1]:
        figures.update(one["metrics"])
    assert figures["inputRecordCount"] == len(sent)
    assert figures["outputRecordCount"] == 3
    assert figures["failedRecordCount"] == figures["conflictRecordCount"] == 1
    assert spent > 30
    for calls in range(spent):
        reset()
        through(calls)
        assert everything() == expected, f"after {calls} calls"


def test_rows_that_come_after_their_window_was_closed_get_another_batch(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.send_several(message(event(1), EVENTS), message({}, EVENTS), message(event(2), EVENTS), message([], EVENTS))
    first, bad, second, worse = waiting("stream")
    stream.process(event_of([first, bad]), None)
    close_windows(monkeypatch)
    # The queue may hand over what it handed over before.
    stream.process(event_of([worse, bad, first, second]), None)
    stream.process(event_of([first]), None)
    close_windows(monkeypatch)
    stream.process(event_of([bad, first]), None)
    close_windows(monkeypatch)
    found = client.batches()
    assert [batch["status"] for batch in found] == ["success", "success", "failed", "failed"]
    rows = [row["_id"] for batch in found[:2] for row in client.rows(batch["id"])]
    assert sorted(rows) == ["e1", "e2"]
    assert [len(client.rejected(batch["id"])) for batch in found[2:]] == [1, 1]
    assert [batch["metrics"]["inputRecordCount"] for batch in found] == [1, 1, 1, 1]


def test_a_window_is_not_closed_early_nor_by_an_announcement_that_died(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.send(message(person(1)), sync=True)
    [asked] = stream_queues.asked_for()
    stream_queues.empty("windows")
    closing = {"Records": [{"messageId": "1", "body": asked}]}
    assert stream.close(closing, None) == {"batchItemFailures": []}
    # It asks for itself again, and for the round that is not there yet there is nothing to do.
    assert stream_queues.asked_for() == [asked]
    later = orjson.dumps({**orjson.loads(asked), "round": 1}).decode()
    assert stream.close({"Records": [{"messageId": "1", "body": later}]}, None) == {"batchItemFailures": []}
    assert client.batches() == []
    broken = {"Records": [{"messageId": "a", "body": "{"}, {"messageId": "b", "body": asked}]}
    assert stream.close(broken, None) == {"batchItemFailures": [{"itemIdentifier": "a"}]}
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 10**13)
    for _ in range(2):
        stream.close(closing, None)
    assert len(client.batches()) == 1


class TestPoison:
    @pytest.mark.parametrize("where", ["judging", "writing"])
    def test_a_message_that_cannot_be_dealt_with_fails_alone(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, where: str
    ) -> None:
        client.send_several(*[message(person(number, poison=number == 2)) for number in range(4)])
        boto3.client("sqs").send_message(QueueUrl=url("stream"), MessageBody="no message of ours")
        with monkeypatch.context() as broken:
            if where == "judging":
                judged = stream._processor().__class__.__module__
                real = __import__(judged, fromlist=["judged"]).judged

                def judge(one: Message, *rest: Any) -> Any:
                    return 1 // (not one.body["xdmEntity"]["poison"]) and real(one, *rest)

                broken.setattr(f"{judged}.judged", judge)
            else:
                write = stream._processor()._writer.apply

                def apply(tenant: Tenant, dataset: str, rows: Sequence[Any]) -> Any:
                    return 1 // (not any(one.row.body["poison"] for one in rows)) and write(tenant, dataset, rows)

                broken.setattr(stream._processor()._writer, "apply", apply)
            pump()
        assert [client.entity(f"c{number}").status for number in range(4)] == [200, 200, 404, 200]
        assert waiting("stream") == []
        assert len(waiting("stream-dead")) == 2
        # The cause is mended: all of them are put back in line.
        assert replay(boto3.client("sqs"), url("stream-dead"), url("stream")) == 2
        pump()
        assert client.entity("c2").status == 200
        [left] = waiting("stream-dead")
        assert left["Body"] == "no message of ours"
        close_windows(monkeypatch)
        [batch] = client.batches()
        assert batch["metrics"]["outputRecordCount"] == 4

    @pytest.mark.parametrize(
        "spoilt",
        [
            {"place": []},
            {"place": "x"},
            {"place": "zzzzzzzzzzz.01M8KEEYPCXN1ZHDGTHK7YRB72.ffff.0000000000"},
            {"dataset": []},
            {"tenant": [[], {}]},
            {"tenant": "ab"},
            {"header": []},
            {"body": None},
            {"judgedBy": [[], None, "x", {}]},
        ],
        ids=str,
    )
    def test_what_is_no_message_harms_none_beside_it(self, client: Client, spoilt: dict[str, Any]) -> None:
        at = stream_place(1_790_000_000_000, "01M8KEEYPCXN1ZHDGTHK7YRB72", None)
        sent = message(person(9))
        good = Message(TENANT, RECORDS, at, sent["header"], sent["body"]).to_document()
        client.send_several(message(person(1)), message(person(2)))
        body = b64encode(pack({"message": {**good, **spoilt}})).decode()
        boto3.client("sqs").send_message(QueueUrl=url("stream"), MessageBody=body)
        client.send_several(message(person(3)))
        pump()
        assert [client.entity(f"c{number}").status for number in (1, 2, 3, 9)] == [200, 200, 200, 404]
        assert [one["Body"] for one in waiting("stream-dead")] == [body]

    def test_no_failure_tells_whose_message_it_was(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        client.send(message(person(1, secret="maya@example.com")))

        def fail(*_: object) -> None:
            raise ValueError("maya@example.com")

        with monkeypatch.context() as broken:
            broken.setattr(stream._processor()._writer, "apply", fail)
            pump()
        told = str([vars(record) for record in caplog.records])
        assert "ValueError" in told
        assert "maya" not in told


def test_a_deleted_dataset_and_a_deleted_person_take_what_is_under_way_with_them(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.send(message(person(1)))
    client.send(message(event(1), EVENTS))
    store = ConfigurationStore(aws.dynamodb(), aws.registry_table())
    store.change(TENANT, lambda known: known.without_dataset(EVENTS))
    pump()
    assert client.events() == []
    close_windows(monkeypatch)
    failed = [batch for batch in client.batches() if batch["status"] == "failed"]
    assert [batch["errors"][0]["code"] for batch in failed] == ["TESSERA-INGEST-404"]


def test_more_namespaces_than_a_sandbox_can_have_reject_the_row_alone(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tessera.domain.configuration.MAX_CUSTOM_NAMESPACES", 2)
    one, another = ({"identityMap": {code: [{"id": "x"}]}} for code in ("First", "Second"))
    client.send_several(message(person(1)), message(one), message(another))
    pump()
    assert client.entity().status == 200
    close_windows(monkeypatch)
    success, failed = client.batches()
    assert success["metrics"]["outputRecordCount"] == 2
    assert [row["_errors"][0]["code"] for row in client.rejected(failed["id"])] == ["TESSERA-INGEST-422"]


# The same messages, however they are processed

NUMBERS = st.integers(0, 2)
MERGE, DELETE = {"data": "merge"}, {"data": "delete"}
SENT = st.one_of(
    st.builds(lambda number, n: message(person(number, n=n)), NUMBERS, NUMBERS),
    st.builds(lambda number, m: message(person(number, m=m), operations=MERGE), NUMBERS, NUMBERS),
    st.builds(lambda number: message(person(number, a={"$append": [number]}), operations=MERGE), NUMBERS),
    st.builds(lambda number: message(person(number), operations=DELETE), NUMBERS),
    st.builds(lambda number, kind: message(event(number, kind=kind), EVENTS), NUMBERS, NUMBERS),
    st.sampled_from([message({}), message([], EVENTS), message(person(1, a=[1]), operations=MERGE)]),
)


@st.composite
def calls(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[list[int]]]:
    """Some messages, and how their numbers are divided among calls, some of them more than once."""
    sent = draw(st.lists(SENT, min_size=1, max_size=7))
    order = draw(st.permutations(range(len(sent)))) + draw(st.lists(st.sampled_from(range(len(sent))), max_size=3))
    divided: list[list[int]] = []
    for number in order:
        if divided and draw(st.booleans()):
            divided[-1].append(number)
        else:
            divided.append([number])
    return sent, divided


def came_to(sent: Sequence[dict[str, Any]], divided: Sequence[Sequence[int]], monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a new sandbox shows after messages were processed."""
    empty_profile_table()
    tenant = Tenant(TENANT.org_id, uuid.uuid4().hex)
    configuration = Configuration(1, "id", tenant.sandbox, "development").with_policy(
        MergePolicy("p", "", default=True)
    )
    for dataset in (
        DatasetSettings(RECORDS, DatasetKind.RECORD, profile_enabled=True, identity_enabled=True),
        DatasetSettings(EVENTS, DatasetKind.EVENT, profile_enabled=True, identity_enabled=True),
    ):
        configuration = configuration.with_dataset(dataset)
    configurations = ConfigurationStore(aws.dynamodb(), aws.registry_table())
    configurations.create(tenant, configuration)
    now_ms = NOW_NS // 1_000_000
    messages = [
        Message(tenant, one["header"]["datasetId"], places(number), one["header"], one["body"])
        for number, one in enumerate(sent)
    ]
    for numbers in divided:
        assert stream._processor().process([messages[number] for number in numbers]) == set()
    close_windows(monkeypatch)
    reader = ProfileReader(configurations, ProfileTable(aws.dynamodb(), aws.profile_table()), Inline())
    shown: list[Any] = []
    for number in range(3):
        xid = Identity("crm", f"c{number}").xid(tenant)
        try:
            person_ = reader.person(tenant, xid, namespace=None, policy_id=None, now_ms=now_ms)
        except Exception as error:
            shown.append(type(error).__name__)
        else:
            shown.append([person_.entity(), person_.sources, person_.tags, person_.last_modified_ms])
    bodies = [
        (item["sk"]["S"], item["p"]["S"], item["b"]["B"])
        for item in boto3.client("dynamodb").scan(TableName=aws.profile_table())["Items"]
        if item["sk"]["S"].startswith("E")
    ]
    return shown, sorted(bodies), gathered(tenant)


def places(number: int) -> Place:
    now_ms = NOW_NS // 1_000_000
    return stream_place(now_ms + number // 3, ulid(now_ms + number // 3, 5), number)


def gathered(tenant: Tenant) -> tuple[dict[str, int], list[str], list[str]]:
    """What the catalogue counts, the accepted rows in the lake, and which messages were rejected."""
    counted: Counter[str] = Counter()
    accepted, rejected = [], []
    for batch in BatchStore(Registry(aws.dynamodb(), "registry")).each(tenant):
        counted.update({name: count for name, count in batch.metrics.items() if name.endswith("RecordCount")})
        for body in lake(f"raw/{tenant.key}/{batch.id}/").values():
            accepted += body.decode().splitlines()
        for body in lake(f"rejected/{tenant.key}/{batch.id}/row_errors/validation").values():
            rejected += [orjson.loads(line)["_filename"] for line in body.splitlines()]
    # Which of two bodies was there first is known only to who came second.
    counted.pop("conflictRecordCount", None)
    return dict(counted), sorted(accepted), sorted(rejected)


@settings(EXAMPLES, max_examples=15)
@given(case=calls())
def test_order_division_and_repetition_make_no_difference(
    client: Client, monkeypatch: pytest.MonkeyPatch, case: tuple[list[dict[str, Any]], list[list[int]]]
) -> None:
    sent, divided = case
    expected = came_to(sent, [[number] for number in range(len(sent))], monkeypatch)
    assert came_to(sent, divided, monkeypatch) == expected
    counted, accepted, rejected = expected[-1]
    partial = sum(1 for one in sent if one["header"].get("operations")) - sum(
        1 for one in sent if isinstance(one["body"]["xdmEntity"], dict) and one["body"]["xdmEntity"].get("a") == [1]
    )
    assert len(accepted) + len(rejected) == counted.get("inputRecordCount", 0) == len(sent) - partial
    assert len(rejected) == len(set(rejected)) == counted.get("failedRecordCount", 0)
    assert {batch_id_of(places(number)) for number in range(len(sent))} >= set(rejected)
