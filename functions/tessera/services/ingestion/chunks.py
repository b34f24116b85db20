"""How the files of a batch are split among workers.

How they are split cannot show in the result: a row's place is made of its file and its position in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from tessera.storage.received import StoredFile

LARGEST_RANGE = 8_000_000
SMALLEST_RANGE = 1_000_000
MAX_DOCUMENT_BYTES = 64_000_000

# Up to this many workers, a batch is split rather finer than coarser: writing is what takes long.
_WORTH_SPREADING = 32


class ChunkKind(StrEnum):
    """What a worker reads."""

    LINES = "lines"
    DOCUMENT = "document"
    CSV = "csv"
    ROW_GROUP = "row_group"


@dataclass(frozen=True, slots=True)
class Chunk:
    """One worker's share: ``start`` to ``end`` are bytes of the file, for lines, CSV and documents.

    For a row group ``start`` is the number of its first row in the file. ``etag`` and ``version`` are the content as
    planned; ``in_parts`` says that the file is stored as a list of parts.
    """

    chunk: str
    kind: ChunkKind
    file_index: int
    path: str
    etag: str
    size: int
    start: int
    end: int
    row_group: int = 0
    version: str = ""
    in_parts: bool = False

    @property
    def file(self) -> StoredFile:
        """The file as planned."""
        return StoredFile(self.path, self.size, self.etag, self.version, self.in_parts)

    def to_document(self) -> dict[str, Any]:
        """Write the chunk as an item of the manifest."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a chunk from an item of the manifest."""
        return cls(**{**document, "kind": ChunkKind(document["kind"])})


def chunk_name(number: int) -> str:
    """Name of a batch's chunk: six digits, so names sort as chunks do."""
    return f"{number:06d}"


def range_size(sizes: Sequence[int]) -> int:
    """Return how many bytes of JSON lines one worker takes."""
    return min(LARGEST_RANGE, max(SMALLEST_RANGE, sum(sizes) // _WORTH_SPREADING))


def byte_ranges(size: int, length: int) -> Iterator[tuple[int, int]]:
    """Cut a file of ``size`` bytes into ranges of ``length``."""
    return ((start, min(start + length, size)) for start in range(0, size, length))
