"""Columns of files as numbers, some rows at a time: CSV, Parquet, and numpy's .npy and .npz.

A reader yields float arrays `[b, m]` of the m columns asked for; a missing cell is NaN. What is no number at all is a ValueError that
names file, row and column. Nothing is ever unpickled.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from linfit.problem.problem import Array

#: Rows of a block at the most, and its bytes, unless a row has more: about what stays in a processor's cache.
ROWS, BYTES = 2**16, 2**20
#: Bytes of a CSV file up to which Python's own reader is as fast as importing a faster one.
SMALL = 2**20
#: What a missing cell of a CSV file may say.
MISSING = ("", "NA", "N/A", "na", "n/a", "NaN", "nan", "NAN", "null", "Null", "NULL", "None", "none")
#: The largest integer up to which float64 holds every one.
EXACT = 2**53

Numbers = NDArray[Any]
#: Rows `[b, m]`, and what a row of them is called.
Rows = tuple[Numbers, Callable[[int], str]]


def place_of(header: Sequence[str], column: str, path: str) -> int:
    """Where the column stands; ValueError if it is not there exactly once."""
    if header.count(column) > 1:
        raise ValueError(f"{path} has {header.count(column)} columns named {column!r}: rename all but one")
    if column not in header:
        near = get_close_matches(column, header, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        names = ", ".join(header[:MANY]) + (f" … {len(header) - MANY} more" if len(header) > MANY else "")
        raise ValueError(f"{path} has no column {column!r}: {hint}there are {names}")
    return header.index(column)


#: Column names that an error lists.
MANY = 40


# CSV


def csv_rows(file: Path, columns: Sequence[str], path: str, drop: bool) -> Iterator[Rows]:
    """A large file goes through pyarrow, which parses numbers exactly too; where that stumbles, Python's reader goes on, and says what is wrong."""
    header = _header(file, path)
    for column in columns:
        place_of(header, column, path)
    done = 0
    if file.stat().st_size > SMALL:
        for block in _arrow_csv(file, columns):
            if np.isinf(block).any() or not (drop or np.isfinite(block).all()):
                break  # Python's reader knows in which line
            yield block, lambda i, done=done: f"row {done + i + 1} below the header"  # type: ignore[misc]
            done += len(block)
    yield from _python_csv(file, columns, path, done)


def _header(file: Path, path: str) -> list[str]:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        if header := next(_rows(csv.reader(lines, strict=True), path), None):
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
        why = "a quote that opens there is not closed" if "end of data" in str(error) else str(error)
        raise ValueError(f"{path}, line {start}: {why}") from error


def no_utf8(file: Path, path: str) -> str | None:
    """Says where the first byte stands that is no UTF-8: line, and column as far as it has a name; None if all is."""
    header: list[str] = []
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                header = header or next(csv.reader([text]), [])
            except UnicodeDecodeError as error:
                place = len(next(csv.reader([line[: error.start].decode()]), [""])) - 1
                column = f", column {header[place]!r}" if 0 <= place < len(header) else ""
                return f"{path}, line {number}{column}: byte 0x{line[error.start]:02x} is no UTF-8: save the file as text in UTF-8"
    return None


