"""A mean over weighted samples.

n samples, q targets, r fits of a stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linfit.problem.losses.base import Loss

if TYPE_CHECKING:
    from torch import Tensor


class WeightedLoss(Loss):
    """Σ wᵢ·termsᵢ / n, where the weights are the last of the targets.

    Their mean is 1. So a batch that gathers targets gathers their weights, and a stack keeps them
    beside each fit's own targets. A sample of weight 0 adds exactly nothing, whatever its term is:
    0·∞ would be NaN. It has no name of its own: it is no choice of its group.
    """

    loss: Loss

    def terms(self, eta: Tensor, y: Tensor) -> Tensor:
        eta, targets, weights = self._split(eta, y)
        return weights * self.loss.terms(eta, targets)

    def derivative(self, eta: Tensor, y: Tensor) -> Tensor:
        eta, targets, weights = self._split(eta, y)
        return weights * self.loss.derivative(eta, targets)

    def terms_and_derivative(self, eta: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        eta, targets, weights = self._split(eta, y)
        terms, slope = self.loss.terms_and_derivative(eta, targets)
        return weights * terms, weights * slope

    def _split(self, eta: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return predictors, targets, and weights with one target; η is 0 where the weight is."""
        axis = 1 if y.ndim == 2 else y.ndim - 2
        q = y.shape[axis] - 1
        targets = y.narrow(axis, 0, q)
        weights = y.narrow(axis, q, 1)
        return eta.where(weights > 0, 0), targets, weights

    def scale(self, n: float, q: int) -> float:
        return self.loss.scale(n, q)
