"""How far two courses of one fit are apart, relatively, and from where on they are said to have parted.

k recorded steps.
"""

from __future__ import annotations

import numpy as np

from linfit.problem.problem import Array

#: Above which relative difference of losses, or of weights, two fits are said to have parted.
PARTED = {"float32": 1e-4, "float64": 1e-9}


def rounding_floor(initial_excess: float, dtype: str) -> float:
    """Return the excess loss at or below which there is only rounding: (ε · √initial)²."""
    return float(initial_excess) * float(np.finfo(dtype).eps) ** 2


def relative_losses(one: Array, other: Array, dtype: str) -> Array:
    """|one − other| `[k]`, relative to the larger of the loss and the initial loss × the dtype's eps."""
    least = abs(one[0]) * np.finfo(dtype).eps if len(one) else 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        return relative(one, other, np.maximum(np.abs(one), least))


def relative(one: Array, other: Array, size: Array | float) -> Array:
    """|one − other| / size; 0 where both have the same bits or neither is finite, infinity where one of them is not finite."""
    both, none = np.isfinite(one) & np.isfinite(other), ~np.isfinite(one) & ~np.isfinite(other)
    with np.errstate(over="ignore", invalid="ignore"):
        difference = np.abs(one - other)
        ratio = np.divide(
            difference,
            size,
            out=np.full_like(difference, np.inf),
            where=both & (np.asarray(size) > 0),
        )
    return np.where((one == other) | none, 0.0, ratio)
