"""Predict with a fit of text columns, or of classes or counts, from its weights file alone.

linfit copies this module and linfit_model_1, of which it is made, into the folder `code` of models
that linfit_model_1 alone cannot predict: of features with columns of text, and of losses whose
predictor is no prediction yet. Models keep their copies for ever, so what it computes never
changes: a model that needs more gets a module of the next number.

n samples, c columns, p features, q targets, k classes. η `[n, q]` = X `[n, p]` W `[p, q]`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from linfit.problem import linfit_model_1 as formulas
else:  # beside this module, in linfit and in a model
    formulas = import_module(__name__.replace("linfit_model_2", "linfit_model_1"))

Array = NDArray[np.float64]
#: Texts of columns by name, sorted: a text's index is its number.
SortedTexts = Mapping[str, tuple[str, ...]]
#: A class of a target: text or a number.
Label = str | float

#: Name of mlflow's parameter that asks for probabilities in place of classes.
PROBABILITIES = "probabilities"


class TablePredictor:
    """Predicts of columns of numbers and text a number, a class, a probability or a mean."""

    def __init__(
        self,
        weights: NDArray[Any],
        columns: list[str],
        targets: list[str],
        expand: Callable[[Array], Array],
        levels: SortedTexts,
        classes: tuple[Label, ...] = (),
        link: str | None = None,
    ) -> None:
        self.weights, self.columns, self.targets = weights, columns, targets
        self.expand, self.levels, self.classes = expand, levels, classes
        # What is made of η where it is no prediction: logistic, softmax, sign or exp.
        self.link = link

    def predict(self, model_input: Any, params: Any = None) -> Any:
        """Return a frame of predictions for a frame of columns, an array for an array `[n, c]`.

        They are classes where the target has any; `params={"probabilities": True}` asks for the
        probability of each class.
        """
        import pandas as pd

        asks = bool((params or {}).get(PROBABILITIES, False))
        is_frame = isinstance(model_input, pd.DataFrame)
        frame = model_input if is_frame else self._name_columns(model_input)
        cells = [
            read_frame_column(name, frame[name], self.levels.get(name)) for name in self.columns
        ]
        found = self.answer(np.stack(cells, axis=1), asks)
        if is_frame:
            return pd.DataFrame(found, index=model_input.index)
        return np.stack(list(found.values()), axis=1)

    def _name_columns(self, given: Any) -> Any:
        import pandas as pd

        cells = np.asarray(given, dtype=object if self.levels else np.float64)
        return pd.DataFrame(dict(zip(self.columns, cells.T, strict=True)))

    def answer(self, columns: Array, probabilities: bool = False) -> dict[str, NDArray[Any]]:
        """Return predictions `[n]` by name, for columns `[n, c]` whose texts are indices."""
        X = self.expand(columns)
        eta = X.astype(self.weights.dtype) @ self.weights  # [n, q]
        if probabilities:
            return self._find_probabilities(eta.astype(np.float64))
        if self.classes:
            return {self.label_name: self._find_labels(eta)}
        if self.link == "exp":
            with np.errstate(over="ignore"):
                eta = np.exp(eta)
        elif self.link in ("logistic", "sign"):
            low = 0.0 if self.link == "logistic" else -1.0
            eta = np.where(np.isnan(eta), np.nan, np.where(eta > 0, 1.0, low))
        return dict(zip(self.targets, eta.T, strict=True))

    @property
    def label_name(self) -> str:
        """Name of the target that has the classes."""
        ending = f"={name_label(self.classes[0])}" if self.link == "softmax" else ""
        return self.targets[0].removesuffix(ending)

    def _find_labels(self, eta: NDArray[Any]) -> NDArray[Any]:
        """Return the most probable class of each sample; None, or NaN, where cells are missing."""
        is_missing = np.isnan(eta).any(axis=1)
        if self.link == "softmax":
            place = np.where(is_missing, 0, np.nan_to_num(eta).argmax(axis=1))
        else:
            place = (eta[:, 0] > 0).astype(np.intp)
        is_text = isinstance(self.classes[0], str)
        labels = np.array(self.classes, dtype=object if is_text else np.float64)[place]
        labels[is_missing] = None if is_text else np.nan
        return labels

    def _find_probabilities(self, eta: Array) -> dict[str, Array]:
        if self.link not in ("logistic", "softmax"):
            raise ValueError("this model has no probabilities: its loss makes none of a prediction")
        if self.link == "logistic":
            small = np.exp(-np.abs(eta))
            ones = np.where(eta >= 0, 1.0, small) / (1 + small)
            if not self.classes:
                return dict(zip(self.targets, ones.T, strict=True))
            zeros = np.where(eta >= 0, small, 1.0) / (1 + small)
            names = [f"{self.targets[0]}={name_label(one)}" for one in self.classes]
            return dict(zip(names, (zeros[:, 0], ones[:, 0]), strict=True))
        shares = np.exp(eta - eta.max(axis=1, keepdims=True))
        return dict(zip(self.targets, (shares / shares.sum(axis=1, keepdims=True)).T, strict=True))


def name_label(label: Label) -> str:
    """Return a class as text; a whole number has no point."""
    if isinstance(label, str):
        return label
    return str(int(label)) if label == int(label) else repr(label)


# ---- cells ----


def read_frame_column(name: str, column: Any, levels: tuple[str, ...] | None) -> Array:
    """Return a pandas column as float64 `[n]`; texts as indices of levels, missing ones as NaN."""
    if levels is None:
        return formulas.read_column(name, column)
    indices = {level: float(index) for index, level in enumerate(levels)}
    is_missing = column.isna().to_numpy()
    codes = np.full(len(is_missing), np.nan)
    cells = np.asarray(column, dtype=object)
    for i in np.flatnonzero(~is_missing):
        if cells[i] not in indices:
            known = ", ".join(map(repr, levels))[:200]
            why = f"no training sample has {str(cells[i])[:200]!r}: they have {known}"
            raise formulas.refuse_cell(i, name, why)
        codes[i] = indices[cells[i]]
    return codes


def indicate(columns: Array, places: list[tuple[int, int]], drops_first: bool) -> Array:
    """Return indicators of columns `[n, c]`, NaN where a text is missing.

    `places` are those of columns of text, each with the number of its levels.
    """
    parts = [np.zeros((len(columns), 0))]
    for place, count in places:
        codes = columns[:, place, None]
        found = (codes == np.arange(int(drops_first), count)).astype(np.float64)
        parts.append(np.where(np.isnan(codes), np.nan, found))
    return np.hstack(parts)


def make_table_expansion(
    plain: dict[str, Any], learnt: dict[str, Array]
) -> Callable[[Array], Array]:
    """Return the function that makes X `[n, p]` of columns `[n, c]`, whose texts are indices."""
    if "categories" not in plain:
        return formulas.make_expansion(plain["features"], learnt)
    levels, drops = plain["categories"]["levels"], plain["categories"]["drops_first"]
    numbers = [j for j, name in enumerate(plain["columns"]) if name not in levels]
    texts = [(j, len(levels[name])) for j, name in enumerate(plain["columns"]) if name in levels]
    bare = {**plain["features"], "scaling": "none", "intercept": False}
    expand_numbers = formulas.make_expansion(bare, learnt)

    def expand(columns: Array) -> Array:
        X = indicate(columns, texts, drops)
        if numbers:
            X = np.hstack([expand_numbers(columns[:, numbers]), X])
        if plain["features"]["scaling"] != "none":
            X = formulas.scale(X, learnt["shift"], learnt["mix"])
        return formulas.add_ones(X) if plain["features"]["intercept"] else X

    return expand


# ---- for MLflow ----


def _load_pyfunc(path: str) -> TablePredictor:
    """Return the predictor of a weights file; what MLflow calls."""
    formulas._let_server_read_csv()
    header, tensors = formulas.read_tensors(Path(path))
    return make_predictor(header, tensors)


def make_predictor(header: dict[str, str], tensors: dict[str, NDArray[Any]]) -> TablePredictor:
    """Return the predictor of a weights file's header and arrays."""
    columns, levels = json.loads(header["features"]), {}
    expand: Callable[[Array], Array] = _keep
    if "expansion" in header:
        plain = json.loads(header["expansion"])
        columns = plain["columns"]
        levels = plain.get("categories", {}).get("levels", {})
        expand = make_table_expansion(plain, formulas.cut_prefix(tensors))
    levels = {name: tuple(texts) for name, texts in levels.items()}
    classes = tuple(json.loads(header.get("classes", "[]")))
    targets = json.loads(header["targets"])
    return TablePredictor(
        tensors["weight"], columns, targets, expand, levels, classes, header.get("link")
    )


def _keep(columns: Array) -> Array:
    return columns
