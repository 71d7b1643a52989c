"""The exactly known answer of a least-squares problem, in float64.

For loss(W) = c·‖XW − y‖² the Hessian is H = 2c·XᵀX for every target, the optimum W* solves XᵀXW* = Xᵀy, and the excess
loss is ½⟨W − W*, H(W − W*)⟩ = c·‖R(W − W*)‖² with RᵀR = XᵀX. A ridge penalty ½s‖DW‖², D the identity but for a 0 where an
intercept is exempt, is c·‖√(s/2c)·DW‖²: p more rows of X, whose targets are 0. XᵀX itself, whose condition number is the square of X's,
is never formed: W* comes from a singular value decomposition of X with its columns scaled to norm one (Golub and Van Loan,
Matrix Computations, 4th ed., §5.5), and where that would cost digits, is refined to those that the numbers hold (refinement.py).

The optima of several problems of one shape are found at once, each with the bits that it has alone: numpy hands LAPACK and
BLAS one matrix at a time.

n samples, p features, q targets, u problems.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from linfit.problem.blas import blas_threads
from linfit.problem.losses import Huber, Loss
from linfit.problem.magnitudes import column_norms, exponents_of, scaled
from linfit.problem.penalties import Shrinkage
from linfit.problem.problem import Array, Problem
from linfit.problem.refinement import LARGEST, Factors, refined
from linfit.problem.robust import Robust, minimize

#: No penalty.
NONE = Shrinkage()
#: Roundings that a solution may lose before it is refined.
LOST = 100.0


@dataclass(frozen=True)
class Optimum:
    """W* `[p, q]`, the loss there, and the curvature around it. W* has the smallest norm where it is not unique (`rank` < p).

    It is infinite where it is beyond float64: every excess loss is then, too.

    Of a loss that is not quadratic, `robust` knows the excess loss, and the curvatures are those of small residuals, the
    largest there are.
    """

    weights: Array
    loss: float
    rank: int
    curvatures: Array
    """Eigenvalues of the Hessian `[min(n, p)]`, largest first; `[p]` with a penalty."""
    root: Array
    """R `[min(n, p), p]` with RᵀR = XᵀX, upper triangular; `[p, p]` with RᵀR = XᵀX + s/2c·D with a penalty."""
    scale: float
    robust: Robust | None = None
    shrinkage: Shrinkage = NONE
    """The penalty."""
    refined: bool = False
    """Whether W* was corrected in exact arithmetic."""

    @property
    def decay(self) -> float:
        """s/2c: the penalty is a term decay·‖DW‖² beside ‖XW − y‖²."""
        return self.shrinkage.strength / (2 * self.scale)

    @property
    def curvature_range(self) -> tuple[float, float]:
        """(L, μ): the largest curvature and the smallest that is not zero; 0 where there is none."""
        if not self.rank:
            return 0.0, 0.0
        largest, smallest = float(self.curvatures[0]), float(self.curvatures[self.rank - 1])
        return largest, max(
            smallest, largest * np.finfo(float).eps ** 2, math.ulp(0.0)
        ) if largest else 0.0

    @cached_property
    def modes(self) -> tuple[Array, Array]:
        """The eigenvalues `[p]` and eigenvectors `[p, p]` of the Hessian, of the largest first."""
        curvatures, vectors = np.linalg.eigh(2 * self.scale * self.root.T @ self.root)
        return curvatures[::-1], vectors[:, ::-1]

    def excess(self, weights: Array) -> Array:
        """loss(W) − loss(W*) `[...]` of weights `[..., p, q]`, never negative and exact also where the losses nearly agree."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # of a diverged fit
            if not np.isfinite(self.weights).all():
                return np.full(weights.shape[:-2], np.inf)
            if self.robust is not None:
                return self.robust.excess(weights - self.weights)
            excess: Array = self.scale * np.square(self.root @ (weights - self.weights)).sum(
                axis=(-2, -1)
            )
        return excess

    def distance(self, weights: Array) -> float:
        """‖W − W*‖ of weights `[p, q]`."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return float(np.linalg.norm(weights - self.weights))


def optimum(problem: Problem, loss: Loss, shrinkage: Shrinkage = NONE) -> Optimum:
    """Return the optimum of loss + penalty on `problem`, whose X and y are taken as they are.

    Round them first where the fit sees them rounded.
    """
    return optima([problem], loss, [shrinkage])[0]


def optima(
    problems: Sequence[Problem], loss: Loss, shrinkages: Sequence[Shrinkage] | None = None
) -> list[Optimum]:
    """Return the optima of `loss` on problems of one shape, each with its own penalty if any."""
    if not problems:
        return []
    with (
        blas_threads(),
        np.errstate(over="ignore", invalid="ignore"),
    ):  # of data at the ends of float64
        return _optima(problems, loss, shrinkages or [NONE] * len(problems))


def _optima(
    problems: Sequence[Problem], loss: Loss, shrinkages: Sequence[Shrinkage]
) -> list[Optimum]:
    n, p, q = problems[0].shape
    scale = loss.scale(n, q)
    X = np.stack([problem.X for problem in problems])  # [u, n, p]
    y = np.stack([problem.y for problem in problems])  # [u, n, q]
    decay = np.array([shrinkage.strength for shrinkage in shrinkages]) / (2 * scale)  # [u]
    if decay.any():
        masks = np.stack([shrinkage.mask(p) for shrinkage in shrinkages])  # [u, p]
        X, y = _with_penalty(X, y, decay, masks)
    solution = least_squares(X, y)
    roots = np.asarray(np.linalg.qr(X, mode="r"))
    losses = scale * np.square(solution.residual).sum(axis=(-2, -1))
    curvatures = 2 * scale * np.square(np.linalg.svd(roots, compute_uv=False))
    found = [
        Optimum(
            weights=solution.weights[i].copy(),
            loss=float(losses[i]),
            rank=int(solution.rank[i]),
            curvatures=curvatures[i].copy(),
            root=roots[i].copy(),
            scale=scale,
            shrinkage=shrinkage,
            refined=bool(solution.refined[i]),
        )
        for i, shrinkage in enumerate(shrinkages)
    ]
    if not isinstance(loss, Huber):
        return found
    return [
        _robust(near, problem, loss.delta) for near, problem in zip(found, problems, strict=True)
    ]


def _with_penalty(X: Array, y: Array, decay: Array, masks: Array) -> tuple[Array, Array]:
    """Add p rows to each problem: ‖XW − y‖² + decay·‖DW‖² as one sum of squares."""
    p, q = X.shape[-1], y.shape[-1]
    more = np.sqrt(decay)[:, None, None] * (np.eye(p) * masks[:, None])  # [u, p, p]
    return np.concatenate([X, more], axis=1), np.concatenate([y, np.zeros((len(y), p, q))], axis=1)


def _robust(near: Optimum, problem: Problem, delta: float) -> Optimum:
    """Return the optimum of Huber's loss, looked for from that of least squares."""
    weights, least, robust = minimize(
        problem.X, problem.y, near.weights, delta, 2 * near.scale, near.shrinkage
    )
    return replace(near, weights=weights, loss=least, robust=robust)


