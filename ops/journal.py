"""Replay the journal of deletes into restored tables, before they serve.

    make journal AT=2026-11-29T10:00:00Z PROFILES=profiles-restored REGISTRY=registry-restored
    make journal AT=… PROFILES=… REGISTRY=… OUTPUTS=.aws-outputs.json

``AT`` is the instant that both tables were restored to. Without ``OUTPUTS`` it is the local cloud's lake and tables.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import boto3

from ops.local_cloud import status
from ops.outputs import Outputs
from tessera.domain.times import parse_ms
from tessera.services.restoring import UNKNOWN, Restoring
from tessera.storage.batches import BatchStore
from tessera.storage.configuration import ConfigurationStore
from tessera.storage.erasures import HoldRegister
from tessera.storage.journal import Journal
from tessera.storage.profile_table import ProfileTable
from tessera.storage.registry import Registry
from tessera.storage.streamed_rows import StreamedRows


def replay(bucket: str, profiles: str, registry: str, restored_to_ms: int) -> dict[str, int]:
    """Replay the journal in a bucket into two tables; answer how many deletes of each kind."""
    dynamodb, s3 = boto3.client("dynamodb"), boto3.client("s3")
    rows = StreamedRows(s3, bucket)
    restoring = Restoring(
        Journal(s3, bucket),
        ConfigurationStore(dynamodb, registry, lambda: rows),
        BatchStore(Registry(dynamodb, registry)),
        rows,
        ProfileTable(dynamodb, profiles),
        HoldRegister(Registry(dynamodb, registry)),
    )
    return restoring.replay(restored_to_ms)


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay a deployment's journal and say what was in it."""
    parser = argparse.ArgumentParser(
        prog="make journal", description="Hides again what was deleted after the instant that tables were restored to."
    )
    parser.add_argument("--at", required=True, help="the instant that both tables were restored to")
    parser.add_argument("--profiles", required=True, help="name of the restored profile table")
    parser.add_argument("--registry", required=True, help="name of the restored registry table")
    parser.add_argument("--outputs", type=Path, help="outputs file of a deployment in AWS; else the local cloud's")
    given = parser.parse_args(arguments)
    try:
        restored_to_ms = parse_ms(given.at)
    except (ValueError, OverflowError):
        parser.error(f"AT is a date and time such as 2026-11-29T10:00:00Z, not {given.at}")
    if given.outputs is not None and not given.outputs.is_file():
        parser.error(f"no such file: {given.outputs}. make deploy writes .aws-outputs.json")
    outputs = Outputs.read(given.outputs) if given.outputs else status()
    if outputs is None:
        print("The local cloud is not running: make run, or say which deployment with OUTPUTS", file=sys.stderr)
        return 1
    os.environ.update(outputs.environment() if outputs.endpoint_url else {})
    found = replay(outputs.lake_bucket, given.profiles, given.registry, restored_to_ms)
    for kind, count in sorted(found.items()):
        done = "to be asked for again before anybody reads" if kind == UNKNOWN else "hidden again"
        print(f"{count} deletes of kind {kind}: {done}")
    print("Ask for the same deletes again to sweep up what they hide.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
