"""Predict with a fit, from its weights file alone: numpy and pandas, without linfit.

linfit computes its features with this module, and copies it into the folder `code` of every model
that it logs. There MLflow imports it as `linfit_model_1` and calls `_load_pyfunc`. Models keep
their copy for ever, so what it computes never changes: a model that needs more gets a module of
the next number, and models of both load in one process.

n samples, c columns, k functions of a column, d = c·k functions, p features, q targets.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Beyond, float64 does not hold every integer.
EXACT = 2**53
#: Prefix of the names of the arrays that features have learnt.
LEARNT = "features/"
#: Types of a safetensors file that predictions are made of.
FLOATS: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


class LinearPredictor:
    """ŷ `[n, q]` = X `[n, p]` W `[p, q]` in the dtype of W; `expand` makes X of columns, in float64."""

    def __init__(
        self,
        weights: NDArray[Any],
        columns: list[str],
        targets: list[str],
        expand: Callable[[Array], Array],
    ) -> None:
        self.weights, self.columns, self.targets = weights, columns, targets
        self.expand = expand

    def predict(self, model_input: Any, params: Any = None) -> Any:
        """Return a frame of targets for a frame of columns, an array `[n, q]` for one `[n, c]`."""
        import pandas as pd

        if not isinstance(model_input, pd.DataFrame):
            return self._multiply(np.asarray(model_input, np.float64))
        columns = [read_column(name, model_input[name]) for name in self.columns]
        predicted = self._multiply(np.stack(columns, axis=1))
        return pd.DataFrame(predicted, columns=self.targets, index=model_input.index)

    def _multiply(self, columns: Array) -> NDArray[Any]:
        X = self.expand(columns)
        predicted: NDArray[Any] = X.astype(self.weights.dtype) @ self.weights
        return predicted


# ---- from columns to features ----


def expand_polynomial(columns: Array, ends: Array, degree: int, basis: str) -> Array:
    """Return `[n, d]` polynomials of each column, the highest degree first, none of degree 0."""
    if basis == "monomial":
        return put_side_by_side([columns**k for k in range(degree, 0, -1)])
    polynomials = {
        "chebyshev": np.polynomial.chebyshev.chebvander,
        "legendre": np.polynomial.legendre.legvander,
    }
    table = polynomials[basis](map_to_unit(columns, ends), degree)  # [n, c, degree + 1]
    return np.asarray(table[:, :, :0:-1].reshape(len(columns), columns.shape[1] * degree))


def expand_fourier(columns: Array, ends: Array, order: int) -> Array:
    """Return `[n, d]` sines and cosines of each column, whose range is one turn."""
    angle = np.pi * (map_to_unit(columns, ends) + 1)
    waves = [wave(k * angle) for k in range(1, order + 1) for wave in (np.sin, np.cos)]
    return put_side_by_side(waves)


def expand_rbf(columns: Array, ends: Array, centers: int, width: float) -> Array:
    """Return `[n, d]` Gaussian bumps over the range of each column."""
    unit, step = map_to_unit(columns, ends), 2 / (centers - 1)
    middles = np.linspace(-1, 1, centers)
    return put_side_by_side([np.exp(-0.5 * ((unit - x) / (width * step)) ** 2) for x in middles])


def keep_columns(columns: Array, ends: Array) -> Array:
    """Return the columns `[n, c]`, which are the functions."""
    return columns


#: By the name of the features. What else such features are made of are the keywords.
FUNCTIONS: dict[str, Callable[..., Array]] = {
    "raw": keep_columns,
    "polynomial": expand_polynomial,
    "fourier": expand_fourier,
    "rbf": expand_rbf,
}


def map_to_unit(columns: Array, ends: Array) -> Array:
    """Return the columns `[n, c]` with their ranges `[2, c]` mapped to [−1, 1]."""
    low, high = ends
    return np.asarray((2 * columns - low - high) / (high - low))


def choose_ends(bounds: Array, domain: tuple[float, float] | None) -> Array:
    """Return the range of each column `[2, c]`: `domain`, or what the training samples had."""
    if domain is None:
        return bounds
    return np.repeat(np.array(domain, np.float64)[:, None], bounds.shape[1], axis=1)


def put_side_by_side(functions: list[Array]) -> Array:
    """Return `[n, c·k]` of k functions `[n, c]`: those of a column together."""
    n, c = functions[0].shape
    return np.stack(functions, axis=2).reshape(n, c * len(functions))


def scale(X: Array, shift: Array, mix: Array) -> Array:
    """Return (X − shift)·mix of functions `[n, d]`."""
    return np.asarray((X - shift) @ mix)


def add_ones(X: Array) -> Array:
    """Return features `[n, d + 1]`: the last is the intercept's."""
    return np.hstack([X, np.ones((len(X), 1))])


