"""Columns of numpy's .npy and .npz files, some rows at a time, as those of other tables. Nothing is ever unpickled.

A header may say anything: it is compared with what there is before anything of that size is made.
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

from linfit.problem.opened import most_bytes, open_regular, require_memory, size_of
from linfit.problem.tables import BYTES, ROWS, Numbers, Rows, exact, place_of, row_from

MAGIC, ZIP, NPY = b"\x93NUMPY", b"PK", ".npy"
#: Bytes of a header, and columns of an array, at the most.
HEADER, COLUMNS = 2**16, 10**6
#: What numpy and zipfile raise of content that makes no sense.
BROKEN: tuple[type[BaseException], ...] = (
    *(
        ValueError,
        TypeError,
        EOFError,
        BadZipFile,
        SyntaxError,
        LookupError,
        AttributeError,
        OverflowError,
    ),
    *(RecursionError, MemoryError, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError),
)


@dataclass(frozen=True)
class Header:
    """What the header of an array says, which is not larger than its file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Any
    start: int
    """Of its numbers, in bytes."""

    @property
    def size(self) -> int:
        """Bytes of all numbers."""
        return self.dtype.itemsize * math.prod(self.shape)

    def empty(self) -> Numbers:
        """Return an array without rows, that has the same columns."""
        return np.empty((0, *self.shape[1:]), self.dtype)


def numpy_rows(file: Path, columns: Sequence[str], path: str) -> Iterator[Rows]:
    """Columns of a .npy file are its numbers, or the fields of its records; of .npz the array's name, and `name.number` of one with columns."""
    with open_regular(file) as opened:
        try:
            loaded = _load(opened, columns)
        except BROKEN as error:
            what = f"dataset.path {path!r} cannot be read: it has to be numpy's .npy or .npz, whole and without objects"
            raise ValueError(f"{what} ({_reason(error)})") from error
        yield from _rows_in(loaded, opened, columns, path)


def read_array(file: Path) -> Numbers:
    """Return the array of a .npy file; OSError or ValueError where it is none, or too large."""
    with open_regular(file) as opened:
        try:
            header = read_header(opened, size_of(opened))
            require_memory(header.size, str(file))
            content = opened.read(header.size)
        except BROKEN as error:
            raise ValueError(_reason(error)) from error
    return _array_of(bytearray(content), header)


def columns_in(file: Path) -> Callable[[str], str]:
    """What takes a column from that which `np.load` gives of a file, by the column's name: `[:, 0]`, `['x']`, or `['X'][:, 0]`."""
    with open_regular(file) as opened:
        named: tuple[str, ...] | None
        try:
            if _is_zip(opened):
                named, flat = tuple(_headers(ZipFile(opened))), False
            else:
                header = read_header(opened, size_of(opened))
                named, flat = header.dtype.names, len(header.shape) == 1
        except BROKEN as error:
            raise ValueError(f"{file} cannot be read: {_reason(error)}") from error
    if named is None:
        return lambda column: "" if flat else f"[:, {column}]"
    return lambda column: (
        f"[{column!r}]" if column in named else "[{!r}][:, {}]".format(*column.rpartition(".")[::2])
    )


def read_header(stream: Any, size: int) -> Header:
    """Return the header at the beginning of a .npy file of that size; ValueError where it says more than there is, or has objects."""
    head = stream.read(8)
    if head[:6] != MAGIC or len(head) < 8 or head[6] not in (1, 2, 3):
        raise ValueError("it does not begin as a .npy file")
    digits = 2 if head[6] == 1 else 4
    length = int.from_bytes(stream.read(digits), "little")
    if length > HEADER:
        raise ValueError(f"its header has {length:,} bytes, {HEADER:,} at most")
    text = stream.read(length).decode("utf-8" if head[6] == 3 else "latin-1")
    said = ast.literal_eval(text.strip())
    shape, fortran = said["shape"], said["fortran_order"]
    if not (
        isinstance(shape, tuple)
        and all(type(count) is int and count >= 0 for count in shape)
        and type(fortran) is bool
    ):
        raise ValueError("its header has no shape")
    header = Header(
        np.lib.format.descr_to_dtype(said["descr"]),
        shape,
        "F" if fortran else "C",
        8 + digits + length,
    )
    _require_whole(header, size)
    return header


def _require_whole(header: Header, size: int) -> None:
    if header.dtype.hasobject or not header.dtype.itemsize:
        raise ValueError(
            f"it has objects, or nothing, where numbers are needed: {str(header.dtype)[:80]}"
        )
    if math.prod(header.shape[1:2]) > COLUMNS or len(header.shape) > 32:
        raise ValueError("its header announces more columns than a table has")
    if header.size > size - header.start:
        there = (size - header.start) // max(1, header.dtype.itemsize * math.prod(header.shape[1:]))
        rows = header.shape[0] if header.shape else 1
        raise ValueError(f"it ends at row {there}, its header announces {rows:,}")


def _load(opened: BinaryIO, columns: Sequence[str]) -> Numbers | dict[str, Numbers]:
    """Return the array of a file, mapped, or the arrays of an archive: those of the columns whole, others without rows."""
    if _is_zip(opened):
        return _arrays_in(opened, columns)
    header = read_header(opened, size_of(opened))
    if not header.size:
        return np.empty(header.shape, header.dtype)
    return np.memmap(opened, header.dtype, "r", header.start, header.shape, header.order)


