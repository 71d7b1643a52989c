"""How many digits of each weight are reliable: of the features, and of the user terms.

The numbers of X and y are rounded, where they are read, where features are computed, and to the
fit's dtype. To first order, with r the residual and X⁺ the pseudoinverse, that moves W by

    X⁺(δy − δX·W) + (XᵀX)⁻¹δXᵀr

(Björck, Numerical Methods for Least Squares Problems, 1996, §1.4), and user terms T·W by T times
that. Each column of δX is bounded by its norm, so that the root R with RᵀR = XᵀX is all that is
needed of X: a weight's error is at most

    ‖(TR⁻¹)ᵢ‖·(‖δy‖ + Σ‖δxₖ‖|wₖ|) + Σ|(TR⁻¹R⁻ᵀ)ᵢₖ|‖δxₖ‖‖r‖

and the rounding of T and of W. Roundings seldom all point one way: one or two digits more may well
be right.

n samples, p features, q targets, o user terms, k directions that are not zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from linfit.problem.features import FeatureMap
from linfit.problem.problem import Problem
from linfit.problem.theory.ambiguity import mark_dependent_columns
from linfit.problem.theory.magnitudes import find_exponents, measure_column_norms
from linfit.problem.theory.optimum import Optimum
from linfit.problem.types import Array, Mask

ROUNDOFF = float(np.finfo(np.float64).eps) / 2
#: Digits that are promised at the most.
MAX_DIGITS = {"float32": 6.0, "float64": 14.0}
#: Features beyond which no digits are told: it takes p³.
MAX_JUDGED_WEIGHTS = 500
#: Roundings of a sum of squares and products: a summary is of thousands of rows.
SUMMARY_ROUNDINGS = 8.0


@dataclass(frozen=True)
class Digits:
    """Exact digits of the optimum, rounded down to a tenth.

    Exact are the digits of the exact solution.
    """

    weights: Array
    """`[p, q]`"""
    user_terms: Array | None = None
    """Digits of the user terms `[o, q]`; None if the features are the data's columns."""

    @property
    def fewest(self) -> float:
        """The digits of the weight, or user term, that has fewest."""
        least = float(self.weights.min())
        if self.user_terms is None:
            return least
        return min(least, float(self.user_terms.min()))


def estimate_digits(optimum: Optimum, problem: Problem, dtype: str) -> Digits | None:
    """Return the digits that data rounded to `dtype` leave.

    Return None if nobody knows: the loss is not quadratic, X is zero, numbers are so large or small
    that their squares are not numbers, or there are more weights than anybody reads.
    """
    if optimum.around is not None or not optimum.rank or len(optimum.weights) > MAX_JUDGED_WEIGHTS:
        return None
    if find_exponents(problem.X, (0, 1)).any() or find_exponents(problem.y, (0, 1)).any():
        return None
    with np.errstate(all="ignore"):  # of numbers at the ends of float64
        known = Sensitivity.measure(optimum, problem)
        weights = optimum.weights
        expansion = problem.expansion
        one = np.eye(len(weights))
        errors = known.bound_errors(one, dtype) + _rounded(one, weights, dtype)
        of_weights = _digits(errors, weights, dtype)
        if expansion is None:
            return Digits(of_weights)

        _, own = expansion.in_user_terms()
        of_sums = ROUNDOFF * len(weights) * sum_term_sizes(expansion) @ np.abs(weights)
        errors = known.bound_errors(own, dtype) + _rounded(own, weights, dtype) + of_sums
        return Digits(of_weights, _digits(errors, own @ weights, dtype))


def _rounded(terms: Array, weights: Array, dtype: str) -> Array:
    """Return the error of terms of weights that are rounded to `dtype`."""
    return np.asarray(float(np.finfo(dtype).eps) / 2 * np.abs(terms) @ np.abs(weights))


def _digits(errors: Array, values: Array, dtype: str) -> Array:
    """Return −log₁₀ of the relative errors, from none to the most of `dtype`, rounded down."""
    most = MAX_DIGITS[dtype]
    found = np.where(errors > 0, -np.log10(errors / np.abs(values)), most)
    return np.asarray(np.floor(10 * np.nan_to_num(found).clip(0, most)) / 10)


