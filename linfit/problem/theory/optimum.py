"""The exactly known answer of a least-squares problem, in float64.

For loss(W) = c·‖XW − y‖² the Hessian is H = 2c·XᵀX for every target, the optimum W* solves
XᵀXW* = Xᵀy, and the excess loss is ½⟨W − W*, H(W − W*)⟩ = c·‖R(W − W*)‖² with RᵀR = XᵀX. A ridge
penalty ½s‖DW‖², D the identity but for a 0 where an intercept is exempt, is c·‖√(s/2c)·DW‖²: p more
rows of X, whose targets are 0. XᵀX itself, whose condition number is the square of X's, is never
formed: W* comes from a singular value decomposition of X with its columns scaled to norm one (Golub
and Van Loan, Matrix Computations, 4th ed., §5.5). Where that would cost digits, W* is refined to
those that the numbers hold (refinement.py).

The optima of several problems of one shape are found at once, each with the bits that it has alone:
numpy hands LAPACK and BLAS one matrix at a time.

n samples, p features, q targets, u problems.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linfit.problem.losses import Loss
from linfit.problem.penalties import Shrinkage, stack_shrinkages
from linfit.problem.problem import Problem, multiply_rows
from linfit.problem.theory.magnitudes import (
    find_exponents,
    measure_column_norms,
    scale_by_exponents,
)
from linfit.problem.theory.refinement import MAX_REFINED_NUMBERS, ColumnScaledSVD, refine
from linfit.problem.threads import limit_blas_threads
from linfit.problem.types import Array, CurvedExcessLoss, ExcessLoss, Mask

if TYPE_CHECKING:
    from linfit.problem.theory.sparse.path import LassoPaths
    from linfit.problem.theory.sparse.squares import ScaledSquares

#: No penalty.
NO_PENALTY = Shrinkage()
#: The note on an optimum with ‖W‖₁ whose error is not bounded.
NO_CERTIFICATE = "the optimum of {} with this penalty has no certificate: its error is not bounded"
#: Roundings that a solution may lose before it is refined.
MAX_LOST_ROUNDINGS = 100.0


@dataclass(frozen=True)
class Optimum:
    """W* `[p, q]`, the loss there, and the curvature around it.

    W* has the smallest norm if it is not unique (`rank` < p). It is infinite if it is beyond
    float64: every excess loss then is infinite, too.

    For a loss that is not quadratic, `around` knows the excess loss, and the curvatures are those
    of small residuals, the largest there are.
    """

    weights: Array
    loss: float
    rank: int
    curvatures: Array
    """Eigenvalues of the Hessian `[min(n, p)]`, largest first; `[p]` with a penalty."""
    root: Array
    """R `[min(n, p), p]`, upper triangular, with RᵀR = XᵀX.

    With a penalty R is `[p, p]` and RᵀR = XᵀX + s/2c·D.
    """
    scale: float
    around: ExcessLoss | None = None
    local_curvatures: Array | None = None
    """Eigenvalues above zero `[≤ p·q]` of the Hessian at W*, largest first, if they are not
    `curvatures`; None if unknown."""
    curvature_bound: float | None = None
    """Bound of the Hessian's eigenvalues anywhere, of a loss that is not quadratic; None if there
    is none."""
    gap: float | None = None
    """Bound of the objective's own excess at W*, rounding included; None if nothing is proved."""
    attained: bool = True
    """False if there is no minimum: `loss` is the infimum, from which excess is measured."""
    note: str | None = None
    """A sentence on the optimum that the user should read."""
    unique: bool = False
    """True if W* is the only optimum though the rank is short, as with ‖W‖₁."""
    moments: Array | None = None
    """Xᵀy `[p, q]` of the least-squares problem."""
    shrinkage: Shrinkage = NO_PENALTY
    """The penalty."""
    refined: bool = False
    """True if W* was corrected in exact arithmetic."""
    is_known: bool = True
    """False if nothing was computed: weights, losses and distances are NaN."""

    @property
    def decay(self) -> float:
        """s/2c of the penalty's term decay·‖DW‖².

        It is added to ‖XW − y‖².
        """
        return self.shrinkage.strength / (2 * self.scale)

    @property
    def curvature_range(self) -> tuple[float, float]:
        """(L, μ): the largest and the smallest curvature above zero.

        Both are 0 if nothing is curved.
        """
        if not self.rank:
            return 0.0, 0.0
        largest = float(self.curvatures[0])
        smallest = float(self.curvatures[self.rank - 1])
        if not largest:
            return largest, 0.0
        return largest, max(smallest, largest * np.finfo(float).eps ** 2, math.ulp(0.0))

    @cached_property
    def modes(self) -> tuple[Array, Array]:
        """Eigenvalues `[p]` and eigenvectors `[p, p]` of the Hessian.

        The largest comes first.
        """
        curvatures, vectors = np.linalg.eigh(2 * self.scale * self.root.T @ self.root)
        return curvatures[::-1], vectors[:, ::-1]

    def excess_loss(self, weights: Array) -> Array:
        """Return loss(W) − loss(W*) `[...]`, never negative.

        It is given weights `[..., p, q]`. It is exact also where the losses nearly agree.
        """
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # of a diverged fit
            if not self.is_known:
                return np.full(weights.shape[:-2], np.nan)
            if not np.isfinite(self.weights).all():
                return np.full(weights.shape[:-2], np.inf)
            away = weights - self.weights
            if self.around is not None:
                return self.around.excess(away)
            excess: Array = self.scale * np.square(self.root @ away).sum(axis=(-2, -1))
        return excess

    def open_paths(self) -> LassoPaths:
        """Return the paths of all strengths of ‖W‖₁, of squared errors, which others may share."""
        from linfit.problem.theory.sparse.path import open_paths

        assert self.moments is not None
        return open_paths(self.root, self.moments, self.shrinkage.mark_penalized(len(self.weights)))

    @property
    def level(self) -> float:
        """Where on these paths the optimum is: l1/2c, of ½‖Xw − y‖² + l1/2c·‖w‖₁."""
        return self.shrinkage.l1 / (2 * self.scale)

    def hessian(self, weights: Array) -> Array:
        """Return the Hessian at weights `[p, q]` as blocks `[b, m, m]`.

        There is one of m = p weights for each target, or one of all p·q where they are coupled, of
        a loss that has a curvature.
        """
        if self.around is None:
            block = 2 * self.scale * self.root.T @ self.root
            return np.stack([block] * weights.shape[1])
        assert isinstance(self.around, CurvedExcessLoss)
        return self.around.hessian(weights - self.weights)

    def measure_distance(self, weights: Array) -> float:
        """Return ‖W − W*‖ of weights `[p, q]`, NaN if there is no minimum."""
        if not self.attained:
            return math.nan
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return float(np.linalg.norm(weights - self.weights))


