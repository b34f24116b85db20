"""Parquet files by row groups, each row as the JSON value it stands for (contract: data-and-pql §4.2, §4.3)."""

from __future__ import annotations

import io
import math
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tessera.domain.rows import UNREADABLE, RowError
from tessera.services.ingestion.lines import Read
from tessera.services.ingestion.sources import MAX_DEPTH, MAX_FIELDS, UnreadableFileError

MAX_GROUP_ROWS = 2_000_000
MAX_GROUP_BYTES = 2_000_000_000

_MAGIC = b"PAR1"
_MAX_FOOTER = 64_000_000
_MAX_IN_MEMORY = 64_000_000
_READ_AT_ONCE = 1_000_000
_BATCH_BYTES = 8_000_000
_BATCH_ROWS = 4096
# And these at the most, if every row has the largest value that there can be.
_UNPACKED_BYTES = 128_000_000

Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group: its index, the number of its first row in the file, and how many rows it has."""

    index: int
    first_row: int
    rows: int


def row_groups(read: Read, size: int) -> list[RowGroup]:
    """Read a file's footer.

    Raises UnreadableFileError for what is no Parquet or passes our limits.
    """
    file = _open(_RangeFile(read, size))
    metadata, names = file.metadata, file.schema_arrow.names
    if metadata.num_columns > MAX_FIELDS:
        raise UnreadableFileError(f"a row may have {MAX_FIELDS} fields; the file has {metadata.num_columns} columns")
    if any(metadata.schema.column(i).path.count(".") >= MAX_DEPTH for i in range(metadata.num_columns)):
        raise UnreadableFileError(f"a column is nested deeper than {MAX_DEPTH} levels")
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise UnreadableFileError(f"the file has the column {twice} twice")
    groups: list[RowGroup] = []
    first = 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        if group.num_rows > MAX_GROUP_ROWS or group.total_byte_size > MAX_GROUP_BYTES:
            raise UnreadableFileError(
                f"row group {index} has {group.num_rows} rows of {group.total_byte_size} bytes; write row groups of "
                f"at most {MAX_GROUP_ROWS} rows and {MAX_GROUP_BYTES} bytes"
            )
        groups.append(RowGroup(index, first, group.num_rows))
        first += group.num_rows
    return groups


def rows(read: Read, size: int, index: int, columns: list[str] | None = None) -> Iterator[tuple[int, Any]]:
    """Walk the rows of a row group, each with its number in the group; one that is no JSON comes as a RowError.

    Of each all columns, or those named. Raises UnreadableFileError.
    """
    source = _RangeFile(read, size)
    file = _open(source)
    group = file.metadata.row_group(index)
    if columns is None:
        _preload(source, group)
    batch_rows = _rows_at_once(group)
    number = 0
    try:
        for batch in file.iter_batches(batch_size=batch_rows, row_groups=[index], columns=columns, use_threads=False):
            for row in _rows_of(batch):
                yield number, row
                number += 1
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFileError(f"row group {index} is damaged: {_first_line(error)}") from None


def opened(read: Read, size: int) -> pq.ParquetFile:
    """Open a file. Raises UnreadableFileError."""
    return _open(_RangeFile(read, size))


def column(read: Read, size: int, name: str) -> Iterator[Any]:
    """Walk the values of a column as they are in the file, a map as its pairs; nothing when there is no such column."""
    file = _open(_RangeFile(read, size))
    if name in file.schema_arrow.names:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[name], use_threads=False):
            yield from batch.column(0).to_pylist()


def _rows_at_once(group: pq.RowGroupMetaData) -> int:
    """Tell how many rows of a group are read at a time.

    A dictionary has each value once, however many rows have it; so a few bytes a row on average say nothing of a row
    that has the largest of each.
    """
    average: int = group.total_byte_size // max(1, group.num_rows)
    chunks = [group.column(i) for i in range(group.num_columns)]
    largest: int = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.has_dictionary_page)
    return max(16, min(_BATCH_ROWS, _BATCH_BYTES // max(1, average), _UNPACKED_BYTES // max(1, largest)))


def _rows_of(batch: pa.RecordBatch) -> Iterator[Any]:
    plain = _plain_schema(batch.schema)
    if plain != batch.schema:
        batch = pa.Table.from_batches([batch]).cast(plain, safe=False).combine_chunks()
    names = plain.names
    converters = [_converter(field.type) for field in plain]
    try:
        columns = [
            _convert_all(column.to_pylist(), convert) for column, convert in zip(batch.columns, converters, strict=True)
        ]
    except (RowError, ValueError, OverflowError, pa.ArrowException):
        # A value that JSON cannot say costs its own row, not its neighbours.
        for at in range(batch.num_rows):
            yield _single(batch.slice(at, 1), names, converters)
        return
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def _convert_all(values: list[Any], convert: Convert | None) -> list[Any]:
    if convert is None:
        return values
    return [None if value is None else convert(value) for value in values]


def _single(batch: Any, names: list[str], converters: list[Convert | None]) -> Any:
    try:
        values = [
            _convert_all(column.to_pylist(), convert)[0]
            for column, convert in zip(batch.columns, converters, strict=True)
        ]
    except RowError as error:
        return error
    except (ValueError, OverflowError, pa.ArrowException) as error:
        return RowError(UNREADABLE, f"a value cannot be written as JSON: {_first_line(error)}")
    return dict(zip(names, values, strict=True))


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    """Replace types that Python has no exact match for: nanoseconds, dictionaries."""
    return pa.schema([pa.field(field.name, _plain(field.type)) for field in schema])


def _plain(kind: pa.DataType) -> pa.DataType:  # noqa: PLR0911 - one per kind of type
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz and "UTC")
    if pa.types.is_time64(kind):
        return pa.time64("us")
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(inner.name, _plain(inner.type)) for inner in kind])
    if pa.types.is_map(kind):
        return pa.map_(_plain(kind.key_type), _plain(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_plain(kind.value_type))
    return kind


def _converter(kind: pa.DataType) -> Convert | None:
    """Return what makes JSON of a value of this type; ``None`` if it is JSON already, so most are not touched."""
    if pa.types.is_struct(kind):
        return _struct_converter(kind)
    if pa.types.is_map(kind):
        return _map_converter(kind)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = _converter(kind.value_type)
        return None if inner is None else lambda values: _convert_all(values, inner)
    for is_kind, convert in _SCALARS:
        if is_kind(kind):
            return convert
    return None


def _struct_converter(kind: pa.DataType) -> Convert | None:
    converters = {field.name: inner for field in kind if (inner := _converter(field.type))}
    if not converters:
        return None

    def convert(value: dict[str, Any]) -> dict[str, Any]:
        for name, inner in converters.items():
            item = value[name]
            if item is not None:
                value[name] = inner(item)
        return value

    return convert


def _map_converter(kind: pa.DataType) -> Convert:
    key, item = _converter(kind.key_type), _converter(kind.item_type)

    def convert(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
        return {
            str(key(name) if key else name): value if value is None or item is None else item(value)
            for name, value in pairs
        }

    return convert


def _timestamp(value: datetime) -> str:
    """Write ISO 8601 in UTC; without a zone it is taken as UTC."""
    moment = value.astimezone(UTC) if value.tzinfo else value
    return (
        moment.replace(tzinfo=None).isoformat(timespec="milliseconds" if value.microsecond % 1000 == 0 else "auto")
        + "Z"
    )


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise RowError(UNREADABLE, f"a number is {value}, which JSON does not have")
    return value


def _decimal(value: Decimal) -> int | float:
    if value == value.to_integral_value() and abs(value) < 2**53:
        return int(value)
    return float(value)


def _text(value: bytes) -> str:
    """Older writers leave strings unmarked; real binary is written as base64."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return b64encode(value).decode()


