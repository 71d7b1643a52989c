"""The optimum of Huber's loss, in float64, and the exact excess loss around it.

loss(W) = a·Σρ(r) + ½s‖DW‖², where D leaves an exempt intercept out, with residuals r = XW − y and a = 1/(n·q). Where no residual crosses ±δ it is a quadratic function, whose
minimum is a Newton step away (Madsen and Nielsen, "Finite Algorithms for Robust Linear Regression", BIT 30, 1990). Where the residuals
within ±δ do not say all of the step, because too few of them are left, the step keeps them as they are and goes downhill until another
comes within. The length of every step is exact: along a line the slope is piecewise linear. Residuals that are thousands of δ away are
looked for through larger δ first.

The excess loss is a sum of Bregman's divergences, none of which is negative, and not the difference of two sums. Of two residuals r
and r* with what is cut off, g and g*, it is ρ(r) − ρ(r*) − g*·(r − r*) = h·(e + ½h), with h = g − g* and e = r − g.

n samples, p features, q targets.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linfit.problem.magnitudes import column_norms, exponents_of, scaled
from linfit.problem.penalties import Shrinkage
from linfit.problem.problem import Array

Mask = NDArray[np.bool_]

MOST_STEPS = 1000
#: How many times larger than δ each δ is that is tried before it, how many steps are made there, and how flat it then is.
WIDER, WIDER_STEPS, WIDER_FLATNESS = 100.0, 50, 0.01
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
    shrinkage: Shrinkage

    def excess(self, away: Array) -> Array:
        """loss(W) − loss(W*) `[…]` of W − W* `[…, p, q]`, never negative."""
        cut = self.residual.clip(-self.delta, self.delta)
        beyond = self.residual - cut
        moved = self.X @ away  # […, n, q]
        h = (beyond + moved).clip(-self.delta - cut, self.delta - cut)
        divergence = np.where(
            h == 0, 0, h * (beyond + moved - h + 0.5 * h)
        )  # 0 of a step without end too
        excess: Array = self.factor * divergence.sum(axis=(-2, -1))
        if self.shrinkage.strength:
            shrunk = self.shrinkage.mask(self.X.shape[1])[:, None] * away
            excess = excess + 0.5 * self.shrinkage.strength * np.square(shrunk).sum(axis=(-2, -1))
        return excess


def minimize(
    X: Array, y: Array, start: Array, delta: float, factor: float, shrinkage: Shrinkage
) -> tuple[Array, float, Robust]:
    """W* `[p, q]`, the loss there and what surrounds it; each target by itself, from `start` `[p, q]`. One of several where there are."""
    mask = shrinkage.mask(X.shape[1])  # [p]
    decay = shrinkage.strength / factor * mask
    columns = [
        _column(X, target, weights, delta, decay)
        for target, weights in zip(y.T, start.T, strict=True)
    ]
    weights = np.stack(columns, axis=1)  # [p, q]
    residual = X @ weights - y
    value = factor * float(_rho(residual, delta).sum())
    if shrinkage.strength:  # without, weights may be too large to be squared
        value += 0.5 * shrinkage.strength * float(np.square(mask[:, None] * weights).sum())
    return weights, value, Robust(X, residual, delta, factor, shrinkage)


def _column(X: Array, y: Array, w: Array, delta: float, decay: Array) -> Array:
    """argmin Σρ(Xw − y) + ½·Σ decay∘w² `[p]`, `decay` `[p]`. A column of zeros has weight 0: nothing else is flat but for rounding."""
    weights, used = np.zeros(len(w)), X.any(axis=0)
    if not used.any():
        return weights
    across, down = (
        exponents_of(np.append(X, np.sqrt(decay.max())), 0),
        exponents_of(y, 0),
    )  # [1], [1]
    width = float(scaled(np.array([delta]), -down)[0])
    parts = scaled(X[:, used], -across), scaled(y, -down), scaled(w[used], across - down)
    weights[used] = scaled(_found(*parts, width, scaled(decay[used], -2 * across)), down - across)
    return weights


def _found(X: Array, y: Array, w: Array, delta: float, decay: Array) -> Array:
    """The same for numbers that can be squared, and X without columns of zeros."""
    norms = np.sqrt(
        np.square(X).sum(axis=0) + decay
    )  # of the columns with the penalty's rows below them
    norms = np.where(norms > 0, norms, column_norms(X)[0])
    root = np.sqrt(decay) / norms
    column = Column(
        X / norms, y, np.where(root**2 < np.finfo(float).tiny, 0, root)
    )  # whose square vanishes is no penalty
    wider, w = WIDER * delta, w * norms
    if not np.isfinite(
        column.X @ w
    ).all():  # least squares, from whose optimum it starts, has none in float64
        w = np.zeros(len(w))
    while wider < np.abs(column.X @ w - y).max(initial=0.0):
        wider *= WIDER
    while (wider := wider / WIDER) > delta * WIDER**0.5:
        w = column.descend(w, wider, WIDER_STEPS, WIDER_FLATNESS)[0]
    w, flat = column.descend(w, delta, MOST_STEPS)
    if not flat:
        raise ValueError(
            f"no minimum of Huber's loss found in {MOST_STEPS} steps: scale the data, or choose a larger delta"
        )
    return np.asarray(w / norms)


@dataclass(frozen=True)
class Column:
    """One target: Σρ(Xw − y) + ½‖root∘w‖² of X `[n, p]`, y `[n]` and root `[p]`; X's columns above root's have norm one."""

    X: Array
    y: Array
    root: Array

    def descend(
        self, w: Array, delta: float, most: int, flatness: float = 0.0
    ) -> tuple[Array, bool]:
        """The minimum from `w` `[p]`, and whether it was found: the gradient is rounding, or such a part of what it consists of."""
        for _ in range(most):
            residual = self.X @ w - self.y
            cut = residual.clip(-delta, delta)
            slope = self.X.T @ cut + self.root**2 * w
            kept = self.root**2 * (
                np.abs(w) + EPS * np.abs(w).max()
            )  # a column that vanishes beside the penalty has w of 0
            rounding = (
                ROUNDINGS
                * EPS
                * (np.abs(self.X.T) @ (np.abs(cut) + np.abs(self.X) @ np.abs(w)) + kept)
            )
            if (
                np.abs(slope) <= np.maximum(rounding, flatness * np.abs(self.X.T) @ np.abs(cut))
            ).all():
                return w, True
            above = np.where(
                np.abs(slope) > rounding, slope, 0
            )  # else the rounding of a large one says how far a small one goes
            direction = self._direction(np.abs(residual) <= delta, above, rounding)
            w = w + self._length(w, residual, direction, delta) * direction
        return w, False

    def _direction(self, inside: Mask, slope: Array, rounding: Array) -> Array:
        """Newton's step `[p]`; downhill within what leaves the residuals inside as they are, where they do not say all of it."""
        rows = np.concatenate([self.X[inside], np.diag(self.root)[self.root > 0]])
        if not len(rows):
            return -slope
        _, singular, right = np.linalg.svd(rows, full_matrices=False)
        kept = singular > singular[0] * max(rows.shape) * EPS
        along = np.where(kept, right @ slope, 0)
        rest = slope - right.T @ along
        turned = ROUNDINGS * EPS * np.linalg.norm(slope)  # rounding of the turn there and back
        if (np.abs(rest) > np.maximum(rounding, turned)).any():
            return np.asarray(-rest)
        return np.asarray(-right.T @ (along / np.where(kept, singular**2, 1)))

    def _length(self, w: Array, residual: Array, direction: Array, delta: float) -> float:
        """The t at which the slope along w + t·direction is 0: between two of the t at which residuals cross ±δ it is linear."""
        moved = self.X @ direction
        first, more = (float((self.root**2 * part) @ direction) for part in (w, direction))

        def slope(t: float) -> float:
            return float(moved @ (residual + t * moved).clip(-delta, delta)) + first + t * more

        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            bends = np.concatenate([(edge - residual) / moved for edge in (-delta, delta)])
        bends = np.sort(bends[(bends > 0) & np.isfinite(bends)])
        after = bisect_left(bends, True, key=lambda t: slope(t) >= 0)
        low = float(bends[after - 1]) if after else 0.0
        high = float(bends[after]) if after < len(bends) else low + 1
        below, above = slope(low), slope(high)
        return (
            low - below * (high - low) / (above - below)
            if below < 0 and below < above
            else low or 1.0
        )


def _rho(residual: Array, delta: float) -> Array:
    cut = residual.clip(-delta, delta)
    return np.asarray(cut * (residual - 0.5 * cut))
