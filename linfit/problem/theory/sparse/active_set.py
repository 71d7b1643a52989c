"""The minimum of ½‖Aw − z‖² + Σtⱼ|wⱼ|, exact but for rounding, by a primal active-set method.

As of Lawson and Hanson (Solving Least Squares Problems, 1974, ch. 23) for weights that are not
negative: the minimum over the active columns, with the signs that they have, is a least-squares
solution. On the way to it, the first weight that becomes zero leaves. Where the minimum is reached,
the column whose slope exceeds its t most comes in. The objective falls at every step, so that no
set of columns and signs comes twice and the search ends. Columns that depend on the active ones
move along the direction that changes nothing else, until one of them leaves.

m rows, p columns, k active columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from linfit.problem.types import Array, Mask

PRECISION = float(np.finfo(float).eps)
#: Roundings of a slope's terms that it may differ by from an exact one.
SLOPE_ROUNDINGS = 16.0
#: Diagonal of R below which the active columns, of norm one, may depend on each other.
DOUBTFUL_DIAGONAL = 1e-7


@dataclass
class ActiveSetSearch:
    """Search of the minimum of ½‖Aw − z‖² + Σtⱼ|wⱼ|, from w `[p]` on.

    The columns of A `[m, p]` have norm one, or are zero; z is `[m]`, t `[p]`. Columns whose t is 0
    are always active.
    """

    A: Array
    z: Array
    t: Array
    w: Array
    signs: Array = field(init=False)
    """Of active weights −1 or 1 `[p]`, 0 where t is 0."""
    active: Mask = field(init=False)
    """`[p]`"""
    root: Array = field(init=False)
    """The triangular factor R `[k, k]` of the active columns at the minimum."""

    def __post_init__(self) -> None:
        self.w = np.where(self.A.any(axis=0), self.w, 0)
        self.signs = np.where(self.t > 0, np.sign(self.w), 0)
        self.active = (self.w != 0) | ((self.t == 0) & self.A.any(axis=0))
        self.root = np.zeros((0, 0))

    def find_minimum(self) -> bool:
        """Move w to the minimum; return False if it was not found."""
        refused = np.zeros(len(self.t), dtype=bool)
        for _ in range(100 + 20 * len(self.t)):
            before = self.w
            self._minimize_over_active()
            if (self.w != before).any():
                refused[:] = False
            slope = self.measure_slope()
            beyond = np.where(self.active | refused, -np.inf, np.abs(slope) - self.t)
            chosen = int(np.argmax(beyond - self.bound_rounding()))
            if not beyond[chosen] > self.bound_rounding()[chosen]:
                return True
            # If it leaves again at once, its slope was rounding.
            refused[chosen] = True
            self.active[chosen] = True
            self.signs[chosen] = np.sign(slope[chosen])
        return False

    def measure_slope(self) -> Array:
        """Return Aᵀ(z − Aw) `[p]`."""
        return np.asarray(self.A.T @ (self.z - self.A @ self.w))

    def bound_rounding(self) -> Array:
        """Return how much of a slope may be rounding `[p]`."""
        sizes = np.abs(self.A)
        return np.asarray(
            SLOPE_ROUNDINGS * PRECISION * (sizes.T @ (np.abs(self.z) + sizes @ np.abs(self.w)))
        )

    def _minimize_over_active(self) -> None:
        """Move to the minimum over the active columns with their signs; some may leave."""
        while self.active.any():
            own = np.flatnonzero(self.active)
            self.root, direction, length = self._find_step(own)
            w = self.w[own]
            # A weight at zero leaves at once if it would go against its sign.
            falls = (direction * self.signs[own] < 0) & (self.t[own] > 0)
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.where(falls, np.abs(w / direction), np.inf)
            first = int(np.argmin(share))
            if not share[first] < length:
                if np.isfinite(length):
                    self.w = self.w.copy()
                    self.w[own] = w + direction
                return
            self.w = self.w.copy()
            self.w[own] = w + share[first] * direction
            self.w[own[first]] = 0
            self.signs[own[first]] = 0
            self.active[own[first]] = False

    def _find_step(self, own: NDArray[np.int64]) -> tuple[Array, Array, float]:
        """Return R, the step of the active weights, and its length: 1, or infinity."""
        columns = self.A[:, own]
        w = self.w[own]
        pull = self.t[own] * self.signs[own]
        if len(own) <= len(columns):
            Q, R = np.linalg.qr(columns)
            if np.abs(np.diag(R)).min() > DOUBTFUL_DIAGONAL:
                return R, _solve_with_root(R, Q.T @ self.z, pull, columns, self.z) - w, 1.0

        _, singular, right = np.linalg.svd(columns)
        rank = int((singular > singular[0] * max(columns.shape) * PRECISION).sum())
        if rank == len(own):
            Q, R = np.linalg.qr(columns)
            return R, _solve_with_root(R, Q.T @ self.z, pull, columns, self.z) - w, 1.0
        free = right[-1]
        rise = (pull - columns.T @ (self.z - columns @ w)) @ free
        downhill = -free if rise > 0 else free
        if not (downhill * self.signs[own] < 0).any():  # flat but for rounding
            downhill = -downhill
        return np.zeros((0, 0)), np.asarray(downhill), np.inf


def _solve_with_root(R: Array, projected: Array, pull: Array, columns: Array, z: Array) -> Array:
    """Return the v `[k]` at which columnsᵀ(z − columns·v) is `pull`, corrected once."""
    v = solve_triangular(R, projected - solve_triangular(R, pull, trans="T"))
    wrong = columns.T @ (z - columns @ v) - pull
    return np.asarray(v + solve_gram(R, wrong))


def solve_gram(R: Array, right: Array) -> Array:
    """Return (RᵀR)⁻¹·right."""
    return np.asarray(solve_triangular(R, solve_triangular(R, right, trans="T")))
