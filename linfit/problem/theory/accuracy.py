"""How many digits of a least-squares solution are reliable (digits.py: those of each weight).

Of the d decimal digits that a dtype holds, 15 in float64 and 6 in float32, about

    d − log₁₀(κ + κ²·‖r‖/(‖X‖‖W‖))

remain in W, where data were rounded to it, κ being the condition number of X and r the residual
(Wedin, 1973; Golub and Van Loan, Matrix Computations, 4th ed., §5.3.3). All of it refers to columns
scaled to norm one, as the optimum is computed, so that the units of the features do not matter; and
to W as a whole: a weight whose feature contributes a thousandth of the largest contribution has
three digits less. Data that the dtype holds exactly lose nothing in float64, where the optimum is
refined (refinement.py). Sums of squares and products, all that `gradient=gram` keeps of the data,
square κ: at most 14 − 2·log₁₀ κ digits remain.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from linfit.problem.problem import Problem
from linfit.problem.theory.ambiguity import (
    describe_ambiguity,
    list_columns,
    list_nearly_dependent_columns,
)
from linfit.problem.theory.magnitudes import measure_column_norms
from linfit.problem.theory.optimum import Optimum
from linfit.problem.theory.resolution import describe_unresolved
from linfit.problem.types import Array

#: Digits that a summary leaves at κ = 1.
SUMMARY_DIGITS = 14.0
#: The user is warned of fewer digits than these.
ENOUGH_DIGITS = {"float32": 3.0, "float64": 9.0}


def describe_lost_digits(optimum: Optimum, problem: Problem, dtype: str) -> str | None:
    """Return a sentence if few digits of the optimum are reliable.

    None if they are enough.
    """
    digits = estimate_overall_digits(optimum, problem, dtype)
    if digits is None or digits >= ENOUGH_DIGITS[dtype]:
        return None
    condition = measure_condition(optimum)
    misfit = measure_misfit(optimum)

    columns = scaled = ""
    if _has_full_rank(optimum):
        scaled = ", columns scaled,"
        if near := list_nearly_dependent_columns(optimum, problem):
            columns = f"columns {list_columns(near)} nearly depend on each other, "
    why = f"{columns}the condition number of the features{scaled} is {condition:.2g}"
    if problem.samples is not None:
        why += ", and gram squares it"
    if condition * misfit > 10:
        why += f", and the residuals are {misfit:.2g} times the largest share of a feature"
    return f"{problem.source}: expect {_describe(digits)} of the optimal weights in {dtype}: {why}"


def _describe(digits: float) -> str:
    if digits >= 1.5:
        return f"about {digits:.0f} digits"
    if digits >= 1:
        return "about a digit"
    return "hardly a digit"


def add_warnings(problem: Problem, optimum: Optimum, dtype: str) -> Problem:
    """Return the problem with notes on its optimum.

    They tell of ambiguity, few digits and lost resolution.
    """
    if not optimum.is_known:
        return problem
    with np.errstate(over="ignore", invalid="ignore"):  # of data at the ends of float64
        found = [
            *describe_unresolved(problem, optimum, dtype),
            None if optimum.note is None else f"{problem.source}: {optimum.note}",
            describe_ambiguity(optimum, problem),
            describe_lost_digits(optimum, problem, dtype),
        ]
    sentences = [sentence for sentence in found if sentence is not None]
    if not sentences:
        return problem
    return replace(problem, notes=(*problem.notes, *sentences))


def measure_condition(optimum: Optimum) -> float:
    """Return κ of X, its columns scaled to norm one.

    If the rank is short, κ is of the singular values of X that are not zero.
    """
    singular = _singular_values(optimum)
    return float(singular[0] / singular[-1])


def measure_misfit(optimum: Optimum) -> float:
    """Return ‖r‖/(‖X‖‖W‖), 0 if W is 0.

    Columns are scaled to norm one.
    """
    weights = _norms(optimum)[:, None] * optimum.weights
    size = float(_singular_values(optimum)[0] * np.linalg.norm(weights))
    if not size:
        return 0.0
    return math.sqrt(max(0.0, optimum.loss) / optimum.scale) / size


def estimate_overall_digits(optimum: Optimum, problem: Problem, dtype: str) -> float | None:
    """Return how many digits of W are exact, approximately.

    They are those of the exact solution, to a tenth. The data are taken as rounded to `dtype`.
    Return None if nobody knows: the loss is not quadratic, or X is zero.
    """
    if optimum.around is not None or not optimum.rank:
        return None
    condition = measure_condition(optimum)
    lost = condition * (1 + condition * measure_misfit(optimum))
    digits = np.finfo(dtype).precision - math.log10(lost)
    if problem.samples is not None:
        digits = min(digits, SUMMARY_DIGITS - 2 * math.log10(condition))
    return round(max(0.0, digits), 1)


def _singular_values(optimum: Optimum) -> Array:
    """Return the singular values of X that are not zero, columns scaled if the rank is full."""
    root = optimum.root / _norms(optimum)
    return np.asarray(np.linalg.svd(root, compute_uv=False)[: optimum.rank])


def _norms(optimum: Optimum) -> Array:
    """Return the norms of the columns of X `[p]`; ones if the rank is short: nothing is scaled."""
    if _has_full_rank(optimum):
        return np.asarray(measure_column_norms(optimum.root)[0])
    return np.ones(optimum.root.shape[-1])


def _has_full_rank(optimum: Optimum) -> bool:
    return bool(optimum.rank == optimum.root.shape[-1])
