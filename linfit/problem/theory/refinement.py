"""A least-squares solution corrected to the digits of float64, however badly it is conditioned.

A stable method loses κ + κ²·‖r‖/(‖X‖‖W‖) roundings (problem/theory/accuracy.py), though the numbers
of X and y may well be exact. With W and the residual r as unknowns of one system, r + XW = y and
Xᵀr = 0, the errors of its equations are computed in exact arithmetic, rounded once, and solved for
with the factors at hand (Björck, "Iterative refinement of linear least squares solutions I", BIT 7,
1967). Each turn gains as many digits as κ leaves of float64.

n samples, p features, q targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from math import fsum
from typing import NamedTuple

import numpy as np

from linfit.problem.types import Array

#: Turns after which no more is gained.
MAX_REFINEMENTS = 8
#: Numbers of X up to which its solution is refined: exact sums take about a microsecond for each.
MAX_REFINED_NUMBERS = 2**20
#: Rows whose products are held at once.
ROWS_AT_ONCE = 2**14
#: 2²⁷ + 1: a factor times this is split into halves of 26 bits (Dekker, 1971).
SPLITTER = 134217729.0


class ColumnScaledSVD(NamedTuple):
    """Singular value decomposition of X with its columns divided by `norms`.

    X/norms is `left` `[n, p]` · diag(`singular` `[p]`) · `right` `[p, p]`.
    """

    norms: Array
    left: Array
    singular: Array
    right: Array


def refine(
    X: Array, y: Array, W: Array, residual: Array, factors: ColumnScaledSVD
) -> tuple[Array, Array]:
    """Return W `[p, q]` and y − XW `[n, q]`, corrected.

    X `[n, p]` has full column rank, y is `[n, q]`.
    """
    norms = factors.norms[:, None]
    singular = factors.singular[:, None]
    left = factors.left
    right = factors.right
    for _ in range(MAX_REFINEMENTS):
        targets = zip(y.T, residual.T, W.T, strict=True)
        wrong = np.stack([_residual_error(X, *columns) for columns in targets], axis=1)  # [n, q]
        slope = np.stack([_slope_error(X, column) for column in residual.T], axis=1)  # [p, q]
        if not (np.isfinite(wrong).all() and np.isfinite(slope).all()):
            break  # beyond float64: the numbers' own halves overflow

        turned = left.T @ wrong - right @ (slope / norms) / singular  # [p, q]
        moved = W + right.T @ (turned / singular) / norms
        settled = bool((moved == W).all())
        W = moved
        residual = residual + (wrong - left @ turned)
        if settled:
            break
    return W, residual


def _residual_error(X: Array, y: Array, r: Array, w: Array) -> Array:
    """Return y − r − Xw `[n]`, rounded once."""
    found = np.empty(len(y))
    for start in range(0, len(y), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        terms = np.hstack([y[rows, None], -r[rows, None], *multiply_exactly(X[rows], -w)])
        found[rows] = list(map(fsum, terms.tolist()))
    return found


def _slope_error(X: Array, r: Array) -> Array:
    """Return −Xᵀr `[p]`, rounded once."""
    return np.array([fsum(chain.from_iterable(_terms(column, r))) for column in X.T])


def _terms(x: Array, r: Array) -> Iterator[list[float]]:
    for start in range(0, len(r), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        for part in multiply_exactly(x[rows], -r[rows]):
            yield part.tolist()


def multiply_exactly(a: Array, b: Array) -> tuple[Array, Array]:
    """Return the rounded product and its rounding (Dekker, 1971).

    They are two numbers whose sum is a·b.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        product = a * b
        a1, a2 = _halves(a)
        b1, b2 = _halves(b)
        return product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2


def _halves(a: Array) -> tuple[Array, Array]:
    large = SPLITTER * a
    high = large - (large - a)
    return high, a - high
