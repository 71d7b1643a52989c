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
from dataclasses import dataclass, replace
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
from linfit.problem.datasets.readers.text_codes import TRUTH_VALUES, TextCodes, looks_like_text
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


@dataclass(frozen=True)
class CSVTable:
    """A CSV file with its header, and the columns that are read of it."""

    opened: BinaryIO
    path: str
    form: CSVFormat
    header: list[str]
    places: Sequence[int]
    """Places of the columns in a row."""
    texts: TextCodes
    truths: frozenset[str]
    """Columns of truth values."""

    def locate(self, line: int, place: int) -> str:
        """Return the beginning of an error on a cell."""
        return f"{self.path}, line {line}, column {self.header[place]!r}"


def read_csv_rows(
    file: Path,
    columns: Sequence[str],
    path: str,
    drop: bool,
    form: CSVFormat = PLAIN_FORMAT,
    texts: TextCodes | None = None,
) -> Iterator[RowBlock]:
    """Yield the rows of a CSV file, each number parsed exactly.

    pyarrow parses a large file. From the first block that it cannot read on, Python's reader
    takes over: it parses more spellings, and its errors name line and column. It also goes
    through a text that is not plain, of which pyarrow would let mistakes pass.
    """
    with open_regular(file) as opened:
        table = _open_table(opened, columns, path, form, texts or TextCodes())
        done = 0
        if measure_size(opened) > SMALL_FILE:
            with ScannedFile(opened, form.encoding) as scanned:
                for block in _read_with_arrow(scanned, columns, table):
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
        yield from _read_with_python(rows, table)


def find_csv_text(
    file: Path, columns: Sequence[str], path: str, form: CSVFormat
) -> tuple[str, ...]:
    """Return those of columns that are text, as their first cells say."""
    with open_regular(file) as opened:
        table = _open_table(opened, columns, path, form, TextCodes(columns))
        return tuple(table.texts.indices)


def has_truth_values(opened: BinaryIO, columns: Sequence[str], path: str, form: CSVFormat) -> bool:
    """Return True if a column of an open file holds truth values, as first cells say."""
    return bool(_open_table(opened, columns, path, form, TextCodes(columns)).truths)


def _open_table(
    opened: BinaryIO, columns: Sequence[str], path: str, form: CSVFormat, texts: TextCodes
) -> CSVTable:
    header = _read_header(opened, path, form)
    places = []
    for column in columns:
        _require_separated(header, column, path)
        places.append(locate_column(header, column, path))

    truths = set()
    for place, cell in _find_first_cells(opened, path, form, set(places)):
        column = header[place]
        if cell.lower() in TRUTH_VALUES:
            truths.add(column)
        elif column in texts.allowed and not _is_number(cell, form):
            texts.begin_column(column)
    return CSVTable(opened, path, form, header, places, texts, frozenset(truths))


def _find_first_cells(
    opened: BinaryIO, path: str, form: CSVFormat, places: set[int]
) -> Iterator[tuple[int, str]]:
    """Yield places with the first cell there that is not missing."""
    left = set(places)
    for _, row in islice(_split_rows(opened, path, form), 1, None):
        if not left:
            return
        for place in [place for place in left if place < len(row)]:
            cell = row[place].strip()
            if cell not in MISSING_CELLS:
                left.remove(place)
                yield place, cell


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
    opened: ScannedFile, columns: Sequence[str], table: CSVTable
) -> Iterator[CellBlock | None]:
    """Yield blocks `[b, m]`; None, the last, for one that Python's reader has to read."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    types = {name: pa.string() for name in columns if _is_worded(name, table)}
    distinct = list(dict.fromkeys(columns))
    conversion = arrow.ConvertOptions(
        column_types={**dict.fromkeys(distinct, pa.float64()), **types},
        include_columns=distinct,
        null_values=list(MISSING_CELLS),
        strings_can_be_null=True,
        check_utf8=True,
        decimal_point=table.form.decimal,
    )
    parsing = arrow.ParseOptions(newlines_in_values=True, delimiter=table.form.separator)
    reading = arrow.ReadOptions(block_size=2**23)
    try:
        with arrow.open_csv(
            opened, read_options=reading, parse_options=parsing, convert_options=conversion
        ) as batches:
            for batch in batches:
                values = {}
                for name in distinct:
                    found = _convert_column(batch.column(name), name, table)
                    if found is None:
                        yield None
                        return
                    values[name] = found
                yield np.stack([values[name] for name in columns], axis=1)  # [b, m]
    except pa.ArrowInvalid:
        yield None


def _is_worded(name: str, table: CSVTable) -> bool:
    """Return True for a column that has words in place of numbers."""
    return name in table.texts.indices or name in table.truths


def _convert_column(column: Any, name: str, table: CSVTable) -> Array | None:
    """Return Arrow's column as numbers; None if it has cells that a column of its kind has not."""
    if not _is_worded(name, table):
        numbers = _as_numpy(column.fill_null(math.nan))
        # A spelling of NaN that does not mark a missing cell.
        is_plain = np.isnan(numbers).sum() == column.null_count
        return numbers if is_plain else None

    found = column.dictionary_encode()
    words = [word.strip() for word in found.dictionary.to_pylist()]
    places = _as_numpy(found.indices.fill_null(-1))
    if name in table.truths:
        values = {**dict.fromkeys(MISSING_CELLS, math.nan), **TRUTH_VALUES}
        found_values = [values.get(word if word in values else word.lower()) for word in words]
        if None in found_values:
            return None
        return np.asarray(np.array([*found_values, math.nan], dtype=np.float64)[places])
    if any(_is_number(word, table.form) for word in words):
        return None
    texts = [None if word in MISSING_CELLS else word for word in words]
    return table.texts.encode_all(name, texts, places, table.path)


