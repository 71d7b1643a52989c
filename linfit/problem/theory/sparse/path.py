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
from scipy.linalg.blas import dtpsv
from scipy.linalg.lapack import dpptrs

from linfit.problem.theory.magnitudes import measure_column_norms
from linfit.problem.theory.sparse.active_set import PRECISION
from linfit.problem.threads import limit_blas_threads
from linfit.problem.types import Array, Mask

#: Roundings of the largest λ within which two λ are equal.
TIED_ROUNDINGS = 64.0
#: Roundings, for each active column, up to which a pivot is 0, and the share of u by which the
#: bound λu falls faster than a slope.
ZERO_ROUNDINGS = 8.0
#: Signs of the slopes with which a column joins `[2, 1]`.
SIGNS = np.array([[1.0], [-1.0]])
#: Most changes of active columns at one λ, for each column.
MAX_CHANGES = 20


class Breakpoint(NamedTuple):
    """The optimum `weights` `[p]` at one λ, its `level`."""

    level: float
    weights: Array


class Segment(NamedTuple):
    """The line of optima below a breakpoint: `fixed` − λ·`rate` `[k]` at the active columns."""

    active: NDArray[np.int64]
    fixed: Array
    rate: Array

    def find_weights(self, level: float) -> Array:
        """Return the weights `[k]` at λ = `level`."""
        return self.fixed - level * self.rate


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
        self._signs = np.zeros(len(moment))
        self._columns = ActiveColumns(gram)

        curved = gram.diagonal() > 0
        for column in np.flatnonzero(curved & (factors == 0)).tolist():
            self._columns.append(column, moment[column], 0.0)
        self._penalized = curved & (factors > 0)
        self._independent = self._penalized.copy()  # of the active columns, so far as is known
        self._begin()

    def count_steps(self, level: float, most: int) -> int | None:
        """Return the number of breakpoints above λ = `level`, and one for the optimum there.

        Return None if that is more than `most`.
        """
        if self._goes_on(level, most):
            quiet = np.errstate(divide="ignore", invalid="ignore")
            with self._lock, limit_blas_threads(), quiet:
                while self._goes_on(level, most):
                    self._advance()
        steps = bisect_left(self._falling, -level) + 1
        return steps if steps <= most else None

    def find_level(self, lowest: float, step: int) -> float:
        """Return the λ after `step` steps on the way to `lowest`, −∞ if the path ends before."""
        self.count_steps(lowest, step)
        return self.breakpoints[step - 1].level if step <= len(self.breakpoints) else -np.inf

    def find_weights(self, level: float) -> Array:
        """Return the optimum `[p]` at a λ to which the path has gone."""
        above = bisect_left(self._falling, -level)
        if not above:
            return self.breakpoints[0].weights
        segment = self._segments[above - 1]
        return self._spread(segment.active, segment.find_weights(level))

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
        active = self._columns.list_indices()
        sizes = np.abs(self.moment) + np.abs(fixed) @ np.abs(self.gram[active])
        steep = self._penalized & (np.abs(slopes) > TIED_ROUNDINGS * PRECISION * sizes)
        first = float(np.max(np.abs(slopes[steep]) / self.factors[steep], initial=0.0))
        self._tied = TIED_ROUNDINGS * PRECISION * first
        self._ended = first == 0
        self._add_breakpoint(first, self._spread(active, fixed))

    def _advance(self) -> None:
        """Go to the next breakpoint, or end: no column changes from here to λ = 0."""
        here = self.breakpoints[-1].level
        for _ in range(MAX_CHANGES * len(self.moment)):
            active = self._columns.list_indices()
            fixed, rate, slopes, rates = self._solve()
            segment = Segment(active, fixed, rate)
            event = self._find_event(here, segment, slopes, rates)
            if event.level <= self._tied:
                self._segments.append(segment)
                self._ended = True
                return

            if self._change(event) and event.level < here - self._tied:
                weights = self._spread(active, segment.find_weights(event.level))
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
        weights = self._columns.solve()
        products = self._columns.multiply(weights)
        return weights[0], weights[1], self.moment - products[0], products[1]

    def _find_event(self, here: float, segment: Segment, slopes: Array, rates: Array) -> Event:
        """Return the next event below the λ `here`, or of those at it the one to go first."""
        active, fixed, rate = segment
        falls = self.factors - SIGNS * rates  # how fast λu − |slope| falls with λ [2, p]
        least = ZERO_ROUNDINGS * PRECISION * (len(fixed) + 1) * self.factors
        meets = np.where(falls > least, SIGNS * slopes / falls, -np.inf)
        levels = np.where(self._independent, np.maximum(*meets), -np.inf)
        levels[active] = np.where(rate * self._signs[active] < 0, fixed / rate, -np.inf)
        levels = np.minimum(levels, here)
        column = int(levels.argmax())
        if levels[column] >= here - self._tied:
            column = int((levels >= here - self._tied).argmax())
        sign = 1 if meets[0, column] >= meets[1, column] else -1
        return Event(float(levels[column]), column, 0 if self._signs[column] else sign)

    def _change(self, event: Event) -> bool:
        """Let a column join or leave; return False if it depends on the active ones."""
        column, sign = event.column, event.sign
        self._signs[column] = sign
        if not sign:
            self._columns.remove(column)
            self._independent = self._penalized & (self._signs == 0)
            return True
        self._independent[column] = False
        joins = self._columns.append(column, self.moment[column], sign * self.factors[column])
        if not joins:
            self._signs[column] = 0
        return joins

    def _spread(self, active: NDArray[np.int64], values: Array) -> Array:
        """Return weights `[p]` that are `values` `[k]` at the active columns."""
        weights = np.zeros(len(self.moment))
        weights[active] = values
        return weights