def leave_unknown(
    problems: Sequence[Problem],
    loss: Loss,
    shrinkages: Sequence[Shrinkage],
    with_moments: bool = False,
) -> list[Optimum]:
    """Return optima of which nothing is computed but the scale of the loss.

    `with_moments`, they have R and Xᵀy of the least-squares problem with its penalty, too.
    """
    if not with_moments:
        return [_unknown(*task, loss) for task in zip(problems, shrinkages, strict=True)]

    def measure(tasks: Sequence[tuple[Problem, Shrinkage]]) -> list[Optimum]:
        X, y = _stack_rows(tasks, loss)
        roots = np.asarray(np.linalg.qr(X, mode="r"))
        return [
            replace(_unknown(*task, loss), root=roots[i], moments=X[i].T @ y[i])
            for i, task in enumerate(tasks)
        ]

    with limit_blas_threads(), np.errstate(over="ignore", invalid="ignore"):
        return _solve_each(problems, shrinkages, measure)


def _unknown(problem: Problem, shrinkage: Shrinkage, loss: Loss) -> Optimum:
    n, p, q = problem.shape
    return Optimum(
        weights=np.full((p, q), np.nan),
        loss=math.nan,
        rank=0,
        curvatures=np.zeros(0),
        root=np.zeros((0, p)),
        scale=loss.scale(n, q),
        attained=False,
        shrinkage=shrinkage,
        is_known=False,
    )


def find_optimum(problem: Problem, loss: Loss, shrinkage: Shrinkage = NO_PENALTY) -> Optimum:
    """Return the optimum of loss + penalty on `problem`.

    Its X and y are taken as they are. Round them first where the fit sees them rounded.
    """
    return solve_problems([problem], loss, [shrinkage])[0]


