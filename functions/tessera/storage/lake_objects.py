"""What reading and writing objects of the lake shares."""

from __future__ import annotations

import re

from botocore.exceptions import ClientError

from tessera.storage.codec import FORMAT_VERSION

UNUSABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\\]")
METADATA = {"format-version": str(FORMAT_VERSION)}
MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
CHANGED = frozenset({"PreconditionFailed", "412"})


def code_of(error: ClientError) -> str:
    """Name the error that storage answered."""
    return error.response["Error"]["Code"]
