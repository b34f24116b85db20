"""AWS clients, made once per process and shared by its threads."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

import boto3
import botocore
from botocore.config import Config

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient
    from types_boto3_stepfunctions import SFNClient

CONNECTIONS = 64

_CONFIG = Config(
    max_pool_connections=CONNECTIONS,
    retries={"mode": "standard", "max_attempts": 6},
    connect_timeout=3,
    read_timeout=20,
    tcp_keepalive=True,
    # Left to itself, botocore writes this header anew for every call: a quarter of what a small read takes of the CPU.
    user_agent=f"tessera Botocore/{botocore.__version__}",
)


@cache
def dynamodb() -> DynamoDBClient:
    """Return the process's DynamoDB client."""
    return boto3.client("dynamodb", config=_CONFIG)


@cache
def s3() -> S3Client:
    """Return the process's S3 client."""
    return boto3.client("s3", config=_CONFIG)


@cache
def stepfunctions() -> SFNClient:
    """Return the process's Step Functions client."""
    return boto3.client("stepfunctions", config=_CONFIG)


@cache
def sqs() -> SQSClient:
    """Return the process's SQS client."""
    return boto3.client("sqs", config=_CONFIG)


def profile_table() -> str:
    """Name of the profile table, given to every function that uses it."""
    return os.environ["PROFILE_TABLE"]


def registry_table() -> str:
    """Name of the registry table."""
    return os.environ["REGISTRY_TABLE"]


def lake_bucket() -> str:
    """Name of the data lake's bucket."""
    return os.environ["LAKE_BUCKET"]


def stream_queue() -> str:
    """URL of the queue of streamed messages."""
    return os.environ["STREAM_QUEUE_URL"]


def window_queue() -> str:
    """URL of the queue of windows that wait to be closed."""
    return os.environ["WINDOW_QUEUE_URL"]


def window_ms() -> int:
    """Length of the windows by which streamed rows are gathered, in milliseconds."""
    return int(os.environ.get("STREAM_WINDOW_S", "900")) * 1000
