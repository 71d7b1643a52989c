"""Damped Newton's method for smooth convex objectives.

A step is halved until the objective falls by nearly as much as its slope promises. What it falls by
is known exactly, as a sum of Bregman divergences, so that the search goes on until the gradient is
rounding (Nesterov, Lectures on Convex Optimization, 2nd ed., 2018, §1.2).

p coordinates, m targets.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

from linfit.problem.theory.convex.objective import ROUNDING_UNIT, SmoothObjective
from linfit.problem.types import Array

#: A step is accepted if the divergence is at most this part of the promised descent.
ACCEPTED_DIVERGENCE = 1 - 1e-4
#: M·max |xᵢd| up to which a step d is accepted unmeasured.
NEAR_MOVE = 1.0
#: Pivots of a Hessian, its diagonal one, that is regular for sure.
REGULAR_PIVOT = 1e-6
#: Halvings of a step before the search gives up.
MAX_HALVINGS = 100


def minimize_by_newton(f: SmoothObjective, W: Array, most: int) -> tuple[Array, bool]:
    """Return the minimum from W `[p, m]`, True if the gradient is rounding there.

    It takes at most `most` steps.
    """
    for _ in range(most):
        eta = f.predict(W)
        slope = f.slope(eta)
        curvature = f.curvature(eta)
        gradient = f.gradient(W, slope)
        flat = bool((np.abs(gradient) <= f.bound_rounding(W, slope, curvature)).all())
        step = -solve_newton(f.hessian(curvature), gradient.ravel()).reshape(W.shape)
        if flat:
            return W + step, True
        moved = _shorten(f, W, eta, step, float((gradient * step).sum()))
        if moved is None or (moved == W).all():
            return W, False
        W = moved
    return W, False


def solve_newton(hessian: Array, gradient: Array) -> Array:
    """Return H⁻¹g; without the directions in which H is zero."""
    roots = np.sqrt(np.diag(hessian))
    roots = np.where(roots > 0, roots, 1)
    scaled = hessian / roots / roots[:, None]
    factor, failed = dpotrf(scaled)
    if not failed and factor.diagonal().min() > REGULAR_PIVOT:
        return np.asarray(dpotrs(factor, gradient / roots)[0] / roots)
    values, vectors = np.linalg.eigh(scaled)
    kept = values > len(values) * ROUNDING_UNIT * values[-1]
    along = np.where(kept, vectors.T @ (gradient / roots), 0)
    return np.asarray(vectors @ (along / np.where(kept, values, 1)) / roots)


def _shorten(f: SmoothObjective, W: Array, eta: Array, step: Array, descent: float) -> Array | None:
    """Return W after a step that is short enough, None if there is none."""
    moved = f.X @ step
    if _is_near(f, moved):
        return W + step
    length = 1.0
    for _ in range(MAX_HALVINGS):
        risen = f.measure_step(eta, length * moved, length * step)
        if risen <= -ACCEPTED_DIVERGENCE * length * descent:
            return W + length * step
        length /= 2
    return None


def _is_near(f: SmoothObjective, moved: Array) -> bool:
    """Return True if Newton's step d has nearly its promised descent λ² for sure.

    The divergence is at most λ²·(exp(R) − R − 1)/R² with R = M·max |xᵢd| (certificate.py), of
    coupled targets the range over them: 0.72·λ² for R of 1. `moved` is Xd.
    """
    concordance = f.loss.self_concordance
    if not concordance:
        return False
    sizes = np.ptp(moved, axis=1) if moved.shape[1] > 1 else np.abs(moved)
    return bool(concordance * sizes.max() <= NEAR_MOVE)