def _is_zip(opened: BinaryIO) -> bool:
    opened.seek(0)
    found = opened.read(2) == ZIP
    opened.seek(0)
    return found


def _arrays_in(opened: BinaryIO, columns: Sequence[str]) -> dict[str, Numbers]:
    archive = ZipFile(opened)
    headers = _headers(archive)
    needed = {column if column in headers else column.rpartition(".")[0] for column in columns}
    size = sum(header.size for name, header in headers.items() if name in needed)
    if size > (most := most_bytes(size_of(opened))):
        raise ValueError(
            f"its arrays would take {size:,} bytes, and {most:,} are the most that a file of its size may"
        )
    return {
        name: _array_in(archive, name, header) if name in needed else header.empty()
        for name, header in headers.items()
    }


def _headers(archive: ZipFile) -> dict[str, Header]:
    """Return the headers of an archive's arrays by their names."""
    found, open_member = {}, archive.open
    for member in archive.infolist():
        with open_member(member) as stream:
            found[member.filename.removesuffix(NPY)] = read_header(stream, member.file_size)
    return found


def _array_in(archive: ZipFile, name: str, header: Header) -> Numbers:
    member = f"{name}{NPY}" if f"{name}{NPY}" in archive.NameToInfo else name
    open_member = archive.open
    with open_member(member) as stream:
        stream.read(header.start)
        return _array_of(stream.read(header.size), header)


def _array_of(content: bytes | bytearray, header: Header) -> Numbers:
    if not header.size:
        return np.empty(header.shape, header.dtype)
    return np.frombuffer(content, header.dtype).reshape(header.shape, order=header.order)


def _reason(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def _rows_in(
    loaded: Numbers | dict[str, Numbers], opened: BinaryIO, columns: Sequence[str], path: str
) -> Iterator[Rows]:
    if isinstance(loaded, np.ndarray) and loaded.ndim not in (1, 2):
        raise ValueError(f"{path} has {loaded.ndim} dimensions: samples and columns are needed")
    if isinstance(loaded, dict):
        _require_columns(loaded, columns, path)
        yield from _columns_of(
            {key: column for name in loaded for key, column in _named(name, loaded[name])},
            columns,
            path,
        )
    elif loaded.dtype.names:
        yield from _columns_of({name: loaded[name] for name in loaded.dtype.names}, columns, path)
    elif (few := _neighbours(loaded, columns)) is not None:
        yield from _rows_of(loaded, opened, few, path)
    else:
        yield from _columns_of(dict(_named("", loaded)), columns, path)


def _require_columns(arrays: dict[str, Numbers], columns: Sequence[str], path: str) -> None:
    """ValueError where a name is that of an array which is no column, but perhaps has some."""
    for name in columns:
        array = arrays.get(name)
        if array is not None and array.ndim == 2:
            raise ValueError(
                f"{path}, {name!r} has {array.shape[1]} columns: name one, {name}.0, or all, {name}.0:{array.shape[1]}"
            )
        if array is not None and array.ndim != 1:
            raise ValueError(
                f"{path}, {name!r} has {array.ndim} dimensions: samples, and columns where there are several, are needed"
            )


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
        raise ValueError(
            f"{path} has columns of unlike lengths: {', '.join(f'{name} {length}' for name, length in lengths.items())}"
        )
    for start in range(0, lengths[columns[0]], ROWS):
        parts = [
            exact(table[column][start : start + ROWS], column, path, start) for column in columns
        ]
        yield np.stack(parts, axis=1), row_from(start)


def _require_real(array: Numbers, column: str, path: str) -> None:
    if array.ndim > 1:
        raise ValueError(
            f"{path}, column {column!r} has {list(array.shape[1:])} numbers in a cell: one is needed"
        )
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path}, column {column!r} is of type {array.dtype}: numbers are needed")


def _neighbours(array: Numbers, columns: Sequence[str]) -> range | None:
    """The places of the columns, where they stand side by side in a float array whose rows do; None otherwise."""
    if (
        array.ndim != 2
        or not isinstance(array, np.memmap)
        or not array.flags.c_contiguous
        or array.dtype not in (np.float32, np.float64)
        or not all(map(str.isdigit, columns))
    ):
        return None
    places = range(int(columns[0]), int(columns[0]) + len(columns))
    fits = [str(place) for place in places] == list(columns) and places.stop <= array.shape[1]
    return places if fits else None


def _rows_of(array: Numbers, opened: BinaryIO, places: range, path: str) -> Iterator[Rows]:
    """Read, not mapped: pages of a mapped file would count as memory."""
    width = array.shape[1]
    rows = max(1, min(ROWS, BYTES // (width * array.itemsize)))
    opened.seek(array.offset)  # type: ignore[attr-defined]
    for start in range(0, len(array), rows):
        count = min(rows, len(array) - start)
        block = np.frombuffer(opened.read(count * width * array.itemsize), array.dtype)
        if len(block) < count * width:
            raise ValueError(
                f"{path} ends at row {start + len(block) // width}, its header announces {len(array)}"
            )
        yield block.reshape(count, width)[:, places.start : places.stop], row_from(start)
