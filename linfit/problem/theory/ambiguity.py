"""Which of several optima is meant.

Where columns depend on each other, or samples are fewer than features, many weights are equally
good.

n samples, p features.
"""

from __future__ import annotations

from itertools import compress

import numpy as np

from linfit.problem.problem import Problem
from linfit.problem.theory.magnitudes import measure_column_norms
from linfit.problem.theory.optimum import Optimum
from linfit.problem.types import Mask

#: Names of columns that a sentence lists.
MAX_LISTED_COLUMNS = 8
#: A column depends on others if its part in the directions that change nothing is above this.
DEPENDENT_PART = 1e-6
#: Columns are nearly dependent if a singular value is this many times smaller than the largest.
CONDITION_INDEX = 30.0


def describe_ambiguity(optimum: Optimum, problem: Problem) -> str | None:
    """Return a sentence if the optimum is not unique.

    None if it is. A penalty makes it unique.
    """
    n, p, _ = problem.shape
    if optimum.rank == p or optimum.unique or not optimum.attained:
        return None
    if n >= p:
        why = _dependence(optimum, problem)
    elif n > 1:
        why = f"{n} samples for {p} features"
    else:
        why = f"{n} sample for {p} features"
    # A smooth loss has a certificate where it is curved along all of X's rows.
    is_smooth = optimum.local_curvatures is not None and not optimum.shrinkage.l1
    is_certified = is_smooth and optimum.gap is not None
    is_smallest = optimum.around is None or is_certified
    meant = "the one of smallest norm" if is_smallest else "one of them"
    ends = "gradient descent ends at the one nearest its start"
    if optimum.shrinkage.l1:
        ends = "descent may end at another"
    return (
        f"{problem.source}: {why} (rank {optimum.rank}): many weights are equally good; "
        f"the optimum that is meant is {meant}, {ends}"
    )


def _dependence(optimum: Optimum, problem: Problem) -> str:
    """Return a clause on the columns that are zero, and on those that depend on each other."""
    sizes = np.abs(optimum.root).max(axis=0)  # [p]
    zero = _named(problem, sizes == 0)
    # A column that is zero depends on nothing.
    related = [name for name in list_dependent_columns(optimum, problem) if name not in zero]
    clauses = []
    if len(zero) == 1:
        clauses.append(f"column {list_columns(zero)} is zero in every row, as the fit sees it")
    elif zero:
        clauses.append(f"columns {list_columns(zero)} are zero in every row, as the fit sees them")
    if len(related) > 1:
        clauses.append(f"columns {list_columns(related)} depend on each other linearly")
    elif related or not zero:
        clauses.append(f"column {list_columns(related)} depends on others")
    return " and ".join(clauses)


def list_dependent_columns(optimum: Optimum, problem: Problem) -> list[str]:
    """Return the names of the columns with ambiguous weights.

    These may change without changing a prediction.
    """
    return _named(problem, mark_dependent_columns(optimum))


def mark_dependent_columns(optimum: Optimum) -> Mask:
    """Return a mask `[p]` of columns with ambiguous weights.

    These may change without changing a prediction.
    """
    norms = measure_column_norms(optimum.root)[0]
    right = np.linalg.svd(optimum.root / np.where(norms > 0, norms, 1), full_matrices=True)[2]
    return np.asarray(np.linalg.norm(right[optimum.rank :], axis=0) > DEPENDENT_PART)


def list_nearly_dependent_columns(optimum: Optimum, problem: Problem) -> list[str]:
    """Return the names of the columns that nearly depend on others.

    None of them may depend on others exactly. Most of the variance of their weights comes from the
    smallest directions: columns scaled to norm one, condition indices above 30, more than half of
    the variance (Belsley, Kuh and Welsch, Regression Diagnostics, 1980, §3.2).
    """
    _, singular, right = np.linalg.svd(optimum.root / measure_column_norms(optimum.root)[0])
    if singular[0] <= CONDITION_INDEX * singular[-1]:
        return []
    # Variance of the weight of each column along each direction, [p, p].
    variance = np.square(right / singular[:, None])
    parts = variance[singular <= CONDITION_INDEX * singular[-1]].sum(axis=0) / variance.sum(axis=0)
    return _named(problem, parts > 0.5)


def _named(problem: Problem, mask: Mask) -> list[str]:
    """Return the names of the features where `mask` `[p]` is true."""
    return list(compress(problem.features, mask.tolist()))


def list_columns(names: list[str]) -> str:
    """Return the names, quoted; only the first of many.

    They are separated by commas.
    """
    listed = ", ".join(map(repr, names[:MAX_LISTED_COLUMNS]))
    if len(names) > MAX_LISTED_COLUMNS:
        listed += f" and {len(names) - MAX_LISTED_COLUMNS} more"
    return listed