def make_expansion(settings: dict[str, Any], learnt: dict[str, Array]) -> Callable[[Array], Array]:
    """Return the function that makes X `[n, p]` of columns `[n, c]`."""
    own = dict(settings)
    functions, intercept = FUNCTIONS[own.pop("name")], own.pop("intercept")
    scaled = own.pop("scaling") != "none"
    ends = choose_ends(learnt["bounds"], own.pop("domain", None))

    def expand(columns: Array) -> Array:
        X = functions(columns, ends, **own)
        if scaled:
            X = scale(X, learnt["shift"], learnt["mix"])
        return add_ones(X) if intercept else X

    return expand


# ---- cells ----


def read_column(name: str, column: Any) -> Array:
    """Return a pandas column as float64 `[n]`, whatever kind of number it has; missing is NaN."""
    missing = column.isna()
    if missing.any():
        column = column.astype(object).where(~missing, np.nan)
    return read_cells(name, np.asarray(column))


def read_cells(name: str, cells: NDArray[Any]) -> Array:
    """Return cells `[n]` as float64; ValueError where one is no number that float64 holds."""
    if cells.dtype.kind == "O":
        return np.array([_read(cell, i, name) for i, cell in enumerate(cells)], dtype=np.float64)
    if cells.dtype.kind not in "fiub":
        raise ValueError(f"column {name!r} is not made of numbers: of type {cells.dtype}")
    if cells.dtype.kind in "iu":
        for i in np.flatnonzero((cells > EXACT) | (cells < -EXACT)):
            raise refuse_cell(i, name, f"{cells[i]} is an integer that float64 cannot hold")
    return cells.astype(np.float64)


def _read(cell: Any, row: int, name: str) -> float:
    """Return a cell as a number. Text is none, whatever it says."""
    try:
        number = np.nan if isinstance(cell, str | bytes) else float(cell)
    except (TypeError, ValueError, OverflowError):
        number = np.nan
    if np.isnan(number) and not isinstance(cell, float | np.floating):
        shown = _shorten(repr(cell))
        why = f"{shown} is not a number: column {name!r} is not made of numbers alone"
        raise refuse_cell(row, name, why)
    if isinstance(cell, int | np.integer) and abs(int(cell)) > EXACT:
        why = f"{_shorten(repr(cell))} is an integer that float64 cannot hold"
        raise refuse_cell(row, name, why)
    return number


def refuse_cell(row: Any, name: str, why: str) -> ValueError:
    """Return an error that names row and column."""
    return ValueError(f"row {row} (counted from 0), column {name!r}: {why}")


def _shorten(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


# ---- for MLflow ----


def _load_pyfunc(path: str) -> LinearPredictor:
    """Return the predictor of a weights file; what MLflow calls."""
    _let_server_read_csv()
    header, tensors = read_tensors(Path(path))
    weights, targets = tensors["weight"], json.loads(header["targets"])
    if "expansion" not in header:
        return LinearPredictor(weights, json.loads(header["features"]), targets, lambda X: X)
    plain = json.loads(header["expansion"])
    expand = make_expansion(plain["features"], cut_prefix(tensors))
    return LinearPredictor(weights, plain["columns"], targets, expand)


def read_tensors(file: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """Return the header and the arrays of floats of a safetensors file.

    The file has the length of a JSON text in eight bytes, the text, and the bytes of the arrays.
    """
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    entries = json.loads(content[8:start])
    header = entries.pop("__metadata__")
    tensors = {}
    for name, entry in entries.items():
        if entry["dtype"] in FLOATS:
            first, end = (start + offset for offset in entry["data_offsets"])
            flat = np.frombuffer(content[first:end], FLOATS[entry["dtype"]])
            tensors[name] = flat.reshape(entry["shape"]).copy()  # aligned, as the fit's are
    return header, tensors


def cut_prefix(tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return what features have learnt, by the features' own names."""
    found = {name: array for name, array in tensors.items() if name.startswith(LEARNT)}
    return {name.removeprefix(LEARNT): array for name, array in found.items()}


def _let_server_read_csv() -> None:
    """Let MLflow's scoring server, if this process is one, read CSV for columns of any type.

    Its own reader asks every column for a pandas type (at least up to MLflow 3.18), and columns of
    any type have none. No other type would do: `double` refuses integers.
    """
    server: Any = sys.modules.get("mlflow.pyfunc.scoring_server")
    if server is None or getattr(server.parse_csv_input, "takes_any_type", False):
        return
    from mlflow.types.schema import AnyType

    read = server.parse_csv_input

    def parse_csv_input(csv_input: Any, schema: Any = None) -> Any:
        of_any = schema is not None and any(isinstance(t, AnyType) for t in schema.input_types())
        return read(csv_input, schema=None if of_any else schema)

    parse_csv_input.takes_any_type = True  # type: ignore[attr-defined]
    server.parse_csv_input = parse_csv_input
