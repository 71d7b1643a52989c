"""Steps that are linear in (error, velocity), and the learning rates up to which they are stable.

Along an eigenvector of the Hessian with curvature λ, gradient descent with or without momentum
multiplies (error, velocity) by a matrix whose largest eigenvalue is the contraction in the long run
(Lessard, Recht and Packard, "Analysis and Design of Optimization Algorithms via Integral Quadratic
Constraints", 2016, §2).

m curvatures that are not zero.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from linfit.problem.types import Array


class LinearConstants(NamedTuple):
    """Constants of a step with momentum.

    b ← momentum·b + g, w ← w − lr·b, if `lookahead` w ← w − lr·(g + momentum·b).
    """

    lr: float
    momentum: float = 0.0
    lookahead: bool = False

    def propagators(self, curvatures: Array) -> Array:
        """Return the matrices `[m, 2, 2]` of a step.

        The step multiplies (error, velocity) by them.
        """
        kept = np.full_like(curvatures, self.momentum)
        with np.errstate(over="ignore", invalid="ignore"):
            if self.lookahead:
                first = self.lr * curvatures * (1 + self.momentum)
                second = self.lr * self.momentum * kept
            else:
                first = self.lr * curvatures
                second = self.lr * kept
        return np.array([[1 - first, -second], [curvatures, kept]]).transpose(2, 0, 1)


def stable_momentum_lr(momentum: float, lookahead: bool, curvature: float) -> float:
    """Return the largest lr that is stable with momentum.

    There an eigenvalue of a step reaches −1 along a curvature. The momentum is Nesterov's if
    `lookahead`.
    """
    numerator = 2 * (1 + momentum)
    if lookahead:
        numerator = 2 * (1 + momentum) / (1 + 2 * momentum)
    return divide_by_curvature(numerator, curvature)


def divide_by_curvature(numerator: float, curvature: float) -> float:
    """Return numerator/curvature, infinity if there is no curvature."""
    if not curvature > 0:  # also NaN
        return math.inf
    return numerator / curvature
