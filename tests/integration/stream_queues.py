"""The queues of streaming in process: what they hold is handed to the functions as an event source mapping does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import boto3
import orjson
import pytest
from moto.sqs.models import sqs_backends

from api import streaming
from jobs import stream
from tests.integration.executors import Inline
from tests.integration.sample_executions import startable_machine

ATTEMPTS = 2
WINDOW_S = 900
NAMES = ("stream", "windows")


def created_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    """Create the queues and their dead-letter queues, and make writing happen in the test's own thread."""
    client = boto3.client("sqs")
    for name, variable in zip(NAMES, ("STREAM_QUEUE_URL", "WINDOW_QUEUE_URL"), strict=True):
        dead = client.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
        arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        redrive = orjson.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": ATTEMPTS}).decode()
        attributes = {"RedrivePolicy": redrive, "VisibilityTimeout": "0"}
        monkeypatch.setenv(variable, client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])
    monkeypatch.setenv("STREAM_WINDOW_S", str(WINDOW_S))
    startable_machine(monkeypatch)
    for module in (streaming, stream):
        monkeypatch.setattr(module, "ThreadPoolExecutor", lambda _: Inline())


def url(name: str) -> str:
    return str(boto3.client("sqs").get_queue_url(QueueName=name)["QueueUrl"])


def waiting(name: str) -> list[dict[str, Any]]:
    """Take all messages of a queue, without deleting them."""
    found = {}
    while (
        taken := boto3.client("sqs")
        .receive_message(QueueUrl=url(name), MaxNumberOfMessages=10, VisibilityTimeout=1000)
        .get("Messages", [])
    ):
        found.update({message["MessageId"]: message for message in taken})
    for message in found.values():
        boto3.client("sqs").change_message_visibility(
            QueueUrl=url(name), ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
        )
    return list(found.values())


def event_of(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The event of a mapping."""
    return {"Records": [{"messageId": one["MessageId"], "body": one["Body"]} for one in messages]}


def pump(name: str = "stream", handler: Callable[..., Mapping[str, Any]] | None = None, size: int = 10) -> int:
    """Hand over what a queue holds until it is empty, or all that is left are dead letters; answer how many calls."""
    client = boto3.client("sqs")
    handler = handler or (stream.process if name == "stream" else stream.close)
    calls = 0
    while taken := client.receive_message(QueueUrl=url(name), MaxNumberOfMessages=size).get("Messages", []):
        calls += 1
        answer = handler(event_of(taken), None)
        failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        for message in taken:
            if message["MessageId"] not in failed:
                client.delete_message(QueueUrl=url(name), ReceiptHandle=message["ReceiptHandle"])
    return calls


def close_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so much time pass that every open window can be closed, and close it."""
    asked = asked_for()
    now = time.time_ns()
    with monkeypatch.context() as later:
        later.setattr(time, "time_ns", lambda: now + 3 * WINDOW_S * 10**9)
        for body in asked:
            answer = stream.close({"Records": [{"messageId": "1", "body": body}]}, None)
            assert answer == {"batchItemFailures": []}
    empty("windows")


def asked_for() -> list[str]:
    """The bodies of the messages of windows, also of those that are delayed."""
    return [message.body for message in sqs_backends["123456789012"]["eu-west-1"].queues["windows"]._messages]


def empty(name: str) -> None:
    """Take out of a queue whatever is in it, also what is delayed."""
    sqs_backends["123456789012"]["eu-west-1"].queues[name]._messages.clear()
