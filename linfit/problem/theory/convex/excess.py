"""The excess loss around the optimum of a smooth convex loss, exact near and far.

It is a sum of Bregman divergences, none of which is negative. Where there is only an infimum, it is
the loss of the separated samples, and the divergence of the others from the minimum of what they
have without them.

n samples, p features, q targets, k fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from linfit.problem.theory.convex.objective import SmoothLoss, SmoothObjective, call_on_arrays
from linfit.problem.theory.convex.separation import FAR_PREDICTOR
from linfit.problem.types import Array, Mask

#: Predictors that are held at once.
PREDICTORS_AT_ONCE = 2**18


@dataclass(frozen=True)
class SmoothExcess:
    """A loss around the predictors of its optimum."""

    loss: SmoothLoss
    X: Array
    """`[n, p]`"""
    y: Array
    """`[n, q]`"""
    shares: Array
    """Factor of each sample's terms `[n, 1]`."""
    eta: Array
    """`[n, q]`"""
    gone: Mask
    """Samples and targets `[n, q]` that are separated."""
    decay: Array
    """`[p]`"""

    @cached_property
    def places(self) -> tuple[int, int]:
        """Where X and y lie in memory."""
        return self.X.ctypes.data, self.y.ctypes.data

    def excess(self, away: Array) -> Array:
        """Return loss(W) − loss(W*) `[…]`, never negative, of W − W* `[…, p, q]`.

        It is infinite where it is not a number.
        """
        steps = away.reshape(-1, *away.shape[-2:])
        found = np.empty(len(steps))
        few = max(1, PREDICTORS_AT_ONCE // self.eta.size)
        for first in range(0, len(steps), few):
            part = steps[first : first + few]
            found[first : first + few] = self._sum_divergences(self.X @ part)
        if self.decay.any():
            found += 0.5 * (self.decay[:, None] * np.square(steps)).sum(axis=(1, 2))
        found = np.where(np.isnan(found), np.inf, found)
        return found.reshape(away.shape[:-2])

    def hessian(self, away: Array) -> Array:
        """Return the Hessian `[b, m, m]` at W, given W − W* `[p, q]`.

        There is one block for each target, or one of all weights, row by row, if the loss couples
        them.
        """
        eta = self.eta + self.X @ away
        curvature = call_on_arrays(self.loss.curvature, eta, self.y)
        if self.loss.couples_targets:
            return self._take_targets(slice(None)).hessian(curvature)[None]
        parts = [slice(k, k + 1) for k in range(eta.shape[1])]
        return np.stack([self._take_targets(k).hessian(curvature[:, k, None]) for k in parts])

    def _take_targets(self, part: slice) -> SmoothObjective:
        y = self.y[:, part]
        nothing = np.zeros(len(self.decay))
        return SmoothObjective(
            self.loss, self.X, y, self.shares, np.zeros(y.shape), self.decay, nothing
        )

    def _sum_divergences(self, moved: Array) -> Array:
        """Return the divergences `[k]` of predictors that moved by `[k, n, q]`."""
        k, n, q = moved.shape
        eta = np.tile(self.eta, (k, 1))
        y = np.tile(self.y, (k, 1))
        gone = np.tile(self.gone, (k, 1))
        away = moved.reshape(k * n, q)
        found = self._measure_coupled if self.loss.couples_targets else self._measure_single
        terms = found(eta, y, gone, away).reshape(k, n, -1)
        sums: Array = (self.shares * terms).sum(axis=(1, 2))
        return sums

    def _measure_single(self, eta: Array, y: Array, gone: Mask, away: Array) -> Array:
        found = call_on_arrays(self.loss.divergence, eta, y, away)
        if not gone.any():
            return found
        return np.where(gone, call_on_arrays(self.loss.terms, eta + away, y), found)

    def _measure_coupled(self, eta: Array, y: Array, gone: Mask, away: Array) -> Array:
        offset = np.where(gone, -FAR_PREDICTOR, 0)
        found = call_on_arrays(self.loss.divergence, eta + offset, y, np.where(gone, 0, away))
        if not gone.any():
            return found
        lost = np.logaddexp.reduce(np.where(gone, eta + away, -np.inf), axis=1, keepdims=True)
        kept = np.logaddexp.reduce(np.where(gone, -np.inf, eta + away), axis=1, keepdims=True)
        return np.asarray(found + np.logaddexp(0, lost - kept))
