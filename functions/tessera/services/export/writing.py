"""Writing gathered rows as Parquet.

The rows of a part become one row group: JSON is read straight into columns, without a Python object per value. Only
where values of several types met, they are written as text before.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.json as pa_json
import pyarrow.parquet as pa_parquet

from tessera.domain.export.rows import to_columns
from tessera.domain.export.shape import Column
from tessera.domain.tenant import Tenant
from tessera.services.export.ports import Jobs, Lake

_COMPRESSION = "zstd"
# A block has to hold the longest line whole.
_BLOCK_BYTES = 1 << 20
_SCALARS = {"string": pa.string(), "bigint": pa.int64(), "double": pa.float64(), "boolean": pa.bool_()}


class Writer:
    """Writes the files of a job."""

    def __init__(self, jobs: Jobs, lake: Lake) -> None:
        self._jobs = jobs
        self._lake = lake

    def write(self, tenant: Tenant, job_id: int, file: Mapping[str, Any]) -> None:
        """Write a file that was planned, and note what became of it; nothing when the job is over.

        However often it is written, it has the same content. Raises NotFoundError, and RuntimeError when a part has
        not the rows that were counted.
        """
        if self._jobs.get(tenant, job_id).terminal:
            return
        columns = {
            name: Column.from_document(document) for name, document in self._lake.columns(tenant, job_id).items()
        }
        parts = ((self._lake.rows(tenant, job_id, name), longest) for name, longest in file["parts"])
        table = Table(columns)
        for lines, longest in parts:
            table.add(lines, longest)
        body = table.finished()
        if table.rows != file["rows"]:
            raise RuntimeError(f"file {file['file']} has {table.rows} rows, not {file['rows']}")
        stored = self._lake.write_file(tenant, file["batch"], f"part-{file['file']:05d}.parquet", body)
        result = {
            "batch": file["batch"],
            "name": stored.name,
            "rows": table.rows,
            "bytes": stored.size,
            "sha256": hashlib.sha256(body).hexdigest(),
            "etag": stored.etag,
            "version": stored.version,
        }
        self._lake.write_result(tenant, job_id, file["file"], result)


class Table:
    """A Parquet file in the making."""

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self.rows = 0
        self._convert = to_columns(columns)
        self._schema = pa.schema([(name, _type_of(column)) for name, column in columns.items()])
        self._as_read = pa.schema([(name, _type_as_read(column)) for name, column in columns.items()])
        self._buffer = io.BytesIO()
        self._writer = pa_parquet.ParquetWriter(self._buffer, self._schema, compression=_COMPRESSION)

    def add(self, lines: bytes, longest: int) -> None:
        """Add rows, given as JSON lines; ``longest`` is the longest of them in bytes."""
        if self._convert is not None:
            converted = [orjson.dumps(self._convert(orjson.loads(line))) for line in lines.splitlines()]
            longest = max(map(len, converted)) + 1
            lines = b"\n".join([*converted, b""])
        read = pa_json.read_json(
            io.BytesIO(lines),
            read_options=pa_json.ReadOptions(use_threads=False, block_size=max(_BLOCK_BYTES, 2 * longest)),
            parse_options=pa_json.ParseOptions(explicit_schema=self._as_read, unexpected_field_behavior="error"),
        )
        arrays = [
            pa.chunked_array([_with_maps(chunk, field.type) for chunk in column.chunks], field.type)
            for column, field in zip(read.columns, self._schema, strict=True)
        ]
        self._writer.write_table(pa.table(arrays, schema=self._schema))
        self.rows += read.num_rows

    def finished(self) -> bytes:
        """Return the file."""
        self._writer.close()
        return self._buffer.getvalue()


def _type_of(column: Column) -> pa.DataType:
    if column.fields is not None:
        return pa.struct([(name, _type_of(inner)) for name, inner in column.fields.items()])
    if column.items is None:
        return _SCALARS[column.kind]
    items = _type_of(column.items)
    return pa.map_(pa.string(), items) if column.kind == "map" else pa.list_(items)


def _type_as_read(column: Column) -> pa.DataType:
    """Return the type as JSON is read: a map comes as a list of its entries."""
    if column.fields is not None:
        return pa.struct([(name, _type_as_read(inner)) for name, inner in column.fields.items()])
    if column.items is None:
        return _SCALARS[column.kind]
    items = _type_as_read(column.items)
    return pa.list_(pa.struct([("key", pa.string()), ("value", items)]) if column.kind == "map" else items)


def _with_maps(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Make maps of the lists of entries in an array, without copying a value."""
    if array.type == wanted:
        return array
    missing = array.is_null() if array.null_count else None
    if pa.types.is_struct(wanted):
        inner = [_with_maps(array.field(number), field.type) for number, field in enumerate(wanted)]
        return pa.StructArray.from_arrays(inner, fields=list(wanted), mask=missing)
    values = array.values
    if pa.types.is_map(wanted):
        items = _with_maps(values.field("value"), wanted.item_type)
        return pa.MapArray.from_arrays(array.offsets, values.field("key"), items, type=wanted, mask=missing)
    return pa.ListArray.from_arrays(array.offsets, _with_maps(values, wanted.value_type), type=wanted, mask=missing)
