"""Directions along which a loss falls for ever, so that it has no minimum.

Classes that a plane separates, a class or a category without samples: the loss of some samples
then goes to its infimum along a direction that leaves those of all others as they are. A linear
program finds it: maximize Σ zᵢ·d with zᵢ·d ≥ 0 and |d| ≤ 1, where zᵢ is xᵢ with the sign in which
its loss falls, and xᵢ·d = 0 where it rises either way (Albert and Anderson, "On the existence of
maximum likelihood estimates in logistic regression models", Biometrika 71, 1984).

Newton's method makes it small. Its gradient is g = −Σ λᵢzᵢ with λᵢ ≥ 0 the size of a sample's
slope, so that λᵢ·(zᵢ·d) ≤ ‖g‖₁: where λᵢ is far above the gradient, zᵢ·d = 0.

n samples, p coordinates, m targets, k contrasts, v variables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linfit.problem.theory.convex.objective import ROUNDING_UNIT, SmoothObjective
from linfit.problem.types import Array, Mask

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix  # scipy.optimize takes most of a second to import

#: Predictors at which a loss has come to its infimum,
FAR_PREDICTOR = 1e4
#: and those at which it has not, unless it has a minimum.
NEARER_PREDICTOR = 50.0
#: Slopes there that are zero, next to those at the other end.
ZERO_SLOPE = 1e-12
#: Contrasts, of norm one, that are separated,
SEPARATED = 1e-7
#: and how far below zero the program may leave them.
FEASIBILITY = 1e-9


class Contrasts(NamedTuple):
    """Linear functions of a direction that must not fall along it."""

    rows: csr_matrix
    """`[k, v]`, of norm one or less."""
    slopes: Array
    """Sizes `[k]` of the slopes of the objective along them."""
    fixed: Mask
    """Contrasts `[k]` that must not rise, either."""
    samples: NDArray[np.intp]
    """The sample of each contrast `[k]`,"""
    targets: NDArray[np.intp]
    """and the target that is out of the question where it is separated `[k]`."""

    def select(self, chosen: Mask) -> Contrasts:
        """Return the chosen contrasts."""
        return Contrasts(
            self.rows[chosen],
            self.slopes[chosen],
            self.fixed[chosen],
            self.samples[chosen],
            self.targets[chosen],
        )


def find_separated(f: SmoothObjective, W: Array) -> Mask:
    """Return the samples and targets `[n, m]` that are separated.

    Without coupling they are samples whose loss goes to its infimum, with coupling classes whose
    probabilities go to 0. W `[p, m]` is where Newton's method stopped: a direction, often.
    """
    free = f.decay == 0
    gone = np.zeros(f.y.shape, dtype=bool)
    if not free.any():
        return gone
    contrasts = _list_contrasts(f, W)
    if free.all() and _separates(contrasts, W):
        gone[contrasts.samples, contrasts.targets] = True
        return gone

    gradient = f.gradient(W, f.slope(f.predict(W)))
    contrasts = _reduce(contrasts, float(np.abs(gradient[free]).sum()))
    while contrasts.rows.shape[0] and contrasts.rows.shape[1]:
        separated = contrasts.rows @ _solve_program(contrasts.rows) > SEPARATED
        if not separated.any():
            break
        gone[contrasts.samples[separated], contrasts.targets[separated]] = True
        contrasts = contrasts.select(~separated)
    return gone


def is_separating(f: SmoothObjective, W: Array) -> bool:
    """Return True if W `[p, m]`, as a direction, separates all samples."""
    if f.decay.any():
        return False
    return _separates(_list_contrasts(f, W), W)


def _separates(contrasts: Contrasts, W: Array) -> bool:
    if contrasts.fixed.any() or not W.any():
        return False
    margins = contrasts.rows @ (W / np.abs(W).max()).ravel()
    return bool((margins > SEPARATED).all())


def _list_contrasts(f: SmoothObjective, W: Array) -> Contrasts:
    """Return the contrasts of the directions that no penalty holds."""
    slopes = f.shares * np.abs(f.slope(f.predict(W)))
    find = _list_class_contrasts if f.y.shape[1] > 1 else _list_sign_contrasts
    return find(f, f.decay == 0, slopes)


def _reduce(contrasts: Contrasts, gradient: float) -> Contrasts:
    """Return the contrasts that may rise, of the directions that leave the others as they are."""
    from scipy.sparse import csr_matrix

    fixed = contrasts.fixed | (contrasts.slopes * SEPARATED > gradient)
    open_ones = contrasts.select(~fixed)
    if not fixed.any():
        return open_ones
    held = contrasts.rows[fixed]
    values, vectors = np.linalg.eigh((held.T @ held).toarray())
    basis = vectors[:, values <= values[-1] * max(held.shape) * ROUNDING_UNIT]  # [p·m, v]
    return open_ones._replace(rows=csr_matrix(_normalize(open_ones.rows @ basis)))


def _solve_program(rows: csr_matrix) -> Array:
    """Return argmax Σ rows·d `[v]` with rows·d ≥ 0 and |d| ≤ 1."""
    from scipy.optimize import linprog

    found = linprog(
        -np.asarray(rows.sum(axis=0)).ravel(),
        A_ub=-rows,
        b_ub=np.zeros(rows.shape[0]),
        bounds=(-1, 1),
        method="highs",
        options={"primal_feasibility_tolerance": FEASIBILITY},
    )
    return np.zeros(rows.shape[1]) if found.x is None else np.asarray(found.x)


def _list_sign_contrasts(f: SmoothObjective, free: Mask, slopes: Array) -> Contrasts:
    """Return the contrasts of a loss of one target: ±xᵢ where it falls for ever on one side."""
    from scipy.sparse import csr_matrix

    falls_right = _falls_forever(f, 1.0)
    falls_left = _falls_forever(f, -1.0)
    rows = np.where(falls_right, 1.0, -1.0)[:, None] * f.X[:, free]
    norms = np.linalg.norm(rows, axis=1)
    bounded = ~(falls_right & falls_left)
    contrasts = Contrasts(
        rows=csr_matrix(_normalize(rows)),
        slopes=slopes[:, 0] * norms,
        fixed=~(falls_right | falls_left),
        samples=np.arange(len(rows)),
        targets=np.zeros(len(rows), dtype=np.intp),
    )
    return contrasts.select(bounded)


def _falls_forever(f: SmoothObjective, sign: float) -> Mask:
    """Return the samples `[n]` whose loss falls to an infimum at η = ±∞."""
    one = np.ones(f.y.shape)
    usual = np.maximum(np.abs(f.slope(one)), np.abs(f.slope(-one)))
    far = np.abs(f.slope(sign * FAR_PREDICTOR * one))
    nearer = np.abs(f.slope(sign * NEARER_PREDICTOR * one))
    return np.asarray((nearer > 0) & (far <= ZERO_SLOPE * usual))[:, 0]


def _list_class_contrasts(f: SmoothObjective, free: Mask, slopes: Array) -> Contrasts:
    """Return the contrasts of coupled classes: that of a sample's class with each other one."""
    from scipy.sparse import csr_matrix

    q = f.y.shape[1]
    X = f.X[:, free]
    norms = np.sqrt(2) * np.linalg.norm(X, axis=1)
    X = _normalize(X) / np.sqrt(2)
    p = X.shape[1]
    own = f.y.argmax(axis=1)
    samples, others = np.nonzero(np.arange(q) != own[:, None])  # [n·(q − 1)]
    k = len(samples)
    columns = q * np.arange(p)  # of W row by row
    up = columns + own[samples, None]  # [k, p]
    down = columns + others[:, None]
    values = X[samples]
    rows = csr_matrix(
        (
            np.hstack([values, -values]).ravel(),
            np.hstack([up, down]).ravel(),
            2 * p * np.arange(k + 1),
        ),
        shape=(k, p * q),
    )
    return Contrasts(
        rows=rows,
        slopes=slopes[samples, others] * norms[samples],
        fixed=np.zeros(k, dtype=bool),
        samples=samples,
        targets=others,
    )


def _normalize(rows: Array) -> Array:
    """Return rows of norm one; those that are rounding become 0."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(norms > SEPARATED, rows / np.where(norms > 0, norms, 1), 0)
