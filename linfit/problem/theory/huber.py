"""The optimum of Huber's loss, in float64, and the exact excess loss around it.

loss(W) = a·Σρ(r) + ½s‖DW‖², where D leaves an exempt intercept out, with residuals r = XW − y and a
= 1/(n·q). Where no residual crosses ±δ it is a quadratic function, whose minimum is a Newton step
away (Madsen and Nielsen, "Finite Algorithms for Robust Linear Regression", BIT 30, 1990). Where the
residuals within ±δ do not determine the whole step, because too few of them are left, the step
keeps them as they are and goes downhill until another comes within. The length of every step is
exact: along a line the slope is piecewise linear. Residuals that are thousands of δ away are
approached through larger δ first.

Weights of samples are roots of theirs before rows: w·ρ(r) = ρ(√w·r) with √w·δ in place of δ.

The excess loss is a sum of Bregman's divergences, none of which is negative, and not the difference
of two sums. Of two residuals r and r*, cut off to g and g*, it is
ρ(r) − ρ(r*) − g*·(r − r*) = h·(e + ½h), with h = g − g* and e = r − g.

n samples, p features, q targets.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from linfit.problem.penalties import Shrinkage
from linfit.problem.theory.magnitudes import (
    find_exponents,
    measure_column_norms,
    scale_by_exponents,
)
from linfit.problem.types import Array, Mask

MAX_NEWTON_STEPS = 1000
#: Before δ, each larger δ is tried that is WIDER times the next one,
WIDER_FACTOR = 100.0
#: for at most so many steps,
WIDER_STEPS = 50
#: until the gradient is at most this part of its terms.
WIDER_FLATNESS = 0.01
#: How small the gradient is at the optimum, in roundings of the sums it consists of.
ROUNDINGS_AT_OPTIMUM = 64
EPSILON = float(np.finfo(float).eps)


@dataclass(frozen=True)
class HuberOptimum:
    """Huber's loss around its optimum.

    It has features X `[n, p]` and residuals XW* − y `[n, q]`.
    """

    X: Array
    residual: Array
    delta: Array
    """The δ of each sample `[n, 1]`."""
    factor: float
    shrinkage: Shrinkage

    def excess(self, away: Array) -> Array:
        """Return loss(W) − loss(W*) `[…]`, never negative.

        It is given W − W* `[…, p, q]`.
        """
        cut = self.residual.clip(-self.delta, self.delta)
        beyond = self.residual - cut
        moved = self.X @ away  # […, n, q]
        h = (beyond + moved).clip(-self.delta - cut, self.delta - cut)
        # An infinite step has 0 too where h is 0.
        divergence = np.where(h == 0, 0, h * (beyond + moved - h + 0.5 * h))
        excess: Array = self.factor * divergence.sum(axis=(-2, -1))
        if self.shrinkage.strength:
            shrunk = self.shrinkage.mark_penalized(self.X.shape[1])[:, None] * away
            excess = excess + 0.5 * self.shrinkage.strength * np.square(shrunk).sum(axis=(-2, -1))
        return excess

    def hessian(self, away: Array) -> Array:
        """Return the Hessian of each target `[q, p, p]`, given W − W* `[p, q]`."""
        inside = np.abs(self.residual + self.X @ away) <= self.delta  # [n, q]
        kept = self.shrinkage.strength * np.diag(self.shrinkage.mark_penalized(self.X.shape[1]))
        blocks = [self.X[rows].T @ self.X[rows] for rows in inside.T]
        return np.stack([self.factor * block + kept for block in blocks])


def minimize_huber(
    X: Array,
    y: Array,
    start: Array,
    delta: float,
    factor: float,
    shrinkage: Shrinkage,
    weights: Array | None = None,
) -> tuple[Array, float, HuberOptimum]:
    """Return W* `[p, q]`, its loss, and Huber's loss around it.

    Each target is minimized by itself from `start` `[p, q]`. `weights` `[n]` are those of the
    samples, with mean 1. Where there are several optima, W* is one of them.
    """
    mask = shrinkage.mark_penalized(X.shape[1])  # [p]
    decay = shrinkage.strength / factor * mask
    roots = np.ones(len(X)) if weights is None else np.sqrt(weights)
    X = X * roots[:, None]
    y = y * roots[:, None]
    targets = zip(y.T, start.T, strict=True)
    columns = [_minimize_target(X, target, w, delta, roots, decay) for target, w in targets]
    optimum = np.stack(columns, axis=1)  # [p, q]

    residual = X @ optimum - y
    deltas = delta * roots[:, None]
    value = factor * float(_rho(residual, deltas).sum())
    if shrinkage.strength:  # without a penalty, weights may be too large to be squared
        value += 0.5 * shrinkage.strength * float(np.square(mask[:, None] * optimum).sum())
    return optimum, value, HuberOptimum(X, residual, deltas, factor, shrinkage)


def _minimize_target(
    X: Array, y: Array, w: Array, delta: float, roots: Array, decay: Array
) -> Array:
    """Return argmin Σρ(Xw − y) + ½·Σ decay∘w² `[p]`, with `decay` `[p]`.

    The δ of each sample is `delta`·`roots` `[n]`.

    A column of zeros has weight 0: along it the loss is flat, but for rounding.
    """
    weights = np.zeros(len(w))
    used = X.any(axis=0)
    if not used.any():
        return weights

    across = find_exponents(np.append(X, np.sqrt(decay.max())), 0)  # [1]
    down = find_exponents(y, 0)  # [1]
    found = _minimize_ordinary(
        scale_by_exponents(X[:, used], -across),
        scale_by_exponents(y, -down),
        scale_by_exponents(w[used], across - down),
        float(scale_by_exponents(np.array([delta]), -down)[0]),
        roots,
        scale_by_exponents(decay[used], -2 * across),
    )
    weights[used] = scale_by_exponents(found, down - across)
    return weights


def _minimize_ordinary(
    X: Array, y: Array, w: Array, delta: float, roots: Array, decay: Array
) -> Array:
    """Return the minimum for numbers that can be squared, and X without columns of zeros."""
    # Norms of the columns with the penalty's rows below them.
    norms = np.sqrt(np.square(X).sum(axis=0) + decay)
    norms = np.where(norms > 0, norms, measure_column_norms(X)[0])
    root = np.sqrt(decay) / norms
    # A root whose square vanishes is no penalty.
    root = np.where(root**2 < np.finfo(float).tiny, 0, root)
    column = HuberColumn(X / norms, y, root)

    w = w * norms
    # Least squares, at whose optimum the search starts, may have none in float64.
    if not np.isfinite(column.X @ w).all():
        w = np.zeros(len(w))

    wider = WIDER_FACTOR * delta
    while wider < np.abs(column.X @ w - y).max(initial=0.0):
        wider *= WIDER_FACTOR
    while (wider := wider / WIDER_FACTOR) > delta * WIDER_FACTOR**0.5:
        w, _ = column.minimize_from(w, wider * roots, WIDER_STEPS, WIDER_FLATNESS)

    w, flat = column.minimize_from(w, delta * roots, MAX_NEWTON_STEPS)
    if not flat:
        raise ValueError(
            f"no minimum of Huber's loss found in {MAX_NEWTON_STEPS} steps: "
            "scale the data, or choose a larger delta"
        )
    return np.asarray(w / norms)


@dataclass(frozen=True)
class HuberColumn:
    """One target: Σρ(Xw − y) + ½‖root∘w‖².

    X is `[n, p]`, y `[n]` and root `[p]`. The columns of X with those of diag(root) below them have
    norm one.
    """

    X: Array
    y: Array
    root: Array

    def minimize_from(
        self, w: Array, delta: Array, most: int, flatness: float = 0.0
    ) -> tuple[Array, bool]:
        """Return the minimum from `w` `[p]`, True if found; `delta` is `[n]`.

        It is found when the gradient is rounding, or at most the part `flatness` of its terms.
        """
        for _ in range(most):
            residual = self.X @ w - self.y
            cut = residual.clip(-delta, delta)
            slope = self.X.T @ cut + self.root**2 * w
            rounding = self._rounding(w, cut)
            flat = (flatness * np.abs(self.X.T)) @ np.abs(cut)
            if (np.abs(slope) <= np.maximum(rounding, flat)).all():
                return w, True

            # Otherwise the rounding of a large slope would tell how far a small one goes.
            above = np.where(np.abs(slope) > rounding, slope, 0)
            direction = self._direction(np.abs(residual) <= delta, above, rounding)
            w = w + self._length(w, residual, direction, delta) * direction
        return w, False

    def _rounding(self, w: Array, cut: Array) -> Array:
        """Return how large the gradient may be by rounding alone `[p]`."""
        # A column that vanishes next to the penalty has a weight of 0.
        kept = self.root**2 * (np.abs(w) + EPSILON * np.abs(w).max())
        terms = np.abs(self.X.T) @ (np.abs(cut) + np.abs(self.X) @ np.abs(w))
        return np.asarray(ROUNDINGS_AT_OPTIMUM * EPSILON * (terms + kept))

    def _direction(self, inside: Mask, slope: Array, rounding: Array) -> Array:
        """Return Newton's step `[p]`.

        Where the residuals inside do not determine all of it, return the part of the slope that
        leaves these residuals as they are, downhill.
        """
        rows = np.concatenate([self.X[inside], np.diag(self.root)[self.root > 0]])
        if not len(rows):
            return -slope
        _, singular, right = np.linalg.svd(rows, full_matrices=False)
        kept = singular > singular[0] * max(rows.shape) * EPSILON
        along = np.where(kept, right @ slope, 0)
        rest = slope - right.T @ along
        turned = (
            ROUNDINGS_AT_OPTIMUM * EPSILON * np.linalg.norm(slope)
        )  # rounding of the turn there and back
        if (np.abs(rest) > np.maximum(rounding, turned)).any():
            return np.asarray(-rest)
        return np.asarray(-right.T @ (along / np.where(kept, singular**2, 1)))

    def _length(self, w: Array, residual: Array, direction: Array, delta: Array) -> float:
        """Return the t at which the slope along w + t·direction is 0.

        The slope is linear between two of the t at which residuals cross ±δ.
        """
        moved = self.X @ direction
        first = float((self.root**2 * w) @ direction)
        more = float((self.root**2 * direction) @ direction)

        def slope(t: float) -> float:
            return float(moved @ (residual + t * moved).clip(-delta, delta)) + first + t * more

        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            bends = np.concatenate([(edge - residual) / moved for edge in (-delta, delta)])
        bends = np.sort(bends[(bends > 0) & np.isfinite(bends)])
        after = bisect_left(bends, True, key=lambda t: slope(t) >= 0)
        low = float(bends[after - 1]) if after else 0.0
        high = float(bends[after]) if after < len(bends) else low + 1
        below = slope(low)
        above = slope(high)
        if below < 0 and below < above:
            return low - below * (high - low) / (above - below)
        return low or 1.0


def _rho(residual: Array, delta: Array) -> Array:
    cut = residual.clip(-delta, delta)
    return np.asarray(cut * (residual - 0.5 * cut))
