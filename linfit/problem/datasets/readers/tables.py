"""Columns of CSV and Parquet files as numbers, a block of rows at a time (numpy's: npy.py).

A reader yields float arrays `[b, m]` of the m columns asked for, in which a missing cell is NaN.
A cell that is not a number raises a ValueError that names file, row and column. Nothing is ever
unpickled.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from linfit.errors import shorten
from linfit.problem.datasets.readers.csv_text import MAX_LINE_BYTES, SEPARATORS, CSVFormat
from linfit.problem.datasets.readers.opened import measure_size, open_regular, require_memory
from linfit.problem.datasets.readers.parquet_pages import measure_columns, require_plain_schema
from linfit.problem.datasets.readers.scanned import ScannedFile
from linfit.problem.linfit_model_1 import EXACT
from linfit.problem.types import Array
from linfit.system.host import quote_word

#: Largest number of rows in a block.
ROWS = 2**16
#: Largest number of bytes in a block of several rows: about the size of a processor's cache.
BYTES = 2**20
#: Bytes of a CSV file up to which Python's reader is as fast as importing a faster one.
SMALL_FILE = 2**20
#: Texts that mark a missing cell of a CSV file.
MISSING_CELLS = (
    "",
    "NA",
    "N/A",
    "na",
    "n/a",
    "NaN",
    "nan",
    "NAN",
    "null",
    "Null",
    "NULL",
    "None",
    "none",
)
#: How CSV files are written that say nothing else.
PLAIN_FORMAT = CSVFormat()
#: Largest number of column names that an error lists.
MAX_LISTED_NAMES = 40
#: Bytes of numbers that any Parquet file may announce.
ALWAYS_ANNOUNCED_BYTES = 2**30
#: Bytes of numbers that a large Parquet file may announce for each byte: data compress less.
MAX_COMPRESSION = 1000

CellBlock = NDArray[Any]
#: Rows `[b, m]`, and a function that names the row at an index, for errors.
RowBlock = tuple[CellBlock, Callable[[int], str]]


def locate_column(header: Sequence[str], column: str, path: str) -> int:
    """Return the index of a column; ValueError if the header has not exactly one."""
    count = header.count(column)
    if count == 1:
        return header.index(column)
    if count > 1:
        raise ValueError(f"{path} has {count} columns named {column!r}: rename all but one")

    near = get_close_matches(column, header, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    names = ", ".join(header[:MAX_LISTED_NAMES])
    if len(header) > MAX_LISTED_NAMES:
        names += f" … {len(header) - MAX_LISTED_NAMES} more"
    raise ValueError(f"{path} has no column {column!r}: {hint}there are {names}")


# CSV


def read_csv_rows(
    file: Path, columns: Sequence[str], path: str, drop: bool, form: CSVFormat = PLAIN_FORMAT
) -> Iterator[RowBlock]:
    """Yield the rows of a CSV file, each number parsed exactly.

    pyarrow parses a large file. From the first block that it cannot read on, Python's reader
    takes over: it parses more spellings, and its errors name line and column. It also goes
    through a text that is not plain, of which pyarrow would let mistakes pass.
    """
    with open_regular(file) as opened:
        header = _read_header(opened, path, form)
        places = []
        for column in columns:
            _require_separated(header, column, path)
            places.append(locate_column(header, column, path))

        done = 0
        if measure_size(opened) > SMALL_FILE:
            with ScannedFile(opened, form.encoding) as scanned:
                for block in _read_with_arrow(scanned, columns, form):
                    # Python's reader names the line of an infinite or a missing cell.
                    if block is None or np.isinf(block).any():
                        break
                    if not (drop or np.isfinite(block).all()):
                        break
                    yield block, partial(_name_row_below_header, done)
                    done += len(block)
                else:
                    if scanned.is_plain():
                        return

        rows = islice(_split_rows(opened, path, form), 1 + done, None)
        yield from _read_with_python(rows, header, places, path, form)


def _name_row_below_header(start: int, i: int) -> str:
    return f"row {start + i + 1} below the header"


def _read_lines(opened: BinaryIO, path: str, encoding: str) -> Iterator[str]:
    """Yield the lines of a text file from its beginning; ValueError if one is too long."""
    content: Any = ScannedFile(opened, encoding)
    with io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as text:
        while line := text.readline(MAX_LINE_BYTES):
            if len(line) == MAX_LINE_BYTES:
                raise ValueError(
                    f"{path} has a line of {MAX_LINE_BYTES:,} characters or more: it is no CSV file"
                )
            yield line


def _require_separated(header: list[str], column: str, path: str) -> None:
    """Raise ValueError if another separator would divide the header.

    That is suspected of a header of a single column, which is not the column asked for.
    """
    (whole, *more) = header
    if more or whole == column:
        return
    for separator, name in SEPARATORS.items():
        if separator in whole:
            raise ValueError(
                f"{path} has one column {shorten(whole)!r}: "
                f"dataset.separator={quote_word(name)} makes several of it"
            )


def _read_header(opened: BinaryIO, path: str, form: CSVFormat) -> list[str]:
    for _, header in _split_rows(opened, path, form):
        return header
    raise ValueError(f"{path} is empty: a header line with the names of the columns is needed")


def _split_rows(opened: BinaryIO, path: str, form: CSVFormat) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row that is not blank, with the number of its last line."""
    lines = _read_lines(opened, path, form.encoding)
    reader = csv.reader(lines, strict=True, delimiter=form.separator)
    start = 1
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
            start = reader.line_num + 1
    except csv.Error as error:
        why = str(error)
        if "end of data" in why:
            why = "a quote that opens there is not closed"
        raise ValueError(f"{path}, line {start}: {why}") from error


