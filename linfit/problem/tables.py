"""Columns of files as numbers, some rows at a time: CSV and Parquet; numpy's files stand in npy.py.

A reader yields float arrays `[b, m]` of the m columns asked for; a missing cell is NaN. What is no number at all is a ValueError that
names file, row and column. Nothing is ever unpickled.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from linfit.errors import brief
from linfit.problem.linfit_model_1 import EXACT
from linfit.problem.opened import open_again, open_regular, require_memory, size_of
from linfit.problem.parquet_pages import measure, require_plain_schema
from linfit.problem.types import Array
from linfit.system import quote_word

#: Rows of a block at the most, and its bytes, unless a row has more: about what stays in a processor's cache.
ROWS, BYTES = 2**16, 2**20
#: Bytes of a CSV file up to which Python's own reader is as fast as importing a faster one.
SMALL = 2**20
#: Characters of a line of a CSV file at the most.
LINE = 2**26
#: What a missing cell of a CSV file may say.
MISSING = (
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
#: What separates the cells of CSV files, and what `dataset.separator` calls it.
SEPARATORS = {",": ",", ";": ";", "\t": "tab", "|": "|"}

Numbers = NDArray[Any]
#: Rows `[b, m]`, and what a row of them is called.
Rows = tuple[Numbers, Callable[[int], str]]


def place_of(header: Sequence[str], column: str, path: str) -> int:
    """Where the column stands; ValueError if it is not there exactly once."""
    if header.count(column) > 1:
        raise ValueError(
            f"{path} has {header.count(column)} columns named {column!r}: rename all but one"
        )
    if column not in header:
        near = get_close_matches(column, header, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        names = ", ".join(header[:MANY]) + (
            f" … {len(header) - MANY} more" if len(header) > MANY else ""
        )
        raise ValueError(f"{path} has no column {column!r}: {hint}there are {names}")
    return header.index(column)


#: Column names that an error lists.
MANY = 40


# CSV


def csv_rows(
    file: Path, columns: Sequence[str], path: str, drop: bool, separator: str = ","
) -> Iterator[Rows]:
    """A large file goes through pyarrow, which parses numbers exactly too; where that stumbles, Python's reader goes on, and says what is wrong."""
    with open_regular(file) as opened:
        header = _header(opened, path, separator)
        for column in columns:
            _require_separated(header, column, path)
            place_of(header, column, path)
        done = 0
        if size_of(opened) > SMALL:
            with open_again(opened, file) as again:
                for block in _arrow_csv(again, columns, separator):
                    if np.isinf(block).any() or not (drop or np.isfinite(block).all()):
                        break  # Python's reader knows in which line
                    yield block, lambda i, done=done: f"row {done + i + 1} below the header"  # type: ignore[misc]
                    done += len(block)
        yield from _python_csv(opened, columns, path, done, separator)


@contextmanager
def _lines_of(opened: BinaryIO, path: str) -> Iterator[Iterator[str]]:
    """The lines of a text file from its beginning; ValueError where one is longer than a line of numbers can be."""
    opened.seek(0)
    text = io.TextIOWrapper(opened, encoding="utf-8-sig", newline="")
    try:
        yield _bounded_lines(text, path)
    finally:
        text.detach()


def _bounded_lines(text: io.TextIOWrapper, path: str) -> Iterator[str]:
    while line := text.readline(LINE):
        if len(line) == LINE:
            raise ValueError(f"{path} has a line of {LINE:,} characters or more: it is no CSV file")
        yield line


def _require_separated(header: list[str], column: str, path: str) -> None:
    """ValueError where a header is one column, without the one asked for, that another separator would divide."""
    (whole, *more) = header
    if more or whole == column:
        return
    for separator, name in SEPARATORS.items():
        if separator in whole:
            raise ValueError(
                f"{path} has one column {brief(whole)!r}: dataset.separator={quote_word(name)} makes several of it"
            )


