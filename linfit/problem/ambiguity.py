"""Which of several optima is meant: where columns depend on each other, or samples are fewer than features, many weights are equally good.

n samples, p features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linfit.problem.magnitudes import column_norms
from linfit.problem.problem import Problem
from linfit.problem.theory import Optimum

#: Names of columns that a sentence lists.
MOST_NAMES = 8
#: The part of a column in the directions that change nothing, above which it is one of those that depend on each other.
NOTICED = 1e-6
#: How many times smaller than the largest a singular value is that shows columns to be nearly dependent (see `nearly_dependent`).
INDEX = 30.0


def ambiguity(optimum: Optimum, problem: Problem) -> str | None:
    """A sentence where the optimum is not unique; None where it is. A penalty makes it so."""
    n, p, _ = problem.shape
    if optimum.rank == p:
        return None
    few = f"{n} sample{'s' if n > 1 else ''} for {p} features"
    why = few if n < p else _dependence(optimum, problem)
    meant = "one of them" if optimum.robust is not None else "the one of smallest norm"
    return (
        f"{problem.source}: {why} (rank {optimum.rank}): many weights are equally good; the optimum that is meant is {meant}, "
        "gradient descent ends at the one nearest its start"
    )


def _dependence(optimum: Optimum, problem: Problem) -> str:
    """What is wrong with the columns; one that is zero depends on nothing."""
    sizes = np.abs(optimum.root).max(axis=0)  # [p]
    zero = [name for name, size in zip(problem.features, sizes.tolist(), strict=True) if size == 0]
    related = [name for name in dependent(optimum, problem) if name not in zero]
    said = []
    if zero:
        column, them = ("columns", "them") if zero[1:] else ("column", "it")
        said.append(
            f"{column} {listed(zero)} {'are' if zero[1:] else 'is'} zero in every row, as the fit sees {them}"
        )
    if related or not zero:
        said.append(
            f"columns {listed(related)} depend on each other linearly"
            if related[1:]
            else f"column {listed(related)} depends on others"
        )
    return " and ".join(said)


def dependent(optimum: Optimum, problem: Problem) -> list[str]:
    """The names of the features with a part in the directions in which the weights may go without changing a prediction."""
    return [
        name
        for name, part in zip(problem.features, free_columns(optimum).tolist(), strict=True)
        if part
    ]


def free_columns(optimum: Optimum) -> NDArray[np.bool_]:
    """The same as a mask `[p]`."""
    norms = column_norms(optimum.root)[0]
    right = np.linalg.svd(optimum.root / np.where(norms > 0, norms, 1), full_matrices=True)[2]
    return np.asarray(np.linalg.norm(right[optimum.rank :], axis=0) > NOTICED)


def nearly_dependent(optimum: Optimum, problem: Problem) -> list[str]:
    """The names of the features, of which none depends on others, whose weights have most of their variance from the smallest directions.

    Belsley, Kuh and Welsch, Regression Diagnostics, 1980, §3.2: columns scaled to norm one, condition indices above 30, more than half
    of the variance.
    """
    _, singular, right = np.linalg.svd(optimum.root / column_norms(optimum.root)[0])
    if singular[0] <= INDEX * singular[-1]:
        return []
    variance = np.square(
        right / singular[:, None]
    )  # [p, p], of the weight of each column along each direction
    parts = variance[singular <= INDEX * singular[-1]].sum(axis=0) / variance.sum(axis=0)
    return [name for name, part in zip(problem.features, parts.tolist(), strict=True) if part > 0.5]


def listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(map(repr, names[:MOST_NAMES])) + more
