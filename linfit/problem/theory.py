"""The exactly known answer of a least-squares problem, in float64.

For loss(W) = c·‖XW − y‖² the Hessian is H = 2c·XᵀX for every target, the optimum W* solves XᵀXW* = Xᵀy, and the excess
loss is ½⟨W − W*, H(W − W*)⟩ = c·‖R(W − W*)‖² with RᵀR = XᵀX. A ridge penalty ½s‖W‖² is c·‖√(s/2c)·W‖²: p more rows of X,
whose targets are 0. XᵀX itself, whose condition number is the square of X's,
is never formed: W* comes from a singular value decomposition of X with its columns scaled to norm one (Golub and Van Loan,
Matrix Computations, 4th ed., §5.5).

The optima of several problems of one shape are found at once, each with the bits that it has alone: numpy hands LAPACK and
BLAS one matrix at a time.

n samples, p features, q targets, u problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from linfit.problem.losses import Huber, Loss
from linfit.problem.problem import Array, Problem
from linfit.problem.robust import Robust, minimize


@dataclass(frozen=True)
class Optimum:
    """W* `[p, q]`, the loss there, and the curvature around it. W* has the smallest norm where it is not unique (`rank` < p).

    Of a loss that is not quadratic, `robust` knows the excess loss, and the curvatures are those of small residuals, the
    largest there are.
    """

    weights: Array
    loss: float
    rank: int
    curvatures: Array
    """Eigenvalues of the Hessian `[min(n, p)]`, largest first; `[p]` with a penalty."""
    root: Array
    """R `[min(n, p), p]` with RᵀR = XᵀX, upper triangular; `[p, p]` with RᵀR = XᵀX + s/2c·I with a penalty ½s‖W‖²."""
    scale: float
    robust: Robust | None = None

    @property
    def curvature_range(self) -> tuple[float, float]:
        """(L, μ): the largest curvature and the smallest that is not zero; 0 where there is none."""
        if not self.rank:
            return 0.0, 0.0
        largest, smallest = float(self.curvatures[0]), float(self.curvatures[self.rank - 1])
        return largest, max(smallest, largest * np.finfo(float).eps ** 2)

    def excess(self, weights: Array) -> Array:
        """loss(W) − loss(W*) `[...]` of weights `[..., p, q]`, never negative and exact also where the losses nearly agree."""
        with np.errstate(over="ignore", invalid="ignore"):  # of a diverged fit
            if self.robust is not None:
                return self.robust.excess(weights - self.weights)
            excess: Array = self.scale * np.square(self.root @ (weights - self.weights)).sum(axis=(-2, -1))
        return excess

    def distance(self, weights: Array) -> float:
        """‖W − W*‖ of weights `[p, q]`."""
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.linalg.norm(weights - self.weights))


def optimum(problem: Problem, loss: Loss, strength: float = 0.0) -> Optimum:
    """The optimum of loss + ½·strength·‖W‖² on `problem`, whose X and y are taken as they are: round them first if the fit sees
    them rounded."""
    return optima([problem], loss, [strength])[0]


def optima(problems: Sequence[Problem], loss: Loss, strengths: Sequence[float] | None = None) -> list[Optimum]:
    """The optima of `loss` on problems of one shape, with a penalty of such `strengths` for all of them or for none."""
    if not problems:
        return []
    n, _, q = problems[0].shape
    scale = loss.scale(n, q)
    X = np.stack([problem.X for problem in problems])  # [u, n, p]
    y = np.stack([problem.y for problem in problems])  # [u, n, q]
    if strengths is not None and any(strengths):
        X, y = _with_penalty(X, y, np.array(strengths) / (2 * scale))
    weights, rank, residual = least_squares(X, y)
    roots = np.asarray(np.linalg.qr(X, mode="r"))
    losses = scale * np.square(residual).sum(axis=(-2, -1))
    curvatures = 2 * scale * np.square(np.linalg.svd(roots, compute_uv=False))
    columns = zip(weights, losses.tolist(), rank.tolist(), curvatures, roots, strict=True)
    found = [Optimum(w.copy(), least, number, curved.copy(), root.copy(), scale) for w, least, number, curved, root in columns]
    if not isinstance(loss, Huber):
        return found
    return [_robust(*parts, loss.delta) for parts in zip(found, problems, strengths or [0.0] * len(problems), strict=True)]


def _with_penalty(X: Array, y: Array, decay: Array) -> tuple[Array, Array]:
    """p more rows of each problem: ‖XW − y‖² + decay·‖W‖² as one sum of squares."""
    p, q = X.shape[-1], y.shape[-1]
    more = np.sqrt(decay)[:, None, None] * np.eye(p)  # [u, p, p]
    return np.concatenate([X, more], axis=1), np.concatenate([y, np.zeros((len(y), p, q))], axis=1)


def _robust(near: Optimum, problem: Problem, strength: float, delta: float) -> Optimum:
    """The optimum of Huber's loss, looked for from that of least squares."""
    weights, least, robust = minimize(problem.X, problem.y, near.weights, delta, 2 * near.scale, strength)
    return replace(near, weights=weights, loss=least, robust=robust)


def largest_curvatures(features: Sequence[Array], scale: float) -> Array:
    """λmax `[u]` of the Hessian 2c·XᵀX, c the loss's `scale`, of each of u features X `[n, p]` of one shape."""
    singular = np.linalg.svd(np.stack(features), compute_uv=False)  # [u, min(n, p)], largest first
    return np.asarray(2 * scale * np.square(singular[:, 0]))


def least_squares(X: Array, y: Array) -> tuple[Array, Array, Array]:
    """argmin ‖XW − y‖ `[…, p, q]`, the rank `[…]` of X `[…, n, p]`, and the residual y − XW `[…, n, q]`.

    The solution of smallest norm where there are several.
    """
    norms = np.linalg.norm(X, axis=-2, keepdims=True)  # […, 1, p]
    norms[norms == 0] = 1
    scaled, rank, residual = _solve(X / norms, y)
    weights = scaled / norms.swapaxes(-1, -2)
    short = rank < X.shape[-1]
    if short.any():  # scaling would change which solution is the smallest
        smallest = _solve(X[short], y[short])
        weights[short], rank[short], residual[short] = smallest
    return weights, rank, residual


def _solve(X: Array, y: Array) -> tuple[Array, Array, Array]:
    left, singular, right = np.linalg.svd(X, full_matrices=False)
    kept = singular > singular[..., :1] * max(X.shape[-2:]) * np.finfo(float).eps  # […, min(n, p)]
    projected = np.where(kept[..., None], left.swapaxes(-1, -2) @ y, 0)  # […, min(n, p), q]
    weights = right.swapaxes(-1, -2) @ (projected / np.where(kept, singular, 1)[..., None])
    # Not y − XW, where large weights that cancel would leave their rounding.
    return weights, kept.sum(axis=-1), y - left @ projected