def _arrow_csv(file: Path, columns: Sequence[str]) -> Iterator[Numbers]:
    """Blocks up to the first that has anything but numbers and missing cells."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    distinct = list(dict.fromkeys(columns))
    conversion = arrow.ConvertOptions(
        column_types=dict.fromkeys(distinct, pa.float64()), include_columns=distinct, null_values=list(MISSING), check_utf8=True
    )
    try:
        with arrow.open_csv(
            file,
            read_options=arrow.ReadOptions(block_size=2**23),
            parse_options=arrow.ParseOptions(newlines_in_values=True),
            convert_options=conversion,
        ) as batches:
            for batch in batches:
                values = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in distinct}
                if any(np.isnan(values[name]).sum() > batch.column(name).null_count for name in distinct):
                    return  # a spelling of NaN that is none of those of a missing cell
                yield np.stack([values[name] for name in columns], axis=1)  # [b, m]
    except pa.ArrowInvalid:
        return


def _python_csv(file: Path, columns: Sequence[str], path: str, done: int) -> Iterator[Rows]:
    """From the row after so many on."""
    with file.open(newline="", encoding="utf-8-sig") as lines:
        every = _rows(csv.reader(lines, strict=True), path)
        header = next(every)[1]
        places = [place_of(header, column, path) for column in columns]
        rows = islice(every, done, None)
        while some := list(islice(rows, ROWS)):
            numbers = [[_number(row, place, header, path, line) for place in places] for line, row in some]
            yield np.array(numbers), lambda i, some=some: f"line {some[i][0]}"  # type: ignore[misc]


def _number(row: list[str], place: int, header: list[str], path: str, line: int) -> float:
    if len(row) != len(header):
        raise ValueError(f"{path}, line {line}: {len(row)} cells below a header of {len(header)}")
    cell = row[place]
    if cell.strip() in MISSING:
        return math.nan
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{path}, line {line}, column {header[place]!r}: {cell!r} is not a finite number")
    return number


# Parquet


def parquet_rows(file: Path, columns: Sequence[str], path: str) -> Iterator[Rows]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(file)
    except pa.ArrowException as error:
        raise ValueError(f"dataset.path {path!r} is no Parquet file: {_first_line(error)}") from error
    with opened:
        schema = opened.schema_arrow
        for column in columns:
            _require_numbers(schema.field(place_of(schema.names, column, path)), path)
        start = 0
        rows = min(ROWS, max(2**10, BYTES // len(columns)))
        for batch in opened.iter_batches(rows, columns=list(dict.fromkeys(columns))):
            block = np.stack([_floats(batch.column(name), name, path, start) for name in columns], axis=1)
            yield block, _row_from(start)
            start += len(block)


def _require_numbers(field: Any, path: str) -> None:
    from pyarrow import types

    kinds = (types.is_floating, types.is_integer, types.is_boolean, types.is_decimal)
    if not any(kind(field.type) for kind in kinds):
        raise ValueError(f"{path}, column {field.name!r} is of type {field.type}: numbers are needed")


def _floats(column: Any, name: str, path: str, start: int) -> Array:
    import pyarrow as pa

    try:
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        if pa.types.is_integer(column.type):
            _exact(column.fill_null(0).to_numpy(zero_copy_only=False), name, path, start)
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.string())  # pyarrow divides decimals by a power of ten, which rounds twice, and parses text exactly
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}, column {name!r}, rows from {start} on (counted from 0): {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _row_from(start: int) -> Callable[[int], str]:
    return lambda i: f"row {start + i} (counted from 0)"


# numpy


def numpy_rows(file: Path, columns: Sequence[str], path: str) -> Iterator[Rows]:
    """Columns of a .npy file are its numbers, or the fields of its records; of .npz the array's name, and `name.number` of one with columns."""
    try:
        loaded = np.load(file, mmap_mode="r", allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            with loaded:
                loaded = {name: loaded[name] for name in loaded.files}
    except (ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f"dataset.path {path!r} cannot be read: it has to be numpy's .npy or .npz, whole and without objects") from error
    if isinstance(loaded, np.ndarray) and loaded.ndim not in (1, 2):
        raise ValueError(f"{path} has {loaded.ndim} dimensions: samples and columns are needed")
    if isinstance(loaded, dict):
        _require_columns(loaded, columns, path)
        yield from _columns_of({key: column for name in loaded for key, column in _named(name, loaded[name])}, columns, path)
    elif loaded.dtype.names:
        yield from _columns_of({name: loaded[name] for name in loaded.dtype.names}, columns, path)
    elif (few := _neighbours(loaded, columns)) is not None:
        yield from _rows_of(loaded, file, few, path, columns)
    else:
        yield from _columns_of(dict(_named("", loaded)), columns, path)


def column_of(file: Path, column: str) -> str:
    """What takes a column from the array, or the arrays by their names, that `np.load` gives of a file: `[:, 0]`, or `['X'][:, 0]`."""
    with np.load(file, mmap_mode="r", allow_pickle=False) if file.suffix == ".npz" else nullcontext() as arrays:
        loaded = arrays if arrays is not None else np.load(file, mmap_mode="r", allow_pickle=False)
        whole = loaded.dtype.names if isinstance(loaded, np.ndarray) else loaded.files
        if whole is None:
            return "" if loaded.ndim == 1 else f"[:, {column}]"
        name, _, place = column.rpartition(".")
        return f"[{column!r}]" if column in whole else f"[{name!r}][:, {place}]"


def _require_columns(arrays: dict[str, Numbers], columns: Sequence[str], path: str) -> None:
    """ValueError where a name is that of an array which is no column, but perhaps has some."""
    for name in columns:
        array = arrays.get(name)
        if array is not None and array.ndim == 2:
            raise ValueError(f"{path}, {name!r} has {array.shape[1]} columns: name one, {name}.0, or all, {name}.0:{array.shape[1]}")
        if array is not None and array.ndim != 1:
            raise ValueError(f"{path}, {name!r} has {array.ndim} dimensions: samples, and columns where there are several, are needed")


def _named(name: str, array: Numbers) -> Iterator[tuple[str, Numbers]]:
    if array.ndim == 1:
        yield name or "0", array
    elif array.ndim == 2:
        yield from ((f"{name}.{i}" if name else str(i), array[:, i]) for i in range(array.shape[1]))


def _columns_of(table: dict[str, Numbers], columns: Sequence[str], path: str) -> Iterator[Rows]:
    for column in columns:
        place_of(list(table), column, path)
        _require_real(table[column], column, path)
    lengths = {column: len(table[column]) for column in columns}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path} has columns of unlike lengths: {', '.join(f'{name} {length}' for name, length in lengths.items())}")
    for start in range(0, lengths[columns[0]], ROWS):
        parts = [_exact(table[column][start : start + ROWS], column, path, start) for column in columns]
        yield np.stack(parts, axis=1), _row_from(start)


