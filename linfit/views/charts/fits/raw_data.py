"""The samples of a fit as they are in the data: columns before they become features.

n samples, c columns, p features, q targets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from linfit.engine.fit import Fit
from linfit.problem.datasets.prepare import split_samples
from linfit.problem.datasets.targets import encode_targets
from linfit.problem.features import FeatureMap
from linfit.problem.losses.base import TargetKind
from linfit.problem.problem import Problem
from linfit.problem.types import Array
from linfit.views.charts.fits.class_predictions import compute_logistic, share_classes

#: The most samples that are read again for a picture.
MOST_READ_AGAIN = 200_000
#: Points of a curve over a column.
COLUMN_POINTS = 301


@dataclass(frozen=True)
class RawData:
    """Samples that were fitted and, if any, those held out; columns `[n, c]`, targets `[n, q]`."""

    train: Problem
    held_out: Problem | None
    expansion: FeatureMap | None
    inputs: tuple[Array, Array] | None
    """x of the fitted and of the held-out samples, of which all columns are functions."""
    kind: TargetKind = "number"

    def predict(self, columns: Array, weights: Array) -> Array:
        """Return the predictions `[n, q]` of weights `[p, q]`."""
        features = columns if self.expansion is None else self.expansion(columns)
        with np.errstate(over="ignore", invalid="ignore"):  # of a diverged fit
            return np.asarray(features @ weights)

    def predict_mean(self, columns: Array, weights: Array) -> Array:
        """Return the mean of the targets `[n, q]`: of classes probabilities, of counts exp(η)."""
        eta = self.predict(columns, weights)
        with np.errstate(over="ignore", invalid="ignore"):
            if self.kind == "binary":
                return compute_logistic(eta)
            if self.kind == "classes":
                return share_classes(self.kind, eta)
            return np.exp(eta) if self.kind == "count" else eta

    def stack_columns(self) -> Array:
        """Return the columns of the fitted samples, then those of the held-out ones."""
        parts = [self.train] if self.held_out is None else [self.train, self.held_out]
        return np.concatenate([part.X for part in parts])

    def find_column(self) -> int | None:
        """Return the only column that varies, None if several do."""
        if self.train.X.shape[1] == 1:
            return 0
        vary = self.list_varying_columns()
        return vary[0] if len(vary) == 1 else None

    def list_varying_columns(self) -> list[int]:
        """Return the columns that have several values in the fitted samples."""
        return np.flatnonzero(np.ptp(self.train.X, axis=0) > 0).tolist()

    def spread_column(self, column: int) -> Array:
        """Return columns `[k, c]` of evenly spaced values of one, the others as they are."""
        values = self.stack_columns()[:, column]
        columns = np.repeat(self.train.X[:1], COLUMN_POINTS, axis=0)
        columns[:, column] = np.linspace(values.min(), values.max(), COLUMN_POINTS)
        return columns


def load_raw_data(fit: Fit) -> RawData | str:
    """Return the samples of a fit, or the reason why they are not shown.

    They are read again where the fit has features, weighted rows or a summary instead.
    """
    config = fit.config
    problem = fit.problem
    assert problem is not None
    n = problem.shape[0]
    if any(name in problem.levels for name in problem.columns):
        return "some of its columns are text, and a picture of the data shows numbers"
    kind = config.loss.target_kind
    is_changed = problem.expansion is not None or config.dataset.is_weighted()
    if not is_changed and problem.samples is None:
        return RawData(problem, problem.validation, None, _split_inputs(fit), kind)
    if n > MOST_READ_AGAIN:
        return f"its {n} samples would have to be read again: up to {MOST_READ_AGAIN} are"
    train, held_out = split_samples(config.dataset, config.split, config.seed, kind)
    samples = encode_targets(replace(train, validation=held_out), kind)
    return RawData(samples, samples.validation, problem.expansion, _split_inputs(fit), kind)


def _split_inputs(fit: Fit) -> tuple[Array, Array] | None:
    """Return the x of which a dataset's columns are functions, of fitted and held-out samples."""
    x = fit.config.dataset.plot_inputs()
    if x is None:
        return None
    return np.delete(x, fit.held_out), x[fit.held_out]