def _read_with_python(rows: Iterator[tuple[int, list[str]]], table: CSVTable) -> Iterator[RowBlock]:
    """Yield blocks of rows, which come with their line numbers."""
    while block := list(islice(rows, ROWS)):
        numbers = [_read_row(row, line, table) for line, row in block]
        yield np.array(numbers), partial(_name_line, [line for line, _ in block])


def _name_line(lines: list[int], i: int) -> str:
    return f"line {lines[i]}"


def _read_row(row: list[str], line: int, table: CSVTable) -> list[float]:
    header = table.header
    if len(row) != len(header):
        raise ValueError(
            f"{table.path}, line {line}: {len(row)} cells below a header of {len(header)}"
        )
    return [_read_cell(row[place], line, place, table) for place in table.places]


def _read_cell(cell: str, line: int, place: int, table: CSVTable) -> float:
    """Return the number in a cell, or the code of its text; NaN if it is missing."""
    word = cell.strip()
    if word in MISSING_CELLS:
        return math.nan
    column = table.header[place]
    if column in table.truths:
        if word.lower() not in TRUTH_VALUES:
            where = table.locate(line, place)
            raise ValueError(f"{where}: {cell!r} is neither true nor false, as other cells are")
        return TRUTH_VALUES[word.lower()]

    if column in table.texts.indices:
        if _is_number(word, table.form):
            where = table.locate(line, place)
            raise ValueError(
                f"{where}: {cell!r} is a number, and the column begins with text: "
                "a column is one or the other: write its numbers as words, n5 for 5"
            )
        return table.texts.encode(column, word, table.path)

    number = table.form.read_number(cell)
    if number is None or not math.isfinite(number):
        hint = _suggest_decimal(cell, table.form) or ": mend the cell, or leave its column out"
        raise ValueError(f"{table.locate(line, place)}: {cell!r} is not a finite number{hint}")
    return number


def _is_number(word: str, form: CSVFormat) -> bool:
    return form.read_number(word) is not None or not looks_like_text(word)


def _suggest_decimal(cell: str, form: CSVFormat) -> str:
    """Return the setting by which a cell would be a number, if there is one."""
    other = "," if form.decimal == "." else "."
    number = replace(form, decimal=other).read_number(cell)
    if number is None or not math.isfinite(number):
        return ""
    if other == form.separator:
        return (
            f": write {cell.strip().replace(other, form.decimal)}, or separate the cells by ; "
            f"and choose dataset.decimal={quote_word(other)}"
        )
    return f": dataset.decimal={quote_word(other)} reads it as one"


# Parquet


def read_parquet_rows(
    file: Path, columns: Sequence[str], path: str, texts: TextCodes | None = None
) -> Iterator[RowBlock]:
    """Yield the rows of a Parquet file."""
    import pyarrow as pa

    texts = texts or TextCodes()
    with open_regular(file) as opened:
        reader = _open_parquet(opened, path)
        schema = reader.schema_arrow
        for column in columns:
            found = schema.field(locate_column(schema.names, column, path))
            if column in texts.allowed and _is_text(found.type):
                texts.begin_column(column)
            else:
                _require_numbers(found, path)
        distinct = list(dict.fromkeys(columns))
        _require_size(opened, reader.metadata, distinct, len(columns), path)

        try:
            start = 0
            rows = min(ROWS, max(2**10, BYTES // len(columns)))
            for batch in reader.iter_batches(rows, columns=distinct):
                parts = [
                    _as_codes(batch.column(name), name, path, texts)
                    if name in texts.indices
                    else _as_floats(batch.column(name), name, path, start)
                    for name in columns
                ]
                yield np.stack(parts, axis=1), count_rows_from(start)
                start += batch.num_rows
        except pa.ArrowException as error:
            reason = _first_line(error)
            raise ValueError(f"dataset.path {path!r} cannot be read: {reason}") from error


def _open_parquet(opened: BinaryIO, path: str) -> Any:
    """Return Arrow's reader of an open file.

    Of a path such as `s3://…` or `file:…` Arrow would make an address.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        require_plain_schema(opened)
        opened.seek(0)
        return parquet.ParquetFile(opened)
    except (pa.ArrowException, ValueError) as error:
        reason = _first_line(error)
        raise ValueError(f"dataset.path {path!r} is no Parquet file: {reason}") from error


def find_parquet_text(file: Path, columns: Sequence[str], path: str) -> tuple[str, ...]:
    """Return those of columns that are text."""
    with open_regular(file) as opened:
        schema = _open_parquet(opened, path).schema_arrow
        known = [name for name in columns if name in schema.names]
        return tuple(name for name in known if _is_text(schema.field(name).type))


def _is_text(kind: Any) -> bool:
    """Return True for a type of text, or of categories that are text."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    kinds = (types.is_string, types.is_large_string, types.is_string_view)
    return any(is_kind(kind) for is_kind in kinds)


def _as_codes(column: Any, name: str, path: str, texts: TextCodes) -> Array:
    """Return the codes of texts; a dictionary may have some that no row has."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    found = column.dictionary_encode()
    places = _as_numpy(found.indices.fill_null(-1))
    return texts.encode_all(name, found.dictionary.to_pylist(), places, path)


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
