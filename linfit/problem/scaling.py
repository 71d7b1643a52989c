"""What features learn of the training samples: the range of each column, and how functions of them deviate.

c columns, d functions, b samples of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from linfit.errors import brief
from linfit.problem.problem import Array

#: A standard deviation below this share of the mean is that of a constant.
ROUNDING = 1e-12
#: The part of a function in a direction, above which it is named as one of those that make it.
NOTICED = 1e-6
#: (columns `[b, c]`, weights of the samples `[b]` or None), as often as it is asked for.
Blocks = Callable[[], Iterable[tuple[Array, Array | None]]]


def weights_of(columns: Array, weights: Array | None) -> Array:
    return np.ones(len(columns)) if weights is None else weights


def bounds_of(blocks: Blocks, c: int) -> Array:
    bounds = np.array([np.full(c, np.inf), np.full(c, -np.inf)])
    for columns, _ in blocks():
        if len(columns):
            bounds = np.array(
                [
                    np.minimum(bounds[0], columns.min(axis=0)),
                    np.maximum(bounds[1], columns.max(axis=0)),
                ]
            )
    return bounds


def deviations(second: Array, shift: Array) -> Array:
    """The square roots `[d]` of the diagonal; 1 for a function that does not deviate, but for rounding: it stays as it is."""
    deviations = np.sqrt(np.diag(second))
    return np.where(deviations > ROUNDING * np.abs(shift), deviations, 1.0)


def whitening(second: Array, scales: Array, names: tuple[str, ...]) -> Array:
    """Of functions with these names; ValueError, which names those of the direction that is none, where they are dependent."""
    values, vectors = np.linalg.eigh(second / np.outer(scales, scales))
    if values[0] <= len(values) * np.finfo(float).eps * values[-1]:
        parts = np.abs(vectors[:, 0])
        named = ", ".join(
            repr(name) for name, part in zip(names, parts.tolist(), strict=True) if part > NOTICED
        )
        raise ValueError(
            f"features.scaling=whiten: the features {brief(named)} are linearly dependent or constant: leave one out, or choose standardize"
        )
    return np.asarray((vectors / np.sqrt(values)) @ vectors.T / scales[:, None])
