"""Columns of numpy's .npy and .npz files, a block of rows at a time, like other tables.

Nothing is ever unpickled. A header may announce anything: it is compared with the size of its file
before memory is allocated for it.
"""

from __future__ import annotations

import ast
import lzma
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile, ZipFile

import numpy as np

from linfit.problem.datasets.readers.opened import (
    limit_bytes,
    measure_size,
    open_regular,
    require_memory,
)
from linfit.problem.datasets.readers.tables import (
    BYTES,
    ROWS,
    CellBlock,
    RowBlock,
    count_rows_from,
    locate_column,
    require_exact,
)

#: First bytes of a .npy file.
NPY_MAGIC = b"\x93NUMPY"
#: First bytes of a .npz file.
ZIP_MAGIC = b"PK"
#: Suffix of an array's name in a .npz file.
NPY_SUFFIX = ".npy"
#: Largest number of bytes in a header.
MAX_ARRAY_HEADER_BYTES = 2**16
#: Largest number of columns in an array.
MAX_ARRAY_COLUMNS = 10**6
#: Errors that numpy and zipfile raise for content that makes no sense.
UNREADABLE_ARRAY: tuple[type[BaseException], ...] = (
    ValueError,
    TypeError,
    EOFError,
    BadZipFile,
    SyntaxError,
    LookupError,
    AttributeError,
    OverflowError,
    MemoryError,
    RuntimeError,
    zlib.error,
    lzma.LZMAError,
)


