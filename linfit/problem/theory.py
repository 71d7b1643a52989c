"""The exactly known answer of a least-squares problem, in float64.

For loss(W) = c·‖XW − y‖² the Hessian is H = 2c·XᵀX for every target, the optimum W* solves XᵀXW* = Xᵀy, and the excess
loss is ½⟨W − W*, H(W − W*)⟩ = c·‖R(W − W*)‖² with RᵀR = XᵀX. XᵀX itself, whose condition number is the square of X's,
is never formed: W* comes from a singular value decomposition of X with its columns scaled to norm one, refined on its own
residual (Golub and Van Loan, Matrix Computations, 4th ed., §5.3 and §3.5.3).

n samples, p features, q targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linfit.problem.losses import Loss
from linfit.problem.problem import Array, Problem

REFINEMENTS = 2


@dataclass(frozen=True)
class Optimum:
    """W* `[p, q]`, the loss there, and the curvature around it. W* has the smallest norm where it is not unique (`rank` < p)."""

    weights: Array
    loss: float
    rank: int
    curvatures: Array
    """Eigenvalues of the Hessian `[min(n, p)]`, largest first."""
    root: Array
    """R `[min(n, p), p]` with RᵀR = XᵀX, upper triangular."""
    scale: float

    def excess(self, weights: Array) -> Array:
        """loss(W) − loss(W*) `[...]` of weights `[..., p, q]`, never negative and exact also where the losses nearly agree."""
        return self.scale * np.square(self.root @ (weights - self.weights)).sum(axis=(-2, -1))

    def distance(self, weights: Array) -> float:
        """‖W − W*‖ of weights `[p, q]`."""
        return float(np.linalg.norm(weights - self.weights))


def optimum(problem: Problem, loss: Loss) -> Optimum:
    """The optimum of `loss` on `problem`, whose X and y are taken as they are: round them first if the fit sees them rounded."""
    n, _, q = problem.shape
    weights, rank = least_squares(problem.X, problem.y)
    root = np.linalg.qr(problem.X, mode="r")
    scale = loss.scale(n, q)
    return Optimum(
        weights=weights,
        loss=float(scale * np.square(problem.X @ weights - problem.y).sum()),
        rank=rank,
        curvatures=2 * scale * np.square(np.linalg.svd(root, compute_uv=False)),
        root=root,
        scale=scale,
    )


def least_squares(X: Array, y: Array) -> tuple[Array, int]:
    """argmin ‖XW − y‖ `[p, q]` and the rank of X `[n, p]`; the solution of smallest norm where there are several."""
    norms = np.linalg.norm(X, axis=0)
    norms[norms == 0] = 1
    weights, rank = _solve(X / norms, y)
    if rank == X.shape[1]:
        return weights / norms[:, None], rank
    return _solve(X, y)  # scaling would change which solution is the smallest


def _solve(X: Array, y: Array) -> tuple[Array, int]:
    left, singular, right = np.linalg.svd(X, full_matrices=False)
    rank = int((singular > singular[0] * max(X.shape) * np.finfo(float).eps).sum())
    left, singular, right = left[:, :rank], singular[:rank], right[:rank]
    weights = np.zeros((X.shape[1], y.shape[1]))
    for _ in range(1 + REFINEMENTS):
        weights += right.T @ ((left.T @ (y - X @ weights)) / singular[:, None])
    return weights, rank


def optima(problems: list[Problem], loss: Loss) -> list[Optimum]:
    return [optimum(problem, loss) for problem in problems]