def solve_problems(
    problems: Sequence[Problem], loss: Loss, shrinkages: Sequence[Shrinkage] | None = None
) -> list[Optimum]:
    """Return the optima of `loss` on problems of one shape.

    Each problem has its own penalty if any.
    """
    if not problems:
        return []
    # Data at the ends of float64 overflow.
    with limit_blas_threads(), np.errstate(over="ignore", invalid="ignore"):
        shrinkages = shrinkages or [NO_PENALTY] * len(problems)
        found = _solve_each(problems, shrinkages, partial(_quadratic_optima, loss=loss))
        # All are opened before the first is followed: problems of equal data share them.
        paths = [
            near.open_paths() if loss.quadratic and near.shrinkage.l1 else None for near in found
        ]
        last = _LastSquares()
        settled = {}
        for i in sorted(range(len(found)), key=lambda i: id(problems[i])):
            settled[i] = _settled(found[i], problems[i], loss, paths[i], last)
        return [settled[i] for i in range(len(found))]


def _solve_each(
    problems: Sequence[Problem],
    shrinkages: Sequence[Shrinkage],
    solve: Callable[[Sequence[tuple[Problem, Shrinkage]]], list[Optimum]],
) -> list[Optimum]:
    """Return what `solve` finds of the least-squares problems, each distinct one solved once.

    Those of one problem with penalties that differ in ‖W‖₁ alone are one.
    """
    distinct: dict[Hashable, tuple[Problem, Shrinkage]] = {}
    keys = []
    for problem, shrinkage in zip(problems, shrinkages, strict=True):
        key = (id(problem), shrinkage.strength, shrinkage.exempt)
        distinct.setdefault(key, (problem, shrinkage))
        keys.append(key)
    optima = dict(zip(distinct, solve(list(distinct.values())), strict=True))
    return [
        replace(optima[key], shrinkage=shrinkage)
        for key, shrinkage in zip(keys, shrinkages, strict=True)
    ]


def _stack_rows(tasks: Sequence[tuple[Problem, Shrinkage]], loss: Loss) -> tuple[Array, Array]:
    """Return X `[u, m, p]` and y `[u, m, q]` of the sums of squares, with the penalty's rows."""
    n, p, q = tasks[0][0].shape
    weighted = [multiply_rows(problem, problem.mean_one_weights) for problem, _ in tasks]
    X = np.stack([problem.X for problem in weighted])  # [u, n, p]
    y = np.stack([problem.y for problem in weighted])  # [u, n, q]
    strengths, masks = stack_shrinkages([shrinkage for _, shrinkage in tasks], p)  # [u], [u, p]
    decay = strengths / (2 * loss.scale(n, q))
    if decay.any():
        X, y = _with_penalty(X, y, decay, masks)
    return X, y


def _quadratic_optima(tasks: Sequence[tuple[Problem, Shrinkage]], loss: Loss) -> list[Optimum]:
    """Return the optima of c·Σr², with the loss's c, and the penalty's squares."""
    n, _, q = tasks[0][0].shape
    scale = loss.scale(n, q)
    X, y = _stack_rows(tasks, loss)
    # The solution is the optimum of no loss of classes or counts, only where the search begins.
    solution = solve_least_squares(X, y, to_the_digit=loss.target_kind == "number")
    roots = np.asarray(np.linalg.qr(X, mode="r"))
    losses = scale * np.square(solution.residual).sum(axis=(-2, -1))
    curvatures = 2 * scale * np.square(np.linalg.svd(roots, compute_uv=False))
    optima = []
    for i, (_, shrinkage) in enumerate(tasks):
        optimum = Optimum(
            weights=solution.weights[i].copy(),
            loss=float(losses[i]),
            rank=int(solution.rank[i]),
            curvatures=curvatures[i].copy(),
            root=roots[i].copy(),
            scale=scale,
            moments=X[i].T @ y[i],
            shrinkage=shrinkage,
            refined=bool(solution.refined[i]),
        )
        optima.append(optimum)
    return optima


def _with_penalty(X: Array, y: Array, decay: Array, masks: Array) -> tuple[Array, Array]:
    """Add p rows to each problem: ‖XW − y‖² + decay·‖DW‖² as one sum of squares."""
    p = X.shape[-1]
    q = y.shape[-1]
    more = np.sqrt(decay)[:, None, None] * (np.eye(p) * masks[:, None])  # [u, p, p]
    return np.concatenate([X, more], axis=1), np.concatenate([y, np.zeros((len(y), p, q))], axis=1)


