"""Read Parquet files of sweeps, which somebody else may have written.

They are read by path alone, from one descriptor, and with a bound on the memory that they take.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import compute, parquet, types

from linfit.problem.datasets.readers.opened import limit_bytes, measure_size, open_regular
from linfit.problem.datasets.readers.parquet_pages import measure_columns, require_plain_schema

#: The column by which rows are chosen.
ROW_COLUMN = "row"
_PLAIN_TYPES = (
    types.is_integer,
    types.is_floating,
    types.is_boolean,
    types.is_null,
    types.is_string,
    types.is_large_string,
    types.is_binary,
)


def read_metadata(file: Path) -> Any:
    """Return the metadata of a Parquet file.

    OSError, ValueError or ArrowException where it has none.
    """
    with open_regular(file) as opened:
        return _metadata(opened)


def read_table(
    file: Path,
    columns: Sequence[str] | None = None,
    rows: Collection[int] | None = None,
    sha256: str | None = None,
) -> pa.Table:
    """Return columns of a Parquet file.

    All rows are read, or those whose number is in `rows`. OSError, ValueError or ArrowException
    where it cannot be read, is no such file, has another hash than `sha256`, or would take more
    memory than it may. The hash is that of the bytes that are read: one descriptor reads both.
    """
    with open_regular(file) as opened:
        if sha256 is not None and hashlib.file_digest(opened, "sha256").hexdigest() != sha256:
            raise ValueError("it was changed after it was written: its hash is another")
        reading = _Reading(opened, _metadata(opened), columns)
        if rows is None:
            return reading.read(None)
        return reading.read(pa.array(sorted(rows), pa.int64()))


def _metadata(opened: BinaryIO) -> Any:
    require_plain_schema(opened)
    opened.seek(0)
    return parquet.read_metadata(opened)


class _Reading:
    """Some columns of an open file, read one row group after the other."""

    def __init__(self, opened: BinaryIO, metadata: Any, columns: Sequence[str] | None) -> None:
        self.opened = opened
        self.metadata = metadata
        self.most = limit_bytes(measure_size(opened))
        leaves = list(map(metadata.schema.column, range(metadata.num_columns)))
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        opened.seek(0)
        # text as indices into its distinct values: a file that repeats a long text would take far
        # more memory than its own size
        self.file = parquet.ParquetFile(
            opened, metadata=metadata, read_dictionary=texts, page_checksum_verification=True
        )
        self.schema = self.file.schema_arrow
        names = self.schema.names
        self.columns = [name for name in names if columns is None or name in columns]
        self.indices = []
        for index, leaf in enumerate(leaves):
            column, _, _ = leaf.path.partition(".")
            if column in self.columns:
                self.indices.append(index)
        for name in self.columns:
            if names.count(name) > 1:
                raise ValueError(f"it has several columns named {name!r}")
            _require_plain_type(self.schema.field(name))

    def read(self, rows: pa.Array | None) -> pa.Table:
        tables = [self._empty()]
        taken = 0
        for group in range(self.metadata.num_row_groups):
            # before it is read, and again with the text written out
            self._require_room(
                measure_columns(self.opened, self.metadata, group, self.indices).bytes
            )
            table = self._group(group, rows)
            taken += sum(map(_bytes_as_text, table.columns))
            self._require_room(taken)
            tables.append(_with_texts(table))
        found = pa.concat_tables(tables, promote_options="default")
        found.validate(full=True)
        return found

    def _group(self, group: int, rows: pa.Array | None) -> pa.Table:
        if rows is None:
            return self.file.read_row_group(group, columns=self.columns)
        known = self.file.read_row_group(group, columns=[ROW_COLUMN])
        chosen = pa.array([], pa.bool_())
        if known.num_columns:
            chosen = compute.is_in(known[ROW_COLUMN].cast(pa.int64()), rows)
        if not compute.any(chosen).as_py():
            return self._empty()
        return self.file.read_row_group(group, columns=self.columns).filter(chosen)

    def _empty(self) -> pa.Table:
        fields = list(map(self.schema.field, self.columns))
        return _with_texts(pa.schema(fields).empty_table())

    def _require_room(self, needed: int) -> None:
        if needed > self.most:
            raise ValueError(
                f"it would take {needed:,} bytes of memory, "
                f"and {self.most:,} are the most that a file of its size may"
            )


def _require_plain_type(field: pa.Field) -> None:
    kind = field.type
    while _is_list(kind):
        kind = kind.value_type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if not any(is_kind(kind) for is_kind in _PLAIN_TYPES):
        raise ValueError(f"its column {field.name!r} is of type {str(field.type)[:80]}")


def _is_list(kind: pa.DataType) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind))


def _bytes_as_text(column: pa.ChunkedArray) -> int:
    """Return the bytes that a column takes once its text is written out."""
    return sum(map(_bytes_of, column.chunks))


def _bytes_of(array: pa.Array) -> int:
    if _is_list(array.type):
        return int(array.nbytes) + _bytes_of(array.flatten())
    if not types.is_dictionary(array.type) or not len(array):
        return int(array.nbytes)
    lengths = compute.binary_length(array.dictionary).cast(pa.int64())
    return int(compute.sum(lengths.take(array.indices)).as_py() or 0)


def _with_texts(table: pa.Table) -> pa.Table:
    """Return the table with its text written out."""
    fields = [field.with_type(_written_out(field.type)) for field in table.schema]
    return table.cast(pa.schema(fields))


def _written_out(kind: pa.DataType) -> pa.DataType:
    if types.is_list(kind):
        return pa.list_(_written_out(kind.value_type))
    if types.is_large_list(kind):
        return pa.large_list(_written_out(kind.value_type))
    if types.is_dictionary(kind):
        return kind.value_type
    return kind