@dataclass(frozen=True)
class ArrayHeader:
    """Header of an array, which is not larger than its file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Any
    start: int
    """Offset of its numbers in the file, in bytes."""

    @property
    def size(self) -> int:
        """Number of bytes of all numbers."""
        return self.dtype.itemsize * math.prod(self.shape)

    def create_empty(self) -> CellBlock:
        """Return an array without rows that has the same columns."""
        return np.empty((0, *self.shape[1:]), self.dtype)


def read_numpy_rows(file: Path, columns: Sequence[str], path: str) -> Iterator[RowBlock]:
    """Yield the rows of a .npy or .npz file.

    Columns of a .npy file are named by their indices, or by the fields of its records. Columns of
    a .npz file are named as their array, or `name.index` if the array has several.
    """
    with open_regular(file) as opened:
        try:
            loaded = _load(opened, columns)
        except UNREADABLE_ARRAY as error:
            raise ValueError(
                f"dataset.path {path!r} cannot be read: it has to be numpy's .npy or .npz, "
                f"whole and without objects ({_reason(error)})"
            ) from error
        yield from _rows_in(loaded, opened, columns, path)


def read_array(file: Path) -> CellBlock:
    """Return the array of a .npy file; OSError or ValueError if it is none, or too large."""
    with open_regular(file) as opened:
        try:
            header = read_array_header(opened, measure_size(opened))
            require_memory(header.size, str(file))
            content = opened.read(header.size)
        except UNREADABLE_ARRAY as error:
            raise ValueError(_reason(error)) from error
    return _array_of(bytearray(content), header)


def list_array_columns(file: Path) -> Callable[[str], str]:
    """Return a function that writes how to index a file's content by a column's name.

    The content is that of `np.load`. The function returns `[:, 0]`, `['x']`, or `['X'][:, 0]`.
    """
    names: tuple[str, ...] | None
    flat = False
    with open_regular(file) as opened:
        try:
            if _is_zip(opened):
                names = tuple(_read_headers(ZipFile(opened)))
            else:
                header = read_array_header(opened, measure_size(opened))
                names = header.dtype.names
                flat = len(header.shape) == 1
        except UNREADABLE_ARRAY as error:
            raise ValueError(f"{file} cannot be read: {_reason(error)}") from error

    def index(column: str) -> str:
        if names is None:
            return "" if flat else f"[:, {column}]"
        if column in names:
            return f"[{column!r}]"
        array, _, number = column.rpartition(".")
        return f"[{array!r}][:, {number}]"

    return index


def read_array_header(stream: Any, size: int) -> ArrayHeader:
    """Return the header at the beginning of a .npy file of that size.

    Raise ValueError if it announces more than the file has, or objects.
    """
    head = stream.read(8)
    if head[:6] != NPY_MAGIC or len(head) < 8 or head[6] not in (1, 2, 3):
        raise ValueError("it does not begin as a .npy file")
    digits = 2 if head[6] == 1 else 4
    length = int.from_bytes(stream.read(digits), "little")
    if length > MAX_ARRAY_HEADER_BYTES:
        raise ValueError(f"its header has {length:,} bytes, {MAX_ARRAY_HEADER_BYTES:,} at most")
    text = stream.read(length).decode("utf-8" if head[6] == 3 else "latin-1")

    entries = ast.literal_eval(text.strip())
    shape = entries["shape"]
    fortran = entries["fortran_order"]
    counts = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not counts or type(fortran) is not bool:
        raise ValueError("its header has no shape")
    dtype = np.lib.format.descr_to_dtype(entries["descr"])
    header = ArrayHeader(dtype, shape, "F" if fortran else "C", 8 + digits + length)
    _require_whole(header, size)
    return header


def _require_whole(header: ArrayHeader, size: int) -> None:
    """Raise ValueError if a file of that size cannot have the numbers of the header."""
    if header.dtype.hasobject or not header.dtype.itemsize:
        shown = str(header.dtype)[:80]
        raise ValueError(f"it has objects, or nothing, where numbers are needed: {shown}")
    if math.prod(header.shape[1:2]) > MAX_ARRAY_COLUMNS or len(header.shape) > 32:
        raise ValueError("its header announces more columns than a table has")
    if header.size > size - header.start:
        row_size = header.dtype.itemsize * math.prod(header.shape[1:])
        end = (size - header.start) // max(1, row_size)
        rows = header.shape[0] if header.shape else 1
        raise ValueError(f"it ends at row {end}, its header announces {rows:,}")


def _load(opened: BinaryIO, columns: Sequence[str]) -> CellBlock | dict[str, CellBlock]:
    """Return the array of a file, mapped, or the arrays of an archive by name.

    Arrays of an archive that have none of the columns are returned without rows.
    """
    if _is_zip(opened):
        return _read_archive(opened, columns)
    header = read_array_header(opened, measure_size(opened))
    if not header.size:
        return np.empty(header.shape, header.dtype)
    return np.memmap(opened, header.dtype, "r", header.start, header.shape, header.order)


def _is_zip(opened: BinaryIO) -> bool:
    opened.seek(0)
    found = opened.read(2) == ZIP_MAGIC
    opened.seek(0)
    return found


def _read_archive(opened: BinaryIO, columns: Sequence[str]) -> dict[str, CellBlock]:
    archive = ZipFile(opened)
    headers = _read_headers(archive)
    needed = {column if column in headers else column.rpartition(".")[0] for column in columns}
    size = sum(header.size for name, header in headers.items() if name in needed)
    if size > (most := limit_bytes(measure_size(opened))):
        raise ValueError(
            f"its arrays would take {size:,} bytes, "
            f"and {most:,} are the most that a file of its size may"
        )

    arrays = {}
    for name, header in headers.items():
        arrays[name] = (
            _read_member(archive, name, header) if name in needed else header.create_empty()
        )
    return arrays


def _read_headers(archive: ZipFile) -> dict[str, ArrayHeader]:
    """Return the headers of an archive's arrays by name."""
    found = {}
    open_member = archive.open
    for member in archive.infolist():
        with open_member(member) as stream:
            found[member.filename.removesuffix(NPY_SUFFIX)] = read_array_header(
                stream, member.file_size
            )
    return found


def _read_member(archive: ZipFile, name: str, header: ArrayHeader) -> CellBlock:
    member = f"{name}{NPY_SUFFIX}" if f"{name}{NPY_SUFFIX}" in archive.NameToInfo else name
    open_member = archive.open
    with open_member(member) as stream:
        stream.read(header.start)
        return _array_of(stream.read(header.size), header)


def _array_of(content: bytes | bytearray, header: ArrayHeader) -> CellBlock:
    if not header.size:
        return np.empty(header.shape, header.dtype)
    return np.frombuffer(content, header.dtype).reshape(header.shape, order=header.order)


