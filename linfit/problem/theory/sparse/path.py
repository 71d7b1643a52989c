"""The path of lasso: its optima from the largest strength down, breakpoint by breakpoint.

LARS with the lasso modification (Osborne, Presnell and Turlach, 2000; Efron et al., "Least Angle
Regression", 2004). The minimum of ½wᵀGw − bᵀw + λ·Σu|w| is linear in λ as long as the same columns
are active with the same signs σ: it is G⁻¹b − λ·G⁻¹σu on them. Such a segment ends where the slope
of another column reaches λu, and joins, or where an active weight reaches zero, and leaves. A path
depends on G, b and u alone. Where several columns change at one λ, that of the smallest index goes
first (Murty, 1974): then no set of columns comes twice.

p features, q targets, k active columns.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from threading import Lock
from typing import NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular

from linfit.problem.theory.magnitudes import measure_column_norms
from linfit.problem.theory.sparse.active_set import PRECISION
from linfit.problem.threads import limit_blas_threads
from linfit.problem.types import Array

#: Roundings of the largest λ within which two λ are equal.
TIED_ROUNDINGS = 64.0
#: Roundings, for each active column, up to which a pivot is 0, and the share of u by which the
#: bound λu falls faster than a slope.
ZERO_ROUNDINGS = 8.0
#: Most changes of active columns at one λ, for each column.
MAX_CHANGES = 20


class Breakpoint(NamedTuple):
    """The optimum `weights` `[p]` at one λ, its `level`."""

    level: float
    weights: Array


class Segment(NamedTuple):
    """The active columns `[k]` below a breakpoint, and σu of each."""

    active: NDArray[np.int64]
    pull: Array


class Event(NamedTuple):
    """The λ at which a column joins with a sign, or leaves: then that is 0."""

    level: float
    column: int
    sign: int


class LassoPath:
    """The path of one target, which goes as far as has been asked.

    G, the `gram` `[p, p]`, has ones on its diagonal, zeros for columns of zeros, whose weights are
    0; b is the `moment` `[p]`. A column whose u, of the `factors` `[p]`, is 0 is never penalized.
    """

    def __init__(self, gram: Array, moment: Array, factors: Array) -> None:
        self.gram = gram
        self.moment = moment
        self.factors = factors
        self.breakpoints: list[Breakpoint] = []
        self._falling: list[float] = []  # −λ of the breakpoints
        self._segments: list[Segment] = []  # below them, the last one only if the path has ended
        self._ended = False
        self._lock = Lock()  # two threads may ask one path
        self._active: list[int] = []
        self._signs = np.zeros(len(moment))
        self._root: Array = np.zeros((0, 0))  # the lower triangular factor of the active columns' G

        curved = gram.diagonal() > 0
        for column in np.flatnonzero(curved & (factors == 0)).tolist():
            self._join(column, 0)
        self._penalized = curved & (factors > 0)
        self._independent = self._penalized.copy()  # of the active columns, so far as is known
        self._begin()

    def count_steps(self, level: float, most: int) -> int | None:
        """Return the number of breakpoints above λ = `level`, and one for the optimum there.

        Return None if that is more than `most`.
        """
        if self._goes_on(level, most):
            with self._lock, limit_blas_threads():
                while self._goes_on(level, most):
                    self._advance()
        steps = bisect_left(self._falling, -level) + 1
        return steps if steps <= most else None

    def find_weights(self, level: float) -> Array:
        """Return the optimum `[p]` at a λ to which the path has gone, solved anew there."""
        above = bisect_left(self._falling, -level)
        if not above:
            return self.breakpoints[0].weights
        active, pull = self._segments[above - 1]
        own = self.gram[np.ix_(active, active)]
        wanted = self.moment[active] - level * pull
        with limit_blas_threads():
            root = np.linalg.cholesky(own)
            found = cho_solve((root, True), wanted)
            found += cho_solve((root, True), wanted - own @ found)
        return self._spread(active, found)

    def _goes_on(self, level: float, most: int) -> bool:
        return not (self._ended or self._falling[-1] >= -level or len(self.breakpoints) > most)

    def _add_breakpoint(self, level: float, weights: Array) -> None:
        self.breakpoints.append(Breakpoint(level, weights))
        self._falling.append(-level)

    def _begin(self) -> None:
        """Add the first breakpoint, the smallest λ at which no penalized column is active.

        It is 0 where every slope is rounding.
        """
        fixed, _, slopes, _ = self._solve()
        sizes = np.abs(self.moment) + np.abs(fixed) @ np.abs(self.gram[self._active])
        steep = self._penalized & (np.abs(slopes) > TIED_ROUNDINGS * PRECISION * sizes)
        first = float(np.max(np.abs(slopes[steep]) / self.factors[steep], initial=0.0))
        self._tied = TIED_ROUNDINGS * PRECISION * first
        self._ended = first == 0
        self._add_breakpoint(first, self._spread(self._active, fixed))

    def _advance(self) -> None:
        """Go to the next breakpoint, or end: no column changes from here to λ = 0."""
        here = self.breakpoints[-1].level
        for _ in range(MAX_CHANGES * len(self.moment)):
            active = np.array(self._active, dtype=np.int64)
            segment = Segment(active, (self._signs * self.factors)[active])
            fixed, rate, slopes, rates = self._solve()
            event = self._find_event(here, fixed, rate, slopes, rates)
            if event.level <= self._tied:
                self._segments.append(segment)
                self._ended = True
                return

            if self._change(event) and event.level < here - self._tied:
                weights = self._spread(active, fixed - event.level * rate)
                if not event.sign:
                    weights[event.column] = 0
                self._segments.append(segment)
                self._add_breakpoint(event.level, weights)
                return
        raise ValueError(
            f"the path of lasso has no way on at λ = {here!r}, where too many columns are tied: "
            "choose optimizer=coordinate_descent"
        )

    def _solve(self) -> tuple[Array, Array, Array, Array]:
        """Return f, r `[k]`, e and a `[p]`: weights f − λr, and slopes e + λa of all columns."""
        active = self._active
        rows = self.gram[active]  # [k, p]
        wanted = np.stack([self.moment, self._signs * self.factors])[:, active]
        if not active:
            return wanted[0], wanted[1], self.moment, np.zeros(len(self.moment))
        fixed, rate = cho_solve((self._root, True), wanted.T, check_finite=False).T
        return fixed, rate, self.moment - fixed @ rows, rate @ rows

    def _find_event(
        self, here: float, fixed: Array, rate: Array, slopes: Array, rates: Array
    ) -> Event:
        """Return the next event below the λ `here`, or of those at it the one to go first."""
        u = self.factors
        least = ZERO_ROUNDINGS * PRECISION * (len(fixed) + 1) * u
        with np.errstate(divide="ignore", invalid="ignore"):
            up = np.where(u - rates > least, slopes / (u - rates), -np.inf)
            down = np.where(u + rates > least, -slopes / (u + rates), -np.inf)
            leaves = np.where(rate * self._signs[self._active] < 0, fixed / rate, -np.inf)
        levels = np.where(self._independent, np.maximum(up, down), -np.inf)
        levels[self._active] = leaves
        levels = np.minimum(levels, here)
        column = int(np.argmax(levels))
        if levels[column] >= here - self._tied:
            column = int(np.argmax(levels >= here - self._tied))
        sign = 1 if up[column] >= down[column] else -1
        return Event(float(levels[column]), column, 0 if self._signs[column] else sign)

    def _change(self, event: Event) -> bool:
        """Let a column join or leave; return False if it depends on the active ones."""
        if event.sign:
            return self._join(event.column, event.sign)
        self._active.remove(event.column)
        self._signs[event.column] = 0
        own = self.gram[np.ix_(self._active, self._active)]
        self._root = np.asarray(np.linalg.cholesky(own))
        self._independent = self._penalized & (self._signs == 0)
        return True

    def _join(self, column: int, sign: int) -> bool:
        """Let a column join the active ones, unless it depends on them."""
        k = len(self._active)
        beside = self.gram[column, self._active]
        if k:
            beside = solve_triangular(self._root, beside, lower=True, check_finite=False)
        left = 1 - float(beside @ beside)
        if sign:
            self._independent[column] = False
        if left <= ZERO_ROUNDINGS * PRECISION * (k + 1):
            return False
        root = np.zeros((k + 1, k + 1))
        root[:k, :k] = self._root
        root[k, :k] = beside
        root[k, k] = np.sqrt(left)
        self._root = root
        self._active.append(column)
        self._signs[column] = sign
        return True

    def _spread(self, active: list[int] | NDArray[np.int64], values: Array) -> Array:
        """Return weights `[p]` that are `values` `[k]` at the active columns."""
        weights = np.zeros(len(self.moment))
        weights[active] = values
        return weights


class LassoPaths:
    """The paths of q targets, of ½‖Xw − y‖² + λ·Σm|w| with RᵀR = XᵀX.

    R is the `root` `[m, p]`, Xᵀy the `moments` `[p, q]`, m the `mask` `[p]` of penalized columns.
    """

    def __init__(self, root: Array, moments: Array, mask: Array) -> None:
        norms = measure_column_norms(root)[0]
        self._norms = np.where(norms > 0, norms, 1)
        unit = root / self._norms
        with limit_blas_threads():
            gram = unit.T @ unit
            np.fill_diagonal(gram, norms > 0)
            factors = mask / self._norms
            self._targets = [LassoPath(gram, one / self._norms, factors) for one in moments.T]

    def count_steps(self, level: float, most: int) -> int | None:
        """Return the steps after which every target is at λ = `level`, None if more than `most`."""
        counts = [path.count_steps(level, most) for path in self._targets]
        known = [count for count in counts if count is not None]
        return max(known) if len(known) == len(counts) else None

    def is_above(self, level: float, step: int) -> bool:
        """Return True if no target is at λ = `level` after that many steps."""
        return all(path.count_steps(level, step) is None for path in self._targets)

    def list_weights(self, step: int) -> Array:
        """Return the weights `[p, q]` after `step` steps of targets that all go on."""
        found = [path.breakpoints[step - 1].weights for path in self._targets]
        return np.stack(found, axis=1) / self._norms[:, None]

    def find_weights(self, level: float, step: int) -> Array:
        """Return the weights `[p, q]` after `step` steps on the way to λ = `level`."""
        found = []
        for path in self._targets:
            if path.count_steps(level, step) is None:
                found.append(path.breakpoints[step - 1].weights)
            else:
                found.append(path.find_weights(level))
        return np.stack(found, axis=1) / self._norms[:, None]


#: Paths that somebody follows, by a digest of their data.
_FOLLOWED: WeakValueDictionary[bytes, LassoPaths] = WeakValueDictionary()


def open_paths(root: Array, moments: Array, mask: Array) -> LassoPaths:
    """Return the paths of these data, those that another follows already if there are any."""
    digest = hashlib.blake2b(digest_size=32)
    for array in (root, moments, mask):
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    key = digest.digest()
    found = _FOLLOWED.get(key)
    if found is None:
        found = _FOLLOWED[key] = LassoPaths(root, moments, mask)
    return found
