"""Columns of Python's arrays, frames, tensors and lists, by name.

A column becomes float64 numbers, or is refused with row and column.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from linfit.errors import shorten
from linfit.problem.datasets.readers.text_codes import MAX_LEVELS
from linfit.problem.datasets.synthetic import name_columns
from linfit.problem.linfit_model_1 import read_cells, refuse_cell
from linfit.problem.types import Array

#: Columns by name, and the names of features, targets and weight.
NamedColumns = tuple[list[tuple[str, Any]], tuple[tuple[str, ...], tuple[str, ...], str | None]]


def gather_columns(X: Any, y: Any, features: Any, target: Any, weight: Any) -> NamedColumns:
    """Return the columns of a frame X, or of arrays X `[n, p]` and y `[n, q]`.

    `weight` is the name of a frame's column, or an array `[n]`.
    """
    if hasattr(X, "column_names"):
        raise ValueError(
            "a pyarrow table is no frame: linfit.arrays(table.to_pandas(), target='y')"
        )
    if hasattr(X, "columns"):
        return _gather_from_frame(X, y, features, target, weight)
    if y is None:
        raise ValueError("arrays need targets: linfit.arrays(X, y)")
    left = _as_matrix(X, "X")
    right = _as_matrix(y, "y")
    names = (_name("x", left.shape[1], features), _name("y", right.shape[1], target))
    table = [*zip(names[0], left.T, strict=True), *zip(names[1], right.T, strict=True)]
    if weight is None:
        return table, (*names, None)

    if isinstance(weight, str):
        raise ValueError(
            f"weight={weight!r} names a column, which arrays have not: "
            "give the weights themselves, one for each sample"
        )
    weights = _as_matrix(weight, "weight")
    if weights.shape[1] != 1:
        raise ValueError(
            f"weight has {weights.shape[1]} columns: one weight for each sample is needed"
        )
    return [*table, ("weight", weights[:, 0])], (*names, "weight")


def _gather_from_frame(frame: Any, y: Any, features: Any, target: Any, weight: Any) -> NamedColumns:
    if y is not None or target is None:
        raise ValueError("of a frame, name the target: linfit.arrays(frame, target='y')")
    columns = list(frame.columns)
    targets = _as_list(target)
    chosen = [name for name in columns if name not in (*targets, weight)]
    if features is not None:
        chosen = _as_list(features)
    if not chosen:
        raise ValueError(
            "no features are left of the frame: "
            "one column at least is needed beside target and weight"
        )

    wanted = [*chosen, *targets]
    if weight is not None:
        wanted.append(weight)
    for name in wanted:
        if columns.count(name) != 1:
            names = shorten(", ".join(map(str, columns)))
            raise ValueError(f"the frame has no column {name!r}, or several: there are {names}")

    title = None if weight is None else str(weight)
    named = (tuple(map(str, chosen)), tuple(map(str, targets)), title)
    return [(str(name), frame[name]) for name in wanted], named


def _as_list(names: Any) -> list[Any]:
    return [names] if isinstance(names, str) or not isinstance(names, Iterable) else list(names)


def _as_matrix(given: Any, name: str) -> Any:
    try:
        array = given if isinstance(given, np.ma.MaskedArray) else np.asarray(given)
    except ValueError as error:
        raise ValueError(
            f"{name} has rows of unlike lengths: each needs a cell for every column"
        ) from error
    except (TypeError, RuntimeError) as error:
        # Of a tensor that needs a gradient, torch says how to detach it.
        raise ValueError(f"{name} cannot be made an array: {shorten(str(error))}") from error
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} has {array.ndim} dimensions: samples and columns are needed")
    if array.ndim == 2 and not array.shape[1]:
        raise ValueError(f"{name} has no columns: one at least is needed")
    return array[:, None] if array.ndim == 1 else array


def _name(letter: str, count: int, given: Any) -> tuple[str, ...]:
    """Return the given names of `count` columns, or names made of `letter`."""
    if given is None:
        return name_columns(letter, count)
    names = tuple(_as_list(given))
    if len(names) != count or len(set(names)) != count:
        array = "X" if letter == "x" else letter
        shown = ", ".join(map(str, names))
        raise ValueError(
            f"{array} has {count} columns, named {shown}: each needs a name of its own"
        )
    return names


def convert_column(name: str, column: Any) -> Array:
    """Return the cells as float64 `[n]`.

    Raise ValueError if a cell is masked, or is not a number that float64 holds.
    """
    if isinstance(column, np.ma.MaskedArray):
        for i in np.flatnonzero(np.ma.getmaskarray(column)):
            raise refuse_cell(i, name, "a cell is masked: fill it in, or leave the row out")
    return read_cells(name, np.asarray(column))


class TextColumn(NamedTuple):
    """A column of text: its levels, sorted, and the index `[n]` of each cell's."""

    codes: Array
    levels: tuple[str, ...]


def find_texts(columns: Iterable[tuple[str, Any]], allowed: Iterable[str]) -> dict[str, TextColumn]:
    """Return those columns that are text, of those that may be.

    Raise ValueError if such a column has a missing cell or too many levels.
    """
    names = set(allowed)
    found = {name: _read_texts(name, column) for name, column in columns if name in names}
    return {name: texts for name, texts in found.items() if texts is not None}


def _read_texts(name: str, column: Any) -> TextColumn | None:
    """Return a column of text, None if it has other cells than text and missing ones."""
    cells = np.asarray(column)
    if cells.dtype.kind not in "OUT" or isinstance(column, np.ma.MaskedArray):
        return None
    texts = cells.tolist()
    missing = [i for i, cell in enumerate(texts) if not isinstance(cell, str)]
    if len(missing) == len(texts) or not all(_is_missing(texts[i]) for i in missing):
        return None
    if missing:
        why = "a cell is missing: fill it in, or leave the row out"
        raise refuse_cell(missing[0], name, why)
    levels = sorted(set(texts))
    if len(levels) > MAX_LEVELS:
        raise ValueError(
            f"column {name!r} has {len(levels):,} different texts, and {MAX_LEVELS:,} are the "
            "most: leave it out, or group them"
        )
    indices = {level: float(index) for index, level in enumerate(levels)}
    return TextColumn(np.array([indices[text] for text in texts]), tuple(levels))


def _is_missing(cell: Any) -> bool:
    """Return True for None, NaN, and pandas' marks of a missing cell."""
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, float) and math.isnan(cell)
