"""Columns of what Python holds as arrays, frames, tensors or lists: by name, as float64 numbers, or refused with row and column."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from linfit.errors import brief
from linfit.problem.linfit_model_1 import read_cells, refuse_cell
from linfit.problem.types import Array

#: Columns by name, and the names of features, targets and weight.
Named = tuple[list[tuple[str, Any]], tuple[tuple[str, ...], tuple[str, ...], str | None]]


def columns_of(X: Any, y: Any, features: Any, target: Any, weight: Any) -> Named:
    """The columns of a frame X, or of arrays X `[n, p]` and y `[n, q]`, with `weight` a column's name, or `[n]`."""
    if hasattr(X, "column_names"):
        raise ValueError(
            "a pyarrow table is no frame: linfit.arrays(table.to_pandas(), target='y')"
        )
    if hasattr(X, "columns"):
        return _of_frame(X, y, features, target, weight)
    if y is None:
        raise ValueError("arrays need targets: linfit.arrays(X, y)")
    left, right = _two_dimensional(X, "X"), _two_dimensional(y, "y")
    names = _names("x", left.shape[1], features), _names("y", right.shape[1], target)
    table = [*zip(names[0], left.T, strict=True), *zip(names[1], right.T, strict=True)]
    if weight is None:
        return table, (*names, None)
    if isinstance(weight, str):
        raise ValueError(
            f"weight={weight!r} names a column, which arrays have not: give the weights themselves, one for each sample"
        )
    weights = _two_dimensional(weight, "weight")
    if weights.shape[1] != 1:
        raise ValueError(
            f"weight has {weights.shape[1]} columns: one weight for each sample is needed"
        )
    return [*table, ("weight", weights[:, 0])], (*names, "weight")


def _of_frame(frame: Any, y: Any, features: Any, target: Any, weight: Any) -> Named:
    if y is not None or target is None:
        raise ValueError("of a frame, name the target: linfit.arrays(frame, target='y')")
    there, targets = list(frame.columns), _listed(target)
    chosen = (
        _listed(features)
        if features is not None
        else [name for name in there if name not in (*targets, weight)]
    )
    if not chosen:
        raise ValueError(
            "no features are left of the frame: one column at least is needed beside target and weight"
        )
    wanted = [*chosen, *targets, *([weight] if weight is not None else [])]
    absent = [name for name in wanted if there.count(name) != 1]
    if absent:
        raise ValueError(
            f"the frame has no column {absent[0]!r}, or several: there are {brief(', '.join(map(str, there)))}"
        )
    named = (
        tuple(map(str, chosen)),
        tuple(map(str, targets)),
        None if weight is None else str(weight),
    )
    return [(str(name), frame[name]) for name in wanted], named


def _listed(names: Any) -> list[Any]:
    return [names] if isinstance(names, str) or not isinstance(names, Iterable) else list(names)


def _two_dimensional(given: Any, name: str) -> Any:
    try:
        array = given if isinstance(given, np.ma.MaskedArray) else np.asarray(given)
    except ValueError as error:
        raise ValueError(
            f"{name} has rows of unlike lengths: each needs a cell for every column"
        ) from error
    except (
        TypeError,
        RuntimeError,
    ) as error:  # torch's advice is good where a tensor has a gradient
        raise ValueError(f"{name} cannot be made an array: {brief(str(error))}") from error
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} has {array.ndim} dimensions: samples and columns are needed")
    if array.ndim == 2 and not array.shape[1]:
        raise ValueError(f"{name} has no columns: one at least is needed")
    return array[:, None] if array.ndim == 1 else array


def _names(letter: str, count: int, given: Any) -> tuple[str, ...]:
    names = (
        tuple(_listed(given))
        if given is not None
        else (letter,)
        if count == 1
        else tuple(f"{letter}{i}" for i in range(count))
    )
    if len(names) != count or len(set(names)) != count:
        raise ValueError(
            f"{letter.upper() if letter == 'x' else letter} has {count} columns, named {', '.join(map(str, names))}: each needs a name of its own"
        )
    return names


def numbers_of(name: str, column: Any) -> Array:
    """Return the cells as float64 `[n]`; ValueError where one is masked, or no number that float64 holds."""
    if isinstance(column, np.ma.MaskedArray):
        for i in np.flatnonzero(np.ma.getmaskarray(column)):
            raise refuse_cell(i, name, "a cell is masked: fill it in, or leave the row out")
    return read_cells(name, np.asarray(column))