def largest_curvatures(features: Sequence[Array], scale: float) -> Array:
    """λmax `[u]` of the Hessian 2c·XᵀX, c the loss's `scale`, of each of u features X `[n, p]` of one shape."""
    with blas_threads():
        singular = np.linalg.svd(
            np.stack(features), compute_uv=False
        )  # [u, min(n, p)], largest first
    return np.asarray(2 * scale * np.square(singular[:, 0]))


def largest_penalized_curvatures(X: Array, scale: float, shrinkages: Sequence[Shrinkage]) -> Array:
    """Return λmax `[k]` of the Hessian 2c·XᵀX + s·D of one X `[n, p]` with each of k penalties."""
    strengths = np.array([shrinkage.strength for shrinkage in shrinkages])
    masks = np.stack([shrinkage.mask(X.shape[1]) for shrinkage in shrinkages])  # [k, p]
    with blas_threads():
        hessian = 2 * scale * (X.T @ X)  # [p, p]
        added = (strengths[:, None] * masks)[:, :, None] * np.eye(X.shape[1])
        return np.asarray(np.linalg.eigvalsh(hessian + added)[:, -1])


class Solution(NamedTuple):
    """argmin ‖XW − y‖ `[…, p, q]`, the rank `[…]` of X, the residual y − XW `[…, n, q]`, and whether it is `refined` `[…]`."""

    weights: Array
    rank: NDArray[np.int64]
    residual: Array
    refined: NDArray[np.bool_]


