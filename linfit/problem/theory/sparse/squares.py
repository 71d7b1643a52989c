"""The optimum of squared errors with the penalty ‖W‖₁, alone or beside ‖W‖², in float64.

The objective is c·‖XW − y‖² + ½s‖DW‖² + t‖DW‖₁, where D leaves an exempt intercept out: for each
target a problem of its own, c·‖Aw − z‖² + t‖Dw‖₁ with the rows √(s/2c)·D below X. The triangular
factor of [A z] has the same sums of squares in p + q rows; there the active set is found
(active_set.py). The weights on it are then corrected by the slopes of the data themselves.

The excess loss is c·‖A(W − W*)‖² + Σ(t|w| − w·g*) with g* the slope of the smooth part at W*, which
is at most t, and t on the support: a sum of terms none of which is negative.

The optimum's own excess is bounded by the duality gap. Any residual d whose slopes g = 2c·Aᵀd are
between −t and t is feasible for the dual problem, and c‖r − d‖² + Σ(t|w| − w·g) away from the
weights with the residual r. Here d is r, moved in the span of the active columns to where their
slopes are ±t, and shrunk where another slope might be beyond t, all of it with the rounding of the
computed slopes: so the gap is one of squares of roundings.

n samples, p features, q targets, k active columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from linfit.problem.penalties import Shrinkage
from linfit.problem.theory.magnitudes import (
    Exponents,
    find_exponents,
    measure_column_norms,
    scale_by_exponents,
)
from linfit.problem.theory.sparse.active_set import PRECISION, ActiveSetSearch, solve_gram
from linfit.problem.types import Array, ExcessLoss, Mask

#: Corrections of the weights by the slopes of the data.
CORRECTIONS = 2
#: A slope this near to t, relatively, may belong to a weight of another optimum.
NEARLY_ACTIVE = 1e-9


@dataclass(frozen=True)
class QuadraticExcess:
    """c·‖R(W − W*)‖²"""

    root: Array
    scale: float

    def excess(self, away: Array) -> Array:
        """Return the excess `[…]` of the smooth part, given W − W* `[…, p, q]`."""
        return np.asarray(self.scale * np.square(self.root @ away).sum(axis=(-2, -1)))


@dataclass(frozen=True)
class SparseExcess:
    """An objective with ‖W‖₁ around its optimum W*."""

    smooth: ExcessLoss
    """The rest of the objective around W*, without the term of its slope."""
    weights: Array
    """W* `[p, q]`"""
    slope: Array
    """g* `[p, q]`, the descent of the smooth part at W*, between −l1 and l1."""
    l1: Array
    """`[p, 1]`, 0 where a row is exempt."""

    def excess(self, away: Array) -> Array:
        """Return objective(W) − objective(W*) `[…]`, given W − W* `[…, p, q]`."""
        w = self.weights + away
        rate = self.l1 - self.slope * np.sign(w)  # of growth with |w|, none below 0
        corners = np.where(rate == 0, 0, rate * np.abs(w))  # 0 also where w is infinite
        found: Array = self.smooth.excess(away) + corners.sum(axis=(-2, -1))
        return found


@dataclass(frozen=True)
class SparseMinimum:
    """The optimum W* `[p, q]`, and what is known of it."""

    weights: Array
    objective: float
    slope: Array
    """g* `[p, q]`"""
    gap: float
    """Duality gap, with the rounding of the slopes."""
    is_unique: bool


class Target(NamedTuple):
    """One target, scaled: z `[m]`, below its rows those of the penalty."""

    z: Array
    down: Exponents
    reduced: Array
    """The triangular factor `[p + 1, p + 1]` of [A z]."""


@dataclass(frozen=True)
class ScaledSquares:
    """scale·‖XW − y‖² + ½strength·‖DW‖² with columns of norm one, for all strengths of ‖W‖₁."""

    A: Array
    """`[m, p]`"""
    norms: Array
    """Of the columns before `[p]`."""
    across: Exponents
    targets: list[Target]
    scale: float

    def minimize(self, l1: Array, start: Array | None = None) -> SparseMinimum:
        """Return the minimum with Σ l1∘|W|, l1 `[p]`.

        The search begins at the weights `start` `[p, q]` if any, and ends at once if these have the
        signs of the minimum. Where there are several optima, W* is one of them. Raise ValueError
        if none is found.
        """
        if start is None:
            start = np.zeros((len(self.norms), len(self.targets)))
        found = [
            self._minimize_target(target, l1, guess)
            for target, guess in zip(self.targets, start.T, strict=True)
        ]
        weights = np.stack([one.weights for one in found], axis=1)
        slope = np.stack([one.slope for one in found], axis=1)
        l1 = l1[:, None]
        return SparseMinimum(
            weights=weights,
            objective=float(sum(one.objective for one in found)),
            slope=np.where(weights != 0, l1 * np.sign(weights), slope.clip(-l1, l1)),
            gap=float(sum(one.gap for one in found)),
            is_unique=all(one.is_unique for one in found),
        )

    def _minimize_target(self, target: Target, l1: Array, guess: Array) -> TargetMinimum:
        # In units of the scaled columns and targets, for ½‖Aw − z‖².
        thresholds = l1 / self.norms / (2 * self.scale)
        thresholds = scale_by_exponents(thresholds[:, None], -self.across - target.down)[:, 0]
        begun = scale_by_exponents((guess * self.norms)[:, None], self.across - target.down)[:, 0]
        found = _minimize_scaled_target(self.A, target, thresholds, begun)
        return found.rescale(self.norms, self.scale, self.across, target.down)


def scale_squares(X: Array, y: Array, scale: float, shrinkage: Shrinkage) -> ScaledSquares:
    """Return scale·‖XW − y‖² + the penalty's squares, for X `[n, p]` and y `[n, q]`."""
    mask = shrinkage.mark_penalized(X.shape[1])
    decay = np.diag(np.sqrt(shrinkage.strength / (2 * scale)) * mask)
    A = np.concatenate([X, decay]) if shrinkage.strength else X
    across = find_exponents(A, (0, 1))  # [1, 1]
    norms, A = _scale_columns(scale_by_exponents(A, -across))
    targets = []
    for column in y.T:
        down = find_exponents(column[:, None], (0, 1))
        z = np.zeros(len(A))
        z[: len(column)] = scale_by_exponents(column[:, None], -down)[:, 0]
        reduced = np.asarray(np.linalg.qr(np.column_stack([A, z]), mode="r"))
        targets.append(Target(z, down, reduced))
    return ScaledSquares(A, norms, across, targets, scale)


