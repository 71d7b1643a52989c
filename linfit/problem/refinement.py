"""A least-squares solution corrected to the digits that its float64 numbers hold, however badly they are conditioned.

A stable method loses κ + κ²·‖r‖/(‖X‖‖W‖) roundings (linfit/problem/accuracy.py), though the numbers of X and y may well be exact. With
W and the residual r as unknowns of one system, r + XW = y and Xᵀr = 0, what is still wrong in its equations is computed in exact arithmetic,
rounded once, and solved for with the factors at hand (Björck, "Iterative refinement of linear least squares solutions I", BIT 7, 1967).
Each turn gains as many digits as κ leaves of float64.

n samples, p features, q targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from math import fsum
from typing import NamedTuple

import numpy as np

from linfit.problem.problem import Array

#: Turns after which no more is gained.
TURNS = 8
#: Numbers of X up to which its solution is refined: sums in exact arithmetic take about a microsecond for each of them.
LARGEST = 2**20
#: Rows whose products are held at once.
ROWS = 2**14
#: 2²⁷ + 1: what a factor is multiplied by to be split into halves of 26 bits (Dekker, 1971).
SPLITTER = 134217729.0


class Factors(NamedTuple):
    """X with its columns divided by `norms` `[p]` is `left` `[n, p]` · diag(`singular` `[p]`) · `right` `[p, p]`."""

    norms: Array
    left: Array
    singular: Array
    right: Array


def refined(X: Array, y: Array, W: Array, residual: Array, factors: Factors) -> tuple[Array, Array]:
    """W `[p, q]` and the residual y − XW `[n, q]` corrected, for X `[n, p]` of full column rank and y `[n, q]`."""
    norms, left, singular, right = (
        factors.norms[:, None],
        factors.left,
        factors.singular[:, None],
        factors.right,
    )
    for _ in range(TURNS):
        wrong = np.stack(
            [_first(X, *columns) for columns in zip(y.T, residual.T, W.T, strict=True)], axis=1
        )  # [n, q]
        slope = np.stack([_second(X, column) for column in residual.T], axis=1)  # [p, q]
        if not (np.isfinite(wrong).all() and np.isfinite(slope).all()):
            break  # beyond float64: the numbers' own halves overflow
        turned = left.T @ wrong - right @ (slope / norms) / singular  # [p, q]
        moved = W + right.T @ (turned / singular) / norms
        still = bool((moved == W).all())
        W, residual = moved, residual + (wrong - left @ turned)
        if still:
            break
    return W, residual


def _first(X: Array, y: Array, r: Array, w: Array) -> Array:
    """y − r − Xw `[n]`, rounded once."""
    found = np.empty(len(y))
    for start in range(0, len(y), ROWS):
        rows = slice(start, start + ROWS)
        terms = np.hstack([y[rows, None], -r[rows, None], *exact_products(X[rows], -w)])
        found[rows] = [fsum(row) for row in terms.tolist()]
    return found


def _second(X: Array, r: Array) -> Array:
    """−Xᵀr `[p]`, rounded once."""
    return np.array([fsum(chain.from_iterable(_terms(column, r))) for column in X.T])


def _terms(x: Array, r: Array) -> Iterator[list[float]]:
    for start in range(0, len(r), ROWS):
        rows = slice(start, start + ROWS)
        for part in exact_products(x[rows], -r[rows]):
            yield part.tolist()


def exact_products(a: Array, b: Array) -> tuple[Array, Array]:
    """Two float64 numbers, the rounded product and its rounding, whose sum is a·b (Dekker, 1971)."""
    with np.errstate(over="ignore", invalid="ignore"):
        product = a * b
        (a1, a2), (b1, b2) = _halves(a), _halves(b)
        return product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2


def _halves(a: Array) -> tuple[Array, Array]:
    large = SPLITTER * a
    high = large - (large - a)
    return high, a - high
