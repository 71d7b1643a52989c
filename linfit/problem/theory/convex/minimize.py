"""The minimum of a smooth convex loss of the linear predictor, in float64, with its certificate.

Each target of a loss that does not couple them is minimized by itself. Where the certificate fails,
a linear program decides if there is a minimum at all (separation.py). If not, the samples that are
separated are left out, and what remains has a minimum: the infimum of the whole.

n samples, p features, q targets, m targets of a block.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from linfit.problem.penalties import Shrinkage
from linfit.problem.theory.convex.certificate import certify
from linfit.problem.theory.convex.coordinates import Coordinates, choose_coordinates
from linfit.problem.theory.convex.excess import SmoothExcess
from linfit.problem.theory.convex.newton import minimize_by_newton
from linfit.problem.theory.convex.objective import (
    ROUNDING_UNIT,
    SmoothLoss,
    SmoothObjective,
    measure_factor,
)
from linfit.problem.theory.convex.separation import (
    FAR_PREDICTOR,
    find_separated,
    is_separating,
)
from linfit.problem.types import Array, Mask, Minimum

#: Newton steps before classes are checked for a plane between all of them,
FEW_NEWTON_STEPS = 12
#: those before a minimum is doubted,
USUAL_NEWTON_STEPS = 40
#: and those after which the search gives up.
MANY_NEWTON_STEPS = 500


def minimize_smooth(
    loss: SmoothLoss,
    X: Array,
    y: Array,
    weights: Array | None,
    start: Array,
    shrinkage: Shrinkage,
) -> Minimum:
    """Return the minimum of loss + penalty, or its infimum.

    X is `[n, p]`, y `[n, q]`, `start` `[p, q]`; `weights` `[n]` are those of the samples, with mean
    1. Samples of weight 0 are left out.
    """
    n, q = y.shape
    shares = np.ones(n) if weights is None else weights
    shares = measure_factor(loss, y) * shares[:, None]
    used = _find_used(shares[:, 0])
    decay = shrinkage.strength * shrinkage.mark_penalized(X.shape[1])
    blocks = [slice(None)] if loss.couples_targets else [slice(k, k + 1) for k in range(q)]
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        found = [
            _minimize_block(loss, X[used], y[used, block], shares[used], start[:, block], decay)
            for block in blocks
        ]
    optimum = np.concatenate([block.weights for block in found], axis=1)
    gone = np.concatenate([block.gone for block in found], axis=1)
    gaps = [block.gap for block in found if block.gap is not None]
    return Minimum(
        weights=optimum,
        objective=sum(block.objective for block in found),
        around=SmoothExcess(loss, X[used], y[used], shares[used], X[used] @ optimum, gone, decay),
        curvatures=np.sort(np.concatenate([block.curvatures for block in found]))[::-1],
        largest_curvature=_bound_curvature(loss, X[used], shares[used], decay),
        gap=sum(gaps) if len(gaps) == len(found) else None,
        attained=not gone.any(),
        note=_describe_infimum(loss, gone, sum(block.objective for block in found), shrinkage),
    )


def _find_used(shares: Array) -> Mask | slice:
    """Return the samples whose share is not 0. All of them are a slice, which copies no X."""
    used = shares > 0
    return slice(None) if used.all() else used


def _bound_curvature(loss: SmoothLoss, X: Array, shares: Array, decay: Array) -> float | None:
    """Return a bound of the Hessian's eigenvalues at any weights, None if there is none."""
    if loss.curvature_bound is None:
        return None
    hessian = loss.curvature_bound * (X.T @ (shares * X)) + np.diag(decay)
    return float(np.linalg.eigvalsh(hessian)[-1])


