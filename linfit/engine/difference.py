"""Relative differences between two runs of one fit, and the tolerance beyond which they part.

k recorded steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linfit.problem.types import Array

#: Relative difference of losses, or of weights, above which two fits have parted.
PARTING_TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


def rounding_floor(initial_excess: float, dtype: str) -> float:
    """Return the excess loss that is only rounding: (ε · √initial)²."""
    return float(initial_excess) * float(np.finfo(dtype).eps) ** 2


def compare_losses(one: Array, other: Array, dtype: str) -> Array:
    """Return the relative differences `[k]` of losses.

    They are relative to the larger of the loss and the initial loss × ε.
    """
    least = abs(one[0]) * np.finfo(dtype).eps if len(one) else 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        return relative_difference(one, other, np.maximum(np.abs(one), least))


def parting_step(steps: NDArray[np.int64], losses: Array, dtype: str) -> int | None:
    """Return the first step whose losses differ beyond tolerance.

    `losses` `[k]` are relative differences.
    """
    parted = steps[losses > PARTING_TOLERANCE[dtype]]
    if not len(parted):
        return None
    return int(parted[0])


def relative_difference(one: Array, other: Array, size: Array | float) -> Array:
    """Return |one − other| / size.

    It is 0 where both have the same bits or neither is finite, infinity where only one is finite.
    """
    both_finite = np.isfinite(one) & np.isfinite(other)
    none_finite = ~np.isfinite(one) & ~np.isfinite(other)
    with np.errstate(over="ignore", invalid="ignore"):
        difference = np.abs(one - other)
        ratio = np.full_like(difference, np.inf)
        np.divide(difference, size, out=ratio, where=both_finite & (np.asarray(size) > 0))
    return np.where((one == other) | none_finite, 0.0, ratio)
