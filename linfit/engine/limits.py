"""Where a fit has diverged, and where it may have reached its tolerance: the same thresholds for one fit and for many.

Arguments and results are numbers, or arrays `[r]` of them.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from linfit.problem.problem import Array

Numbers = float | Array


def divergence_limit(factor: Numbers, initial: Numbers, of_zero: Numbers, dtype: str) -> Any:
    """The largest loss that is not divergence: `factor` times the initial loss; NaN, below which nothing is, if that is NaN.

    A start at the optimum of data without noise has loss zero, and rounding alone would be infinitely many times that: the
    initial loss counts as at least eps times `of_zero`, the loss of predicting zero.
    """
    with np.errstate(over="ignore"):
        return np.minimum(factor * np.maximum(initial, np.finfo(dtype).eps * of_zero), sys.float_info.max)


def tolerance_screen(minimum: Numbers, threshold: Numbers, loss_of_zero: Numbers, p: int, dtype: str) -> Any:
    """The loss below which the excess loss is worth computing, because it may be at most `threshold`.

    The excess loss is exact and costs as much as a step, so it is computed only where the loss, which is at hand, comes
    within twice the threshold of the minimum, or as near as rounding lets the loss tell.
    """
    return minimum + 2 * threshold + 16 * p * np.finfo(dtype).eps * loss_of_zero