def _date_or_time(value: date | time) -> str:
    return value.isoformat()


def _no_json(_: Any) -> Any:
    raise RowError(UNREADABLE, "a duration has no form in JSON")


_SCALARS: tuple[tuple[Callable[[Any], bool], Convert], ...] = (
    (pa.types.is_timestamp, _timestamp),
    (pa.types.is_floating, _number),
    (pa.types.is_decimal, _decimal),
    (pa.types.is_date, _date_or_time),
    (pa.types.is_time, _date_or_time),
    (pa.types.is_binary, _text),
    (pa.types.is_large_binary, _text),
    (pa.types.is_binary_view, _text),
    (pa.types.is_fixed_size_binary, _text),
    (pa.types.is_duration, _no_json),
)


def size_of(row: Any) -> int:
    """Return the size of a row in bytes as compact JSON."""
    return len(orjson.dumps(row))


def _preload(source: _RangeFile, group: Any) -> None:
    """Fetch a row group at once when it fits in memory: else each column would be read piece by piece."""
    chunks = [group.column(i) for i in range(group.num_columns)]
    if not chunks:
        return
    starts = [
        min(chunk.data_page_offset, chunk.dictionary_page_offset)
        if chunk.has_dictionary_page and chunk.dictionary_page_offset
        else chunk.data_page_offset
        for chunk in chunks
    ]
    start = min(starts)
    end = max(first + chunk.total_compressed_size for first, chunk in zip(starts, chunks, strict=True))
    if end - start <= _MAX_IN_MEMORY:
        source.preload(start, end)


def _open(source: _RangeFile) -> pq.ParquetFile:
    size = source.size
    tail = source.peek(max(0, size - 8), size)
    footer = int.from_bytes(tail[:4], "little")
    if len(tail) < 8 or tail[4:] != _MAGIC or footer + 8 > min(size, _MAX_FOOTER):
        raise UnreadableFileError("it is not a Parquet file")
    try:
        return pq.ParquetFile(source, buffer_size=_READ_AT_ONCE, pre_buffer=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableFileError(f"it is not a readable Parquet file: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


class _RangeFile(io.RawIOBase):
    """A stored file as a seekable one; reads come from the last range fetched where they can."""

    def __init__(self, read: Read, size: int) -> None:
        super().__init__()
        self._read = read
        self.size = size
        self._at = 0
        self._window_start = 0
        self._window = b""

    def peek(self, start: int, end: int) -> bytes:
        """Read a range without moving; the range before it is likely to be asked for next."""
        self.preload(max(0, end - 64 * 1024), end)
        return self._window[start - self._window_start :]

    def preload(self, start: int, end: int) -> None:
        """Fetch a range for the reads to come."""
        end = min(end, self.size)
        self._window = self._read(start, end)
        self._window_start = start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = self.size if size is None or size < 0 else min(self._at + size, self.size)
        start, self._at = self._at, max(self._at, end)
        if self._window_start <= start and end <= self._window_start + len(self._window):
            return self._window[start - self._window_start : end - self._window_start]
        return self._read(start, end)