def _read_with_arrow(
    opened: ScannedFile, columns: Sequence[str], form: CSVFormat
) -> Iterator[CellBlock | None]:
    """Yield blocks `[b, m]`; None, the last, for one with other cells than numbers or missing."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    distinct = list(dict.fromkeys(columns))
    conversion = arrow.ConvertOptions(
        column_types=dict.fromkeys(distinct, pa.float64()),
        include_columns=distinct,
        null_values=list(MISSING_CELLS),
        check_utf8=True,
        decimal_point=form.decimal,
    )
    try:
        with arrow.open_csv(
            opened,
            read_options=arrow.ReadOptions(block_size=2**23),
            parse_options=arrow.ParseOptions(newlines_in_values=True, delimiter=form.separator),
            convert_options=conversion,
        ) as batches:
            for batch in batches:
                values = {}
                for name in distinct:
                    column = batch.column(name)
                    values[name] = _as_numpy(column.fill_null(math.nan))
                    # A spelling of NaN that does not mark a missing cell.
                    if np.isnan(values[name]).sum() > column.null_count:
                        yield None
                        return
                yield np.stack([values[name] for name in columns], axis=1)  # [b, m]
    except pa.ArrowInvalid:
        yield None


def _read_with_python(
    rows: Iterator[tuple[int, list[str]]],
    header: list[str],
    places: Sequence[int],
    path: str,
    form: CSVFormat,
) -> Iterator[RowBlock]:
    """Yield blocks of rows, which come with their line numbers."""
    while block := list(islice(rows, ROWS)):
        numbers = [_read_row(row, line, header, places, path, form) for line, row in block]
        yield np.array(numbers), partial(_name_line, [line for line, _ in block])


def _name_line(lines: list[int], i: int) -> str:
    return f"line {lines[i]}"


def _read_row(
    row: list[str], line: int, header: list[str], places: Sequence[int], path: str, form: CSVFormat
) -> list[float]:
    if len(row) != len(header):
        raise ValueError(f"{path}, line {line}: {len(row)} cells below a header of {len(header)}")
    numbers = []
    for place in places:
        number = _read_cell(row[place], form)
        if number is None:
            where = f"{path}, line {line}, column {header[place]!r}"
            hint = _suggest_decimal(row[place], form)
            raise ValueError(f"{where}: {row[place]!r} is not a finite number{hint}")
        numbers.append(number)
    return numbers


def _read_cell(cell: str, form: CSVFormat) -> float | None:
    """Return the number in a cell, NaN if it is missing, None if it is not a finite number."""
    if cell.strip() in MISSING_CELLS:
        return math.nan
    number = form.read_number(cell)
    if number is None or not math.isfinite(number):
        return None
    return number


def _suggest_decimal(cell: str, form: CSVFormat) -> str:
    """Return the setting by which a cell would be a number, if there is one."""
    other = "," if form.decimal == "." else "."
    if other == form.separator or replace(form, decimal=other).read_number(cell) is None:
        return ""
    return f": dataset.decimal={quote_word(other)} reads it as one"


# Parquet


def read_parquet_rows(file: Path, columns: Sequence[str], path: str) -> Iterator[RowBlock]:
    """Yield the rows of a Parquet file.

    Arrow gets an open file: of a path such as `s3://…` or `file:…` it would make an address.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with open_regular(file) as opened:
        try:
            require_plain_schema(opened)
            opened.seek(0)
            reader = parquet.ParquetFile(opened)
        except (pa.ArrowException, ValueError) as error:
            reason = _first_line(error)
            raise ValueError(f"dataset.path {path!r} is no Parquet file: {reason}") from error

        schema = reader.schema_arrow
        for column in columns:
            _require_numbers(schema.field(locate_column(schema.names, column, path)), path)
        distinct = list(dict.fromkeys(columns))
        _require_size(opened, reader.metadata, distinct, len(columns), path)

        try:
            start = 0
            rows = min(ROWS, max(2**10, BYTES // len(columns)))
            for batch in reader.iter_batches(rows, columns=distinct):
                parts = [_as_floats(batch.column(name), name, path, start) for name in columns]
                yield np.stack(parts, axis=1), count_rows_from(start)
                start += batch.num_rows
        except pa.ArrowException as error:
            reason = _first_line(error)
            raise ValueError(f"dataset.path {path!r} cannot be read: {reason}") from error


def _require_size(
    opened: BinaryIO, metadata: Any, names: Sequence[str], count: int, path: str
) -> None:
    """Raise ValueError if the columns would take too much memory.

    Too much is more than is free, or more than the data in a file of that size can take.
    """
    schema = metadata.schema
    places = [i for i in range(metadata.num_columns) if schema.column(i).path in names]
    needed = 8 * metadata.num_rows * count
    try:
        for group in range(metadata.num_row_groups):
            needed = max(needed, measure_columns(opened, metadata, group, places).largest_page)
    except ValueError as error:
        raise ValueError(f"dataset.path {path!r} cannot be read: {error}") from error

    require_memory(needed, f"{path}, {metadata.num_rows:,} rows of {count} columns,")
    if needed > max(ALWAYS_ANNOUNCED_BYTES, MAX_COMPRESSION * measure_size(opened)):
        raise ValueError(
            f"{path} announces {needed:,} bytes of numbers in a file of {measure_size(opened):,}: "
            "it is none of data"
        )


def _require_numbers(field: Any, path: str) -> None:
    from pyarrow import types

    kinds = (types.is_floating, types.is_integer, types.is_boolean, types.is_decimal)
    if not any(kind(field.type) for kind in kinds):
        raise ValueError(
            f"{path}, column {field.name!r} is of type {field.type}: numbers are needed"
        )


def _as_floats(column: Any, name: str, path: str, start: int) -> Array:
    import pyarrow as pa

    try:
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        if pa.types.is_integer(column.type):
            require_exact(_as_numpy(column.fill_null(0)), name, path, start)
        if pa.types.is_decimal(column.type):
            # As text, which pyarrow parses exactly: to make a decimal a float, it divides by a
            # power of ten, which rounds twice.
            column = column.cast(pa.string())
        return _as_numpy(column.cast(pa.float64()).fill_null(math.nan))
    except pa.ArrowInvalid as error:
        where = f"{path}, column {name!r}, rows from {start} on (counted from 0)"
        raise ValueError(f"{where}: {_first_line(error)}") from error


def _as_numpy(column: Any) -> NDArray[Any]:
    """Return the numbers of an Arrow array without missing cells.

    Arrow's own `to_numpy` would import pandas.
    """
    return np.from_dlpack(column)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def count_rows_from(start: int) -> Callable[[int], str]:
    """Return a function that names the rows of a block whose first has index `start`."""
    return lambda i: f"row {start + i} (counted from 0)"


def require_exact(numbers: CellBlock, column: str, path: str, start: int) -> CellBlock:
    """Return numbers as float64; ValueError if an integer has too many digits for it."""
    if numbers.dtype.kind in "iu" and numbers.dtype.itemsize == 8:
        large = np.flatnonzero((numbers > EXACT) | (numbers < -EXACT))
        if len(large):
            where = count_rows_from(start)(int(large[0]))
            raise ValueError(
                f"{path}, {where}, column {column!r}: {numbers[large[0]]} "
                "is an integer that float64 cannot hold"
            )
    return numbers.astype(np.float64)
