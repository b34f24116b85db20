"""Writing an object anew without some of its rows: at once, or part by part when it is large."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from tessera.domain.erasure import Unread
from tessera.services.erasure.lake import texts
from tessera.services.erasure.lake.checkpoint import Inside
from tessera.services.erasure.lake.ports import Objects
from tessera.services.erasure.lake.texts import Cuts
from tessera.storage.received import StoredFile
from tessera.storage.row_objects import Content

# A function has ten minutes; what is begun after this many seconds is left to the next one.
WORKING_S = 6 * 60
# A file of Parquet is written in one go, so that is begun early or left to the next.
_EARLY_S = 60
_PART_BYTES = 16_000_000
# Up to this size a file is written at once.
_AT_ONCE_BYTES = 32_000_000


class TimeIsOverError(Exception):
    """The rest is left to the next invocation."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a version holds: how many ``rows`` go, and what is left: ``body``, or all ``inside`` says but them."""

    dataset_id: str
    rows: int = 0
    unread: Unread | None = None
    body: bytes = b""
    inside: Inside | None = None
    in_columns: bool = False


class Rewriter:
    """Writes objects anew; ``is_over`` tells whether so many seconds have passed since the invocation began."""

    def __init__(self, objects: Objects, is_over: Callable[[float], bool]) -> None:
        self._objects = objects
        self._over = is_over

    def write(self, content: Content, current: Content, found: Found) -> StoredFile | None:
        """Write it; ``None`` if it is not the ``current`` version any more.

        Raises TimeIsOverError, and LostUploadError when it has to be begun anew.
        """
        if found.inside is None:
            return self._objects.replace(content, current, found.body)
        if found.in_columns:
            return self._written_columns(content, current, found.inside.cuts)
        gone = sum(end - start for start, end in found.inside.cuts.intervals)
        if content.whole - gone <= _AT_ONCE_BYTES:
            pieces = texts.left(content.read, content.whole, found.inside.cuts, 0)
            return self._objects.replace(content, current, b"".join(piece for piece, _ in pieces))
        return self._written_in_parts(content, current, found.inside)

    def _written_in_parts(self, content: Content, current: Content, inside: Inside) -> StoredFile | None:
        objects = self._objects
        if not inside.upload:
            inside.upload = objects.begin(content)
        left = bytearray()

        def write() -> None:
            inside.etags.append(objects.write_part(content.key, inside.upload, len(inside.etags) + 1, bytes(left)))
            inside.size += len(left)
            left.clear()

        for piece, offset in texts.left(content.read, content.whole, inside.cuts, inside.written):
            left += piece
            if len(left) >= _PART_BYTES:
                write()
                inside.written = offset
                if self._over(WORKING_S):
                    raise TimeIsOverError
        if left:
            write()
        return objects.complete(current, inside.upload, inside.etags, inside.size)

    def _written_columns(self, content: Content, current: Content, cuts: Cuts) -> StoredFile | None:
        # Here, because only files of Parquet need pyarrow, which takes long to load.
        from tessera.services.erasure.lake import parquet  # noqa: PLC0415

        if self._over(_EARLY_S):
            raise TimeIsOverError
        sink = _Parts(self._objects, content)
        parquet.write_without(content.read, content.whole, cuts, cast(BinaryIO, sink))
        return sink.completed(current)


class _Parts(io.RawIOBase):
    """An object that is written anew from its beginning to its end, part by part once it is large."""

    def __init__(self, objects: Objects, before: Content) -> None:
        super().__init__()
        self._objects = objects
        self._before = before
        self._left = bytearray()
        self._upload = ""
        self._etags: list[str] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any) -> int:
        piece = memoryview(data).cast("B")
        self._left += piece
        self._size += len(piece)
        if len(self._left) >= _PART_BYTES:
            self._flush_part()
        return len(piece)

    def completed(self, current: Content) -> StoredFile | None:
        """Make an object of what was written, ``None`` if it is not the ``current`` one any more."""
        if not self._etags:
            return self._objects.replace(self._before, current, bytes(self._left))
        if self._left:
            self._flush_part()
        return self._objects.complete(current, self._upload, self._etags, self._size)

    def _flush_part(self) -> None:
        if not self._upload:
            self._upload = self._objects.begin(self._before)
        number = len(self._etags) + 1
        self._etags.append(self._objects.write_part(self._before.key, self._upload, number, bytes(self._left)))
        self._left.clear()