def _header(opened: BinaryIO, path: str, separator: str) -> list[str]:
    with _lines_of(opened, path) as lines:
        if header := next(_rows(csv.reader(lines, strict=True, delimiter=separator), path), None):
            return header[1]
    raise ValueError(f"{path} is empty: a header line with the names of the columns is needed")


def _rows(reader: Any, path: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of the line where each ends; a blank line is none."""
    start = 1
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
            start = reader.line_num + 1
    except csv.Error as error:
        why = (
            "a quote that opens there is not closed" if "end of data" in str(error) else str(error)
        )
        raise ValueError(f"{path}, line {start}: {why}") from error


def no_utf8(file: Path, path: str, separator: str = ",") -> str | None:
    """Says where the first byte stands that is no UTF-8: line, and column as far as it has a name; None if all is."""
    header: list[str] = []
    with open_regular(file) as opened:
        for number, line in enumerate(iter(lambda: opened.readline(LINE), b""), 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                header = header or next(csv.reader([text], delimiter=separator), [])
            except UnicodeDecodeError as error:
                before = line[: error.start].decode()
                place = len(next(csv.reader([before], delimiter=separator), [""])) - 1
                column = f", column {header[place]!r}" if 0 <= place < len(header) else ""
                return f"{path}, line {number}{column}: byte 0x{line[error.start]:02x} is no UTF-8: save the file as text in UTF-8"
    return None


def _arrow_csv(opened: BinaryIO, columns: Sequence[str], separator: str) -> Iterator[Numbers]:
    """Blocks up to the first that has anything but numbers and missing cells."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    distinct = list(dict.fromkeys(columns))
    conversion = arrow.ConvertOptions(
        column_types=dict.fromkeys(distinct, pa.float64()),
        include_columns=distinct,
        null_values=list(MISSING),
        check_utf8=True,
    )
    try:
        with arrow.open_csv(
            opened,
            read_options=arrow.ReadOptions(block_size=2**23),
            parse_options=arrow.ParseOptions(newlines_in_values=True, delimiter=separator),
            convert_options=conversion,
        ) as batches:
            for batch in batches:
                values = {name: _numpy(batch.column(name).fill_null(math.nan)) for name in distinct}
                if any(
                    np.isnan(values[name]).sum() > batch.column(name).null_count
                    for name in distinct
                ):
                    return  # a spelling of NaN that is none of those of a missing cell
                yield np.stack([values[name] for name in columns], axis=1)  # [b, m]
    except pa.ArrowInvalid:
        return


def _python_csv(
    opened: BinaryIO, columns: Sequence[str], path: str, done: int, separator: str
) -> Iterator[Rows]:
    """From the row after so many on."""
    with _lines_of(opened, path) as lines:
        every = _rows(csv.reader(lines, strict=True, delimiter=separator), path)
        header = next(every)[1]
        places = [place_of(header, column, path) for column in columns]
        rows = islice(every, done, None)
        while some := list(islice(rows, ROWS)):
            numbers = [
                [_number(row, place, header, path, line) for place in places] for line, row in some
            ]
            yield np.array(numbers), lambda i, some=some: f"line {some[i][0]}"  # type: ignore[misc]


def _number(row: list[str], place: int, header: list[str], path: str, line: int) -> float:
    if len(row) != len(header):
        raise ValueError(f"{path}, line {line}: {len(row)} cells below a header of {len(header)}")
    cell = row[place]
    if cell.strip() in MISSING:
        return math.nan
    try:
        number = (
            math.nan if "_" in cell or not cell.isascii() else float(cell)
        )  # float reads 2_0 and ٣ too
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(
            f"{path}, line {line}, column {header[place]!r}: {cell!r} is not a finite number"
        )
    return number


# Parquet

#: Bytes of numbers that any file may announce, and times its size that a large one may: data compress less.
SPARSE, COMPRESSED = 2**30, 1000


def parquet_rows(file: Path, columns: Sequence[str], path: str) -> Iterator[Rows]:
    """The path is a path, whatever it begins with: Arrow, asked for it, would take `s3://…` or `file:…` for an address."""
    import pyarrow as pa
    from pyarrow import parquet

    with open_regular(file) as opened:
        try:
            require_plain_schema(opened)
            opened.seek(0)
            reader = parquet.ParquetFile(opened)
        except (pa.ArrowException, ValueError) as error:
            raise ValueError(
                f"dataset.path {path!r} is no Parquet file: {_first_line(error)}"
            ) from error
        schema = reader.schema_arrow
        for column in columns:
            _require_numbers(schema.field(place_of(schema.names, column, path)), path)
        distinct = list(dict.fromkeys(columns))
        _require_size(opened, reader.metadata, distinct, len(columns), path)
        try:
            yield from _batches(reader, columns, path)
        except pa.ArrowException as error:
            raise ValueError(
                f"dataset.path {path!r} cannot be read: {_first_line(error)}"
            ) from error


def _batches(reader: Any, columns: Sequence[str], path: str) -> Iterator[Rows]:
    start = 0
    rows = min(ROWS, max(2**10, BYTES // len(columns)))
    for batch in reader.iter_batches(rows, columns=list(dict.fromkeys(columns))):
        block = np.stack(
            [_floats(batch.column(name), name, path, start) for name in columns], axis=1
        )
        yield block, row_from(start)
        start += len(block)


def _require_size(
    opened: BinaryIO, metadata: Any, names: Sequence[str], count: int, path: str
) -> None:
    """ValueError where the columns would take more memory than there is, or than a file of that size may hold."""
    places = [
        place
        for place in range(metadata.num_columns)
        if metadata.schema.column(place).path in names
    ]
    try:
        parts = [
            measure(opened, metadata, group, places) for group in range(metadata.num_row_groups)
        ]
    except ValueError as error:
        raise ValueError(f"dataset.path {path!r} cannot be read: {error}") from error
    needed = max(
        8 * metadata.num_rows * count, max((part.largest_page for part in parts), default=0)
    )
    require_memory(needed, f"{path}, {metadata.num_rows:,} rows of {count} columns,")
    if needed > max(SPARSE, COMPRESSED * size_of(opened)):
        raise ValueError(
            f"{path} announces {needed:,} bytes of numbers in a file of {size_of(opened):,}: it is none of data"
        )


def _require_numbers(field: Any, path: str) -> None:
    from pyarrow import types

    kinds = (types.is_floating, types.is_integer, types.is_boolean, types.is_decimal)
    if not any(kind(field.type) for kind in kinds):
        raise ValueError(
            f"{path}, column {field.name!r} is of type {field.type}: numbers are needed"
        )


def _floats(column: Any, name: str, path: str, start: int) -> Array:
    import pyarrow as pa

    try:
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        if pa.types.is_integer(column.type):
            exact(_numpy(column.fill_null(0)), name, path, start)
        if pa.types.is_decimal(column.type):
            column = column.cast(
                pa.string()
            )  # pyarrow divides decimals by a power of ten, which rounds twice, and parses text exactly
        return _numpy(column.cast(pa.float64()).fill_null(math.nan))
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path}, column {name!r}, rows from {start} on (counted from 0): {_first_line(error)}"
        ) from error


def _numpy(column: Any) -> NDArray[Any]:
    """Return the numbers of an Arrow array without missing cells; its own `to_numpy` would import pandas."""
    return np.from_dlpack(column)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def row_from(start: int) -> Callable[[int], str]:
    return lambda i: f"row {start + i} (counted from 0)"


def exact(numbers: Numbers, column: str, path: str, start: int) -> Numbers:
    if numbers.dtype.kind in "iu" and numbers.dtype.itemsize == 8:
        large = np.flatnonzero((numbers > EXACT) | (numbers < -EXACT))
        if len(large):
            where = row_from(start)(int(large[0]))
            raise ValueError(
                f"{path}, {where}, column {column!r}: {numbers[large[0]]} is an integer that float64 cannot hold"
            )
    return numbers.astype(np.float64)
