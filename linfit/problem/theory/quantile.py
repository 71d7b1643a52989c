"""The optimum of the quantile loss, in float64, and the exact excess loss around it.

loss(W) = c·Σ ρ(r), r = y − XW, ρ(r) = max(τr, (τ − 1)r), is a linear program (Koenker and Bassett,
1978). Its dual, max y·a with Xᵀa = 0 and τ − 1 ≤ a ≤ τ, has n columns and p rows, and is solved by
HiGHS. The rows whose a lies between the bounds are met exactly; these equations are solved again,
and with them their a, so that no tolerance of the program is left. Weights of samples multiply
rows: w·ρ(r) = ρ(w·r).

With Xᵀa = 0 the sum Σ a·r is the same for all W, so that the excess loss is c·Σ (ρ(r) − a·r): every
term is ≥ 0, and no two losses are subtracted.

n samples, p features, q targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from linfit.problem.theory.magnitudes import (
    measure_column_norms,
    scale_by_exponents,
)
from linfit.problem.types import Array, Minimum

#: A dual variable is between its bounds if it is this far from either.
DUAL_INSIDE = 1e-9
#: Rounding that a dual variable may leave its bounds by.
DUAL_ROUNDING = 1e-9


@dataclass(frozen=True)
class QuantileOptimum:
    """The quantile loss around its optimum: X `[n, p]`, residuals y − XW* and duals `[n, q]`."""

    X: Array
    residual: Array
    dual: Array
    quantile: float
    factor: float

    def excess(self, away: Array) -> Array:
        """Return loss(W) − loss(W*) `[…]`, never negative, of W − W* `[…, p, q]`."""
        residual = self.residual - self.X @ away  # […, n, q]
        above = np.where(residual > 0, (self.quantile - self.dual) * residual, 0)
        below = np.where(residual < 0, (self.quantile - 1 - self.dual) * residual, 0)
        return np.asarray(self.factor * (above + below).sum(axis=(-2, -1)))

    @property
    def gap(self) -> float:
        """Bound of the excess loss of W* itself: what duality leaves, and its rounding."""
        slack = np.abs(self.X.T @ self.dual).max(axis=0, initial=0)  # [q]
        size = np.abs(self.X).max(initial=0) or 1.0
        rounding = slack / size * np.abs(self.residual).max(axis=0, initial=0)
        at_optimum = self.excess(np.zeros((self.X.shape[1], self.dual.shape[1])))
        return float(at_optimum + self.factor * rounding.sum())


class _Solution(NamedTuple):
    """Weights `[p]`, residuals `[n]` and duals `[n]` of a target."""

    weights: Array
    residual: Array
    dual: Array


def minimize_quantile(
    X: Array, y: Array, quantile: float, factor: float, weights: Array | None = None
) -> Minimum:
    """Return the minimum of the loss.

    Where there are several optima, W* is one of them. `weights` `[n]` are those of the samples,
    with mean 1. Raise ValueError if the program is not solved.
    """
    if weights is not None:
        X = X * weights[:, None]
        y = y * weights[:, None]
    found = [_minimize_target(X, target, quantile) for target in y.T]
    optimum = np.stack([one.weights for one in found], axis=1)
    residual = np.stack([one.residual for one in found], axis=1)
    dual = np.stack([one.dual for one in found], axis=1)
    terms = np.maximum(quantile * residual, (quantile - 1) * residual)
    around = QuantileOptimum(X, residual, dual, quantile, factor)
    return Minimum(optimum, factor * float(terms.sum()), around, gap=around.gap)


def _minimize_target(X: Array, y: Array, quantile: float) -> _Solution:
    """Return the optimum of one target, solved with columns of norm one."""
    down = np.frexp(np.abs(y).max(keepdims=True, initial=0))[1]  # [1]; tolerances are absolute
    norms = measure_column_norms(X)[0]
    norms = np.where(norms > 0, norms, 1)
    found = _solve_scaled(X / norms, scale_by_exponents(y, -down), quantile)
    return found._replace(
        weights=scale_by_exponents(found.weights / norms, down),
        residual=scale_by_exponents(found.residual, down),
    )


def _solve_scaled(X: Array, y: Array, quantile: float) -> _Solution:
    from scipy.optimize import linprog

    p = X.shape[1]
    bounds = (quantile - 1, quantile)
    program = linprog(-y, A_eq=X.T, b_eq=np.zeros(p), bounds=bounds, method="highs")
    if program.status:
        raise ValueError(
            f"no minimum of the quantile loss found: {program.message}; scale the data"
        )
    near = _Solution(-program.eqlin.marginals, y + X @ program.eqlin.marginals, program.x)
    return _solve_basis(X, y, quantile, near) or near._replace(dual=near.dual.clip(*bounds))


def _solve_basis(X: Array, y: Array, quantile: float, near: _Solution) -> _Solution | None:
    """Return the exact solution of the rows that are met, None if they do not determine it."""
    from scipy.linalg import qr

    inside = np.minimum(quantile - near.dual, near.dual - quantile + 1)  # [n]
    order = np.lexsort((np.abs(near.residual), inside <= DUAL_INSIDE))
    rank = int(np.linalg.matrix_rank(X))
    candidates = order[: max(4 * rank, int((inside > DUAL_INSIDE).sum()))]
    # Rows that are met exactly first, each independent of those before it.
    size = np.where(inside[candidates] > DUAL_INSIDE, 1.0, 1e-3)
    pivots = qr((X[candidates] * size[:, None]).T, mode="r", pivoting=True)[1]
    basis = candidates[pivots[:rank]]

    weights = np.linalg.lstsq(X[basis], y[basis])[0]
    residual = y - X @ weights
    residual[basis] = 0
    dual = np.where(residual > 0, quantile, quantile - 1)
    met = np.abs(residual) <= DUAL_ROUNDING * np.abs(y).max(initial=1)
    dual[met] = near.dual[met]  # rows beside the basis that it meets too
    dual[basis] = 0
    dual[basis] = np.linalg.lstsq(X[basis].T, -X.T @ dual)[0]
    outside = np.maximum(dual - quantile, quantile - 1 - dual).max(initial=0)
    if outside > DUAL_ROUNDING:
        return None
    return _Solution(weights, residual, dual.clip(quantile - 1, quantile))