def minimize_squares(
    X: Array, y: Array, scale: float, shrinkage: Shrinkage, start: Array | None = None
) -> SparseMinimum:
    """Return the minimum of scale·‖XW − y‖² + penalty, for X `[n, p]` and y `[n, q]`."""
    l1 = shrinkage.l1 * shrinkage.mark_penalized(X.shape[1])
    return scale_squares(X, y, scale, shrinkage).minimize(l1, start)


def _scale_columns(A: Array) -> tuple[Array, Array]:
    """Return norms `[p]`, 1 for columns of zeros, and the columns divided by them."""
    norms = measure_column_norms(A)[0]
    norms = np.where(norms > 0, norms, 1)
    return norms, A / norms


@dataclass(frozen=True)
class TargetMinimum:
    """The minimum of one target, of ½‖Aw − z‖² + Σt|w|."""

    weights: Array
    objective: float
    slope: Array
    gap: float
    is_unique: bool

    def rescale(
        self, norms: Array, scale: float, across: Exponents, down: Exponents
    ) -> TargetMinimum:
        """Return the minimum in the units of the data, of the whole objective."""

        def grow(numbers: Array, exponents: Exponents) -> Array:
            return np.asarray(scale_by_exponents(numbers[None], exponents)[0])

        value, gap = grow(np.array([self.objective, self.gap]) * 2 * scale, 2 * down)
        return replace(
            self,
            weights=grow(self.weights / norms, down - across),
            objective=float(value),
            slope=grow(self.slope * norms * 2 * scale, across + down),
            gap=float(gap),
        )


