"""Statistics that features learn from the training samples: ranges, deviations, correlations.

c columns, d functions, b samples of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from linfit.errors import shorten
from linfit.problem.types import Array

#: A standard deviation below this share of the mean is that of a constant.
CONSTANT_DEVIATION = 1e-12
#: A function is named in an error if its part in the degenerate direction is above this.
NAMED_PART = 1e-6
#: Each call begins anew: (columns `[b, c]`, weights of the samples `[b]` or None), block by block.
ColumnBlocks = Callable[[], Iterable[tuple[Array, Array | None]]]


def weigh_samples(columns: Array, weights: Array | None) -> Array:
    """Return the samples' weights `[b]`, ones if they have none."""
    if weights is None:
        return np.ones(len(columns))
    return weights


def measure_bounds(blocks: ColumnBlocks, c: int) -> Array:
    """Return each column's least and largest value `[2, c]`."""
    low = np.full(c, np.inf)
    high = np.full(c, -np.inf)
    for columns, _ in blocks():
        if len(columns):
            low = np.minimum(low, columns.min(axis=0))
            high = np.maximum(high, columns.max(axis=0))
    return np.array([low, high])


def measure_deviations(second: Array, shift: Array) -> Array:
    """Return the square roots `[d]` of the diagonal.

    They are 1 for a function that does not deviate, but for rounding: it is left as it is.
    """
    deviations = np.sqrt(np.diag(second))
    return np.where(deviations > CONSTANT_DEVIATION * np.abs(shift), deviations, 1.0)


def compute_whitening(second: Array, scales: Array, names: tuple[str, ...]) -> Array:
    """Return the matrix `[d, d]` that whitens functions with these names.

    Raise ValueError if they are dependent, with the names of those that are.
    """
    values, vectors = np.linalg.eigh(second / np.outer(scales, scales))
    if values[0] <= len(values) * np.finfo(float).eps * values[-1]:
        parts = np.abs(vectors[:, 0]).tolist()
        named = [repr(name) for name, part in zip(names, parts, strict=True) if part > NAMED_PART]
        raise ValueError(
            f"features.scaling=whiten: the features {shorten(', '.join(named))} "
            "are linearly dependent or constant: leave one out, or choose standardize"
        )
    return np.asarray((vectors / np.sqrt(values)) @ vectors.T / scales[:, None])
