"""Files of Parquet without some of their rows. Of a row only the columns are read that identities are in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from tessera.domain.rows import RowError
from tessera.services.erasure.lake.texts import Cuts, IsConcerned
from tessera.services.ingestion.lines import Read
from tessera.services.ingestion.parquet import opened, row_groups, rows
from tessera.services.ingestion.sources import UnreadableFileError

IDENTITY_MAP = "identityMap"

_LOOKED_AT_ONCE = 8192
_BATCH_BYTES = 64_000_000
_BATCH_ROWS = 1_000_000
# The newest: it has every type that the others have.
_FORMAT = "2.6"


def find(
    read: Read, size: int, columns: list[str], cuts: Cuts, is_concerned: IsConcerned, is_over: Callable[[], bool]
) -> bool:
    """Find what goes of a file, row group by row group, until time is over; tell whether all was looked at.

    The intervals are of rows, counted from the first of the file. Raises UnreadableFileError.
    """
    groups = row_groups(read, size)
    schema = opened(read, size).schema_arrow
    known = [name for name in columns if name in schema.names]
    walk = _identity_maps if known == [IDENTITY_MAP] and _is_plain(schema.field(IDENTITY_MAP).type) else rows
    for group in groups[cuts.at :] if known else ():
        for number, row in walk(read, size, group.index, known):
            if isinstance(row, RowError):
                cuts.unread += 1
            elif is_concerned(row):
                cuts.add(group.first_row + number, group.first_row + number + 1)
        cuts.at = group.index + 1
        if cuts.at < len(groups) and is_over():
            return False
    return True


def _is_plain(kind: pa.DataType) -> bool:
    """Tell whether it is what an identityMap mostly is: texts to lists of structures with a text."""
    if not (pa.types.is_map(kind) and pa.types.is_string(kind.key_type) and pa.types.is_list(kind.item_type)):
        return False
    item = kind.item_type.value_type
    return pa.types.is_struct(item) and any(one.name == "id" and pa.types.is_string(one.type) for one in item)


def _identity_maps(read: Read, size: int, index: int, columns: list[str]) -> Iterator[tuple[int, Any]]:
    """Walk what ``rows`` does of a plain identityMap, each item with its id alone: many times as fast.

    Raises UnreadableFileError.
    """
    file = opened(read, size)
    number = 0
    try:
        for batch in file.iter_batches(batch_size=_LOOKED_AT_ONCE, row_groups=[index], columns=columns):
            maps = batch.column(0)
            items = maps.items
            codes, ids = maps.keys.to_pylist(), items.values.field("id").to_pylist()
            of_row, of_code = maps.offsets.to_pylist(), items.offsets.to_pylist()
            for row, there in enumerate(maps.is_valid().to_pylist()):
                entries = range(of_row[row], of_row[row + 1]) if there else ()
                yield (
                    number + row,
                    {
                        IDENTITY_MAP: {
                            codes[at]: [{"id": one} for one in ids[of_code[at] : of_code[at + 1]]] for at in entries
                        }
                    },
                )
            number += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFileError(str(error)) from None


def write_without(read: Read, size: int, cuts: Cuts, sink: BinaryIO) -> None:
    """Write a file without some rows: the same columns, compressed alike, in row groups of at most as many bytes."""
    file = opened(read, size)
    first = 0
    with pq.ParquetWriter(
        sink,
        file.schema_arrow,
        version=_FORMAT,
        compression=_codecs(file.metadata),
        use_deprecated_int96_timestamps=_has_int96(file.metadata),
    ) as writer:
        for index in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(index)
            average = max(1, group.total_byte_size // max(1, group.num_rows))
            at_once = max(1, min(_BATCH_ROWS, _BATCH_BYTES // average))
            for batch in file.iter_batches(batch_size=at_once, row_groups=[index], use_threads=False):
                end = first + batch.num_rows
                kept = [batch.slice(start - first, upto - start) for start, upto in cuts.left(first, end)]
                first = end
                if kept:
                    # All of a batch at once: each write makes a row group.
                    table = pa.Table.from_batches(kept)
                    writer.write_table(table, row_group_size=table.num_rows)


def _codecs(metadata: pq.FileMetaData) -> dict[str, str]:
    group = metadata.row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    return {column.path_in_schema: _CODECS.get(column.compression, column.compression) for column in columns}


def _has_int96(metadata: pq.FileMetaData) -> bool:
    schema = metadata.schema
    return any(schema.column(index).physical_type == "INT96" for index in range(metadata.num_columns))


_CODECS = {"UNCOMPRESSED": "NONE"}