def _reason(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def _rows_in(
    loaded: CellBlock | dict[str, CellBlock], opened: BinaryIO, columns: Sequence[str], path: str
) -> Iterator[RowBlock]:
    if isinstance(loaded, np.ndarray) and loaded.ndim not in (1, 2):
        raise ValueError(f"{path} has {loaded.ndim} dimensions: samples and columns are needed")
    table: dict[str, CellBlock] = {}
    if isinstance(loaded, dict):
        _require_columns(loaded, columns, path)
        for name, array in loaded.items():
            table.update(_named_columns(name, array))
    elif loaded.dtype.names:
        table.update((name, loaded[name]) for name in loaded.dtype.names)
    else:
        places = _find_adjacent(loaded, columns)
        if places is not None:
            yield from _read_adjacent(loaded, opened, places, path)
            return
        table.update(_named_columns("", loaded))
    yield from _stack_columns(table, columns, path)


def _require_columns(arrays: dict[str, CellBlock], columns: Sequence[str], path: str) -> None:
    """Raise ValueError if an array that is named as a column is not one."""
    for name in columns:
        array = arrays.get(name)
        if array is None or array.ndim == 1:
            continue
        if array.ndim == 2:
            count = array.shape[1]
            raise ValueError(
                f"{path}, {name!r} has {count} columns: "
                f"name one, {name}.0, or all, {name}.0:{count}"
            )
        raise ValueError(
            f"{path}, {name!r} has {array.ndim} dimensions: "
            "samples, and columns where there are several, are needed"
        )


def _named_columns(name: str, array: CellBlock) -> Iterator[tuple[str, CellBlock]]:
    if array.ndim == 1:
        yield name or "0", array
    elif array.ndim == 2:
        prefix = f"{name}." if name else ""
        for i in range(array.shape[1]):
            yield f"{prefix}{i}", array[:, i]


def _stack_columns(
    table: dict[str, CellBlock], columns: Sequence[str], path: str
) -> Iterator[RowBlock]:
    for column in columns:
        locate_column(list(table), column, path)
        _require_real(table[column], column, path)
    lengths = {column: len(table[column]) for column in columns}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"{path} has columns of unlike lengths: {shown}")
    for start in range(0, lengths[columns[0]], ROWS):
        rows = slice(start, start + ROWS)
        parts = [require_exact(table[column][rows], column, path, start) for column in columns]
        yield np.stack(parts, axis=1), count_rows_from(start)


def _require_real(array: CellBlock, column: str, path: str) -> None:
    if array.ndim > 1:
        shape = list(array.shape[1:])
        raise ValueError(f"{path}, column {column!r} has {shape} numbers in a cell: one is needed")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path}, column {column!r} is of type {array.dtype}: numbers are needed")


def _find_adjacent(array: CellBlock, columns: Sequence[str]) -> range | None:
    """Return the indices of columns that are adjacent in a mapped float array stored by rows.

    Return None for any other array or columns.
    """
    if array.ndim != 2 or not isinstance(array, np.memmap) or not array.flags.c_contiguous:
        return None
    if array.dtype not in (np.float32, np.float64) or not all(map(str.isdigit, columns)):
        return None
    places = range(int(columns[0]), int(columns[0]) + len(columns))
    if [*map(str, places)] != list(columns) or places.stop > array.shape[1]:
        return None
    return places


def _read_adjacent(
    array: CellBlock, opened: BinaryIO, places: range, path: str
) -> Iterator[RowBlock]:
    """Yield rows by reading: pages of a mapped file would count as the process's memory."""
    width = array.shape[1]
    rows = max(1, min(ROWS, BYTES // (width * array.itemsize)))
    opened.seek(array.offset)  # type: ignore[attr-defined]
    for start in range(0, len(array), rows):
        count = min(rows, len(array) - start)
        block = np.frombuffer(opened.read(count * width * array.itemsize), array.dtype)
        if len(block) < count * width:
            end = start + len(block) // width
            raise ValueError(f"{path} ends at row {end}, its header announces {len(array)}")
        yield block.reshape(count, width)[:, places.start : places.stop], count_rows_from(start)
