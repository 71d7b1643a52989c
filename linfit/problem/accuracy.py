"""How many digits of a least-squares solution as a whole can be relied on; linfit/problem/digits.py has those of each weight.

Of the d decimal digits that a dtype holds, 15 in float64 and 6 in float32, about

    d − log₁₀(κ + κ²·‖r‖/(‖X‖‖W‖))

remain in W, where data were rounded to it, κ being the condition number of X and r the residual (Wedin, 1973; Golub and Van Loan,
Matrix Computations, 4th ed., §5.3.3). All of it is meant of columns scaled to norm one, as the optimum is computed, so that the units
of the features do not matter; and of W as a whole: a weight whose feature contributes a thousandth of what the largest does has
three digits less. Data that the dtype holds exactly lose nothing in float64, where the optimum is refined (refinement.py). Sums of
squares and products, all that `gradient=gram` keeps of the data, square κ: at most 14 − 2·log₁₀ κ digits remain.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from linfit.problem.ambiguity import ambiguity, listed, nearly_dependent
from linfit.problem.magnitudes import column_norms
from linfit.problem.problem import Array, Problem
from linfit.problem.resolution import unresolved
from linfit.problem.theory import Optimum

#: Digits that a summary leaves at κ = 1.
OF_A_SUMMARY = 14.0
#: Fewer digits than these are worth a word.
FEWEST = {"float32": 3.0, "float64": 9.0}


def warning(optimum: Optimum, problem: Problem, dtype: str) -> str | None:
    """A sentence where few digits of the optimum can be relied on; None where they are enough."""
    digits = overall_digits(optimum, problem, dtype)
    if digits is None or digits >= FEWEST[dtype]:
        return None
    known = (
        f"about {digits:.0f} digits"
        if digits >= 1.5
        else "about a digit"
        if digits >= 1
        else "hardly a digit"
    )
    condition, misfit = condition_of(optimum), misfit_of(optimum)
    whole = optimum.rank == optimum.root.shape[-1]
    scaled, near = (", columns scaled,", nearly_dependent(optimum, problem)) if whole else ("", [])
    columns = f"columns {listed(near)} nearly depend on each other, " if near else ""
    squared = ", and gram squares it" if problem.samples is not None else ""
    unexplained = (
        f", and the residuals are {misfit:.2g} times the largest share of a feature"
        if condition * misfit > 10
        else ""
    )
    why = f"{columns}the condition number of the features{scaled} is {condition:.2g}{squared}{unexplained}"
    return f"{problem.source}: expect {known} of the optimal weights in {dtype}: {why}"


def with_warning(problem: Problem, optimum: Optimum, dtype: str) -> Problem:
    """The problem with what is to be said of its optimum among its notes: which of several is meant, how few digits it has."""
    with np.errstate(over="ignore", invalid="ignore"):  # of data at the ends of float64
        found = ambiguity(optimum, problem), warning(optimum, problem, dtype)
        lost = unresolved(problem, optimum, dtype)
    sentences = [*lost, *(sentence for sentence in found if sentence is not None)]
    return replace(problem, notes=(*problem.notes, *sentences)) if sentences else problem


def condition_of(optimum: Optimum) -> float:
    """κ of X, its columns scaled to norm one; of those singular values that are not zero, where the rank is short."""
    singular = _singular_values(optimum)
    return float(singular[0] / singular[-1])


def misfit_of(optimum: Optimum) -> float:
    """‖r‖/(‖X‖‖W‖), X and W taken on columns scaled to norm one; 0 where W is."""
    size = float(
        _singular_values(optimum)[0] * np.linalg.norm(_norms(optimum)[:, None] * optimum.weights)
    )
    return math.sqrt(max(0.0, optimum.loss) / optimum.scale) / size if size else 0.0


def overall_digits(optimum: Optimum, problem: Problem, dtype: str) -> float | None:
    """Return about how many digits of W as a whole are those of the exact solution, for data that were rounded to `dtype`, to a tenth.

    None where nobody knows: the loss is not quadratic, or X is zero.
    """
    if optimum.robust is not None or not optimum.rank:
        return None
    lost = condition_of(optimum) * (1 + condition_of(optimum) * misfit_of(optimum))
    digits = np.finfo(dtype).precision - math.log10(lost)
    if problem.samples is not None:
        digits = min(digits, OF_A_SUMMARY - 2 * math.log10(condition_of(optimum)))
    return round(max(0.0, digits), 1)


def _singular_values(optimum: Optimum) -> Array:
    """Of X with its columns scaled, or where the rank is short as it is, those that are not zero."""
    whole = optimum.rank == optimum.root.shape[-1]
    root = optimum.root / _norms(optimum) if whole else optimum.root
    return np.asarray(np.linalg.svd(root, compute_uv=False)[: optimum.rank])


def _norms(optimum: Optimum) -> Array:
    """Of the columns of X `[p]`; one where they count as they are."""
    whole = optimum.rank == optimum.root.shape[-1]
    return column_norms(optimum.root)[0] if whole else np.ones(optimum.root.shape[-1])