class ActiveColumns:
    """The active columns, in the order in which they joined, and the factor of their G.

    U is upper triangular with UᵀU = G of the active columns; its columns lie one after another
    (LAPACK's packed storage), so that one more column is k more numbers.
    """

    def __init__(self, gram: Array) -> None:
        p = len(gram)
        self.gram = gram
        self.k = 0
        self._indices = np.zeros(p, dtype=np.int64)
        self._rows = np.empty((p, p))  # of G
        self._wanted = np.empty((p, 2))  # b and σu
        self._factor = np.empty(p * (p + 1) // 2)

    def list_indices(self) -> NDArray[np.int64]:
        """Return the indices `[k]`."""
        return self._indices[: self.k].copy()

    def solve(self) -> Array:
        """Return G⁻¹b and G⁻¹σu `[2, k]` of the active columns."""
        k = self.k
        if not k:
            return np.zeros((2, 0))
        found, _ = dpptrs(k, self._factor[: k * (k + 1) // 2], self._wanted[:k])
        return np.asarray(found.T)

    def multiply(self, weights: Array) -> Array:
        """Return the products `[…, p]` of G with weights `[…, k]` of the active columns."""
        return np.asarray(weights @ self._rows[: self.k])

    def append(self, column: int, moment: float, pull: float) -> bool:
        """Append a column with its b and σu; return False if it depends on the others."""
        k = self.k
        end = k * (k + 1) // 2
        beside = self.gram[column, self._indices[:k]]
        if k:
            beside = dtpsv(k, self._factor[:end], beside, trans=1)
        left = 1 - float(beside @ beside)
        if left <= ZERO_ROUNDINGS * PRECISION * (k + 1):
            return False
        self._factor[end : end + k] = beside
        self._factor[end + k] = left**0.5
        self._indices[k] = column
        self._rows[k] = self.gram[column]
        self._wanted[k] = moment, pull
        self.k = k + 1
        return True

    def remove(self, column: int) -> None:
        """Remove a column, and factor the G of the others anew."""
        kept = np.flatnonzero(self._indices[: self.k] != column)
        k = len(kept)
        for array in (self._indices, self._rows, self._wanted):
            array[:k] = array[kept]
        own = self._rows[:k, self._indices[:k]]
        root = np.linalg.cholesky(own)
        self._factor[: k * (k + 1) // 2] = root[np.tril_indices(k)]
        self.k = k


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

    def find_above(self, levels: Array, step: int) -> Mask:
        """Return those of the λ `levels` `[k]` at which no target is after that many steps."""
        if not len(levels):
            return np.zeros(0, dtype=bool)
        lowest = float(levels.min())
        return levels < min(path.find_level(lowest, step) for path in self._targets)

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
