"""Put dead letters back in line: streamed messages, and windows to be closed, that failed again and again.

    make replay                              of the local cloud
    make replay OUTPUTS=.aws-outputs.json    of a deployment in AWS, with your own credentials

Do it once the cause is mended. Each message keeps its place in history, so it does not matter how late it comes; one
that was dealt with after all changes nothing. A message is taken from the dead letters only when it is back in line.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

from ops.local_cloud import status
from ops.outputs import Outputs

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

_AT_ONCE = 10
# Long enough to put ten messages back; what is not put back by then can be taken again.
_HIDDEN_S = 60


def replay(client: SQSClient, dead_letters: str, queue: str) -> int:
    """Move all messages of one queue to another; answer how many."""
    moved = 0
    while True:
        taken = client.receive_message(
            QueueUrl=dead_letters, MaxNumberOfMessages=_AT_ONCE, VisibilityTimeout=_HIDDEN_S, WaitTimeSeconds=1
        ).get("Messages", [])
        if not taken:
            return moved
        for message in taken:
            client.send_message(QueueUrl=queue, MessageBody=message["Body"])
            client.delete_message(QueueUrl=dead_letters, ReceiptHandle=message["ReceiptHandle"])
        moved += len(taken)


def main(arguments: Sequence[str] | None = None) -> int:
    """Put the dead letters of a deployment back in line and say how many there were."""
    parser = argparse.ArgumentParser(
        prog="make replay",
        description="Puts messages that could not be dealt with back in line. Mend the cause first.",
    )
    parser.add_argument("--outputs", type=Path, help="outputs file of a deployment in AWS; else the local cloud's")
    given = parser.parse_args(arguments)
    if given.outputs is not None and not given.outputs.is_file():
        parser.error(f"no such file: {given.outputs}. make deploy writes .aws-outputs.json")
    outputs = Outputs.read(given.outputs) if given.outputs else status()
    if outputs is None:
        print("The local cloud is not running: make run, or say which deployment with --outputs", file=sys.stderr)
        return 1
    os.environ.update(outputs.environment() if outputs.endpoint_url else {})
    client = boto3.client("sqs")
    for what, dead_letters, queue in (
        ("streamed messages", outputs.stream_dead_letters_url, outputs.stream_queue_url),
        ("windows to be closed", outputs.window_dead_letters_url, outputs.window_queue_url),
    ):
        print(f"{what}: {replay(client, dead_letters, queue)} put back in line")
    return 0


if __name__ == "__main__":
    sys.exit(main())
