"""Losses of a dtype's resolution: differences that are rounded away, squares that vanish."""

from __future__ import annotations

from itertools import compress

import numpy as np

from linfit.problem.problem import Problem
from linfit.problem.theory.ambiguity import list_columns
from linfit.problem.theory.optimum import Optimum
from linfit.problem.types import Array

#: Steps of a dtype over which the values of a column should spread at least.
MIN_RESOLVED_STEPS = 100


def describe_unresolved(problem: Problem, optimum: Optimum, dtype: str) -> list[str]:
    """Return sentences for what a dtype cannot hold.

    There is one for each such property of data or optimum.
    """
    found = []
    if problem.samples is None and dtype != "float64":
        found += _indistinct("target", problem.targets, problem.y, dtype)
        found += _indistinct("column", problem.features, problem.X, dtype)
    if not np.isfinite(optimum.weights).all():
        found.append("the optimal weights are beyond float64: scale the data")
    elif optimum.rank and not optimum.curvatures[0]:
        found.append(
            "squares of the features vanish in float64, losses and curvatures with them: "
            "scale the data"
        )
    return [f"{problem.source}: {sentence}" for sentence in found]


def _indistinct(kind: str, names: tuple[str, ...], array: Array, dtype: str) -> list[str]:
    """Return a sentence on the columns `[n, m]` whose values spread over a few steps of `dtype`."""
    spread = np.ptp(array, axis=0)  # [m]
    with np.errstate(over="ignore"):
        step = np.spacing(np.abs(array).max(axis=0).astype(dtype)).astype(np.float64)
    coarse = (spread > 0) & (spread < MIN_RESOLVED_STEPS * step)
    if not coarse.any():
        return []
    own = list(compress(names, coarse.tolist()))
    first = int(coarse.argmax())
    return [
        f"{dtype} cannot tell values of {kind}{'s' if own[1:] else ''} {list_columns(own)} apart: "
        f"of {own[0]!r} all lie within {spread[first]:.3g}, in steps of {step[first]:.3g}: "
        "choose dtype=float64, or subtract a constant"
    ]
