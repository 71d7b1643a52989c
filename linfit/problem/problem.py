"""A problem: features X, targets y, and what is known about them.

Shape letters, the same everywhere: n samples, p features, q targets, r fits of a stack.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from linfit.problem.categories import Levels
from linfit.problem.features import FeatureMap
from linfit.problem.losses import Loss, SumOfSquares, WeightedLoss
from linfit.problem.types import LARGEST_NUMBER, Array


@dataclass(frozen=True)
class TargetSpread:
    """What a summary keeps of its samples' targets: Σw, and Σw(y − ȳ)² `[q]`."""

    weight: float
    squares: Array


@dataclass(frozen=True)
class Problem:
    """Features X `[n, p]` and targets y `[n, q]`.

    Both are float64, with the names of their columns.

    `truth` `[p, q]` are the weights that made the targets before noise, None if they are unknown. A
    dataset may load a weight for each sample. A fit of squared errors sees none: its rows have been
    multiplied by the roots of their weights.
    """

    X: Array
    y: Array
    features: tuple[str, ...]
    targets: tuple[str, ...]
    source: str
    truth: Array | None = None
    weights: Array | None = None
    """Of the samples, `[n]`; None if all count the same."""
    validation: Problem | None = None
    """Samples held out: they are evaluated, never fitted."""
    expansion: FeatureMap | None = None
    """The map from the data's columns to the features; None if the features are the columns."""
    samples: int | None = None
    """Number of samples that the rows summarize (problem/summary.py); None: each row is one."""
    total: float | None = None
    """Sum of the samples' weights, by which means divide; None: by the number of samples."""
    row_factors: Array | None = None
    """By which rows of X and y were multiplied, `[n]`; None: they are as the data have them."""
    spread: TargetSpread | None = None
    """That of the samples that the rows summarize; None if each row is one."""
    levels: Levels = field(default_factory=dict)
    """Texts of the columns that are not numbers, of which X and y have indices."""
    classes: tuple[str | float, ...] = ()
    """Classes of the target, sorted; none where it is a number."""
    notes: tuple[str, ...] = ()
    """Sentences on the data that the user should read."""

    def __post_init__(self) -> None:
        rows, p = self.X.shape
        q = self.y.shape[1]
        assert self.y.shape == (rows, q)
        assert len(self.features) == p and len(self.targets) == q
        assert self.truth is None or self.truth.shape == (p, q)
        assert self.weights is None or self.weights.shape == (rows,)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, p, q)"""
        n, p = self.X.shape
        if self.samples is not None:
            n = self.samples
        return n, p, self.y.shape[1]

    @property
    def effective_samples(self) -> float:
        """Number of samples by which means divide: each counts as many times as it weighs."""
        return self.shape[0] if self.total is None else self.total

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the data's own columns, from which the features are made."""
        if self.expansion is None:
            return self.features
        return self.expansion.columns

    @property
    def seen_targets(self) -> Array:
        """The targets as `bind_loss` takes them `[n, q]`, with the weights if there are any.

        The weights are the last column, `[n, q + 1]`; their mean is 1.
        """
        shares = self.mean_one_weights
        if shares is None:
            return self.y
        return np.hstack([self.y, shares[:, None]])

    @property
    def mean_one_weights(self) -> Array | None:
        """The weights of the samples `[n]` over their mean, by which means are sums over n."""
        if self.weights is None:
            return None
        return self.weights * (len(self.y) / self.effective_samples)

    def bind_loss(self, loss: Loss) -> Loss:
        """Return `loss` as a function of these rows' predictors and `seen_targets`."""
        if self.samples is not None:
            n, _, q = self.shape
            return SumOfSquares(name=loss.name, factor=loss.scale(n, q))
        if self.weights is not None:
            return WeightedLoss(name=loss.name, loss=loss)
        return loss

    def cast(self, dtype: str) -> Problem:
        """Return the problem rounded to `dtype` (`float32` or `float64`), held in float64.

        A summary is returned as it is: its samples were rounded before. Raise ValueError if a
        number is too large.
        """
        if self.samples is not None:
            return self
        with np.errstate(over="ignore"):
            X = self.X.astype(dtype).astype(np.float64)
            y = self.y.astype(dtype).astype(np.float64)
        if not (np.isfinite(X).all() and np.isfinite(y).all()):
            raise ValueError(
                f"{self.source} has values that {dtype} cannot hold: "
                "choose dtype=float64 or scale the data"
            )
        if max(np.abs(X).max(initial=0), np.abs(y).max(initial=0)) > LARGEST_NUMBER:
            raise ValueError(
                f"{self.source} has values that are too large to be squared in float64: "
                "scale the data"
            )
        return replace(self, X=X, y=y)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of X and y, in hexadecimal digits.

        The shapes and the bytes are hashed.
        """
        content = hashlib.sha256(repr(self.shape).encode())
        for array in (self.X, self.y, self.weights):
            if array is not None:
                content.update(np.ascontiguousarray(array).data)
        return content.hexdigest()


def multiply_rows(problem: Problem, weights: Array | None) -> Problem:
    """Return the problem with rows of X and y multiplied by the roots of `weights` `[n]`."""
    if weights is None:
        return problem
    roots = np.sqrt(weights)
    X = problem.X * roots[:, None]
    y = problem.y * roots[:, None]
    return replace(problem, X=X, y=y, weights=None, row_factors=roots)