class Sensitivity(NamedTuple):
    """How roundings move the weights, on scaled columns.

    Columns are scaled to norm one if the rank is full.
    """

    units: Array
    """Divisors of the columns `[p]`."""
    inverse: Array
    """A `[p, k]` with R⁺ = A·Uᵀ for an orthonormal U."""
    free: Array
    """The projection `[p, p]` onto the directions that change no prediction."""
    weights: Array
    """Weights `[p, q]` of the scaled columns."""
    columns: Array
    """The norms `[p]` of X's scaled columns."""
    targets: Array
    """The norms `[q]` of y's columns."""
    residuals: Array
    """The norms `[q]` of r's columns."""
    roundings: Array
    """Roundings of each column `[p]` by the time that it is a feature in float64."""
    summarized: bool
    """True if the rows are a summary's."""
    doubtful: Mask
    """Columns `[p]` that depend on others: a summary cannot tell if they do."""

    @staticmethod
    def measure(optimum: Optimum, problem: Problem) -> Sensitivity:
        """Return the sensitivity of the optimum of a problem."""
        norms = measure_column_norms(optimum.root)[0]
        p = len(norms)
        full = optimum.rank == p
        units = norms if full else np.ones(p)
        _, singular, right = np.linalg.svd(optimum.root / units, full_matrices=False)
        right = right[: optimum.rank]
        left = problem.y - problem.X @ optimum.weights
        kept = (
            np.sqrt(optimum.decay) * measure_column_norms(optimum.weights)[0]
        )  # of the penalty's rows
        return Sensitivity(
            units=units,
            inverse=right.T / singular[: optimum.rank],
            free=np.zeros((p, p)) if full else np.eye(p) - right.T @ right,
            weights=units[:, None] * optimum.weights,
            columns=norms / units,
            targets=measure_column_norms(problem.y)[0],
            residuals=np.hypot(measure_column_norms(left)[0], kept),
            roundings=count_roundings(problem.expansion, optimum.root),
            summarized=problem.samples is not None,
            doubtful=mark_dependent_columns(optimum),
        )

    def bound_errors(self, terms: Array, dtype: str) -> Array:
        """Return bounds of the errors of T·W `[o, q]`.

        T is `[o, p]`.
        """
        cast = float(np.finfo(dtype).eps) / 2
        off = (cast + ROUNDOFF * self.roundings) * self.columns  # ‖δxₖ‖ [p]
        along = terms / self.units @ self.inverse  # [o, k]
        across = np.abs(along @ self.inverse.T)  # [o, p]
        moved = (cast + ROUNDOFF) * self.targets + off @ np.abs(self.weights)  # [q]
        turned = np.abs(terms / self.units @ self.free) @ off  # [o]
        found: Array = np.linalg.norm(along, axis=1)[:, None] * moved
        found = found + (across @ off)[:, None] * self.residuals
        found = found + turned[:, None] * np.linalg.norm(self.inverse.T @ self.weights, axis=0)
        if self.summarized:
            sums = self.targets + self.columns @ np.abs(self.weights)  # [q]
            found = found + SUMMARY_ROUNDINGS * ROUNDOFF * (across @ self.columns)[:, None] * sums
            found[np.abs(terms) @ self.doubtful > 0] = np.inf
        return found


def count_roundings(expansion: FeatureMap | None, root: Array) -> Array:
    """Return the roundings of X's columns `[p]`, relative to norms.

    `root` `[m, p]` is X's.

    Values are rounded where the data are read, and again where functions are computed. Their
    differences from the shift may be far smaller than they are, and mixtures of these smaller
    again.
    """
    norms = measure_column_norms(root)[0]
    if expansion is None:
        return np.ones(len(norms))
    lost = expansion.features.rounding_factor(expansion.bounds)
    found = np.full(len(norms), lost)
    if expansion.features.scaling == "none":
        return found

    d = len(expansion.mix)
    ones = norms[d] if expansion.features.intercept else 0.0
    functions = root[:, :d] @ np.linalg.inv(expansion.mix)  # less the shift
    away = measure_column_norms(functions)[0]
    sizes = (lost * (away + ones * np.abs(expansion.shift)) + away) @ np.abs(expansion.mix)
    found[:d] = np.divide(sizes, norms[:d], out=np.ones(d), where=norms[:d] > 0)
    return found


def sum_term_sizes(expansion: FeatureMap) -> Array:
    """Return the sums `[o, p]` of sizes of terms.

    They are the terms of T's numbers, whose roundings T has.
    """
    features = expansion.features
    mix = np.abs(expansion.mix)
    _, matrix, constants = expansion.sum_functions()
    sizes = np.abs(matrix) @ mix
    last = (np.abs(constants) + np.abs(expansion.shift)) @ mix
    if features.intercept:
        sizes = np.hstack([sizes, np.zeros((len(sizes), 1))])
        last = np.append(last, 1.0)
    return np.vstack([sizes, last])[: len(expansion.in_user_terms()[0])]
