"""What reading and writing objects of the lake shares."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
from botocore.exceptions import ClientError

from tessera.storage.codec import FORMAT_VERSION

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# What no path may have: keys are listed and deleted in XML, and some of this it cannot carry.
UNUSABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\\]")
METADATA = {"format-version": str(FORMAT_VERSION)}
MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
CHANGED = frozenset({"PreconditionFailed", "412"})


def code_of(error: ClientError) -> str:
    """Name the error that storage answered."""
    return error.response["Error"]["Code"]


def read_json(client: S3Client, bucket: str, key: str) -> Any | None:
    """Read a JSON document, ``None`` when there is no such object."""
    try:
        return orjson.loads(client.get_object(Bucket=bucket, Key=key)["Body"].read())
    except ClientError as error:
        if code_of(error) in MISSING:
            return None
        raise


def delete_versions(client: S3Client, bucket: str, prefix: str) -> int:
    """Delete every version of the objects below a prefix, for good, and tell how many there were.

    Raises RuntimeError when some were not deleted.
    """
    deleted = 0
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        gone: Any = [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in found]
        if not gone:
            continue
        # A page has as many objects as a call deletes.
        answer = client.delete_objects(Bucket=bucket, Delete={"Objects": gone, "Quiet": True})
        if failed := answer.get("Errors"):
            raise RuntimeError(f"{len(failed)} objects below {prefix} were not deleted: {failed[0]['Code']}")
        deleted += len(gone)
    return deleted
