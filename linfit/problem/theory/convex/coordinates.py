"""Coordinates in which an objective can be minimized to many digits.

Columns are scaled by powers of two, which rounds nothing. Where no penalty determines the weights
and X is badly conditioned, coordinates are those of its left singular vectors: the Hessian then has
the condition of the curvatures alone, and the weights of smallest norm are found where there are
several.

n samples, p features, r coordinates, m targets.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from linfit.problem.theory.convex.objective import ROUNDING_UNIT, SmoothObjective
from linfit.problem.theory.magnitudes import measure_column_norms
from linfit.problem.types import Array

#: Smallest singular value, relative to the largest, of columns that need no turning.
WELL_CONDITIONED = 1e-3


class Coordinates(NamedTuple):
    """Coordinates U `[r, m]` of weights W `[p, m]`."""

    matrix: Array
    """`[p, r]`: W = matrix·U"""
    inverse: Array
    """`[r, p]`: U = inverse·W, the shortest"""

    def to_weights(self, U: Array) -> Array:
        """Return W `[p, m]`."""
        return np.asarray(self.matrix @ U)

    def to_coordinates(self, W: Array) -> Array:
        """Return U `[r, m]`."""
        return np.asarray(self.inverse @ W)


def choose_coordinates(whole: SmoothObjective) -> tuple[SmoothObjective, Coordinates]:
    """Return the objective in better coordinates, and these."""
    norms = measure_column_norms(whole.X)[0]
    norms = np.where(norms > 0, norms, 1)
    if whole.decay.any():
        return _scale_columns(whole, norms)
    scaled = whole.X / norms
    singular = np.linalg.svd(np.linalg.qr(scaled, mode="r"), compute_uv=False)
    p = len(norms)
    if len(singular) == p and singular[-1] > WELL_CONDITIONED * singular[0]:
        return _scale_columns(whole, norms)
    if _count_rank(singular, scaled.shape) < p:
        return _turn(whole, np.ones(p))  # scaling would change which weights are the smallest
    return _turn(whole, norms)


def _scale_columns(whole: SmoothObjective, norms: Array) -> tuple[SmoothObjective, Coordinates]:
    sizes = np.exp2(np.round(np.log2(norms)))
    f = replace(whole, X=whole.X / sizes, decay=whole.decay / sizes**2, tie=_tie(whole, len(sizes)))
    return f, Coordinates(np.diag(1 / sizes), np.diag(sizes))


def _turn(whole: SmoothObjective, norms: Array) -> tuple[SmoothObjective, Coordinates]:
    """Return the objective in the left singular vectors of X with its columns over `norms`."""
    left, singular, right = np.linalg.svd(whole.X / norms, full_matrices=False)
    rank = _count_rank(singular, whole.X.shape)
    singular = singular[:rank, None]
    matrix = (right[:rank] / singular).T / norms[:, None]
    f = replace(
        whole,
        X=left[:, :rank],
        sizes=np.abs(whole.X) @ np.abs(matrix),
        decay=np.zeros(rank),
        tie=_tie(whole, rank),
    )
    return f, Coordinates(matrix, singular * right[:rank] * norms)


def _tie(whole: SmoothObjective, r: int) -> Array:
    """Return the weight of the term that holds sums over coupled targets at 0."""
    return np.full(r, whole.shares.mean() if whole.y.shape[1] > 1 else 0.0)


def _count_rank(singular: Array, shape: tuple[int, ...]) -> int:
    return int((singular > singular[0] * max(shape) * ROUNDING_UNIT).sum())