def least_squares(X: Array, y: Array) -> Solution:
    """argmin ‖XW − y‖ for X `[…, n, p]` and y `[…, n, q]`: the solution of smallest norm where there are several.

    Where it is unique and the data are not too many, it has the digits that float64 holds of the exact one, but for condition
    numbers near 1/ε.
    """
    across, down = exponents_of(X, (-2, -1)), exponents_of(y, (-2, -1))  # […, 1, 1]
    found = _least_squares(scaled(X, -across), scaled(y, -down))
    return found._replace(
        weights=scaled(found.weights, down - across), residual=scaled(found.residual, down)
    )


def _least_squares(X: Array, y: Array) -> Solution:
    """The same of numbers that can be squared."""
    norms = column_norms(X)  # […, 1, p]
    norms[norms == 0] = 1
    unit, rank, residual, factors = _solve(X / norms, y)
    with np.errstate(over="ignore"):
        weights = unit / norms.swapaxes(-1, -2)
    short = rank < X.shape[-1]
    poor = (
        ~short & (X.shape[-2] * X.shape[-1] <= LARGEST) & (_lost(factors[1], unit, residual) > LOST)
    )
    for place in filter(poor.__getitem__, np.ndindex(poor.shape)):
        known = Factors(norms[place][0], *(factor[place] for factor in factors))
        weights[place], residual[place] = refined(
            X[place], y[place], weights[place], residual[place], known
        )
    if short.any():  # scaling would change which solution is the smallest
        weights[short], rank[short], residual[short], _ = _solve(X[short], y[short])
    return Solution(weights, rank, residual, np.asarray(poor))


def _lost(singular: Array, weights: Array, residual: Array) -> Array:
    """κ + κ²·‖r‖/(‖X‖‖W‖), the roundings that solutions `[…]` lose (accuracy.py); NaN or infinity where the rank is short."""
    size, rest = (np.linalg.norm(part, axis=(-2, -1)) for part in (weights, residual))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        condition = singular[..., 0] / singular[..., -1]
        return np.asarray(
            condition * (1 + condition * np.where(size > 0, rest / (singular[..., 0] * size), 0))
        )


def _solve(
    X: Array, y: Array
) -> tuple[Array, NDArray[np.int64], Array, tuple[Array, Array, Array]]:
    """The solution of smallest norm, the rank, the residual, and the factors of X."""
    left, singular, right = np.linalg.svd(X, full_matrices=False)
    kept = singular > singular[..., :1] * max(X.shape[-2:]) * np.finfo(float).eps  # […, min(n, p)]
    projected = np.where(kept[..., None], left.swapaxes(-1, -2) @ y, 0)  # […, min(n, p), q]
    weights = right.swapaxes(-1, -2) @ (projected / np.where(kept, singular, 1)[..., None])
    # Not y − XW, where large weights that cancel would leave their rounding.
    return weights, np.asarray(kept.sum(axis=-1)), y - left @ projected, (left, singular, right)