def _describe_infimum(
    loss: SmoothLoss, gone: Mask, infimum: float, shrinkage: Shrinkage
) -> str | None:
    """Return a sentence if there is no minimum."""
    if not gone.any():
        return None
    samples = int(gone.any(axis=1).sum())
    why = f"a direction of the features separates the classes of {samples} of {len(gone)} samples"
    if loss.target_kind == "count":
        why = f"features tell {samples} of {len(gone)} samples, all without counts, from the others"
    remedy = "penalty.intercept=true" if shrinkage.strength else "penalty=ridge"
    return (
        f"{why}: the loss has no minimum, only an infimum of {infimum:.6g}, which ever larger "
        f"weights approach and from which the excess loss is measured; add {remedy}"
    )


class Block(NamedTuple):
    """The minimum of some targets."""

    weights: Array
    objective: float
    curvatures: Array
    """Eigenvalues of the Hessian that are not zero, by rounding."""
    gap: float | None
    gone: Mask
    """Samples and targets `[n, m]` that are separated."""


def _minimize_block(
    loss: SmoothLoss, X: Array, y: Array, shares: Array, start: Array, decay: Array
) -> Block:
    """Return the minimum from the better one of `start` `[p, m]` and 0."""
    whole = SmoothObjective(loss, X, y, shares, np.zeros(y.shape), decay, np.zeros(len(decay)))
    f, coordinates = choose_coordinates(whole)
    gone = np.zeros(y.shape, dtype=bool)
    W = _choose_start(f, coordinates.to_coordinates(start))
    if not W.size:
        return Block(np.zeros_like(start), f.value(W), np.zeros(0), 0.0, gone)
    W, flat = minimize_by_newton(f, W, FEW_NEWTON_STEPS)
    if not flat and not is_separating(f, W):
        W, flat = minimize_by_newton(f, W, USUAL_NEWTON_STEPS)
    gap = certify(f, W) if flat else None
    if gap is None and (loss.self_concordance is not None or not flat):
        gone = find_separated(f, W)
        if gone.any():
            return _minimize_rest(whole, gone)
    if not flat:
        W, flat = minimize_by_newton(f, W, MANY_NEWTON_STEPS)
        gap = certify(f, W)
    return _finish(f, coordinates, W, gap, gone)


def _minimize_rest(whole: SmoothObjective, gone: Mask) -> Block:
    """Return the minimum of what is left without the separated samples and classes."""
    others = max(1, gone.shape[1] - 1)
    kept = gone.sum(axis=1) < others
    p, m = len(whole.decay), gone.shape[1]
    if not kept.any():
        curvatures = np.repeat(whole.decay[whole.decay > 0], m)
        return Block(np.zeros((p, m)), 0.0, curvatures, 0.0, gone)

    rest = replace(
        whole,
        X=whole.X[kept],
        y=whole.y[kept],
        shares=whole.shares[kept],
        offset=np.where(gone[kept], -FAR_PREDICTOR, 0) if m > 1 else np.zeros((kept.sum(), 1)),
    )
    f, coordinates = choose_coordinates(rest)
    W = np.zeros((f.X.shape[1], m))
    if not W.size:
        return Block(np.zeros((p, m)), f.value(W), np.zeros(0), 0.0, gone)
    W, _ = minimize_by_newton(f, W, MANY_NEWTON_STEPS)
    gap = certify(f, W, flat_directions=m > 1)
    return _finish(f, coordinates, W, gap, gone)


def _choose_start(f: SmoothObjective, start: Array) -> Array:
    """Return the better one of `start` and 0."""
    zero = np.zeros_like(start)
    with np.errstate(all="ignore"):
        return start if f.value(start) < f.value(zero) else zero


def _finish(
    f: SmoothObjective, coordinates: Coordinates, U: Array, gap: float | None, gone: Mask
) -> Block:
    hessian = f.hessian(f.curvature(f.predict(U)), tied=False)
    back = np.kron(coordinates.inverse, np.eye(U.shape[1]))
    curvatures = np.linalg.eigvalsh(back.T @ hessian @ back)
    kept = curvatures > curvatures[-1] * len(curvatures) * ROUNDING_UNIT
    return Block(coordinates.to_weights(U), f.value(U), curvatures[kept], gap, gone)