class _LastSquares:
    """The last problem as scaled squares, which its penalties that differ in ‖W‖₁ alone share."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._scaled: ScaledSquares | None = None

    def scale(self, near: Optimum, problem: Problem) -> ScaledSquares:
        """Return the problem with the penalty's squares."""
        from linfit.problem.theory.sparse.squares import scale_squares

        key = (id(problem), near.shrinkage.strength, near.shrinkage.exempt)
        if self._scaled is None or key != self._key:
            self._key = key
            self._scaled = scale_squares(problem.X, problem.y, near.scale, near.shrinkage)
        return self._scaled


def _settled(
    near: Optimum, problem: Problem, loss: Loss, paths: LassoPaths | None, last: _LastSquares
) -> Optimum:
    """Return the optimum of `loss`, which it finds from the least-squares solution `near`."""
    if paths is not None:
        return _sparse_squares(near, problem, paths, last)
    if near.shrinkage.l1:
        return _sparse(near, problem, loss)
    found = loss.optimum(
        problem.X, problem.y, problem.mean_one_weights, near.weights, near.shrinkage
    )
    if found is None:
        return near
    return replace(
        near,
        weights=found.weights,
        loss=found.objective,
        around=found.around,
        local_curvatures=found.curvatures,
        curvature_bound=found.largest_curvature,
        gap=found.gap,
        attained=found.attained,
        note=found.note,
    )


def _sparse(near: Optimum, problem: Problem, loss: Loss) -> Optimum:
    """Return the optimum of a loss with ‖W‖₁ that is not quadratic."""
    from linfit.problem.theory.sparse.smooth import minimize_sparse

    weights = problem.mean_one_weights
    minimum, is_unique = minimize_sparse(loss, problem.X, problem.y, weights, near.shrinkage)
    bound = None if loss.curvature_bound is None else near.curvature_range[0]
    return replace(
        near,
        weights=minimum.weights,
        loss=minimum.objective,
        around=minimum.around,
        local_curvatures=minimum.curvatures,
        curvature_bound=bound,
        gap=minimum.gap,
        note=None if minimum.gap is not None else NO_CERTIFICATE.format(loss.name),
        unique=is_unique,
    )


def _sparse_squares(
    near: Optimum, problem: Problem, paths: LassoPaths, last: _LastSquares
) -> Optimum:
    """Return the optimum of squared errors with ‖W‖₁."""
    # scipy is loaded for those who need it.
    from linfit.problem.theory.sparse.squares import (
        QuadraticExcess,
        SparseExcess,
        find_support_curvatures,
    )

    l1 = near.shrinkage.l1 * near.shrinkage.mark_penalized(len(near.weights))
    found = last.scale(near, problem).minimize(l1, _find_start(near, paths))
    smooth = QuadraticExcess(near.root, near.scale)
    return replace(
        near,
        weights=found.weights,
        loss=found.objective,
        around=SparseExcess(smooth, found.weights, found.slope, l1[:, None]),
        local_curvatures=find_support_curvatures(near.root, near.scale, found.weights),
        curvature_bound=near.curvature_range[0],
        gap=found.gap,
        unique=found.is_unique,
    )


def _find_start(near: Optimum, paths: LassoPaths) -> Array | None:
    """Return the weights `[p, q]` on the path, None where rounding leads it astray."""
    try:
        found = paths.find_weights(near.level, sys.maxsize)
    except ValueError:  # LinAlgError is one
        return None
    return found if np.isfinite(found).all() else None


def compute_largest_curvatures(features: Sequence[Array], scale: float) -> Array:
    """Return λmax `[u]` of the Hessian 2c·XᵀX.

    It is of each of u features X `[n, p]` of one shape. c is the loss's `scale`.
    """
    with limit_blas_threads():
        # [u, min(n, p)], largest first
        singular = np.linalg.svd(np.stack(features), compute_uv=False)
    return np.asarray(2 * scale * np.square(singular[:, 0]))


