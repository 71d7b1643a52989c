"""The optimum of Huber's loss, in float64, and the exact excess loss around it.

loss(W) = a·Σρ(r) + ½s‖W‖² with residuals r = XW − y and a = 1/(n·q). Where no residual crosses ±δ it is a quadratic function, whose
minimum is a Newton step away; the steps go on until they lead nowhere (Madsen and Nielsen, "Finite Algorithms for Robust Linear
Regression", BIT 30, 1990). A step that does not descend is replaced by one of iteratively reweighted least squares, which always does.

The excess loss is a sum of Bregman's divergences, none of which is negative, and not the difference of two sums. Of two residuals r
and r* with what is cut off, g and g*, it is ρ(r) − ρ(r*) − g*·(r − r*) = h·(e + ½h), with h = g − g* and e = r − g.

n samples, p features, q targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linfit.problem.problem import Array

MOST_STEPS = 1000
#: How small the gradient is at the optimum, in roundings of the sums it consists of.
ROUNDINGS = 64
EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Robust:
    """Huber's loss around its optimum: features X `[n, p]` and residuals XW* − y `[n, q]`."""

    X: Array
    residual: Array
    delta: float
    factor: float
    strength: float

    def excess(self, away: Array) -> Array:
        """loss(W) − loss(W*) `[…]` of W − W* `[…, p, q]`, never negative."""
        cut = self.residual.clip(-self.delta, self.delta)
        beyond = self.residual - cut
        moved = self.X @ away  # […, n, q]
        h = (beyond + moved).clip(-self.delta - cut, self.delta - cut)
        divergence = h * (beyond + moved - h + 0.5 * h)
        ridge = 0.5 * self.strength * np.square(away)
        excess: Array = self.factor * divergence.sum(axis=(-2, -1)) + ridge.sum(axis=(-2, -1))
        return excess


def minimize(X: Array, y: Array, start: Array, delta: float, factor: float, strength: float) -> tuple[Array, float, Robust]:
    """W* `[p, q]`, the loss there and what surrounds it; each target by itself, from `start` `[p, q]`. One of several where there are."""
    decay = strength / factor
    columns = [_column(X, target, weights, delta, decay) for target, weights in zip(y.T, start.T, strict=True)]
    weights = np.stack(columns, axis=1)  # [p, q]
    residual = X @ weights - y
    value = factor * float(_rho(residual, delta).sum()) + 0.5 * strength * float(np.square(weights).sum())
    return weights, value, Robust(X, residual, delta, factor, strength)


def _column(X: Array, y: Array, w: Array, delta: float, decay: float) -> Array:
    """argmin Σρ(Xw − y) + ½·decay·‖w‖² `[p]`."""

    def look(w: Array) -> tuple[float, Array, Array]:
        """The objective, its gradient `[p]` and the residuals `[n]`."""
        residual = X @ w - y
        slope = X.T @ residual.clip(-delta, delta) + decay * w
        return float(_rho(residual, delta).sum()) + 0.5 * decay * float(w @ w), slope, residual

    value, slope, residual = look(w)
    for _ in range(MOST_STEPS):
        size = np.abs(residual.clip(-delta, delta)) + np.abs(X) @ np.abs(w)
        if (np.abs(slope) <= ROUNDINGS * EPS * (np.abs(X.T) @ size + decay * np.abs(w))).all():
            return w
        moved = w - _solve(X * (np.abs(residual) <= delta)[:, None], decay, slope)
        there, steepness, _ = look(moved)
        if not (there < value or np.linalg.norm(steepness) < 0.5 * np.linalg.norm(slope)):
            moved = w - _solve(X * np.sqrt(delta / np.maximum(np.abs(residual), delta))[:, None], decay, slope)
        w = moved
        value, slope, residual = look(w)
    raise ValueError(f"no minimum of Huber's loss found in {MOST_STEPS} steps: scale the data, or choose a larger delta")


def _solve(X: Array, decay: float, slope: Array) -> Array:
    """(XᵀX + decay·I)⁻¹·slope, the smallest solution where there are several."""
    _, singular, right = np.linalg.svd(X, full_matrices=False)
    kept = singular > singular[:1] * max(X.shape) * EPS
    along = right @ slope
    curvature = np.square(singular) + decay
    step = np.where(kept | (decay > 0), along / np.where(curvature > 0, curvature, 1), 0)
    rest = (slope - right.T @ along) / decay if decay > 0 else 0.0
    return np.asarray(right.T @ step + rest)


def _rho(residual: Array, delta: float) -> Array:
    cut = residual.clip(-delta, delta)
    return np.asarray(cut * (residual - 0.5 * cut))
