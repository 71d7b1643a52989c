"""A least-squares problem: features X, targets y, and what is known about them.

Shape letters, the same everywhere: n samples, p features, q targets, r fits of a stack.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from linfit.problem.losses import Loss, SumOfSquares

if TYPE_CHECKING:
    from linfit.problem.features import Expansion

Array = NDArray[np.float64]


#: The largest number of a fit in float64: squares of such can still be summed.
LARGEST = 1e150


def limit(dtype: str) -> tuple[float, str]:
    """The largest number of a fit in `dtype`, and what is said of one that is larger."""
    if dtype == "float64":
        return LARGEST, "is too large to be squared in float64: scale the data"
    return float(np.finfo(dtype).max), f"is beyond {dtype}: choose dtype=float64, or scale the data"


@dataclass(frozen=True)
class Problem:
    """Features X `[n, p]` and targets y `[n, q]`, both float64, with the names of their columns.

    `truth` `[p, q]` are the weights that made the targets before noise, None where nobody knows them. What a dataset loads
    may have a weight for each sample; what a fit sees has not, since its rows have been multiplied by their roots.
    """

    X: Array
    y: Array
    features: tuple[str, ...]
    targets: tuple[str, ...]
    source: str
    truth: Array | None = None
    weights: Array | None = None
    """Of the samples, `[n]`; None where all count the same."""
    validation: Problem | None = None
    """Samples held out: never fitted, only looked at."""
    expansion: Expansion | None = None
    """What made the features of the data's columns; None where they are the columns."""
    samples: int | None = None
    """How many samples the rows stand for, where they are a summary (linfit/problem/summary.py); None: each row is one."""
    total: float | None = None
    """The sum of the samples' weights, which means divide by; None: by the number of samples."""
    notes: tuple[str, ...] = ()
    """What the user should know of the data: a sentence each."""

    def __post_init__(self) -> None:
        rows, p, q = self.X.shape[0], self.X.shape[1], self.y.shape[1]
        assert self.X.shape == (rows, p) and self.y.shape == (rows, q)
        assert len(self.features) == p and len(self.targets) == q
        assert self.truth is None or self.truth.shape == (p, q)
        assert self.weights is None or self.weights.shape == (rows,)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, p, q)"""
        return (
            self.X.shape[0] if self.samples is None else self.samples,
            self.X.shape[1],
            self.y.shape[1],
        )

    @property
    def count(self) -> float:
        """Number of samples as means count them: with weights, each as many times as it weighs."""
        return self.shape[0] if self.total is None else self.total

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the data's own columns, which the features are made of."""
        return self.features if self.expansion is None else self.expansion.columns

    def objective(self, loss: Loss) -> Loss:
        """`loss` as a function of the residuals of these rows."""
        n, _, q = self.shape
        return (
            loss if self.samples is None else SumOfSquares(name=loss.name, factor=loss.scale(n, q))
        )

    def cast(self, dtype: str) -> Problem:
        """The same problem rounded to `dtype` (`float32` or `float64`), held in float64; a summary is of rounded samples already."""
        if self.samples is not None:
            return self
        with np.errstate(over="ignore"):
            X, y = (array.astype(dtype).astype(np.float64) for array in (self.X, self.y))
        if not (np.isfinite(X).all() and np.isfinite(y).all()):
            raise ValueError(
                f"{self.source} has values that {dtype} cannot hold: choose dtype=float64 or scale the data"
            )
        if max(np.abs(array).max(initial=0) for array in (X, y)) > LARGEST:
            raise ValueError(
                f"{self.source} has values that are too large to be squared in float64: scale the data"
            )
        return replace(self, X=X, y=y)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the shapes and the bytes of X and y, as hexadecimal digits."""
        content = hashlib.sha256(repr(self.shape).encode())
        for array in (self.X, self.y, self.weights):
            if array is not None:
                content.update(np.ascontiguousarray(array).data)
        return content.hexdigest()