def compute_largest_penalized_curvatures(
    X: Array, scale: float, shrinkages: Sequence[Shrinkage]
) -> Array:
    """Return λmax `[k]` of the Hessian 2c·XᵀX + s·D.

    It is of one X `[n, p]` with each of k penalties.
    """
    strengths, masks = stack_shrinkages(shrinkages, X.shape[1])
    with limit_blas_threads():
        hessian = 2 * scale * (X.T @ X)  # [p, p]
        added = (strengths[:, None] * masks)[:, :, None] * np.eye(X.shape[1])
        return np.asarray(np.linalg.eigvalsh(hessian + added)[:, -1])


class LeastSquaresSolution(NamedTuple):
    """Solution of least-squares problems `[…]`.

    `weights` is argmin ‖XW − y‖ `[…, p, q]`, `rank` `[…]` that of X, `residual` y − XW `[…, n, q]`,
    and `refine` `[…]` is true where the solution was corrected in exact arithmetic.
    """

    weights: Array
    rank: NDArray[np.int64]
    residual: Array
    refined: Mask


def solve_least_squares(X: Array, y: Array, to_the_digit: bool = True) -> LeastSquaresSolution:
    """Return argmin ‖XW − y‖, for stacks of problems too.

    X is `[…, n, p]` and y `[…, n, q]`.

    It is the solution of smallest norm if there are several. `to_the_digit`, where it is unique and
    the data are not too many, it has the digits that float64 holds of the exact one, but for
    condition numbers near 1/ε.
    """
    across = find_exponents(X, (-2, -1))  # […, 1, 1]
    down = find_exponents(y, (-2, -1))
    found = _least_squares(
        scale_by_exponents(X, -across), scale_by_exponents(y, -down), to_the_digit
    )
    return found._replace(
        weights=scale_by_exponents(found.weights, down - across),
        residual=scale_by_exponents(found.residual, down),
    )


def _least_squares(X: Array, y: Array, to_the_digit: bool) -> LeastSquaresSolution:
    """Return the solution for numbers that can be squared."""
    norms = measure_column_norms(X)  # […, 1, p]
    norms[norms == 0] = 1
    unit, rank, residual, factors = _solve(X / norms, y)
    with np.errstate(over="ignore"):
        weights = unit / norms.swapaxes(-1, -2)

    short = rank < X.shape[-1]
    small = to_the_digit and X.shape[-2] * X.shape[-1] <= MAX_REFINED_NUMBERS
    poor = ~short & small & (_lost(factors[1], unit, residual) > MAX_LOST_ROUNDINGS)
    for place in np.argwhere(poor):
        i = tuple(place)
        known = ColumnScaledSVD(norms[i][0], *(factor[i] for factor in factors))
        weights[i], residual[i] = refine(X[i], y[i], weights[i], residual[i], known)
    if short.any():  # scaling would change which solution is the smallest
        weights[short], rank[short], residual[short], _ = _solve(X[short], y[short])
    return LeastSquaresSolution(weights, rank, residual, np.asarray(poor))


def _lost(singular: Array, weights: Array, residual: Array) -> Array:
    """Return κ + κ²·‖r‖/(‖X‖‖W‖), the roundings that solutions `[…]` lose (accuracy.py).

    It is NaN or infinity where the rank is short.
    """
    size = np.linalg.norm(weights, axis=(-2, -1))
    rest = np.linalg.norm(residual, axis=(-2, -1))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        condition = singular[..., 0] / singular[..., -1]
        misfit = np.where(size > 0, rest / (singular[..., 0] * size), 0)
        return np.asarray(condition * (1 + condition * misfit))


def _solve(
    X: Array, y: Array
) -> tuple[Array, NDArray[np.int64], Array, tuple[Array, Array, Array]]:
    """Return the solution of smallest norm, the rank, the residual, and the factors of X."""
    left, singular, right = np.linalg.svd(X, full_matrices=False)
    kept = singular > singular[..., :1] * max(X.shape[-2:]) * np.finfo(float).eps  # […, min(n, p)]
    projected = np.where(kept[..., None], left.swapaxes(-1, -2) @ y, 0)  # […, min(n, p), q]
    weights = right.swapaxes(-1, -2) @ (projected / np.where(kept, singular, 1)[..., None])
    # Not y − XW, where large weights that cancel would leave their rounding.
    residual = y - left @ projected
    return weights, np.asarray(kept.sum(axis=-1)), residual, (left, singular, right)
