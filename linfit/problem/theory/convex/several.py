"""Hessians and predictors of several fits at once, where they share their samples.

numpy hands BLAS one matrix at a time, so that each fit has the bits that it has alone.

s fits, n samples, p features, q targets, b blocks of m weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from linfit.problem.theory.convex.excess import SmoothExcess
from linfit.problem.theory.convex.objective import call_on_arrays
from linfit.problem.theory.optimum import Optimum
from linfit.problem.types import Array

#: Numbers that are held at once.
NUMBERS_AT_ONCE = 2**18


def compute_hessians(optima: Sequence[Optimum], weights: Array) -> Array:
    """Return the Hessians `[s, b, m, m]` of s fits at weights `[s, p, q]`."""
    found = None
    for rows in group_by_samples(optima):
        around = optima[rows[0]].around
        if isinstance(around, SmoothExcess) and not around.loss.couples_targets:
            blocks = _stack_hessians(around, _stack_decays(optima, rows), weights[rows])
        else:
            blocks = np.stack([optima[row].hessian(weights[row]) for row in rows])
        if found is None:
            found = np.empty((len(optima), *blocks.shape[1:]))
        found[rows] = blocks
    assert found is not None
    return found


def measure_objectives(optima: Sequence[Optimum], weights: Array) -> tuple[Array, Array]:
    """Return the objectives `[s]` of s fits, and the sums of the sizes of their terms `[s]`.

    Both are NaN where the loss around the optimum is known otherwise.
    """
    values = np.full(len(optima), np.nan)
    sizes = np.full(len(optima), np.nan)
    for rows in group_by_samples(optima):
        around = optima[rows[0]].around
        if not isinstance(around, SmoothExcess):
            continue
        decays = _stack_decays(optima, rows)
        penalties = 0.5 * (decays[:, :, None] * np.square(weights[rows])).sum(axis=(1, 2))
        for part, eta, y in _predict_parts(around, weights, rows):
            terms = call_on_arrays(around.loss.terms, eta, y).reshape(len(part), len(around.X), -1)
            values[part] = (around.shares * terms).sum(axis=(1, 2))
            sizes[part] = (around.shares * np.abs(terms)).sum(axis=(1, 2))
        values[rows] += penalties
        sizes[rows] += penalties
    return values, sizes


def measure_moves(optima: Sequence[Optimum], steps: Array) -> Array:
    """Return M·max |xᵢd| `[s]` of steps d `[s, p, q]` of fits whose losses have |L‴| ≤ M·L″.

    Of coupled targets it is the largest range over them. It is infinite where there is no M > 0.
    """
    found = np.full(len(optima), np.inf)
    for rows in group_by_samples(optima):
        around = optima[rows[0]].around
        if not isinstance(around, SmoothExcess) or not around.loss.self_concordance:
            continue
        for part, moved, _ in _predict_parts(around, steps, rows):
            by_target = moved.reshape(len(part), len(around.X), -1)
            coupled = around.loss.couples_targets
            sizes = np.ptp(by_target, axis=2) if coupled else np.abs(by_target).max(axis=2)
            found[part] = around.loss.self_concordance * sizes.max(axis=1)
    return found


def group_by_samples(optima: Sequence[Optimum]) -> list[list[int]]:
    """Return the indices of optima whose features lie in one place, those of others alone."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, optimum in enumerate(optima):
        around = optimum.around
        key: tuple[int, ...] = (index,)
        if isinstance(around, SmoothExcess):
            key = around.places
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _stack_decays(optima: Sequence[Optimum], rows: Sequence[int]) -> Array:
    """Return the penalties' curvatures `[s, p]`."""
    decays = []
    for row in rows:
        around = optima[row].around
        assert isinstance(around, SmoothExcess)
        decays.append(around.decay)
    return np.stack(decays)


def _stack_hessians(around: SmoothExcess, decays: Array, weights: Array) -> Array:
    """Return Hessians `[s, q, p, p]` on the samples of `around`, at weights `[s, p, q]`."""
    s, p, q = weights.shape
    found = np.empty((s, q, p, p))
    for part, eta, y in _predict_parts(around, weights, range(s)):
        curvature = call_on_arrays(around.loss.curvature, eta, y).reshape(len(part), -1, q)
        roots = np.sqrt(around.shares * curvature)
        for k in range(q):
            rows = roots[:, :, k, None] * around.X  # [part, n, p]
            found[part, k] = rows.swapaxes(1, 2) @ rows
    found[:, :, range(p), range(p)] += decays[:, None]
    return found


def _predict_parts(
    around: SmoothExcess, weights: Array, rows: Sequence[int]
) -> Iterator[tuple[list[int], Array, Array]]:
    """Yield parts of rows, their predictors `[part·n, q]`, and the targets of these."""
    size = max(1, NUMBERS_AT_ONCE // around.X.size)
    for first in range(0, len(rows), size):
        part = list(rows[first : first + size])
        eta = around.X @ weights[part]
        yield part, eta.reshape(-1, eta.shape[-1]), np.tile(around.y, (len(part), 1))
