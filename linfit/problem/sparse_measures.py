"""Measures of sparse weights: how many are not 0, and how far at most from the optimum.

| measure, with ‖W‖₁ in the penalty | of | |
|---|---|---|
| support_size | every loss | number of penalized weights that are not 0 |
| duality_gap | squared errors | the objective above a lower bound, which its dual proves |

The gap is a bound of the excess loss that needs no optimum: for c·‖y − XW‖² + t·‖W‖₁ + ½s·‖W‖² any
θ with the slopes abs(Xᵀθ) ≤ t proves θᵀy − ‖θ‖²/4c as a lower bound. θ is 2c·(y − XW), made
orthogonal to an intercept without a penalty, and scaled until its slopes are small enough; squares
of the penalty are rows √(s/2c)·I of X, with the target 0.

n samples, p features, q targets.
"""

from __future__ import annotations

import numpy as np

from linfit.problem.losses import Loss
from linfit.problem.measures import keep_finite
from linfit.problem.penalties import Shrinkage
from linfit.problem.problem import Problem
from linfit.problem.types import Array, Mask


def measure_sparsity(
    problem: Problem, loss: Loss, shrinkage: Shrinkage, weights: Array
) -> dict[str, float]:
    """Return the measures of final weights `[p, q]`; none if the penalty leaves none at 0."""
    if not shrinkage.l1:
        return {}
    penalized = shrinkage.mark_penalized(len(weights)) > 0
    found = {"support_size": float(np.count_nonzero(weights[penalized]))}
    if loss.quadratic:
        with np.errstate(all="ignore"):
            found["duality_gap"] = _measure_gap(problem, loss, shrinkage, weights, penalized)
    return keep_finite(found)


def _measure_gap(
    problem: Problem, loss: Loss, shrinkage: Shrinkage, weights: Array, penalized: Mask
) -> float:
    """Return the duality gap, the sum over targets."""
    n, _, q = problem.shape
    factor = problem.bind_loss(loss).scale(n, q)
    X, y = problem.X, problem.y
    if shrinkage.strength:
        rows = np.sqrt(shrinkage.strength / (2 * factor)) * np.diag(penalized.astype(float))
        X = np.vstack([X, rows])
        y = np.vstack([y, np.zeros((len(rows), q))])
    residual = y - X @ weights
    theta = 2 * factor * residual
    for column in X[:, ~penalized].T:
        theta = theta - np.outer(column, column @ theta) / (column @ column)
    slopes = X.T @ theta
    steepest = np.abs(slopes[penalized]).max(axis=0, initial=0)
    shares = shrinkage.l1 / np.maximum(steepest, shrinkage.l1)
    # Terms of the difference of both objectives, none below 0: near the optimum it would cancel.
    short = factor * np.square(residual - shares * theta / (2 * factor)).sum(axis=0)
    kept = weights[penalized]
    slack = shrinkage.l1 * np.abs(kept) - kept * (shares * slopes[penalized])
    return float((short + np.maximum(slack, 0).sum(axis=0)).sum())
