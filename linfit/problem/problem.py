"""A least-squares problem: features X, targets y, and what is known about them.

Shape letters, the same everywhere: n samples, p features, q targets, r fits of a stack.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Features X `[n, p]` and targets y `[n, q]`, both float64, with the names of their columns.

    `truth` `[p, q]` are the weights that made the targets before noise, None where nobody knows them.
    """

    X: Array
    y: Array
    features: tuple[str, ...]
    targets: tuple[str, ...]
    source: str
    truth: Array | None = None

    def __post_init__(self) -> None:
        n, p, q = self.shape
        assert self.X.shape == (n, p) and self.y.shape == (n, q)
        assert len(self.features) == p and len(self.targets) == q
        assert self.truth is None or self.truth.shape == (p, q)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, p, q)"""
        return self.X.shape[0], self.X.shape[1], self.y.shape[1]

    def cast(self, dtype: str) -> Problem:
        """The same problem rounded to `dtype` (`float32` or `float64`), held in float64."""
        with np.errstate(over="ignore"):
            X, y = (array.astype(dtype).astype(np.float64) for array in (self.X, self.y))
        if not (np.isfinite(X).all() and np.isfinite(y).all()):
            raise ValueError(f"{self.source} has values that {dtype} cannot hold: choose dtype=float64 or scale the data")
        return replace(self, X=X, y=y)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the shapes and the bytes of X and y, as hexadecimal digits."""
        content = hashlib.sha256(repr(self.shape).encode())
        content.update(np.ascontiguousarray(self.X).data)
        content.update(np.ascontiguousarray(self.y).data)
        return content.hexdigest()