def _minimize_scaled_target(A: Array, target: Target, t: Array, w: Array) -> TargetMinimum:
    """Return the minimum for columns of norm one, from w `[p]` on."""
    p = A.shape[1]
    z, _, reduced = target
    search = ActiveSetSearch(reduced[:, :p], reduced[:, p], t, w)
    if not search.find_minimum():
        raise ValueError(
            "no minimum of the squared errors with ‖W‖₁ found: scale the data, "
            "or choose a larger penalty.strength"
        )
    w = _correct(search, A, z)
    singular = _measure_active(search)
    residual = z - A @ w
    slope = A.T @ residual
    return TargetMinimum(
        weights=w,
        objective=float(0.5 * residual @ residual + t @ np.abs(w)),
        slope=slope,
        gap=_measure_gap(search, A, z, w, singular),
        is_unique=_is_unique(A, t, slope, search.active, singular),
    )


def _correct(search: ActiveSetSearch, A: Array, z: Array) -> Array:
    """Return w corrected by the slopes of all rows, where that changes no sign."""
    own = search.active
    w = search.w
    if search.root.shape != (own.sum(), own.sum()):
        return w
    pull = search.t[own] * search.signs[own]
    for _ in range(CORRECTIONS):
        wrong = A[:, own].T @ (z - A @ w) - pull
        moved = w.copy()
        moved[own] += solve_gram(search.root, wrong)
        penalized = search.t > 0
        if (np.sign(moved) != np.sign(w))[penalized].any():
            break
        w = moved
    return w


def _measure_active(search: ActiveSetSearch) -> Array | None:
    """Return the singular values `[k]` of the active columns, None if they have no factor."""
    k = search.active.sum()
    if search.root.shape != (k, k):
        return None
    return np.asarray(np.linalg.svd(search.root, compute_uv=False))


def _measure_gap(
    search: ActiveSetSearch, A: Array, z: Array, w: Array, singular: Array | None
) -> float:
    """Return the duality gap of w `[p]`, with all that rounding of the slopes may hide."""
    own = search.active
    residual = z - A @ w
    slope = A.T @ residual
    sizes = np.abs(A)
    moved = np.abs(residual) + sizes @ np.abs(w)
    rounding = PRECISION * (np.sqrt(len(z)) + 4) * (sizes.T @ moved)  # [p]

    wrong = np.abs(search.t * search.signs - slope)[own] + rounding[own]
    far = 0.0  # ‖r − d‖ at most, before d is shrunk
    if own.any():
        if singular is None:
            return float("inf")
        far = float(np.linalg.norm(wrong) / singular[-1])
    others = np.abs(slope)[~own] + rounding[~own] + far
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(others > 0, search.t[~own] / others, 1)
    shrunk = 1 - float(np.min(shares, initial=1.0))
    size = float(np.linalg.norm(residual))
    return float(0.5 * (far + shrunk * (size + far)) ** 2 + shrunk * (search.t @ np.abs(w)))


def _is_unique(A: Array, t: Array, slope: Array, active: Mask, singular: Array | None) -> bool:
    """Return True if no other weights are optimal.

    Others have the same predictions, and are zero where the slope is below t.
    """
    near = active | ((np.abs(slope) >= t * (1 - NEARLY_ACTIVE)) & (t > 0))
    columns = A[:, near]
    if columns.shape[1] > len(columns):
        return False
    if not columns.shape[1]:
        return True
    if singular is None or near.sum() > active.sum():
        singular = np.linalg.svd(np.linalg.qr(columns, mode="r"), compute_uv=False)
    return bool(singular[-1] > singular[0] * max(columns.shape) * PRECISION)


def find_support_curvatures(root: Array, scale: float, weights: Array) -> Array:
    """Return the eigenvalues above zero of the smooth part's Hessian, largest first.

    It is that of weights which are not zero at the optimum: near it only these move.
    """
    found = []
    for column in weights.T:
        own = root[:, column != 0]
        if own.shape[1]:
            singular = np.linalg.svd(own, compute_uv=False)
            found.append(singular[singular > singular[0] * max(own.shape) * PRECISION])
    return np.sort(2 * scale * np.square(np.concatenate([*found, np.zeros(0)])))[::-1]
