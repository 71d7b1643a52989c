"""Columns of numpy's .npy and .npz files, some rows at a time, as those of other tables. Nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from linfit.problem.tables import BYTES, ROWS, Numbers, Rows, exact, place_of, row_from


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


def columns_in(file: Path) -> Callable[[str], str]:
    """What takes a column from that which `np.load` gives of a file, by the column's name: `[:, 0]`, `['x']`, or `['X'][:, 0]`."""
    loaded = np.load(file, mmap_mode="r", allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        named, flat = loaded.dtype.names, loaded.ndim == 1
    else:
        with loaded:
            named, flat = loaded.files, False
    if named is None:
        return lambda column: "" if flat else f"[:, {column}]"
    return lambda column: f"[{column!r}]" if column in named else "[{!r}][:, {}]".format(*column.rpartition(".")[::2])


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
        parts = [exact(table[column][start : start + ROWS], column, path, start) for column in columns]
        yield np.stack(parts, axis=1), row_from(start)


def _require_real(array: Numbers, column: str, path: str) -> None:
    if array.ndim > 1:
        raise ValueError(f"{path}, column {column!r} has {list(array.shape[1:])} numbers in a cell: one is needed")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path}, column {column!r} is of type {array.dtype}: numbers are needed")


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
            yield block.reshape(count, width)[:, places.start : places.stop], row_from(start)
