"""Where a fit has diverged, and where it may have reached its tolerance: the same for one fit and for many.

Arguments and results are numbers, or arrays `[r]` of them. `at_zero` is the loss of predicting zero.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from linfit.problem.problem import Array

Numbers = float | Array

#: The least that an initial loss counts for when divergence is looked for, as a share of the loss of predicting zero.
LEAST_INITIAL = 1e-6


def divergence_limit(times: Numbers, initial: Numbers, at_zero: Numbers) -> Any:
    """The largest loss that is not divergence: so many `times` the initial loss; NaN, below which nothing is, if that is NaN.

    A start at the optimum of data without noise has loss zero, of which any step is infinitely many times: the initial loss
    counts as at least a millionth of the loss of predicting zero.
    """
    with np.errstate(over="ignore"):
        return np.minimum(times * np.maximum(initial, LEAST_INITIAL * at_zero), sys.float_info.max)


def tolerance_threshold(share: Numbers, initial: Numbers) -> Any:
    """The excess loss that is such a `share` of the initial one; NaN, below which nothing is, if that is beyond float64."""
    initial = np.asarray(initial, dtype=np.float64)
    return np.where(
        np.isfinite(initial), share * np.where(np.isfinite(initial), initial, 0), np.nan
    )


def tolerance_screen(
    minimum: Numbers, threshold: Numbers, at_zero: Numbers, p: int, dtype: str
) -> Any:
    """The loss above which the excess loss is more than `threshold`, for p features.

    The excess loss is exact and costs as much as a step, so it is computed only where the loss, which is at hand, comes
    within twice the threshold of the minimum, or as near as rounding lets the loss tell.
    """
    return minimum + 2 * threshold + 16 * p * float(np.finfo(dtype).eps) * at_zero
