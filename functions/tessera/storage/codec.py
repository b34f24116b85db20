"""The format of stored bodies: one byte of format version, then JSON, compressed where that makes it smaller."""

from __future__ import annotations

import threading
from typing import Any

import orjson
import zstandard

FORMAT_VERSION = 1

_PLAIN = b"\x01"
_ZSTD = b"\x02"
_WORTH_COMPRESSING = 200


class _Codecs(threading.local):
    """zstandard's objects may not be shared by threads that use them at the same time."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=3, write_content_size=True)
        self.decompressor = zstandard.ZstdDecompressor()


_codecs = _Codecs()


def pack(value: Any) -> bytes:
    """Encode a JSON value with its keys sorted, so that equal values are equal bytes."""
    raw = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    if len(raw) >= _WORTH_COMPRESSING:
        compressed = _codecs.compressor.compress(raw)
        if len(compressed) < len(raw):
            return _ZSTD + compressed
    return _PLAIN + raw


def unpack(blob: bytes) -> Any:
    """Decode what ``pack`` made.

    Raises ValueError for a format this version cannot read.
    """
    marker = blob[:1]
    if marker == _ZSTD:
        return orjson.loads(_codecs.decompressor.decompress(blob[1:]))
    if marker == _PLAIN:
        return orjson.loads(blob[1:])
    raise ValueError(f"unknown body format {marker!r}: written by a newer version?")
