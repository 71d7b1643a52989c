"""How far an objective at a computed optimum can be above its minimum.

With the gradient g there, the rounding of its computation included:

- f strongly convex by its penalty, ½Σ decay∘W²: f − f* ≤ ½Σ g²/decay.
- |L‴| ≤ M·L″, as of exponential families: with λ² = gᵀH⁻¹g and R = M·max |xᵢd| over ‖d‖_H ≤ 1 the
  sublevel set of W is bounded if λR ≤ 0.21, so that a minimum exists, and f − f* ≤ 0.587·λ² (Bach,
  "Self-concordant analysis for logistic regression", Electronic Journal of Statistics 4, 2010;
  f(W + d) ≥ f(W) + ⟨g, d⟩ + t²·(exp(−Rt) + Rt − 1)/(Rt)² with t = ‖d‖_H).
- L piecewise quadratic, M = 0: with H of the samples whose curvature is the same within ±r of their
  predictors, f − f* ≤ ½λ² if 2λR ≤ r.

A small gradient alone proves nothing: it vanishes, too, where the minimum is infinitely far.

n samples, p coordinates, m targets.
"""

from __future__ import annotations

import math

import numpy as np

from linfit.problem.theory.convex.objective import ROUNDING_UNIT, SmoothObjective
from linfit.problem.types import Array

#: λR at most, where the bound holds,
LARGEST_PRODUCT = 0.21
#: and its factor.
LOCAL_FACTOR = 0.587
#: Radii in which the pieces of a piecewise quadratic loss are looked for.
PIECE_RADII = (1e-3, 1e-6, 1e-9)
#: Part by which a bound is larger than computed, for the rounding of its own computation.
SAFETY = 1 + 1e-6


def certify(f: SmoothObjective, W: Array, flat_directions: bool = False) -> float | None:
    """Return a bound of f(W) − min f, None if nothing is proved.

    With `flat_directions` f is known to be constant along the directions without curvature.
    """
    eta = f.predict(W)
    slope = f.slope(eta)
    curvature = f.curvature(eta)
    gradient = f.gradient(W, slope)
    rounding = f.bound_rounding(W, slope, curvature)
    if not np.isfinite(gradient).all():
        return None

    bounds = []
    if f.decay.all():
        squares = np.square(np.abs(gradient) + rounding)
        bounds.append(0.5 * float((squares / f.decay[:, None]).sum()))
    if f.loss.self_concordance is not None:
        radii = PIECE_RADII if f.loss.self_concordance == 0 else [math.inf]
        for radius in radii:
            steady = _keep_steady(f, eta, curvature, radius)
            inverse = _invert_hessian(f, steady, flat_directions)
            if inverse is None:
                continue
            along = np.abs(inverse.T @ gradient.ravel()) + np.abs(inverse.T) @ rounding.ravel()
            decrement = float(np.linalg.norm(along))
            if _is_near(f, decrement * _measure_reach(f, inverse), radius):
                bounds.append(LOCAL_FACTOR * decrement**2)
    if not bounds or not min(bounds) < 1 + abs(f.value(W)):
        return None
    return SAFETY * min(bounds) + math.ulp(0.0)


def _keep_steady(f: SmoothObjective, eta: Array, curvature: Array, radius: float) -> Array:
    """Return the curvatures, 0 for samples whose curvature changes within ±radius."""
    if math.isinf(radius):
        return curvature
    before = f.curvature(eta - radius)
    after = f.curvature(eta + radius)
    return np.where((before == curvature) & (after == curvature), curvature, 0)


def _is_near(f: SmoothObjective, moved: float, radius: float) -> bool:
    """Return True if predictors that a step of length λ moves by `moved` are near enough."""
    assert f.loss.self_concordance is not None
    return f.loss.self_concordance * moved <= LARGEST_PRODUCT and 2 * moved <= radius


def _invert_hessian(f: SmoothObjective, curvature: Array, flat_directions: bool) -> Array | None:
    """Return A `[p·m, ≤ p·m]` with H⁻¹ ≤ A·Aᵀ, None if H may be singular."""
    hessian = f.hessian(curvature)
    roots = np.sqrt(np.diag(hessian))
    if not (roots > 0).all() or not np.isfinite(hessian).all():
        return None
    values, vectors = np.linalg.eigh(hessian / roots / roots[:, None])
    values = values - _bound_hessian_rounding(f, curvature, roots)
    kept = values > 0
    if not kept.all() and not flat_directions:
        return None
    return np.asarray(vectors[:, kept] / np.sqrt(values[kept]) / roots[:, None])


def _bound_hessian_rounding(f: SmoothObjective, curvature: Array, roots: Array) -> float:
    """Return how wrong an eigenvalue of the scaled Hessian may be."""
    n, m = f.y.shape
    sizes = np.abs(curvature).max(axis=(1, 2))
    if m > 1:
        sizes = np.maximum(sizes, 1)  # p − p² of a p near 1 is rounding
    norms = np.square(f.X / roots.reshape(-1, m).min(axis=1)).sum(axis=1)
    own = (np.sqrt(n) + 4) * float((f.shares[:, 0] * sizes * norms).sum())
    return float(ROUNDING_UNIT * (own + len(roots)))


def _measure_reach(f: SmoothObjective, basis: Array) -> float:
    """Return a bound of max |xᵢd| over ‖d‖_H ≤ 1, of the range over the classes if coupled."""
    p = f.X.shape[1]
    m = f.y.shape[1]
    blocks = basis.reshape(p, m, -1)
    lengths = [float(np.linalg.norm(f.X @ blocks[:, k], axis=1).max()) for k in range(m)]
    return max(lengths) if m == 1 else 2 * max(lengths)