def _require_real(array: Numbers, column: str, path: str) -> None:
    if array.ndim > 1:
        raise ValueError(f"{path}, column {column!r} has {list(array.shape[1:])} numbers in a cell: one is needed")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path}, column {column!r} is of type {array.dtype}: numbers are needed")


def _exact(numbers: Numbers, column: str, path: str, start: int) -> Numbers:
    if numbers.dtype.kind in "iu" and numbers.dtype.itemsize == 8:
        large = np.flatnonzero((numbers > EXACT) | (numbers < -EXACT))
        if len(large):
            where = _row_from(start)(int(large[0]))
            raise ValueError(f"{path}, {where}, column {column!r}: {numbers[large[0]]} is an integer that float64 cannot hold")
    return numbers.astype(np.float64)


def _neighbours(array: Numbers, columns: Sequence[str]) -> range | None:
    """The places of the columns, where they stand side by side in a float array whose rows do; None otherwise."""
    if array.ndim != 2 or not array.flags.c_contiguous or array.dtype not in (np.float32, np.float64) or not all(map(str.isdigit, columns)):
        return None
    places = range(int(columns[0]), int(columns[0]) + len(columns))
    fits = [str(place) for place in places] == list(columns) and places.stop <= array.shape[1]
    return places if fits else None


def _rows_of(array: Numbers, file: Path, places: range, path: str, columns: Sequence[str]) -> Iterator[Rows]:
    """Read, not mapped: pages of a mapped file would count as memory."""
    width = array.shape[1]
    rows = max(1, min(ROWS, BYTES // (width * array.itemsize)))
    with file.open("rb") as opened:
        opened.seek(array.offset)  # type: ignore[attr-defined]
        for start in range(0, len(array), rows):
            count = min(rows, len(array) - start)
            block = np.fromfile(opened, array.dtype, count * width)
            if len(block) < count * width:
                raise ValueError(f"{path} ends at row {start + len(block) // width}, its header announces {len(array)}")
            yield block.reshape(count, width)[:, places.start : places.stop], _row_from(start)
